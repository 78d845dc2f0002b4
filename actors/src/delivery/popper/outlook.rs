//! What a group has before it in a topic, while nothing is handed out.

use std::sync::Arc;

use castmq_protocol::model::{GroupName, QueueId, QueueOffset};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};

use super::Popper;
use super::share::{Book, ShareKey};
use crate::broker::topics::Topic;
use crate::supervision::{Answer, Ctx, Reply};

/// The most messages that came back of which a queue tells.
const MAX_BACK: usize = 32;

/// Asks what a pop of the group would find.
#[derive(Debug, Clone)]
pub(crate) struct LookAhead {
    pub(crate) group: GroupName,
    pub(crate) topic: Arc<Topic>,
    /// `None`: any.
    pub(crate) queue: Option<QueueId>,
    /// Whether messages of a queue are handed out one after the other.
    pub(crate) in_order: bool,
}

/// What there is.
#[derive(Debug)]
pub(crate) struct Outlook {
    pub(crate) queues: Vec<QueueAhead>,
    /// Pops of the group that wait for the same queue, or for any if that was asked.
    pub(crate) waiting: usize,
    /// When the next message comes back that is out, in milliseconds since the epoch.
    pub(crate) next_back_ms: Option<i64>,
}

impl Outlook {
    /// Whether a pop would find something.
    pub(crate) fn has_messages(&self) -> bool {
        self.queues.iter().any(|queue| queue.count() > 0)
    }
}

/// A queue's messages that can be handed out.
#[derive(Debug)]
pub(crate) struct QueueAhead {
    pub(crate) queue: QueueId,
    /// Some that came back.
    pub(crate) back: Vec<QueueOffset>,
    /// The first that was never handed out.
    pub(crate) next: QueueOffset,
    /// Behind the last.
    pub(crate) end: QueueOffset,
}

impl QueueAhead {
    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.back.len() as u64 + self.end.0.saturating_sub(self.next.0)
    }
}

impl Popper {
    fn look_ahead(
        &mut self,
        asked: &LookAhead,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Outlook, Refusal> {
        if !self.is_ready {
            return Err(Refusal::safe(
                ErrorCode::Busy,
                "the broker has just started, and does not know yet who has which message: ask again",
            ));
        }
        self.stay_awake(ctx);
        let key = (asked.group.clone(), asked.topic.name.clone());
        let ids = match asked.queue {
            Some(QueueId(queue)) => queue..queue.saturating_add(1),
            None => 0..asked.topic.read_queues(),
        };
        let queues = ids.map(|id| self.queue_ahead(&key, QueueId(id), asked.in_order));
        let (queues, next_back): (Vec<_>, Vec<_>) = queues.unzip();
        self.end_turn(ctx);
        let share = self.shares.get(&key);
        let waiting = share.into_iter().flat_map(|share| &share.waiting);
        Ok(Outlook {
            queues,
            waiting: waiting
                .filter(|waiting| waiting.pop.queue == asked.queue)
                .count(),
            next_back_ms: next_back.into_iter().flatten().min(),
        })
    }

    /// A queue's messages, and when the next one comes back.
    fn queue_ahead(
        &mut self,
        key: &ShareKey,
        id: QueueId,
        in_order: bool,
    ) -> (QueueAhead, Option<i64>) {
        let context = self.context.clone();
        let queue = context.store.queues.queue(&key.1, id);
        let (begin, end) = (queue.min_offset(), context.hidden.end_of(&queue));
        let now_ms = self.now_ms();
        let Some(book) = self.book(key, id) else {
            let known = context.offsets.get(&key.0, &(key.1.clone(), id));
            let next = known.unwrap_or(begin).max(begin);
            let back = Vec::new();
            let ahead = QueueAhead {
                queue: id,
                back,
                next,
                end,
            };
            return (ahead, None);
        };
        let Book {
            ledger, journal, ..
        } = book;
        ledger.look(now_ms, journal);
        let is_held = in_order && ledger.in_flight() > 0;
        let back = match is_held {
            true => Vec::new(),
            false => {
                let back = ledger.back().filter(|offset| *offset >= begin);
                back.take(MAX_BACK).collect()
            }
        };
        let ahead = QueueAhead {
            queue: id,
            back,
            next: match is_held {
                true => end,
                false => ledger.next().max(begin),
            },
            end,
        };
        let next_back_ms = ledger.next_event_ms();
        self.changed(key, id);
        (ahead, next_back_ms)
    }
}

impl Answer<LookAhead> for Popper {
    type Reply = Result<Outlook, Refusal>;

    fn answer(&mut self, asked: LookAhead, reply: Reply<Self::Reply>, ctx: &mut Ctx<'_, Self>) {
        reply.send(self.look_ahead(&asked, ctx));
    }
}
