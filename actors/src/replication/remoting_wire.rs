//! RocketMQ's frames on a connection of a slave to its master: one request without fields, one answer.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use castmq_protocol::remoting::codes::{request_code, response_code};
use castmq_protocol::remoting::command::Command;
use castmq_protocol::remoting::encode::{Head, put_frame};
use castmq_protocol::remoting::fields::Fields;
use castmq_protocol::remoting::frame::Frames;
use castmq_protocol::remoting::json::from_slice;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::network::socket::Stream;

/// Longest answer: all offsets of a broker come in one.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Time a master has for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct RemotingWire {
    address: String,
    socket: Stream,
    input: BytesMut,
    opaque: i32,
}

impl RemotingWire {
    pub(super) async fn connect(address: String) -> io::Result<Self> {
        let connecting = timeout(ANSWER_WITHIN, Stream::connect(&address)).await;
        let late = |_| io::Error::other(format!("{address} cannot be reached"));
        Ok(Self {
            socket: connecting.map_err(late)??,
            address,
            input: BytesMut::new(),
            opaque: 0,
        })
    }

    /// Asks for a table.
    pub(super) async fn table<T: DeserializeOwned>(&mut self, code: i32) -> io::Result<T> {
        let body = self.ask(code).await?;
        from_slice(&body).map_err(io::Error::other)
    }

    /// Asks, and waits for the answer's body. A refusal is an error.
    pub(super) async fn ask(&mut self, code: i32) -> io::Result<Bytes> {
        self.opaque = self.opaque.wrapping_add(1);
        let mut out = BytesMut::new();
        let head = Head::request(code, self.opaque);
        put_frame(&head, &Fields::new(), &[], &mut out);
        let name = request_code::name(code).unwrap_or("a request");
        let late = || io::Error::other(format!("{} did not answer {name}", self.address));
        let answer = async {
            self.socket.write_all(&out).await?;
            Self::answer(&mut self.socket, &mut self.input, self.opaque, name).await
        };
        match timeout(ANSWER_WITHIN, answer).await {
            Ok(answered) => answered,
            Err(_) => Err(late()),
        }
    }

    async fn answer(
        socket: &mut Stream,
        input: &mut BytesMut,
        opaque: i32,
        name: &str,
    ) -> io::Result<Bytes> {
        loop {
            let mut frames = Frames::new(input, MAX_ANSWER_BYTES);
            if let Some(frame) = frames.next() {
                let frame = frame.map_err(io::Error::other)?;
                let answer = Command::decode(&frame)
                    .map_err(io::Error::other)?
                    .into_owned();
                let body = Bytes::copy_from_slice(frame.body);
                let consumed = frames.consumed();
                drop(input.split_to(consumed));
                if !answer.is_response() || answer.opaque != opaque {
                    continue;
                }
                if answer.code != response_code::SUCCESS {
                    let remark = answer.remark.unwrap_or_default();
                    return Err(io::Error::other(format!(
                        "the master refused {name} with {}: {remark}",
                        answer.code
                    )));
                }
                return Ok(body);
            }
            if socket.read_buf(input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
