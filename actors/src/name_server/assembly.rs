//! Putting a name server together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use castmq_config::{LimitSettings, Settings};
use castmq_protocol::native::{Failure as Refusal, Limits, Role, VERSION, Welcome};

use super::patience::Patience;
use super::remoting_session::{NameServerRemotingSession, Shared, Values};
use super::route_keeper::RouteKeeper;
use super::route_table::TableLimits;
use super::session::NameServerSession;
use crate::broker::addresses::bind;
use crate::broker::details::SOFTWARE;
use crate::network::aliases::MAX_ALIASES;
use crate::network::connection::{Connection, Framing, Input};
use crate::network::greeting::Client;
use crate::network::listener::{Accepted, Foreign, Listener, Reception, role_not_served};
use crate::network::remoting::may_begin;
use crate::network::socket::Bound;
use crate::node::NodeError;
use crate::supervision::{ActorRef, Child, Plan, Strategy, Supervisor};

/// A name server that is put together, to be started as a part of a tree.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    pub(crate) plan: Plan,
}

pub(crate) fn assemble(settings: &Settings) -> Result<NameServer, NodeError> {
    let socket = bind(settings.name_server.listen)?;
    let address = socket.address()?;
    let limits = TableLimits {
        max_expiry: Duration::from_millis(settings.name_server.broker_expiry_ms),
        max_topics: max_topics(&settings.limits),
    };
    let scan = Duration::from_millis(settings.name_server.scan_interval_ms);
    let keeper = Child::new("route-keeper", move || Ok(RouteKeeper::new(limits, scan)));
    let sessions = Child::supervisor("sessions", Plan::new(Strategy::OneForOne));
    let desk: Arc<dyn Reception> = Arc::new(Desk {
        shared: Arc::new(Shared {
            settings: settings.clone(),
            address,
            values: Values::default(),
        }),
        keeper: keeper.actor_ref(),
        sessions: sessions.actor_ref(),
    });
    let listener = listener(socket, desk);
    let plan = Plan::new(Strategy::OneForOne)
        .child(keeper)
        .child(sessions)
        .child(listener);
    Ok(NameServer { address, plan })
}

/// Topics that are taken of one broker: besides its own, each group may have one for retries and one for dead letters.
fn max_topics(limits: &LimitSettings) -> usize {
    limits.max_topics as usize + 2 * limits.max_groups as usize
}

fn listener(
    socket: Bound,
    desk: Arc<dyn Reception>,
) -> Child<Listener, impl FnMut() -> Result<Listener, crate::supervision::Failure> + 'static> {
    let connections = Arc::new(AtomicU32::new(0));
    Child::new("listener", move || {
        Listener::new(socket.try_clone()?, desk.clone(), connections.clone())
    })
}

/// Where a name server's connections are received.
struct Desk {
    shared: Arc<Shared>,
    keeper: ActorRef<RouteKeeper>,
    sessions: ActorRef<Supervisor>,
}

impl Desk {
    fn max_frame_bytes(&self) -> u32 {
        u32::try_from(self.shared.settings.limits.max_frame_bytes).unwrap_or(u32::MAX)
    }
}

impl Reception for Desk {
    fn welcome(&self) -> Welcome {
        let limits = &self.shared.settings.limits;
        Welcome {
            version: VERSION,
            software: SOFTWARE.to_owned(),
            cluster: String::new(),
            broker: String::new(),
            broker_id: 0,
            store_host: String::new(),
            limits: Limits {
                max_frame_bytes: self.max_frame_bytes(),
                max_message_bytes: 0,
                max_properties_bytes: 0,
                window_bytes: self.max_frame_bytes(),
                max_aliases: MAX_ALIASES,
                idle_timeout_ms: u32::try_from(limits.idle_timeout_ms).unwrap_or(u32::MAX),
            },
        }
    }

    fn check(&self, client: &Client) -> Result<(), Refusal> {
        match client.role {
            Role::Admin | Role::Broker => Ok(()),
            Role::Producer | Role::Consumer => Err(role_not_served(client.role, "name server")),
        }
    }

    fn start_session(&self, accepted: Accepted) {
        let client = &accepted.client;
        let name = format!("{:?}({}@{})", client.role, client.client_id, client.peer);
        let keeper = self.keeper.clone();
        let max_frame_bytes = self.max_frame_bytes() as usize;
        let patience = Patience::new(&self.shared.settings);
        let max_topics = max_topics(&self.shared.settings.limits);
        drop(self.sessions.start(Child::once(name, move || {
            let (socket, client, already, seat) = accepted.into_parts()?;
            let input = Input::new(already, Framing::Native, max_frame_bytes);
            let connection = Connection::new(socket, client.peer, input, seat);
            Ok(NameServerSession::new(
                keeper, connection, client, patience, max_topics,
            ))
        })));
    }

    fn takes_foreign(&self, first: [u8; 4]) -> bool {
        may_begin(first, self.max_frame_bytes() as usize)
    }

    fn start_foreign(&self, foreign: Foreign) {
        let (keeper, shared) = (self.keeper.clone(), self.shared.clone());
        let max_frame_bytes = self.max_frame_bytes() as usize;
        let patience = Patience::new(&self.shared.settings);
        let name = format!("remoting({})", foreign.peer);
        drop(self.sessions.start(Child::once(name, move || {
            let connection = foreign.into_connection(max_frame_bytes)?;
            Ok(NameServerRemotingSession::new(
                keeper,
                shared,
                connection,
                patience,
                max_frame_bytes,
            ))
        })));
    }

    fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.shared.settings.limits.handshake_timeout_ms)
    }

    fn max_connections(&self) -> u32 {
        self.shared.settings.limits.max_connections
    }
}
