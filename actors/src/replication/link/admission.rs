//! Who may follow, and from where.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use castmq_config::Role;
use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::native::replication::{Follow, Followed};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_storage::epochs::Epochs;

use super::super::replicas::Kind;
use crate::broker::context::BrokerContext;
use crate::broker::standing::Fence;

/// Changes of masters that a master may have missed. Operators make them one by one: who tells of more does not tell the truth.
const MAX_CHANGES: u32 = 10_000;

/// How long name servers have for it.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Who belongs to the set, by its name servers.
enum Members {
    /// There are no name servers that could say.
    Unasked,
    Told(BTreeMap<u64, String>),
}

/// Decides about a slave that asks to follow.
pub(super) async fn admit(
    context: &Arc<BrokerContext>,
    follow: &Follow,
    peer: SocketAddr,
) -> Result<Followed, Refusal> {
    check_names(context, follow)?;
    let members = known_members(context, follow.broker_id).await;
    check_member(context, &members, follow, peer)?;
    let theirs = Epochs::of(follow.epochs.iter().copied());
    check_epoch(context, follow, &theirs)?;
    let standing = &context.standing;
    let from = place(context, follow, &theirs)?;
    Ok(Followed {
        from,
        epochs: standing.epochs.entries().to_vec(),
        is_sync: standing.role == Role::SyncMaster,
    })
}

/// A slave that follows a master of a later epoch says that this one is none any more. Its word is taken when its log is of this
/// set, which a stranger's cannot be: nobody else knows who wrote it.
fn check_epoch(context: &BrokerContext, follow: &Follow, theirs: &Epochs) -> Result<(), Refusal> {
    let (ours, epoch) = (context.standing.epoch, theirs.last_epoch());
    if epoch <= ours {
        return Ok(());
    }
    let Follow {
        broker, broker_id, ..
    } = follow;
    let end = context.store.log.appended();
    let common = theirs.common_with(follow.log_end, &context.standing.epochs, end);
    if common.is_none() || epoch - ours > MAX_CHANGES {
        return Err(conflict(format!(
            "slave {broker_id} says that its log is of epoch {epoch}, which nobody else knows of, and this master is of epoch {ours}: \
             give the slave an empty data folder"
        )));
    }
    tracing::warn!(
        broker_id,
        epoch,
        ours,
        "a slave has followed a later master"
    );
    let master_id = None;
    context.fence(Fence { epoch, master_id });
    Err(conflict(format!(
        "the slave knows of epoch {epoch}, in which another broker became the master of {broker}: this one, of epoch {ours}, is none \
         any more"
    )))
}

fn conflict(message: impl Into<String>) -> Refusal {
    Refusal::never(ErrorCode::Conflict, message)
}

fn check_names(context: &BrokerContext, follow: &Follow) -> Result<(), Refusal> {
    let broker = &context.settings.broker;
    let address = context.store_host.to_string();
    if follow.address == address {
        return Err(conflict(format!(
            "{address} was pointed at itself: a slave follows another broker, set replication.ha_master_address or its role right"
        )));
    }
    if context.standing.is_slave() {
        return Err(conflict(format!(
            "{address} is itself a slave of {}: point the slave at their master",
            broker.name
        )));
    }
    if follow.cluster != broker.cluster_name || follow.broker != broker.name {
        return Err(conflict(format!(
            "the slave belongs to {} of cluster {}, this is {} of cluster {}: give the slave the names of its master, or the address of its own",
            follow.broker, follow.cluster, broker.name, broker.cluster_name
        )));
    }
    if follow.broker_id == 0 {
        return Err(conflict(
            "broker id 0 is the master's: give the slave an id of its own, 1 or more",
        ));
    }
    let ours = context.store.log.segment_bytes();
    if follow.segment_bytes != ours {
        return Err(conflict(format!(
            "the slave's segments have {} bytes, the master's {ours}: set store.commit_log_segment_bytes of the slave to the master's, with an empty data folder",
            follow.segment_bytes
        )));
    }
    Ok(())
}

/// What name servers know of the set. They are asked again when they do not know this slave: it may have come just now.
async fn known_members(context: &Arc<BrokerContext>, broker_id: u64) -> Members {
    if !context.has_registrars() {
        return Members::Unasked;
    }
    let members = context.set.members();
    if members.contains_key(&broker_id) {
        return Members::Told(members);
    }
    context.ask_name_servers(ASK_AGAIN).await;
    Members::Told(context.set.members())
}

/// Whether a slave is the one that name servers know: it is where that is reached. Otherwise anybody could have messages
/// acknowledged that are nowhere but here.
fn check_member(
    context: &BrokerContext,
    members: &Members,
    follow: &Follow,
    peer: SocketAddr,
) -> Result<(), Refusal> {
    let Members::Told(members) = members else {
        return Ok(());
    };
    let Follow {
        broker, broker_id, ..
    } = follow;
    let refuse = |reason: String| Err(Refusal::safe(ErrorCode::NotAuthorized, reason));
    let Some(registered) = members.get(broker_id) else {
        return refuse(format!(
            "no name server knows a slave {broker_id} of {broker}: a slave registers with the name servers of its master first"
        ));
    };
    if *registered != follow.address {
        return refuse(format!(
            "slave {broker_id} of {broker} is {registered} for the name servers, and {} says that it is: give one of them another id",
            follow.address
        ));
    }
    match is_at(context, registered, peer) {
        true => Ok(()),
        false => refuse(format!(
            "slave {broker_id} of {broker} is registered at {registered}, and {peer} says that it is: set its \
             broker.advertised_address to the address from which it reaches its master"
        )),
    }
}

/// Whether a connection comes from where an address leads.
fn is_at(context: &BrokerContext, address: &str, peer: SocketAddr) -> bool {
    let Some(ip) = ip_of(address) else {
        return false;
    };
    let peer = peer.ip().to_canonical();
    // On one machine there are several ways.
    let is_here = ip.is_loopback() || ip == context.store_host.ip();
    ip == peer || (peer.is_loopback() && is_here)
}

fn ip_of(address: &str) -> Option<IpAddr> {
    let parsed = address.parse::<SocketAddr>().ok();
    parsed.map(|address| address.ip().to_canonical())
}

/// Whether somebody who asks what has changed is the slave that it says.
pub(super) fn check_known(
    context: &BrokerContext,
    broker_id: u64,
    peer: SocketAddr,
) -> Result<(), Refusal> {
    let is_known = !context.has_registrars()
        || context
            .set
            .members()
            .get(&broker_id)
            .is_some_and(|address| is_at(context, address, peer));
    match is_known && broker_id > 0 {
        true => context.standing.check_master(),
        false => Err(Refusal::safe(
            ErrorCode::NotAuthorized,
            format!(
                "no name server knows a slave {broker_id} of this set at {}",
                peer.ip()
            ),
        )),
    }
}

/// Decides about a slave that reports where its log ends and says no more; returns its number in the set.
pub(super) async fn admit_classic(
    context: &Arc<BrokerContext>,
    reported: PhysicalOffset,
    peer: SocketAddr,
) -> Result<u64, Refusal> {
    if context.standing.is_slave() {
        return Err(conflict(
            "this broker is a slave itself: point the slave at its master",
        ));
    }
    let end = context.store.log.appended();
    if reported > end {
        return Err(conflict(format!(
            "the slave's log ends at {reported}, that of its master at {end}: the slave has what its master has lost; \
             make it the master, or give it an empty data folder"
        )));
    }
    let begin = context.store.log.begin();
    if reported < begin && reported != PhysicalOffset::ZERO {
        return Err(conflict(format!(
            "the slave's log ends at {reported}, that of its master begins at {begin}: give the slave an empty data folder"
        )));
    }
    if !context.has_registrars() {
        return Ok(1);
    }
    let mut known = classic_ids(context, peer);
    if known.is_empty() {
        context.ask_name_servers(ASK_AGAIN).await;
        known = classic_ids(context, peer);
    }
    let replicas = context.replicas.all();
    let native = |id: &u64| {
        replicas
            .iter()
            .any(|r| r.broker_id == *id && r.kind == Kind::Native)
    };
    let taken = |id: &u64| replicas.iter().any(|r| r.broker_id == *id);
    let mut free = known.iter().filter(|id| !taken(id));
    // It may come back before the end of its last connection is known.
    let mut own = known.iter().filter(|id| !native(id));
    let ip = peer.ip();
    match free.next().or_else(|| own.next()) {
        Some(id) => Ok(*id),
        None if known.is_empty() => Err(Refusal::safe(
            ErrorCode::NotAuthorized,
            format!("no name server knows a slave of this set at {ip}"),
        )),
        None => Err(Refusal::safe(
            ErrorCode::NotAuthorized,
            format!("the slaves that name servers know at {ip} follow already"),
        )),
    }
}

/// The numbers of slaves that are registered where a connection comes from.
fn classic_ids(context: &BrokerContext, peer: SocketAddr) -> Vec<u64> {
    let members = context.set.members().into_iter();
    let slaves = members.filter(|(id, address)| *id > 0 && is_at(context, address, peer));
    slaves.map(|(id, _)| id).collect()
}

/// Where a slave goes on.
fn place(
    context: &BrokerContext,
    follow: &Follow,
    theirs: &Epochs,
) -> Result<PhysicalOffset, Refusal> {
    let log = &context.store.log;
    let (begin, end) = (log.begin(), log.appended());
    if follow.log_begin == follow.log_end {
        // It has nothing, whoever wrote what it had.
        return Ok(begin);
    }
    let ours = &context.standing.epochs;
    let common = theirs.common_with(follow.log_end, ours, end);
    let Some(common) = common else {
        return Err(conflict(format!(
            "the slave's log, which ends at {}, has nothing in common with its master's: it belongs to another set, or was away for longer than the master keeps \
             messages; give the slave an empty data folder",
            follow.log_end
        )));
    };
    if common < follow.log_end && theirs.last_epoch() == context.standing.epoch {
        let epoch = context.standing.epoch;
        return Err(conflict(format!(
            "the slave's log ends at {}, and is that of its master only up to {common}, in the same epoch {epoch}: the master has \
             lost the end of its log, by a power cut perhaps; make the slave the master with `castmq admin broker promote`, or give \
             it an empty data folder and lose what it alone has",
            follow.log_end
        )));
    }
    // Of what was deleted since the slave has the end no more than the beginning.
    Ok(common.max(begin))
}
