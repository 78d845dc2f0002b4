//! How a broker receives connections: who may come, and the session that each gets.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::native::{Failure as Refusal, Role, Welcome};

use super::context::BrokerContext;
use crate::network::admin_session::AdminSession;
use crate::network::connection::{Connection, Framing, Input};
use crate::network::consumer_session::ConsumerSession;
use crate::network::greeting::Client;
use crate::network::listener::{Accepted, Foreign, Reception, role_not_served};
use crate::network::producer_session::ProducerSession;
use crate::network::remoting::may_begin;
use crate::network::remoting_session::RemotingSession;
use crate::supervision::{Child, Failure};

/// Where a broker's connections are received.
pub(super) struct Desk(pub(super) Arc<BrokerContext>);

impl Reception for Desk {
    fn welcome(&self) -> Welcome {
        self.0.welcome()
    }

    fn opens(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let context = self.0.clone();
        Box::pin(async move { context.until_not_replaced().await })
    }

    fn check(&self, client: &Client) -> Result<(), Refusal> {
        match client.role {
            Role::Consumer | Role::Admin => Ok(()),
            // A slave takes nothing of what they have.
            Role::Producer => self.0.standing.check_master(),
            Role::Broker => Err(role_not_served(client.role, "broker")),
        }
    }

    fn start_session(&self, accepted: Accepted) {
        let context = self.0.clone();
        let Ok(actors) = self.0.actors() else {
            return;
        };
        let sessions = &actors.sessions;
        let data = &self.0.data_stage;
        let client = &accepted.client;
        let name = format!("{:?}({}@{})", client.role, client.client_id, client.peer);
        // A session that cannot be started has closed its connection, which tells the client.
        match client.role {
            Role::Producer => drop(sessions.start_on(
                data,
                Child::once(name, move || {
                    let (connection, client) = take_over(&context, accepted)?;
                    ProducerSession::new(context, connection, client)
                }),
            )),
            Role::Consumer => drop(sessions.start_on(
                data,
                Child::once(name, move || {
                    let (connection, client) = take_over(&context, accepted)?;
                    ConsumerSession::new(context, connection, client)
                }),
            )),
            Role::Admin | Role::Broker => drop(sessions.start_on(
                data,
                Child::once(name, move || {
                    let (connection, client) = take_over(&context, accepted)?;
                    Ok(AdminSession::new(context, connection, client))
                }),
            )),
        }
    }

    fn takes_foreign(&self, first: [u8; 4]) -> bool {
        may_begin(first, self.0.limits.max_frame_bytes as usize)
    }

    fn start_foreign(&self, foreign: Foreign) {
        let context = self.0.clone();
        let Ok(actors) = self.0.actors() else {
            return;
        };
        let name = format!("remoting({})", foreign.peer);
        let child = Child::once(name, move || {
            let max_frame_bytes = context.limits.max_frame_bytes as usize;
            let connection = foreign.into_connection(max_frame_bytes)?;
            RemotingSession::new(context, connection)
        });
        drop(actors.sessions.start_on(&self.0.data_stage, child));
    }

    fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.0.settings.limits.handshake_timeout_ms)
    }

    fn max_connections(&self) -> u32 {
        self.0.settings.limits.max_connections
    }
}

/// Takes a connection over on the session's thread.
fn take_over(context: &BrokerContext, accepted: Accepted) -> Result<(Connection, Client), Failure> {
    let (socket, client, already, seat) = accepted.into_parts()?;
    let max_frame_bytes = context.limits.max_frame_bytes as usize;
    let input = Input::new(already, Framing::Native, max_frame_bytes);
    let connection = Connection::new(socket, client.peer, input, seat);
    Ok((connection, client))
}
