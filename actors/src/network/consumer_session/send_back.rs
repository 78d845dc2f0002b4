//! Messages that a group could not process: they wait for another attempt, or go to the dead letters.

use castmq_protocol::native::request::{Another, SendBack};
use castmq_protocol::record::RecordView;

use super::*;
use crate::delivery::retry::{Decision, RetryRule, decide};
use crate::delivery::returning::{destination, put_back, rule_of};
use crate::metadata::actor::EnsureDerivedTopic;
use crate::storage::append::{Appended, Outcome};

/// A message on its way back.
#[derive(Debug, Clone)]
pub(super) struct Returning {
    correlation: u64,
    group: GroupName,
    /// Where it is.
    topic: Arc<Topic>,
    offset: QueueOffset,
    another: Another,
    rule: RetryRule,
}

/// The message was read.
#[derive(Debug)]
pub(super) struct ReturningRead {
    returning: Returning,
    fetched: Result<Fetched, Lost>,
}

impl ConsumerSession {
    pub(super) fn send_back(
        &mut self,
        correlation: u64,
        back: &SendBack,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Option<Response>, Refusal> {
        let group = self.groups.get(back.group)?.clone();
        let topic = self.readable(back.topic, back.queue)?;
        self.context.check_writes()?;
        let config = self.context.groups.existing(&group)?;
        let returning = Returning {
            correlation,
            group,
            topic: topic.clone(),
            offset: back.offset,
            another: back.another,
            rule: rule_of(&config, Some(back.max_retries).filter(|max| *max > 0)),
        };
        let fetch = Fetch {
            wanted: Wanted {
                offset: back.offset,
                max_messages: 1,
                max_bytes: u32::MAX,
                filter: None,
                passes_expired: None,
            },
            patience: Patience::None,
            reply: Reply::to_mailbox(ctx.me().mailbox(), move |fetched| ReturningRead {
                returning,
                fetched,
            }),
        };
        let key = (topic.name.clone(), back.queue);
        let queue = self.context.deliveries.wake(&self.context, &key);
        let queue = queue.map_err(|failure| self.context.internal(failure))?;
        self.returning += 1;
        // A fetch that is not taken comes back as lost.
        queue.tell(fetch);
        Ok(None)
    }

    /// The message is there: finds out where it goes, and sees to it that there is such a topic.
    fn returning_read(
        &mut self,
        returning: Returning,
        fetched: Fetched,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<(), Refusal> {
        let record = fetched.records.into_iter().next();
        let bytes = record.as_ref().map_or(&[][..], AsRef::as_ref);
        let found = RecordView::parse(bytes).ok();
        let found = found.filter(|found| found.queue_offset() == Ok(returning.offset));
        let Some(found) = found else {
            return Err(Refusal::never(
                ErrorCode::MessageNotFound,
                format!(
                    "there is no message at offset {}: it is not stored any more, or never was",
                    returning.offset
                ),
            ));
        };
        let expiry = Expiry::of_message(Some(&returning.topic), self.context.clock.now_ms());
        if expiry.is_over(&found) {
            self.context.meters.expired(1);
            self.returned(returning.correlation, Ok(()));
            return Ok(());
        }
        let decision = decide(returning.another, &returning.rule, found.reconsume_times());
        let (name, queues) = destination(decision, &returning.group, &returning.rule);
        let ensured = self
            .context
            .metadata()?
            .ask(EnsureDerivedTopic { name, queues });
        ctx.then(ensured, move |session, ensured, ctx| {
            let bytes = record.as_ref().map_or(&[][..], AsRef::as_ref);
            let put = match (ensured, RecordView::parse(bytes)) {
                (Ok(Ok(topic)), Ok(record)) => {
                    session.put_back(&returning, decision, &topic, &record, ctx)
                }
                (Ok(Err(refusal)), _) => Err(refusal),
                (Err(error), _) => Err(session.context.internal(error)),
                (_, Err(error)) => Err(session.context.internal(error)),
            };
            if let Err(refusal) = put {
                session.returned(returning.correlation, Err(refusal));
            }
        });
        Ok(())
    }

    fn put_back(
        &mut self,
        returning: &Returning,
        decision: Decision,
        topic: &Topic,
        record: &RecordView<'_>,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<(), Refusal> {
        let what = (decision, returning.topic.ttl_ms());
        let turn = self.delivered;
        let batch = put_back(
            &self.context,
            returning.correlation,
            what,
            topic,
            turn,
            record,
        )?;
        let actors = self
            .context
            .actors()
            .map_err(|failure| self.context.internal(failure))?;
        batch.send(&actors.log_writer, ctx.me().mailbox());
        Ok(())
    }

    fn returned(&mut self, correlation: u64, result: Result<(), Refusal>) {
        self.returning -= 1;
        match result {
            Ok(()) => self.connection.answer(correlation, Response::Done),
            Err(refusal) => self.connection.fail(correlation, refusal),
        }
    }
}

impl Receive<ReturningRead> for ConsumerSession {
    fn receive(&mut self, read: ReturningRead, ctx: &mut Ctx<'_, Self>) {
        let correlation = read.returning.correlation;
        let went_on = match read.fetched {
            Ok(fetched) => self.returning_read(read.returning, fetched, ctx),
            Err(lost) => Err(self.context.internal(lost)),
        };
        if let Err(refusal) = went_on {
            self.returned(correlation, Err(refusal));
        }
    }
}

impl Receive<Appended> for ConsumerSession {
    fn receive(&mut self, appended: Appended, _ctx: &mut Ctx<'_, Self>) {
        for request in appended.requests {
            let result = match request.outcome {
                Outcome::Stored(_) => Ok(()),
                Outcome::Refused(refusal) => Err(*refusal),
                Outcome::Unknown => Err(Refusal::unknown(
                    ErrorCode::OutcomeUnknown,
                    "the log-writer failed with the message in hand: it may wait for another attempt or not",
                )),
            };
            self.returned(request.correlation, result);
        }
    }
}
