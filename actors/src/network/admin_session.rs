//! admin-session: an operator's connection, or that of somebody who asks for routes on a broker.
//!
//! - `groups`: what is done with consumer groups.

mod groups;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use castmq_protocol::model::{GroupName, QueueId, QueueOffset, TopicName};
use castmq_protocol::native::admin::{
    AdminRequest, AdminResponse, QueueDetails, ResetTo, TopicDetails,
};
use castmq_protocol::native::request::{StartFrom, TopicQueue};
use castmq_protocol::native::{ClientHeader, ErrorCode, Failure as Refusal, Request, Response};
use castmq_storage::commit_log::LogSlice;
use castmq_storage::consume_queue::ConsumeQueue;
use castmq_storage::disk::Wait;
use serde::Serialize;

use self::groups::{clone_offsets, delete_group, put_group, reset_offsets, show_group};
use super::connection::{Connection, Session, attach, headers};
use super::greeting::Client;
use crate::broker::context::BrokerContext;
use crate::broker::details::broker_details;
use crate::broker::topics::Topic;
use crate::delivery::assignment::QueueKey;
use crate::delivery::cold_reader::{FindByKey, OffsetsAtTime};
use crate::delivery::consumer_group::{SetOffsets, ShowGroup};
use crate::metadata::actor::{DeleteGroup, DeleteTopic, PutGroup, PutTopic};
use crate::replication::promotion::promote;
use crate::supervision::{Cast, Ctx, Failure};

/// Most messages that one query by key gives.
const MAX_FOUND: u32 = 64;

/// Requests that may be under way at once.
const MAX_UNDER_WAY: usize = 64;

type Answered = Result<(AdminResponse, Vec<LogSlice>), Refusal>;

/// See the module.
pub(crate) struct AdminSession {
    context: Arc<BrokerContext>,
    connection: Connection,
    client: Client,
    under_way: usize,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct AdminSessionState {
    client_id: String,
    software: String,
    peer: String,
    under_way: usize,
}

impl AdminSession {
    pub(crate) fn new(context: Arc<BrokerContext>, connection: Connection, client: Client) -> Self {
        Self {
            context,
            connection,
            client,
            under_way: 0,
        }
    }

    fn handle(&mut self, header: ClientHeader, ctx: &mut Ctx<'_, Self>) {
        let correlation = header.correlation;
        match header.request {
            Request::Heartbeat => self.connection.answer(correlation, Response::Done),
            Request::Admin(request) => {
                self.under_way += 1;
                let answer = answer(self.context.clone(), request);
                ctx.then(answer, move |session, answered, _| {
                    session.under_way -= 1;
                    session.answered(correlation, answered);
                });
            }
            _ => self.connection.fail(correlation, self.client.wrong_role()),
        }
    }

    fn answered(&mut self, correlation: u64, answered: Option<Answered>) {
        match answered {
            None => self.connection.answer(correlation, Response::Done),
            Some(Ok((response, records))) => {
                self.connection
                    .answer_with_log(correlation, Response::Admin(response), records);
            }
            Some(Err(refusal)) => self.connection.fail(correlation, refusal),
        }
    }
}

/// Carries out a request; `None` when there is nothing more to say than that it is done.
pub(crate) async fn answer(context: Arc<BrokerContext>, request: AdminRequest) -> Option<Answered> {
    let plain = |result: Result<AdminResponse, Refusal>| Some(result.map(|r| (r, Vec::new())));
    match request {
        AdminRequest::PutTopic {
            topic,
            config,
            only_new,
        } => {
            let put = PutTopic {
                topic,
                config,
                only_new,
            };
            done(put_topic(&context, put).await)
        }
        AdminRequest::DeleteTopic { topic } => done(delete_topic(&context, topic).await),
        AdminRequest::ListTopics => {
            let names = context.topics.names();
            plain(Ok(AdminResponse::Names(texts(&names))))
        }
        AdminRequest::ShowTopic { topic } => {
            plain(find_topic(&context, &topic).map(|topic| show_topic(&context, &topic)))
        }
        AdminRequest::PutGroup { group, config } => {
            let put = PutGroup { group, config };
            done(put_group(&context, put).await)
        }
        AdminRequest::ListGroups => {
            let names = context.groups.names();
            plain(Ok(AdminResponse::Names(texts(&names))))
        }
        AdminRequest::ShowGroup { group } => plain(show_group(&context, &group).await),
        AdminRequest::ResetOffsets {
            group,
            topic,
            queue,
            to,
        } => {
            let topic = find_topic(&context, &topic);
            match topic.and_then(|topic| chosen_queues(&topic, queue)) {
                Ok(queues) => plain(reset_offsets(&context, &group, queues, to).await),
                Err(refusal) => Some(Err(refusal)),
            }
        }
        AdminRequest::CloneOffsets { group, from, topic } => {
            plain(clone_offsets(&context, &group, &from, topic.as_deref()).await)
        }
        AdminRequest::DeleteGroup { group, with_topics } => {
            done(delete_group(&context, &group, with_topics).await)
        }
        AdminRequest::ListBrokers => plain(Err(Refusal::never(
            ErrorCode::WrongRole,
            "brokers are known to name servers: ask one of those",
        ))),
        AdminRequest::ShowBroker => {
            let details = broker_details(&context);
            plain(Ok(AdminResponse::Broker(Box::new(details))))
        }
        AdminRequest::MessageAt { physical_offset } => {
            let record = context.store.log.record(physical_offset);
            Some(match record {
                Some(record) => Ok((AdminResponse::Messages { count: 1 }, vec![record])),
                None => Err(Refusal::never(
                    ErrorCode::MessageNotFound,
                    format!("no message begins at log position {physical_offset}"),
                )),
            })
        }
        AdminRequest::MessagesByKey {
            topic,
            key,
            max,
            begin_ms,
            end_ms,
        } => {
            let question = FindByKey {
                topic,
                key,
                max: max.clamp(1, MAX_FOUND),
                begin_ms,
                end_ms,
            };
            Some(find_by_key(&context, question).await)
        }
        AdminRequest::PromoteBroker { force } => {
            let promoted = promote(&context, force).await;
            plain(promoted.map(|epoch| AdminResponse::Promoted { epoch }))
        }
        AdminRequest::Actors => plain(actors(&context).await),
        AdminRequest::ListConnections => plain(Err(Refusal::never(
            ErrorCode::NotSupported,
            "connections are shown in the tree of actors",
        ))),
    }
}

fn texts(names: &[impl ToString]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn done(result: Result<(), Refusal>) -> Option<Answered> {
    result.err().map(Err)
}

fn lost(error: impl std::fmt::Display) -> Refusal {
    Refusal::unknown(ErrorCode::OutcomeUnknown, error.to_string())
}

async fn put_topic(context: &BrokerContext, put: PutTopic) -> Result<(), Refusal> {
    let answer = context.metadata()?.ask(put).await;
    answer.map_err(lost)?.map(drop)
}

async fn delete_topic(context: &BrokerContext, topic: String) -> Result<(), Refusal> {
    let answer = context.metadata()?.ask(DeleteTopic { topic }).await;
    answer.map_err(lost)?
}

fn find_topic(context: &BrokerContext, name: &str) -> Result<Arc<Topic>, Refusal> {
    context.topics.find(name).ok_or_else(|| {
        Refusal::never(
            ErrorCode::TopicNotFound,
            format!("topic {name} does not exist on this broker"),
        )
    })
}

fn queue_keys(topic: &Topic) -> Vec<QueueKey> {
    let count = topic.config().queues();
    (0..count)
        .map(|queue| (topic.name.clone(), QueueId(queue)))
        .collect()
}

/// One queue of a topic, or all.
fn chosen_queues(topic: &Topic, queue: Option<QueueId>) -> Result<Vec<QueueKey>, Refusal> {
    let count = topic.config().queues();
    match queue {
        None => Ok(queue_keys(topic)),
        Some(queue) if queue.0 < count => Ok(vec![(topic.name.clone(), queue)]),
        Some(queue) => Err(Refusal::never(
            ErrorCode::QueueOutOfRange,
            format!(
                "topic {} has no queue {queue}: it has {count}, counted from 0",
                topic.name
            ),
        )),
    }
}

fn show_topic(context: &BrokerContext, topic: &Topic) -> AdminResponse {
    let details = |(name, id): QueueKey| {
        let queue = context.store.queues.find(name.as_str(), id);
        let stored = queue
            .as_ref()
            .and_then(|queue| last_stored_ms(context, queue));
        QueueDetails {
            queue: id,
            min_offset: queue.as_ref().map_or(QueueOffset::ZERO, |q| q.min_offset()),
            max_offset: queue.as_ref().map_or(QueueOffset::ZERO, |q| q.max_offset()),
            last_store_timestamp_ms: stored.unwrap_or_default(),
        }
    };
    AdminResponse::Topic(TopicDetails {
        config: topic.config(),
        queues: queue_keys(topic).into_iter().map(details).collect(),
    })
}

/// When a queue's last message was stored, if that can be told without waiting for the disk.
fn last_stored_ms(context: &BrokerContext, queue: &ConsumeQueue) -> Option<i64> {
    let last = QueueOffset(queue.max_offset().0.checked_sub(1)?);
    let mut units = Vec::new();
    queue.read(last, 1, Wait::Never, &mut units).ok()?;
    context
        .store
        .log
        .store_timestamp_ms(units.first()?.physical)
}

async fn find_by_key(context: &BrokerContext, question: FindByKey) -> Answered {
    let answer = context.cold_reader()?.ask(question).await;
    let records = answer.map_err(lost)?.map_err(|e| context.internal(e))?;
    let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
    Ok((AdminResponse::Messages { count }, records))
}

async fn actors(context: &BrokerContext) -> Result<AdminResponse, Refusal> {
    let tree = context
        .tree
        .get()
        .ok_or_else(|| context.internal("the tree is not complete yet"))?;
    let snapshot = tree.snapshot().await;
    let json = serde_json::to_string(&snapshot).map_err(|error| context.internal(error))?;
    Ok(AdminResponse::Json(json))
}

impl Session for AdminSession {
    fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    fn may_read(&self, _cx: &mut Context<'_>) -> bool {
        self.under_way < MAX_UNDER_WAY
    }

    fn is_owing(&self) -> bool {
        self.under_way > 0
    }

    fn handle_frames(&mut self, buffer: Bytes, ctx: &mut Ctx<'_, Self>) -> Result<(), Refusal> {
        for header in headers(&buffer) {
            self.handle(header?, ctx);
        }
        Ok(())
    }
}

impl Cast for AdminSession {
    type State = AdminSessionState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        attach(ctx, self.context.idle_timeout());
        Ok(())
    }

    fn stopping(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.connection
            .say_goodbye(self.context.goodbye(), ctx.hold());
    }

    fn observe(&self) -> AdminSessionState {
        AdminSessionState {
            client_id: self.client.client_id.clone(),
            software: self.client.software.clone(),
            peer: self.connection.peer().to_string(),
            under_way: self.under_way,
        }
    }
}
