//! Transactions and those who have them: producer groups, ending, and questions about what was not ended.

use castmq_protocol::model::system_topics;
use castmq_protocol::native::request::EndTransaction;
use castmq_protocol::native::response::PUSH;

use super::*;
use crate::delivery::producers::Check;
use crate::delivery::registry::RegistryId;
use crate::delivery::transactions::{Ended, Ends};
use crate::names::group_name;

/// What a transaction counts as in flight while it is ended, in bytes.
const ENDING_BYTES: u64 = size_of::<Ending>() as u64;

/// A producer group that was joined.
pub(super) struct Producing {
    pub(super) half: HalfMessages,
    /// The session's number in the group.
    id: RegistryId,
}

impl ProducerSession {
    pub(super) fn join_producers(
        &mut self,
        correlation: u64,
        group: &str,
        batch: &mut Collected,
        ctx: &Ctx<'_, Self>,
    ) -> Result<(), Refusal> {
        // What came before is of the group that was joined before.
        self.end_transactions(std::mem::take(&mut batch.endings), ctx);
        let group = group_name(group)?;
        let half_topic = self.context.topics.find(system_topics::TRANSACTION_HALF);
        let half_topic = half_topic.ok_or_else(|| {
            self.context
                .internal("the topic of half messages is missing")
        })?;
        self.leave_producers();
        let id = self
            .context
            .producers
            .add(group.clone(), ctx.me().mailbox());
        let half = HalfMessages {
            group,
            topic: half_topic.id,
        };
        self.producing = Some(Producing { half, id });
        self.connection.answer(correlation, Response::Done);
        Ok(())
    }

    pub(super) fn leave_producers(&mut self) {
        if let Some(producing) = self.producing.take() {
            let Producing { half, id } = producing;
            self.context.producers.remove(&half.group, id);
        }
    }

    pub(super) fn end_transaction(
        &mut self,
        correlation: u64,
        end: EndTransaction,
        batch: &mut Collected,
    ) -> Result<(), Refusal> {
        if self.producing.is_none() {
            return Err(Refusal::never(
                ErrorCode::InvalidRequest,
                "a transaction is ended for its producer group: join it first",
            ));
        }
        // However full the disk is: what waits for its end keeps its part of the log.
        batch.endings.push(Ending::new(correlation, end));
        Ok(())
    }

    /// Has transactions ended. What is not taken comes back without an outcome.
    pub(super) fn end_transactions(&mut self, endings: Vec<Ending>, ctx: &Ctx<'_, Self>) {
        let Some(producing) = self.producing.as_ref().filter(|_| !endings.is_empty()) else {
            return;
        };
        let in_flight_bytes = endings.len() as u64 * ENDING_BYTES;
        self.sending.take(in_flight_bytes);
        let ends = Ends::new(producing.half.group.clone(), ctx.me().mailbox(), endings);
        if let Ok(actors) = self.context.actors() {
            actors.transactions.tell(ends);
        }
    }
}

impl Receive<Ended> for ProducerSession {
    fn receive(&mut self, Ended(endings): Ended, _ctx: &mut Ctx<'_, Self>) {
        let in_flight_bytes = endings.len() as u64 * ENDING_BYTES;
        self.sending.give_back(in_flight_bytes);
        for ending in endings {
            match ending.outcome {
                Some(Ok(())) => self.connection.answer(ending.correlation, Response::Done),
                Some(Err(refusal)) => self.connection.fail(ending.correlation, *refusal),
                None => self.connection.fail(
                    ending.correlation,
                    // Ending it again is ending it once.
                    Refusal::safe(
                        ErrorCode::OutcomeUnknown,
                        "the broker failed with the transaction in hand: end it again",
                    ),
                ),
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
