//! Messages and batches.

use std::ops::Range;
use std::sync::LazyLock;

use castmq_protocol::model::{
    PhysicalOffset, QueueId, QueueOffset, RETRY_PREFIX, TopicName, keys, replace_properties,
};
use castmq_protocol::native::response::SendStatus;
use castmq_protocol::record::{MessageId, Record, batch, sys_flag};
use castmq_protocol::remoting::headers::send::{
    RecallMessage, RecallMessageResponse, SendMessage, SendMessageResponse,
};
use castmq_protocol::remoting::recall::RecallHandle;
use castmq_protocol::remoting::template::{Sent, SentTemplate};
use castmq_protocol::remoting::{ReadFields, Serialization, response_code};
use slab::Slab;

use super::offsets::known_topic;
use super::properties::Known;
use super::unique_ids::UniqueId;
use super::*;
use crate::broker::topics::Topic;
use crate::delivery::redirect::check_length;
use crate::metadata::actor::EnsureDerivedTopic;
use crate::names::group_name;
use crate::network::announce::ensure_topic;
use crate::network::sending::{Properties, Told, Wishes};
use crate::storage::append::{Appended, Outcome, Stored};
use crate::supervision::Receive;

/// The region that clients are told: there is one.
pub(super) const REGION: &str = "DefaultRegion";

/// Who waits for a message to be stored, or for a transaction to be ended.
pub(super) struct Pending {
    pub(super) asker: Asker,
    /// Whether where the message is is told.
    tells_place: bool,
    /// The id that the client gave it, or it was given here; empty for none.
    unique_id: UniqueId,
    more: Option<Box<More>>,
}

/// What few answers tell besides.
#[derive(Default)]
struct More {
    /// The lengths of a batch's records.
    record_bytes: Vec<u32>,
    /// What takes the message back before it is due.
    recall: Option<RecallHandle>,
    /// The message that is taken back.
    recalls: Option<String>,
}

impl Pending {
    /// Who wants to hear no more than that it is done.
    pub(super) fn plain(asker: Asker) -> Self {
        Self {
            asker,
            tells_place: false,
            unique_id: UniqueId::new(),
            more: None,
        }
    }

    /// Who wants to hear where the message is.
    fn placed(asker: Asker) -> Self {
        Self {
            tells_place: true,
            ..Self::plain(asker)
        }
    }
}

/// Those who wait, by numbers that are given again. None is 0, which is the number of what nobody waits for.
#[derive(Default)]
pub(super) struct Waiting(Slab<Pending>);

impl Waiting {
    /// The number that the next one will have.
    pub(super) fn next(&self) -> u64 {
        self.0.vacant_key() as u64 + 1
    }

    pub(super) fn add(&mut self, pending: Pending) {
        self.0.insert(pending);
    }

    pub(super) fn take(&mut self, number: u64) -> Option<Pending> {
        let key = usize::try_from(number.checked_sub(1)?).ok()?;
        self.0.try_remove(key)
    }
}

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
            self.alike.learn(asked, &topic, &header, buffer);
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
        let told = self.told(asker, topic, header, &known)?;
        let wishes = self.wishes(header, &known)?;
        let mut more = None;
        if wishes.deliver_at_ms > 0 && wishes.deliver_at_ms > self.read_ms {
            let recall = RecallHandle {
                topic: topic.name.to_string(),
                broker_name: self.context.settings.broker.name.clone(),
                due_ms: wishes.deliver_at_ms,
                message_id: String::from_utf8_lossy(&unique_id).into_owned(),
            };
            more = Some(Box::new(More {
                recall: Some(recall),
                ..More::default()
            }));
        }
        let end = body.start + body.bytes.len() as u32;
        let body = (body.bytes, body.start..end);
        self.collect(told, (header, &known, &unique_id), &wishes, body, batch)?;
        self.waiting.add(Pending {
            unique_id,
            more,
            ..Pending::placed(asker)
        });
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
        let told = self.told(asker, topic, header, &known)?;
        let none = Wishes::default();
        self.sending.collect_batch(told, &none, body, None, batch)?;
        let more = More {
            record_bytes: self.lengths(topic, body.bytes),
            ..More::default()
        };
        self.waiting.add(Pending {
            unique_id: UniqueId::from_slice(known.unique_id.unwrap_or_default().as_bytes()),
            more: Some(Box::new(more)),
            ..Pending::placed(asker)
        });
        Ok(())
    }

    fn told<'a>(
        &self,
        asker: Asker,
        topic: &'a Topic,
        header: &SendMessage<'_>,
        known: &Known<'_>,
    ) -> Result<Told<'a>, Refused> {
        Ok(Told {
            correlation: self.waiting.next(),
            topic,
            queue: queue_of(topic, header.queue)?,
            is_one_way: asker.is_one_way,
            waits: known.wait != Some("false"),
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
        let end = asked.body.start + asked.body.bytes.len() as u32;
        let body = (asked.body.bytes, asked.body.start..end);
        self.sending
            .collect(told, Some(&wishes), header.flag, kept, body, batch)?;
        self.waiting.add(Pending::placed(asked.asker));
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
                body_crc: 0,
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
        let more = More {
            recalls: Some(id),
            ..More::default()
        };
        self.waiting.add(Pending {
            more: Some(Box::new(more)),
            ..Pending::plain(asked.asker)
        });
        Ok(())
    }

    /// Tells where a message is, or the messages of a batch.
    fn stored(&mut self, pending: &Pending, stored: &Stored) {
        let asker = pending.asker;
        if asker.is_one_way {
            return;
        }
        let store_host = self.context.store_host;
        let id = |physical_offset| MessageId {
            store_host,
            physical_offset,
        };
        let unique_id = pending.unique_id.as_slice();
        let (queue, queue_offset) = (stored.queue.0 as i32, stored.queue_offset.0 as i64);
        let code = match stored.status {
            SendStatus::Stored => response_code::SUCCESS,
            SendStatus::FlushTimeout => response_code::FLUSH_DISK_TIMEOUT,
            SendStatus::SlaveNotAvailable => response_code::SLAVE_NOT_AVAILABLE,
            SendStatus::ReplicationTimeout => response_code::FLUSH_SLAVE_TIMEOUT,
        };
        let is_usual = code == response_code::SUCCESS && !unique_id.is_empty();
        if pending.more.is_none() && is_usual {
            let mut text = [0; MessageId::MAX_TEXT_BYTES];
            let sent = Sent {
                opaque: asker.opaque,
                message_id: id(stored.physical_offset).write_to(&mut text),
                queue,
                queue_offset,
                unique_id,
            };
            answers(asker.serialization).put(&sent, self.connection.buffer());
            return;
        }
        let mut message_ids = id(stored.physical_offset).to_string();
        let more = pending.more.as_deref();
        let mut at = stored.physical_offset;
        let record_bytes = more.map_or(&[][..], |more| &more.record_bytes);
        for (_, bytes) in record_bytes.iter().skip(1).zip(record_bytes) {
            at = PhysicalOffset(at.0 + u64::from(*bytes));
            message_ids.push(',');
            message_ids.push_str(&id(at).to_string());
        }
        let recall = more.and_then(|more| Some(more.recall.as_ref()?.text()));
        let fields = SendMessageResponse {
            message_id: &message_ids,
            queue,
            queue_offset,
            transaction_id: std::str::from_utf8(unique_id)
                .ok()
                .filter(|id| !id.is_empty()),
            batch_unique_id: None,
            recall_handle: recall.as_deref(),
            region: Some(REGION),
            trace_on: Some(true),
        };
        self.connection
            .respond_as(asker, (code, None), &fields, b"");
    }
}

/// What most answers are.
fn answers(serialization: Serialization) -> &'static SentTemplate {
    static JSON: LazyLock<SentTemplate> =
        LazyLock::new(|| SentTemplate::new(Serialization::Json, REGION));
    static BINARY: LazyLock<SentTemplate> =
        LazyLock::new(|| SentTemplate::new(Serialization::Binary, REGION));
    match serialization {
        Serialization::Json => &JSON,
        Serialization::Binary => &BINARY,
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

impl Receive<Appended> for RemotingSession {
    fn receive(&mut self, appended: Appended, _ctx: &mut Ctx<'_, Self>) {
        for request in &appended.requests {
            let Some(pending) = self.waiting.take(request.correlation) else {
                continue;
            };
            match &request.outcome {
                Outcome::Stored(stored) if pending.tells_place => self.stored(&pending, stored),
                Outcome::Stored(_) => match pending.more.and_then(|more| more.recalls) {
                    Some(message_id) => {
                        let message_id = &message_id;
                        let fields = RecallMessageResponse { message_id };
                        self.connection.respond(pending.asker, &fields, b"");
                    }
                    None => self.connection.respond(pending.asker, &(), b""),
                },
                Outcome::Refused(refusal) => {
                    let refused = (**refusal).clone().into();
                    self.connection.refuse(pending.asker, &refused);
                }
                Outcome::Unknown => {
                    let refused = Refused::new(
                        response_code::SYSTEM_ERROR,
                        "the log-writer failed with the message in hand: it may be stored or not",
                    );
                    self.connection.refuse(pending.asker, &refused);
                }
            }
        }
        self.sending.came_back(appended);
    }
}
