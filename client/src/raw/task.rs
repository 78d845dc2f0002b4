//! The task that owns a connection's socket.
//!
//! Once per wake-up it reads what there is, decodes every whole frame, hands out the answers, and writes everything that
//! waits with one write.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use castmq_protocol::native::frame::{
    DEFAULT_MAX_FRAME_BYTES, Frames, LENGTH_BYTES, decode_header,
};
use castmq_protocol::native::response::PUSH;
use castmq_protocol::native::{ClientHeader, FrameError, Request, Response, ServerHeader};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::connection::{End, Push, Shared, Waiter, result};
use super::dial::Stream;
use super::outbox::{Outbox, Payload};
use super::pending::Waiting;
use crate::error::{Error, Result};

/// Room for one read, doubled while reads fill it.
const READ_BYTES: Range<usize> = 16 * 1024..256 * 1024;

/// Rounds of reading and writing before other tasks get their turn.
const ROUNDS: usize = 8;

/// Slices in one vectored write; Linux takes 1024.
const WRITE_SLICES: usize = 64;

/// How long a heartbeat's answer may take.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long what waits to be written may hold up closing.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest frame taken: records of a delivery, which the other side's limit on requests does not bound.
const MAX_FRAME_BYTES: usize = 4 * DEFAULT_MAX_FRAME_BYTES;

pub(super) struct Task {
    stream: Box<dyn Stream>,
    shared: Arc<Shared>,
    pushes: mpsc::UnboundedSender<Push>,
    read: BytesMut,
    read_bytes: usize,
    writing: VecDeque<Bytes>,
    /// Decoded headers and where their payloads lie, of one read.
    arrived: Vec<(ServerHeader, Range<usize>)>,
    answers: Vec<(ServerHeader, Bytes)>,
    /// Who waits for each of the answers. `None` for what took too long: nobody does any more.
    waiters: Vec<Option<Waiting<Waiter>>>,
    expired: Vec<Waiting<Waiter>>,
    timer: Pin<Box<Sleep>>,
    timer_at: Option<Instant>,
    last_read: Instant,
    /// Whether anything ever came.
    has_heard: bool,
    /// When the socket last took something.
    last_write: Instant,
    last_heartbeat: Instant,
    /// When closing ends, written or not.
    close_by: Option<Instant>,
}

impl Task {
    pub(super) fn new(
        stream: Box<dyn Stream>,
        shared: Arc<Shared>,
        pushes: mpsc::UnboundedSender<Push>,
    ) -> Self {
        let now = Instant::now();
        Self {
            stream,
            shared,
            pushes,
            read: BytesMut::new(),
            read_bytes: READ_BYTES.start,
            writing: VecDeque::new(),
            arrived: Vec::new(),
            answers: Vec::new(),
            waiters: Vec::new(),
            expired: Vec::new(),
            timer: Box::pin(tokio::time::sleep_until(now)),
            timer_at: None,
            last_read: now,
            has_heard: false,
            last_write: now,
            last_heartbeat: now,
            close_by: None,
        }
    }

    fn lost(error: &io::Error) -> End {
        End::Lost(error.to_string().into())
    }

    /// The connection has ended in this way, perhaps before anything came over it.
    fn silent(&self, how: &str) -> End {
        End::Lost(match self.has_heard {
            true => how.into(),
            false => format!(
                "{how} without an answer to the hello, as RocketMQ's brokers and name servers do, which RocketMQ's clients alone can talk to"
            )
            .into(),
        })
    }

    fn garbled(error: &FrameError) -> End {
        End::Protocol(error.to_string().into())
    }

    /// One wake-up. `Ok(true)` when there may be more to do at once.
    fn run(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        for _ in 0..ROUNDS {
            let read = self.fill(cx)?;
            if read {
                self.decode().map_err(|error| Self::garbled(&error))?;
            }
            self.exchange(cx)?;
            if !read {
                self.watch_clock(cx)?;
                return Ok(false);
            }
        }
        // However much comes, time goes on for what does not.
        self.watch_clock(cx)?;
        Ok(true)
    }

    /// Reads once. False when there is nothing to read now.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        self.read.reserve(self.room());
        let result = pin!(self.stream.read_buf(&mut self.read)).poll(cx);
        match result {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => Err(self.silent("the other side closed it")),
            Poll::Ready(Ok(bytes)) => {
                if bytes >= self.read_bytes {
                    self.read_bytes = (self.read_bytes * 2).min(READ_BYTES.end);
                }
                self.last_read = Instant::now();
                self.has_heard = true;
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(self.silent(&error.to_string())),
        }
    }

    /// Room for the next read: all of the frame that has begun, at least.
    fn room(&self) -> usize {
        let begun = self.read.first_chunk::<LENGTH_BYTES>().map_or(0, |length| {
            (u32::from_le_bytes(*length) as usize).min(MAX_FRAME_BYTES) + LENGTH_BYTES
        });
        begun.saturating_sub(self.read.len()).max(self.read_bytes)
    }

    /// Splits what was read into answers and pushes.
    fn decode(&mut self) -> Result<(), FrameError> {
        let mut frames = Frames::new(&self.read, MAX_FRAME_BYTES);
        let mut has_payload = false;
        while let Some(frame) = frames.next() {
            let frame = frame?;
            let (header, header_bytes) = decode_header::<ServerHeader>(frame)?;
            let end = frames.consumed();
            let start = end - (frame.len() - header_bytes);
            has_payload |= start < end;
            self.arrived.push((header, start..end));
        }
        let consumed = frames.consumed();
        let block = if has_payload {
            self.read.split_to(consumed).freeze()
        } else {
            self.read.advance(consumed);
            Bytes::new()
        };
        for (header, payload) in self.arrived.drain(..) {
            let payload = if payload.is_empty() {
                Bytes::new()
            } else {
                block.slice(payload)
            };
            if header.correlation == PUSH {
                push(&self.shared, &self.pushes, header.response, payload);
            } else {
                self.answers.push((header, payload));
            }
        }
        Ok(())
    }

    /// Hands out answers, and writes what waits.
    fn exchange(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            let closing = self.take_turn(cx);
            self.settle();
            if self.writing.is_empty() {
                return if closing { self.shut_down(cx) } else { Ok(()) };
            }
            if !self.write(cx)? {
                return Ok(());
            }
        }
    }

    /// The one time that the lock is held: answers find their waiters, frames leave the outbox. Returns whether to close
    /// once everything is written.
    fn take_turn(&mut self, cx: &mut Context<'_>) -> bool {
        let mut inner = self.shared.lock();
        let inner = &mut *inner;
        let correlations = self.answers.iter().map(|(header, _)| header.correlation);
        self.waiters
            .extend(correlations.map(|correlation| inner.pending.take(correlation)));
        if self.writing.is_empty() {
            inner.notified = false;
            let window_bytes = inner.window_bytes;
            inner
                .outbox
                .take(&mut inner.pending, window_bytes, &mut self.writing);
            self.shared.drained.notify_waiters();
        }
        match &mut inner.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        if inner.close_asked && self.close_by.is_none() {
            self.close_by = Some(Instant::now() + CLOSE_TIMEOUT);
        }
        inner.close_asked && inner.outbox.bytes() == 0
    }

    fn settle(&mut self) {
        for ((header, payload), waiter) in self.answers.drain(..).zip(self.waiters.drain(..)) {
            if let Some(waiting) = waiter {
                let result = result(header, payload, waiting.request, &self.shared.address);
                settle(waiting.waiter, result, self.last_read);
            }
        }
    }

    /// Writes. False when the socket is full.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        while !self.writing.is_empty() {
            let written = if let [only] = self.writing.make_contiguous() {
                Pin::new(&mut self.stream).poll_write(cx, only)
            } else {
                let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
                let mut count = 0;
                for (slice, bytes) in slices.iter_mut().zip(&self.writing) {
                    *slice = IoSlice::new(bytes);
                    count += 1;
                }
                let slices = slices.get(..count).unwrap_or_default();
                Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
            };
            match written {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(0)) => return Err(End::Lost("nothing more can be written".into())),
                Poll::Ready(Ok(bytes)) => self.wrote(bytes),
                Poll::Ready(Err(error)) => return Err(Self::lost(&error)),
            }
        }
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(Self::lost(&error)),
            _ => Ok(true),
        }
    }

    fn wrote(&mut self, mut bytes: usize) {
        self.last_write = Instant::now();
        while let Some(first) = self.writing.front_mut() {
            if bytes < first.len() {
                first.advance(bytes);
                return;
            }
            bytes -= first.len();
            self.writing.pop_front();
        }
    }

    fn shut_down(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(_) => Err(End::Closed),
        }
    }

    /// Ends waits that are over, keeps the connection alive, and arms the timer for the next of both.
    fn watch_clock(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            let (earliest, every) = {
                let inner = self.shared.lock();
                (inner.pending.earliest(), inner.heartbeat_every)
            };
            let heartbeat = every.map(|every| self.last_write.max(self.last_heartbeat) + every);
            let events = [earliest, heartbeat, self.close_by];
            let Some(wanted) = events.into_iter().flatten().min() else {
                return Ok(());
            };
            // A timer that rings early is cheaper than one moved with each request.
            if self.timer_at.is_none_or(|armed| armed > wanted) {
                self.timer.as_mut().reset(wanted);
                self.timer_at = Some(wanted);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            self.timer_at = None;
            let now = Instant::now();
            if self.close_by.is_some_and(|by| by <= now) {
                return Err(End::Closed);
            }
            self.expire(now)?;
            if heartbeat.is_some_and(|due| due <= now) {
                self.heartbeat(now);
                self.exchange(cx)?;
            }
        }
    }

    fn expire(&mut self, now: Instant) -> Result<(), End> {
        self.shared.lock().pending.expire(now, &mut self.expired);
        let mut silent_for = None;
        for waiting in self.expired.drain(..) {
            let after = waiting.deadline - waiting.asked;
            let deaf =
                !waiting.written && !self.writing.is_empty() && self.last_write < waiting.asked;
            let mute = waiting.written && self.last_read < waiting.asked;
            if deaf || mute {
                silent_for = Some(after);
            }
            let error = Error::Timeout {
                request: waiting.request,
                address: self.shared.address.clone(),
                after,
                written: waiting.written,
            };
            settle(waiting.waiter, Err(error), now);
        }
        match silent_for {
            Some(after) => {
                let reason = format!("the other side has neither read nor written for {after:?}");
                Err(End::Lost(reason.into()))
            }
            None => Ok(()),
        }
    }

    fn heartbeat(&mut self, now: Instant) {
        let mut inner = self.shared.lock();
        let inner = &mut *inner;
        let correlation = inner.pending.next_correlation();
        let header = ClientHeader {
            correlation,
            request: Request::Heartbeat,
        };
        let bytes = inner.outbox.push(correlation, &header, &Payload::none());
        inner.pending.insert(Waiting {
            waiter: Waiter::Heartbeat,
            request: "heartbeat",
            asked: now,
            deadline: now + HEARTBEAT_TIMEOUT,
            bytes,
            written: false,
        });
        self.last_heartbeat = now;
    }

    /// Tells everybody that it is over.
    fn end(&mut self, end: End) {
        self.shared.usable.store(false, Ordering::Release);
        let mut left = Vec::new();
        {
            let mut inner = self.shared.lock();
            if inner.end.is_some() {
                return;
            }
            inner.pending.drain(&mut left);
            // Whoever asks again does so in the order in which it asked.
            left.sort_by_key(|waiting| waiting.asked);
            inner.end = Some(end.clone());
            // Handles may outlive the connection by far, and nothing of it will be written.
            inner.outbox = Outbox::default();
            inner.waker = None;
        }
        tracing::debug!(address = %self.shared.address, ?end, "connection ended");
        let now = Instant::now();
        for waiting in left {
            let error = self.shared.end_error(&end, waiting.written);
            settle(waiting.waiter, Err(error), now);
        }
        self.shared.drained.notify_waiters();
        self.shared.ended.notify_waiters();
    }
}

fn settle(waiter: Waiter, result: Result<super::Reply>, now: Instant) {
    match waiter {
        // Nobody to tell when the future was dropped.
        Waiter::Reply(sender) => drop(sender.send(result)),
        Waiter::Settle(settle) => settle.settle(result, now),
        Waiter::Heartbeat => {}
    }
}

fn push(shared: &Shared, pushes: &mpsc::UnboundedSender<Push>, response: Response, payload: Bytes) {
    if matches!(response, Response::Closing { .. } | Response::Failed(_)) {
        shared.usable.store(false, Ordering::Release);
    }
    // Connections that only ask have nobody who listens.
    let _ = pushes.send(Push { response, payload });
}

impl Drop for Task {
    /// A task that is dropped before its end, with its runtime or by a panic, must not leave anybody waiting.
    fn drop(&mut self) {
        self.end(End::Lost("its task was stopped".into()));
    }
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        match this.run(cx) {
            Ok(more) => {
                if more {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            Err(end) => {
                this.end(end);
                Poll::Ready(())
            }
        }
    }
}
