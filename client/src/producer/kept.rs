//! A connection to one broker that is kept: made again whenever it ends, and listened to while it is there.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::link::Session;
use crate::raw::{Push, Pushes};

/// The connection as it is now; `None` while there is none.
pub(super) type Current = watch::Receiver<Option<Arc<Session>>>;

/// What a connection is kept for.
pub(super) trait Keeping: Send + Sync + 'static {
    /// In a word, for the log.
    const FOR: &'static str;

    /// Makes it.
    fn open(&self, address: &str) -> impl Future<Output = Result<(Arc<Session>, Pushes)>> + Send;

    /// The broker says something unasked.
    fn take(&self, session: &Arc<Session>, push: Push);
}

/// Keeps a connection until it is to stop, or nobody wants it.
pub(super) async fn keep<K: Keeping>(
    keeping: Arc<K>,
    address: Arc<str>,
    mut backoff: Backoff,
    current: watch::Sender<Option<Arc<Session>>>,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        let error = tokio::select! {
            ended = serve(&*keeping, &address, &mut backoff, &current) => ended,
            _ = stop.changed() => break,
            () = current.closed() => break,
        };
        current.send_replace(None);
        let wait = backoff.after_failure(fastrand::f64());
        tracing::debug!(%address, %error, ?wait, "no connection for {}", K::FOR);
        tokio::select! {
            () = sleep(wait) => {}
            _ = stop.changed() => break,
            () = current.closed() => break,
        }
    }
    if let Some(session) = current.send_replace(None) {
        session.connection.close();
    }
}

/// Serves one connection until it ends.
async fn serve(
    keeping: &impl Keeping,
    address: &str,
    backoff: &mut Backoff,
    current: &watch::Sender<Option<Arc<Session>>>,
) -> Error {
    match keeping.open(address).await {
        Ok((session, mut pushes)) => {
            backoff.reset();
            current.send_replace(Some(session.clone()));
            while let Some(push) = pushes.next().await {
                keeping.take(&session, push);
            }
            session.connection.ended().await
        }
        Err(error) => error,
    }
}
