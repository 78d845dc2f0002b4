//! Who may be which broker of a set, when two say that they are it. Pure.

use castmq_protocol::native::route::RegisterBroker;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use tokio::time::Instant;

use super::broker::Broker;

/// What a broker that registers is to the one that is known under its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// The same one, or the first.
    Own,
    /// Another, which takes its place.
    Replaces,
    /// A master that was replaced, and does not count any more.
    Outdated,
}

impl Claim {
    /// Decides. The operators' last word counts, which is the greater epoch; without one, who is there stays.
    pub(super) fn of(
        register: &RegisterBroker,
        known: Option<&Broker>,
        now: Instant,
    ) -> Result<Self, Refusal> {
        let Some(known) = known else {
            return Ok(Self::Own);
        };
        if known.address == register.address {
            return Ok(Self::Own);
        }
        let is_master = register.broker_id == 0;
        if is_master && register.epoch < known.epoch {
            return Ok(Self::Outdated);
        }
        if is_master && register.epoch > known.epoch {
            return Ok(Self::Replaces);
        }
        match known.is_alive(now) {
            false => Ok(Self::Replaces),
            true => Err(taken(register, known)),
        }
    }
}

fn taken(register: &RegisterBroker, known: &Broker) -> Refusal {
    let RegisterBroker {
        cluster,
        broker,
        broker_id,
        address: new,
        ..
    } = register;
    let alive = &known.address;
    let message = match broker_id {
        0 => format!(
            "broker {broker} of cluster {cluster} has a master, at {alive}, which is alive: the one at {new} cannot be it, too; there, set broker.role = \"slave\" and a broker.id, or another broker.name"
        ),
        id => format!(
            "broker {broker} of cluster {cluster} has a slave with the id {id}, at {alive}, which is alive: set another broker.id for the one at {new}"
        ),
    };
    Refusal::safe(ErrorCode::Conflict, message)
}

/// Refuses a broker whose set belongs to another cluster, as `member` of that set says.
pub(super) fn check_cluster(register: &RegisterBroker, member: &Broker) -> Result<(), Refusal> {
    if member.cluster == register.cluster {
        return Ok(());
    }
    let RegisterBroker {
        cluster,
        broker,
        address,
        ..
    } = register;
    let (known, alive) = (&member.cluster, &member.address);
    Err(Refusal::safe(
        ErrorCode::Conflict,
        format!(
            "broker {broker} belongs to cluster {known}, as the one at {alive} says, which is alive: the one at {address} says {cluster}; there, set broker.cluster_name = \"{known}\", or another broker.name"
        ),
    ))
}
