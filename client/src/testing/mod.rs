//! A network in memory, and sides of it that do what a test says.

mod broker;
mod cluster;
mod name_server;
mod set;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use castmq_protocol::native::frame::{Frames, LENGTH_BYTES, decode_header, encode_frame};
use castmq_protocol::native::{
    ClientHeader, Failure, Limits, PREFACE, Request, Response, ServerHeader, Welcome,
};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use crate::raw::{Dial, Dialing, Stream};

pub(crate) use broker::Fault;
pub(crate) use cluster::{FakeCluster, NAME_SERVER};

/// Bytes that a pipe holds.
const PIPE_BYTES: usize = 64 * 1024;

/// A network in memory: an address is reached while somebody listens there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Network {
    listeners: Arc<Mutex<HashMap<String, mpsc::UnboundedSender<DuplexStream>>>>,
    /// Connections that nobody answers.
    swallowed: Arc<Mutex<Vec<Listener>>>,
}

impl Network {
    pub(crate) fn listen(&self, address: &str) -> Listener {
        let (sender, streams) = mpsc::unbounded_channel();
        self.listeners.lock().insert(address.to_owned(), sender);
        Listener { streams }
    }

    /// From now on whoever connects there waits for ever.
    pub(crate) fn swallow(&self, address: &str) {
        let listener = self.listen(address);
        self.swallowed.lock().push(listener);
    }

    pub(crate) fn unlisten(&self, address: &str) {
        self.listeners.lock().remove(address);
    }
}

impl Dial for Network {
    fn dial(&self, address: &str) -> Dialing {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let taken = self
            .listeners
            .lock()
            .get(address)
            .is_some_and(|listener| listener.send(far).is_ok());
        Box::pin(async move {
            if taken {
                Ok(Box::new(near) as Box<dyn Stream>)
            } else {
                Err(io::ErrorKind::ConnectionRefused.into())
            }
        })
    }
}

#[derive(Debug)]
pub(crate) struct Listener {
    streams: mpsc::UnboundedReceiver<DuplexStream>,
}

impl Listener {
    /// The next connection, before its greeting.
    pub(crate) async fn accept(&mut self) -> Peer {
        Peer {
            stream: match self.streams.recv().await {
                Some(stream) => stream,
                // Nobody can be reached here any more.
                None => std::future::pending().await,
            },
            buffer: BytesMut::new(),
            opened: false,
        }
    }

    /// The next connection, greeted.
    pub(crate) async fn greet(&mut self, welcome: Welcome) -> Peer {
        let mut peer = self.accept().await;
        peer.greet(welcome).await;
        peer
    }
}

/// A broker's greeting with small limits.
pub(crate) fn welcome(broker: &str) -> Welcome {
    Welcome {
        version: 1,
        software: "test".into(),
        cluster: "c".into(),
        broker: broker.into(),
        broker_id: 0,
        store_host: "10.0.0.1:10911".into(),
        limits: Limits {
            max_frame_bytes: 1024 * 1024,
            max_message_bytes: 512 * 1024,
            max_properties_bytes: 32 * 1024 - 1,
            window_bytes: 256 * 1024,
            max_aliases: 1024,
            idle_timeout_ms: 30_000,
        },
    }
}

/// The far side of a connection.
pub(crate) struct Peer {
    stream: DuplexStream,
    buffer: BytesMut,
    opened: bool,
}

impl Peer {
    pub(crate) async fn greet(&mut self, welcome: Welcome) {
        // One that only looked whether somebody is here is gone again.
        let Some((header, _)) = self.next().await else {
            return;
        };
        assert!(matches!(header.request, Request::Hello(_)));
        self.reply(header.correlation, Response::Welcome(welcome))
            .await;
    }

    /// The next request; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<(ClientHeader, Bytes)> {
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// The next request, when it is there already.
    pub(crate) fn take(&mut self) -> Option<(ClientHeader, Bytes)> {
        if !self.opened && self.buffer.len() >= PREFACE.len() {
            assert_eq!(self.buffer.split_to(PREFACE.len()), &PREFACE[..]);
            self.opened = true;
        }
        if !self.opened {
            return None;
        }
        let mut frames = Frames::new(&self.buffer, usize::MAX);
        let frame = frames.next()?.expect("frames are whole");
        let (header, header_bytes) = decode_header::<ClientHeader>(frame).expect("headers decode");
        let consumed = frames.consumed();
        let mut payload = self.buffer.split_to(consumed).freeze();
        payload.advance(LENGTH_BYTES + header_bytes);
        Some((header, payload))
    }

    pub(crate) async fn reply(&mut self, correlation: u64, response: Response) {
        self.reply_with(correlation, response, &[]).await;
    }

    pub(crate) async fn fail(&mut self, correlation: u64, failure: Failure) {
        self.reply(correlation, Response::Failed(failure)).await;
    }

    pub(crate) async fn reply_with(
        &mut self,
        correlation: u64,
        response: Response,
        payload: &[u8],
    ) {
        let mut out = BytesMut::new();
        let header = ServerHeader {
            correlation,
            response,
        };
        encode_frame(&header, &[payload], &mut out);
        self.write(&out).await;
    }

    /// Whatever a test wants to see misunderstood. The client may be gone.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }
}
