//! Where a master receives its slaves.

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::native::{Failure as Refusal, Role, Welcome};

use super::link::{Link, Opened};
use crate::broker::context::BrokerContext;
use crate::network::greeting::Client;
use crate::network::listener::{Accepted, Foreign, Reception, role_not_served};
use crate::supervision::{ActorRef, Child, Stage, Supervisor};

/// Connections there may be: two of each slave, and some that are just coming or going.
const MAX_CONNECTIONS: u32 = 128;

/// See the module.
pub(crate) struct Desk {
    pub(crate) context: Arc<BrokerContext>,
    pub(crate) links: ActorRef<Supervisor>,
    pub(crate) stage: Stage,
}

impl Desk {
    fn start(&self, name: String, opened: Opened) {
        let context = self.context.clone();
        let link = Child::once(name, move || Ok(Link::new(context, opened)));
        // A link that cannot be started has closed its connection, which tells the slave.
        drop(self.links.start_on(&self.stage, link));
    }
}

impl Reception for Desk {
    fn welcome(&self) -> Welcome {
        self.context.welcome()
    }

    fn check(&self, client: &Client) -> Result<(), Refusal> {
        match client.role {
            Role::Broker => Ok(()),
            Role::Producer | Role::Consumer | Role::Admin => {
                Err(role_not_served(client.role, "port for slaves"))
            }
        }
    }

    fn start_session(&self, accepted: Accepted) {
        let client = &accepted.client;
        let name = format!("replication-link({}@{})", client.client_id, client.peer);
        self.start(name, Opened::Native(accepted));
    }

    fn takes_foreign(&self, _first: [u8; 4]) -> bool {
        true
    }

    fn start_foreign(&self, foreign: Foreign) {
        let name = format!("replication-link({})", foreign.peer);
        self.start(name, Opened::Classic(foreign));
    }

    fn handshake_timeout(&self) -> Duration {
        self.context.handshake_timeout()
    }

    fn max_connections(&self) -> u32 {
        MAX_CONNECTIONS
    }
}
