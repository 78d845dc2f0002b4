//! producer-session: one producer's connection. It turns what a read brought into one batch for the log-writer, and the
//! batch's outcomes into one write ([`sending`](super::sending)).
//!
//! - `replies`: requests and replies; `ending`: transactions and those who have them.

mod ending;
mod replies;

use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use castmq_protocol::native::frame::{Frames, decode_header};
use castmq_protocol::native::request::{ANY_QUEUE, Send, SendBatch, send_flags};
use castmq_protocol::native::response::{BatchSent, Sent};
use castmq_protocol::native::{ClientHeader, ErrorCode, Failure as Refusal, Request, Response};
use serde::Serialize;

use self::ending::Producing;
use self::replies::TakesReplies;
use super::aliases::{Aliases, MAX_ALIASES};
use super::announce::ensure_topic;
use super::connection::{Connection, Session, attach};
use super::greeting::Client;
use super::sending::{Collected, HalfMessages, Payload, Properties, Sending, Told, Wishes};
use crate::broker::context::BrokerContext;
use crate::broker::topics::Topic;
use crate::delivery::transactions::Ending;
use crate::storage::append::{AppendRequest, Appended, Outcome, Stored};
use crate::supervision::{Cast, Ctx, Failure, Receive};

/// A session with more than this waiting to be written reads no requests.
const MAX_PENDING_BYTES: usize = 4 * 1024 * 1024;

/// See the module.
pub(crate) struct ProducerSession {
    context: Arc<BrokerContext>,
    connection: Connection,
    client: Client,
    topics: Aliases<Arc<Topic>>,
    sending: Sending,
    /// Requests that others have in hand.
    announcing: usize,
    /// The producer group that it joined.
    producing: Option<Producing>,
    /// Once the client wants the replies to its requests here.
    replies: Option<Box<TakesReplies>>,
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
        Ok(Self {
            sending: Sending::new(context.clone(), connection.peer())?,
            connection,
            client,
            topics: Aliases::new("topic", MAX_ALIASES),
            announcing: 0,
            producing: None,
            replies: None,
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
            } => {
                let topic = self.topics.get(topic);
                let sending = &self.sending;
                topic.and_then(|topic| {
                    sending.cancel(correlation, topic, &unique_id, deliver_at_ms, batch)
                })
            }
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
        let (properties, body) = payload.split(send.properties_bytes)?;
        let middle = payload.start + send.properties_bytes;
        let wishes = send.extras.as_deref().map(Wishes::of).transpose()?;
        let told = Told {
            correlation,
            topic: self.topics.get(send.topic)?,
            queue: (send.queue != ANY_QUEUE).then_some(send.queue),
            is_one_way: send.flags & send_flags::ONE_WAY != 0,
            waits: send.flags & send_flags::NO_WAIT == 0,
            sys_flag: send.sys_flag,
            born_timestamp_ms: send.born_timestamp_ms,
            half: self.half_messages(),
        };
        let properties = Properties {
            bytes: properties,
            at: Some(payload.start..middle),
        };
        let body = (body, middle..middle + body.len() as u32);
        self.sending
            .collect(told, wishes.as_ref(), send.flag, properties, body, batch)
    }

    fn half_messages(&self) -> Option<&HalfMessages> {
        self.producing.as_ref().map(|producing| &producing.half)
    }

    fn collect_batch(
        &self,
        correlation: u64,
        send: &SendBatch,
        payload: Payload<'_>,
        batch: &mut Collected,
    ) -> Result<(), Refusal> {
        let wishes = send.extras.as_deref().map(Wishes::of).transpose()?;
        let wishes = wishes.unwrap_or_default();
        let told = Told {
            correlation,
            topic: self.topics.get(send.topic)?,
            queue: (send.queue != ANY_QUEUE).then_some(send.queue),
            is_one_way: send.flags & send_flags::ONE_WAY != 0,
            waits: send.flags & send_flags::NO_WAIT == 0,
            sys_flag: send.sys_flag,
            born_timestamp_ms: send.born_timestamp_ms,
            half: None,
        };
        self.sending
            .collect_batch(told, &wishes, payload, Some(send.messages), batch)
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
        self.connection.pending_bytes() < MAX_PENDING_BYTES && self.sending.has_room(cx)
    }

    fn is_owing(&self) -> bool {
        self.sending.in_flight_bytes() > 0 || self.announcing > 0
    }

    fn handle_frames(&mut self, buffer: Bytes, ctx: &mut Ctx<'_, Self>) -> Result<(), Refusal> {
        let mut collected = self.sending.begin(buffer.len());
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
        let session = ctx.me().mailbox();
        self.sending.submit(collected, buffer.clone(), session);
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
            in_flight_bytes: self.sending.in_flight_bytes(),
            pending_bytes: self.connection.pending_bytes(),
            sent: self.sending.sent(),
        }
    }
}

impl Receive<Appended> for ProducerSession {
    fn receive(&mut self, appended: Appended, _ctx: &mut Ctx<'_, Self>) {
        for request in &appended.requests {
            self.answer(request);
        }
        self.sending.came_back(appended);
    }
}

impl Drop for ProducerSession {
    fn drop(&mut self) {
        self.leave_producers();
        self.leave_requesters();
    }
}
