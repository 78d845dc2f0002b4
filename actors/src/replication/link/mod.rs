//! replication-link: one connection of a slave. What the slave asks first says what the connection is for.
//!
//! - [`admission`]: who may follow, and from where.
//! - [`sending`]: the log goes out, acknowledgements come in.
//! - [`changes`]: what has changed besides the log.

mod admission;
mod changes;
mod sending;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use castmq_protocol::ha::take_report;
use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::native::{ErrorCode, Failure as Refusal, Request, Response};
use castmq_storage::epochs::note_slaves;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};

use self::sending::Sending;
use super::replicas::{Kind, Replica};
use super::wire::{MAX_REQUEST_BYTES, Wire};
use crate::broker::context::BrokerContext;
use crate::network::listener::{Accepted, Foreign};
use crate::supervision::{Cast, Ctx, Failure};
use crate::worker::apart;

/// How a slave opened its connection.
pub(crate) enum Opened {
    /// It said hello.
    Native(Accepted),
    /// It reports where its log ends, as RocketMQ's slaves do.
    Classic(Foreign),
}

/// The slave, once it follows.
type Shown = Arc<Mutex<Option<Arc<Replica>>>>;

/// See the module.
pub(crate) struct Link {
    context: Arc<BrokerContext>,
    opened: Option<Opened>,
    peer: SocketAddr,
    replica: Shown,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct LinkState {
    peer: String,
    /// Its number in the set, while it is sent the log.
    broker_id: Option<u64>,
    acknowledged: Option<u64>,
    behind_bytes: Option<u64>,
    is_in_step: Option<bool>,
}

impl Link {
    pub(crate) fn new(context: Arc<BrokerContext>, opened: Opened) -> Self {
        let peer = match &opened {
            Opened::Native(accepted) => accepted.client.peer,
            Opened::Classic(foreign) => foreign.peer,
        };
        Self {
            context,
            opened: Some(opened),
            peer,
            replica: Arc::default(),
        }
    }
}

/// Serves a connection to its end.
async fn serve(context: Arc<BrokerContext>, opened: Opened, shown: Shown) -> io::Result<()> {
    let (wire, peer, _seat) = match opened {
        Opened::Native(accepted) => {
            let peer = accepted.client.peer;
            let (socket, _, already, seat) = accepted.into_parts()?;
            (Wire::new(socket, already, MAX_REQUEST_BYTES), peer, seat)
        }
        Opened::Classic(foreign) => return serve_classic(context, foreign, shown).await,
    };
    serve_native(context, wire, peer, shown).await
}

async fn serve_native(
    context: Arc<BrokerContext>,
    mut wire: Wire,
    peer: SocketAddr,
    shown: Shown,
) -> io::Result<()> {
    let within = context.handshake_timeout();
    let first = timeout(within, wire.request()).await??;
    match first.request {
        Request::Follow(follow) => match admission::admit(&context, &follow, peer).await {
            Ok(followed) => {
                let from = followed.from;
                let goes_on = from == follow.log_end;
                wire.answer(first.correlation, Response::Followed(followed))
                    .await?;
                if !goes_on {
                    // It has to change its log first, and comes back.
                    return Ok(());
                }
                let store = context.store.clone();
                let noted = apart(move || note_slaves(&store.metadata)).await?;
                noted.map_err(io::Error::other)?;
                let replicas = &context.replicas;
                let place = replicas.join(follow.broker_id, follow.address, Kind::Native, from);
                *shown.lock() = Some(place.replica().clone());
                tracing::info!(broker_id = follow.broker_id, %peer, %from, "a slave follows");
                Sending::new(context, place, from)
                    .run(wire.socket, wire.input)
                    .await
            }
            Err(refusal) => wire.refuse(first.correlation, refusal).await,
        },
        Request::SyncMetadata(sync) => {
            changes::serve(context, wire, peer, first.correlation, sync).await
        }
        _ => {
            let refusal = Refusal::never(
                ErrorCode::WrongRole,
                "this port takes slaves: clients connect to the broker's other port",
            );
            wire.refuse(first.correlation, refusal).await
        }
    }
}

/// A slave that says no more than where its log ends. What it was never sent, it can not acknowledge.
async fn serve_classic(
    context: Arc<BrokerContext>,
    foreign: Foreign,
    shown: Shown,
) -> io::Result<()> {
    let Foreign {
        socket,
        peer,
        already: mut input,
        seat: _seat,
    } = foreign;
    let mut socket = socket.attach()?;
    let first = async {
        loop {
            if let Some(end) = take_report(&mut input).map_err(io::Error::other)? {
                return Ok::<_, io::Error>(end);
            }
            if socket.read_buf(&mut input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    };
    let reported = timeout(context.handshake_timeout(), first).await??;
    let broker_id = admission::admit_classic(&context, reported, peer)
        .await
        .map_err(|refusal| io::Error::other(refusal.message))?;
    let log = &context.store.log;
    let counts = context.settings.replication.count_classic_slaves;
    let from = match reported {
        // Who counts has all of it.
        PhysicalOffset::ZERO if counts => log.begin(),
        // RocketMQ sends a slave that has nothing the last file.
        PhysicalOffset::ZERO => {
            let end = log.appended().0;
            PhysicalOffset(end - end % log.segment_bytes()).max(log.begin())
        }
        reported => reported,
    };
    let address = peer.to_string();
    let kind = Kind::Classic { counts };
    let place = context.replicas.join(broker_id, address, kind, from);
    *shown.lock() = Some(place.replica().clone());
    tracing::info!(broker_id, %peer, %from, "a slave of RocketMQ's follows");
    Sending::new(context, place, from).run(socket, input).await
}

impl Cast for Link {
    type State = LinkState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        let Some(opened) = self.opened.take() else {
            return Err(Failure::new("a connection is served once"));
        };
        let serving = serve(self.context.clone(), opened, self.replica.clone());
        ctx.then(serving, |link, result, ctx| {
            let peer = link.peer;
            let replica = link.replica.lock().take();
            match result {
                Ok(()) => tracing::debug!(%peer, "a slave's connection has ended"),
                Err(error) => {
                    let error = error.to_string();
                    let broker_id = replica.map(|replica| replica.broker_id);
                    let about = format!("{} {broker_id:?}", peer.ip());
                    let complaints = &link.context.complaints;
                    if complaints.is_news(&about, &error, Instant::now()) {
                        tracing::warn!(%peer, broker_id, error, "a slave's connection has ended");
                    }
                }
            }
            ctx.stop();
        });
        Ok(())
    }

    fn observe(&self) -> LinkState {
        let replica = self.replica.lock();
        let replica = replica.as_deref();
        let appended = self.context.store.log.appended();
        let acknowledged = replica.map(Replica::acknowledged);
        LinkState {
            peer: self.peer.to_string(),
            broker_id: replica.map(|replica| replica.broker_id),
            acknowledged: acknowledged.map(|place| place.0),
            behind_bytes: acknowledged.map(|place| appended.distance_from(place)),
            is_in_step: replica.map(Replica::is_in_step),
        }
    }
}
