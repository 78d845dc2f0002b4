//! What a group has of a topic: a ledger for each queue, and the pops that wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use castmq_protocol::model::{GroupName, QueueId, QueueOffset, TopicName};
use tokio::time::Instant;

use super::Pop;
use super::agreement::Agreement;
use crate::delivery::pop::journal::Journal;
use crate::delivery::pop::ledger::{Ledger, Order, Settings};
use crate::supervision::Reply;

use super::HandedOut;
use castmq_protocol::native::Failure as Refusal;

/// A group and a topic.
pub(super) type ShareKey = (GroupName, TopicName);

/// A pop that is owed an answer.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) pop: Pop,
    pub(super) until: Instant,
    pub(super) reply: Reply<Result<HandedOut, Refusal>>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) books: BTreeMap<QueueId, Book>,
    /// In the order in which they came.
    pub(super) waiting: VecDeque<Waiting>,
    /// With which queue the next pop begins.
    pub(super) turn: u32,
    pub(super) agreement: Option<Agreement>,
}

/// A queue's ledger, and what is to be done about it.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) ledger: Ledger,
    settings: Settings,
    /// What the ledger has done since it was last written down.
    pub(super) journal: Journal,
    /// It is among those to be written down.
    pub(super) is_dirty: bool,
    /// The group's offset as it was set last. Another one was set by somebody else.
    pub(super) committed: QueueOffset,
    /// The queue tells of its next message.
    pub(super) is_watched: bool,
    /// Messages are being brought into memory.
    pub(super) is_loading: bool,
    /// Those that were brought last.
    pub(super) loaded: Range<u64>,
    /// When it has to be looked at, on the clock outside.
    pub(super) alarm_ms: Option<i64>,
    /// On their way to the dead letters.
    pub(super) burying: BTreeSet<QueueOffset>,
    /// Perhaps among the dead letters already. Until that is known none of its messages is buried.
    pub(super) doubted: BTreeSet<QueueOffset>,
}

impl Book {
    /// A ledger of a group that has settled everything below `floor`.
    pub(super) fn new(settings: Settings, floor: QueueOffset) -> Self {
        let ledger = Ledger::new(settings, floor);
        Self {
            journal: ledger.snapshot(),
            ..Self::of(ledger, settings)
        }
    }

    /// A ledger of which the journal knows.
    pub(super) fn of(ledger: Ledger, settings: Settings) -> Self {
        Self {
            committed: ledger.floor(),
            ledger,
            settings,
            journal: Journal::default(),
            is_dirty: false,
            is_watched: false,
            is_loading: false,
            loaded: 0..0,
            alarm_ms: None,
            burying: BTreeSet::new(),
            doubted: BTreeSet::new(),
        }
    }

    /// Hands messages out in this order from now on.
    pub(super) fn set_order(&mut self, order: Order) {
        if self.settings.order == order {
            return;
        }
        let settings = Settings {
            order,
            ..self.settings
        };
        // The same state by other rules; that needs no entry.
        let snapshot = self.ledger.snapshot();
        if let Ok(ledger) = Ledger::replay(settings, snapshot.entries()) {
            self.ledger = ledger;
            self.settings = settings;
        }
    }
}
