//! Where all sockets of brokers and name servers come from: the operating system, or a simulated network.
//!
//! Feature `simulation` adds the second kind, and whoever runs on a host of a simulation gets it. Without the feature there is
//! one kind, and nothing is chosen.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[cfg(feature = "simulation")]
use super::simulated;

/// An address that is taken, before anybody listens on it: so one in use is an error before anything is started.
#[derive(Debug)]
pub(crate) enum Bound {
    Os(std::net::TcpListener),
    #[cfg(feature = "simulation")]
    Simulated(simulated::Listener),
}

impl Bound {
    /// Takes an address.
    pub(crate) fn to(address: SocketAddr) -> io::Result<Self> {
        #[cfg(feature = "simulation")]
        if simulated::is_here() {
            return simulated::Listener::bind(address).map(Self::Simulated);
        }
        std::net::TcpListener::bind(address).map(Self::Os)
    }

    /// The address, with the port that was found where none was named.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Os(socket) => socket.local_addr(),
            #[cfg(feature = "simulation")]
            Self::Simulated(socket) => socket.address(),
        }
    }

    /// The same address, for one more who listens on it.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Os(socket) => socket.try_clone().map(Self::Os),
            #[cfg(feature = "simulation")]
            Self::Simulated(socket) => Ok(Self::Simulated(socket.clone())),
        }
    }

    /// Begins to listen, on the current thread's reactor.
    pub(crate) fn listen(&self) -> io::Result<Listener> {
        match self {
            Self::Os(socket) => {
                let socket = socket.try_clone()?;
                socket.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(socket).map(Listener::Os)
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(socket) => Ok(Listener::Simulated(socket.clone())),
        }
    }
}

/// Accepts connections.
#[derive(Debug)]
pub(crate) enum Listener {
    Os(tokio::net::TcpListener),
    #[cfg(feature = "simulation")]
    Simulated(simulated::Listener),
}

impl Listener {
    /// The next connection, and where it comes from.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Os(socket) => {
                let (stream, peer) = socket.accept().await?;
                Ok((Stream::Os(stream), peer))
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(socket) => {
                let (stream, peer) = socket.accept().await?;
                Ok((Stream::Simulated(stream), peer))
            }
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Os(tokio::net::TcpStream),
    #[cfg(feature = "simulation")]
    Simulated(simulated::Stream),
}

impl Stream {
    /// Opens a connection to a host and a port, without Nagle's delay.
    pub(crate) async fn connect(address: &str) -> io::Result<Self> {
        #[cfg(feature = "simulation")]
        if simulated::is_here() {
            return simulated::connect(address).await.map(Self::Simulated);
        }
        let stream = Self::Os(tokio::net::TcpStream::connect(address).await?);
        stream.set_nodelay()?;
        Ok(stream)
    }

    /// Ends Nagle's delay: a lone answer must not wait for an acknowledgment of the one before.
    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Os(stream) => stream.set_nodelay(true),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => Ok(()),
        }
    }

    /// Takes it off its thread's reactor.
    pub(crate) fn detach(self) -> io::Result<Detached> {
        match self {
            Self::Os(stream) => stream.into_std().map(Detached::Os),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => Ok(Detached::Simulated(stream)),
        }
    }
}

/// A connection on no reactor, to be taken to whatever thread.
#[derive(Debug)]
pub(crate) enum Detached {
    Os(std::net::TcpStream),
    #[cfg(feature = "simulation")]
    Simulated(simulated::Stream),
}

impl Detached {
    /// Puts it on the current thread's reactor.
    pub(crate) fn attach(self) -> io::Result<Stream> {
        match self {
            Self::Os(stream) => tokio::net::TcpStream::from_std(stream).map(Stream::Os),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => Ok(Stream::Simulated(stream)),
        }
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Os(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Os(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Os(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Os(stream) => stream.is_write_vectored(),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Os(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Os(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
