//! How far groups and queues are.

use super::*;

impl ConsumerSession {
    pub(super) fn commit(
        &mut self,
        correlation: u64,
        group: GroupAlias,
        offsets: &[QueuePosition],
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Option<Response>, Refusal> {
        let name = self.groups.get(group)?.clone();
        let mut keyed = Vec::with_capacity(offsets.len());
        for position in offsets {
            let topic = self.topics.get(position.topic)?;
            topic.check_read(position.queue)?;
            self.check_commit(topic, position)?;
            keyed.push(((topic.name.clone(), position.queue), position.offset));
        }
        let commit = Commit {
            member: self.memberships.member(),
            offsets: keyed,
        };
        let group = self.context.wake_group(&name)?;
        ctx.then(group.ask(commit), move |session, answer, _| {
            session.finish(correlation, answer.map_err(|e| e.to_string()));
        });
        Ok(None)
    }

    /// An offset behind the queue's end would make the group pass over messages that are still to come.
    pub(super) fn check_commit(
        &self,
        topic: &Topic,
        position: &QueuePosition,
    ) -> Result<(), Refusal> {
        let QueueRange { min, max, .. } = self.range(topic, position.queue, position.offset);
        if position.offset <= max {
            return Ok(());
        }
        Err(Refusal::never(
            ErrorCode::OffsetOutOfRange,
            format!(
                "offset {} of queue {} of topic {} cannot be committed: the queue has offsets {min} to {max}",
                position.offset, position.queue, topic.name
            ),
        ))
    }

    pub(super) fn finish(&mut self, correlation: u64, answer: Result<Result<(), Refusal>, String>) {
        match answer {
            Ok(Ok(())) => self.connection.answer(correlation, Response::Done),
            Ok(Err(refusal)) => self.connection.fail(correlation, refusal),
            Err(lost) => {
                let refusal = Refusal::safe(ErrorCode::OutcomeUnknown, lost);
                self.connection.fail(correlation, refusal);
            }
        }
    }

    pub(super) fn query_offset(
        &self,
        group: GroupAlias,
        topic: u32,
        queue: QueueId,
    ) -> Result<Option<Response>, Refusal> {
        let group = self.groups.get(group)?;
        let topic = self.topics.get(topic)?;
        let key = (topic.name.clone(), queue);
        let offset = self.context.offsets.get(group, &key);
        Ok(Some(Response::Offset(offset)))
    }

    pub(super) fn queue_range(
        &self,
        topic: u32,
        queue: QueueId,
    ) -> Result<Option<Response>, Refusal> {
        let topic = self.readable(topic, queue)?;
        let range = self.range(&topic, queue, QueueOffset::ZERO);
        Ok(Some(Response::Range(range)))
    }

    pub(super) fn offset_at_time(
        &mut self,
        correlation: u64,
        topic: u32,
        queue: QueueId,
        timestamp_ms: i64,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Option<Response>, Refusal> {
        let topic = self.readable(topic, queue)?;
        let question = OffsetsAtTime {
            queues: vec![self.context.store.queues.queue(&topic.name, queue)],
            timestamp_ms,
        };
        let cold_reader = self.context.cold_reader()?;
        ctx.then(cold_reader.ask(question), move |session, answer, _| {
            let found = match answer {
                Ok(found) => found,
                Err(error) => Err(error.to_string()),
            };
            match found {
                Ok(offsets) => {
                    let response = Response::Offset(offsets.first().copied());
                    session.connection.answer(correlation, response);
                }
                Err(error) => {
                    let refusal = Refusal::safe(ErrorCode::Internal, error);
                    session.connection.fail(correlation, refusal);
                }
            }
        });
        Ok(None)
    }
}
