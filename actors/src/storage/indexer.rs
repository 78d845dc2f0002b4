//! indexer: enters messages with keys into the key index, on a thread of its own. It may be behind: a query finds what
//! is entered.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::PhysicalOffset;
use castmq_storage::store::index_keys;
use serde::Serialize;

use crate::broker::context::{BrokerContext, Store};
use crate::supervision::{Cast, Ctx, Failure, Lost, Receive, Reply};
use crate::worker::Worker;

/// Bytes of log that are read before the actor hears of it.
const BYTES_A_STEP: u64 = 64 * 1024 * 1024;

/// A stretch of the log that has messages with keys.
#[derive(Debug)]
pub(crate) struct Index(pub(crate) Range<PhysicalOffset>);

#[derive(Debug)]
struct Indexed(Result<Result<PhysicalOffset, String>, Lost>);

#[derive(Debug)]
struct Step {
    range: Range<PhysicalOffset>,
    reply: Reply<Result<PhysicalOffset, String>>,
}

/// See the module.
pub(crate) struct Indexer {
    context: Arc<BrokerContext>,
    thread: Option<Worker<Step>>,
    /// What is to be read, merged into one stretch: reading messages without keys does no harm.
    wanted: Range<PhysicalOffset>,
    is_busy: bool,
    last_error: Option<String>,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct IndexerState {
    behind_bytes: u64,
    last_error: Option<String>,
}

impl Indexer {
    /// Begins behind what the index has; what the log has beyond is entered first.
    pub(crate) fn new(context: Arc<BrokerContext>) -> Result<Self, Failure> {
        let index = context.store.index.as_ref();
        let end = context.positions.dispatched();
        let begin = index.map_or(end, |index| index.end_physical());
        let begin = begin.max(context.store.log.begin()).min(end);
        Ok(Self {
            thread: None,
            wanted: begin..end,
            is_busy: false,
            last_error: None,
            context,
        })
    }

    fn step(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.is_busy || self.wanted.is_empty() {
            return;
        }
        let work = Step {
            range: self.wanted.clone(),
            reply: Reply::to_mailbox(ctx.me().mailbox(), Indexed),
        };
        match self.thread.as_ref().map(|thread| thread.submit(work)) {
            Some(Ok(())) => self.is_busy = true,
            Some(Err(failure)) => ctx.fail(failure),
            None => {}
        }
    }
}

fn index(store: &Store, range: Range<PhysicalOffset>) -> Result<PhysicalOffset, String> {
    let end = range.end.min(range.start + BYTES_A_STEP);
    match &store.index {
        Some(index) => index_keys(&store.log, index, range.start..end),
        None => return Ok(range.end),
    }
    .map_err(|error| error.to_string())
}

impl Cast for Indexer {
    type State = IndexerState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        let store = self.context.store.clone();
        self.thread = Some(Worker::start_in_background("index", move |work: Step| {
            let result = index(&store, work.range);
            work.reply.send(result);
        })?);
        self.step(ctx);
        Ok(())
    }

    fn observe(&self) -> IndexerState {
        IndexerState {
            behind_bytes: self.wanted.end.distance_from(self.wanted.start),
            last_error: self.last_error.clone(),
        }
    }
}

impl Receive<Index> for Indexer {
    fn receive(&mut self, Index(range): Index, ctx: &mut Ctx<'_, Self>) {
        if self.context.store.index.is_none() {
            return;
        }
        if self.wanted.is_empty() {
            self.wanted = range;
        } else {
            self.wanted.end = self.wanted.end.max(range.end);
        }
        self.step(ctx);
    }
}

impl Receive<Indexed> for Indexer {
    fn receive(&mut self, Indexed(result): Indexed, ctx: &mut Ctx<'_, Self>) {
        self.is_busy = false;
        match result {
            Ok(Ok(done)) => {
                self.last_error = None;
                self.wanted.start = done.min(self.wanted.end);
                self.step(ctx);
            }
            Ok(Err(error)) => {
                tracing::error!(error, "the key index is behind");
                self.last_error = Some(error);
                ctx.after(Duration::from_secs(5), |indexer, ctx| indexer.step(ctx));
            }
            Err(Lost) => ctx.fail(Failure::new("the indexer's thread died")),
        }
    }
}
