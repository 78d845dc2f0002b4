//! cold-reader: does the reads that would wait for the disk, on threads of its own, so that nobody else waits.

use std::sync::Arc;

use castmq_protocol::model::{QueueOffset, keys};
use castmq_protocol::record::RecordView;
use castmq_storage::commit_log::LogSlice;
use castmq_storage::consume_queue::{Boundary, ConsumeQueue, ConsumeQueueError};
use castmq_storage::disk::Wait;
use serde::Serialize;

use super::fetch::{Fetch, Read, read};
use super::letters::{FindLetters, find_letters};
use crate::broker::context::{BrokerContext, Store};
use crate::clock::Clock;
use crate::supervision::{Answer, Cast, Ctx, Failure, Receive, Reply};
use crate::worker::Worker;

/// Threads that read.
const THREADS: usize = 2;

/// A fetch of a queue whose bytes are not in memory.
#[derive(Debug)]
pub(crate) struct ColdFetch {
    pub(crate) queue: Arc<ConsumeQueue>,
    /// It may be seen up to here.
    pub(crate) end: QueueOffset,
    pub(crate) fetch: Fetch,
}

/// Asks for the offsets of the first messages stored at a time or later, in each of some queues.
#[derive(Debug)]
pub(crate) struct OffsetsAtTime {
    pub(crate) queues: Vec<Arc<ConsumeQueue>>,
    pub(crate) timestamp_ms: i64,
}

/// Asks for messages with a key, newest first.
#[derive(Debug)]
pub(crate) struct FindByKey {
    pub(crate) topic: String,
    pub(crate) key: String,
    pub(crate) max: u32,
    /// Stored from then on, in milliseconds since the epoch.
    pub(crate) begin_ms: i64,
    /// Stored until then, in milliseconds since the epoch.
    pub(crate) end_ms: i64,
}

type FoundOffsets = Result<Vec<QueueOffset>, String>;
type FoundRecords = Result<Vec<LogSlice>, String>;
type FoundLetters = Result<Vec<bool>, String>;

enum Job {
    Fetch(ColdFetch),
    Offsets(OffsetsAtTime, Reply<FoundOffsets>),
    Keys(FindByKey, Reply<FoundRecords>),
    Letters(FindLetters, Reply<FoundLetters>),
}

/// See the module.
pub(crate) struct ColdReader {
    context: Arc<BrokerContext>,
    threads: Vec<Worker<Job>>,
    jobs: usize,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct ColdReaderState {
    jobs: usize,
}

impl ColdReader {
    pub(crate) fn new(context: Arc<BrokerContext>) -> Self {
        Self {
            context,
            threads: Vec::new(),
            jobs: 0,
        }
    }

    fn submit(&mut self, job: Job, ctx: &mut Ctx<'_, Self>) {
        let turn = self.jobs % THREADS;
        self.jobs += 1;
        if let Some(Err(failure)) = self.threads.get(turn).map(|thread| thread.submit(job)) {
            ctx.fail(failure);
        }
    }
}

fn work(store: &Store, clock: &Clock, job: Job) {
    match job {
        Job::Fetch(ColdFetch { queue, end, fetch }) => {
            let log = &store.log;
            match read(log, &queue, end, &fetch.wanted, Wait::ForDisk, clock) {
                Ok(Read::Done(fetched) | Read::Empty(fetched)) => fetch.reply.send(fetched),
                Ok(Read::Cold) => {}
                Err(error) => tracing::warn!(%error, "a queue cannot be read"),
            }
        }
        Job::Offsets(question, reply) => {
            let find =
                |queue: &Arc<ConsumeQueue>| offset_at_time(store, queue, question.timestamp_ms);
            let found: Result<Vec<_>, _> = question.queues.iter().map(find).collect();
            reply.send(found.map_err(|error| error.to_string()));
        }
        Job::Keys(question, reply) => reply.send(find_by_key(store, &question)),
        Job::Letters(question, reply) => {
            let found = find_letters(store, &question);
            reply.send(found.map_err(|error| error.to_string()));
        }
    }
}

/// The first message of a queue that was stored at a time or later. Waits for the disk.
pub(super) fn offset_at_time(
    store: &Store,
    queue: &ConsumeQueue,
    timestamp_ms: i64,
) -> Result<QueueOffset, ConsumeQueueError> {
    queue.search(timestamp_ms, Boundary::Lower, |unit| {
        let stored_ms = store.log.store_timestamp_ms(unit.physical);
        Ok(stored_ms.unwrap_or(i64::MIN))
    })
}

/// Different keys can have one hash, so each record is asked whether it has the key.
fn find_by_key(store: &Store, question: &FindByKey) -> FoundRecords {
    let index = store
        .index
        .as_ref()
        .ok_or("the key index is switched off: set store.index_enabled")?;
    let FindByKey { topic, key, .. } = question;
    let found = index
        .query(
            topic,
            key,
            question.max as usize,
            question.begin_ms,
            question.end_ms,
        )
        .map_err(|error| error.to_string())?;
    let has_key = |record: &LogSlice| {
        let Ok(view) = RecordView::parse(record.as_ref()) else {
            return false;
        };
        let keys = view.property(keys::KEYS).unwrap_or_default();
        let is_keyed = keys.split(' ').any(|each| each == key)
            || view.property(keys::UNIQ_KEY) == Some(key.as_str());
        is_keyed && view.topic() == Ok(topic.as_str())
    };
    let records = found
        .into_iter()
        .filter_map(|offset| store.log.record(offset));
    Ok(records.filter(has_key).collect())
}

impl Cast for ColdReader {
    type State = ColdReaderState;

    fn started(&mut self, _ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        for _ in 0..THREADS {
            let (store, clock) = (self.context.store.clone(), self.context.clock.clone());
            let thread = Worker::start("cold-read", move |job| work(&store, &clock, job))?;
            self.threads.push(thread);
        }
        Ok(())
    }

    fn observe(&self) -> ColdReaderState {
        ColdReaderState { jobs: self.jobs }
    }
}

impl Receive<ColdFetch> for ColdReader {
    fn receive(&mut self, fetch: ColdFetch, ctx: &mut Ctx<'_, Self>) {
        self.submit(Job::Fetch(fetch), ctx);
    }
}

impl Answer<OffsetsAtTime> for ColdReader {
    type Reply = FoundOffsets;

    fn answer(
        &mut self,
        question: OffsetsAtTime,
        reply: Reply<FoundOffsets>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        self.submit(Job::Offsets(question, reply), ctx);
    }
}

impl Answer<FindByKey> for ColdReader {
    type Reply = FoundRecords;

    fn answer(&mut self, question: FindByKey, reply: Reply<FoundRecords>, ctx: &mut Ctx<'_, Self>) {
        self.submit(Job::Keys(question, reply), ctx);
    }
}

impl Answer<FindLetters> for ColdReader {
    type Reply = FoundLetters;

    fn answer(
        &mut self,
        question: FindLetters,
        reply: Reply<FoundLetters>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        self.submit(Job::Letters(question, reply), ctx);
    }
}
