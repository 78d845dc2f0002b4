//! Finding messages.

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::remoting::headers::query::{QueryMessage, QueryMessageResponse, ViewMessage};
use castmq_protocol::remoting::{ReadFields, response_code};
use castmq_storage::commit_log::LogSlice;

use super::*;
use crate::delivery::cold_reader::FindByKey;

/// Messages that are found at once by a key that is unique (RocketMQ `defaultQueryMaxNum`).
const UNIQUE_FOUND: u32 = 32;

/// Messages that are found at once, at most.
const MAX_FOUND: u32 = 1024;

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
}
