//! One connection's way to the log-writer, whichever wire its messages come over: what a read brought becomes one batch.
//!
//! - `collected`: the batch while it grows. `waiting`: messages that are stored elsewhere first; `priority`: messages that go
//!   to the queue of theirs.

mod collected;
pub(crate) mod priority;
mod waiting;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use castmq_protocol::model::QueueId;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_protocol::record::{SendNumber, batch};

pub(crate) use self::collected::{Collected, Payload, check_count};
pub(crate) use self::waiting::{HalfMessages, Wishes};
use crate::broker::context::BrokerContext;
use crate::broker::topics::{Topic, TopicId};
use crate::storage::append::{AppendBatch, AppendExtras, AppendMessage, AppendRequest, Appended};
use crate::storage::log_writer::LogWriter;
use crate::supervision::{ActorRef, Failure, Mailbox};

/// Batches whose vectors are kept to be used again.
const MAX_SPARE: usize = 4;

/// See the module. Dropping it gives back what was in flight.
pub(crate) struct Sending {
    context: Arc<BrokerContext>,
    peer: SocketAddr,
    writer: ActorRef<LogWriter>,
    in_flight_bytes: u64,
    /// What came back, emptied.
    spare: Vec<Collected>,
    sent: u64,
}

/// What a request says of its message, or its messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'a> {
    pub(crate) correlation: u64,
    pub(crate) topic: &'a Topic,
    /// `None` for any.
    pub(crate) queue: Option<QueueId>,
    pub(crate) is_one_way: bool,
    /// Whether the answer waits for the policy.
    pub(crate) waits: bool,
    pub(crate) sys_flag: i32,
    pub(crate) born_timestamp_ms: i64,
    /// Whose half messages the connection sends.
    pub(crate) half: Option<&'a HalfMessages>,
}

impl Told<'_> {
    fn request(&self, topic: TopicId, queue: Option<QueueId>) -> AppendRequest {
        AppendRequest {
            is_one_way: self.is_one_way,
            waits: self.waits,
            sys_flag: self.sys_flag,
            born_timestamp_ms: self.born_timestamp_ms,
            ..AppendRequest::new(self.correlation, topic, queue)
        }
    }
}

/// A message's properties, and where they lie in the frames, when they do.
#[derive(Debug, Clone)]
pub(crate) struct Properties<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: Option<Range<u32>>,
}

/// Where a message goes, and what it takes along.
struct Placed {
    topic: TopicId,
    queue: Option<QueueId>,
    properties: Range<u32>,
    reconsume_times: i32,
    /// See [`AppendRequest::extras`].
    extras: Option<u32>,
}

impl Sending {
    pub(crate) fn new(context: Arc<BrokerContext>, peer: SocketAddr) -> Result<Self, Failure> {
        let writer = context.actors()?.log_writer.clone();
        Ok(Self {
            context,
            peer,
            writer,
            in_flight_bytes: 0,
            spare: Vec::new(),
            sent: 0,
        })
    }

    /// Whether there is room for more messages; when not, `cx` is woken once there is, or a batch will come back.
    pub(crate) fn has_room(&self, cx: &mut Context<'_>) -> bool {
        let limits = &self.context.settings.limits;
        self.in_flight_bytes < limits.max_in_flight_bytes_per_connection
            && self.context.credits.has_room(cx.waker())
    }

    pub(crate) fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    /// Requests that came back.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Something is on its way.
    pub(crate) fn take(&mut self, bytes: u64) {
        self.in_flight_bytes += bytes;
        self.context.credits.take(bytes);
    }

    /// It is not any more.
    pub(crate) fn give_back(&mut self, bytes: u64) {
        self.in_flight_bytes -= bytes;
        self.context.credits.give_back(bytes);
    }

    /// An empty batch for what lies in a buffer of so many bytes.
    pub(crate) fn begin(&mut self, buffer_bytes: usize) -> Collected {
        Collected {
            buffer_bytes,
            ..self.spare.pop().unwrap_or_default()
        }
    }

    /// Hands a batch over. It comes back to `session`.
    pub(crate) fn submit(
        &mut self,
        collected: Collected,
        buffer: Bytes,
        session: Mailbox<Appended>,
    ) {
        if collected.requests.is_empty() {
            self.spare.push(collected.emptied());
            return;
        }
        let in_flight_bytes = buffer.len() as u64;
        self.take(in_flight_bytes);
        self.writer.tell(AppendBatch {
            buffer,
            rewritten: collected.rewritten,
            extras: collected.extras,
            requests: collected.requests,
            messages: collected.messages,
            born_host: self.peer,
            in_flight_bytes,
            session,
            is_published: false,
        });
    }

    /// A batch came back, and its requests were answered.
    pub(crate) fn came_back(&mut self, appended: Appended) {
        self.sent += appended.requests.len() as u64;
        self.give_back(appended.in_flight_bytes);
        if self.spare.len() < MAX_SPARE {
            let collected = Collected {
                requests: appended.requests,
                messages: appended.messages,
                rewritten: appended.rewritten,
                ..Collected::default()
            };
            self.spare.push(collected.emptied());
        }
    }

    /// Adds a message to a batch.
    #[inline]
    pub(crate) fn collect(
        &self,
        told: Told<'_>,
        wishes: Option<&Wishes>,
        flag: i32,
        properties: Properties<'_>,
        (body, body_at): (&[u8], Range<u32>),
        batch: &mut Collected,
    ) -> Result<(), Refusal> {
        let Told { topic, queue, .. } = told;
        topic.check_write(queue)?;
        self.context.check_writes()?;
        self.check_sizes(properties.bytes, body)?;
        let placed = match (wishes, properties.at) {
            // What most messages are, and what has to be fast.
            (None, Some(at)) if !topic.is_by_priority() || queue.is_some() => Placed {
                topic: topic.id,
                queue,
                properties: at,
                reconsume_times: 0,
                extras: None,
            },
            (wishes, at) => {
                let properties = Properties {
                    bytes: properties.bytes,
                    at,
                };
                let none = Wishes::default();
                self.place(told, wishes.unwrap_or(&none), properties, batch)?
            }
        };
        batch.messages.push(AppendMessage {
            flag,
            properties: placed.properties,
            body: body_at,
            body_crc: None,
        });
        batch.requests.push(AppendRequest {
            reconsume_times: placed.reconsume_times,
            extras: placed.extras,
            ..told.request(placed.topic, placed.queue)
        });
        Ok(())
    }

    /// Where a message goes that wants more than to be stored.
    #[inline(never)]
    fn place(
        &self,
        told: Told<'_>,
        wishes: &Wishes,
        properties: Properties<'_>,
        batch: &mut Collected,
    ) -> Result<Placed, Refusal> {
        let (topic, mut queue) = (told.topic, told.queue);
        let Properties { bytes, at } = properties;
        let mut topic_id = topic.id;
        let mut properties = priority::state(wishes.priority, bytes)?;
        if queue.is_none() && topic.is_by_priority() {
            queue = priority::queue_of(&properties, topic.write_queues());
        }
        let waiting = if wishes.waits() {
            let real = queue.unwrap_or_else(|| self.turn(topic, batch.messages.len()));
            if let Some(number) = wishes.number {
                properties = Cow::Owned(number.added_to(&properties));
            }
            self.redirect((wishes, told.half), topic, real, &properties, batch)?
        } else {
            None
        };
        let at = match (waiting, wishes.number) {
            (Some(waiting), _) => {
                (topic_id, queue) = (waiting.topic, Some(waiting.queue));
                waiting.properties
            }
            (None, Some(number)) => batch.rewrite_numbered(number, &properties)?,
            (None, None) => match (&properties, at) {
                (Cow::Borrowed(_), Some(at)) => at,
                (rewritten, _) => batch.keep(rewritten),
            },
        };
        Ok(Placed {
            topic: topic_id,
            queue,
            properties: at,
            reconsume_times: wishes.reconsume_times,
            extras: self.extras(wishes.number, batch),
        })
    }

    /// Where a request's number is among the batch's extras.
    fn extras(&self, number: Option<SendNumber>, batch: &mut Collected) -> Option<u32> {
        let number = number?;
        let at = batch.extras.len() as u32;
        batch.extras.push(AppendExtras {
            born_host: self.peer,
            prepared_transaction_offset: 0,
            number: Some(number),
        });
        Some(at)
    }

    /// The queue of a message that may go to any, when it is not the log-writer that chooses.
    fn turn(&self, topic: &Topic, collected: usize) -> QueueId {
        let turn = self.sent.wrapping_add(collected as u64);
        QueueId((turn % u64::from(topic.write_queues().max(1))) as u32)
    }

    /// Adds several messages for one queue to a batch: as many as are announced, where that is said.
    pub(crate) fn collect_batch(
        &self,
        told: Told<'_>,
        wishes: &Wishes,
        payload: Payload<'_>,
        announced: Option<u32>,
        batch: &mut Collected,
    ) -> Result<(), Refusal> {
        told.topic.check_write(told.queue)?;
        self.context.check_writes()?;
        if wishes.waits() || wishes.priority > 0 {
            return Err(Refusal::never(
                ErrorCode::InvalidRequest,
                "messages of a batch can neither be delayed nor be half messages, nor have a priority: send them one by one",
            ));
        }
        let first = batch.messages.len();
        let collected = self.collect_elements(payload, batch);
        let messages = batch.messages.len() - first;
        let checked = collected.and_then(|()| check_count(messages, announced));
        let checked = checked.and_then(|()| match wishes.number {
            Some(number) => batch.number(number, first, payload),
            None => Ok(()),
        });
        if let Err(refusal) = checked {
            batch.messages.truncate(first);
            return Err(refusal);
        }
        let extras = self.extras(wishes.number, batch);
        batch.requests.push(AppendRequest {
            messages: messages as u32,
            is_batch: true,
            reconsume_times: wishes.reconsume_times,
            extras,
            ..told.request(told.topic.id, told.queue)
        });
        Ok(())
    }

    fn collect_elements(&self, payload: Payload<'_>, batch: &mut Collected) -> Result<(), Refusal> {
        let mut at = payload.start;
        for element in batch::elements(payload.bytes) {
            let element = element
                .map_err(|error| Refusal::never(ErrorCode::InvalidRequest, error.to_string()))?;
            self.check_sizes(element.properties, element.body)?;
            let body = at + batch::BODY_AT as u32;
            let body_end = body + element.body.len() as u32;
            let properties = body_end + batch::PROPERTIES_LENGTH_BYTES as u32;
            let end = properties + element.properties.len() as u32;
            batch.messages.push(AppendMessage {
                flag: element.flag,
                properties: properties..end,
                body: body..body_end,
                body_crc: None,
            });
            at = end;
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn check_sizes(&self, properties: &[u8], body: &[u8]) -> Result<(), Refusal> {
        let limits = &self.context.limits;
        if body.len() > limits.max_message_bytes as usize {
            return Err(Refusal::never(
                ErrorCode::MessageTooLarge,
                format!(
                    "a body of {} bytes is longer than the limit of {}: send less, or raise limits.max_message_bytes",
                    body.len(),
                    limits.max_message_bytes
                ),
            ));
        }
        if properties.len() > limits.max_properties_bytes as usize {
            return Err(Refusal::never(
                ErrorCode::PropertiesTooLarge,
                format!(
                    "properties of {} bytes are longer than the limit of {}: send fewer or shorter ones",
                    properties.len(),
                    limits.max_properties_bytes
                ),
            ));
        }
        // At the log's end they could not be told from properties that were not written whole.
        if properties.last() == Some(&0) {
            return Err(Refusal::never(
                ErrorCode::InvalidRequest,
                "properties end with a zero byte: end them with their last value",
            ));
        }
        Ok(())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.context.credits.give_back(self.in_flight_bytes);
    }
}
