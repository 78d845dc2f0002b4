//! What sessions hand to the log-writer, and get back.

use std::net::SocketAddr;
use std::ops::Range;

use bytes::Bytes;
use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset};
use castmq_protocol::native::Failure;
use castmq_protocol::native::response::SendStatus;
use castmq_protocol::record::SendNumber;

use crate::broker::topics::TopicId;
use crate::supervision::Mailbox;

/// Everything that one wake-up of a session has to store.
///
/// Dropping it, finished or not, sends its requests back with the outcomes they have by then: so a session hears of
/// each of them, whatever happens to the actors on the way.
#[derive(Debug)]
pub(crate) struct AppendBatch {
    /// The frames that hold properties and bodies.
    pub(crate) buffer: Bytes,
    /// Bytes behind those of the buffer: properties that are not stored as they came.
    pub(crate) rewritten: Vec<u8>,
    /// The requests, in the order in which they came.
    pub(crate) requests: Vec<AppendRequest>,
    /// Their messages, request after request.
    pub(crate) messages: Vec<AppendMessage>,
    /// What some requests have besides.
    pub(crate) extras: Vec<AppendExtras>,
    /// Where the producer is.
    pub(crate) born_host: SocketAddr,
    /// Bytes that the session counts as in flight for it.
    pub(crate) in_flight_bytes: u64,
    /// Who hears of the outcomes.
    pub(crate) session: Mailbox<Appended>,
    /// Whether readers can see what was appended. Before, nothing of it counts as stored: the log-writer's successor
    /// clears it away.
    pub(crate) is_published: bool,
}

/// A batch that came back.
#[derive(Debug)]
pub(crate) struct Appended {
    /// The requests with their outcomes.
    pub(crate) requests: Vec<AppendRequest>,
    /// To be emptied and used again.
    pub(crate) messages: Vec<AppendMessage>,
    /// To be emptied and used again.
    pub(crate) rewritten: Vec<u8>,
    /// Bytes that are no longer in flight.
    pub(crate) in_flight_bytes: u64,
}

/// A request of a batch: one message, or several for one queue.
#[derive(Debug)]
pub(crate) struct AppendRequest {
    /// The request's number on its connection.
    pub(crate) correlation: u64,
    /// The topic, which exists and may be written.
    pub(crate) topic: TopicId,
    /// The queue, which exists; `None` leaves the choice to the writer.
    pub(crate) queue: Option<QueueId>,
    /// How many of the batch's messages are this request's.
    pub(crate) messages: u32,
    /// Whether it came as a batch and is answered as one.
    pub(crate) is_batch: bool,
    /// Whether nobody waits for an answer.
    pub(crate) is_one_way: bool,
    /// Whether the answer waits for the policy.
    pub(crate) waits: bool,
    /// See [`Record`](castmq_protocol::record::Record).
    pub(crate) sys_flag: i32,
    /// See [`Record`](castmq_protocol::record::Record).
    pub(crate) born_timestamp_ms: i64,
    /// See [`Record`](castmq_protocol::record::Record).
    pub(crate) reconsume_times: i32,
    /// What producers' messages do not have: its place among the batch's extras.
    pub(crate) extras: Option<u32>,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

impl AppendRequest {
    /// One message, whose answer waits for the policy.
    #[inline]
    pub(crate) fn new(correlation: u64, topic: TopicId, queue: Option<QueueId>) -> Self {
        Self {
            correlation,
            topic,
            queue,
            messages: 1,
            is_batch: false,
            is_one_way: false,
            waits: true,
            sys_flag: 0,
            born_timestamp_ms: 0,
            reconsume_times: 0,
            extras: None,
            outcome: Outcome::Unknown,
        }
    }
}

/// What a message has that the broker stores itself, or that its producer numbered.
#[derive(Debug)]
pub(crate) struct AppendExtras {
    /// Where its producer was.
    pub(crate) born_host: SocketAddr,
    /// See [`Record`](castmq_protocol::record::Record). The writer's own for a numbered one.
    pub(crate) prepared_transaction_offset: i64,
    /// What tells it from its producer's others: it is stored once. Its first message has it among its properties.
    pub(crate) number: Option<SendNumber>,
}

/// A message of a batch.
#[derive(Debug, Clone)]
pub(crate) struct AppendMessage {
    /// The producer's own flag.
    pub(crate) flag: i32,
    /// Its properties, in the batch's buffer.
    pub(crate) properties: Range<u32>,
    /// Its body, in the batch's buffer.
    pub(crate) body: Range<u32>,
    /// The body's check sum, if it is known.
    pub(crate) body_crc: Option<u32>,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing is known: perhaps it is stored, perhaps not.
    Unknown,
    /// It is in the log.
    Stored(Stored),
    /// It is not.
    Refused(Box<Failure>),
}

/// Where a request's messages are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    /// How it stands to the policy.
    pub(crate) status: SendStatus,
    /// The queue.
    pub(crate) queue: QueueId,
    /// The first message's place in the queue.
    pub(crate) queue_offset: QueueOffset,
    /// The first message's place in the log.
    pub(crate) physical_offset: PhysicalOffset,
}

impl AppendBatch {
    /// What a request has that producers' messages do not have.
    #[inline]
    pub(crate) fn extras_of(&self, request: &AppendRequest) -> Option<&AppendExtras> {
        self.extras.get(request.extras? as usize)
    }

    /// Bytes of the buffer.
    #[inline]
    pub(crate) fn slice(&self, range: &Range<u32>) -> &[u8] {
        let range = range.start as usize..range.end as usize;
        match range.start.checked_sub(self.buffer.len()) {
            // An empty range may stand at the very end of the buffer.
            Some(start) => self.rewritten.get(start..range.end - self.buffer.len()),
            None => self.buffer.get(range),
        }
        .unwrap_or_default()
    }

    /// Sends the requests that wait for nothing back, ahead of the others.
    pub(crate) fn release_unwaiting(&mut self) {
        if self.requests.iter().all(|request| request.waits) {
            return;
        }
        let requests = std::mem::take(&mut self.requests);
        let (waiting, ready) = requests.into_iter().partition(|request| request.waits);
        self.requests = waiting;
        self.session.tell(Appended {
            requests: ready,
            messages: Vec::new(),
            rewritten: Vec::new(),
            in_flight_bytes: 0,
        });
    }

    /// Lets go of the frames once their content is in the log.
    pub(crate) fn release_buffer(&mut self) {
        self.buffer = Bytes::new();
    }

    /// Changes the outcome of every request that is stored.
    pub(crate) fn restate(&mut self, mut change: impl FnMut(Stored) -> Outcome) {
        for request in &mut self.requests {
            if let Outcome::Stored(stored) = request.outcome {
                request.outcome = change(stored);
            }
        }
    }
}

impl Drop for AppendBatch {
    fn drop(&mut self) {
        if !self.is_published {
            self.restate(|_| Outcome::Unknown);
        }
        self.session.tell(Appended {
            requests: std::mem::take(&mut self.requests),
            messages: std::mem::take(&mut self.messages),
            rewritten: std::mem::take(&mut self.rewritten),
            in_flight_bytes: self.in_flight_bytes,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    fn outcome_of_a_dropped_batch(is_published: bool) -> Outcome {
        let back = Arc::new(Mutex::new(None));
        let of_session = back.clone();
        drop(AppendBatch {
            buffer: Bytes::new(),
            rewritten: Vec::new(),
            extras: Vec::new(),
            requests: vec![AppendRequest {
                outcome: Outcome::Stored(Stored {
                    status: SendStatus::Stored,
                    queue: QueueId(0),
                    queue_offset: QueueOffset(0),
                    physical_offset: PhysicalOffset(0),
                }),
                ..AppendRequest::new(1, TopicId(0), None)
            }],
            messages: Vec::new(),
            born_host: SocketAddr::from(([127, 0, 0, 1], 1)),
            in_flight_bytes: 0,
            session: Mailbox::from_fn(move |appended: Appended| {
                *of_session.lock() = Some(appended);
                true
            }),
            is_published,
        });
        let mut appended = back.lock().take().unwrap();
        appended.requests.remove(0).outcome
    }

    #[test]
    fn nothing_counts_as_stored_before_readers_can_see_it() {
        assert!(matches!(
            outcome_of_a_dropped_batch(true),
            Outcome::Stored(_)
        ));
        assert!(matches!(
            outcome_of_a_dropped_batch(false),
            Outcome::Unknown
        ));
    }
}
