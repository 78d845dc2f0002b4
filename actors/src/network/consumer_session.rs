//! consumer-session: one consumer's connection. It asks queues for messages as far as the client's credit goes, and
//! speaks for the client in its groups.
//!
//! - `groups`: membership and assignments; `offsets`: how far groups and queues are; `pulls`: reading once;
//!   `pace`: how fast old messages go; `send_back`: messages that could not be processed; `pops`: messages that are
//!   acknowledged one by one.

mod groups;
mod offsets;
mod pace;
mod pops;
mod pulls;
mod send_back;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use castmq_protocol::filter::CompiledFilter;
use castmq_protocol::model::{GroupName, QueueId, QueueOffset, TopicName};
use castmq_protocol::native::request::{
    Filter, GroupAlias, JoinGroup, Pull, QueuePosition, Subscribe, TopicQueue,
};
use castmq_protocol::native::response::{
    AssignedQueue, AssignmentChanged, Deliver, Joined, PUSH, Pulled, QueueRange,
};
use castmq_protocol::native::{ClientHeader, ErrorCode, Failure as Refusal, Request, Response};
use serde::Serialize;
use tokio::task::yield_now;
use tokio::time::Instant;

use self::pace::{Pace, REST};
use self::pops::Pops;
use self::pulls::WaitingPull;
use super::aliases::{Aliases, MAX_ALIASES};
use super::announce::{ensure_group, ensure_topic};
use super::connection::{Connection, Session, attach, headers};
use super::greeting::Client;
use super::membership::{MembershipLost, Memberships};
use crate::broker::context::BrokerContext;
use crate::broker::topics::Topic;
use crate::delivery::assignment::QueueKey;
use crate::delivery::cold_reader::OffsetsAtTime;
use crate::delivery::consumer_group::{Change, Commit, Expelled, Leave, Parting, Release};
use crate::delivery::expiry::Expiry;
use crate::delivery::fetch::{Fetch, Fetched, Patience, Wanted};
use crate::supervision::{Cast, Ctx, Failure, Lost, Receive, Reply};

/// Most bytes asked for at once.
const FETCH_BYTES: u32 = 256 * 1024;

/// And while others send and the messages are old.
const CAREFUL_FETCH_BYTES: u32 = 64 * 1024;

/// A subscription that was given this much gets more only after everybody else had a turn: many fetches in a row, of a
/// consumer that is far behind, would keep the thread from looking at sockets for milliseconds.
const TURN_BYTES: usize = 64 * 1024;

/// After passing over this many messages that its filter does not let through, a client is told how far it is.
const TOLD_EVERY: u64 = 1024;

/// With more than this waiting to be written nothing is fetched: a slow consumer costs little memory.
const MAX_PENDING_BYTES: usize = 1024 * 1024;

/// A fetch whose queue failed is tried again after this time.
const RETRY: Duration = Duration::from_millis(20);

/// Time that consumers of a slave have to go to the master that came back.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

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

struct Subscription {
    epoch: u64,
    topic: Arc<Topic>,
    queue: QueueId,
    offset: QueueOffset,
    /// How far the client knows that it is.
    told: QueueOffset,
    /// `None` for all messages.
    filter: Option<Arc<CompiledFilter>>,
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
    /// Messages that were handed back and are not stored again yet.
    returning: usize,
    pops: Pops,
    /// Subscriptions that stand still because too much waits to be written, or because the session rests.
    is_held_back: bool,
    pace: Pace,
    is_resting: bool,
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
        let memberships = Memberships::new(context.clone(), &client);
        Ok(Self {
            pops: Pops::new(context.actors()?.popper.clone(), memberships.member()),
            connection,
            topics: Aliases::new("topic", MAX_ALIASES),
            groups: Aliases::new("group", MAX_ALIASES),
            memberships,
            client,
            subscriptions: HashMap::new(),
            next_epoch: 0,
            waiting_pulls: 0,
            held_pulls: VecDeque::new(),
            announcing: 0,
            returning: 0,
            is_held_back: false,
            pace: Pace::new(context.store.log.appended()),
            is_resting: false,
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
            Request::SendBack(back) => self.send_back(correlation, &back, ctx),
            Request::Pop(pop) => self.pop(correlation, &pop, ctx),
            Request::Acknowledge(ack) => self.acknowledge(correlation, ack, ctx),
            Request::ChangeInvisible(change) => self.change_invisible(correlation, &change, ctx),
            _ => Err(self.client.wrong_role()),
        };
        match answer {
            Ok(Some(response)) => self.connection.answer(correlation, response),
            Ok(None) => {}
            Err(refusal) => self.connection.fail(correlation, refusal),
        }
    }

    /// Ends the connection some time after the master has come back: by then clients have heard of it, and have left.
    fn leave_when_master_is_there(&self, ctx: &mut Ctx<'_, Self>) {
        let context = self.context.clone();
        let back = async move {
            loop {
                context.following.until_told().await;
                tokio::time::sleep(LEAVE_WITHIN).await;
                if context.following.has_told() {
                    return;
                }
            }
        };
        ctx.then(back, |session, (), _| {
            let reason = session.context.master_is_there();
            session.connection.close(reason);
        });
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
        self.context.check_reads()?;
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
        let group = self.groups.get(subscribe.group)?;
        let filter = compile(&subscribe.filter)?;
        let topic = self.readable(subscribe.topic, subscribe.queue)?;
        let key = (topic.name.clone(), subscribe.queue);
        if !self.memberships.may_read(group, &key) {
            return Err(Refusal::never(
                ErrorCode::NotOwner,
                format!(
                    "queue {} of topic {} is not assigned to this member of group {group}",
                    key.1, key.0
                ),
            ));
        }
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
            told: range.offset,
            filter,
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
        if self.is_resting || self.connection.pending_bytes() >= MAX_PENDING_BYTES {
            self.is_held_back = true;
            return;
        }
        let most = match self.pace.is_careful() {
            true => CAREFUL_FETCH_BYTES,
            false => FETCH_BYTES,
        };
        let epoch = subscription.epoch;
        let fetch = Fetch {
            wanted: Wanted {
                offset: subscription.offset,
                max_messages: u32::try_from(subscription.credit_messages).unwrap_or(u32::MAX),
                max_bytes: u32::try_from(subscription.credit_bytes)
                    .unwrap_or(most)
                    .min(most),
                filter: subscription.filter.clone(),
                passes_expired: Some(subscription.topic.clone()),
            },
            patience: Patience::Forever,
            reply: Reply::to_mailbox(ctx.me().mailbox(), move |fetched| Delivered {
                subscription: id,
                epoch,
                fetched,
            }),
        };
        let key = (subscription.topic.name.clone(), subscription.queue);
        subscription.is_fetching = true;
        let fetched = self.context.deliveries.fetch(&self.context, &key, fetch);
        if let Err(failure) = fetched {
            ctx.fail(failure);
        }
    }

    /// Lets subscriptions that stand still fetch again.
    fn go_on(&mut self, ctx: &mut Ctx<'_, Self>) {
        if std::mem::take(&mut self.is_held_back) {
            let ids: Vec<_> = self.subscriptions.keys().copied().collect();
            for id in ids {
                self.fetch(id, ctx);
            }
        }
    }

    fn deliver(&mut self, id: u32, fetched: Fetched, ctx: &mut Ctx<'_, Self>) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return;
        };
        subscription.offset = fetched.next_offset;
        let bytes: usize = fetched.records.iter().map(|record| record.len()).sum();
        let messages = u64::from(fetched.messages);
        let behind_bytes = fetched.behind_bytes;
        subscription.credit_messages = subscription.credit_messages.saturating_sub(messages);
        subscription.credit_bytes -= i64::try_from(bytes).unwrap_or(i64::MAX);
        self.delivered += messages;
        self.context.meters.delivered(messages);
        self.context.meters.expired(fetched.expired.into());
        let passed = fetched.next_offset.0.abs_diff(subscription.told.0);
        let is_filtered = subscription.filter.is_some() && fetched.expired == 0;
        if messages == 0 && is_filtered && passed < TOLD_EVERY {
            // A filter passed over a few, which is not worth a message of its own.
            ctx.then(yield_now(), move |session, (), ctx| session.fetch(id, ctx));
            return;
        }
        subscription.told = fetched.next_offset;
        let deliver = Response::Deliver(Deliver {
            subscription: id,
            messages: fetched.messages,
            next_offset: fetched.next_offset,
            max_offset: fetched.max_offset,
            expires: fetched.expiry.map(Expiry::ttl_ms),
            by_priority: subscription.topic.is_by_priority(),
        });
        self.connection
            .answer_with_log(PUSH, deliver, fetched.records);
        let end = self.context.store.log.appended();
        let rests = self.pace.rests_after(bytes as u64, behind_bytes, end);
        if rests && !self.is_resting {
            self.is_resting = true;
            ctx.after(REST, |session, ctx| {
                session.is_resting = false;
                session.go_on(ctx);
            });
        }
        if bytes < TURN_BYTES && messages > 0 {
            self.fetch(id, ctx);
        } else {
            // Behind a look at all sockets.
            ctx.then(yield_now(), move |session, (), ctx| session.fetch(id, ctx));
        }
    }
}

/// `None` for a filter that lets everything through.
fn compile(filter: &Filter) -> Result<Option<Arc<CompiledFilter>>, Refusal> {
    let compiled = CompiledFilter::new(filter)
        .map_err(|error| Refusal::never(ErrorCode::InvalidFilter, error.to_string()))?;
    Ok((!compiled.is_all()).then(|| Arc::new(compiled)))
}

impl Session for ConsumerSession {
    fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    fn may_read(&self, _cx: &mut Context<'_>) -> bool {
        self.connection.pending_bytes() < 4 * MAX_PENDING_BYTES
    }

    fn is_owing(&self) -> bool {
        self.announcing > 0 || self.returning > 0 || self.pops.is_owing()
    }

    fn handle_frames(&mut self, buffer: Bytes, ctx: &mut Ctx<'_, Self>) -> Result<(), Refusal> {
        self.memberships.note_heard();
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
        self.ask_for_held(ctx);
        self.go_on(ctx);
    }
}

impl Cast for ConsumerSession {
    type State = ConsumerSessionState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        attach(ctx, self.context.idle_timeout());
        if self.context.standing.is_slave() && !self.context.serves_beside_master() {
            self.leave_when_master_is_there(ctx);
        }
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
