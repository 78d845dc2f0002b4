//! name-server session: one connection, of a broker that registers or of a client that asks.

use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use castmq_protocol::native::admin::{AdminRequest, AdminResponse};
use castmq_protocol::native::response::PUSH;
use castmq_protocol::native::route::{RegisterBroker, Registered};
use castmq_protocol::native::{
    ClientHeader, ErrorCode, Failure as Refusal, Request, Response, Role,
};
use serde::Serialize;

use super::broker::{ConnectionId, next_connection};
use super::patience::Patience;
use super::report_parts::ReportParts;
use super::route_keeper::{
    BrokerSession, Closed, FindRoute, ListBrokers, ListTopics, Register, RouteKeeper, Unregister,
};
use super::tidings::{Numbered, Tidings};
use crate::names::shortened;
use crate::network::connection::{Connection, Session, attach, headers};
use crate::network::greeting::Client;
use crate::supervision::{ActorRef, AskError, Cast, Ctx, Failure, Receive};

/// Letters of a name that errors show.
const SHOWN_LETTERS: usize = 64;

/// Requests that may be under way at once.
const MAX_UNDER_WAY: usize = 1024;

/// Something has changed in the set of the broker that registered here.
#[derive(Debug)]
pub(crate) struct SetChanged(pub(super) Numbered<Registered>);

/// Another broker has taken the place of the one that registered here. The connection is closed: so it registers again
/// at once, and learns what it is now.
#[derive(Debug)]
pub(crate) struct Replaced(pub(crate) Refusal);

/// See the module.
pub(crate) struct NameServerSession {
    keeper: ActorRef<RouteKeeper>,
    connection: Connection,
    client: Client,
    id: ConnectionId,
    patience: Patience,
    /// The broker that registers here: a connection is one broker's, so that there are no more brokers than connections.
    broker: Option<(String, u64)>,
    parts: ReportParts,
    under_way: usize,
    tidings: Tidings<Registered>,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct NameServerSessionState {
    client_id: String,
    peer: String,
    role: Role,
}

impl NameServerSession {
    pub(crate) fn new(
        keeper: ActorRef<RouteKeeper>,
        connection: Connection,
        client: Client,
        patience: Patience,
        max_topics: usize,
    ) -> Self {
        Self {
            keeper,
            connection,
            client,
            id: next_connection(),
            patience,
            broker: None,
            parts: ReportParts::new(max_topics),
            under_way: 0,
            tidings: Tidings::default(),
        }
    }

    fn handle(&mut self, header: ClientHeader, ctx: &mut Ctx<'_, Self>) {
        let correlation = header.correlation;
        let keeper = &self.keeper;
        match (header.request, self.client.role) {
            (Request::Heartbeat, _) => self.connection.answer(correlation, Response::Done),
            (Request::RegisterBroker(part), Role::Broker) => match self.take(part) {
                Ok(Some(register)) => self.register(correlation, register, ctx),
                Ok(None) => self.connection.answer(correlation, Response::Done),
                Err(refusal) => self.connection.fail(correlation, refusal),
            },
            (
                Request::UnregisterBroker {
                    broker, broker_id, ..
                },
                Role::Broker,
            ) => {
                keeper.tell(Unregister {
                    connection: self.id,
                    broker,
                    broker_id,
                });
                self.connection.answer(correlation, Response::Done);
            }
            (Request::Route { topic }, _) => {
                let missing = Refusal::never(
                    ErrorCode::TopicNotFound,
                    format!("no broker has topic {}", shortened(&topic, SHOWN_LETTERS)),
                );
                let asked = keeper.ask(FindRoute(topic));
                let respond = |_: &mut Self, route: Option<_>| match route {
                    Some(route) => Response::Route(route),
                    None => Response::Failed(missing),
                };
                self.reply(correlation, asked, respond, ctx);
            }
            (Request::Admin(AdminRequest::ListBrokers), _) => {
                let respond = |_: &mut Self, sets| Response::Admin(AdminResponse::Brokers(sets));
                let asked = keeper.ask(ListBrokers);
                self.reply(correlation, asked, respond, ctx);
            }
            (Request::Admin(AdminRequest::ListTopics), _) => {
                let respond = |_: &mut Self, names| Response::Admin(AdminResponse::Names(names));
                let asked = keeper.ask(ListTopics);
                self.reply(correlation, asked, respond, ctx);
            }
            _ => {
                let refusal = Refusal::never(
                    ErrorCode::WrongRole,
                    "a name server takes registrations from brokers, and tells routes, topics and brokers: ask a broker for everything else",
                );
                self.connection.fail(correlation, refusal);
            }
        }
    }

    /// Gives a registration that is there as a whole.
    fn take(&mut self, part: RegisterBroker) -> Result<Option<RegisterBroker>, Refusal> {
        let broker = (part.broker.clone(), part.broker_id);
        if *self.broker.get_or_insert_with(|| broker.clone()) != broker {
            return Err(Refusal::never(
                ErrorCode::Conflict,
                "another broker has registered over this connection: open one for each",
            ));
        }
        self.parts.take(part)
    }

    fn register(&mut self, correlation: u64, register: RegisterBroker, ctx: &mut Ctx<'_, Self>) {
        let asked = self.keeper.ask(Register {
            connection: self.id,
            session: BrokerSession::Native(ctx.me().clone()),
            register,
        });
        let respond = |session: &mut Self, registered| match registered {
            Ok(Numbered { number, known }) => {
                session.tidings.answered(number);
                Response::Registered(known)
            }
            Err(refusal) => Response::Failed(refusal),
        };
        self.reply(correlation, asked, respond, ctx);
    }

    fn reply<T: 'static>(
        &mut self,
        correlation: u64,
        asked: impl Future<Output = Result<T, AskError>> + 'static,
        respond: impl FnOnce(&mut Self, T) -> Response + 'static,
        ctx: &mut Ctx<'_, Self>,
    ) {
        self.under_way += 1;
        ctx.then(asked, move |session, answer, _| {
            session.under_way -= 1;
            let response = match answer {
                Ok(answer) => respond(session, answer),
                Err(error) => {
                    Response::Failed(Refusal::safe(ErrorCode::Internal, error.to_string()))
                }
            };
            session.connection.answer(correlation, response);
            session.say_what_is_due();
        });
    }

    fn say_what_is_due(&mut self) {
        if self.under_way == 0
            && let Some(registered) = self.tidings.due()
        {
            self.connection
                .answer(PUSH, Response::Registered(registered));
        }
    }
}

impl Session for NameServerSession {
    fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    fn may_read(&self, _cx: &mut Context<'_>) -> bool {
        self.under_way < MAX_UNDER_WAY
    }

    fn is_owing(&self) -> bool {
        self.under_way > 0
    }

    fn may_be_silent_for(&self, _idle_timeout: Duration) -> Duration {
        self.patience.with(self.broker.is_some())
    }

    fn handle_frames(&mut self, buffer: Bytes, ctx: &mut Ctx<'_, Self>) -> Result<(), Refusal> {
        for header in headers(&buffer) {
            self.handle(header?, ctx);
        }
        Ok(())
    }
}

impl Cast for NameServerSession {
    type State = NameServerSessionState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        attach(ctx, self.patience.idle);
        Ok(())
    }

    fn stopping(&mut self, ctx: &mut Ctx<'_, Self>) {
        let reason = Refusal::safe(
            ErrorCode::ShuttingDown,
            "the name server is stopping: use another",
        );
        self.connection.say_goodbye(reason, ctx.hold());
    }

    fn observe(&self) -> NameServerSessionState {
        NameServerSessionState {
            client_id: self.client.client_id.clone(),
            peer: self.connection.peer().to_string(),
            role: self.client.role,
        }
    }
}

impl Receive<SetChanged> for NameServerSession {
    fn receive(&mut self, SetChanged(change): SetChanged, _ctx: &mut Ctx<'_, Self>) {
        self.tidings.changed(change);
        self.say_what_is_due();
    }
}

impl Receive<Replaced> for NameServerSession {
    fn receive(&mut self, Replaced(reason): Replaced, _ctx: &mut Ctx<'_, Self>) {
        self.connection.close(reason);
    }
}

impl Drop for NameServerSession {
    fn drop(&mut self) {
        if self.client.role == Role::Broker {
            self.keeper.tell(Closed(self.id));
        }
    }
}
