//! What waits to be written to a socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use castmq_storage::commit_log::LogSlice;
use tokio::io::AsyncWrite;

/// Pieces handed to one vectored write.
const MAX_PIECES: usize = 64;

/// A run of log bytes shorter than this is copied: many tiny pieces cost a write more than copying them does.
const MIN_SLICE_BYTES: usize = 4 * 1024;

/// A buffer that grew beyond this is given back once it is empty.
const KEPT_BUFFER_BYTES: usize = 512 * 1024;

/// Bytes on their way out, in order: frames that were encoded, and stretches of the log that are sent from where they
/// lie.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Whole pieces before `tail`.
    pieces: VecDeque<Bytes>,
    /// Bytes in `pieces`.
    piece_bytes: usize,
    tail: BytesMut,
}

impl Output {
    /// Where frames are encoded to.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Appends log bytes, by reference when there are enough of them.
    pub(crate) fn push_log(&mut self, slice: LogSlice) {
        if slice.len() < MIN_SLICE_BYTES {
            self.tail.extend_from_slice(slice.as_ref());
            return;
        }
        if !self.tail.is_empty() {
            let before = self.tail.split().freeze();
            self.piece_bytes += before.len();
            self.pieces.push_back(before);
        }
        self.piece_bytes += slice.len();
        self.pieces.push_back(slice.into_bytes());
    }

    /// Gives memory back when nothing is waiting.
    pub(crate) fn rest(&mut self) {
        if self.pending_bytes() == 0 {
            *self = Self::default();
        }
    }

    /// Bytes that are waiting.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.piece_bytes + self.tail.len()
    }

    /// Writes until everything is out or the socket takes no more.
    pub(crate) fn poll_write(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.pending_bytes() > 0 {
            let written = if self.pieces.is_empty() {
                ready!(Pin::new(&mut *socket).poll_write(cx, &self.tail))?
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_PIECES];
                let waiting = self.pieces.iter().map(|piece| &**piece);
                let waiting = waiting.chain([&*self.tail]);
                let mut count = 0;
                for (slice, piece) in slices.iter_mut().zip(waiting) {
                    *slice = IoSlice::new(piece);
                    count += 1;
                }
                let slices = slices.get(..count).unwrap_or_default();
                ready!(Pin::new(&mut *socket).poll_write_vectored(cx, slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.pieces.front_mut() {
            if written < first.len() {
                first.advance(written);
                self.piece_bytes -= written;
                return;
            }
            written -= first.len();
            self.piece_bytes -= first.len();
            self.pieces.pop_front();
        }
        if written < self.tail.len() {
            self.tail.advance(written);
        } else if self.tail.capacity() > KEPT_BUFFER_BYTES {
            self.tail = BytesMut::new();
        } else {
            self.tail.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// Takes a few bytes at a time.
    struct Narrow {
        taken: Vec<u8>,
        width: usize,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.width);
            self.taken.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut taken = 0;
            for piece in pieces {
                let more = piece.len().min(self.width - taken);
                self.taken.extend_from_slice(&piece[..more]);
                taken += more;
            }
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn pieces_leave_in_the_order_they_came_however_little_is_taken() {
        for width in [1, 3, 7, 1000] {
            let mut output = Output::default();
            let mut expected = Vec::new();
            for round in 0..100_u8 {
                output.buffer().extend_from_slice(&[round; 5]);
                expected.extend([round; 5]);
                if round % 3 == 0 {
                    let before = output.tail.split().freeze();
                    output.piece_bytes += before.len();
                    output.pieces.push_back(before);
                }
            }
            assert_eq!(output.pending_bytes(), 500);
            let mut socket = Narrow {
                taken: Vec::new(),
                width,
            };
            let mut cx = Context::from_waker(Waker::noop());
            assert!(output.poll_write(&mut socket, &mut cx).is_ready());
            assert_eq!(socket.taken, expected);
            assert_eq!(output.pending_bytes(), 0);
        }
    }
}
