//! Where a member of a group is at home: at its broker set's master, or at a slave while there is none.

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::native::Role;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::member::{Membership, Served};
use super::push::Core;
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::link::Session;
use crate::routes::{FRESH, LOOK, Place, REFRESH};

/// How long a membership lasts that is not lost for a reason of its own.
const LASTING: Duration = Duration::from_secs(1);

/// What becomes known of a broker's membership: the first time for [`start`](super::PushConsumerBuilder::start), later for
/// nobody.
pub(super) type Report = (Arc<str>, Result<()>);

/// Where it is said.
pub(super) type Reports = mpsc::UnboundedSender<Report>;

/// Keeps the membership at one broker set until the consumer stops. Returns what went wrong with the last commit.
pub(super) async fn keep_membership(
    core: Arc<Core>,
    broker: Arc<str>,
    mut place: Place,
    mut stop: watch::Receiver<bool>,
    reports: Reports,
) -> Result<()> {
    let mut backoff = Backoff::default();
    let mut master = None;
    let mut last = None;
    while !*stop.borrow() {
        let joined = tokio::select! {
            joined = Membership::join(&core, &place.address) => joined,
            elsewhere = core.elsewhere(&broker, &place) => {
                place = elsewhere;
                continue;
            }
            _ = stop.changed() => break,
        };
        let error = match joined {
            Ok((membership, pushes)) => {
                // Only the first report has a reader.
                let _ = reports.send((broker.clone(), Ok(())));
                let since = Instant::now();
                let at = membership.place();
                core.begin_at(&broker, &at, &mut master);
                let better = core.better_place(&broker, &at);
                let served = membership.serve(pushes, better, &mut stop).await;
                // One that ends as soon as it begins is no reason to hurry.
                if since.elapsed() >= LASTING {
                    backoff.reset();
                }
                match served {
                    Served::Stopped(result) => return result,
                    Served::Left(better) => {
                        tracing::info!(group = %core.group, %broker, from = %at.address, to = %better.address, "consuming at another broker of the set");
                        place = better;
                        continue;
                    }
                    Served::Lost(error) => error,
                }
            }
            Err(error) => {
                let _ = reports.send((broker.clone(), Err(error.clone())));
                error
            }
        };
        core.troubled.notify_one();
        let wait = pause(&mut backoff, &error);
        let address = &place.address;
        if backoff.is_first_failure() {
            tracing::warn!(group = %core.group, %address, %error, ?wait, "not a member of the group, joining again");
        } else {
            tracing::debug!(group = %core.group, %address, %error, ?wait, "still not a member of the group");
        }
        let next = async {
            sleep(wait).await;
            core.next_place(&broker, &place, master.as_ref(), &error)
                .await
        };
        place = tokio::select! {
            next = next => next,
            _ = stop.changed() => place,
        };
        last = Some(error);
    }
    core.end_apart(&broker, last).await
}

/// How long to wait after an error. What may be elsewhere by now is looked for every second.
fn pause(backoff: &mut Backoff, error: &Error) -> Duration {
    let wait = backoff.after_failure(fastrand::f64());
    match error.hints_at_stale_route() {
        true => wait.min(LOOK),
        false => wait,
    }
}

impl Core {
    /// Where to try next.
    async fn next_place(
        &self,
        broker: &str,
        failed: &Place,
        master: Option<&Arc<str>>,
        error: &Error,
    ) -> Place {
        if let Some(address) = master.filter(|address| **address != failed.address)
            && error.is_not_master()
        {
            // The slave sees its master, whatever name servers say.
            return Place {
                address: address.clone(),
                is_slave: false,
            };
        }
        let found = self.place_of(broker, FRESH).await;
        found.unwrap_or_else(|| failed.clone())
    }

    /// Waits until a broker is somewhere else.
    async fn elsewhere(&self, broker: &str, place: &Place) -> Place {
        loop {
            sleep(LOOK).await;
            if let Some(found) = self.place_of(broker, FRESH).await
                && found.address != place.address
            {
                return found;
            }
        }
    }

    /// Waits until a broker has a master somewhere else, and that can be reached. Who is at a slave wants to go back soon.
    async fn better_place(&self, broker: &str, at: &Place) -> Place {
        let every = if at.is_slave { LOOK } else { REFRESH };
        loop {
            sleep(every).await;
            if let Some(found) = self.place_of(broker, every / 2).await
                && !found.is_slave
                && found.address != at.address
                && self.is_master(&found.address).await
            {
                return found;
            }
        }
    }

    async fn is_master(&self, address: &str) -> bool {
        let options = self.client.options(Role::Consumer, &self.member_id);
        let opened = Session::open(address, &options).await;
        opened.is_ok_and(|(session, _)| !session.is_slave())
    }

    /// A membership begins.
    ///
    /// A master that took over from another may lack the end of the other's log, and have other messages at those places. So it
    /// is believed how far the group is, and what was done since that was committed comes again. A slave takes no writes, and
    /// the master it copies has what it has: between these two, positions hold.
    fn begin_at(&self, broker: &str, at: &Place, master: &mut Option<Arc<str>>) {
        if at.is_slave {
            return;
        }
        let before = master.replace(at.address.clone());
        if before.is_some_and(|before| before != at.address) {
            let mut progress = self.progress.lock();
            progress
                .retain(|queue, progress| *queue.broker != *broker || progress.at == at.address);
        }
    }
}
