//! Frames that wait to be written, in order, within the other side's window.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use castmq_protocol::native::ClientHeader;
use castmq_protocol::native::frame::begin_frame;

use super::pending::Pending;

/// Payloads up to this length are copied next to their headers; longer ones are written from where they lie. A copy of
/// this length costs less than another slice in a vectored write gains.
const COPY_BYTES: usize = 16 * 1024;

/// What travels behind a header: a head (properties, or a whole payload), then a body.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use castmq_client::raw::Payload;
///
/// let payload = Payload::new(b"TAGS\x01a\x02", Bytes::from_static(b"body"));
/// assert_eq!(payload.len(), 11);
/// assert!(Payload::none().is_empty());
/// ```
#[derive(Debug, Clone)]
pub struct Payload<'a> {
    head: &'a [u8],
    body: Body<'a>,
}

/// A body that is given, or only lent: counting references costs as much as copying a short body.
#[derive(Debug, Clone)]
enum Body<'a> {
    Given(Bytes),
    Lent(&'a Bytes),
}

impl Body<'_> {
    fn bytes(&self) -> &Bytes {
        match self {
            Self::Given(bytes) => bytes,
            Self::Lent(bytes) => bytes,
        }
    }
}

impl<'a> Payload<'a> {
    /// Nothing.
    pub fn none() -> Self {
        Self::new(b"", Bytes::new())
    }

    /// A head, which is copied, and a body, which is not when it is long.
    pub fn new(head: &'a [u8], body: Bytes) -> Self {
        Self {
            head,
            body: Body::Given(body),
        }
    }

    /// Like [`Payload::new`], with a body that the caller keeps too.
    pub fn lent(head: &'a [u8], body: &'a Bytes) -> Self {
        Self {
            head,
            body: Body::Lent(body),
        }
    }

    /// Length of both, in bytes.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.bytes().len()
    }

    /// Whether there is neither.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One frame in the outbox.
#[derive(Debug)]
struct Mark {
    /// 0 for a frame that nobody answers.
    correlation: u64,
    /// Bytes of it in the buffer.
    inline: usize,
    /// Bytes of it altogether.
    total: usize,
    /// Whether a body of its own follows.
    attached: bool,
}

/// Frames that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    buffer: BytesMut,
    attached: VecDeque<Bytes>,
    marks: VecDeque<Mark>,
    bytes: usize,
}

impl Outbox {
    /// An outbox that opens the connection with these bytes.
    pub(super) fn opening_with(preface: &[u8]) -> Self {
        let mut outbox = Self::default();
        outbox.buffer.put_slice(preface);
        outbox.mark(0, preface.len(), None);
        outbox
    }

    fn mark(&mut self, correlation: u64, inline: usize, body: Option<Bytes>) -> usize {
        let total = inline + body.as_ref().map_or(0, Bytes::len);
        self.marks.push_back(Mark {
            correlation,
            inline,
            total,
            attached: body.is_some(),
        });
        self.attached.extend(body);
        self.bytes += total;
        total
    }

    /// Adds a frame and returns its length. `correlation` is 0 when nobody answers it; the header's own then does not
    /// matter to the other side.
    pub(super) fn push(
        &mut self,
        correlation: u64,
        header: &ClientHeader,
        payload: &Payload<'_>,
    ) -> usize {
        let start = begin_frame(header, payload.len(), &mut self.buffer);
        self.buffer.put_slice(payload.head);
        let body = payload.body.bytes();
        let body = if body.len() > COPY_BYTES {
            Some(body.clone())
        } else {
            self.buffer.put_slice(body);
            None
        };
        self.mark(correlation, self.buffer.len() - start, body)
    }

    /// Removes the frame that was added last, which must not have been taken.
    pub(super) fn pop(&mut self) {
        let Some(mark) = self.marks.pop_back() else {
            return;
        };
        self.buffer.truncate(self.buffer.len() - mark.inline);
        if mark.attached {
            self.attached.pop_back();
        }
        self.bytes -= mark.total;
    }

    /// Bytes waiting.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Moves to `out` what may be written now: frames in order, as long as unanswered bytes stay within the window.
    ///
    /// A frame longer than the window goes when nothing else is unanswered. A frame whose request was given up is
    /// dropped: its sender was told that it was not sent.
    pub(super) fn take<W>(
        &mut self,
        pending: &mut Pending<W>,
        window_bytes: usize,
        out: &mut VecDeque<Bytes>,
    ) {
        let mut run = 0;
        while let Some(mark) = self.marks.front() {
            let unanswered = pending.unanswered_bytes();
            let fits = unanswered == 0 || unanswered + mark.total <= window_bytes;
            if mark.correlation != 0 && !fits {
                break;
            }
            let (inline, attached) = (mark.inline, mark.attached);
            let wanted = mark.correlation == 0 || pending.write(mark.correlation);
            self.bytes -= mark.total;
            self.marks.pop_front();
            let body = if attached {
                self.attached.pop_front()
            } else {
                None
            };
            if wanted {
                run += inline;
            }
            if body.is_some() || !wanted {
                self.take_run(&mut run, out);
            }
            if wanted {
                out.extend(body);
            } else {
                self.buffer.advance(inline);
            }
        }
        self.take_run(&mut run, out);
    }

    fn take_run(&mut self, run: &mut usize, out: &mut VecDeque<Bytes>) {
        if *run > 0 {
            out.push_back(self.buffer.split_to(*run).freeze());
            *run = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pending::Waiting;
    use super::*;
    use castmq_protocol::native::Request;
    use castmq_protocol::native::frame::{Frames, decode_header};
    use proptest::prelude::*;
    use tokio::time::Instant;

    fn ask(outbox: &mut Outbox, pending: &mut Pending<()>, body: &Bytes) -> (u64, usize) {
        let correlation = pending.next_correlation();
        let header = ClientHeader {
            correlation,
            request: Request::Heartbeat,
        };
        let bytes = outbox.push(correlation, &header, &Payload::new(b"head", body.clone()));
        let now = Instant::now();
        pending.insert(Waiting {
            waiter: (),
            request: "heartbeat",
            asked: now,
            deadline: now,
            bytes,
            written: false,
        });
        (correlation, bytes)
    }

    fn written(out: &VecDeque<Bytes>) -> Vec<(u64, Vec<u8>)> {
        let bytes: Vec<u8> = out.iter().flatten().copied().collect();
        let mut frames = Frames::new(&bytes, usize::MAX);
        let read = frames
            .by_ref()
            .map(|frame| {
                let frame = frame.unwrap();
                let (header, at) = decode_header::<ClientHeader>(frame).unwrap();
                (header.correlation, frame[at..].to_vec())
            })
            .collect();
        assert_eq!(frames.consumed(), bytes.len());
        read
    }

    #[test]
    fn frames_wait_while_the_window_is_full_and_go_when_answers_come() {
        let (mut outbox, mut pending) = (Outbox::default(), Pending::default());
        let body = Bytes::from_static(b"x");
        let (first, bytes) = ask(&mut outbox, &mut pending, &body);
        ask(&mut outbox, &mut pending, &body);
        ask(&mut outbox, &mut pending, &body);
        let mut out = VecDeque::new();
        outbox.take(&mut pending, 2 * bytes, &mut out);
        assert_eq!(written(&out).len(), 2);
        outbox.take(&mut pending, 2 * bytes, &mut out);
        assert_eq!(written(&out).len(), 2);
        pending.take(first);
        outbox.take(&mut pending, 2 * bytes, &mut out);
        assert_eq!(written(&out).len(), 3);
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn a_frame_longer_than_the_window_goes_alone() {
        let (mut outbox, mut pending) = (Outbox::default(), Pending::default());
        let (first, _) = ask(&mut outbox, &mut pending, &Bytes::from(vec![1; 100]));
        ask(&mut outbox, &mut pending, &Bytes::new());
        let mut out = VecDeque::new();
        outbox.take(&mut pending, 10, &mut out);
        assert_eq!(written(&out).len(), 1);
        pending.take(first);
        outbox.take(&mut pending, 10, &mut out);
        assert_eq!(written(&out).len(), 2);
    }

    #[test]
    fn a_request_given_up_before_it_was_written_is_never_written() {
        let (mut outbox, mut pending) = (Outbox::default(), Pending::default());
        let bodies = [1, 100_000, 2].map(|length| Bytes::from(vec![7; length]));
        let asked: Vec<_> = bodies
            .iter()
            .map(|body| ask(&mut outbox, &mut pending, body).0)
            .collect();
        pending.take(asked[1]);
        let mut out = VecDeque::new();
        outbox.take(&mut pending, usize::MAX, &mut out);
        let read: Vec<_> = written(&out)
            .into_iter()
            .map(|(c, p)| (c, p.len()))
            .collect();
        assert_eq!(read, [(asked[0], 5), (asked[2], 6)]);
    }

    #[test]
    fn a_frame_taken_back_leaves_no_trace() {
        let (mut outbox, mut pending) = (Outbox::default(), Pending::default());
        let (first, _) = ask(&mut outbox, &mut pending, &Bytes::new());
        ask(&mut outbox, &mut pending, &Bytes::from(vec![0; 100_000]));
        outbox.pop();
        let mut out = VecDeque::new();
        outbox.take(&mut pending, usize::MAX, &mut out);
        assert_eq!(written(&out), [(first, b"head".to_vec())]);
    }

    proptest! {
        #[test]
        fn every_frame_is_written_once_whole_and_in_order(lengths in prop::collection::vec(0_usize..40_000, 1..20), window in 1_usize..100_000) {
            let (mut outbox, mut pending) = (Outbox::default(), Pending::default());
            let mut asked = VecDeque::new();
            for (n, length) in lengths.iter().enumerate() {
                let body = Bytes::from(vec![n as u8; *length]);
                let (correlation, _) = ask(&mut outbox, &mut pending, &body);
                asked.push_back((correlation, [&b"head"[..], &body].concat()));
            }
            while !asked.is_empty() {
                let mut out = VecDeque::new();
                outbox.take(&mut pending, window, &mut out);
                let read = written(&out);
                prop_assert!(!read.is_empty());
                for frame in read {
                    prop_assert_eq!(Some(&frame), asked.front());
                    asked.pop_front();
                    prop_assert!(pending.unanswered_bytes() <= window || asked.is_empty() || pending.unanswered_bytes() > 0);
                    pending.take(frame.0);
                }
            }
            prop_assert_eq!(outbox.bytes(), 0);
        }
    }
}
