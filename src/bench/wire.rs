//! The native wire as a load generator speaks it: as little work per request as can be.

use std::io;

use bytes::{Buf, BytesMut};
use castmq_protocol::native::frame::{Frames, PREFACE, decode_header, encode_frame};
use castmq_protocol::native::{
    ClientHeader, Hello, Request, Response, Role, ServerHeader, VERSION,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::BenchError;

/// Longest frame of an answer.
pub(crate) const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;

/// A connection.
pub(crate) struct Wire {
    pub(crate) socket: TcpStream,
    pub(crate) input: BytesMut,
}

impl Wire {
    /// Connects and says nothing yet.
    pub(crate) async fn open(address: &str) -> Result<Self, BenchError> {
        let connected = TcpStream::connect(address).await;
        let socket = connected.map_err(|source| BenchError::Connect {
            address: address.to_owned(),
            source,
        })?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            input: BytesMut::with_capacity(256 * 1024),
        })
    }

    /// Connects and greets.
    pub(crate) async fn connect(address: &str, role: Role, name: &str) -> Result<Self, BenchError> {
        let mut wire = Self::open(address).await?;
        wire.socket.write_all(&PREFACE).await?;
        let hello = Request::Hello(Hello {
            version: VERSION,
            role,
            client_id: name.to_owned(),
            software: "castmq bench".to_owned(),
            credentials: None,
        });
        match wire.ask(hello).await? {
            Response::Welcome(_) => Ok(wire),
            other => Err(BenchError::Unexpected(format!("{other:?}"))),
        }
    }

    /// Asks one thing and waits for the answer.
    pub(crate) async fn ask(&mut self, request: Request) -> Result<Response, BenchError> {
        let header = ClientHeader {
            correlation: 1,
            request,
        };
        let mut out = BytesMut::new();
        encode_frame(&header, &[], &mut out);
        self.socket.write_all(&out).await?;
        loop {
            let mut frames = Frames::new(&self.input, MAX_FRAME_BYTES);
            if let Some(frame) = frames.next() {
                let frame = frame.map_err(io::Error::other)?;
                let (header, _) = decode_header::<ServerHeader>(frame).map_err(io::Error::other)?;
                let consumed = frames.consumed();
                self.input.advance(consumed);
                return match header.response {
                    Response::Failed(refusal) => Err(BenchError::Refused(refusal.message)),
                    response => Ok(response),
                };
            }
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

/// The correlation of an answer, and whether it says that something is stored. Anything else is decoded whole.
pub(crate) fn acknowledged(frame: &[u8]) -> Result<u64, BenchError> {
    /// `Response::Sent` and `Response::BatchSent` on the wire.
    const STORED: [u32; 2] = [5, 6];
    let parts = frame
        .split_first_chunk::<8>()
        .and_then(|(correlation, rest)| Some((correlation, rest.first_chunk::<4>()?)));
    if let Some((correlation, kind)) = parts
        && STORED.contains(&u32::from_le_bytes(*kind))
    {
        return Ok(u64::from_le_bytes(*correlation));
    }
    let (header, _) = decode_header::<ServerHeader>(frame).map_err(io::Error::other)?;
    match header.response {
        Response::Failed(reason) | Response::Closing { reason } => {
            Err(BenchError::Refused(reason.message))
        }
        other => Err(BenchError::Unexpected(format!("{other:?}"))),
    }
}
