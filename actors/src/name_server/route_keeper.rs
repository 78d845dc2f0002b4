//! route-keeper: keeps the table of routes, and drops brokers that have gone silent.

use std::time::Duration;

use castmq_protocol::native::route::{BrokerSet, RegisterBroker, Registered, TopicRoute};
use serde::Serialize;
use tokio::time::Instant;

use super::route_table::{ConnectionId, RouteTable};
use crate::supervision::{Answer, Cast, Ctx, Failure, Receive, Reply};

/// A broker registers over a connection.
#[derive(Debug)]
pub(crate) struct Register {
    pub(crate) connection: ConnectionId,
    pub(crate) register: RegisterBroker,
}

/// A broker goes.
#[derive(Debug)]
pub(crate) struct Unregister {
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

/// See the module.
pub(crate) struct RouteKeeper {
    table: RouteTable,
    broker_expiry: Duration,
    scan_interval: Duration,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct RouteKeeperState {
    brokers: usize,
    topics: usize,
}

impl RouteKeeper {
    pub(crate) fn new(broker_expiry: Duration, scan_interval: Duration) -> Self {
        Self {
            table: RouteTable::default(),
            broker_expiry,
            scan_interval,
        }
    }

    fn scan(&mut self) {
        for broker in self.table.expire(Instant::now()) {
            tracing::warn!(broker, "a broker has gone silent and is dropped");
        }
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
    type Reply = Registered;

    fn answer(&mut self, message: Register, reply: Reply<Registered>, _ctx: &mut Ctx<'_, Self>) {
        let registered = self.table.register(
            message.register,
            message.connection,
            self.broker_expiry,
            Instant::now(),
        );
        reply.send(registered);
    }
}

impl Receive<Unregister> for RouteKeeper {
    fn receive(&mut self, message: Unregister, _ctx: &mut Ctx<'_, Self>) {
        tracing::info!(message.broker, message.broker_id, "a broker goes");
        self.table.unregister(&message.broker, message.broker_id);
    }
}

impl Receive<Closed> for RouteKeeper {
    fn receive(&mut self, Closed(connection): Closed, _ctx: &mut Ctx<'_, Self>) {
        for broker in self.table.connection_closed(connection) {
            tracing::warn!(broker, "a broker's connection has closed and it is dropped");
        }
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
