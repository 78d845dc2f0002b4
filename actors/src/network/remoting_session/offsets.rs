//! How far groups and queues are.

use castmq_protocol::model::{QueueId, QueueOffset};
use castmq_protocol::remoting::headers::offsets::{
    EarliestStoreTime, EarliestStoreTimeResponse, MaxOffset, MinOffset, OffsetResponse,
    QueryOffset, SearchOffset, UpdateOffset,
};
use castmq_protocol::remoting::{ReadFields, response_code};
use castmq_storage::consume_queue::ConsumeQueue;
use castmq_storage::disk::Wait;

use super::pulling::readable;
use super::*;
use crate::broker::topics::Topic;
use crate::delivery::cold_reader::OffsetsAtTime;
use crate::names::group_name;

/// A topic that exists.
pub(super) fn known_topic(context: &BrokerContext, name: &str) -> Result<Arc<Topic>, Refused> {
    context.topics.find(name).ok_or_else(|| {
        let name = crate::names::shortened(name, 128);
        Refused::new(
            response_code::TOPIC_NOT_EXIST,
            format!("topic[{name}] not exist, apply first please!"),
        )
    })
}

impl RemotingSession {
    /// A queue that may be read, if it has or had messages.
    fn queue(&self, topic: &str, queue: i32) -> Result<Option<Arc<ConsumeQueue>>, Refused> {
        let topic = known_topic(&self.context, topic)?;
        let queue = readable(&topic, queue)?;
        Ok(self.context.store.queues.find(topic.name.as_str(), queue))
    }

    pub(super) fn query_offset(&mut self, asked: &Asked<'_>) -> Handled {
        let query = QueryOffset::from_fields(&asked.command.fields)?;
        let group = group_name(query.group)?;
        let topic = known_topic(&self.context, query.topic)?;
        let queue = readable(&topic, query.queue)?;
        let known = self
            .context
            .offsets
            .get(&group, &(topic.name.clone(), queue));
        let found = self.context.store.queues.find(topic.name.as_str(), queue);
        let begins = || match found {
            Some(found) => self.is_whole_and_near(&found),
            None => true,
        };
        let offset = match known {
            Some(offset) => offset,
            None if query.zero_if_not_found != Some(false) && begins() => QueueOffset::ZERO,
            None => {
                return Err(Refused::new(
                    response_code::QUERY_NOT_FOUND,
                    "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first",
                ));
            }
        };
        let offset = offset.0 as i64;
        self.respond(asked.asker, &OffsetResponse { offset })
    }

    /// Whether the first message there ever was is there, and not far from the end of the log: a group that begins now reads
    /// all of such a queue, as in RocketMQ.
    fn is_whole_and_near(&self, queue: &ConsumeQueue) -> bool {
        let mut units = Vec::new();
        let read = queue.read(QueueOffset::ZERO, 1, Wait::Never, &mut units);
        let appended = self.context.store.log.appended();
        let is_near = |unit: &castmq_storage::consume_queue::ConsumeUnit| {
            appended.distance_from(unit.physical) <= self.context.near_bytes
        };
        match queue.max_offset() {
            QueueOffset::ZERO => true,
            _ => {
                queue.min_offset() == QueueOffset::ZERO
                    && read.is_ok()
                    && units.first().is_some_and(is_near)
            }
        }
    }

    pub(super) fn update_offset(
        &mut self,
        asked: &Asked<'_>,
        buffer: &Bytes,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let update = UpdateOffset::from_fields(&asked.command.fields)?;
        self.context.check_reads()?;
        let group = group_name(update.group)?;
        if self.context.groups.config(group.as_str()).is_none() {
            return self.again_with_group(asked, &group, buffer, ctx);
        }
        let topic = known_topic(&self.context, update.topic)?;
        let queue = readable(&topic, update.queue)?;
        self.commit(&group, &topic, queue, update.offset)?;
        self.respond(asked.asker, &())
    }

    pub(super) fn commit(
        &self,
        group: &GroupName,
        topic: &Topic,
        queue: QueueId,
        offset: i64,
    ) -> Result<(), Refused> {
        // Members whose queues the broker shares out have them to themselves.
        self.context.client_groups.check_not_shared_out(group)?;
        let found = self.context.store.queues.find(topic.name.as_str(), queue);
        let max = found.map_or(QueueOffset::ZERO, |found| found.max_offset());
        let offset = u64::try_from(offset).ok().map(QueueOffset);
        let offset = offset.filter(|offset| *offset <= max).ok_or_else(|| {
            Refused::new(
                response_code::SYSTEM_ERROR,
                format!(
                    "the offset of queue {queue} of topic {} cannot be set there: it ends at {max}",
                    topic.name
                ),
            )
        })?;
        let key = (topic.name.clone(), queue);
        if !self.context.client_groups.is_reset(group, &key) {
            self.context.offsets.set(group, key, offset);
        }
        Ok(())
    }

    pub(super) fn search_offset(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let search = SearchOffset::from_fields(&asked.command.fields)?;
        let topic = known_topic(&self.context, search.topic)?;
        let queue = readable(&topic, search.queue)?;
        let question = OffsetsAtTime {
            queues: vec![self.context.store.queues.queue(&topic.name, queue)],
            timestamp_ms: search.timestamp_ms,
        };
        let asker = asked.asker;
        let found = self.context.cold_reader()?.ask(question);
        let answer = move |session: &mut Self,
                           found: Result<Vec<QueueOffset>, String>,
                           _: &mut Ctx<'_, Self>| {
            let found = found.map_err(|error| session.context.internal(error))?;
            let offset = found.first().map_or(0, |offset| offset.0 as i64);
            session.respond(asker, &OffsetResponse { offset })
        };
        self.then(asker, found, answer, ctx);
        Ok(())
    }

    pub(super) fn max_offset(&mut self, asked: &Asked<'_>) -> Handled {
        let of = MaxOffset::from_fields(&asked.command.fields)?;
        let queue = self.queue(of.topic, of.queue)?;
        let offset = queue.map_or(QueueOffset::ZERO, |queue| match of.committed {
            true => self.context.hidden.end_of(&queue),
            false => queue.max_offset(),
        });
        let offset = offset.0 as i64;
        self.respond(asked.asker, &OffsetResponse { offset })
    }

    pub(super) fn min_offset(&mut self, asked: &Asked<'_>) -> Handled {
        let of = MinOffset::from_fields(&asked.command.fields)?;
        let queue = self.queue(of.topic, of.queue)?;
        let offset = queue.map_or(0, |queue| queue.min_offset().0 as i64);
        self.respond(asked.asker, &OffsetResponse { offset })
    }

    pub(super) fn earliest_store_time(&mut self, asked: &Asked<'_>) -> Handled {
        let of = EarliestStoreTime::from_fields(&asked.command.fields)?;
        let queue = self.queue(of.topic, of.queue)?;
        let first = queue.and_then(|queue| {
            let mut units = Vec::new();
            let first = queue.min_offset();
            queue.read(first, 1, Wait::Never, &mut units).ok()?;
            self.context
                .store
                .log
                .store_timestamp_ms(units.first()?.physical)
        });
        let timestamp_ms = first.unwrap_or(-1);
        self.respond(asked.asker, &EarliestStoreTimeResponse { timestamp_ms })
    }
}
