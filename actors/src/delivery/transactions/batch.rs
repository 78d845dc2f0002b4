//! What becomes of transactions on its way to the log.

use castmq_protocol::model::{QueueOffset, keys, replace_properties};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_storage::halves::QUEUE;

use super::ends::Ends;
use crate::broker::context::BrokerContext;
use crate::broker::topics::TopicId;
use crate::storage::append::{AppendRequest, Outcome};
use crate::storage::put::{Put, PutBatch};

/// Longest body of a mark in bytes (RocketMQ `transactionOpMsgMaxSize`).
const MAX_MARK_BYTES: usize = 4096;

/// Digits of the longest offset, and its comma.
const MAX_OFFSET_BYTES: usize = 21;

/// A half message, and the request that stores its message if that is kept.
pub(super) type Settled = (QueueOffset, Option<usize>);

/// Messages that are committed or put aside, then the marks of all half messages that are settled with them.
///
/// A mark lies behind every message that it makes final. The log-writer refuses what comes behind a message that it
/// refuses, so there is no mark without its message; a message without its mark still counts as committed.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Its requests' correlation.
    pub(super) number: u64,
    pub(super) put: PutBatch,
    /// Bytes of it that are on their way.
    pub(super) bytes: usize,
    /// Bodies of marks: decimal offsets, each followed by a comma.
    marks: Vec<Vec<u8>>,
    /// Whoever waits for it.
    pub(super) ends: Vec<Ends>,
    /// The half messages that it settles.
    pub(super) halves: Vec<Settled>,
}

impl Batch {
    pub(super) fn new(number: u64, put: Option<PutBatch>) -> Self {
        Self {
            number,
            put: put.unwrap_or_default(),
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.put.len() == 0 && self.marks.is_empty()
    }

    /// Settles a half message with this batch. Its message, if there is one, is the one that was added last.
    pub(super) fn settle(&mut self, half: QueueOffset, has_message: bool) -> Option<usize> {
        let record = has_message.then(|| self.put.len().saturating_sub(1));
        self.halves.push((half, record));
        self.mark(half);
        record
    }

    /// Marks a half message.
    pub(super) fn mark(&mut self, half: QueueOffset) {
        let last = self.marks.last();
        if last.is_none_or(|body| body.len() > MAX_MARK_BYTES - MAX_OFFSET_BYTES) {
            self.marks.push(Vec::new());
        }
        if let Some(body) = self.marks.last_mut() {
            body.extend_from_slice(itoa::Buffer::new().format(half.0).as_bytes());
            body.push(b',');
        }
    }

    /// Adds the marks: nothing can be added behind them.
    pub(super) fn seal(&mut self, op_topic: TopicId, context: &BrokerContext) {
        let properties = replace_properties(b"", &[(keys::TAGS, Some("d"))]);
        for body in self.marks.drain(..) {
            self.put.add(
                self.number,
                &Put {
                    topic: op_topic,
                    queue: Some(QUEUE),
                    flag: 0,
                    sys_flag: 0,
                    born_timestamp_ms: context.clock.now_ms(),
                    born_host: context.store_host,
                    reconsume_times: 0,
                    prepared_transaction_offset: 0,
                    properties: &properties,
                    body: &body,
                },
            );
        }
    }

    /// Tells everybody who waits what became of it.
    pub(super) fn answer(&mut self, requests: &[AppendRequest]) {
        let all = requests.iter().try_for_each(outcome);
        for ends in &mut self.ends {
            for ending in &mut ends.endings {
                if ending.outcome.is_none() {
                    let outcome = match &all {
                        Ok(()) => Ok(()),
                        Err(_) => outcome_of(ending.record, requests),
                    };
                    ending.outcome = Some(outcome.map_err(Box::new));
                }
            }
        }
        self.ends.clear();
    }
}

fn outcome(request: &AppendRequest) -> Result<(), Refusal> {
    match &request.outcome {
        Outcome::Stored(_) => Ok(()),
        Outcome::Refused(refusal) => Err((**refusal).clone()),
        Outcome::Unknown => Err(Refusal::safe(
            ErrorCode::OutcomeUnknown,
            "the log-writer failed with the transaction in hand: end it again",
        )),
    }
}

/// What became of one half message: with its message, or when there is none, with all that was stored.
pub(super) fn outcome_of(record: Option<usize>, requests: &[AppendRequest]) -> Result<(), Refusal> {
    match record.and_then(|index| requests.get(index)) {
        Some(request) => outcome(request),
        None => requests.iter().try_for_each(outcome),
    }
}
