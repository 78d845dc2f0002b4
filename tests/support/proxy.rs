//! The middle of a connection: what goes through it can be held up, slowed, and let go on.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How fast bytes go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Free,
    /// So many bytes each millisecond, or fewer.
    Trickle(usize),
    /// None do, and connections stay open.
    Stalled,
}

/// See the module. Its connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    pace: watch::Sender<Pace>,
}

impl Proxy {
    /// Leads to this address.
    pub async fn to(target: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (pace, paced) = watch::channel(Pace::Free);
        let target = target.to_owned();
        actix_rt::spawn(async move {
            let mut ended = paced.clone();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = ended.wait_for(|_| false) => return,
                };
                let (near, _) = accepted.expect("a connection");
                actix_rt::spawn(pass(near, target.clone(), paced.clone()));
            }
        });
        Self { address, pace }
    }

    pub fn set(&self, pace: Pace) {
        self.pace.send_replace(pace);
    }
}

async fn pass(near: TcpStream, target: String, pace: watch::Receiver<Pace>) {
    let Ok(far) = TcpStream::connect(&target).await else {
        return;
    };
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    tokio::select! {
        _ = flow(&mut near_read, &mut far_write, pace.clone()) => {}
        _ = flow(&mut far_read, &mut near_write, pace) => {}
    }
}

async fn flow(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut pace: watch::Receiver<Pace>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let gone = |_| std::io::Error::other("the proxy is gone");
    loop {
        let now = *pace.borrow_and_update();
        let most = match now {
            Pace::Trickle(bytes) => bytes.min(buffer.len()),
            Pace::Free | Pace::Stalled => buffer.len(),
        };
        let read = tokio::select! {
            read = from.read(&mut buffer[..most]) => read?,
            changed = pace.changed() => {
                changed.map_err(gone)?;
                continue;
            }
        };
        if read == 0 {
            return Ok(());
        }
        let let_on = pace.wait_for(|pace| *pace != Pace::Stalled).await;
        let paced = *let_on.map_err(gone)?;
        if matches!(paced, Pace::Trickle(_)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}
