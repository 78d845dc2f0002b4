//! A connection on which anything can be said.

use bytes::BytesMut;
use castmq_client::raw::{Failure, Request, Response, Role, ServerHeader};
use castmq_protocol::native::frame::{Frames, decode_header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::hostile::{frame, opening_as};

/// See the module.
#[derive(Debug)]
pub struct Wire {
    socket: TcpStream,
    buffer: BytesMut,
}

impl Wire {
    /// Connects and says nothing.
    pub async fn silent(address: impl tokio::net::ToSocketAddrs) -> Self {
        Self {
            socket: TcpStream::connect(address).await.expect("a connection"),
            buffer: BytesMut::new(),
        }
    }

    /// Connects and is welcomed.
    pub async fn open(address: impl tokio::net::ToSocketAddrs, role: Role) -> Self {
        Self::open_as("hostile", address, role).await
    }

    /// Connects as the client with this id, and is welcomed.
    pub async fn open_as(
        client_id: &str,
        address: impl tokio::net::ToSocketAddrs,
        role: Role,
    ) -> Self {
        let mut wire = Self::silent(address).await;
        wire.say(&opening_as(client_id, role)).await;
        let welcome = wire.answer().await;
        assert!(matches!(welcome, Response::Welcome(_)), "{welcome:?}");
        wire
    }

    pub async fn say(&mut self, bytes: &[u8]) {
        self.socket
            .write_all(bytes)
            .await
            .expect("the socket takes it");
    }

    /// Says something to who may be gone.
    pub async fn try_say(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes).await;
    }

    /// Says that nothing more comes.
    pub async fn finish(&mut self) {
        self.socket.shutdown().await.expect("the socket takes it");
    }

    /// The next answer or push with its payload; `None` at the end of the connection, which must be a clean one.
    pub async fn next(&mut self) -> Option<(Response, Vec<u8>)> {
        loop {
            let mut frames = Frames::new(&self.buffer, usize::MAX);
            if let Some(frame) = frames.next() {
                let frame = frame.expect("a frame");
                let (header, bytes) = decode_header::<ServerHeader>(frame).expect("a header");
                let payload = frame[bytes..].to_vec();
                let consumed = frames.consumed();
                let _ = self.buffer.split_to(consumed);
                return Some((header.response, payload));
            }
            let read = self.socket.read_buf(&mut self.buffer).await;
            if read.expect("a clean end") == 0 {
                return None;
            }
        }
    }

    pub async fn answer(&mut self) -> Response {
        self.next().await.expect("an answer").0
    }

    pub async fn ask(&mut self, request: Request) -> Response {
        self.say(&frame(request)).await;
        self.answer().await
    }

    /// Asks for something that is refused, and returns why.
    pub async fn refused(&mut self, request: Request) -> Failure {
        match self.ask(request).await {
            Response::Failed(failure) => failure,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// The reason that the other side gives for closing, behind which nothing comes.
    pub async fn closed(&mut self) -> Failure {
        let Response::Closing { reason } = self.answer().await else {
            panic!("the connection is not closed");
        };
        assert_eq!(self.next().await, None);
        reason
    }
}
