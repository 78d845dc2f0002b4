//! segment-allocator: keeps the log ready to be written: the next segment reserved on disk before it is needed, and
//! pages in memory ahead of the writer, on a thread of its own.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_storage::disk::ring::RingUse;
use serde::Serialize;
use tokio::time::Instant;

use super::flush_service::{FlushService, WriteOut};
use super::log_writer::{LogWriter, RefuseStalled, SegmentReady};
use super::runway::{MIN_WINDOW_BYTES, Runway, window_bytes};
use crate::broker::context::{BrokerContext, Store};
use crate::supervision::{ActorRef, Cast, Ctx, Failure, Lost, Receive, Reply};
use crate::worker::{Worker, hand_over};

/// Pages are prepared in steps of this many bytes. A step is one system call, and many kernels let nobody else have the
/// processor before its end: 2 MiB of memory that a virtual machine's host has to find take 20 ms.
const STEP_BYTES: u64 = 128 * 1024;

/// After a segment could not be made, the next try.
const RETRY: Duration = Duration::from_secs(1);

/// The writer comes near the end of what is ready.
#[derive(Debug)]
pub(crate) struct MakeReady;

#[derive(Debug)]
struct Prepared(Result<Result<Ready, Refusal>, Lost>);

/// Work for the thread.
#[derive(Debug)]
struct Prepare {
    from: PhysicalOffset,
    to: PhysicalOffset,
    wants_segment: bool,
    reply: Reply<Result<Ready, Refusal>>,
}

#[derive(Debug)]
struct Ready {
    made_segment: bool,
}

/// See the module.
pub(crate) struct SegmentAllocator {
    context: Arc<BrokerContext>,
    runway: Arc<Runway>,
    writer: ActorRef<LogWriter>,
    flusher: ActorRef<FlushService>,
    thread: Option<Worker<Prepare>>,
    is_busy: bool,
    is_called_again: bool,
    /// What should be ready at the rate of writing, within reach or not.
    window_bytes: u64,
    /// Where the log ended at the last call, and when that was.
    last: (PhysicalOffset, Instant),
    last_refusal: Option<String>,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct SegmentAllocatorState {
    prepared: u64,
    window_bytes: u64,
    has_next_segment: bool,
    last_refusal: Option<String>,
    ring: Option<RingUse>,
}

impl SegmentAllocator {
    pub(crate) fn new(context: Arc<BrokerContext>) -> Result<Self, Failure> {
        Ok(Self {
            runway: context.runway.clone(),
            writer: context.actors()?.log_writer.clone(),
            flusher: context.actors()?.flush_service.clone(),
            thread: None,
            is_busy: false,
            is_called_again: false,
            window_bytes: MIN_WINDOW_BYTES,
            last: (context.store.log.appended(), Instant::now()),
            last_refusal: None,
            context,
        })
    }

    fn make_ready(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.is_busy {
            self.is_called_again = true;
            return;
        }
        self.runway.answer_call();
        let end = self.measure();
        let log = &self.context.store.log;
        let segment_bytes = log.segment_bytes();
        let left = segment_bytes - end.0 % segment_bytes;
        let margin = (2 * self.window_bytes)
            .max(segment_bytes / 4)
            .max(longest_request(&self.context));
        let wants_segment = !log.has_next_segment() && left < margin;
        let work = Prepare {
            from: self.runway.prepared().max(end),
            to: (end + self.runway.window_bytes()).max(log.needed()),
            wants_segment,
            reply: Reply::to_mailbox(ctx.me().mailbox(), Prepared),
        };
        self.is_busy = hand_over(self.thread.as_ref(), work, ctx);
    }

    /// Sets the window after the rate since the last call, and returns the log's end.
    fn measure(&mut self) -> PhysicalOffset {
        let log = &self.context.store.log;
        let end = log.appended();
        let (last_end, last_time) = self.last;
        let seconds = last_time.elapsed().as_secs_f64().max(0.001);
        let rate = end.distance_from(last_end) as f64 / seconds;
        self.window_bytes = window_bytes(self.window_bytes, rate);
        let reach = log.reach();
        self.runway.set_window_bytes(self.window_bytes, reach);
        self.last = (end, Instant::now());
        end
    }
}

/// Bytes that one request may take in the log: it is refused the rest of a segment that it does not fit, however much that
/// is, and waits for the next. A record takes up to five times what a message without a body takes in a frame.
fn longest_request(context: &BrokerContext) -> u64 {
    8 * u64::from(context.limits.max_frame_bytes)
}

/// On the thread: first the segment, since without it the writer stands still, then the pages.
fn prepare(store: &Store, runway: &Runway, work: &Prepare) -> Result<Ready, Refusal> {
    let made_segment = work.wants_segment && !store.log.has_next_segment();
    if made_segment {
        let space = store.log_space();
        if space.is_ok_and(|space| space.available_bytes < store.room_for_segment()) {
            return Err(refusal(store, &"some room has to be left for queues"));
        }
        let added = store.log.add_segment();
        added.map_err(|error| refusal(store, &error))?;
    }
    let mut at = work.from;
    while at < work.to {
        let step = work.to.distance_from(at).min(STEP_BYTES);
        match store.log.prepare(at, step) {
            Ok(end) if end > at => at = end,
            Ok(_) => break,
            Err(error) => {
                // Unprepared pages are slower to write, not wrong.
                tracing::warn!(%error, "pages of the log cannot be prepared");
                break;
            }
        }
        runway.set_prepared(at);
    }
    Ok(Ready { made_segment })
}

fn refusal(store: &Store, reason: &dyn Display) -> Refusal {
    let room = match store.log_space() {
        Ok(space) => format!(
            "{} of {} bytes are free and {} are needed for a segment and its queues",
            space.available_bytes,
            space.total_bytes,
            store.room_for_segment()
        ),
        Err(error) => format!("its room is not known: {error}"),
    };
    Refusal::safe(
        ErrorCode::DiskFull,
        format!(
            "no segment can be added to the log: {reason}; of the partition {room}: free space, or shorten the retention"
        ),
    )
}

impl Cast for SegmentAllocator {
    type State = SegmentAllocatorState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        let store = self.context.store.clone();
        let runway = self.runway.clone();
        self.thread = Some(Worker::start_in_background(
            "allocate",
            move |work: Prepare| {
                let result = prepare(&store, &runway, &work);
                work.reply.send(result);
            },
        )?);
        self.make_ready(ctx);
        Ok(())
    }

    fn observe(&self) -> SegmentAllocatorState {
        SegmentAllocatorState {
            prepared: self.runway.prepared().0,
            window_bytes: self.runway.window_bytes(),
            has_next_segment: self.context.store.log.has_next_segment(),
            last_refusal: self.last_refusal.clone(),
            ring: self.context.store.log.ring_use(),
        }
    }
}

impl Receive<MakeReady> for SegmentAllocator {
    fn receive(&mut self, MakeReady: MakeReady, ctx: &mut Ctx<'_, Self>) {
        self.make_ready(ctx);
    }
}

impl Receive<Prepared> for SegmentAllocator {
    fn receive(&mut self, Prepared(result): Prepared, ctx: &mut Ctx<'_, Self>) {
        self.is_busy = false;
        match result {
            Ok(Ok(ready)) => {
                let log = &self.context.store.log;
                let has_grown = ready.made_segment || log.has_next_segment();
                if has_grown && self.last_refusal.take().is_some() {
                    tracing::info!("the log can grow again");
                }
                if has_grown || log.is_open_as_needed() {
                    self.writer.tell(SegmentReady);
                }
                self.flusher.tell(WriteOut);
            }
            Ok(Err(reason)) => {
                if self.last_refusal.is_none() {
                    tracing::error!(%reason, "the log cannot grow");
                }
                self.last_refusal = Some(reason.message.clone());
                self.writer.tell(RefuseStalled { reason });
                ctx.after(RETRY, |allocator, ctx| allocator.make_ready(ctx));
            }
            Err(Lost) => {
                ctx.fail(Failure::new("the allocator's thread died"));
                return;
            }
        }
        if std::mem::take(&mut self.is_called_again) {
            self.make_ready(ctx);
        }
    }
}
