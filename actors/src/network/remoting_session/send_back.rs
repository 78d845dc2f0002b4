//! Messages that could not be processed.

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::native::request::Another;
use castmq_protocol::record::RecordView;
use castmq_protocol::remoting::headers::membership::SendBack;
use castmq_protocol::remoting::{ReadFields, codes::version, response_code};

use super::*;
use crate::broker::topics::Topic;
use crate::delivery::expiry::Expiry;
use crate::delivery::retry::decide;
use crate::delivery::returning::{destination, put_back, rule_of};
use crate::metadata::actor::EnsureDerivedTopic;
use crate::names::group_name;

impl RemotingSession {
    pub(super) fn send_back(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let back = SendBack::from_fields(&asked.command.fields)?;
        self.context.standing.check_master()?;
        self.context.check_writes()?;
        let group = group_name(back.group)?;
        let config = self.context.groups.existing(&group)?;
        if config.retry_queues == 0 {
            return self.respond(asked.asker, &());
        }
        let missing = || {
            Refused::new(
                response_code::SYSTEM_ERROR,
                format!("look message by offset failed, {}", back.physical_offset),
            )
        };
        let offset = u64::try_from(back.physical_offset).map_err(|_| missing())?;
        let log = &self.context.store.log;
        let bytes = log.record(PhysicalOffset(offset)).ok_or_else(missing)?;
        let record = RecordView::parse(bytes.as_ref()).map_err(|_| missing())?;
        let origin = record
            .topic()
            .ok()
            .and_then(|topic| self.context.topics.find(topic));
        let expiry = Expiry::of_message(origin.as_deref(), self.context.clock.now_ms());
        if expiry.is_over(&record) {
            self.context.meters.expired(1);
            return self.respond(asked.asker, &());
        }
        let ttl_ms = origin.map_or(0, |topic| topic.ttl_ms());
        let max_retries = back
            .max_reconsume_times
            .filter(|_| asked.command.version >= version::V3_4_9)
            .and_then(|max| u32::try_from(max).ok());
        let rule = rule_of(&config, max_retries);
        let another = match u8::try_from(back.delay_level) {
            Ok(level) => Another::Level(level),
            Err(_) if back.delay_level < 0 => Another::Never,
            Err(_) => Another::Level(u8::MAX),
        };
        let decision = decide(another, &rule, record.reconsume_times());
        let (name, queues) = destination(decision, &group, &rule);
        let ensured = self
            .context
            .metadata()?
            .ask(EnsureDerivedTopic { name, queues });
        let asker = asked.asker;
        let put = move |session: &mut Self,
                        topic: Result<Arc<Topic>, Refusal>,
                        ctx: &mut Ctx<'_, Self>| {
            let topic = topic?;
            let record = RecordView::parse(bytes.as_ref());
            let record = record.map_err(|error| session.context.internal(error))?;
            let number = session.waiting.next();
            let turn = session.delivered;
            let what = (decision, ttl_ms);
            let batch = put_back(&session.context, number, what, &topic, turn, &record)?;
            let actors = session.context.actors();
            let actors = actors.map_err(|failure| session.context.internal(failure))?;
            session.waiting.add(Pending::plain(asker));
            batch.send(&actors.log_writer, ctx.me().mailbox());
            Ok(())
        };
        self.then(asker, ensured, put, ctx);
        Ok(())
    }
}
