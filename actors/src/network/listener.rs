//! listener: accepts connections on one address, greets them, and starts a session of the role that was asked for.

use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use castmq_protocol::native::{ErrorCode, Failure as Refusal, Role, Welcome};
use serde::Serialize;

use super::connection::{Connection, Framing, Input};
use super::greeting::{Client, Greeted, GreetingError, Opening, greet};
use super::socket::{self, Bound, Detached, Stream};
use crate::supervision::{Cast, Ctx, Failure};

/// After accepting has failed, for lack of file descriptors perhaps, the next try.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Connections beyond the limit that are told so at one time. Further ones are closed without a word, so that they cannot
/// use up what the process may open.
const MAX_TURNED_AWAY: u32 = 256;

/// What a listener does with its connections.
pub(crate) trait Reception: Send + Sync + 'static {
    /// What accepted clients are told.
    fn welcome(&self) -> Welcome;

    /// Whether this client is taken.
    fn check(&self, client: &Client) -> Result<(), Refusal>;

    /// Starts a session, on whatever thread.
    fn start_session(&self, connection: Accepted);

    /// Resolves when connections can be taken. Until then they wait.
    fn opens(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(ready(()))
    }

    /// Whether a connection is taken that begins with these bytes, and not with a hello.
    fn takes_foreign(&self, first: [u8; 4]) -> bool {
        let _ = first;
        false
    }

    /// Starts what serves such a connection.
    fn start_foreign(&self, connection: Foreign) {
        drop(connection);
    }

    /// Time a client has for its hello.
    fn handshake_timeout(&self) -> Duration;

    /// Connections there may be.
    fn max_connections(&self) -> u32;
}

/// A connection that has been greeted and has no session yet.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) socket: Detached,
    pub(crate) client: Client,
    pub(crate) already: bytes::BytesMut,
    /// Held as long as the connection counts.
    pub(crate) seat: Seat,
}

impl Accepted {
    /// The socket on the current thread's reactor.
    pub(crate) fn into_parts(self) -> std::io::Result<(Stream, Client, bytes::BytesMut, Seat)> {
        let socket = self.socket.attach()?;
        Ok((socket, self.client, self.already, self.seat))
    }
}

/// A connection that began with something else than a hello.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) socket: Detached,
    pub(crate) peer: SocketAddr,
    pub(crate) already: bytes::BytesMut,
    /// Held as long as the connection counts.
    pub(crate) seat: Seat,
}

impl Foreign {
    /// A connection on RocketMQ's wire, on the current thread's reactor.
    pub(crate) fn into_connection(self, max_frame_bytes: usize) -> std::io::Result<Connection> {
        let socket = self.socket.attach()?;
        let input = Input::new(self.already, Framing::Remoting, max_frame_bytes);
        Ok(Connection::new(socket, self.peer, input, self.seat))
    }
}

/// A connection's place among those that there may be. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Seat(Arc<AtomicU32>);

impl Seat {
    fn take(taken: &Arc<AtomicU32>, limit: u32) -> Option<Self> {
        let before = taken.fetch_add(1, Ordering::AcqRel);
        let seat = Self(taken.clone());
        (before < limit).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// See the module.
pub(crate) struct Listener {
    /// Bound before the tree was started, so that a port in use is an error at start; taken over by each incarnation.
    socket: Bound,
    address: SocketAddr,
    reception: Arc<dyn Reception>,
    connections: Arc<AtomicU32>,
    accepted: u64,
    /// Connections beyond the limit that are being told so.
    turned_away: u32,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct ListenerState {
    address: String,
    connections: u32,
    accepted: u64,
}

impl Listener {
    pub(crate) fn new(
        socket: Bound,
        reception: Arc<dyn Reception>,
        connections: Arc<AtomicU32>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            address: socket.address()?,
            socket,
            reception,
            connections,
            accepted: 0,
            turned_away: 0,
        })
    }

    fn accept_next(listener: Arc<socket::Listener>, ctx: &mut Ctx<'_, Self>) {
        let accepting = {
            let listener = listener.clone();
            async move {
                let accepted = listener.accept().await;
                if accepted.is_err() {
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
                accepted
            }
        };
        ctx.then(accepting, move |actor, accepted, ctx| {
            match accepted {
                Ok((socket, peer)) => actor.accepted(socket, peer, ctx),
                Err(error) => tracing::warn!(%error, address = %actor.address, "accepting failed"),
            }
            Self::accept_next(listener, ctx);
        });
    }

    fn accepted(&mut self, socket: Stream, peer: SocketAddr, ctx: &mut Ctx<'_, Self>) {
        self.accepted += 1;
        let limit = self.reception.max_connections();
        let seat = Seat::take(&self.connections, limit);
        let is_beyond = seat.is_none();
        if is_beyond && self.turned_away >= MAX_TURNED_AWAY {
            tracing::debug!(%peer, limit, "connection closed: too many");
            return;
        }
        self.turned_away += u32::from(is_beyond);
        let reception = self.reception.clone();
        let serving = async move {
            let check = |client: &Client| {
                if seat.is_none() {
                    return Err(Refusal::safe(
                        ErrorCode::LimitReached,
                        format!(
                            "all {limit} connections are taken: close some, or raise limits.max_connections"
                        ),
                    ));
                }
                reception.check(client)
            };
            let within = reception.handshake_timeout();
            let is_foreign = |first| reception.takes_foreign(first);
            let welcome = reception.welcome();
            let greeted = greet(socket, peer, within, is_foreign, welcome, check).await;
            let Some(seat) = seat else {
                return;
            };
            if let Err(error) = greeted.and_then(|opening| start(&*reception, opening, peer, seat))
            {
                tracing::info!(%peer, %error, "connection refused");
            }
        };
        ctx.then(serving, move |listener, (), _| {
            listener.turned_away -= u32::from(is_beyond);
        });
    }
}

/// Gives a connection to whoever serves it.
fn start(
    reception: &dyn Reception,
    opening: Opening,
    peer: SocketAddr,
    seat: Seat,
) -> Result<(), GreetingError> {
    match opening {
        Opening::Native(Greeted {
            socket,
            client,
            already,
        }) => {
            let socket = socket.detach()?;
            reception.start_session(Accepted {
                socket,
                client,
                already,
                seat,
            });
        }
        Opening::Foreign(socket, already) => {
            let socket = socket.detach()?;
            reception.start_foreign(Foreign {
                socket,
                peer,
                already,
                seat,
            });
        }
    }
    Ok(())
}

impl Cast for Listener {
    type State = ListenerState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        let listener = Arc::new(self.socket.listen()?);
        ctx.then(self.reception.opens(), |_, (), ctx| {
            Self::accept_next(listener, ctx);
        });
        Ok(())
    }

    fn observe(&self) -> ListenerState {
        ListenerState {
            address: self.address.to_string(),
            connections: self.connections.load(Ordering::Acquire),
            accepted: self.accepted,
        }
    }
}

/// What a client is told whose role nobody serves here.
pub(crate) fn role_not_served(role: Role, who: &str) -> Refusal {
    Refusal::never(
        ErrorCode::WrongRole,
        format!("a {who} takes no connections with the role {role:?}"),
    )
}
