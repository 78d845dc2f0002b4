//! Messages and batches.

use std::ops::Range;

use castmq_protocol::model::{
    PhysicalOffset, QueueId, QueueOffset, RETRY_PREFIX, TopicName, keys, replace_properties,
};
use castmq_protocol::record::{Record, batch, sys_flag};
use castmq_protocol::remoting::headers::send::{RecallMessage, SendMessage};
use castmq_protocol::remoting::recall::RecallHandle;
use castmq_protocol::remoting::{ReadFields, response_code};

use super::offsets::known_topic;
use super::properties::{Known, Stamped};
use super::unique_ids::UniqueId;
use super::waiting::Besides;
use super::*;
use crate::broker::topics::Topic;
use crate::delivery::redirect::check_length;
use crate::metadata::actor::EnsureDerivedTopic;
use crate::names::group_name;
use crate::network::announce::ensure_topic;
use crate::network::sending::{Properties, Told, Wishes};

/// The region that clients are told: there is one.
pub(super) const REGION: &str = "DefaultRegion";

impl RemotingSession {
    pub(super) fn send(
        &mut self,
        asked: &Asked<'_>,
        buffer: &Bytes,
        batch: &mut Collected,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let header = SendMessage::from_fields(asked.command.code, &asked.command.fields)?;
        self.context.standing.check_master()?;
        let group = header.topic.strip_prefix(RETRY_PREFIX);
        if let Some(group) = group
            && self.is_given_up(group, &header)?
        {
            return self.bury(asked, group, &header, buffer, batch, ctx);
        }
        let Some(topic) = self.context.topics.find(header.topic) else {
            return match group {
                None => self.send_to_new(asked, header.topic, buffer, ctx),
                Some(group) => {
                    let group = group_name(group)?;
                    let queues = self.context.groups.existing(&group)?.retry_queues.max(1);
                    let name = TopicName::retry_of(&group);
                    self.send_to_derived(asked, name, queues, buffer, ctx)
                }
            };
        };
        if header.batch || asked.command.code == request_code::SEND_BATCH_MESSAGE {
            return self.store_batch(asked.asker, &topic, &header, asked.body, batch);
        }
        if group.is_none() {
            let (stamp, made_bytes) = (&self.stamp, self.unique_ids.bytes());
            self.alike
                .learn(asked, &topic, &header, buffer, stamp, made_bytes);
        }
        self.store(asked.asker, &topic, &header, asked.body, batch)
    }

    /// Stores a message of a topic that exists.
    pub(super) fn store(
        &mut self,
        asker: Asker,
        topic: &Topic,
        header: &SendMessage<'_>,
        body: Payload<'_>,
        batch: &mut Collected,
    ) -> Handled {
        let known = Known::of(header.properties.unwrap_or_default());
        let unique_id = match known.unique_id {
            Some(id) => UniqueId::from_slice(id.as_bytes()),
            None => self.unique_ids.next(self.read_ms),
        };
        let told = self.told(asker, topic, header, known.waits())?;
        let wishes = self.wishes(header, &known)?;
        let mut besides = Besides::Nothing;
        if wishes.deliver_at_ms > 0 && wishes.deliver_at_ms > self.read_ms {
            besides = Besides::Recall(Box::new(RecallHandle {
                topic: topic.name.to_string(),
                broker_name: self.context.settings.broker.name.clone(),
                due_ms: wishes.deliver_at_ms,
                message_id: String::from_utf8_lossy(&unique_id).into_owned(),
            }));
        }
        let body = (body.bytes, body.range());
        self.collect(told, (header, &known, &unique_id), &wishes, body, batch)?;
        self.waiting.add(Pending::placed(asker, unique_id, besides));
        Ok(())
    }

    /// Stores a message with properties that are known but for its id.
    pub(super) fn store_same(
        &mut self,
        asker: Asker,
        topic: &Topic,
        header: &SendMessage<'_>,
        (stamped, unique_id): (&Stamped, UniqueId),
        body: Payload<'_>,
        batch: &mut Collected,
    ) -> Handled {
        let told = self.told(asker, topic, header, stamped.waits)?;
        let at = batch.rewrite(|out| {
            stamped.write(&unique_id, out);
            Ok(())
        })?;
        let properties = Properties {
            bytes: stamped.told.as_bytes(),
            at: Some(at),
        };
        let body = (body.bytes, body.range());
        self.sending
            .collect(told, None, header.flag, properties, body, batch)?;
        self.waiting
            .add(Pending::placed(asker, unique_id, Besides::Nothing));
        Ok(())
    }

    /// Stores the messages of a batch of a topic that exists.
    fn store_batch(
        &mut self,
        asker: Asker,
        topic: &Topic,
        header: &SendMessage<'_>,
        body: Payload<'_>,
        batch: &mut Collected,
    ) -> Handled {
        let known = Known::of(header.properties.unwrap_or_default());
        let told = self.told(asker, topic, header, known.waits())?;
        let none = Wishes::default();
        self.sending.collect_batch(told, &none, body, None, batch)?;
        let unique_id = UniqueId::from_slice(known.unique_id.unwrap_or_default().as_bytes());
        let batch = Besides::Batch(self.lengths(topic, body.bytes));
        self.waiting.add(Pending::placed(asker, unique_id, batch));
        Ok(())
    }

    fn told<'a>(
        &self,
        asker: Asker,
        topic: &'a Topic,
        header: &SendMessage<'_>,
        waits: bool,
    ) -> Result<Told<'a>, Refused> {
        Ok(Told {
            correlation: self.waiting.next(),
            topic,
            queue: queue_of(topic, header.queue)?,
            is_one_way: asker.is_one_way,
            waits,
            sys_flag: header.sys_flag & !sys_flag::TRANSACTION_MASK,
            born_timestamp_ms: header.born_timestamp_ms,
            half: None,
        })
    }

    /// Whether a message that a client sends to a retry topic itself has had its retries. RocketMQ compares with `>` here, and a
    /// group that locks its queues has no others.
    fn is_given_up(&self, group: &str, header: &SendMessage<'_>) -> Result<bool, Refused> {
        let group = group_name(group)?;
        let config = self.context.groups.existing(&group)?;
        let max = header
            .max_reconsume_times
            .and_then(|max| u32::try_from(max).ok());
        let retries = header.reconsume_times.unwrap_or_default();
        let is_over = u32::try_from(retries).unwrap_or_default() > max.unwrap_or(config.retry_max);
        Ok(is_over || self.context.client_groups.is_locked(&group))
    }

    /// Makes a message that a client has given up a dead letter.
    fn bury(
        &mut self,
        asked: &Asked<'_>,
        group: &str,
        header: &SendMessage<'_>,
        buffer: &Bytes,
        batch: &mut Collected,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let name = TopicName::dead_letter_of(&group_name(group)?);
        let Some(topic) = self.context.topics.find(name.as_str()) else {
            return self.send_to_derived(asked, name, 1, buffer, ctx);
        };
        let properties = header.properties.unwrap_or_default();
        let kept = replace_properties(properties.as_bytes(), &[(keys::DELAY, None)]);
        let told = Told {
            correlation: self.waiting.next(),
            topic: &topic,
            queue: Some(QueueId(0)),
            is_one_way: asked.asker.is_one_way,
            waits: true,
            sys_flag: header.sys_flag,
            born_timestamp_ms: header.born_timestamp_ms,
            half: None,
        };
        let wishes = Wishes {
            reconsume_times: header.reconsume_times.unwrap_or_default(),
            ..Wishes::default()
        };
        let kept = Properties {
            bytes: &kept,
            at: None,
        };
        let body = (asked.body.bytes, asked.body.range());
        self.sending
            .collect(told, Some(&wishes), header.flag, kept, body, batch)?;
        let placed = Pending::placed(asked.asker, UniqueId::new(), Besides::Nothing);
        self.waiting.add(placed);
        Ok(())
    }

    /// A group's topic is made first, and then the request comes again.
    fn send_to_derived(
        &mut self,
        asked: &Asked<'_>,
        name: TopicName,
        queues: u32,
        buffer: &Bytes,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let ensured = self
            .context
            .metadata()?
            .ask(EnsureDerivedTopic { name, queues });
        let context = self.context.clone();
        let made = async move {
            let made = ensured.await;
            made.unwrap_or_else(|error| Err(context.internal(error)))
        };
        self.again_when(asked, made, buffer, ctx);
        Ok(())
    }

    /// The topic is made first, where that is allowed, and then the request comes again.
    fn send_to_new(
        &mut self,
        asked: &Asked<'_>,
        topic: &str,
        buffer: &Bytes,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let ensured = ensure_topic(&self.context, topic.to_owned(), &self.client)?;
        self.again_when(asked, ensured, buffer, ctx);
        Ok(())
    }

    /// Adds a message to the batch, with the properties that RocketMQ's brokers store.
    fn collect(
        &self,
        told: Told<'_>,
        (header, known, unique_id): (&SendMessage<'_>, &Known<'_>, &[u8]),
        wishes: &Wishes,
        body: (&[u8], Range<u32>),
        batch: &mut Collected,
    ) -> Handled {
        let properties = header.properties.unwrap_or_default();
        if !wishes.waits() && wishes.reconsume_times == 0 {
            let at = batch.rewrite(|out| {
                let before = out.len();
                self.stamp.write(properties, known, unique_id, out);
                check_length(out.get(before..).unwrap_or_default())
            })?;
            let properties = Properties {
                bytes: properties.as_bytes(),
                at: Some(at),
            };
            self.sending
                .collect(told, None, header.flag, properties, body, batch)?;
            return Ok(());
        }
        let half = match wishes.is_half {
            true => Some(self.half_messages(properties)?),
            false => None,
        };
        let told = Told {
            half: half.as_ref(),
            ..told
        };
        let mut stamped = Vec::with_capacity(properties.len() + 128);
        self.stamp.write(properties, known, unique_id, &mut stamped);
        let properties = Properties {
            bytes: &stamped,
            at: None,
        };
        self.sending
            .collect(told, Some(wishes), header.flag, properties, body, batch)?;
        Ok(())
    }

    /// What a message's properties ask for.
    fn wishes(&self, header: &SendMessage<'_>, known: &Known<'_>) -> Result<Wishes, Refused> {
        let number = |text: Option<&str>| -> Option<i64> { text?.parse().ok() };
        let after = |delay: Option<&str>, unit_ms: i64| {
            let delay_ms = number(delay)?.saturating_mul(unit_ms);
            Some(self.read_ms.saturating_add(delay_ms))
        };
        let deliver_at_ms = after(known.timer_delay_sec, 1000)
            .or_else(|| after(known.timer_delay_ms, 1))
            .or_else(|| number(known.timer_deliver_ms));
        let longest_ms = self.context.settings.broker.timer_max_delay_ms;
        if let Some(at_ms) = deliver_at_ms
            && at_ms.saturating_sub(self.read_ms) > longest_ms as i64
        {
            return Err(Refused::new(
                response_code::MESSAGE_ILLEGAL,
                format!(
                    "timer message illegal, the delay time should not be bigger than the max delay {longest_ms}ms; or if set del msg, the delay time should be bigger than the current time"
                ),
            ));
        }
        let delay = number(known.delay).unwrap_or_default();
        let prepared = known.prepared;
        Ok(Wishes {
            reconsume_times: header.reconsume_times.unwrap_or_default(),
            delay_level: u8::try_from(delay.clamp(0, i64::from(u8::MAX))).unwrap_or_default(),
            deliver_at_ms: deliver_at_ms.unwrap_or_default(),
            is_half: prepared.is_some_and(|text| text.eq_ignore_ascii_case("true")),
            ..Wishes::default()
        })
    }

    /// The lengths of the records that a batch becomes, as far as it can be read.
    fn lengths(&self, topic: &Topic, body: &[u8]) -> Vec<u32> {
        let elements = batch::elements(body).map_while(Result::ok);
        let lengths = elements.map(|element| {
            let record = Record {
                topic: topic.name.as_str(),
                queue: QueueId(0),
                queue_offset: QueueOffset::ZERO,
                physical_offset: PhysicalOffset::ZERO,
                flag: 0,
                sys_flag: 0,
                born_timestamp_ms: 0,
                born_host: self.connection.peer(),
                store_timestamp_ms: 0,
                store_host: self.context.store_host,
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: element.body,
                body_crc: None,
                properties: element.properties,
            };
            record.encoded_bytes() as u32
        });
        lengths.collect()
    }

    /// Takes a message back that is not due yet.
    pub(super) fn recall(&mut self, asked: &Asked<'_>, batch: &mut Collected) -> Handled {
        let recall = RecallMessage::from_fields(&asked.command.fields)?;
        self.context.standing.check_master()?;
        let topic = known_topic(&self.context, recall.topic)?;
        let wrong = |remark: String| Refused::new(response_code::ILLEGAL_OPERATION, remark);
        let handle = RecallHandle::parse(recall.recall_handle);
        let handle = handle.map_err(|error| wrong(error.to_string()))?;
        if handle.topic != recall.topic {
            return Err(wrong(format!(
                "the handle is of topic {} and not of {}",
                handle.topic, recall.topic
            )));
        }
        let (id, due_ms) = (handle.message_id, handle.due_ms);
        let number = self.waiting.next();
        let cancelled = self.sending.cancel(number, &topic, &id, due_ms, batch);
        cancelled.map_err(|refusal| wrong(refusal.message))?;
        self.waiting.add(Pending::recalling(asked.asker, id));
        Ok(())
    }
}

/// The queue that a client names; `None` for any.
fn queue_of(topic: &Topic, queue: i32) -> Result<Option<QueueId>, Refused> {
    let Ok(queue) = u32::try_from(queue) else {
        return Ok(None);
    };
    if queue >= topic.write_queues() {
        return Err(Refused::new(
            response_code::INVALID_PARAMETER,
            format!(
                "request queueId[{queue}] is illegal: topic {} has queues 0 to {} to write",
                topic.name,
                topic.write_queues().saturating_sub(1)
            ),
        ));
    }
    Ok(Some(QueueId(queue)))
}
