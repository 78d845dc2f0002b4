//! Messages that are stored elsewhere first: those that wait, and half messages.

use std::ops::Range;

use castmq_protocol::model::{GroupName, QueueId, keys, replace_properties};
use castmq_protocol::native::request::{SendExtras, TransactionPhase};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_protocol::record::SendNumber;
use castmq_storage::halves::QUEUE as HALF_QUEUE;

use super::collected::Collected;
use super::{Sending, priority};
use crate::broker::topics::{Topic, TopicId};
use crate::delivery::redirect::{to_schedule, to_timer, write_half};
use crate::delivery::timer::cancel_key;
use crate::storage::append::{AppendMessage, AppendRequest};

/// What a message wants more than to be stored.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) reconsume_times: i32,
    /// 0 for none.
    pub(crate) delay_level: u8,
    /// In milliseconds since the epoch; 0 for at once.
    pub(crate) deliver_at_ms: i64,
    /// Whether it is a half message.
    pub(crate) is_half: bool,
    /// 0 lowest.
    pub(crate) priority: u8,
    /// What tells it from its producer's others, when it has to be stored once.
    pub(crate) number: Option<SendNumber>,
}

impl Wishes {
    /// Whether the message is stored elsewhere first.
    pub(crate) fn waits(&self) -> bool {
        self.delay_level > 0 || self.deliver_at_ms != 0 || self.is_half
    }

    /// What the extras ask for; what there is not is refused rather than ignored.
    pub(crate) fn of(extras: &SendExtras) -> Result<Self, Refusal> {
        // Every field is named, so that none that comes is passed over.
        let SendExtras {
            reconsume_times,
            delay_level,
            deliver_at_ms,
            transaction,
            prepared_offset,
            priority,
            producer_id: _,
            producer_sequence: _,
            trace,
            settled_below: _,
        } = extras;
        let not_done = |what: &str| Err(Refusal::never(ErrorCode::NotSupported, what));
        if trace.is_some() {
            return not_done("trace context is not supported by this broker yet");
        }
        let is_ended = matches!(
            transaction,
            TransactionPhase::Commit | TransactionPhase::Rollback
        );
        if is_ended || *prepared_offset != 0 {
            return not_done("a send ends no transaction: ask for its end");
        }
        priority::check(*priority)?;
        Ok(Self {
            reconsume_times: i32::try_from(*reconsume_times).unwrap_or(i32::MAX),
            delay_level: *delay_level,
            deliver_at_ms: *deliver_at_ms,
            is_half: *transaction == TransactionPhase::Prepare,
            priority: *priority,
            number: number(extras)?,
        })
    }
}

fn number(extras: &SendExtras) -> Result<Option<SendNumber>, Refusal> {
    let (producer_id, sequence) = (extras.producer_id, extras.producer_sequence);
    let settled_below = extras.settled_below.min(sequence);
    match (producer_id, sequence) {
        (0, 0) if extras.settled_below == 0 => Ok(None),
        (0, _) | (_, 0) => Err(Refusal::never(
            ErrorCode::InvalidRequest,
            "a producer that numbers its sends has an id and counts from 1: neither may be 0",
        )),
        _ => Ok(Some(SendNumber {
            producer_id,
            sequence,
            settled_below,
        })),
    }
}

/// Whose half messages a connection sends.
#[derive(Debug)]
pub(crate) struct HalfMessages {
    pub(crate) group: GroupName,
    pub(crate) topic: TopicId,
}

/// Where a message is stored instead.
pub(super) struct Elsewhere {
    pub(super) topic: TopicId,
    pub(super) queue: QueueId,
    /// See [`Collected::rewrite`].
    pub(super) properties: Range<u32>,
}

impl Sending {
    pub(super) fn redirect(
        &self,
        (wishes, half): (&Wishes, Option<&HalfMessages>),
        topic: &Topic,
        queue: QueueId,
        properties: &[u8],
        batch: &mut Collected,
    ) -> Result<Option<Elsewhere>, Refusal> {
        let level = wishes.delay_level;
        if wishes.is_half {
            return self
                .to_half((wishes, half), (topic, queue), properties, batch)
                .map(Some);
        }
        let waiting = if level > 0 {
            Some(to_schedule(&self.context, level, topic, queue, properties)?)
        } else {
            let at_ms = wishes.deliver_at_ms;
            to_timer(&self.context, at_ms, topic, queue, properties)?
        };
        let Some(waiting) = waiting else {
            return Ok(None);
        };
        Ok(Some(Elsewhere {
            topic: waiting.topic.id,
            queue: waiting.queue,
            properties: batch.keep(&waiting.properties),
        }))
    }

    fn to_half(
        &self,
        (wishes, half): (&Wishes, Option<&HalfMessages>),
        real: (&Topic, QueueId),
        properties: &[u8],
        batch: &mut Collected,
    ) -> Result<Elsewhere, Refusal> {
        let half = half.ok_or_else(|| {
            Refusal::never(
                ErrorCode::InvalidRequest,
                "a half message needs a producer group: join one first",
            )
        })?;
        if wishes.deliver_at_ms != 0 {
            return Err(Refusal::never(
                ErrorCode::NotSupported,
                "a half message cannot wait for a time: use a delay level",
            ));
        }
        let (group, level) = (&half.group, wishes.delay_level);
        Ok(Elsewhere {
            topic: half.topic,
            queue: HALF_QUEUE,
            properties: batch
                .rewrite(|out| write_half(&self.context, group, level, real, properties, out))?,
        })
    }

    /// Stores what cancels a message, behind it in the timer topic.
    pub(crate) fn cancel(
        &self,
        correlation: u64,
        topic: &Topic,
        unique_id: &str,
        deliver_at_ms: i64,
        batch: &mut Collected,
    ) -> Result<(), Refusal> {
        topic.check_write(None)?;
        self.context.check_writes()?;
        let properties = replace_properties(
            b"",
            &[(
                keys::TIMER_CANCELS,
                Some(&cancel_key(topic.name.as_str(), unique_id)),
            )],
        );
        let waiting = to_timer(&self.context, deliver_at_ms, topic, QueueId(0), &properties)?;
        let Some(waiting) = waiting else {
            return Err(Refusal::never(
                ErrorCode::InvalidRequest,
                "the message was due already: it cannot be cancelled any more",
            ));
        };
        let at = batch.keep(&waiting.properties);
        batch.messages.push(AppendMessage {
            flag: 0,
            body: at.end..at.end,
            properties: at,
            body_crc: None,
        });
        batch.requests.push(AppendRequest {
            born_timestamp_ms: self.context.clock.now_ms(),
            ..AppendRequest::new(correlation, waiting.topic.id, Some(waiting.queue))
        });
        Ok(())
    }
}
