//! Half messages, their ends, and questions about them.

use castmq_protocol::model::{
    PhysicalOffset, QueueId, QueueOffset, keys, property_value, system_topics,
};
use castmq_protocol::native::request::{EndTransaction, Resolution};
use castmq_protocol::record::{MessageId, Record, RecordView};
use castmq_protocol::remoting::headers::transaction::{
    CheckTransaction, EndTransaction as EndHeader, ResumeCheck, TRANSACTION_COMMIT,
    TRANSACTION_ROLLBACK,
};
use castmq_protocol::remoting::{Head, ReadFields, response_code};
use castmq_storage::halves::QUEUE;

use super::*;
use crate::delivery::producers::Check;
use crate::delivery::transactions::{Ended, Ends};
use crate::names::{group_name, shortened};
use crate::network::sending::HalfMessages;
use crate::storage::put::{Put, PutBatch};
use crate::supervision::Receive;

/// What a transaction counts as in flight while it is ended, in bytes.
const ENDING_BYTES: u64 = size_of::<Ending>() as u64;

impl RemotingSession {
    /// Where half messages of a producer group go.
    pub(super) fn half_messages(&self, properties: &str) -> Result<HalfMessages, Refused> {
        let group = property_value(properties.as_bytes(), keys::PRODUCER_GROUP);
        let group = group_name(group.unwrap_or_default())?;
        let topic = self.context.topics.find(system_topics::TRANSACTION_HALF);
        let topic = topic.ok_or_else(|| {
            self.context
                .internal("the topic of half messages is missing")
        })?;
        let topic = topic.id;
        Ok(HalfMessages { group, topic })
    }

    pub(super) fn end_transaction(&mut self, asked: &Asked<'_>) -> Handled {
        let end = EndHeader::from_fields(&asked.command.fields)?;
        self.context.standing.check_master()?;
        let group = group_name(end.producer_group)?;
        let resolution = match end.decision {
            TRANSACTION_COMMIT => Resolution::Commit,
            TRANSACTION_ROLLBACK => Resolution::Rollback,
            _ => Resolution::Unknown,
        };
        let place = |offset: i64| {
            u64::try_from(offset).map_err(|_| {
                Refused::new(
                    response_code::SYSTEM_ERROR,
                    format!("there is no half message at {offset}"),
                )
            })
        };
        let end = EndTransaction {
            half: QueueOffset(place(end.half_queue_offset)?),
            place: PhysicalOffset(place(end.physical_offset)?),
            resolution,
        };
        let ending = Ending::new(self.waiting.next(), end);
        self.waiting.add(Pending::plain(asked.asker));
        self.endings.entry(group).or_default().push(ending);
        Ok(())
    }

    /// Has transactions ended. What is not taken comes back without an outcome.
    pub(super) fn end_transactions(&mut self, ctx: &Ctx<'_, Self>) {
        for (group, endings) in std::mem::take(&mut self.endings) {
            self.sending.take(endings.len() as u64 * ENDING_BYTES);
            let ends = Ends::new(group, ctx.me().mailbox(), endings);
            if let Ok(actors) = self.context.actors() {
                actors.transactions.tell(ends);
            }
        }
    }

    /// Has the producers of a half message be asked anew. One that was put aside is a half message again.
    pub(super) fn resume_check(&mut self, asked: &Asked<'_>, ctx: &Ctx<'_, Self>) -> Handled {
        let resume = ResumeCheck::from_fields(&asked.command.fields)?;
        self.context.standing.check_master()?;
        let id = resume.message_id.unwrap_or_default();
        let place = id.parse::<MessageId>().map(|id| id.physical_offset).ok();
        let bytes = place.and_then(|place| self.context.store.log.record(place));
        let record = bytes.as_ref().zip(place).and_then(|(bytes, place)| {
            let record = RecordView::parse(bytes.as_ref()).ok()?;
            record.verify_place(place).ok()?;
            Some(record)
        });
        let none = || {
            Refused::new(
                response_code::SYSTEM_ERROR,
                format!(
                    "no open half message, and none that was put aside, has the id {}",
                    shortened(id, 128)
                ),
            )
        };
        let record = record.ok_or_else(none)?;
        let halves = &self.context.store.unseen.halves;
        if record.is_of(system_topics::TRANSACTION_HALF) {
            let half = record.queue_offset().ok();
            let half = half.and_then(|offset| halves.find(offset));
            let half = half.filter(|half| Some(half.physical) == place);
            halves.ask_anew(half.ok_or_else(none)?.offset);
            return self.respond(asked.asker, &());
        }
        if !record.is_of(system_topics::TRANSACTION_UNRESOLVED) {
            return Err(none());
        }
        self.context.check_writes()?;
        let topic = self.context.topics.find(system_topics::TRANSACTION_HALF);
        let topic = topic.ok_or_else(none)?;
        let actors = self.context.actors();
        let actors = actors.map_err(|failure| self.context.internal(failure))?;
        let mut batch = PutBatch::default();
        let again = Put {
            queue: Some(QUEUE),
            ..Put::again(&record, topic.id)
        };
        batch.add_checked(self.waiting.next(), &again, record.body_crc());
        self.waiting.add(Pending::plain(asked.asker));
        batch.send(&actors.log_writer, ctx.me().mailbox());
        Ok(())
    }

    /// Asks the client about a half message, which it is shown as it was sent.
    fn ask_about(&mut self, check: &Check) {
        let Ok(record) = RecordView::parse(check.record.as_ref()) else {
            return;
        };
        let opaque = self.opaque();
        let properties = record.properties();
        let topic = property_value(properties, keys::REAL_TOPIC).unwrap_or_default();
        let queue = property_value(properties, keys::REAL_QID);
        let place = check.check.place;
        let shown = Record {
            topic,
            queue: QueueId(queue.and_then(|id| id.parse().ok()).unwrap_or_default()),
            queue_offset: check.check.half,
            physical_offset: place,
            flag: record.flag(),
            sys_flag: record.sys_flag(),
            born_timestamp_ms: record.born_timestamp_ms(),
            born_host: record.born_host(),
            store_timestamp_ms: record.store_timestamp_ms(),
            store_host: record.store_host(),
            reconsume_times: record.reconsume_times(),
            prepared_transaction_offset: record.prepared_transaction_offset(),
            body: record.body(),
            body_crc: Some(record.body_crc()),
            properties,
        };
        let mut body = vec![0; shown.encoded_bytes()];
        shown.encode(&mut body);
        let unique_id = property_value(properties, keys::UNIQ_KEY);
        let message_id = MessageId {
            store_host: record.store_host(),
            physical_offset: place,
        };
        let message_id = message_id.to_string();
        let fields = CheckTransaction {
            topic: Some(topic),
            half_queue_offset: check.check.half.0 as i64,
            physical_offset: place.0 as i64,
            message_id: unique_id,
            transaction_id: unique_id,
            offset_message_id: Some(&message_id),
            broker_name: Some(&self.context.settings.broker.name),
        };
        let head = Head::one_way(request_code::CHECK_TRANSACTION_STATE, opaque);
        self.connection.push(&head, &fields, &body);
    }
}

impl Receive<Ended> for RemotingSession {
    fn receive(&mut self, Ended(endings): Ended, _ctx: &mut Ctx<'_, Self>) {
        self.sending.give_back(endings.len() as u64 * ENDING_BYTES);
        for ending in endings {
            let Some(pending) = self.waiting.take(ending.correlation) else {
                continue;
            };
            match ending.outcome {
                Some(Ok(())) => self.connection.respond(pending.asker, &(), b""),
                Some(Err(refusal)) => {
                    let refused = Refused::new(response_code::SYSTEM_ERROR, refusal.message);
                    self.connection.refuse(pending.asker, &refused);
                }
                None => {
                    // Ending it again is ending it once.
                    let refused = Refused::new(
                        response_code::SYSTEM_BUSY,
                        "the broker failed with the transaction in hand: end it again",
                    );
                    self.connection.refuse(pending.asker, &refused);
                }
            }
        }
    }
}

impl Receive<Check> for RemotingSession {
    fn receive(&mut self, check: Check, _ctx: &mut Ctx<'_, Self>) {
        self.ask_about(&check);
    }
}
