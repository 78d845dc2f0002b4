//! producer-session: one producer's connection. It turns what a read brought into one batch for the log-writer, and the
//! batch's outcomes into one write.
//!
//! - `collected`: the batch while it grows. `waiting`: messages that are stored elsewhere first; `priority`: messages that go
//!   to the queue of theirs; `replies`: requests and replies; `ending`: transactions and those who have them.

mod collected;
mod ending;
mod priority;
mod replies;
mod waiting;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use castmq_protocol::model::QueueId;
use castmq_protocol::native::frame::{Frames, decode_header};
use castmq_protocol::native::request::{
    ANY_QUEUE, Send, SendBatch, SendExtras, TopicAlias, send_flags,
};
use castmq_protocol::native::response::{BatchSent, Sent};
use castmq_protocol::native::{ClientHeader, ErrorCode, Failure as Refusal, Request, Response};
use castmq_protocol::record::{SendNumber, batch, body_crc};
use serde::Serialize;

use self::collected::{Collected, Payload, check_count};
use self::ending::Producing;
use self::replies::TakesReplies;
use self::waiting::Wishes;
use super::aliases::{Aliases, MAX_ALIASES};
use super::announce::ensure_topic;
use super::connection::{Connection, Session, attach};
use super::greeting::Client;
use crate::broker::context::BrokerContext;
use crate::broker::topics::{Topic, TopicId};
use crate::delivery::transactions::Ending;
use crate::storage::append::{
    AppendBatch, AppendExtras, AppendMessage, AppendRequest, Appended, Outcome, Stored,
};
use crate::storage::log_writer::LogWriter;
use crate::supervision::{ActorRef, Cast, Ctx, Failure, Receive};

/// A session with more than this waiting to be written reads no requests.
const MAX_PENDING_BYTES: usize = 4 * 1024 * 1024;

/// See the module.
pub(crate) struct ProducerSession {
    context: Arc<BrokerContext>,
    connection: Connection,
    client: Client,
    topics: Aliases<Arc<Topic>>,
    writer: ActorRef<LogWriter>,
    in_flight_bytes: u64,
    /// Requests that others have in hand.
    announcing: usize,
    /// The producer group that it joined.
    producing: Option<Producing>,
    /// Once the client wants the replies to its requests here.
    replies: Option<Box<TakesReplies>>,
    /// Emptied vectors of batches that came back.
    spare: Vec<(Vec<AppendRequest>, Vec<AppendMessage>)>,
    sent: u64,
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

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct ProducerSessionState {
    client_id: String,
    software: String,
    peer: String,
    in_flight_bytes: u64,
    pending_bytes: usize,
    sent: u64,
}

impl ProducerSession {
    pub(crate) fn new(
        context: Arc<BrokerContext>,
        connection: Connection,
        client: Client,
    ) -> Result<Self, Failure> {
        let actors = context.actors()?;
        Ok(Self {
            connection,
            client,
            topics: Aliases::new("topic", MAX_ALIASES),
            writer: actors.log_writer.clone(),
            in_flight_bytes: 0,
            announcing: 0,
            producing: None,
            replies: None,
            spare: Vec::new(),
            sent: 0,
            context,
        })
    }

    /// Handles one request. Those that store something are added to the batch.
    fn handle(
        &mut self,
        header: ClientHeader,
        payload: Payload<'_>,
        batch: &mut Collected,
        ctx: &mut Ctx<'_, Self>,
    ) {
        let correlation = header.correlation;
        let done = match header.request {
            Request::Send(send) => {
                let is_one_way = send.flags & send_flags::ONE_WAY != 0;
                match self.collect(correlation, &send, payload, batch) {
                    Err(_) if is_one_way => Ok(()),
                    done => done,
                }
            }
            Request::SendBatch(send) => {
                let is_one_way = send.flags & send_flags::ONE_WAY != 0;
                match self.collect_batch(correlation, &send, payload, batch) {
                    Err(_) if is_one_way => Ok(()),
                    done => done,
                }
            }
            Request::Heartbeat => {
                self.connection.answer(correlation, Response::Done);
                Ok(())
            }
            Request::JoinProducers { group } => {
                self.join_producers(correlation, &group, batch, ctx)
            }
            Request::CancelDelivery {
                topic,
                unique_id,
                deliver_at_ms,
            } => self.cancel(correlation, topic, &unique_id, deliver_at_ms, batch),
            Request::EndTransaction(end) => self.end_transaction(correlation, end, batch),
            Request::TakeReplies => {
                self.take_replies(correlation, ctx);
                Ok(())
            }
            Request::SendReply(reply) => self.send_reply(correlation, &reply, payload, batch, ctx),
            Request::ReplyTaken { number, is_awaited } => {
                self.reply_taken(number, is_awaited);
                Ok(())
            }
            Request::AnnounceTopic { alias, topic } => {
                self.announce(correlation, alias, topic, ctx)
            }
            _ => Err(self.client.wrong_role()),
        };
        if let Err(refusal) = done {
            self.connection.fail(correlation, refusal);
        }
    }

    fn collect(
        &self,
        correlation: u64,
        send: &Send,
        payload: Payload<'_>,
        batch: &mut Collected,
    ) -> Result<(), Refusal> {
        let topic = self.topics.get(send.topic)?;
        let queue = (send.queue != ANY_QUEUE).then_some(send.queue);
        topic.check_write(queue)?;
        self.context.check_writes()?;
        let (properties, body) = payload.split(send.properties_bytes)?;
        self.check_sizes(properties, body)?;
        let start = payload.start;
        let middle = start + send.properties_bytes;
        let placed = match &send.extras {
            // What most messages are, and what has to be fast.
            None if !topic.is_by_priority() || queue.is_some() => Placed {
                topic: topic.id,
                queue,
                properties: start..middle,
                reconsume_times: 0,
                extras: None,
            },
            extras => {
                let plain = start..middle;
                self.place(topic, queue, extras.as_deref(), properties, plain, batch)?
            }
        };
        batch.messages.push(AppendMessage {
            flag: send.flag,
            properties: placed.properties,
            body: middle..middle + body.len() as u32,
            body_crc: body_crc(body),
        });
        batch.requests.push(AppendRequest {
            is_one_way: send.flags & send_flags::ONE_WAY != 0,
            waits: send.flags & send_flags::NO_WAIT == 0,
            sys_flag: send.sys_flag,
            born_timestamp_ms: send.born_timestamp_ms,
            reconsume_times: placed.reconsume_times,
            extras: placed.extras,
            ..AppendRequest::new(correlation, placed.topic, placed.queue)
        });
        Ok(())
    }

    /// Where a message goes that wants more than to be stored. `plain` is where its properties lie in the frames.
    #[inline(never)]
    fn place(
        &self,
        topic: &Topic,
        mut queue: Option<QueueId>,
        extras: Option<&SendExtras>,
        properties: &[u8],
        plain: Range<u32>,
        batch: &mut Collected,
    ) -> Result<Placed, Refusal> {
        let wishes = Wishes::of(extras)?;
        let mut topic_id = topic.id;
        let mut properties = priority::state(wishes.priority, properties)?;
        if queue.is_none() && topic.is_by_priority() {
            queue = priority::queue_of(&properties, topic.write_queues());
        }
        let waiting = if wishes.waits() {
            let real = queue.unwrap_or_else(|| self.turn(topic, batch.messages.len()));
            if let Some(number) = wishes.number {
                properties = Cow::Owned(number.added_to(&properties));
            }
            self.redirect(&wishes, topic, real, &properties, batch)?
        } else {
            None
        };
        let at = match (waiting, wishes.number) {
            (Some(waiting), _) => {
                (topic_id, queue) = (waiting.topic, Some(waiting.queue));
                waiting.properties
            }
            (None, Some(number)) => batch.rewrite_numbered(number, &properties)?,
            (None, None) => match properties {
                Cow::Borrowed(_) => plain,
                Cow::Owned(rewritten) => batch.keep(&rewritten),
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
            born_host: self.connection.peer(),
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

    fn collect_batch(
        &self,
        correlation: u64,
        send: &SendBatch,
        payload: Payload<'_>,
        batch: &mut Collected,
    ) -> Result<(), Refusal> {
        let topic = self.topics.get(send.topic)?;
        let queue = (send.queue != ANY_QUEUE).then_some(send.queue);
        topic.check_write(queue)?;
        self.context.check_writes()?;
        let wishes = Wishes::of(send.extras.as_deref())?;
        if wishes.waits() || wishes.priority > 0 {
            return Err(Refusal::never(
                ErrorCode::InvalidRequest,
                "messages of a batch can neither be delayed nor be half messages, nor have a priority: send them one by one",
            ));
        }
        let first = batch.messages.len();
        let collected = self.collect_elements(payload, batch);
        let messages = batch.messages.len() - first;
        let checked = collected.and_then(|()| check_count(messages, send.messages));
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
            messages: send.messages,
            is_batch: true,
            is_one_way: send.flags & send_flags::ONE_WAY != 0,
            waits: send.flags & send_flags::NO_WAIT == 0,
            sys_flag: send.sys_flag,
            born_timestamp_ms: send.born_timestamp_ms,
            reconsume_times: wishes.reconsume_times,
            extras,
            ..AppendRequest::new(correlation, topic.id, queue)
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
                body_crc: body_crc(element.body),
            });
            at = end;
        }
        Ok(())
    }

    #[inline]
    fn check_sizes(&self, properties: &[u8], body: &[u8]) -> Result<(), Refusal> {
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
        Ok(())
    }

    fn announce(
        &mut self,
        correlation: u64,
        alias: u32,
        topic: String,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<(), Refusal> {
        self.topics.check(alias)?;
        let ensured = ensure_topic(&self.context, topic, &self.client)?;
        self.announcing += 1;
        ctx.then(ensured, move |session, ensured, _| {
            session.announcing -= 1;
            match ensured {
                Ok(topic) => session.announced(correlation, alias, topic),
                Err(refusal) => session.connection.fail(correlation, refusal),
            }
        });
        Ok(())
    }

    fn announced(&mut self, correlation: u64, alias: u32, topic: Arc<Topic>) {
        let (write_queues, read_queues) = (topic.write_queues(), topic.read_queues());
        self.topics.set(alias, topic);
        let response = Response::TopicAnnounced {
            alias,
            write_queues,
            read_queues,
        };
        self.connection.answer(correlation, response);
    }

    fn submit(&mut self, collected: Collected, buffer: Bytes, ctx: &Ctx<'_, Self>) {
        if collected.requests.is_empty() {
            self.spare.push((collected.requests, collected.messages));
            return;
        }
        let in_flight_bytes = buffer.len() as u64;
        self.in_flight_bytes += in_flight_bytes;
        self.context.credits.take(in_flight_bytes);
        self.writer.tell(AppendBatch {
            buffer,
            rewritten: collected.rewritten,
            extras: collected.extras,
            requests: collected.requests,
            messages: collected.messages,
            born_host: self.connection.peer(),
            in_flight_bytes,
            session: ctx.me().mailbox(),
            is_published: false,
        });
    }

    fn answer(&mut self, request: &AppendRequest) {
        if request.is_one_way {
            return;
        }
        match &request.outcome {
            Outcome::Stored(stored) => self.connection.answer(
                request.correlation,
                if request.is_batch {
                    batch_sent(stored, request.messages)
                } else {
                    sent(stored)
                },
            ),
            Outcome::Refused(refusal) => {
                self.connection
                    .fail(request.correlation, (**refusal).clone());
            }
            Outcome::Unknown => self.connection.fail(
                request.correlation,
                Refusal::unknown(
                    ErrorCode::OutcomeUnknown,
                    "the log-writer failed with the message in hand: it may be stored or not",
                ),
            ),
        }
    }
}

fn sent(stored: &Stored) -> Response {
    Response::Sent(Sent {
        status: stored.status,
        queue: stored.queue,
        queue_offset: stored.queue_offset,
        physical_offset: stored.physical_offset,
    })
}

fn batch_sent(stored: &Stored, messages: u32) -> Response {
    Response::BatchSent(BatchSent {
        status: stored.status,
        queue: stored.queue,
        first_queue_offset: stored.queue_offset,
        first_physical_offset: stored.physical_offset,
        messages,
    })
}

impl Session for ProducerSession {
    fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    fn may_read(&self, cx: &mut Context<'_>) -> bool {
        let limits = &self.context.settings.limits;
        self.in_flight_bytes < limits.max_in_flight_bytes_per_connection
            && self.connection.pending_bytes() < MAX_PENDING_BYTES
            && self.context.credits.has_room(cx.waker())
    }

    fn is_owing(&self) -> bool {
        self.in_flight_bytes > 0 || self.announcing > 0
    }

    fn handle_frames(&mut self, buffer: Bytes, ctx: &mut Ctx<'_, Self>) -> Result<(), Refusal> {
        let (requests, messages) = self.spare.pop().unwrap_or_default();
        let mut collected = Collected {
            requests,
            messages,
            buffer_bytes: buffer.len(),
            ..Collected::default()
        };
        let mut frames = Frames::new(&buffer, usize::MAX);
        let mut closing = None;
        while let Some(frame) = frames.next() {
            let decoded = frame.and_then(|frame| Ok((frame, decode_header(frame)?)));
            match decoded {
                Ok((frame, (header, header_bytes))) => {
                    let bytes = frame.get(header_bytes..).unwrap_or_default();
                    let start = (frames.consumed() - bytes.len()) as u32;
                    let payload = Payload { bytes, start };
                    self.handle(header, payload, &mut collected, ctx);
                }
                Err(error) => {
                    closing = Some(Refusal::never(ErrorCode::InvalidRequest, error.to_string()));
                    break;
                }
            }
        }
        self.end_transactions(std::mem::take(&mut collected.endings), ctx);
        self.submit(collected, buffer.clone(), ctx);
        closing.map_or(Ok(()), Err)
    }
}

impl Cast for ProducerSession {
    type State = ProducerSessionState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        attach(ctx, self.context.idle_timeout());
        Ok(())
    }

    fn stopping(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.connection
            .say_goodbye(self.context.goodbye(), ctx.hold());
    }

    fn observe(&self) -> ProducerSessionState {
        ProducerSessionState {
            client_id: self.client.client_id.clone(),
            software: self.client.software.clone(),
            peer: self.connection.peer().to_string(),
            in_flight_bytes: self.in_flight_bytes,
            pending_bytes: self.connection.pending_bytes(),
            sent: self.sent,
        }
    }
}

impl Receive<Appended> for ProducerSession {
    fn receive(&mut self, mut appended: Appended, _ctx: &mut Ctx<'_, Self>) {
        for request in &appended.requests {
            self.answer(request);
        }
        self.sent += appended.requests.len() as u64;
        self.in_flight_bytes -= appended.in_flight_bytes;
        self.context.credits.give_back(appended.in_flight_bytes);
        appended.requests.clear();
        if self.spare.len() < 4 {
            self.spare.push((appended.requests, appended.messages));
        }
    }
}

impl Drop for ProducerSession {
    fn drop(&mut self) {
        self.leave_producers();
        self.leave_requesters();
        self.context.credits.give_back(self.in_flight_bytes);
    }
}
