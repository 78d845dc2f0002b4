//! Requests and replies: a responder's session hands a reply to its requester's, which pushes it and hears from its client
//! whether anybody waits for it.

use std::collections::BTreeMap;
use std::time::Duration;

use castmq_protocol::native::request::SendReply;
use castmq_protocol::native::response::{PUSH, PushedReply};
use tokio::time::Instant;

use super::*;
use crate::delivery::registry::RegistryId;
use crate::delivery::requesters::PushReply;
use crate::network::replying::{Replying, not_awaited};
use crate::supervision::{Lost, Reply};

/// How long a requester may take to say whether it waits for a reply (RocketMQ's brokers wait as long).
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// Replies that a requester may have been pushed without saying anything to them.
const MAX_UNCONFIRMED: usize = 1024;

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
        let reply = Replying {
            flag: reply.flag,
            sys_flag: reply.sys_flag,
            born_timestamp_ms: reply.born_timestamp_ms,
            properties,
            body,
        };
        reply.check(&self.sending)?;
        let middle = payload.start + properties.len() as u32;
        let all = payload.range();
        reply.store(&self.context, all.start..middle, middle..all.end, batch);
        let peer = self.connection.peer();
        let (requester, encoded) = reply.for_requester(&self.context, peer, &self.sending)?;
        let in_flight_bytes = encoded.len() as u64;
        self.sending.take(in_flight_bytes);
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
        self.sending.give_back(replied.in_flight_bytes);
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
