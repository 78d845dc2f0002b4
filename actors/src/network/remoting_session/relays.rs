//! What one client asks of another: a broker passes the request on, and the answer back. Replies to requests go the same way.

use std::time::Duration;

use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_protocol::record::{MessageId, RecordView};
use castmq_protocol::remoting::bodies::offset::ConsumerStatus as ConsumerStatusBody;
use castmq_protocol::remoting::headers::membership::{
    ConsumeDirectly, ConsumerRunningInfo, ConsumerStatus,
};
use castmq_protocol::remoting::headers::send::PushReply as PushReplyFields;
use castmq_protocol::remoting::json::from_slice;
use castmq_protocol::remoting::{Fields, Head, ReadFields, codes::version, response_code};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::*;
use crate::delivery::client_groups::{ClientMember, Relay, Relayed};
use crate::delivery::requesters::PushReply;
use crate::names::shortened;
use crate::network::remoting::json;
use crate::supervision::{Lost, Receive, Reply};

/// How long a client may take for an answer (RocketMQ's brokers wait as long).
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Questions that a client may have been asked without answering.
const MAX_UNANSWERED: usize = 1024;

/// A question that the client has not answered yet.
pub(super) struct Unanswered {
    until: Instant,
    whose: Whose,
}

enum Whose {
    /// Another client's.
    Relayed(Reply<Relayed>),
    /// Whether a reply was waited for.
    Replied(Reply<Result<(), Refusal>>),
}

impl RemotingSession {
    pub(super) fn running_info(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let info = ConsumerRunningInfo::from_fields(&asked.command.fields)?;
        self.relay(asked, info.group, info.client_id, Bytes::new(), ctx)
    }

    /// Has a client process one message.
    pub(super) fn consume_directly(
        &mut self,
        asked: &Asked<'_>,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let consume = ConsumeDirectly::from_fields(&asked.command.fields)?;
        let id = consume
            .message_id
            .and_then(|id| id.parse::<MessageId>().ok());
        let record = id.and_then(|id| self.context.store.log.record(id.physical_offset));
        let record = record.ok_or_else(|| {
            let id = shortened(consume.message_id.unwrap_or_default(), 128);
            Refused::new(
                response_code::SYSTEM_ERROR,
                format!("there is no message {id}"),
            )
        })?;
        let body = Bytes::copy_from_slice(record.as_ref());
        let client_id = consume.client_id.unwrap_or_default();
        self.relay(asked, consume.group, client_id, body, ctx)
    }

    /// Asks members of a group how far they are in a topic, by their own account: all of them, or one.
    pub(super) fn consumer_status(
        &mut self,
        asked: &Asked<'_>,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let of = ConsumerStatus::from_fields(&asked.command.fields)?;
        let wanted = of.client_id.filter(|id| !id.trim().is_empty());
        let mut members = self.context.client_groups.members(of.group);
        if members.is_empty() {
            return Err(Refused::new(
                response_code::SYSTEM_ERROR,
                format!(
                    "No Any Consumer online in the consumer group: [{}]",
                    shortened(of.group, 128)
                ),
            ));
        }
        members.retain(|member| wanted.is_none_or(|id| member.client_id == id));
        let mut fields = Fields::new();
        fields.push("topic", of.topic.to_owned());
        fields.push("group", of.group.to_owned());
        let answers = members.into_iter().map(|member| {
            let code = request_code::GET_CONSUMER_STATUS_FROM_CLIENT;
            let answered = ask(&member, code, fields.clone(), Bytes::new());
            async move { (member.client_id, answered.await) }
        });
        let answers: Vec<_> = answers.collect();
        let all = async move {
            let mut status = ConsumerStatusBody::default();
            // All have been asked by now; each has its own time to answer.
            for answered in answers {
                // A client that does not answer is left out.
                if let (client_id, Ok(relayed)) = answered.await
                    && relayed.code == response_code::SUCCESS
                    && let Ok(told) = from_slice::<ConsumerStatusBody>(&relayed.body)
                {
                    status.clients.insert(client_id, told.queues);
                }
            }
            Ok(status)
        };
        let asker = asked.asker;
        let respond =
            move |session: &mut Self, status: ConsumerStatusBody, _: &mut Ctx<'_, Self>| {
                session.connection.respond(asker, &(), &json(&status));
                Ok(())
            };
        self.then(asker, all, respond, ctx);
        Ok(())
    }

    /// Passes a request on to a member of a group, and its answer back.
    fn relay(
        &mut self,
        asked: &Asked<'_>,
        group: &str,
        client_id: &str,
        body: Bytes,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let members = self.context.client_groups.members(group);
        let member = members
            .into_iter()
            .find(|member| member.client_id == client_id);
        let member = member.ok_or_else(|| {
            let shown = |text| shortened(text, 128);
            Refused::new(
                response_code::SYSTEM_ERROR,
                format!(
                    "The Consumer <{}> <{}> not online",
                    shown(group),
                    shown(client_id)
                ),
            )
        })?;
        if member.version < version::V3_1_8_SNAPSHOT {
            return Err(Refused::new(
                response_code::SYSTEM_ERROR,
                format!(
                    "The Consumer <{}> Version <{}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT",
                    member.client_id,
                    version::name(member.version)
                ),
            ));
        }
        let fields = asked.command.fields.clone().into_owned();
        let answered = ask(&member, asked.command.code, fields, body);
        let asker = asked.asker;
        self.under_way += 1;
        ctx.then(answered, move |session, answered, _| {
            session.under_way -= 1;
            match answered {
                Ok(relayed) => {
                    let said = (relayed.code, relayed.remark.as_deref());
                    let connection = &mut session.connection;
                    connection.respond_as(asker, said, &relayed.fields, &relayed.body);
                }
                _ => {
                    let refused = Refused::new(
                        response_code::CONSUME_MSG_TIMEOUT,
                        format!("the client did not answer within {ANSWER_WITHIN:?}, or is gone"),
                    );
                    session.connection.refuse(asker, &refused);
                }
            }
        });
        Ok(())
    }

    fn ask_client(&mut self, whose: Whose) -> Option<i32> {
        if self.unanswered.len() >= MAX_UNANSWERED {
            // Dropped, it says that there is no answer.
            return None;
        }
        let opaque = self.opaque();
        let until = Instant::now() + ANSWER_WITHIN;
        self.unanswered.insert(opaque, Unanswered { until, whose });
        Some(opaque)
    }

    /// The client has answered what it was asked.
    pub(super) fn answered(&mut self, command: &Command<'_>, body: &[u8]) {
        let Some(Unanswered { whose, .. }) = self.unanswered.remove(&command.opaque) else {
            return;
        };
        match whose {
            Whose::Relayed(reply) => reply.send(Relayed {
                code: command.code,
                remark: command.remark.as_deref().map(str::to_owned),
                fields: command.fields.clone().into_owned(),
                body: Bytes::copy_from_slice(body),
            }),
            Whose::Replied(reply) => reply.send(match command.code {
                response_code::SUCCESS => Ok(()),
                _ => Err(Refusal::never(
                    ErrorCode::ReplyNotAwaited,
                    command
                        .remark
                        .as_deref()
                        .unwrap_or("the client takes no such reply"),
                )),
            }),
        }
    }

    /// Gives up on what the client did not answer in time.
    pub(super) fn forget_unanswered(&mut self) {
        let now = Instant::now();
        self.unanswered.retain(|_, question| question.until > now);
    }
}

/// Asks a client something. The request is on its way when this returns.
fn ask(
    member: &ClientMember,
    code: i32,
    fields: Fields<'static>,
    body: Bytes,
) -> oneshot::Receiver<Relayed> {
    let (sender, answered) = oneshot::channel();
    member.relays.tell(Relay {
        code,
        fields,
        body,
        reply: Reply::to_fn(move |relayed: Result<Relayed, Lost>| {
            if let Ok(relayed) = relayed {
                // Whoever asked may be gone.
                let _ = sender.send(relayed);
            }
        }),
    });
    answered
}

impl Receive<Relay> for RemotingSession {
    fn receive(&mut self, relay: Relay, _ctx: &mut Ctx<'_, Self>) {
        let Relay {
            code,
            fields,
            body,
            reply,
        } = relay;
        let fields: Fields<'static> = fields;
        if let Some(opaque) = self.ask_client(Whose::Relayed(reply)) {
            self.connection
                .push(&Head::request(code, opaque), &fields, &body);
        }
    }
}

impl Receive<PushReply> for RemotingSession {
    fn receive(&mut self, push: PushReply, _ctx: &mut Ctx<'_, Self>) {
        let PushReply { record, outcome } = push;
        let Ok(record) = RecordView::parse(&record) else {
            return;
        };
        let Some(opaque) = self.ask_client(Whose::Replied(outcome)) else {
            return;
        };
        let (born_host, store_host) = (record.born_host(), record.store_host());
        let (born_host, store_host) = (born_host.to_string(), store_host.to_string());
        let properties = String::from_utf8_lossy(record.properties());
        let fields = PushReplyFields {
            producer_group: "",
            topic: record.topic().unwrap_or_default(),
            default_topic: "",
            default_topic_queues: 0,
            queue: 0,
            sys_flag: record.sys_flag(),
            born_timestamp_ms: record.born_timestamp_ms(),
            flag: record.flag(),
            properties: Some(&properties),
            reconsume_times: Some(record.reconsume_times()),
            unit_mode: false,
            born_host: &born_host,
            store_host: &store_host,
            store_timestamp_ms: record.store_timestamp_ms(),
        };
        let head = Head::request(request_code::PUSH_REPLY_MESSAGE_TO_CLIENT, opaque);
        self.connection.push(&head, &fields, record.body());
    }
}
