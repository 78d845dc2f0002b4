//! A socket with what was read and what waits to be written, and the loop that every session runs.
//!
//! A session is woken by its socket or by a message. Each time it first writes what is waiting, then reads what is
//! there and hands all whole frames to the session at once, then writes what came of it: one read, one batch, one write
//! a wake-up.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use castmq_protocol::native::frame::{Frames, begin_frame, decode_header};
use castmq_protocol::native::{
    ClientHeader, ErrorCode, Failure, Response, ServerHeader, response::PUSH,
};
use castmq_storage::commit_log::LogSlice;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::input::ReadError;
pub(crate) use super::input::{Framing, Input};
use super::listener::Seat;
use super::output::Output;
use super::socket::Stream;
use crate::supervision::{Cast, Ctx, Hold};

/// How long a connection that was told why it ends is read on, so that what was told arrives: a socket that is closed
/// with bytes unread makes the other side's system drop what it was sent.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes that are read on, at most.
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// Reads in one turn, after which others get theirs.
const READS_A_TURN: usize = 4;

/// An open connection.
pub(crate) struct Connection {
    socket: Stream,
    peer: SocketAddr,
    input: Input,
    output: Output,
    last_read: Instant,
    /// Nothing more is read; it ends when everything owed has been written.
    is_closing: bool,
    /// Nothing more will be written either.
    is_over: bool,
    /// Why it ends, until that is put in line behind everything owed.
    reason: Option<Failure>,
    /// The other side was told why: it is given time to hear it.
    farewell: Option<Farewell>,
    /// Keeps a session that was told to stop until everything owed has been written.
    hold: Option<Hold>,
    /// Its place among the connections that there may be.
    _seat: Seat,
}

impl Connection {
    /// Takes over an accepted socket, with what was read from it already.
    pub(crate) fn new(socket: Stream, peer: SocketAddr, input: Input, seat: Seat) -> Self {
        Self {
            socket,
            peer,
            input,
            output: Output::default(),
            last_read: Instant::now(),
            is_closing: false,
            is_over: false,
            reason: None,
            farewell: None,
            hold: None,
            _seat: seat,
        }
    }

    /// Where the other side is.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Puts an answer in line to be written.
    #[inline]
    pub(crate) fn answer(&mut self, correlation: u64, response: Response) {
        let header = ServerHeader {
            correlation,
            response,
        };
        begin_frame(&header, 0, self.output.buffer());
    }

    /// Puts a failure in line to be written.
    pub(crate) fn fail(&mut self, correlation: u64, failure: Failure) {
        self.answer(correlation, Response::Failed(failure));
    }

    /// Puts a frame with a payload, which is copied, in line to be written.
    pub(crate) fn answer_with(&mut self, correlation: u64, response: Response, payload: &[u8]) {
        let header = ServerHeader {
            correlation,
            response,
        };
        begin_frame(&header, payload.len(), self.output.buffer());
        self.output.buffer().extend_from_slice(payload);
    }

    /// Puts a frame with stretches of the log in line to be written.
    pub(crate) fn answer_with_log(
        &mut self,
        correlation: u64,
        response: Response,
        payload: Vec<LogSlice>,
    ) {
        let header = ServerHeader {
            correlation,
            response,
        };
        let bytes = payload.iter().map(LogSlice::len).sum();
        begin_frame(&header, bytes, self.output.buffer());
        self.push_log(payload);
    }

    /// Where frames of another wire than the native one are written to.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        self.output.buffer()
    }

    /// Puts stretches of the log in line to be written, behind the head of their frame.
    pub(crate) fn push_log(&mut self, slices: Vec<LogSlice>) {
        for slice in slices {
            self.output.push_log(slice);
        }
    }

    /// Bytes that wait to be written.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.output.pending_bytes()
    }

    /// How long nothing came.
    pub(crate) fn silent_for(&self) -> Duration {
        self.last_read.elapsed()
    }

    /// Answers what is owed, tells the other side why, and closes once that is written. Nothing more is read.
    pub(crate) fn close(&mut self, reason: Failure) {
        if !self.is_closing {
            self.is_closing = true;
            self.reason = Some(reason);
            self.farewell = Some(Farewell::default());
        }
    }

    /// The session was told to stop: what is owed is still written, as long as its supervisor waits.
    pub(crate) fn say_goodbye(&mut self, reason: Failure, hold: Hold) {
        if !self.is_over {
            self.close(reason);
            self.hold = Some(hold);
        }
    }

    /// Everything was written. Ready when the other side had time to hear of the end.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.farewell {
            Some(farewell) => farewell.poll(&mut self.socket, cx),
            None => Poll::Ready(()),
        }
    }

    /// Gives back the memory that a connection with little traffic does not need.
    fn rest(&mut self) {
        if self.input.rest() {
            self.output.rest();
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.output.poll_write(&mut self.socket, cx)
    }

    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, ReadError>> {
        let frames = self.input.poll_frames(&mut self.socket, cx);
        if matches!(frames, Poll::Ready(Ok(_))) {
            self.last_read = Instant::now();
        }
        frames
    }
}

/// The end of a connection whose other side may still be sending.
#[derive(Debug)]
pub(super) struct Farewell {
    is_shut: bool,
    left_bytes: usize,
    time: Option<Pin<Box<Sleep>>>,
}

impl Default for Farewell {
    fn default() -> Self {
        Self {
            is_shut: false,
            left_bytes: LINGER_BYTES,
            time: None,
        }
    }
}

impl Farewell {
    /// Says that nothing more will be written, and reads on until the other side has finished too, for a while.
    pub(super) fn poll(
        &mut self,
        socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let time = self.time.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        if time.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !self.is_shut {
            if ready!(Pin::new(&mut *socket).poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            self.is_shut = true;
        }
        let mut unread = [0; 8 * 1024];
        while self.left_bytes > 0 {
            let mut buffer = ReadBuf::new(&mut unread);
            let read = ready!(Pin::new(&mut *socket).poll_read(cx, &mut buffer));
            let bytes = buffer.filled().len();
            if read.is_err() || bytes == 0 {
                return Poll::Ready(());
            }
            self.left_bytes = self.left_bytes.saturating_sub(bytes);
        }
        Poll::Ready(())
    }
}

/// An actor that owns a connection.
pub(crate) trait Session: Cast {
    /// Its connection.
    fn connection(&mut self) -> &mut Connection;

    /// Whether there is room for more requests: credit, and little waiting to be written.
    /// When not, `cx` is woken once there is, or a message will come.
    fn may_read(&self, cx: &mut Context<'_>) -> bool;

    /// Whether answers are owed that are still to come.
    fn is_owing(&self) -> bool {
        false
    }

    /// How long the other side may say nothing: `idle_timeout`, unless somebody else watches over it.
    fn may_be_silent_for(&self, idle_timeout: Duration) -> Duration {
        idle_timeout
    }

    /// Handles whole frames with their lengths, all that one read brought. A failure closes the connection.
    fn handle_frames(&mut self, frames: Bytes, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure>;

    /// Tells the other side why the connection ends, when there is a way to.
    fn say_why(&mut self, reason: Failure) {
        self.connection().answer(PUSH, Response::Closing { reason });
    }

    /// Something was written: there may be room for more.
    fn written(&mut self, ctx: &mut Ctx<'_, Self>) {
        let _ = ctx;
    }
}

/// The requests of whole frames, where payloads do not matter.
pub(crate) fn headers(frames: &[u8]) -> impl Iterator<Item = Result<ClientHeader, Failure>> {
    Frames::new(frames, usize::MAX).map(|frame| {
        let decoded = frame.and_then(decode_header);
        let (header, _) = decoded
            .map_err(|error| Failure::never(ErrorCode::InvalidRequest, error.to_string()))?;
        Ok(header)
    })
}

/// Lets a session read and write from now on, and closes its connection after `idle_timeout` of silence, or the longer one
/// that the session allows by then.
pub(crate) fn attach<S: Session>(ctx: &mut Ctx<'_, S>, idle_timeout: Duration) {
    ctx.poll_with(|session, ctx, cx| {
        let turn = drive(session, ctx, cx);
        if turn.is_ready() {
            let connection = session.connection();
            connection.is_over = true;
            connection.hold = None;
            ctx.stop();
        }
        turn
    });
    ctx.every(idle_timeout / 4, move |session, ctx| {
        let allowed = session.may_be_silent_for(idle_timeout);
        let connection = session.connection();
        if connection.silent_for() < allowed {
            connection.rest();
            return;
        }
        // One that was told so before and did not take it in: a peer that does not read would be kept for ever.
        if connection.hold.take().is_none() {
            tracing::debug!(peer = %connection.peer(), "closing an idle connection");
            connection.close(Failure::safe(
                ErrorCode::InvalidRequest,
                format!(
                    "nothing came for {allowed:?}: send heartbeats, or raise limits.idle_timeout_ms"
                ),
            ));
            ctx.stop();
        }
    });
}

/// One turn. Ready when the connection is over.
fn drive<S: Session>(session: &mut S, ctx: &mut Ctx<'_, S>, cx: &mut Context<'_>) -> Poll<()> {
    for _ in 0..READS_A_TURN {
        if write(session, ctx, cx).is_err() {
            return Poll::Ready(());
        }
        if session.connection().is_closing {
            if session.is_owing() {
                return Poll::Pending;
            }
            if let Some(reason) = session.connection().reason.take() {
                session.say_why(reason);
                continue;
            }
            return match session.connection().pending_bytes() {
                0 => session.connection().poll_end(cx),
                _ => Poll::Pending,
            };
        }
        if !session.may_read(cx) {
            return Poll::Pending;
        }
        match session.connection().poll_frames(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(frames)) => {
                if let Err(failure) = session.handle_frames(frames, ctx) {
                    let connection = session.connection();
                    tracing::info!(peer = %connection.peer, error = %failure, "connection lost");
                    connection.close(failure);
                }
            }
            Poll::Ready(Err(error)) => end_of_input(session, error),
        }
    }
    // There may be more to read: the others first.
    if write(session, ctx, cx).is_err() {
        return Poll::Ready(());
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

fn write<S: Session>(
    session: &mut S,
    ctx: &mut Ctx<'_, S>,
    cx: &mut Context<'_>,
) -> io::Result<()> {
    let connection = session.connection();
    let before = connection.pending_bytes();
    if before == 0 {
        return Ok(());
    }
    let result = match connection.poll_write(cx) {
        Poll::Ready(result) => result,
        Poll::Pending => Ok(()),
    };
    if connection.pending_bytes() < before {
        session.written(ctx);
    }
    result
}

fn end_of_input<S: Session>(session: &mut S, error: ReadError) {
    let connection = session.connection();
    match &error {
        ReadError::Closed => tracing::debug!(peer = %connection.peer, "connection closed"),
        _ => tracing::info!(peer = %connection.peer, %error, "connection lost"),
    }
    match error {
        ReadError::Frame(_) | ReadError::Remoting(_) => {
            connection.close(Failure::never(ErrorCode::InvalidRequest, error.to_string()))
        }
        _ => connection.is_closing = true,
    }
}
