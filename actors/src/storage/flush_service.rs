//! flush-service: group commit. The only caller of the log's sync, on a thread of its own, and of what writes the log's ring
//! out, on another.
//!
//! There is no timer and no batching delay: while one sync runs, the next collects. Under asynchronous policy the same
//! thread flushes every now and then.

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::PhysicalOffset;
use castmq_storage::commit_log::CommitLog;
use serde::Serialize;
use tokio::time::Instant;

use super::commit_tracker::{CommitTracker, FlushFailed, Flushed};
use crate::broker::context::{BrokerContext, FlushPolicy};
use crate::supervision::{ActorRef, Cast, Ctx, Failure, Lost, Receive, Reply};
use crate::worker::{Worker, hand_over};

/// Size of the pages that `flush_least_pages` counts, as in RocketMQ.
const PAGE_BYTES: u64 = 4096;

/// Under asynchronous policy, more than this is flushed before it is time: a power cut could cost it, and a start after a crash
/// reads it again.
const MOST_DIRTY_BYTES: u64 = 128 * 1024 * 1024;

/// Somebody waits until the log is durable up to here.
#[derive(Debug)]
pub(crate) struct FlushTo(pub(crate) PhysicalOffset);

/// Whole chunks of the log's ring are to be written to its files, so that there is room for others.
#[derive(Debug)]
pub(crate) struct WriteOut;

/// What the thread has to say: how far it is, why it went no further, or nothing, because it died.
#[derive(Debug)]
struct Synced(Result<Result<PhysicalOffset, String>, Lost>);

#[derive(Debug)]
struct WrittenOut(Result<Result<bool, String>, Lost>);

/// Work for the thread that syncs.
#[derive(Debug)]
struct Sync {
    wanted: PhysicalOffset,
    reply: Reply<Result<PhysicalOffset, String>>,
}

/// Work for the one that writes out.
type Write = Reply<Result<bool, String>>;

/// See the module.
pub(crate) struct FlushService {
    context: Arc<BrokerContext>,
    tracker: ActorRef<CommitTracker>,
    thread: Option<Worker<Sync>>,
    /// While the device syncs, it would write nothing else that the other thread could give it.
    writer: Option<Worker<Write>>,
    requested: PhysicalOffset,
    flushed: PhysicalOffset,
    is_busy: bool,
    is_writing_out: bool,
    last_thorough: Instant,
    syncs: u64,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct FlushServiceState {
    flushed: u64,
    requested: u64,
    is_busy: bool,
    syncs: u64,
}

impl FlushService {
    pub(crate) fn new(context: Arc<BrokerContext>) -> Result<Self, Failure> {
        let flushed = context.store.log.flushed();
        Ok(Self {
            tracker: context.actors()?.commit_tracker.clone(),
            thread: None,
            writer: None,
            requested: flushed,
            flushed,
            is_busy: false,
            is_writing_out: false,
            last_thorough: Instant::now(),
            syncs: 0,
            context,
        })
    }

    fn flush_to(&mut self, end: PhysicalOffset, ctx: &mut Ctx<'_, Self>) {
        self.requested = self.requested.max(end);
        self.sync(ctx);
    }

    fn sync(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.is_busy || self.requested <= self.flushed {
            return;
        }
        let work = Sync {
            wanted: self.requested,
            reply: Reply::to_mailbox(ctx.me().mailbox(), Synced),
        };
        self.is_busy = hand_over(self.thread.as_ref(), work, ctx);
    }

    fn write_out(&mut self, ctx: &mut Ctx<'_, Self>) {
        if !self.is_writing_out {
            let reply = Reply::to_mailbox(ctx.me().mailbox(), WrittenOut);
            self.is_writing_out = hand_over(self.writer.as_ref(), reply, ctx);
        }
    }

    /// Under asynchronous policy: flush what is too much to wait for its time.
    fn flush_much(&mut self, ctx: &mut Ctx<'_, Self>) {
        let appended = self.context.store.log.appended();
        if appended.distance_from(self.flushed) >= MOST_DIRTY_BYTES {
            self.flush_to(appended, ctx);
        }
    }

    /// Under asynchronous policy: flush when enough has gathered, and every now and then whatever there is.
    fn tick(&mut self, ctx: &mut Ctx<'_, Self>) {
        let store = &self.context.settings.store;
        let appended = self.context.store.log.appended();
        let dirty_pages = appended.0 / PAGE_BYTES - self.flushed.0 / PAGE_BYTES;
        let thorough = Duration::from_millis(store.flush_thorough_interval_ms);
        let is_time = self.last_thorough.elapsed() >= thorough;
        if is_time {
            self.last_thorough = Instant::now();
        }
        if is_time || dirty_pages >= u64::from(store.flush_least_pages) {
            self.flush_to(appended, ctx);
        }
    }
}

/// Syncs whatever was appended by the time it begins, so that those who came meanwhile are served along.
fn sync_all(log: &CommitLog, wanted: PhysicalOffset) -> Result<PhysicalOffset, String> {
    let end = log.appended().max(wanted);
    log.sync(end).map_err(|error| error.to_string())
}

impl Cast for FlushService {
    type State = FlushServiceState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        let store = self.context.store.clone();
        self.writer = Some(Worker::start_in_background(
            "write-out",
            move |reply: Write| {
                let written = store.log.write_out();
                reply.send(written.map_err(|error| error.to_string()));
            },
        )?);
        let store = self.context.store.clone();
        let work = move |work: Sync| {
            let synced = sync_all(&store.log, work.wanted);
            if let Ok(end) = synced {
                store.note_durable(end);
            }
            work.reply.send(synced);
        };
        self.thread = Some(match self.context.flush_policy {
            FlushPolicy::Sync => Worker::start("flush", work)?,
            FlushPolicy::Async => Worker::start_in_background("flush", work)?,
        });
        if self.context.flush_policy == FlushPolicy::Async {
            let interval = self.context.settings.store.flush_interval_ms.max(1);
            ctx.every(Duration::from_millis(interval), |service, ctx| {
                service.tick(ctx)
            });
        }
        Ok(())
    }

    fn observe(&self) -> FlushServiceState {
        FlushServiceState {
            flushed: self.flushed.0,
            requested: self.requested.0,
            is_busy: self.is_busy,
            syncs: self.syncs,
        }
    }
}

impl Receive<FlushTo> for FlushService {
    fn receive(&mut self, FlushTo(end): FlushTo, ctx: &mut Ctx<'_, Self>) {
        self.flush_to(end, ctx);
    }
}

impl Receive<WriteOut> for FlushService {
    fn receive(&mut self, WriteOut: WriteOut, ctx: &mut Ctx<'_, Self>) {
        self.write_out(ctx);
        if self.context.flush_policy == FlushPolicy::Async {
            self.flush_much(ctx);
        }
    }
}

impl Receive<WrittenOut> for FlushService {
    fn receive(&mut self, WrittenOut(result): WrittenOut, ctx: &mut Ctx<'_, Self>) {
        self.is_writing_out = false;
        match result {
            // Meanwhile others may have become whole.
            Ok(Ok(true)) => self.write_out(ctx),
            Ok(Ok(false)) => {}
            Ok(Err(reason)) => {
                self.tracker.tell(FlushFailed { reason });
            }
            Err(Lost) => ctx.fail(Failure::new("the thread that writes out died")),
        }
    }
}

impl Receive<Synced> for FlushService {
    fn receive(&mut self, Synced(result): Synced, ctx: &mut Ctx<'_, Self>) {
        self.is_busy = false;
        self.syncs += 1;
        match result {
            Ok(Ok(end)) => {
                self.flushed = end;
                self.tracker.tell(Flushed(end));
                self.sync(ctx);
            }
            Ok(Err(reason)) => {
                self.tracker.tell(FlushFailed { reason });
            }
            Err(Lost) => ctx.fail(Failure::new("the flush thread died")),
        }
    }
}
