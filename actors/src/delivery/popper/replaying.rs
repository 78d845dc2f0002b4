//! Who has what, made of the journal: at the start, and when it is not known any more what was written.

use std::collections::HashMap;
use std::sync::Arc;

use castmq_protocol::model::{QueueId, QueueOffset, system_topics};
use castmq_protocol::record::{Step, step};
use castmq_storage::consume_queue::ConsumeQueue;

use super::record::{Section, replay_from, sections};
use super::share::{Book, ShareKey};
use super::writing::{QUEUE, Writing};
use super::{Alarms, Burials, Parked, Popper, RETRY, new_number};
use crate::delivery::catching_up;
use crate::delivery::cold_reader::ColdFetch;
use crate::delivery::fetch::{Fetch, Fetched, Patience, Wanted};
use crate::delivery::pop::ledger::{Ledger, Settings};
use crate::supervision::{Ctx, Lost, Receive, Reply};

/// Bytes of journal replayed at once.
const STEP_BYTES: u32 = 256 * 1024;

/// Records of the journal were read.
#[derive(Debug)]
pub(super) struct JournalRead {
    epoch: u64,
    replay: Option<Replay>,
    fetched: Result<Fetched, Lost>,
}

/// Ledgers on the way.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// `None` when nothing can be said of a ledger, until the next snapshot of it.
    ledgers: HashMap<(ShareKey, QueueId), Option<Ledger>>,
    from: QueueOffset,
    /// The next record.
    at: QueueOffset,
    bytes: u64,
}

impl Replay {
    fn apply(&mut self, settings: Settings, section: Section) {
        let place = (section.share, section.queue);
        let Some(entries) = section.entries else {
            self.ledgers.remove(&place);
            return;
        };
        let ledger = self.ledgers.entry(place.clone()).or_default();
        // Behind the beginning of a replay each ledger has a snapshot; what comes before it is part of it.
        let was_known = ledger.is_some();
        if let Err(error) = Ledger::replay_on(ledger, settings, &entries) {
            if was_known {
                let ((group, topic), queue) = place;
                tracing::error!(%group, %topic, %queue, %error, "a queue's popped messages are not known any more");
            }
            *ledger = None;
        }
    }
}

impl Popper {
    /// Finds out who has what: what was handed to the log before has to be in the log, and dispatched.
    pub(super) fn begin(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.forget_all();
        catching_up::ask(&self.writer, ctx);
    }

    /// Nothing is known any more.
    pub(super) fn forget_all(&mut self) {
        self.is_ready = false;
        self.epoch = new_number();
        self.shares.clear();
        self.to_forget.extend(self.writing.take_forgotten());
        self.writing = Writing::default();
        self.alarms = Alarms::default();
        self.burials = Burials::after(&self.burials);
    }

    pub(super) fn caught_up(&mut self, ctx: &mut Ctx<'_, Self>) {
        match self.journal() {
            Some(queue) if queue.min_offset() < queue.max_offset() => {
                // The last record says where to begin.
                let last = QueueOffset(queue.max_offset().0 - 1);
                self.read_journal(&queue, last, None, ctx);
            }
            _ => self.replayed(Replay::default(), ctx),
        }
    }

    fn journal(&self) -> Option<Arc<ConsumeQueue>> {
        let queues = &self.context.store.queues;
        queues.find(system_topics::POP_JOURNAL, QUEUE)
    }

    fn read_journal(
        &self,
        queue: &Arc<ConsumeQueue>,
        offset: QueueOffset,
        replay: Option<Replay>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        let epoch = self.epoch;
        let fetch = Fetch {
            wanted: Wanted {
                offset,
                max_messages: u32::MAX,
                max_bytes: STEP_BYTES,
                filter: None,
                passes_expired: None,
            },
            patience: Patience::None,
            reply: Reply::to_mailbox(ctx.me().mailbox(), move |fetched| JournalRead {
                epoch,
                replay,
                fetched,
            }),
        };
        let (queue, end) = (queue.clone(), queue.max_offset());
        match self.context.actors() {
            Ok(actors) => drop(actors.cold_reader.tell(ColdFetch { queue, end, fetch })),
            Err(failure) => ctx.fail(failure),
        }
    }

    /// Applies what was read, and reads on.
    fn go_on_replaying(
        &mut self,
        replay: Option<Replay>,
        fetched: &Fetched,
        ctx: &mut Ctx<'_, Self>,
    ) {
        let Some(queue) = self.journal() else {
            self.replayed(Replay::default(), ctx);
            return;
        };
        let mut replay = match replay {
            Some(replay) => replay,
            None => {
                let mut from = None;
                each_body(fetched, |body| from = Some(replay_from(body)));
                let from = match from {
                    Some(Ok(from)) => from.max(queue.min_offset()),
                    Some(Err(error)) => {
                        tracing::error!(%error, "where the pop journal begins is not known");
                        queue.min_offset()
                    }
                    None => queue.min_offset(),
                };
                let replay = Replay {
                    from,
                    at: from,
                    ..Replay::default()
                };
                self.read_journal(&queue, from, Some(replay), ctx);
                return;
            }
        };
        let settings = self.settings();
        each_body(fetched, |body| {
            replay.bytes += body.len() as u64;
            match sections(body) {
                Ok(sections) => {
                    for section in sections {
                        replay.apply(settings, section);
                    }
                }
                Err(error) => tracing::error!(%error, "a record of the pop journal is lost"),
            }
        });
        let is_stuck = fetched.next_offset <= replay.at;
        replay.at = fetched.next_offset;
        match replay.at < queue.max_offset() && !is_stuck {
            true => self.read_journal(&queue, replay.at, Some(replay), ctx),
            false => self.replayed(replay, ctx),
        }
    }

    /// Takes up the ledgers, and what came meanwhile.
    fn replayed(&mut self, replay: Replay, ctx: &mut Ctx<'_, Self>) {
        self.is_ready = true;
        self.writing = Writing::after_replay(replay.from, replay.bytes);
        let settings = self.settings();
        let to_forget = std::mem::take(&mut self.to_forget);
        let groups_to_forget = std::mem::take(&mut self.groups_to_forget);
        for (place, ledger) in replay.ledgers {
            let Some(ledger) = ledger else {
                continue;
            };
            let is_forgotten = to_forget.contains(&place) || groups_to_forget.contains(&place.0.0);
            let (key, queue) = place;
            let has_group = self.context.groups.config(key.0.as_str()).is_some();
            let has_topic = self.context.topics.find(key.1.as_str()).is_some();
            if is_forgotten || !has_group || !has_topic {
                self.writing.forget(&key, queue);
                continue;
            }
            let book = Book::of(ledger, settings);
            let place = (key.1.clone(), queue);
            self.context.offsets.set(&key.0, place, book.committed);
            let share = self.shares.entry(key.clone()).or_default();
            share.books.insert(queue, book);
            self.alarms.set(&key, queue, share);
        }
        self.tell_retention(replay.from);
        self.doubt_all(ctx);
        self.stay_awake(ctx);
        for parked in std::mem::take(&mut self.parked) {
            match parked {
                Parked::Pop(pop, reply) => self.pop(pop, reply, ctx),
                Parked::Acknowledge(ack, reply) => self.acknowledge(ack, reply, ctx),
                Parked::Change(change, reply) => self.change_invisible(change, reply, ctx),
            }
        }
        self.end_turn(ctx);
    }
}

/// The bodies of the records that were fetched.
fn each_body(fetched: &Fetched, mut seen: impl FnMut(&[u8])) {
    for slice in &fetched.records {
        let mut bytes = slice.as_ref();
        while let Ok(Step::Record(record)) = step(bytes) {
            seen(record.body());
            bytes = bytes.get(record.total_bytes()..).unwrap_or_default();
        }
    }
}

impl Receive<JournalRead> for Popper {
    fn receive(&mut self, read: JournalRead, ctx: &mut Ctx<'_, Self>) {
        if read.epoch != self.epoch || self.is_ready {
            return;
        }
        match read.fetched {
            Ok(fetched) => self.go_on_replaying(read.replay, &fetched, ctx),
            Err(Lost) => {
                tracing::warn!("the pop journal could not be read, which is tried again");
                ctx.after(RETRY, |popper, ctx| popper.begin(ctx));
            }
        }
    }
}
