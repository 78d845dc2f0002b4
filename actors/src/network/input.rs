//! What was read from a socket and is not handled yet.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use castmq_protocol::native::frame::{FrameError, Frames, LENGTH_BYTES};
use castmq_protocol::remoting;
use thiserror::Error;
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// A connection reads this much at a time while little comes.
const MIN_READ_BYTES: usize = 8 * 1024;

/// And this much while a lot does.
const MAX_READ_BYTES: usize = 128 * 1024;

/// Buffers that are remembered while others still hold what was read into them, at most.
const MAX_LENT: usize = 8;

/// Why nothing more can be read.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    /// The other side has finished, between two frames.
    #[error("the peer closed the connection")]
    Closed,
    /// The other side has gone in the middle of a frame.
    #[error("the peer closed the connection in the middle of a frame")]
    Truncated,
    /// What came is not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// What came is not a frame of RocketMQ's.
    #[error(transparent)]
    Remoting(#[from] remoting::FrameError),
    /// The socket failed.
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
}

/// What frames look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// CastMQ's.
    Native,
    /// RocketMQ's.
    Remoting,
}

impl Framing {
    /// Bytes of the whole frames at the front of a buffer, and what is wrong with the one behind them.
    fn whole(self, buffer: &[u8], max_frame_bytes: usize) -> (usize, Option<ReadError>) {
        match self {
            Self::Native => {
                let mut frames = Frames::new(buffer, max_frame_bytes);
                let refused = frames.by_ref().find_map(Result::err);
                (frames.consumed(), refused.map(ReadError::Frame))
            }
            Self::Remoting => {
                let mut frames = remoting::Frames::new(buffer, max_frame_bytes);
                let refused = frames.by_ref().find_map(Result::err);
                (frames.consumed(), refused.map(ReadError::Remoting))
            }
        }
    }
}

/// Collects bytes until they are whole frames.
///
/// The buffer grows with what comes, never with what a length announces. Under load the same few buffers go round: one
/// is read into while others are stored from, and new memory is not met again and again.
#[derive(Debug)]
pub(crate) struct Input {
    buffer: BytesMut,
    /// Full ones, oldest first, whose bytes are with others.
    lent: VecDeque<BytesMut>,
    /// Bytes that came since it was last looked at whether anything comes.
    came: usize,
    framing: Framing,
    max_frame_bytes: usize,
    read_bytes: usize,
}

impl Input {
    /// Begins with what was read already.
    pub(crate) fn new(already: BytesMut, framing: Framing, max_frame_bytes: usize) -> Self {
        Self {
            buffer: already,
            lent: VecDeque::new(),
            came: 0,
            framing,
            max_frame_bytes,
            read_bytes: MIN_READ_BYTES,
        }
    }

    /// All whole frames that are there, with their lengths; reads until there is at least one.
    pub(crate) fn poll_frames(
        &mut self,
        socket: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, ReadError>> {
        loop {
            if self.buffer.len() >= LENGTH_BYTES
                && let Some(frames) = self.take_frames()?
            {
                return Poll::Ready(Ok(frames));
            }
            self.make_room();
            let room = self.buffer.capacity() - self.buffer.len();
            let read = ready!(poll_read_buf(Pin::new(&mut *socket), cx, &mut self.buffer))?;
            if read == 0 {
                let between_frames = self.buffer.is_empty();
                return Poll::Ready(Err(if between_frames {
                    ReadError::Closed
                } else {
                    ReadError::Truncated
                }));
            }
            self.adapt(read, room);
        }
    }

    /// Room for the next read: what is left of the buffer, or one that came back, or new memory.
    fn make_room(&mut self) {
        let unread = self.buffer.len();
        if self.buffer.capacity() - unread >= self.read_bytes / 2
            || self.buffer.try_reclaim(self.read_bytes)
        {
            return;
        }
        if unread > MAX_READ_BYTES {
            // A long frame: room doubles, so that it is not copied again with each read.
            self.buffer.reserve(self.read_bytes);
            return;
        }
        let wanted = unread + self.read_bytes;
        let back = self.lent.iter_mut().position(|lent| {
            lent.clear();
            lent.try_reclaim(wanted)
        });
        let back = back.and_then(|index| self.lent.remove(index));
        let mut next = back.unwrap_or_else(|| BytesMut::with_capacity(wanted));
        next.extend_from_slice(&self.buffer);
        self.lent.push_back(mem::replace(&mut self.buffer, next));
        if self.lent.len() > MAX_LENT {
            self.lent.pop_front();
        }
    }

    /// Gives memory back when next to nothing came since this was last called. Whether it did.
    pub(crate) fn rest(&mut self) -> bool {
        let rests = mem::take(&mut self.came) < MIN_READ_BYTES && self.buffer.is_empty();
        if rests {
            self.buffer = BytesMut::new();
            self.lent = VecDeque::new();
            self.read_bytes = MIN_READ_BYTES;
        }
        rests
    }

    /// Reads more at a time when the last read was full, less when it was nearly empty.
    fn adapt(&mut self, read: usize, room: usize) {
        self.came = self.came.saturating_add(read);
        if read == room {
            self.read_bytes = (self.read_bytes * 4).min(MAX_READ_BYTES);
        } else if read < self.read_bytes / 64 {
            self.read_bytes = (self.read_bytes / 2).max(MIN_READ_BYTES);
        }
    }

    fn take_frames(&mut self) -> Result<Option<Bytes>, ReadError> {
        match self.framing.whole(&self.buffer, self.max_frame_bytes) {
            (0, Some(error)) => Err(error),
            (0, None) => Ok(None),
            // What came before a bad frame is served; the bad one is met again behind it.
            (whole, _) => Ok(Some(self.buffer.split_to(whole).freeze())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::task::Waker;
    use tokio::io::ReadBuf;

    /// Gives prepared chunks, then the end.
    struct Chunks(VecDeque<Vec<u8>>);

    impl AsyncRead for Chunks {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(mut chunk) = self.0.pop_front() {
                let rest = chunk.split_off(chunk.len().min(buffer.remaining()));
                buffer.put_slice(&chunk);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    fn frame(bytes: usize) -> Vec<u8> {
        let mut frame = (bytes as u32).to_le_bytes().to_vec();
        frame.extend(std::iter::repeat_n(7, bytes));
        frame
    }

    fn read_all(chunks: &[Vec<u8>], max_frame_bytes: usize) -> (Vec<u8>, ReadError) {
        let mut socket = Chunks(chunks.iter().cloned().collect());
        let mut input = Input::new(BytesMut::new(), Framing::Native, max_frame_bytes);
        let mut cx = Context::from_waker(Waker::noop());
        let mut read = Vec::new();
        loop {
            match input.poll_frames(&mut socket, &mut cx) {
                Poll::Ready(Ok(frames)) => read.extend_from_slice(&frames),
                Poll::Ready(Err(error)) => return (read, error),
                Poll::Pending => panic!("the socket never waits"),
            }
        }
    }

    #[test]
    fn frames_come_out_whole_however_they_came_in() {
        let whole: Vec<u8> = [0, 5, 300_000, 1, 9000]
            .into_iter()
            .flat_map(frame)
            .collect();
        for size in [1, 2, 3, 1000, 1 << 20] {
            let chunks: Vec<_> = whole.chunks(size).map(<[u8]>::to_vec).collect();
            let (read, end) = read_all(&chunks, 1 << 20);
            assert_eq!(read, whole);
            assert!(matches!(end, ReadError::Closed));
        }
    }

    #[test]
    fn a_frame_cut_short_is_told_apart_from_a_clean_end() {
        let (read, end) = read_all(&[frame(5), frame(9)[..8].to_vec()], 100);
        assert_eq!(read, frame(5));
        assert!(matches!(end, ReadError::Truncated));
    }

    #[test]
    fn what_came_before_a_frame_that_is_too_long_is_served() {
        let (read, end) = read_all(&[[frame(5), frame(101)].concat()], 100);
        assert_eq!(read, frame(5));
        assert!(matches!(
            end,
            ReadError::Frame(FrameError::TooLong {
                length: 101,
                limit: 100
            })
        ));
    }

    #[test]
    fn buffers_that_came_back_are_read_into_again() {
        let chunks = vec![frame(MIN_READ_BYTES - LENGTH_BYTES); 100];
        let mut socket = Chunks(chunks.into());
        let mut input = Input::new(BytesMut::new(), Framing::Native, 1 << 20);
        let mut cx = Context::from_waker(Waker::noop());
        let mut held = VecDeque::new();
        let mut places = Vec::new();
        while let Poll::Ready(Ok(frames)) = input.poll_frames(&mut socket, &mut cx) {
            places.push(frames.as_ptr());
            held.push_back(frames);
            if held.len() == 3 {
                held.pop_front();
            }
        }
        assert_eq!(places.len(), 100);
        places.sort_unstable();
        places.dedup();
        assert!(places.len() < 30, "{} places", places.len());
    }

    #[test]
    fn a_connection_at_rest_keeps_no_buffer() {
        let mut socket = Chunks(vec![frame(300_000); 10].into());
        let mut input = Input::new(BytesMut::new(), Framing::Native, 1 << 20);
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Ok(_)) = input.poll_frames(&mut socket, &mut cx) {}
        assert!(!input.rest(), "something came");
        assert!(input.rest());
        assert_eq!(input.buffer.capacity() + input.lent.capacity(), 0);
    }

    #[test]
    fn an_announced_length_takes_no_memory_until_its_bytes_come() {
        let announced = ((1_u32 << 30) - 1).to_le_bytes().to_vec();
        let mut socket = Chunks([announced, vec![0; 100]].into_iter().collect());
        let mut input = Input::new(BytesMut::new(), Framing::Native, 1 << 30);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(
            input.poll_frames(&mut socket, &mut cx),
            Poll::Ready(Err(ReadError::Truncated))
        ));
        assert!(input.buffer.capacity() <= 2 * MIN_READ_BYTES);
    }
}
