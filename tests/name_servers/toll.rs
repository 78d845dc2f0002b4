//! A way to a name server on which every piece of a broker's traffic is counted, and which can be cut.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// What went one way, read by read: small messages, each of which waits for an answer, are one read each.
type Tally = Arc<Mutex<Vec<usize>>>;

/// See the module.
pub(crate) struct Toll {
    pub(crate) address: SocketAddr,
    to_name_server: Tally,
    to_broker: Tally,
    ways: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Toll {
    /// Opens a way to a name server.
    pub(crate) async fn before(name_server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let toll = Self {
            address: listener.local_addr().expect("an address"),
            to_name_server: Tally::default(),
            to_broker: Tally::default(),
            ways: Arc::default(),
        };
        let (up, down) = (toll.to_name_server.clone(), toll.to_broker.clone());
        let ways = toll.ways.clone();
        tokio::spawn(async move {
            while let Ok((broker, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(name_server).await else {
                    continue;
                };
                let (from_broker, to_broker) = broker.into_split();
                let (from_server, to_server) = server.into_split();
                let there = tokio::spawn(carry(from_broker, to_server, up.clone()));
                let back = tokio::spawn(carry(from_server, to_broker, down.clone()));
                ways.lock()
                    .extend([there.abort_handle(), back.abort_handle()]);
            }
        });
        toll
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        for way in self.ways.lock().drain(..) {
            way.abort();
        }
    }

    /// Forgets what was counted.
    pub(crate) fn reset(&self) {
        self.to_name_server.lock().clear();
        self.to_broker.lock().clear();
    }

    /// What was read from the broker since.
    pub(crate) fn said(&self) -> Vec<usize> {
        self.to_name_server.lock().clone()
    }

    /// What was read from the name server since.
    pub(crate) fn answered(&self) -> Vec<usize> {
        self.to_broker.lock().clone()
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, tally: Tally) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        tally.lock().push(bytes);
        if to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
}
