//! The first exchange on a connection: preface, hello, welcome.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use castmq_protocol::native::frame::{LENGTH_BYTES, PREFACE, decode_header, encode_frame};
use castmq_protocol::native::{
    ClientHeader, ErrorCode, Failure as Refusal, FrameError, Frames, Request, Response, Role,
    ServerHeader, VERSION, Welcome, response::PUSH,
};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::connection::Farewell;
use super::socket::Stream;

/// Longest hello frame: nobody has said yet who they are.
const MAX_HELLO_BYTES: usize = 64 * 1024;

/// Longest client id.
const MAX_CLIENT_ID_BYTES: usize = 256;

/// Who is at the other end.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) client_id: String,
    pub(crate) software: String,
    pub(crate) role: Role,
    pub(crate) peer: SocketAddr,
}

impl Client {
    /// What a client is told that asks for something its role does not have.
    pub(crate) fn wrong_role(&self) -> Refusal {
        Refusal::never(
            ErrorCode::WrongRole,
            format!(
                "the request is not for connections with the role {:?}: open another connection with the right role",
                self.role
            ),
        )
    }
}

/// A connection that has been greeted.
#[derive(Debug)]
pub(crate) struct Greeted {
    pub(crate) socket: Stream,
    pub(crate) client: Client,
    /// What was read behind the hello.
    pub(crate) already: BytesMut,
}

/// How a connection was opened.
#[derive(Debug)]
pub(crate) enum Opening {
    /// With a hello.
    Native(Greeted),
    /// With something else, which is left to others.
    Foreign(Stream, BytesMut),
}

/// Why a connection was not opened.
#[derive(Debug, Error)]
pub(crate) enum GreetingError {
    #[error("reading or writing failed: {0}")]
    Io(#[from] io::Error),
    #[error("no hello came within {0:?}: say hello at once, or raise limits.handshake_timeout_ms")]
    Late(Duration),
    #[error(
        "the first bytes are {0:02x?}: CastMQ's native protocol begins with CMQ1, RocketMQ's, on the ports of brokers and name \
         servers, with the length of a frame of at most limits.max_frame_bytes{hint}",
        hint = if is_tls(*.0) { "; TLS, which this is, has to be off in the client (tls.enable=false)" } else { "" }
    )]
    Preface([u8; 4]),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Refused(Refusal),
}

/// Whether a TLS handshake begins so.
fn is_tls(first: [u8; 4]) -> bool {
    matches!(first, [22, 3, ..])
}

impl GreetingError {
    /// What the other side is told, where it can be told anything.
    fn reason(&self) -> Option<Refusal> {
        let code = match self {
            Self::Io(_) | Self::Refused(_) => return None,
            Self::Preface(_) => ErrorCode::UnsupportedVersion,
            Self::Late(_) | Self::Frame(_) => ErrorCode::InvalidRequest,
        };
        Some(Refusal::never(code, self.to_string()))
    }
}

/// Reads the hello and answers it. `welcome` is what accepted clients are told; `check` may refuse them. What does not begin with
/// the preface is left to others when `is_foreign` says so.
pub(crate) async fn greet(
    mut socket: Stream,
    peer: SocketAddr,
    within: Duration,
    is_foreign: impl FnOnce([u8; 4]) -> bool,
    welcome: Welcome,
    check: impl FnOnce(&Client) -> Result<(), Refusal>,
) -> Result<Opening, GreetingError> {
    socket.set_nodelay()?;
    let mut buffer = BytesMut::with_capacity(1024);
    let hello = timeout(within, read_hello(&mut socket, &mut buffer)).await;
    let header = match hello.unwrap_or(Err(GreetingError::Late(within))) {
        Ok(header) => header,
        Err(GreetingError::Preface(first)) if is_foreign(first) => {
            return Ok(Opening::Foreign(socket, buffer));
        }
        Err(error) => {
            if let Some(reason) = error.reason() {
                let closing = Response::Closing { reason };
                turn_away(socket, within, PUSH, closing).await;
            }
            return Err(error);
        }
    };
    let client = match accept(header.request, peer, check) {
        Ok(client) => client,
        Err(refusal) => {
            let failed = Response::Failed(refusal.clone());
            turn_away(socket, within, header.correlation, failed).await;
            return Err(GreetingError::Refused(refusal));
        }
    };
    let welcome = Response::Welcome(welcome);
    timeout(within, say(&mut socket, header.correlation, welcome))
        .await
        .map_err(|_| GreetingError::Late(within))??;
    Ok(Opening::Native(Greeted {
        socket,
        client,
        already: buffer,
    }))
}

async fn say(socket: &mut Stream, correlation: u64, response: Response) -> io::Result<()> {
    let header = ServerHeader {
        correlation,
        response,
    };
    let mut out = BytesMut::new();
    encode_frame(&header, &[], &mut out);
    socket.write_all(&out).await
}

/// Says why a connection is not opened, to whoever hears it.
async fn turn_away(mut socket: Stream, within: Duration, correlation: u64, response: Response) {
    let said = timeout(within, say(&mut socket, correlation, response)).await;
    if matches!(said, Ok(Ok(()))) {
        let mut farewell = Farewell::default();
        poll_fn(|cx| farewell.poll(&mut socket, cx)).await;
    }
}

async fn read_hello(
    socket: &mut Stream,
    buffer: &mut BytesMut,
) -> Result<ClientHeader, GreetingError> {
    while buffer.len() < PREFACE.len() {
        read_some(socket, buffer).await?;
    }
    if let Some(first) = buffer.first_chunk::<{ PREFACE.len() }>()
        && *first != PREFACE
    {
        return Err(GreetingError::Preface(*first));
    }
    buffer.advance(PREFACE.len());
    loop {
        let mut frames = Frames::new(buffer, MAX_HELLO_BYTES);
        if let Some(frame) = frames.next() {
            let (header, _) = decode_header::<ClientHeader>(frame?)?;
            let consumed = frames.consumed();
            debug_assert!(consumed >= LENGTH_BYTES);
            buffer.advance(consumed);
            return Ok(header);
        }
        read_some(socket, buffer).await?;
    }
}

async fn read_some(socket: &mut Stream, buffer: &mut BytesMut) -> io::Result<()> {
    match socket.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn accept(
    request: Request,
    peer: SocketAddr,
    check: impl FnOnce(&Client) -> Result<(), Refusal>,
) -> Result<Client, Refusal> {
    let Request::Hello(hello) = request else {
        return Err(Refusal::never(
            ErrorCode::InvalidRequest,
            "a connection begins with a hello",
        ));
    };
    if hello.version < VERSION {
        return Err(Refusal::never(
            ErrorCode::UnsupportedVersion,
            format!(
                "version {} of the protocol is not spoken here, {VERSION} is: update the client",
                hello.version
            ),
        ));
    }
    if hello.client_id.is_empty() || hello.client_id.len() > MAX_CLIENT_ID_BYTES {
        return Err(Refusal::never(
            ErrorCode::InvalidRequest,
            format!("a client id has 1 to {MAX_CLIENT_ID_BYTES} bytes"),
        ));
    }
    let client = Client {
        client_id: hello.client_id,
        // Shown to operators, and nothing hangs on it.
        software: hello.software.chars().take(MAX_CLIENT_ID_BYTES).collect(),
        role: hello.role,
        peer,
    };
    check(&client)?;
    Ok(client)
}
