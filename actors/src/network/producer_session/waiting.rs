//! Messages that are stored elsewhere first: those that wait, and half messages with what becomes of them.

use castmq_protocol::model::{keys, replace_properties};
use castmq_protocol::native::request::{EndTransaction, TransactionPhase};
use castmq_protocol::native::response::PUSH;
use castmq_protocol::record::SendNumber;

use super::*;
use crate::delivery::producers::Check;
use crate::delivery::redirect::{Redirected, to_half, to_schedule, to_timer};
use crate::delivery::timer::cancel_key;
use crate::delivery::transactions::End;
use crate::supervision::{Lost, Reply};

/// What the extras ask for.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) reconsume_times: i32,
    /// 0 for none.
    delay_level: u8,
    /// In milliseconds since the epoch; 0 for at once.
    deliver_at_ms: i64,
    /// Whether it is a half message.
    is_half: bool,
    /// What tells it from its producer's others, when it has to be stored once.
    pub(super) number: Option<SendNumber>,
}

impl Wishes {
    /// Whether the message is stored elsewhere first.
    pub(super) fn waits(&self) -> bool {
        self.delay_level > 0 || self.deliver_at_ms != 0 || self.is_half
    }

    /// What there is; the rest is refused rather than ignored.
    pub(super) fn of(extras: Option<&SendExtras>) -> Result<Self, Refusal> {
        let Some(extras) = extras else {
            return Ok(Self::default());
        };
        let plain = SendExtras {
            reconsume_times: extras.reconsume_times,
            delay_level: extras.delay_level,
            deliver_at_ms: extras.deliver_at_ms,
            transaction: match extras.transaction {
                TransactionPhase::Prepare => TransactionPhase::Prepare,
                _ => TransactionPhase::None,
            },
            producer_id: extras.producer_id,
            producer_sequence: extras.producer_sequence,
            settled_below: extras.settled_below,
            ..SendExtras::default()
        };
        if *extras != plain {
            return Err(Refusal::never(
                ErrorCode::NotSupported,
                "priority and trace context are not supported by this broker yet",
            ));
        }
        Ok(Self {
            reconsume_times: i32::try_from(extras.reconsume_times).unwrap_or(i32::MAX),
            delay_level: extras.delay_level,
            deliver_at_ms: extras.deliver_at_ms,
            is_half: extras.transaction == TransactionPhase::Prepare,
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

/// A transaction was ended.
#[derive(Debug)]
struct Ended {
    correlation: u64,
    ended: Result<Result<(), Refusal>, Lost>,
}

impl ProducerSession {
    pub(super) fn redirect(
        &self,
        wishes: &Wishes,
        topic: &Topic,
        queue: QueueId,
        properties: &[u8],
    ) -> Result<Option<Redirected>, Refusal> {
        let level = wishes.delay_level;
        if !wishes.is_half && level > 0 {
            return to_schedule(&self.context, level, topic, queue, properties).map(Some);
        }
        if !wishes.is_half {
            return to_timer(
                &self.context,
                wishes.deliver_at_ms,
                topic,
                queue,
                properties,
            );
        }
        let (group, _) = self.producers.as_ref().ok_or_else(|| {
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
        to_half(&self.context, group, level, topic, queue, properties).map(Some)
    }

    pub(super) fn join_producers(
        &mut self,
        correlation: u64,
        group: &str,
        ctx: &Ctx<'_, Self>,
    ) -> Result<(), Refusal> {
        let group = GroupName::new(group)
            .map_err(|error| Refusal::never(ErrorCode::InvalidName, error.to_string()))?;
        self.leave_producers();
        let id = self.context.producers.add(&group, ctx.me().mailbox());
        self.producers = Some((group, id));
        self.connection.answer(correlation, Response::Done);
        Ok(())
    }

    /// Stores what cancels a message, behind it in the timer topic.
    pub(super) fn cancel(
        &mut self,
        correlation: u64,
        topic: TopicAlias,
        unique_id: &str,
        deliver_at_ms: i64,
        batch: &mut Collected,
    ) -> Result<(), Refusal> {
        let topic = self.topics.get(topic)?;
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
        let at = batch.rewrite(&waiting.properties);
        batch.messages.push(AppendMessage {
            flag: 0,
            body: at.end..at.end,
            properties: at,
            body_crc: body_crc(b""),
        });
        batch.requests.push(AppendRequest {
            born_timestamp_ms: self.context.clock.now_ms(),
            ..AppendRequest::new(correlation, waiting.topic.id, Some(waiting.queue))
        });
        Ok(())
    }

    pub(super) fn leave_producers(&mut self) {
        if let Some((group, id)) = self.producers.take() {
            self.context.producers.remove(&group, id);
        }
    }

    pub(super) fn end_transaction(
        &mut self,
        correlation: u64,
        end: EndTransaction,
        ctx: &Ctx<'_, Self>,
    ) -> Result<(), Refusal> {
        let (group, _) = self.producers.as_ref().ok_or_else(|| {
            Refusal::never(
                ErrorCode::InvalidRequest,
                "a transaction is ended for its producer group: join it first",
            )
        })?;
        self.context.check_writes()?;
        let actors = self.context.actors();
        let actors = actors.map_err(|failure| self.context.internal(failure))?;
        // One that is not taken comes back as lost.
        actors.transactions.tell(End {
            end,
            group: group.clone(),
            reply: Reply::to_mailbox(ctx.me().mailbox(), move |ended| Ended {
                correlation,
                ended,
            }),
        });
        self.announcing += 1;
        Ok(())
    }
}

impl Receive<Ended> for ProducerSession {
    fn receive(&mut self, Ended { correlation, ended }: Ended, _ctx: &mut Ctx<'_, Self>) {
        self.announcing -= 1;
        match ended {
            Ok(Ok(())) => self.connection.answer(correlation, Response::Done),
            Ok(Err(refusal)) => self.connection.fail(correlation, refusal),
            Err(lost) => {
                let refusal = Refusal::safe(ErrorCode::OutcomeUnknown, lost.to_string());
                self.connection.fail(correlation, refusal);
            }
        }
    }
}

impl Receive<Check> for ProducerSession {
    fn receive(&mut self, check: Check, _ctx: &mut Ctx<'_, Self>) {
        let push = Response::CheckTransaction(check.check);
        self.connection
            .answer_with_log(PUSH, push, vec![check.record]);
    }
}
