//! Where byte streams come from. Everything else takes them from here, so that a simulated network can stand in.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A byte stream to the other side.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// A stream being opened.
pub type Dialing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// Opens byte streams.
///
/// # Examples
///
/// A network in memory, on which every address is reached through a pipe:
///
/// ```
/// use castmq_client::raw::{Dial, Dialing, Stream};
///
/// #[derive(Debug)]
/// struct Pipes(tokio::sync::mpsc::UnboundedSender<tokio::io::DuplexStream>);
///
/// impl Dial for Pipes {
///     fn dial(&self, _address: &str) -> Dialing {
///         let (near, far) = tokio::io::duplex(64 * 1024);
///         let sent = self.0.send(far);
///         Box::pin(async move {
///             sent.map_err(|_| std::io::ErrorKind::ConnectionRefused)?;
///             Ok(Box::new(near) as Box<dyn Stream>)
///         })
///     }
/// }
/// ```
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// Opens a stream to `address`, a host and a port.
    fn dial(&self, address: &str) -> Dialing;
}

/// TCP, without Nagle's delay: a lone message must not wait for an acknowledgment of the one before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Dial for Tcp {
    fn dial(&self, address: &str) -> Dialing {
        let address = address.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}
