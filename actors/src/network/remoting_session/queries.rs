//! Finding messages.

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset};
use castmq_protocol::remoting::bodies::consume_queue::{ConsumeQueueEntries, ConsumeQueueEntry};
use castmq_protocol::remoting::headers::query::{
    QueryConsumeQueue, QueryMessage, QueryMessageResponse, ViewMessage,
};
use castmq_protocol::remoting::{ReadFields, response_code};
use castmq_storage::commit_log::LogSlice;
use castmq_storage::disk::Wait;

use super::*;
use crate::delivery::cold_reader::FindByKey;
use crate::names::shortened;
use crate::network::remoting::json;

/// Messages that are found at once by a key that is unique (RocketMQ `defaultQueryMaxNum`).
const UNIQUE_FOUND: u32 = 32;

/// Messages that are found at once, at most.
const MAX_FOUND: u32 = 1024;

/// Entries of a queue that are shown at once, at most.
const MAX_ENTRIES: usize = 4096;

/// Letters of a name that errors show.
const SHOWN_LETTERS: usize = 128;

impl RemotingSession {
    pub(super) fn query_message(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let query = QueryMessage::from_fields(&asked.command.fields)?;
        let max = match query.by_unique_key {
            Some(true) => UNIQUE_FOUND,
            _ => u32::try_from(query.max_messages).unwrap_or_default(),
        };
        let question = FindByKey {
            topic: query.topic.to_owned(),
            key: query.key.to_owned(),
            max: max.clamp(1, MAX_FOUND),
            begin_ms: query.begin_ms,
            end_ms: query.end_ms,
        };
        let asker = asked.asker;
        let found = self.context.cold_reader()?.ask(question);
        let respond = move |session: &mut Self,
                            found: Result<Vec<LogSlice>, String>,
                            _: &mut Ctx<'_, Self>| {
            let records = found.map_err(|error| session.context.internal(error))?;
            let fields = QueryMessageResponse {
                index_timestamp_ms: session.context.clock.now_ms(),
                index_physical_offset: session.context.store.log.appended().0 as i64,
            };
            if records.is_empty() {
                let said = (
                    response_code::QUERY_NOT_FOUND,
                    Some("can not find message, maybe time range not correct"),
                );
                session.connection.respond_as(asker, said, &fields, b"");
                return Ok(());
            }
            let said = (response_code::SUCCESS, None);
            session
                .connection
                .respond_with_log(asker, said, &fields, records);
            Ok(())
        };
        self.then(asker, found, respond, ctx);
        Ok(())
    }

    pub(super) fn view_message(&mut self, asked: &Asked<'_>) -> Handled {
        let view = ViewMessage::from_fields(&asked.command.fields)?;
        let offset = u64::try_from(view.physical_offset).ok().map(PhysicalOffset);
        let record = offset.and_then(|offset| self.context.store.log.record(offset));
        let record = record.ok_or_else(|| {
            Refused::new(
                response_code::SYSTEM_ERROR,
                format!(
                    "can not find message by the offset, {}",
                    view.physical_offset
                ),
            )
        })?;
        let said = (response_code::SUCCESS, None);
        self.connection
            .respond_with_log(asked.asker, said, &(), vec![record]);
        Ok(())
    }

    /// What lies in a queue, from an offset on.
    pub(super) fn query_queue(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let query = QueryConsumeQueue::from_fields(&asked.command.fields)?;
        let topic = query.topic.unwrap_or_default();
        let missing = || {
            let topic = shortened(topic, SHOWN_LETTERS);
            Refused::new(
                response_code::SYSTEM_ERROR,
                format!("{}@{topic} is not exist!", query.queue),
            )
        };
        let id = u32::try_from(query.queue).map_err(|_| missing())?;
        let queue = self.context.store.queues.find(topic, QueueId(id));
        let queue = queue.ok_or_else(missing)?;
        let subscribed = query.group.map(|group| {
            let groups = &self.context.client_groups;
            groups.subscribed(group, topic).flatten().ok_or(group)
        });
        let (subscription, filter_data) = match subscribed {
            None => (None, None),
            // Filters are judged when messages are read: nothing is kept of them, which Java writes like this.
            Some(Ok(subscribed)) => (Some(subscribed.told), Some("null".to_owned())),
            Some(Err(group)) => {
                let shown = |text| shortened(text, SHOWN_LETTERS);
                let offline = format!("{}@{} is not online!", shown(group), shown(topic));
                (None, Some(offline))
            }
        };
        let first = u64::try_from(query.index).unwrap_or_default();
        let count = usize::try_from(query.count).unwrap_or_default();
        let read = move |_: &BrokerContext| {
            let (min, max) = (queue.min_offset(), queue.max_offset());
            let mut units = Vec::new();
            let from = QueueOffset(first).max(min);
            let read = queue.read(from, count.min(MAX_ENTRIES), Wait::ForDisk, &mut units);
            read.map_err(|error| Refused::new(response_code::SYSTEM_ERROR, error.to_string()))?;
            let entries = units.iter().map(|unit| ConsumeQueueEntry {
                physical_offset: unit.physical.as_i64(),
                physical_bytes: i32::try_from(unit.size).unwrap_or(i32::MAX),
                tags_code: unit.tags_code,
                ..ConsumeQueueEntry::default()
            });
            let entries = ConsumeQueueEntries {
                filter_data,
                max_offset: max.0 as i64,
                min_offset: min.0 as i64,
                entries: entries.collect(),
                subscription,
            };
            Ok(json(&entries).freeze())
        };
        self.read_apart(asked, read, ctx)
    }
}
