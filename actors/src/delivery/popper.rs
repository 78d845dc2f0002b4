//! popper: hands out messages that are acknowledged one by one, for all groups and topics (RocketMQ's POP).
//!
//! One actor has all ledgers, since they share a journal: what they did in one turn is one record of it, and a start reads
//! it once. Nothing leaves here before the journal has it: neither messages nor the answer to an acknowledgement.
//!
//! - `messages`: what it is asked; `serving`: pops, and how they wait; `hand_out`: handing messages of a queue out.
//! - `outlook`: what a pop would find. `share`: what a group has of a topic; `agreement`: how its consumers pop it.
//! - `alarms`: when invisible times end; `waking`: what else it wakes for.
//! - `writing`: the journal; `record`: its records; `replaying`: ledgers made of it at the start.
//! - `burial`: messages that go to the dead letters; `doubts`: those that may be there already.

mod agreement;
mod alarms;
mod burial;
mod doubts;
mod hand_out;
mod messages;
mod outlook;
mod record;
mod replaying;
mod serving;
mod share;
mod waking;
mod writing;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use castmq_protocol::model::{GroupName, QueueId};
use castmq_protocol::native::request::PopReceipt;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use serde::Serialize;

pub(crate) use self::agreement::Habit;
use self::alarms::Alarms;
use self::burial::Burials;
use self::hand_out::{of_ledger, on_wire};
pub(crate) use self::messages::{
    Acknowledge, ChangeInvisible, ForgetBooks, ForgetGroup, HandedOut, MakeRoom, Pop, Refused,
    Withdraw,
};
pub(crate) use self::outlook::{LookAhead, Outlook};
use self::share::{Book, Share, ShareKey};
use self::waking::Waking;
use self::writing::{Owed, Writing};
use super::catching_up;
use super::pop::error::ReceiptError;
use super::pop::ledger::{Order, Settings};
use crate::broker::context::BrokerContext;
use crate::storage::append::Appended;
use crate::storage::log_writer::LogWriter;
use crate::supervision::{ActorRef, Answer, Cast, Ctx, Failure, Receive, Reply};

/// What failed is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// A number that none of this process's poppers had before: what is answered to one that has failed is not taken for an answer
/// to its successor.
fn new_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
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
    /// Ledgers that are forgotten as soon as it is known who has what: the journal may not say so.
    to_forget: HashSet<(ShareKey, QueueId)>,
    /// And those of groups.
    groups_to_forget: HashSet<GroupName>,
    writing: Writing,
    alarms: Alarms,
    waking: Waking,
    burials: Burials,
    handed_out: u64,
    acknowledged: u64,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct PopperState {
    is_ready: bool,
    is_awake: bool,
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
            to_forget: HashSet::new(),
            groups_to_forget: HashSet::new(),
            writing: Writing::default(),
            alarms: Alarms::default(),
            waking: Waking::default(),
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

    fn book(&mut self, key: &ShareKey, queue: QueueId) -> Option<&mut Book> {
        self.shares.get_mut(key)?.books.get_mut(&queue)
    }

    /// The ledgers of which this holds.
    fn places(
        &self,
        is_it: impl Fn(&ShareKey, QueueId, &Book) -> bool,
    ) -> Vec<(ShareKey, QueueId)> {
        let mut places = Vec::new();
        for (key, share) in &self.shares {
            let books = share.books.iter();
            let found = books.filter(|(queue, book)| is_it(key, **queue, book));
            places.extend(found.map(|(queue, _)| (key.clone(), *queue)));
        }
        places
    }

    /// Forgets who has what of a queue.
    fn forget_book(&mut self, key: &ShareKey, queue: QueueId) {
        let share = self.shares.get_mut(key);
        if let Some(book) = share.and_then(|share| share.books.remove(&queue)) {
            self.alarms.forget(key, queue, &book);
            self.burials.forget(key, queue, &book);
            self.writing.forget(key, queue);
        }
    }

    /// A ledger has changed: it has to be written down, and may have to be looked at earlier.
    fn changed(&mut self, key: &ShareKey, queue: QueueId) {
        if let Some(share) = self.shares.get_mut(key) {
            self.writing.note_change(key, queue, share);
            self.alarms.set(key, queue, share);
        }
    }

    fn acknowledge(&mut self, ack: Acknowledge, reply: Reply<Refused>, ctx: &mut Ctx<'_, Self>) {
        if !self.is_ready {
            self.parked.push(Parked::Acknowledge(ack, reply));
            return;
        }
        self.stay_awake(ctx);
        let now_ms = self.now_ms();
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
            let places: Vec<_> = of_queue.iter().map(|(place, _)| *place).collect();
            let of_book: Vec<_> = of_queue.iter().map(|(_, of)| of_ledger(of)).collect();
            let failed = book
                .ledger
                .acknowledge_all(now_ms, &of_book, &mut book.journal);
            let settled_before =
                |error: &ReceiptError| matches!(error, ReceiptError::AlreadySettled { .. });
            let failed = failed
                .into_iter()
                .filter(|(_, error)| !settled_before(error));
            refused.extend(failed.filter_map(|(index, error)| {
                let place = places.get(index)?;
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
        self.stay_awake(ctx);
        let now_ms = self.now_ms();
        let key = (change.group, change.topic);
        let PopReceipt { queue, offset, .. } = change.receipt;
        let book = self.book(&key, queue);
        let book = book.ok_or(ReceiptError::Unknown { offset });
        let receipt = of_ledger(&change.receipt);
        let changed = book.and_then(|book| {
            let Book {
                ledger, journal, ..
            } = book;
            ledger.change_invisible(now_ms, &receipt, change.invisible_ms, journal)
        });
        self.changed(&key, queue);
        let receipt = changed.map(|receipt| on_wire(queue, receipt));
        self.writing.owe(Owed::Changed(reply, receipt));
        self.end_turn(ctx);
    }
}

impl Cast for Popper {
    type State = PopperState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        if self.context.standing.is_slave() {
            return Ok(());
        }
        self.begin(ctx);
        Ok(())
    }

    fn observe(&self) -> PopperState {
        let shares = self.shares.values();
        let books = || shares.clone().flat_map(|share| share.books.values());
        PopperState {
            is_ready: self.is_ready,
            is_awake: self.waking.is_awake(),
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

impl Receive<ForgetGroup> for Popper {
    fn receive(&mut self, ForgetGroup { group }: ForgetGroup, ctx: &mut Ctx<'_, Self>) {
        if !self.is_ready {
            self.groups_to_forget.insert(group);
            return;
        }
        for (key, queue) in self.places(|key, _, _| key.0 == group) {
            self.forget_book(&key, queue);
        }
        self.shares.retain(|key, _| key.0 != group);
        self.end_turn(ctx);
    }
}

impl Receive<ForgetBooks> for Popper {
    fn receive(&mut self, ForgetBooks { group, queues }: ForgetBooks, ctx: &mut Ctx<'_, Self>) {
        let places = queues.into_iter();
        let places = places.map(|(topic, queue)| ((group.clone(), topic), queue));
        if !self.is_ready {
            self.to_forget.extend(places);
            return;
        }
        let mut touched = BTreeSet::new();
        for (key, queue) in places {
            self.forget_book(&key, queue);
            touched.insert(key);
        }
        for key in touched {
            self.open_again(&key, ctx);
        }
        self.end_turn(ctx);
    }
}

impl Receive<Appended> for Popper {
    fn receive(&mut self, appended: Appended, ctx: &mut Ctx<'_, Self>) {
        let Some(first) = appended.requests.first() else {
            catching_up::when_noted(&self.context, ctx, Self::caught_up);
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
