//! Requests and replies: a responder's session hands a reply to its requester's, which pushes it and hears from its client
//! whether anybody waits for it.

use std::collections::BTreeMap;
use std::time::Duration;

use castmq_protocol::model::{
    PhysicalOffset, QueueOffset, keys, property_value, replace_properties, system_topics,
};
use castmq_protocol::native::request::SendReply;
use castmq_protocol::native::response::{PUSH, PushedReply};
use castmq_protocol::record::{Record, sys_flag};
use tokio::time::Instant;

use super::*;
use crate::delivery::registry::RegistryId;
use crate::delivery::requesters::PushReply;
use crate::names::shortened;
use crate::supervision::{Lost, Reply};

/// How long a requester may take to say whether it waits for a reply (RocketMQ's brokers wait as long).
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// Replies that a requester may have been pushed without saying anything to them.
const MAX_UNCONFIRMED: usize = 1024;

/// The only queue of the topic in which replies are stored.
const QUEUE: QueueId = QueueId(0);

/// Bits of a reply's flags that are not the broker's.
const SENT_FLAGS: i32 = sys_flag::COMPRESSED | sys_flag::COMPRESSION_MASK;

/// Letters of a client id, or a request's id, that errors show: longer than any that was made by a client.
const SHOWN_LETTERS: usize = 128;

/// What a session that takes replies has pushed.
pub(super) struct TakesReplies {
    id: RegistryId,
    next: u64,
    /// By number, so the oldest first.
    unconfirmed: BTreeMap<u64, Unconfirmed>,
    /// Whether it will be looked which of them are too old.
    is_watched: bool,
}

struct Unconfirmed {
    until: Instant,
    outcome: Reply<Result<(), Refusal>>,
}

/// It is known what became of a reply.
#[derive(Debug)]
struct Replied {
    correlation: u64,
    in_flight_bytes: u64,
    outcome: Result<Result<(), Refusal>, Lost>,
}

fn not_awaited(message: impl Into<String>) -> Refusal {
    Refusal::never(ErrorCode::ReplyNotAwaited, message)
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::never(ErrorCode::InvalidRequest, message)
}

impl ProducerSession {
    /// From now on replies to the client's requests come here.
    pub(super) fn take_replies(&mut self, correlation: u64, ctx: &Ctx<'_, Self>) {
        if self.replies.is_none() {
            let requesters = &self.context.requesters;
            self.replies = Some(Box::new(TakesReplies {
                id: requesters.add(self.client.client_id.clone(), ctx.me().mailbox()),
                next: 1,
                unconfirmed: BTreeMap::new(),
                is_watched: false,
            }));
        }
        self.connection.answer(correlation, Response::Done);
    }

    pub(super) fn leave_requesters(&mut self) {
        if let Some(replies) = self.replies.take() {
            let requesters = &self.context.requesters;
            requesters.remove(self.client.client_id.as_str(), replies.id);
        }
    }

    /// Hands a reply to its requester, and stores it where that is wanted.
    pub(super) fn send_reply(
        &mut self,
        correlation: u64,
        reply: &SendReply,
        payload: Payload<'_>,
        batch: &mut Collected,
        ctx: &Ctx<'_, Self>,
    ) -> Result<(), Refusal> {
        let (properties, body) = payload.split(reply.properties_bytes)?;
        let now_ms = self.context.clock.now_ms().to_string();
        let pushed = replace_properties(properties, &[(keys::PUSH_REPLY_TIME, Some(&now_ms))]);
        self.check_sizes(&pushed, body)?;
        let named = |name| {
            property_value(properties, name).ok_or_else(|| {
                invalid(format!(
                    "a reply needs the property {name}: copy it from the request"
                ))
            })
        };
        let request = named(keys::CORRELATION_ID)?;
        let client_id = named(keys::REPLY_TO_CLIENT)?;
        let topic = system_topics::replies(&self.context.settings.broker.cluster_name);
        let body_crc = body_crc(body);
        // Whatever becomes of it: RocketMQ keeps those that nobody waits for, too.
        self.store_reply(&topic, reply, payload, body_crc, batch);
        let requester = self.context.requesters.find(client_id).ok_or_else(|| {
            not_awaited(format!(
                "client {} is not connected to take the reply to request {}: it is gone, or never asked",
                shortened(client_id, SHOWN_LETTERS),
                shortened(request, SHOWN_LETTERS)
            ))
        })?;
        let record = Record {
            topic: &topic,
            queue: QUEUE,
            queue_offset: QueueOffset::ZERO,
            physical_offset: PhysicalOffset::ZERO,
            flag: reply.flag,
            sys_flag: reply.sys_flag & SENT_FLAGS,
            born_timestamp_ms: reply.born_timestamp_ms,
            born_host: self.connection.peer(),
            store_timestamp_ms: self.context.clock.now_ms(),
            store_host: self.context.store_host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            body_crc,
            properties: &pushed,
        };
        let mut encoded = vec![0; record.encoded_bytes()];
        record.encode(&mut encoded);
        let in_flight_bytes = encoded.len() as u64;
        self.in_flight_bytes += in_flight_bytes;
        self.context.credits.take(in_flight_bytes);
        self.announcing += 1;
        // One that is not taken comes back as lost.
        requester.tell(PushReply {
            record: encoded.into(),
            outcome: Reply::to_mailbox(ctx.me().mailbox(), move |outcome| Replied {
                correlation,
                in_flight_bytes,
                outcome,
            }),
        });
        Ok(())
    }

    fn store_reply(
        &self,
        topic: &str,
        reply: &SendReply,
        payload: Payload<'_>,
        body_crc: u32,
        batch: &mut Collected,
    ) {
        let topics = &self.context.topics;
        let is_stored = self.context.settings.broker.store_replies;
        let topic = is_stored.then(|| topics.find(topic)).flatten();
        let topic = topic.filter(|topic| topic.check_write(Some(QUEUE)).is_ok());
        // A requester gets its reply when the disk is full, too.
        let (Some(topic), Ok(())) = (topic, self.context.check_writes()) else {
            return;
        };
        let middle = payload.start + reply.properties_bytes;
        let end = payload.start + payload.bytes.len() as u32;
        batch.messages.push(AppendMessage {
            flag: reply.flag,
            properties: payload.start..middle,
            body: middle..end,
            body_crc,
        });
        batch.requests.push(AppendRequest {
            is_one_way: true,
            sys_flag: reply.sys_flag & SENT_FLAGS,
            born_timestamp_ms: reply.born_timestamp_ms,
            ..AppendRequest::new(0, topic.id, Some(QUEUE))
        });
    }

    /// The client has said whether it waited for a reply. What it says of one that it never got, or too late, changes
    /// nothing.
    pub(super) fn reply_taken(&mut self, number: u64, is_awaited: bool) {
        let replies = self.replies.as_mut();
        let Some(pushed) = replies.and_then(|replies| replies.unconfirmed.remove(&number)) else {
            return;
        };
        pushed.outcome.send(match is_awaited {
            true => Ok(()),
            false => Err(not_awaited(format!(
                "client {} waits for no such reply: its time was over, or it never asked",
                self.client.client_id
            ))),
        });
    }

    /// Gives up on replies to which the client said nothing for too long.
    fn expire_replies(&mut self, ctx: &mut Ctx<'_, Self>) {
        let Some(replies) = &mut self.replies else {
            return;
        };
        let now = Instant::now();
        while let Some(first) = replies.unconfirmed.first_entry() {
            let until = first.get().until;
            if until > now {
                let wait = until.duration_since(now);
                ctx.after(wait, |session, ctx| session.expire_replies(ctx));
                return;
            }
            first.remove().outcome.send(Err(Refusal::unknown(
                ErrorCode::ReplyNotAwaited,
                format!(
                    "client {} did not say within {CONFIRM_TIMEOUT:?} whether it waits for the reply",
                    self.client.client_id
                ),
            )));
        }
        replies.is_watched = false;
    }
}

impl Receive<PushReply> for ProducerSession {
    fn receive(&mut self, push: PushReply, ctx: &mut Ctx<'_, Self>) {
        let PushReply { record, outcome } = push;
        let Some(replies) = &mut self.replies else {
            return;
        };
        let is_slow = self.connection.pending_bytes() >= MAX_PENDING_BYTES
            || replies.unconfirmed.len() >= MAX_UNCONFIRMED;
        if is_slow {
            outcome.send(Err(Refusal::safe(
                ErrorCode::Busy,
                format!(
                    "client {} does not take its replies as fast as they come: reply again in a while",
                    self.client.client_id
                ),
            )));
            return;
        }
        let number = replies.next;
        replies.next += 1;
        let until = Instant::now() + CONFIRM_TIMEOUT;
        let unconfirmed = Unconfirmed { until, outcome };
        replies.unconfirmed.insert(number, unconfirmed);
        if !replies.is_watched {
            replies.is_watched = true;
            ctx.after(CONFIRM_TIMEOUT, |session, ctx| session.expire_replies(ctx));
        }
        let pushed = Response::Reply(PushedReply { number });
        self.connection.answer_with(PUSH, pushed, &record);
    }
}

impl Receive<Replied> for ProducerSession {
    fn receive(&mut self, replied: Replied, _ctx: &mut Ctx<'_, Self>) {
        self.announcing -= 1;
        self.in_flight_bytes -= replied.in_flight_bytes;
        self.context.credits.give_back(replied.in_flight_bytes);
        let correlation = replied.correlation;
        match replied.outcome {
            Ok(Ok(())) => self.connection.answer(correlation, Response::Done),
            Ok(Err(refusal)) => self.connection.fail(correlation, refusal),
            Err(Lost) => self.connection.fail(
                correlation,
                Refusal::unknown(
                    ErrorCode::ReplyNotAwaited,
                    "the requester's connection ended before it said whether it waits for the reply",
                ),
            ),
        }
    }
}
