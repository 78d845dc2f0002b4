//! Sockets of a simulated network. They exist on the hosts of a simulation alone, all of which run on one thread.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use turmoil::net::TcpListener;

pub(crate) use turmoil::net::TcpStream as Stream;

/// Whether the calling code runs on a host of a simulation.
pub(crate) fn is_here() -> bool {
    turmoil::in_simulation()
}

/// Opens a connection.
pub(crate) async fn connect(address: &str) -> io::Result<Stream> {
    Stream::connect(address).await
}

/// Accepts connections. Clones listen on the same address, which is free when the last is gone.
#[derive(Clone)]
pub(crate) struct Listener(Arc<TcpListener>);

impl Listener {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        // Nothing is waited for, although it could be.
        let bound = TcpListener::bind(address).now_or_never();
        let bound = bound.unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))?;
        Ok(Self(Arc::new(bound)))
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub(crate) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        self.0.accept().await
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.address()).finish()
    }
}
