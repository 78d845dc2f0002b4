//! route-keeper: keeps the table of routes, and drops brokers that have gone silent.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::native::route::{
    BrokerSet, DataVersion, RegisterBroker, Registered, TopicQueues, TopicRoute,
};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use serde::Serialize;
use tokio::time::Instant;

use super::broker::{BrokerKey, ConnectionId};
use super::remoting_session::NameServerRemotingSession;
use super::route_table::rocketmq::KnownState;
use super::route_table::{RouteTable, TableLimits};
use super::session::{NameServerSession, Replaced, SetChanged};
use super::tidings::Numbered;
use crate::supervision::{ActorRef, Answer, Cast, Ctx, Failure, Receive, Reply};

/// The session of a connection over which brokers register.
#[derive(Clone)]
pub(crate) enum BrokerSession {
    Native(ActorRef<NameServerSession>),
    Rocketmq(ActorRef<NameServerRemotingSession>),
}

impl BrokerSession {
    fn replaced(&self, reason: Refusal) {
        match self {
            Self::Native(session) => session.tell(Replaced(reason)),
            Self::Rocketmq(session) => session.tell(Replaced(reason)),
        };
    }

    /// Brokers of RocketMQ hear of their set when they register.
    fn set_changed(&self, change: Numbered<Registered>) {
        if let Self::Native(session) = self {
            session.tell(SetChanged(change));
        }
    }
}

/// A broker registers over a connection.
pub(crate) struct Register {
    pub(crate) connection: ConnectionId,
    pub(crate) session: BrokerSession,
    pub(crate) register: RegisterBroker,
}

/// A broker of RocketMQ is alive.
#[derive(Debug)]
pub(crate) struct BrokerAlive {
    pub(crate) connection: ConnectionId,
    pub(crate) broker: String,
    pub(crate) address: String,
}

/// The same, and it asks which state of its topics is known.
#[derive(Debug)]
pub(crate) struct AskState(pub(crate) BrokerAlive);

/// A broker of RocketMQ tells of one topic.
#[derive(Debug)]
pub(crate) struct PutTopic {
    /// The topic's queues by the names of brokers.
    pub(crate) queues: Vec<(String, TopicQueues)>,
}

/// A topic was deleted.
#[derive(Debug)]
pub(crate) struct ForgetTopic {
    pub(crate) topic: String,
    pub(crate) cluster: Option<String>,
}

/// Asks for the brokers of a name.
#[derive(Debug)]
pub(crate) struct FindSet(pub(crate) String);

/// A broker goes.
#[derive(Debug)]
pub(crate) struct Unregister {
    pub(crate) connection: ConnectionId,
    pub(crate) broker: String,
    pub(crate) broker_id: u64,
}

/// A connection has closed.
#[derive(Debug)]
pub(crate) struct Closed(pub(crate) ConnectionId);

/// Asks where a topic is.
#[derive(Debug)]
pub(crate) struct FindRoute(pub(crate) String);

/// Asks for all brokers.
#[derive(Debug)]
pub(crate) struct ListBrokers;

/// Asks for all topics.
#[derive(Debug)]
pub(crate) struct ListTopics;

/// Asks for topics by the bits of their flag.
#[derive(Debug)]
pub(crate) struct ListFlagged {
    pub(crate) has: u32,
    pub(crate) lacks: u32,
}

/// Has producers use the brokers of a set, or leave them out. Answered with how many topics they have.
#[derive(Debug)]
pub(crate) struct LetWrite {
    pub(crate) broker: String,
    pub(crate) writes: bool,
}

/// See the module.
pub(crate) struct RouteKeeper {
    table: RouteTable,
    scan_interval: Duration,
    /// Connections over which somebody registered.
    sessions: HashMap<ConnectionId, BrokerSession>,
    /// What the brokers of each set know of it.
    told: HashMap<Arc<str>, Registered>,
    /// Counts what brokers are told.
    tidings: u64,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct RouteKeeperState {
    brokers: usize,
    topics: usize,
}

impl RouteKeeper {
    pub(crate) fn new(limits: TableLimits, scan_interval: Duration) -> Self {
        Self {
            table: RouteTable::new(limits),
            scan_interval,
            sessions: HashMap::new(),
            told: HashMap::new(),
            tidings: 0,
        }
    }

    fn register(&mut self, message: Register) -> Result<Numbered<Registered>, Refusal> {
        let Register {
            connection,
            session,
            register,
        } = message;
        let set: Arc<str> = register.broker.as_str().into();
        let address = register.address.clone();
        let now = Instant::now();
        let outcome = match &session {
            BrokerSession::Native(_) => self.table.register(register, connection, now)?,
            BrokerSession::Rocketmq(_) => {
                self.table.register_rocketmq(register, connection, now)?
            }
        };
        self.sessions.insert(connection, session);
        if let Some(replaced) = outcome.replaced.and_then(|id| self.sessions.get(&id)) {
            tracing::warn!(broker = %set, address, "another broker takes this one's place");
            replaced.replaced(Refusal::safe(
                ErrorCode::Conflict,
                format!("the broker at {address} has taken this one's place: register again"),
            ));
        }
        self.tell_set(&set, Some(connection));
        Ok(self.numbered(outcome.registered))
    }

    /// Tells the brokers of a set what has changed in it: where the master is should not wait for a heartbeat. One of
    /// them is told with its answer.
    fn tell_set(&mut self, set: &Arc<str>, answered: Option<ConnectionId>) {
        let known = self.table.registered(set, DataVersion::default());
        if self.told.get(set) == Some(&known) {
            return;
        }
        match known.members.is_empty() {
            true => self.told.remove(set),
            false => self.told.insert(set.clone(), known),
        };
        self.tidings += 1;
        let number = self.tidings;
        for (connection, known) in self.table.tidings(set) {
            if answered != Some(connection)
                && let Some(session) = self.sessions.get(&connection)
            {
                session.set_changed(Numbered { number, known });
            }
        }
    }

    fn numbered(&mut self, known: Registered) -> Numbered<Registered> {
        self.tidings += 1;
        let number = self.tidings;
        Numbered { number, known }
    }

    fn gone(&mut self, brokers: Vec<BrokerKey>, why: &str) {
        for (set, id) in &brokers {
            tracing::warn!(broker = %set, id, why, "a broker is dropped");
        }
        let sets: BTreeSet<_> = brokers.into_iter().map(|(set, _)| set).collect();
        for set in &sets {
            self.tell_set(set, None);
        }
    }

    fn scan(&mut self) {
        let silent = self.table.expire(Instant::now());
        self.gone(silent, "it has gone silent");
    }
}

impl Cast for RouteKeeper {
    type State = RouteKeeperState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        ctx.every(self.scan_interval, |keeper, _| keeper.scan());
        Ok(())
    }

    fn observe(&self) -> RouteKeeperState {
        let (brokers, topics) = self.table.counts();
        RouteKeeperState { brokers, topics }
    }
}

impl Answer<Register> for RouteKeeper {
    type Reply = Result<Numbered<Registered>, Refusal>;

    fn answer(&mut self, message: Register, reply: Reply<Self::Reply>, _ctx: &mut Ctx<'_, Self>) {
        reply.send(self.register(message));
    }
}

impl Receive<Unregister> for RouteKeeper {
    fn receive(&mut self, message: Unregister, _ctx: &mut Ctx<'_, Self>) {
        let Unregister {
            connection,
            broker,
            broker_id,
        } = message;
        tracing::info!(broker, broker_id, "a broker goes");
        let now = Instant::now();
        self.table.unregister(&broker, broker_id, connection, now);
        self.tell_set(&broker.into(), None);
    }
}

impl Receive<Closed> for RouteKeeper {
    fn receive(&mut self, Closed(connection): Closed, _ctx: &mut Ctx<'_, Self>) {
        self.sessions.remove(&connection);
        let gone = self.table.connection_closed(connection, Instant::now());
        self.gone(gone, "its connection has closed");
    }
}

impl Answer<FindRoute> for RouteKeeper {
    type Reply = Option<TopicRoute>;

    fn answer(
        &mut self,
        FindRoute(topic): FindRoute,
        reply: Reply<Self::Reply>,
        _ctx: &mut Ctx<'_, Self>,
    ) {
        reply.send(self.table.route(&topic));
    }
}

impl Answer<ListBrokers> for RouteKeeper {
    type Reply = Vec<BrokerSet>;

    fn answer(
        &mut self,
        ListBrokers: ListBrokers,
        reply: Reply<Self::Reply>,
        _ctx: &mut Ctx<'_, Self>,
    ) {
        reply.send(self.table.broker_sets());
    }
}

impl Answer<ListTopics> for RouteKeeper {
    type Reply = Vec<String>;

    fn answer(
        &mut self,
        ListTopics: ListTopics,
        reply: Reply<Self::Reply>,
        _ctx: &mut Ctx<'_, Self>,
    ) {
        reply.send(self.table.topics());
    }
}

impl Answer<ListFlagged> for RouteKeeper {
    type Reply = Vec<String>;

    fn answer(
        &mut self,
        ListFlagged { has, lacks }: ListFlagged,
        reply: Reply<Self::Reply>,
        _ctx: &mut Ctx<'_, Self>,
    ) {
        reply.send(self.table.flagged_topics(has, lacks));
    }
}

impl Answer<LetWrite> for RouteKeeper {
    type Reply = usize;

    fn answer(
        &mut self,
        LetWrite { broker, writes }: LetWrite,
        reply: Reply<Self::Reply>,
        _ctx: &mut Ctx<'_, Self>,
    ) {
        let topics = self.table.let_write(&broker, writes);
        tracing::info!(
            broker,
            writes,
            topics,
            "an operator says whether producers use a broker"
        );
        reply.send(topics);
    }
}

impl Receive<BrokerAlive> for RouteKeeper {
    fn receive(&mut self, alive: BrokerAlive, _ctx: &mut Ctx<'_, Self>) {
        let BrokerAlive {
            connection,
            broker,
            address,
        } = alive;
        let now = Instant::now();
        self.table.heard(&broker, &address, connection, now);
    }
}

impl Answer<AskState> for RouteKeeper {
    type Reply = Option<KnownState>;

    fn answer(
        &mut self,
        AskState(alive): AskState,
        reply: Reply<Self::Reply>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        reply.send(self.table.known_state(&alive.broker, &alive.address));
        self.receive(alive, ctx);
    }
}

impl Answer<PutTopic> for RouteKeeper {
    type Reply = Result<(), Refusal>;

    fn answer(
        &mut self,
        PutTopic { queues }: PutTopic,
        reply: Reply<Self::Reply>,
        _ctx: &mut Ctx<'_, Self>,
    ) {
        let mut all = queues.into_iter();
        reply.send(all.try_for_each(|(broker, queues)| self.table.put_topic(&broker, queues)));
    }
}

impl Receive<ForgetTopic> for RouteKeeper {
    fn receive(&mut self, ForgetTopic { topic, cluster }: ForgetTopic, _ctx: &mut Ctx<'_, Self>) {
        self.table.forget_topic(&topic, cluster.as_deref());
    }
}

impl Answer<FindSet> for RouteKeeper {
    type Reply = Option<BrokerSet>;

    fn answer(
        &mut self,
        FindSet(broker): FindSet,
        reply: Reply<Self::Reply>,
        _ctx: &mut Ctx<'_, Self>,
    ) {
        reply.send(self.table.broker_set(&broker));
    }
}
