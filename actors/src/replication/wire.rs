//! Native frames on a connection that may become another: one request, one answer.

use std::io;

use bytes::{Bytes, BytesMut};
use castmq_protocol::native::frame::{Frames, PREFACE, decode_header, encode_frame};
use castmq_protocol::native::{
    ClientHeader, Failure as Refusal, Hello, Request, Response, Role, ServerHeader, VERSION,
    Welcome,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::broker::details::SOFTWARE;
use crate::network::socket::Stream;

/// Longest answer of a master: what has changed comes in pieces far below.
pub(crate) const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Longest request of a slave, or of whoever says that it is one.
pub(crate) const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// A connection whose frames are read one by one. What was read behind the last one is kept.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) socket: Stream,
    pub(crate) input: BytesMut,
    /// Longest frame that is read.
    max_frame_bytes: usize,
    correlation: u64,
}

impl Wire {
    pub(crate) fn new(socket: Stream, already: BytesMut, max_frame_bytes: usize) -> Self {
        Self {
            socket,
            input: already,
            max_frame_bytes,
            correlation: 0,
        }
    }

    /// Connects as a broker, says hello, and returns what the other side says to that.
    pub(crate) async fn connect(
        address: &str,
        client_id: String,
        max_frame_bytes: usize,
    ) -> io::Result<(Self, Welcome)> {
        let unreachable = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("{address} does not take slaves now: {error}"),
            )
        };
        let mut socket = Stream::connect(address).await.map_err(unreachable)?;
        socket.write_all(&PREFACE).await?;
        let mut wire = Self::new(socket, BytesMut::new(), max_frame_bytes);
        let hello = Request::Hello(Hello {
            version: VERSION,
            role: Role::Broker,
            client_id,
            software: SOFTWARE.to_owned(),
            credentials: None,
        });
        match wire.ask(hello).await? {
            Response::Welcome(welcome) => Ok((wire, welcome)),
            _ => Err(unexpected()),
        }
    }

    /// Asks, and waits for the answer. A refusal is an error.
    pub(crate) async fn ask(&mut self, request: Request) -> io::Result<Response> {
        self.correlation += 1;
        let header = ClientHeader {
            correlation: self.correlation,
            request,
        };
        let mut out = BytesMut::new();
        encode_frame(&header, &[], &mut out);
        self.socket.write_all(&out).await?;
        let frame = self.frame().await?;
        let (header, _) = decode_header::<ServerHeader>(&frame).map_err(io::Error::other)?;
        match header.response {
            Response::Failed(refusal) | Response::Closing { reason: refusal } => {
                Err(io::Error::other(refusal.to_string()))
            }
            response => Ok(response),
        }
    }

    /// Reads a request.
    pub(crate) async fn request(&mut self) -> io::Result<ClientHeader> {
        let frame = self.frame().await?;
        let (header, _) = decode_header(&frame).map_err(io::Error::other)?;
        Ok(header)
    }

    /// Answers one.
    pub(crate) async fn answer(&mut self, correlation: u64, response: Response) -> io::Result<()> {
        let header = ServerHeader {
            correlation,
            response,
        };
        let mut out = BytesMut::new();
        encode_frame(&header, &[], &mut out);
        self.socket.write_all(&out).await
    }

    /// Answers one with a refusal, which ends the connection.
    pub(crate) async fn refuse(&mut self, correlation: u64, refusal: Refusal) -> io::Result<()> {
        let reason = refusal.message.clone();
        self.answer(correlation, Response::Failed(refusal)).await?;
        Err(io::Error::other(reason))
    }

    /// The next frame, without its length.
    async fn frame(&mut self) -> io::Result<Bytes> {
        loop {
            let mut frames = Frames::new(&self.input, self.max_frame_bytes);
            if let Some(frame) = frames.next() {
                let bytes = frame.map_err(io::Error::other)?.len();
                let consumed = frames.consumed();
                let mut frame = self.input.split_to(consumed);
                return Ok(frame.split_off(consumed - bytes).freeze());
            }
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// What an answer is that was not asked for.
pub(crate) fn unexpected() -> io::Error {
    io::Error::other("the other broker gave an answer that was not asked for")
}
