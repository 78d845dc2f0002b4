//! What clients did and saw, and what must not be seen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use castmq_client::Order;
use parking_lot::{Mutex, MutexGuard};

use crate::support::history::{Figures, History, Id, Place, Stored, Violation};

use super::shape::{Seat, Shape};
use super::trace::Trace;

/// What is shared by all hosts of a run and its course. Clones are the same.
#[derive(Clone)]
pub struct Record {
    pub trace: Trace,
    inner: Arc<Mutex<Inner>>,
}

/// See the module.
#[derive(Default)]
pub struct Inner {
    pub history: History,
    /// Whether the storm is over, and producers come to an end.
    pub is_over: bool,
    /// Queues in which a message was acknowledged.
    pub begun: BTreeSet<Place>,
    /// Producers' lanes that have not ended.
    pub lanes: usize,
    /// Brokers that the operator is to make masters of their sets.
    pub promotions: VecDeque<Seat>,
    /// The masters, by the names of their sets, as far as the operator knows.
    pub masters: BTreeMap<String, Seat>,
    /// The topic is there, and traffic may begin.
    pub is_ready: bool,
    /// What brokers have in the end.
    pub stored: Option<Stored>,
    consumed: Consumed,
}

/// What a group of consumers did.
#[derive(Default)]
struct Consumed {
    times: BTreeMap<Id, u32>,
    /// Behind the last offset that was handled.
    next: BTreeMap<Place, u64>,
    /// Queues of which somebody handles a message.
    busy: BTreeMap<Place, String>,
    /// Whether the messages of a queue are handled one after the other.
    has_order: bool,
    wrong: Vec<Wrong>,
}

/// What must not happen.
pub enum Wrong {
    /// What is stored does not agree with what is known.
    Stored(Violation),
    /// A consumer was given something that nobody sent there.
    Phantom { place: Place, offset: u64 },
    /// A consumer in order was given a message before the one in front of it was handled.
    Skipped { place: Place, from: u64, to: u64 },
    /// Two consumers in order handled messages of one queue at once.
    Together {
        place: Place,
        one: String,
        other: String,
    },
    /// Messages came more than once though nothing went wrong.
    Again { messages: usize },
    /// In fair weather something did not come to its end.
    Stuck(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored(violation) => write!(f, "{violation:?}"),
            Self::Phantom { place, offset } => {
                write!(f, "nobody sent what came from {place:?} at {offset}")
            }
            Self::Skipped { place, from, to } => {
                write!(f, "{to} came from {place:?} before {from} was handled")
            }
            Self::Together { place, one, other } => {
                write!(f, "{one} and {other} handled messages of {place:?} at once")
            }
            Self::Again { messages } => {
                write!(
                    f,
                    "{messages} messages came again though nothing went wrong"
                )
            }
            Self::Stuck(what) => write!(f, "it does not come to an end: {what}"),
        }
    }
}

impl Record {
    pub fn new(trace: Trace, shape: &Shape) -> Self {
        let mut inner = Inner::default();
        inner.consumed.has_order = shape.order == Order::PerQueue;
        let masters = shape.seats().into_iter().filter(|seat| seat.id == 0);
        inner.masters = masters.map(|seat| (seat.broker.clone(), seat)).collect();
        Self {
            trace,
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// A member begins to handle a message. What is returned is dropped when it ends, done or not.
    pub fn begin(&self, member: &str, place: Place, offset: u64) -> Handling {
        self.lock().consumed.begin(member, place, offset);
        Handling {
            record: self.clone(),
            place,
            member: member.to_owned(),
        }
    }

    /// It is handled.
    pub fn handled(&self, place: Place, offset: u64, id: Option<Id>) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let next = inner.consumed.next.entry(place).or_default();
        *next = (*next).max(offset + 1);
        match id.filter(|id| inner.history.is_sent_to(*id, place)) {
            Some(id) => {
                *inner.consumed.times.entry(id).or_default() += 1;
                inner.history.see(place, offset, id);
            }
            None => inner.consumed.wrong.push(Wrong::Phantom { place, offset }),
        }
    }
}

impl Consumed {
    fn begin(&mut self, member: &str, place: Place, offset: u64) {
        let next = self.next.get(&place).copied().unwrap_or(0);
        if self.has_order && offset > next {
            let (from, to) = (next, offset);
            self.wrong.push(Wrong::Skipped { place, from, to });
        }
        let before = self.busy.insert(place, member.to_owned());
        if let Some(one) = before.filter(|_| self.has_order) {
            let other = member.to_owned();
            self.wrong.push(Wrong::Together { place, one, other });
        }
    }
}

impl Inner {
    /// What was acknowledged and not handled yet, and some of it.
    pub fn unhandled(&self) -> (usize, Option<Id>) {
        let times = &self.consumed.times;
        let left = self.history.acknowledged_ids();
        let mut left = left.filter(|id| !times.contains_key(id));
        let first = left.next();
        (first.iter().count() + left.count(), first)
    }

    /// Whether all that is stored was handled.
    pub fn is_all_handled(&self, stored: &Stored) -> bool {
        let mut ids = stored.values().flatten().filter_map(|(_, id)| *id);
        ids.all(|id| self.consumed.times.contains_key(&id))
    }

    /// All that is wrong.
    pub fn check(&mut self, is_calm: bool) -> (Summary, Vec<Wrong>) {
        let mut wrong = std::mem::take(&mut self.consumed.wrong);
        let stored = self.stored.take().unwrap_or_default();
        let (figures, violations) = self.history.check(&stored);
        // What was not answered may still have been on its way when later ones were stored.
        let is_wrong = |violation: &Violation| match violation {
            Violation::Reordered { id, .. } => self.history.is_acknowledged(*id),
            _ => true,
        };
        wrong.extend(violations.into_iter().filter(is_wrong).map(Wrong::Stored));
        let times = self.consumed.times.values();
        let again = times.filter(|times| **times > 1).count();
        if is_calm && again > 0 {
            wrong.push(Wrong::Again { messages: again });
        }
        (Summary { figures, again }, wrong)
    }
}

/// A message that is being handled.
pub struct Handling {
    record: Record,
    place: Place,
    member: String,
}

impl Drop for Handling {
    fn drop(&mut self) {
        let busy = &mut self.record.lock().consumed.busy;
        if busy.get(&self.place) == Some(&self.member) {
            busy.remove(&self.place);
        }
    }
}

/// How much was checked.
pub struct Summary {
    figures: Figures,
    /// Messages that were handled more than once.
    again: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.figures;
        write!(
            f,
            "{} sent: {} acknowledged, {} refused, {} without an answer, of which {} are stored; {} handled again",
            figures.attempted,
            figures.acknowledged,
            figures.refused,
            figures.unknown,
            figures.unknown_stored,
            self.again
        )
    }
}
