//! consumer-session: one consumer's connection. It asks queues for messages as far as the client's credit goes, and
//! speaks for the client in its groups.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use castmq_protocol::model::{GroupName, QueueId, QueueOffset, TopicName};
use castmq_protocol::native::request::{
    Filter, GroupAlias, JoinGroup, Pull, QueuePosition, Subscribe, TopicQueue,
};
use castmq_protocol::native::response::{
    AssignedQueue, AssignmentChanged, Deliver, Joined, PUSH, Pulled, QueueRange,
};
use castmq_protocol::native::{ClientHeader, ErrorCode, Failure as Refusal, Request, Response};
use serde::Serialize;
use tokio::time::Instant;

use super::aliases::{Aliases, MAX_ALIASES};
use super::announce::{ensure_group, ensure_topic};
use super::connection::{Connection, Session, attach, headers};
use super::greeting::Client;
use super::membership::{MembershipLost, Memberships};
use crate::broker::context::BrokerContext;
use crate::broker::topics::Topic;
use crate::delivery::assignment::QueueKey;
use crate::delivery::cold_reader::OffsetsAtTime;
use crate::delivery::consumer_group::{Change, Commit, LEASE, Leave, Release};
use crate::delivery::fetch::{Fetch, Fetched, Patience};
use crate::supervision::{Cast, Ctx, Failure, Lost, Receive, Reply};

/// Most bytes asked for at once.
const FETCH_BYTES: u32 = 256 * 1024;

/// With more than this waiting to be written nothing is fetched: a slow consumer costs little memory.
const MAX_PENDING_BYTES: usize = 1024 * 1024;

/// A fetch whose queue failed is tried again after this time.
const RETRY: Duration = Duration::from_millis(20);

/// Subscriptions and waiting pulls of one connection.
const MAX_SUBSCRIPTIONS: usize = 65_536;

/// A subscription's fetch came back.
#[derive(Debug)]
struct Delivered {
    subscription: u32,
    /// Told apart from one that had the same number before.
    epoch: u64,
    fetched: Result<Fetched, Lost>,
}

/// A pull that is owed an answer.
#[derive(Debug, Clone)]
struct WaitingPull {
    correlation: u64,
    key: QueueKey,
    offset: QueueOffset,
    max_messages: u32,
    max_bytes: u32,
    patience: Patience,
}

/// A pull's fetch came back.
#[derive(Debug)]
struct PullDone {
    pull: WaitingPull,
    fetched: Result<Fetched, Lost>,
}

struct Subscription {
    epoch: u64,
    topic: Arc<Topic>,
    queue: QueueId,
    offset: QueueOffset,
    credit_messages: u64,
    /// Below zero when one message was larger than the credit left.
    credit_bytes: i64,
    is_fetching: bool,
}

impl Subscription {
    fn has_credit(&self) -> bool {
        self.credit_messages > 0 && self.credit_bytes > 0
    }
}

/// See the module.
pub(crate) struct ConsumerSession {
    context: Arc<BrokerContext>,
    connection: Connection,
    client: Client,
    topics: Aliases<Arc<Topic>>,
    groups: Aliases<GroupName>,
    memberships: Memberships,
    subscriptions: HashMap<u32, Subscription>,
    next_epoch: u64,
    waiting_pulls: usize,
    /// Those of them whose messages would not fit what waits to be written: they are fetched again when it is.
    held_pulls: VecDeque<WaitingPull>,
    announcing: usize,
    /// Subscriptions that stand still because too much waits to be written.
    is_held_back: bool,
    delivered: u64,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct ConsumerSessionState {
    client_id: String,
    software: String,
    peer: String,
    subscriptions: usize,
    waiting_pulls: usize,
    pending_bytes: usize,
    delivered: u64,
}

impl ConsumerSession {
    pub(crate) fn new(
        context: Arc<BrokerContext>,
        connection: Connection,
        client: Client,
    ) -> Result<Self, Failure> {
        Ok(Self {
            connection,
            topics: Aliases::new("topic", MAX_ALIASES),
            groups: Aliases::new("group", MAX_ALIASES),
            memberships: Memberships::new(context.clone(), &client),
            client,
            subscriptions: HashMap::new(),
            next_epoch: 0,
            waiting_pulls: 0,
            held_pulls: VecDeque::new(),
            announcing: 0,
            is_held_back: false,
            delivered: 0,
            context,
        })
    }

    fn handle(&mut self, header: ClientHeader, ctx: &mut Ctx<'_, Self>) {
        let correlation = header.correlation;
        let answer = match header.request {
            Request::Credit {
                subscription,
                messages,
                bytes,
            } => {
                self.add_credit(subscription, messages, bytes, ctx);
                return;
            }
            Request::Heartbeat => Ok(Some(Response::Done)),
            Request::AnnounceTopic { alias, topic } => {
                self.announce_topic(correlation, alias, topic, ctx)
            }
            Request::AnnounceGroup { alias, group } => {
                self.announce_group(correlation, alias, group, ctx)
            }
            Request::Subscribe(subscribe) => self.subscribe(correlation, &subscribe, ctx),
            Request::Unsubscribe { subscription } => {
                self.subscriptions.remove(&subscription);
                Ok(Some(Response::Done))
            }
            Request::Pull(pull) => self.pull(correlation, &pull, ctx),
            Request::CommitOffsets { group, offsets } => {
                self.commit(correlation, group, &offsets, ctx)
            }
            Request::QueryOffset {
                group,
                topic,
                queue,
            } => self.query_offset(group, topic, queue),
            Request::QueueRange { topic, queue } => self.queue_range(topic, queue),
            Request::OffsetAtTime {
                topic,
                queue,
                timestamp_ms,
            } => self.offset_at_time(correlation, topic, queue, timestamp_ms, ctx),
            Request::JoinGroup(join) => self.join(correlation, join, ctx),
            Request::LeaveGroup { group } => self.leave(group),
            Request::ReleaseQueues { group, queues } => self.release(group, &queues),
            _ => Err(self.client.wrong_role()),
        };
        match answer {
            Ok(Some(response)) => self.connection.answer(correlation, response),
            Ok(None) => {}
            Err(refusal) => self.connection.fail(correlation, refusal),
        }
    }

    fn announce_topic(
        &mut self,
        correlation: u64,
        alias: u32,
        topic: String,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Option<Response>, Refusal> {
        self.topics.check(alias)?;
        let ensured = ensure_topic(&self.context, topic, &self.client)?;
        self.announcing += 1;
        ctx.then(ensured, move |session, ensured, _| {
            session.announcing -= 1;
            match ensured {
                Ok(topic) => {
                    let response = Response::TopicAnnounced {
                        alias,
                        write_queues: topic.write_queues(),
                        read_queues: topic.read_queues(),
                    };
                    session.topics.set(alias, topic);
                    session.connection.answer(correlation, response);
                }
                Err(refusal) => session.connection.fail(correlation, refusal),
            }
        });
        Ok(None)
    }

    fn announce_group(
        &mut self,
        correlation: u64,
        alias: u32,
        group: String,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Option<Response>, Refusal> {
        self.groups.check(alias)?;
        let ensured = ensure_group(&self.context, group, &self.client)?;
        self.announcing += 1;
        ctx.then(ensured, move |session, ensured, _| {
            session.announcing -= 1;
            match ensured {
                Ok(group) => {
                    session.groups.set(alias, group);
                    let response = Response::GroupAnnounced { alias };
                    session.connection.answer(correlation, response);
                }
                Err(refusal) => session.connection.fail(correlation, refusal),
            }
        });
        Ok(None)
    }

    fn readable(&self, topic: u32, queue: QueueId) -> Result<Arc<Topic>, Refusal> {
        let topic = self.topics.get(topic)?;
        topic.check_read(queue)?;
        Ok(topic.clone())
    }

    fn subscribe(
        &mut self,
        correlation: u64,
        subscribe: &Subscribe,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Option<Response>, Refusal> {
        self.groups.get(subscribe.group)?;
        check_filter(&subscribe.filter)?;
        let topic = self.readable(subscribe.topic, subscribe.queue)?;
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            return Err(Refusal::never(
                ErrorCode::LimitReached,
                format!("a connection may have {MAX_SUBSCRIPTIONS} subscriptions: use another"),
            ));
        }
        let range = self.range(&topic, subscribe.queue, subscribe.offset);
        self.next_epoch += 1;
        let subscription = Subscription {
            epoch: self.next_epoch,
            topic,
            queue: subscribe.queue,
            offset: range.offset,
            credit_messages: subscribe.credit_messages.into(),
            credit_bytes: subscribe.credit_bytes.into(),
            is_fetching: false,
        };
        self.subscriptions
            .insert(subscribe.subscription, subscription);
        // The answer goes before the first delivery.
        self.connection
            .answer(correlation, Response::Subscribed(range));
        self.fetch(subscribe.subscription, ctx);
        Ok(None)
    }

    /// A queue's offsets, and the one that is used when `offset` is asked for.
    fn range(&self, topic: &Topic, queue: QueueId, offset: QueueOffset) -> QueueRange {
        let found = self.context.store.queues.find(topic.name.as_str(), queue);
        let (min, max) = found.map_or((QueueOffset::ZERO, QueueOffset::ZERO), |queue| {
            (queue.min_offset(), queue.max_offset())
        });
        QueueRange {
            offset: offset.clamp(min, max.max(min)),
            min,
            max,
        }
    }

    fn add_credit(&mut self, id: u32, messages: u32, bytes: u32, ctx: &mut Ctx<'_, Self>) {
        if let Some(subscription) = self.subscriptions.get_mut(&id) {
            subscription.credit_messages += u64::from(messages);
            subscription.credit_bytes += i64::from(bytes);
            self.fetch(id, ctx);
        }
    }

    /// Asks a subscription's queue for as much as there is credit for.
    fn fetch(&mut self, id: u32, ctx: &mut Ctx<'_, Self>) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return;
        };
        if subscription.is_fetching || !subscription.has_credit() {
            return;
        }
        if self.connection.pending_bytes() >= MAX_PENDING_BYTES {
            self.is_held_back = true;
            return;
        }
        let epoch = subscription.epoch;
        let fetch = Fetch {
            offset: subscription.offset,
            max_messages: u32::try_from(subscription.credit_messages).unwrap_or(u32::MAX),
            max_bytes: u32::try_from(subscription.credit_bytes)
                .unwrap_or(FETCH_BYTES)
                .min(FETCH_BYTES),
            patience: Patience::Forever,
            reply: Reply::to_mailbox(ctx.me().mailbox(), move |fetched| Delivered {
                subscription: id,
                epoch,
                fetched,
            }),
        };
        let key = (subscription.topic.name.clone(), subscription.queue);
        subscription.is_fetching = true;
        match self.context.deliveries.wake(&self.context, &key) {
            // A fetch that is not taken comes back as lost.
            Ok(queue) => drop(queue.tell(fetch)),
            Err(failure) => ctx.fail(failure),
        }
    }

    fn deliver(&mut self, id: u32, fetched: Fetched, ctx: &mut Ctx<'_, Self>) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return;
        };
        subscription.offset = fetched.next_offset;
        let bytes: usize = fetched.records.iter().map(|record| record.len()).sum();
        let messages = u64::from(fetched.messages);
        subscription.credit_messages = subscription.credit_messages.saturating_sub(messages);
        subscription.credit_bytes -= i64::try_from(bytes).unwrap_or(i64::MAX);
        self.delivered += messages;
        self.context.meters.delivered(messages);
        let deliver = Response::Deliver(Deliver {
            subscription: id,
            messages: fetched.messages,
            next_offset: fetched.next_offset,
            max_offset: fetched.max_offset,
        });
        self.connection
            .answer_with_log(PUSH, deliver, fetched.records);
        self.fetch(id, ctx);
    }

    fn pull(
        &mut self,
        correlation: u64,
        pull: &Pull,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Option<Response>, Refusal> {
        check_filter(&pull.filter)?;
        let topic = self.readable(pull.topic, pull.queue)?;
        if self.waiting_pulls >= MAX_SUBSCRIPTIONS {
            return Err(Refusal::safe(
                ErrorCode::Busy,
                format!("{MAX_SUBSCRIPTIONS} pulls of this connection wait already: wait for some"),
            ));
        }
        let wait = Duration::from_millis(pull.wait_ms.into());
        let pull = WaitingPull {
            correlation,
            key: (topic.name.clone(), pull.queue),
            offset: pull.offset,
            max_messages: pull.max_messages,
            max_bytes: pull.max_bytes.min(self.context.limits.max_frame_bytes / 2),
            patience: if wait.is_zero() {
                Patience::None
            } else {
                Patience::Until(Instant::now() + wait)
            },
        };
        self.waiting_pulls += 1;
        self.fetch_for_pull(pull, ctx);
        Ok(None)
    }

    fn fetch_for_pull(&mut self, pull: WaitingPull, ctx: &mut Ctx<'_, Self>) {
        let queue = self.context.deliveries.wake(&self.context, &pull.key);
        let fetch = Fetch {
            offset: pull.offset,
            max_messages: pull.max_messages,
            max_bytes: pull.max_bytes,
            patience: pull.patience,
            reply: Reply::to_mailbox(ctx.me().mailbox(), move |fetched| PullDone {
                pull,
                fetched,
            }),
        };
        match queue {
            // A fetch that is not taken comes back as lost.
            Ok(queue) => drop(queue.tell(fetch)),
            Err(failure) => ctx.fail(failure),
        }
    }

    fn commit(
        &mut self,
        correlation: u64,
        group: GroupAlias,
        offsets: &[QueuePosition],
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Option<Response>, Refusal> {
        let name = self.groups.get(group)?.clone();
        let mut keyed = Vec::with_capacity(offsets.len());
        for position in offsets {
            let topic = self.topics.get(position.topic)?;
            topic.check_read(position.queue)?;
            self.check_commit(topic, position)?;
            keyed.push(((topic.name.clone(), position.queue), position.offset));
        }
        let commit = Commit {
            member: self.memberships.member(),
            offsets: keyed,
        };
        let group = self.context.wake_group(&name)?;
        ctx.then(group.ask(commit), move |session, answer, _| {
            session.finish(correlation, answer.map_err(|e| e.to_string()));
        });
        Ok(None)
    }

    /// An offset behind the queue's end would make the group pass over messages that are still to come.
    fn check_commit(&self, topic: &Topic, position: &QueuePosition) -> Result<(), Refusal> {
        let QueueRange { min, max, .. } = self.range(topic, position.queue, position.offset);
        if position.offset <= max {
            return Ok(());
        }
        Err(Refusal::never(
            ErrorCode::OffsetOutOfRange,
            format!(
                "offset {} of queue {} of topic {} cannot be committed: the queue has offsets {min} to {max}",
                position.offset, position.queue, topic.name
            ),
        ))
    }

    fn finish(&mut self, correlation: u64, answer: Result<Result<(), Refusal>, String>) {
        match answer {
            Ok(Ok(())) => self.connection.answer(correlation, Response::Done),
            Ok(Err(refusal)) => self.connection.fail(correlation, refusal),
            Err(lost) => {
                let refusal = Refusal::safe(ErrorCode::OutcomeUnknown, lost);
                self.connection.fail(correlation, refusal);
            }
        }
    }

    fn query_offset(
        &self,
        group: GroupAlias,
        topic: u32,
        queue: QueueId,
    ) -> Result<Option<Response>, Refusal> {
        let group = self.groups.get(group)?;
        let topic = self.topics.get(topic)?;
        let key = (topic.name.clone(), queue);
        let offset = self.context.offsets.get(group, &key);
        Ok(Some(Response::Offset(offset)))
    }

    fn queue_range(&self, topic: u32, queue: QueueId) -> Result<Option<Response>, Refusal> {
        let topic = self.readable(topic, queue)?;
        let range = self.range(&topic, queue, QueueOffset::ZERO);
        Ok(Some(Response::Range(range)))
    }

    fn offset_at_time(
        &mut self,
        correlation: u64,
        topic: u32,
        queue: QueueId,
        timestamp_ms: i64,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Option<Response>, Refusal> {
        let topic = self.readable(topic, queue)?;
        let question = OffsetsAtTime {
            queues: vec![self.context.store.queues.queue(&topic.name, queue)],
            timestamp_ms,
        };
        let cold_reader = self.context.cold_reader()?;
        ctx.then(cold_reader.ask(question), move |session, answer, _| {
            let found = match answer {
                Ok(found) => found,
                Err(error) => Err(error.to_string()),
            };
            match found {
                Ok(offsets) => {
                    let response = Response::Offset(offsets.first().copied());
                    session.connection.answer(correlation, response);
                }
                Err(error) => {
                    let refusal = Refusal::safe(ErrorCode::Internal, error);
                    session.connection.fail(correlation, refusal);
                }
            }
        });
        Ok(None)
    }

    fn join(
        &mut self,
        correlation: u64,
        join: JoinGroup,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Option<Response>, Refusal> {
        let group = self.groups.get(join.group)?.clone();
        let mut topics = Vec::with_capacity(join.subscriptions.len());
        for subscription in &join.subscriptions {
            check_filter(&subscription.filter)?;
            let name = TopicName::new(&subscription.topic)
                .map_err(|error| Refusal::never(ErrorCode::InvalidName, error.to_string()))?;
            topics.push(name);
        }
        let alias = join.group;
        let joining = self.memberships.join(&group, &join, topics, ctx.me())?;
        ctx.then(joining, move |session, answer, _| {
            match answer.map_err(|error| error.to_string()) {
                Ok(Ok(())) => {
                    let joined = Joined {
                        group: alias,
                        lease_ms: LEASE.as_millis() as u32,
                    };
                    let response = Response::Joined(joined);
                    session.connection.answer(correlation, response);
                }
                refused => {
                    session.memberships.forget(&group);
                    session.finish(correlation, refused);
                }
            }
        });
        Ok(None)
    }

    fn leave(&mut self, group: GroupAlias) -> Result<Option<Response>, Refusal> {
        let group = self.groups.get(group)?.clone();
        let member = self.memberships.member();
        self.memberships.forget(&group);
        self.context.wake_group(&group)?.tell(Leave { member });
        Ok(Some(Response::Done))
    }

    fn release(
        &mut self,
        group: GroupAlias,
        queues: &[TopicQueue],
    ) -> Result<Option<Response>, Refusal> {
        let group = self.groups.get(group)?.clone();
        let queues = queues
            .iter()
            .map(|queue| Ok((TopicName::new(&queue.topic)?, queue.queue)))
            .collect::<Result<Vec<_>, castmq_protocol::model::NameError>>()
            .map_err(|error| Refusal::never(ErrorCode::InvalidName, error.to_string()))?;
        self.memberships.released(&group, &queues);
        let member = self.memberships.member();
        let release = Release { member, queues };
        self.context.wake_group(&group)?.tell(release);
        Ok(Some(Response::Done))
    }
}

fn check_filter(filter: &Filter) -> Result<(), Refusal> {
    match filter {
        Filter::All => Ok(()),
        Filter::Tags(_) | Filter::Sql(_) => Err(Refusal::never(
            ErrorCode::NotSupported,
            "filters are not supported by this broker yet: subscribe to all messages",
        )),
    }
}

impl Session for ConsumerSession {
    fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    fn may_read(&self, _cx: &mut Context<'_>) -> bool {
        self.connection.pending_bytes() < 4 * MAX_PENDING_BYTES
    }

    fn is_owing(&self) -> bool {
        self.announcing > 0
    }

    fn handle_frames(&mut self, buffer: Bytes, ctx: &mut Ctx<'_, Self>) -> Result<(), Refusal> {
        for header in headers(&buffer) {
            self.handle(header?, ctx);
        }
        Ok(())
    }

    fn written(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.connection.pending_bytes() >= MAX_PENDING_BYTES {
            return;
        }
        // Each of them can fill the connection again, and makes way for the next by being written.
        if let Some(pull) = self.held_pulls.pop_front() {
            self.fetch_for_pull(pull, ctx);
        }
        if self.is_held_back {
            self.is_held_back = false;
            let ids: Vec<_> = self.subscriptions.keys().copied().collect();
            for id in ids {
                self.fetch(id, ctx);
            }
        }
    }
}

impl Cast for ConsumerSession {
    type State = ConsumerSessionState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        attach(ctx, self.context.idle_timeout());
        Ok(())
    }

    fn stopping(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.connection
            .say_goodbye(self.context.goodbye(), ctx.hold());
    }

    fn observe(&self) -> ConsumerSessionState {
        ConsumerSessionState {
            client_id: self.client.client_id.clone(),
            software: self.client.software.clone(),
            peer: self.connection.peer().to_string(),
            subscriptions: self.subscriptions.len(),
            waiting_pulls: self.waiting_pulls,
            pending_bytes: self.connection.pending_bytes(),
            delivered: self.delivered,
        }
    }
}

impl Receive<Delivered> for ConsumerSession {
    fn receive(&mut self, delivered: Delivered, ctx: &mut Ctx<'_, Self>) {
        let id = delivered.subscription;
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return;
        };
        if subscription.epoch != delivered.epoch {
            return;
        }
        subscription.is_fetching = false;
        match delivered.fetched {
            Ok(fetched) => self.deliver(id, fetched, ctx),
            Err(Lost) => {
                ctx.after(RETRY, move |session, ctx| session.fetch(id, ctx));
            }
        }
    }
}

impl Receive<PullDone> for ConsumerSession {
    fn receive(&mut self, PullDone { pull, fetched }: PullDone, _ctx: &mut Ctx<'_, Self>) {
        let is_full = self.connection.pending_bytes() >= MAX_PENDING_BYTES;
        let has_messages = fetched.as_ref().is_ok_and(|fetched| fetched.messages > 0);
        if is_full && has_messages {
            self.held_pulls.push_back(pull);
            return;
        }
        self.waiting_pulls -= 1;
        match fetched {
            Ok(fetched) => {
                self.delivered += u64::from(fetched.messages);
                self.context.meters.delivered(fetched.messages.into());
                let response = Response::Pulled(Pulled {
                    status: fetched.status,
                    next_offset: fetched.next_offset,
                    min_offset: fetched.min_offset,
                    max_offset: fetched.max_offset,
                    messages: fetched.messages,
                });
                self.connection
                    .answer_with_log(pull.correlation, response, fetched.records);
            }
            Err(Lost) => {
                let refusal =
                    Refusal::safe(ErrorCode::Busy, "the queue was interrupted: pull again");
                self.connection.fail(pull.correlation, refusal);
            }
        }
    }
}

impl Receive<Change> for ConsumerSession {
    fn receive(&mut self, change: Change, _ctx: &mut Ctx<'_, Self>) {
        let Some(alias) = self.memberships.note(&change) else {
            return;
        };
        let queue = |(topic, queue): (TopicName, QueueId)| TopicQueue {
            topic: topic.to_string(),
            queue,
        };
        let assigned = change
            .assigned
            .into_iter()
            .map(|(key, offset)| AssignedQueue {
                queue: queue(key),
                offset,
            });
        let response = Response::AssignmentChanged(AssignmentChanged {
            group: alias,
            generation: change.generation,
            assigned: assigned.collect(),
            revoked: change.revoked.into_iter().map(queue).collect(),
        });
        self.connection.answer(PUSH, response);
    }
}

impl Receive<MembershipLost> for ConsumerSession {
    fn receive(&mut self, lost: MembershipLost, ctx: &mut Ctx<'_, Self>) {
        match self.memberships.join_again(&lost.group, ctx.me()) {
            Some(Ok(joining)) => {
                ctx.spawn(async move {
                    if let Ok(Err(refusal)) | Err(refusal) = joining
                        .await
                        .map_err(|e| Refusal::safe(ErrorCode::Internal, e.to_string()))
                    {
                        tracing::warn!(%refusal, "a member could not join its group again");
                    }
                });
            }
            Some(Err(refusal)) => {
                tracing::warn!(%refusal, "a member could not join its group again")
            }
            None => {}
        }
    }
}
