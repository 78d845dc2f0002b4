//! popper: hands out messages that are acknowledged one by one, for all groups and topics (RocketMQ's POP).
//!
//! One actor has all ledgers, since they share a journal: what they did in one turn is one record of it, and a start reads
//! it once. Nothing leaves here before the journal has it: neither messages nor the answer to an acknowledgement.
//!
//! - `share`: what a group has of a topic; `hand_out`: handing messages of a queue out; `alarms`: when invisible times end.
//! - `writing`: the journal; `record`: its records; `replaying`: ledgers made of it at the start.
//! - `burial`: messages that go to the dead letters.

mod alarms;
mod burial;
mod hand_out;
mod record;
mod replaying;
mod share;
mod writing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::filter::CompiledFilter;
use castmq_protocol::model::{GroupName, PhysicalOffset, QueueId, QueueOffset, TopicName};
use castmq_protocol::native::request::{PopReceipt, StartFrom};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_storage::commit_log::LogSlice;
use serde::Serialize;
use tokio::time::Instant;

use self::alarms::Alarms;
use self::burial::Burials;
use self::hand_out::{Left, Look, Outgoing, of_ledger, on_wire};
use self::share::{Book, Share, ShareKey, Waiting};
use self::writing::{Owed, Writing};
use super::fetch::{Fetch, Fetched, Patience, Wanted};
use super::pop::error::ReceiptError;
use super::pop::ledger::{Order, Settings};
use crate::broker::context::BrokerContext;
use crate::broker::topics::Topic;
use crate::storage::append::Appended;
use crate::storage::log_writer::LogWriter;
use crate::supervision::{ActorRef, Answer, Cast, Ctx, Failure, Lost, Receive, Reply};

/// How often pops that have waited long enough are answered.
const TICK: Duration = Duration::from_millis(50);

/// How often it is looked whether somebody else has set offsets, or deleted topics.
const LOOK: Duration = Duration::from_secs(1);

/// A read whose queue failed is tried again after this time.
const RETRY_READ: Duration = Duration::from_millis(20);

/// Messages brought into memory at once.
const LOAD_MESSAGES: u32 = 256;

/// Bytes brought into memory at once.
const LOAD_BYTES: u32 = 256 * 1024;

/// Takes messages for a group.
#[derive(Debug, Clone)]
pub(crate) struct Pop {
    /// Who asks; see [`Withdraw`].
    pub(crate) member: u64,
    pub(crate) group: GroupName,
    pub(crate) topic: Arc<Topic>,
    /// `None`: any.
    pub(crate) queue: Option<QueueId>,
    pub(crate) max_messages: u32,
    /// But always one message.
    pub(crate) max_bytes: u32,
    pub(crate) invisible_ms: u32,
    /// Where the group begins when it has read nothing of the topic.
    pub(crate) from: StartFrom,
    /// `None` for all. What it does not let through is settled.
    pub(crate) filter: Option<Arc<CompiledFilter>>,
    pub(crate) is_ordered: bool,
    pub(crate) attempt_id: Option<u64>,
    /// How long to wait for a message.
    pub(crate) wait: Duration,
}

/// Messages that were handed out; none when there were none in time.
#[derive(Debug)]
pub(crate) struct HandedOut {
    /// One for each record.
    pub(crate) receipts: Vec<PopReceipt>,
    pub(crate) records: Vec<LogSlice>,
}

/// Settles messages of a topic.
#[derive(Debug)]
pub(crate) struct Acknowledge {
    pub(crate) group: GroupName,
    pub(crate) topic: TopicName,
    pub(crate) receipts: Vec<PopReceipt>,
}

/// Receipts that settle nothing, by their place.
pub(crate) type Refused = Vec<(u32, ReceiptError)>;

/// Lets a message's invisible time end at another time.
#[derive(Debug)]
pub(crate) struct ChangeInvisible {
    pub(crate) group: GroupName,
    pub(crate) topic: TopicName,
    pub(crate) receipt: PopReceipt,
    /// From now.
    pub(crate) invisible_ms: u32,
}

/// Whoever asked is gone: nobody waits for its pops.
#[derive(Debug)]
pub(crate) struct Withdraw {
    pub(crate) member: u64,
}

/// A queue has a new message, or has waited long enough for one.
#[derive(Debug)]
struct Watched {
    epoch: u64,
    share: ShareKey,
    queue: QueueId,
    fetched: Result<Fetched, Lost>,
}

/// Messages were brought into memory.
#[derive(Debug)]
struct Loaded {
    epoch: u64,
    share: ShareKey,
    queue: QueueId,
    offset: QueueOffset,
    fetched: Result<Fetched, Lost>,
}

/// There may be more in a queue.
#[derive(Debug)]
struct Further {
    epoch: u64,
    share: ShareKey,
    queue: QueueId,
}

/// What came before it was known who has what.
enum Parked {
    Pop(Pop, Reply<Result<HandedOut, Refusal>>),
    Acknowledge(Acknowledge, Reply<Refused>),
    Change(ChangeInvisible, Reply<Result<PopReceipt, ReceiptError>>),
}

/// See the module.
pub(crate) struct Popper {
    context: Arc<BrokerContext>,
    writer: ActorRef<LogWriter>,
    /// Whether it is known who has what.
    is_ready: bool,
    /// Tells answers to what was asked before it began anew.
    epoch: u64,
    shares: HashMap<ShareKey, Share>,
    parked: Vec<Parked>,
    writing: Writing,
    alarms: Alarms,
    burials: Burials,
    handed_out: u64,
    acknowledged: u64,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct PopperState {
    is_ready: bool,
    ledgers: usize,
    in_flight: usize,
    waiting_pops: usize,
    handed_out: u64,
    acknowledged: u64,
    dead_letters: u64,
    replays_from: u64,
}

impl Popper {
    pub(crate) fn new(context: Arc<BrokerContext>) -> Result<Self, Failure> {
        Ok(Self {
            writer: context.actors()?.log_writer.clone(),
            is_ready: false,
            epoch: 0,
            shares: HashMap::new(),
            parked: Vec::new(),
            writing: Writing::default(),
            alarms: Alarms::default(),
            burials: Burials::default(),
            handed_out: 0,
            acknowledged: 0,
            context,
        })
    }

    fn settings(&self) -> Settings {
        Settings {
            order: Order::Unordered,
            max_outstanding: self.context.settings.broker.pop_max_outstanding,
        }
    }

    /// Attempts after which a message of a group is a dead letter: a group's retries come after the first.
    fn max_attempts(&self, group: &GroupName) -> u32 {
        let config = self.context.groups.config(group.as_str());
        config.map_or(u32::MAX, |config| config.retry_max.saturating_add(1))
    }

    /// Ends a turn in which ledgers may have changed.
    fn end_turn(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.write_soon(ctx);
        self.arm(ctx);
    }

    fn pop(&mut self, pop: Pop, reply: Reply<Result<HandedOut, Refusal>>, ctx: &mut Ctx<'_, Self>) {
        if !self.is_ready {
            self.parked.push(Parked::Pop(pop, reply));
            return;
        }
        match self.serve(&pop, None, ctx) {
            Err(refusal) => reply.send(Err(refusal)),
            Ok(out) if !out.is_empty() => self.owe(out, reply),
            Ok(_) => {
                let waiting = Waiting {
                    until: Instant::now() + pop.wait,
                    pop,
                    reply,
                };
                self.wait(waiting, ctx);
            }
        }
        self.end_turn(ctx);
    }

    fn owe(&mut self, out: Outgoing, reply: Reply<Result<HandedOut, Refusal>>) {
        let out = out.finish();
        self.handed_out += out.receipts.len() as u64;
        self.writing.owe(Owed::Messages(reply, out));
    }

    /// Lets a pop wait for a message; one that does not want to, for what is on its way from the disk.
    fn wait(&mut self, waiting: Waiting, ctx: &mut Ctx<'_, Self>) {
        let pop = &waiting.pop;
        let key = (pop.group.clone(), pop.topic.name.clone());
        let queues = queues_of(pop, None);
        if pop.wait.is_zero() && !self.is_loading(&key, &queues) {
            waiting.reply.send(Ok(Outgoing::default().finish()));
            return;
        }
        let is_patient = !pop.wait.is_zero();
        if let Some(share) = self.shares.get_mut(&key) {
            share.waiting.push_back(waiting);
        }
        if is_patient {
            queues.for_each(|queue| self.watch(&key, QueueId(queue), ctx));
        }
    }

    fn is_loading(&self, key: &ShareKey, queues: &std::ops::Range<u32>) -> bool {
        let Some(share) = self.shares.get(key) else {
            return false;
        };
        let mut books = share
            .books
            .range(QueueId(queues.start)..QueueId(queues.end));
        books.any(|(_, book)| book.is_loading)
    }

    /// Hands out what a pop may have, of one queue or of all that it wants.
    fn serve(
        &mut self,
        pop: &Pop,
        only: Option<QueueId>,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Outgoing, Refusal> {
        pop.topic.check_read(pop.queue.unwrap_or_default())?;
        let key = (pop.group.clone(), pop.topic.name.clone());
        let queues = queues_of(pop, only);
        let share = self.shares.entry(key.clone()).or_default();
        let turn = share.turn;
        share.turn = turn.wrapping_add(1);
        self.open_books(pop, &key, &queues);
        let now_ms = self.context.clock.now_ms();
        let max_attempts = self.max_attempts(&pop.group);
        let mut out = Outgoing::default();
        for step in 0..queues.len() as u32 {
            if out.room(pop) == 0 {
                break;
            }
            let id = QueueId(queues.start + turn.wrapping_add(step) % queues.len() as u32);
            let context = self.context.clone();
            let share = self.shares.get_mut(&key);
            let Some(book) = share.and_then(|share| share.books.get_mut(&id)) else {
                continue;
            };
            let look = Look {
                log: &context.store.log,
                queue: &context.store.queues.queue(&key.1, id),
                id,
                pop,
                now_ms,
                max_attempts,
            };
            let left = look.hand_out(book, &mut out);
            let left = left.unwrap_or_else(|error| {
                tracing::warn!(topic = %key.1, queue = %id, %error, "a queue cannot be read");
                Left::default()
            });
            self.changed(&key, id);
            if let Some(offset) = left.cold {
                self.load(&key, id, offset, ctx);
            } else if left.has_more && out.is_empty() {
                self.look_further(&key, id, ctx);
            }
            self.bury(&key, id, &left.exhausted, ctx);
        }
        Ok(out)
    }

    /// Makes the ledgers that are not there yet. The first time a group reads a topic it begins where it says, in every
    /// queue there is by then; queues that come later are read from their start.
    fn open_books(&mut self, pop: &Pop, key: &ShareKey, queues: &std::ops::Range<u32>) {
        let settings = self.settings();
        let Some(share) = self.shares.get_mut(key) else {
            return;
        };
        let is_open = |queue: u32| share.books.contains_key(&QueueId(queue));
        if queues.clone().all(is_open) {
            return;
        }
        let offsets = &self.context.offsets;
        let begins = !offsets.knows_topic(&key.0, &key.1);
        let all = match begins {
            true => 0..pop.topic.read_queues(),
            false => queues.clone(),
        };
        for id in all.map(QueueId) {
            if share.books.contains_key(&id) {
                continue;
            }
            let queue = self.context.store.queues.queue(&key.1, id);
            let place = (key.1.clone(), id);
            let floor = match offsets.get(&key.0, &place) {
                Some(offset) => offset.min(queue.max_offset()),
                None if begins && pop.from == StartFrom::Latest => queue.max_offset(),
                None => queue.min_offset(),
            };
            offsets.set(&key.0, place, floor);
            share.books.insert(id, Book::new(settings, floor));
            self.writing.note_change(key, id, share);
        }
    }

    /// A ledger has changed: it has to be written down, and may have to be looked at earlier.
    fn changed(&mut self, key: &ShareKey, queue: QueueId) {
        if let Some(share) = self.shares.get_mut(key) {
            self.writing.note_change(key, queue, share);
            self.alarms.set(key, queue, share);
        }
    }

    /// Answers pops that wait, when there is something for them in one queue or in any.
    fn serve_waiting(&mut self, key: &ShareKey, only: Option<QueueId>, ctx: &mut Ctx<'_, Self>) {
        let Some(share) = self.shares.get_mut(key) else {
            return;
        };
        if share.waiting.is_empty() {
            return;
        }
        let mut waiting = std::mem::take(&mut share.waiting);
        let mut kept = std::collections::VecDeque::with_capacity(waiting.len());
        let mut is_dry = false;
        while let Some(next) = waiting.pop_front() {
            let is_elsewhere = only.is_some() && next.pop.queue.is_some_and(|q| only != Some(q));
            if is_dry || is_elsewhere {
                kept.push_back(next);
                continue;
            }
            match self.serve(&next.pop, only, ctx) {
                Err(refusal) => next.reply.send(Err(refusal)),
                Ok(out) if !out.is_empty() => self.owe(out, next.reply),
                Ok(_) => {
                    // Nor is there anything for those behind it.
                    is_dry = only.is_some() || next.pop.queue.is_none();
                    kept.push_back(next);
                }
            }
        }
        if let Some(share) = self.shares.get_mut(key) {
            share.waiting = kept;
        }
    }

    /// Has a queue tell of its next message.
    fn watch(&mut self, key: &ShareKey, id: QueueId, ctx: &mut Ctx<'_, Self>) {
        let epoch = self.epoch;
        let Some(share) = self.shares.get_mut(key) else {
            return;
        };
        let until = share.waiting.iter().map(|waiting| waiting.until).max();
        let (Some(until), Some(book)) = (until, share.books.get_mut(&id)) else {
            return;
        };
        if book.is_watched {
            return;
        }
        let share = key.clone();
        let fetch = Fetch {
            wanted: Wanted {
                // What lies before has been looked at.
                offset: self.context.store.queues.queue(&key.1, id).max_offset(),
                max_messages: 1,
                max_bytes: 1,
                filter: None,
            },
            patience: Patience::Until(until),
            reply: Reply::to_mailbox(ctx.me().mailbox(), move |fetched| Watched {
                epoch,
                share,
                queue: id,
                fetched,
            }),
        };
        book.is_watched = true;
        self.fetch(key, id, fetch, ctx);
    }

    /// Has messages brought into memory.
    fn load(&mut self, key: &ShareKey, id: QueueId, offset: QueueOffset, ctx: &mut Ctx<'_, Self>) {
        let epoch = self.epoch;
        let share = self.shares.get_mut(key);
        let Some(book) = share.and_then(|share| share.books.get_mut(&id)) else {
            return;
        };
        if book.is_loading {
            return;
        }
        book.is_loading = true;
        let share = key.clone();
        let fetch = Fetch {
            wanted: Wanted {
                offset,
                max_messages: LOAD_MESSAGES,
                max_bytes: LOAD_BYTES,
                filter: None,
            },
            patience: Patience::None,
            reply: Reply::to_mailbox(ctx.me().mailbox(), move |fetched| Loaded {
                epoch,
                share,
                queue: id,
                offset,
                fetched,
            }),
        };
        self.fetch(key, id, fetch, ctx);
    }

    /// Has a queue looked at again in another turn: the filter lets few messages through.
    fn look_further(&mut self, key: &ShareKey, queue: QueueId, ctx: &mut Ctx<'_, Self>) {
        let (epoch, share) = (self.epoch, key.clone());
        if let Some(book) = self.book(key, queue)
            && !book.is_loading
        {
            book.is_loading = true;
            ctx.me().tell(Further {
                epoch,
                share,
                queue,
            });
        }
    }

    fn fetch(&self, key: &ShareKey, id: QueueId, fetch: Fetch, ctx: &mut Ctx<'_, Self>) {
        let place = (key.1.clone(), id);
        match self.context.deliveries.wake(&self.context, &place) {
            // A fetch that is not taken comes back as lost.
            Ok(queue) => drop(queue.tell(fetch)),
            Err(failure) => ctx.fail(failure),
        }
    }

    fn book(&mut self, key: &ShareKey, queue: QueueId) -> Option<&mut Book> {
        self.shares.get_mut(key)?.books.get_mut(&queue)
    }

    /// Goes on with the pops that wait for a queue, and has it watched for those that still do.
    fn go_on(&mut self, key: &ShareKey, queue: QueueId, ctx: &mut Ctx<'_, Self>) {
        self.serve_waiting(key, Some(queue), ctx);
        self.watch(key, queue, ctx);
        self.end_turn(ctx);
    }

    fn acknowledge(&mut self, ack: Acknowledge, reply: Reply<Refused>, ctx: &mut Ctx<'_, Self>) {
        if !self.is_ready {
            self.parked.push(Parked::Acknowledge(ack, reply));
            return;
        }
        let now_ms = self.context.clock.now_ms();
        let key = (ack.group, ack.topic);
        let mut receipts: Vec<_> = (0_u32..).zip(&ack.receipts).collect();
        // Stable: a ledger gets them in the order in which they came.
        receipts.sort_by_key(|(_, receipt)| receipt.queue);
        let mut refused = Refused::new();
        for of_queue in receipts.chunk_by(|(_, one), (_, next)| one.queue == next.queue) {
            let Some((_, first)) = of_queue.first() else {
                continue;
            };
            let queue = first.queue;
            let Some(book) = self.book(&key, queue) else {
                refused.extend(of_queue.iter().map(|(place, receipt)| {
                    let offset = receipt.offset;
                    (*place, ReceiptError::Unknown { offset })
                }));
                continue;
            };
            let of_book: Vec<_> = of_queue.iter().map(|(_, one)| of_ledger(one)).collect();
            let failed = book
                .ledger
                .acknowledge_all(now_ms, &of_book, &mut book.journal);
            let settled_before =
                |error: &ReceiptError| matches!(error, ReceiptError::AlreadySettled { .. });
            let failed = failed
                .into_iter()
                .filter(|(_, error)| !settled_before(error));
            refused.extend(failed.filter_map(|(index, error)| {
                let (place, _) = of_queue.get(index)?;
                Some((*place, error))
            }));
            self.changed(&key, queue);
            // Order, or room, may have kept messages back.
            self.serve_waiting(&key, Some(queue), ctx);
        }
        refused.sort_by_key(|(place, _)| *place);
        self.acknowledged += (ack.receipts.len() - refused.len()) as u64;
        self.writing.owe(Owed::Settled(reply, refused));
        self.end_turn(ctx);
    }

    fn change_invisible(
        &mut self,
        change: ChangeInvisible,
        reply: Reply<Result<PopReceipt, ReceiptError>>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        if !self.is_ready {
            self.parked.push(Parked::Change(change, reply));
            return;
        }
        let now_ms = self.context.clock.now_ms();
        let key = (change.group, change.topic);
        let PopReceipt { queue, offset, .. } = change.receipt;
        let changed = match self.book(&key, queue) {
            None => Err(ReceiptError::Unknown { offset }),
            Some(book) => book.ledger.change_invisible(
                now_ms,
                &of_ledger(&change.receipt),
                change.invisible_ms,
                &mut book.journal,
            ),
        };
        self.changed(&key, queue);
        let receipt = changed.map(|receipt| on_wire(queue, receipt));
        self.writing.owe(Owed::Changed(reply, receipt));
        self.end_turn(ctx);
    }

    /// Answers pops that have waited long enough, unless their messages are on the way.
    fn tick(&mut self) {
        let now = Instant::now();
        for share in self.shares.values_mut() {
            if share.waiting.is_empty() {
                continue;
            }
            let is_loading = share.books.values().any(|book| book.is_loading);
            let mut kept = std::collections::VecDeque::with_capacity(share.waiting.len());
            for waiting in share.waiting.drain(..) {
                match waiting.until <= now && !is_loading {
                    true => waiting.reply.send(Ok(Outgoing::default().finish())),
                    false => kept.push_back(waiting),
                }
            }
            share.waiting = kept;
        }
    }

    /// Forgets ledgers whose offset somebody else has set, an operator for instance, and those of deleted topics.
    fn look_around(&mut self, ctx: &mut Ctx<'_, Self>) {
        if !self.is_ready {
            return;
        }
        for (key, share) in &mut self.shares {
            let has_topic = self.context.topics.find(key.1.as_str()).is_some();
            let offsets = &self.context.offsets;
            let is_current = |queue: &QueueId, book: &Book| {
                let offset = offsets.get(&key.0, &(key.1.clone(), *queue));
                has_topic && offset == Some(book.committed)
            };
            let stale = share
                .books
                .iter()
                .filter(|(queue, book)| !is_current(queue, book));
            for queue in stale.map(|(queue, _)| *queue).collect::<Vec<_>>() {
                tracing::info!(group = %key.0, topic = %key.1, %queue, "the group's offset was set: its popped messages are forgotten");
                share.books.remove(&queue);
                self.writing.forget(key, queue);
            }
        }
        self.shares
            .retain(|_, share| !share.books.is_empty() || !share.waiting.is_empty());
        for key in self.shares.keys().cloned().collect::<Vec<_>>() {
            let has_lost_books = |share: &Share| {
                share
                    .waiting
                    .front()
                    .is_some_and(|waiting| queues_of(&waiting.pop, None).len() > share.books.len())
            };
            if self.shares.get(&key).is_some_and(has_lost_books) {
                self.serve_waiting(&key, None, ctx);
            }
        }
        self.writing.look_at_age(&self.shares);
        self.end_turn(ctx);
    }
}

/// The queues that a pop wants, of all or of one.
fn queues_of(pop: &Pop, only: Option<QueueId>) -> std::ops::Range<u32> {
    match only.or(pop.queue) {
        Some(QueueId(queue)) => queue..queue.saturating_add(1),
        None => 0..pop.topic.read_queues(),
    }
}

impl Cast for Popper {
    type State = PopperState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        self.begin(ctx);
        ctx.every(TICK, |popper, _| popper.tick());
        ctx.every(LOOK, Self::look_around);
        Ok(())
    }

    fn observe(&self) -> PopperState {
        let shares = self.shares.values();
        let books = || shares.clone().flat_map(|share| share.books.values());
        PopperState {
            is_ready: self.is_ready,
            ledgers: books().count(),
            in_flight: books().map(|book| book.ledger.in_flight()).sum(),
            waiting_pops: shares.clone().map(|share| share.waiting.len()).sum(),
            handed_out: self.handed_out,
            acknowledged: self.acknowledged,
            dead_letters: self.burials.done(),
            replays_from: self.writing.replay_from().0,
        }
    }
}

impl Answer<Pop> for Popper {
    type Reply = Result<HandedOut, Refusal>;

    fn answer(&mut self, pop: Pop, reply: Reply<Self::Reply>, ctx: &mut Ctx<'_, Self>) {
        self.pop(pop, reply, ctx);
    }
}

impl Answer<Acknowledge> for Popper {
    type Reply = Refused;

    fn answer(&mut self, ack: Acknowledge, reply: Reply<Refused>, ctx: &mut Ctx<'_, Self>) {
        self.acknowledge(ack, reply, ctx);
    }
}

impl Answer<ChangeInvisible> for Popper {
    type Reply = Result<PopReceipt, ReceiptError>;

    fn answer(
        &mut self,
        change: ChangeInvisible,
        reply: Reply<Self::Reply>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        self.change_invisible(change, reply, ctx);
    }
}

impl Receive<Withdraw> for Popper {
    fn receive(&mut self, Withdraw { member }: Withdraw, _ctx: &mut Ctx<'_, Self>) {
        for share in self.shares.values_mut() {
            share.waiting.retain(|waiting| waiting.pop.member != member);
        }
        self.parked
            .retain(|parked| !matches!(parked, Parked::Pop(pop, _) if pop.member == member));
    }
}

impl Receive<Watched> for Popper {
    fn receive(&mut self, watched: Watched, ctx: &mut Ctx<'_, Self>) {
        let Watched { share, queue, .. } = watched;
        if watched.epoch != self.epoch {
            return;
        }
        if watched.fetched.is_err() {
            ctx.after(RETRY_READ, move |popper, ctx| {
                if let Some(book) = popper.book(&share, queue) {
                    book.is_watched = false;
                    popper.go_on(&share, queue, ctx);
                }
            });
            return;
        }
        if let Some(book) = self.book(&share, queue) {
            book.is_watched = false;
            self.go_on(&share, queue, ctx);
        }
    }
}

impl Receive<Loaded> for Popper {
    fn receive(&mut self, loaded: Loaded, ctx: &mut Ctx<'_, Self>) {
        let Loaded { share, queue, .. } = loaded;
        if loaded.epoch != self.epoch {
            return;
        }
        let Ok(fetched) = loaded.fetched else {
            ctx.after(RETRY_READ, move |popper, ctx| {
                if let Some(book) = popper.book(&share, queue) {
                    book.is_loading = false;
                    popper.go_on(&share, queue, ctx);
                }
            });
            return;
        };
        if let Some(book) = self.book(&share, queue) {
            book.is_loading = false;
            book.loaded = loaded.offset.0..fetched.next_offset.0;
            self.go_on(&share, queue, ctx);
        }
    }
}

impl Receive<Further> for Popper {
    fn receive(&mut self, further: Further, ctx: &mut Ctx<'_, Self>) {
        if further.epoch != self.epoch {
            return;
        }
        if let Some(book) = self.book(&further.share, further.queue) {
            book.is_loading = false;
            self.go_on(&further.share, further.queue, ctx);
        }
    }
}

impl Receive<Appended> for Popper {
    fn receive(&mut self, appended: Appended, ctx: &mut Ctx<'_, Self>) {
        let Some(first) = appended.requests.first() else {
            let end: PhysicalOffset = self.context.store.log.appended();
            self.catch_up(end, ctx);
            return;
        };
        match first.correlation {
            writing::JOURNAL => self.written(&appended, ctx),
            burial => self.buried(burial, &appended, ctx),
        }
    }
}

/// Why a receipt is refused, as clients are told.
pub(crate) fn refusal(error: &ReceiptError) -> Refusal {
    let code = match error {
        ReceiptError::Expired { .. } => ErrorCode::ReceiptExpired,
        ReceiptError::Unknown { .. } => ErrorCode::ReceiptUnknown,
        ReceiptError::AlreadySettled { .. } => ErrorCode::MessageSettled,
    };
    Refusal::never(code, error.to_string())
}
