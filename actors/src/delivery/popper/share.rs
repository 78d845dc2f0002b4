//! What a group has of a topic: a ledger for each queue, and the pops that wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use castmq_protocol::model::{GroupName, QueueId, QueueOffset, TopicName};
use castmq_protocol::native::Failure as Refusal;
use tokio::time::Instant;

use super::agreement::Agreement;
use super::serving::queues_of;
use super::{HandedOut, Pop};
use crate::delivery::pop::journal::Journal;
use crate::delivery::pop::ledger::{Ledger, Order, Settings};
use crate::supervision::Reply;

/// A pop is kept no longer than this after its time, whatever is on its way to it.
const MAX_HOLD: Duration = Duration::from_secs(1);

/// A group and a topic.
pub(super) type ShareKey = (GroupName, TopicName);

/// A pop that is owed an answer.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) pop: Pop,
    pub(super) until: Instant,
    pub(super) reply: Reply<Result<HandedOut, Refusal>>,
}

impl Waiting {
    /// Whether its time is over. What is on its way to it from the disk may take a little longer.
    pub(super) fn is_over(&self, share: &Share, now: Instant) -> bool {
        let is_held = || share.is_loading(&queues_of(&self.pop, None));
        self.until <= now && (self.until + MAX_HOLD <= now || !is_held())
    }
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

impl Share {
    /// Whether messages of any of these queues are being brought into memory.
    pub(super) fn is_loading(&self, queues: &Range<u32>) -> bool {
        let books = QueueId(queues.start)..QueueId(queues.end);
        let mut books = self.books.range(books);
        books.any(|(_, book)| book.is_loading)
    }
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
    /// Some may be among the dead letters already. Until that is known none of its messages is buried.
    pub(super) is_doubted: bool,
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
            is_doubted: false,
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

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use castmq_protocol::model::TopicConfig;
    use castmq_protocol::native::request::{Filter, StartFrom};

    use super::super::Habit;
    use super::*;
    use crate::broker::topics::Topics;

    pub(in super::super) fn key() -> ShareKey {
        (
            GroupName::new("billing").unwrap(),
            TopicName::new("orders").unwrap(),
        )
    }

    /// A ledger that knows nothing.
    pub(in super::super) fn book() -> Book {
        let settings = Settings {
            order: Order::Unordered,
            max_outstanding: 10,
        };
        Book::new(settings, QueueOffset::ZERO)
    }

    /// A share of two queues, and a pop of one of them whose time is over.
    fn pop_of(queue: u32) -> (Share, Waiting) {
        let (group, topic) = key();
        let topics = Topics::new([(topic, TopicConfig::with_queues(2))], 0);
        let pop = Pop {
            member: 0,
            group,
            topic: topics.find("orders").unwrap(),
            queue: Some(QueueId(queue)),
            max_messages: 1,
            max_bytes: 1,
            invisible_ms: 1,
            from: StartFrom::Earliest,
            filter: None,
            habit: Arc::new(Habit::new(Filter::All, Order::Unordered)),
            attempt_id: None,
            wait: Duration::ZERO,
        };
        let share = Share {
            books: [(QueueId(0), book()), (QueueId(1), book())].into(),
            ..Share::default()
        };
        let waiting = Waiting {
            pop,
            until: Instant::now(),
            reply: Reply::to_fn(|_| {}),
        };
        (share, waiting)
    }

    #[test]
    fn a_pop_waits_longer_than_it_wants_for_its_own_messages_alone_and_not_forever() {
        for (queue, is_held) in [(0, true), (1, false)] {
            let (mut share, waiting) = pop_of(queue);
            let until = waiting.until;
            assert!(waiting.is_over(&share, until));
            let book = share.books.get_mut(&QueueId(0)).unwrap();
            book.is_loading = true;
            assert_eq!(waiting.is_over(&share, until), !is_held, "{queue}");
            assert!(waiting.is_over(&share, until + MAX_HOLD));
        }
    }
}
