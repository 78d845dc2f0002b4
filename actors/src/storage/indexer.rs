//! indexer: enters messages with keys into the key index, on a thread of its own. It may be behind: a query finds what
//! is entered.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::PhysicalOffset;
use castmq_storage::dispatch::Keyed;
use castmq_storage::index::IndexKey;
use castmq_storage::store::index_keys;
use serde::Serialize;

use crate::broker::context::{BrokerContext, Store};
use crate::supervision::{Cast, Ctx, Failure, Hold, Lost, Receive, Reply};
use crate::worker::{Worker, hand_over};

/// Bytes of log that are read before the actor hears of it.
const BYTES_A_STEP: u64 = 64 * 1024 * 1024;

/// Keys that wait in memory. When there are more, they are read from the log later.
const MAX_LISTED: usize = 64 * 1024;

/// Keys that are worth waking the thread for at once.
const MANY_KEYS: usize = 4096;

/// How long fewer of them wait for more.
const GATHER: Duration = Duration::from_millis(5);

/// How often it is noted how far the log has been gone through, where messages have no keys.
const NOTE: Duration = Duration::from_secs(1);

/// Messages with keys.
#[derive(Debug)]
pub(crate) struct Index(pub(crate) Keyed);

/// The keys of all messages up to there have been told.
#[derive(Debug)]
struct Told(PhysicalOffset);

/// How far the thread came.
#[derive(Debug)]
struct Indexed(Result<Result<PhysicalOffset, String>, Lost>);

#[derive(Debug)]
struct Step {
    work: Work,
    reply: Reply<Result<PhysicalOffset, String>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Work {
    Read(Range<PhysicalOffset>),
    /// The keys of messages up to there.
    Enter(Vec<IndexKey>, PhysicalOffset),
}

/// Messages whose keys are not entered.
#[derive(Debug)]
struct Backlog {
    /// Where they are: to read messages without keys does no harm.
    wanted: Range<PhysicalOffset>,
    /// From where on their keys are known.
    listed_from: PhysicalOffset,
    listed: Vec<IndexKey>,
}

impl Backlog {
    fn new(wanted: Range<PhysicalOffset>) -> Self {
        Self {
            listed_from: wanted.end,
            listed: Vec::new(),
            wanted,
        }
    }

    /// Adds messages, which lie behind the others.
    fn add(&mut self, Keyed { range, keys }: Keyed) {
        if self.is_empty() {
            *self = Self::new(range.start..range.start);
        }
        self.wanted.end = self.wanted.end.max(range.end);
        match keys {
            Some(keys) if self.listed.len() + keys.len() <= MAX_LISTED => {
                // After a new start some of them are read from the log.
                let from = self.listed_from;
                let new = keys.into_iter().filter(|key| key.physical() >= from);
                self.listed.extend(new);
            }
            _ => self.forget_listed(),
        }
    }

    /// All has to be read from the log, but what is in hand.
    fn forget_listed(&mut self) {
        self.listed_from = self.wanted.end;
        self.listed.clear();
    }

    /// What is to be done next: after it, [`Backlog::done`], or [`Backlog::forget_listed`] to do it again.
    fn next(&mut self) -> Option<Work> {
        if self.is_empty() {
            return None;
        }
        if self.listed_from > self.wanted.start {
            return Some(Work::Read(self.wanted.start..self.listed_from));
        }
        let end = self.wanted.end;
        self.listed_from = end;
        Some(Work::Enter(std::mem::take(&mut self.listed), end))
    }

    fn done(&mut self, position: PhysicalOffset) {
        self.wanted.start = position.min(self.wanted.end);
    }

    fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Whether there is nothing to read, and only few keys to be entered.
    fn has_few(&self) -> bool {
        self.listed_from <= self.wanted.start && self.listed.len() < MANY_KEYS
    }
}

/// See the module.
pub(crate) struct Indexer {
    context: Arc<BrokerContext>,
    thread: Option<Worker<Step>>,
    backlog: Backlog,
    is_busy: bool,
    is_gathering: bool,
    /// What the thread has in hand is waited for: the store is closed afterwards, and enters the rest.
    stopping: Option<Hold>,
    last_error: Option<String>,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct IndexerState {
    /// Of what queues have; within a second of where messages have no keys.
    behind_bytes: u64,
    last_error: Option<String>,
}

impl Indexer {
    /// Begins behind what the index has; what the log has beyond is entered first.
    pub(crate) fn new(context: Arc<BrokerContext>) -> Result<Self, Failure> {
        let end = context.positions.dispatched();
        let begin = context.store.indexed().map_or(end, |to| to.min(end));
        Ok(Self {
            thread: None,
            backlog: Backlog::new(begin..end),
            is_busy: false,
            is_gathering: false,
            stopping: None,
            last_error: None,
            context,
        })
    }

    fn behind_bytes(&self) -> u64 {
        let BrokerContext {
            store, positions, ..
        } = &*self.context;
        let indexed = store.indexed();
        let behind = indexed.map(|to| positions.dispatched().0.saturating_sub(to.0));
        behind.unwrap_or(0)
    }

    /// Takes the next step, soon if there are only few keys.
    fn go_on(&mut self, ctx: &mut Ctx<'_, Self>) {
        if !self.backlog.has_few() {
            return self.step(ctx);
        }
        if !self.is_busy && !self.is_gathering {
            self.is_gathering = true;
            ctx.after(GATHER, |indexer, ctx| {
                indexer.is_gathering = false;
                indexer.step(ctx);
            });
        }
    }

    fn step(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.is_busy || self.stopping.is_some() {
            return;
        }
        let Some(work) = self.backlog.next() else {
            return;
        };
        let work = Step {
            work,
            reply: Reply::to_mailbox(ctx.me().mailbox(), Indexed),
        };
        self.is_busy = hand_over(self.thread.as_ref(), work, ctx);
    }
}

fn index(store: &Store, work: Work) -> Result<PhysicalOffset, String> {
    let Some(index) = &store.index else {
        return Ok(match work {
            Work::Read(Range { end, .. }) | Work::Enter(_, end) => end,
        });
    };
    match work {
        Work::Read(range) => {
            let end = range.end.min(range.start + BYTES_A_STEP);
            index_keys(&store.log, index, range.start..end).map_err(|error| error.to_string())
        }
        Work::Enter(keys, end) => {
            index.enter(&keys).map_err(|error| error.to_string())?;
            index.note_entered(end);
            Ok(end)
        }
    }
}

impl Cast for Indexer {
    type State = IndexerState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        let store = self.context.store.clone();
        self.thread = Some(Worker::start_in_background("index", move |work: Step| {
            let result = index(&store, work.work);
            work.reply.send(result);
        })?);
        ctx.every(NOTE, |indexer, ctx| {
            // Whatever the dispatcher found below was told before, and comes first.
            let told = Told(indexer.context.positions.dispatched());
            ctx.me().tell(told);
        });
        self.step(ctx);
        Ok(())
    }

    fn stopping(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.is_busy {
            self.stopping = Some(ctx.hold());
        }
    }

    fn observe(&self) -> IndexerState {
        IndexerState {
            behind_bytes: self.behind_bytes(),
            last_error: self.last_error.clone(),
        }
    }
}

impl Receive<Index> for Indexer {
    fn receive(&mut self, Index(keyed): Index, ctx: &mut Ctx<'_, Self>) {
        if self.context.store.index.is_none() {
            return;
        }
        self.backlog.add(keyed);
        self.go_on(ctx);
    }
}

impl Receive<Told> for Indexer {
    fn receive(&mut self, Told(position): Told, _: &mut Ctx<'_, Self>) {
        if self.backlog.is_empty()
            && let Some(index) = &self.context.store.index
        {
            index.note_entered(position);
        }
    }
}

impl Receive<Indexed> for Indexer {
    fn receive(&mut self, Indexed(result): Indexed, ctx: &mut Ctx<'_, Self>) {
        self.is_busy = false;
        if self.stopping.take().is_some() {
            return;
        }
        match result {
            Ok(Ok(done)) => {
                self.last_error = None;
                self.backlog.done(done);
                if !self.backlog.is_empty() {
                    self.go_on(ctx);
                }
            }
            Ok(Err(error)) => {
                tracing::error!(error, "the key index is behind");
                self.backlog.forget_listed();
                self.last_error = Some(error);
                ctx.after(Duration::from_secs(5), |indexer, ctx| indexer.step(ctx));
            }
            Err(Lost) => ctx.fail(Failure::new("the indexer's thread died")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(range: Range<u64>, keys: Option<&[IndexKey]>) -> Keyed {
        Keyed {
            range: PhysicalOffset(range.start)..PhysicalOffset(range.end),
            keys: keys.map(<[_]>::to_vec),
        }
    }

    fn read(range: Range<u64>) -> Option<Work> {
        Some(Work::Read(
            PhysicalOffset(range.start)..PhysicalOffset(range.end),
        ))
    }

    fn enter(keys: &[IndexKey], end: u64) -> Option<Work> {
        Some(Work::Enter(keys.to_vec(), PhysicalOffset(end)))
    }

    fn key(physical: u64) -> IndexKey {
        IndexKey::new("topic", "key", PhysicalOffset(physical), 1)
    }

    fn empty() -> Backlog {
        Backlog::new(PhysicalOffset(10)..PhysicalOffset(10))
    }

    #[test]
    fn keys_that_are_listed_are_entered_in_their_order() {
        let mut backlog = empty();
        assert_eq!(backlog.next(), None);
        backlog.add(keyed(20..30, Some(&[key(20)])));
        backlog.add(keyed(40..50, Some(&[key(40), key(40)])));
        assert_eq!(backlog.next(), enter(&[key(20), key(40), key(40)], 50));
        backlog.add(keyed(50..60, Some(&[key(50)])));
        backlog.done(PhysicalOffset(50));
        assert_eq!(backlog.next(), enter(&[key(50)], 60));
        backlog.done(PhysicalOffset(60));
        assert_eq!(backlog.next(), None);
    }

    #[test]
    fn what_was_there_before_is_read_first_and_nothing_is_entered_twice() {
        let mut backlog = Backlog::new(PhysicalOffset(10)..PhysicalOffset(50));
        backlog.add(keyed(40..60, Some(&[key(40), key(50)])));
        assert_eq!(backlog.next(), read(10..50));
        backlog.done(PhysicalOffset(30));
        assert_eq!(backlog.next(), read(30..50));
        backlog.done(PhysicalOffset(50));
        assert_eq!(backlog.next(), enter(&[key(50)], 60));
    }

    #[test]
    fn few_keys_may_wait_and_what_has_to_be_read_may_not() {
        let mut backlog = empty();
        let few = vec![key(20); MANY_KEYS - 1];
        backlog.add(keyed(20..30, Some(&few)));
        assert!(backlog.has_few());
        backlog.add(keyed(30..40, Some(&[key(30)])));
        assert!(!backlog.has_few());
        assert!(backlog.next().is_some());
        backlog.done(PhysicalOffset(40));
        backlog.add(keyed(50..60, Some(&[key(50)])));
        assert!(backlog.has_few());
        backlog.forget_listed();
        assert!(!backlog.has_few());
    }

    #[test]
    fn too_many_keys_are_read_from_the_log() {
        let many = vec![key(30); MAX_LISTED];
        for keys in [None, Some(&many[..])] {
            let mut backlog = empty();
            backlog.add(keyed(20..30, Some(&[key(20)])));
            assert_eq!(backlog.next(), enter(&[key(20)], 30));
            backlog.add(keyed(30..40, Some(&[key(30)])));
            backlog.add(keyed(40..50, keys));
            backlog.add(keyed(60..70, Some(&[key(60)])));
            backlog.done(PhysicalOffset(30));
            assert_eq!(backlog.next(), read(30..50));
            backlog.done(PhysicalOffset(50));
            assert_eq!(backlog.next(), enter(&[key(60)], 70));
        }
    }

    #[test]
    fn what_could_not_be_entered_is_read_from_the_log() {
        let mut backlog = empty();
        backlog.add(keyed(20..30, Some(&[key(20)])));
        assert_eq!(backlog.next(), enter(&[key(20)], 30));
        backlog.add(keyed(40..50, Some(&[key(40)])));
        backlog.forget_listed();
        assert_eq!(backlog.next(), read(20..50));
    }
}
