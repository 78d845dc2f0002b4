//! Keeps a lane going: finds its queues, connects again, and does what is due.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{OptionFuture, select_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::lane::Lane;
use super::ready::{BrokerSlot, Target};
use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::link::AnnouncedTopic;
use crate::raw::Role;
use crate::routes::{FRESH, LOOK, REFRESH, WriteBroker, WriteRoute};

/// Shortest time between two searches, however many messages wait.
const SEARCH_PAUSE: Duration = Duration::from_millis(200);

/// How long a search waits for a broker. Connecting goes on behind it; meanwhile the route may say something else.
const SEARCH_LIMIT: Duration = Duration::from_secs(1);

/// Whether a search reached a master of every set of the topic.
type Search = Pin<Box<dyn Future<Output = Result<bool>> + Send>>;

/// Why to look for the topic's queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Only because it was long ago.
    None,
    /// What is known is out of date.
    Stale,
    /// Messages wait for it.
    Waiting,
}

/// When to look for the topic's queues.
#[derive(Debug)]
struct Schedule {
    backoff: Backoff,
    /// The last search.
    last: Option<Instant>,
    /// Not earlier while nothing waits.
    not_before: Instant,
    /// Then at the latest, without a need.
    refresh: Instant,
    /// The last search did not reach all brokers: perhaps they are elsewhere by now.
    misses_some: bool,
}

impl Schedule {
    fn new(now: Instant) -> Self {
        Self {
            backoff: Backoff::up_to(LOOK),
            last: None,
            not_before: now,
            refresh: now,
            misses_some: false,
        }
    }

    fn next(&self, need: Need) -> Instant {
        match need {
            Need::None => self.refresh,
            Need::Stale => self.not_before,
            // However long brokers have been away: whoever waits does not wait for long.
            Need::Waiting => self.last.map_or(self.not_before, |last| {
                self.not_before.min(last + SEARCH_PAUSE)
            }),
        }
    }

    /// How old a route may be for a search.
    fn max_age(&self, need: Need) -> Duration {
        let is_needed = need != Need::None || self.misses_some;
        match is_needed && self.last.is_some() {
            true => FRESH,
            // The first search takes what others have found.
            false => REFRESH / 2,
        }
    }

    fn found_all(&mut self, now: Instant) {
        self.backoff.reset();
        self.misses_some = false;
        self.last = Some(now);
        self.not_before = now + SEARCH_PAUSE / 2;
        self.refresh = now + REFRESH;
    }

    fn missed_some(&mut self, now: Instant, random: f64) {
        self.misses_some = true;
        self.last = Some(now);
        self.not_before = now + self.backoff.after_failure(random);
        self.refresh = self.not_before;
    }
}

/// A lane that has a keeper. However the keeper ends, nobody waits for it in vain: not when its runtime ends before it has
/// begun, either.
pub(super) struct Kept(pub(super) Arc<Lane>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Keeps the lane until the producer is closed.
pub(super) async fn keep(kept: Kept, client: Client, mut closed: watch::Receiver<bool>) {
    let lane = &kept.0;
    let mut schedule = Schedule::new(Instant::now());
    let mut search: Option<Search> = None;
    while !*closed.borrow() {
        let now = Instant::now();
        lane.tick(now);
        let need = match lane.stale.load(Ordering::Acquire) {
            _ if lane.is_awaited() => Need::Waiting,
            true => Need::Stale,
            false => Need::None,
        };
        if search.is_none() && now >= schedule.next(need) {
            lane.stale.store(false, Ordering::Release);
            let max_age = schedule.max_age(need);
            search = Some(Box::pin(find(lane.clone(), client.clone(), max_age)));
        }
        let next_search = search.is_none().then(|| schedule.next(need));
        let wake_at = next_search.into_iter().chain(lane.next_tick()).min();
        tokio::select! {
            _ = closed.changed() => break,
            Some(result) = OptionFuture::from(search.as_mut()) => {
                search = None;
                conclude(lane, &mut schedule, result);
            }
            () = lane.wake.notified() => {}
            () = lost(lane.brokers()) => lane.stale.store(true, Ordering::Release),
            () = sleep_until(wake_at.unwrap_or(now)), if wake_at.is_some() => {}
        }
    }
}

fn conclude(lane: &Lane, schedule: &mut Schedule, result: Result<bool>) {
    let now = Instant::now();
    match &result {
        Ok(true) => schedule.found_all(now),
        Ok(false) | Err(_) => schedule.missed_some(now, fastrand::f64()),
    }
    if let Err(error) = result {
        tracing::debug!(topic = %lane.topic, %error, "cannot find the topic's queues");
        // Messages to a topic that was never there need not wait for their timeout to learn it.
        if error.retry() == castmq_protocol::native::Retry::Never {
            lane.fail_parked(|inflight| Some(inflight.final_error(error.clone(), now)));
        }
        *lane.last_error.lock() = Some(error);
        lane.changed.notify_waiters();
    }
}

/// Waits until a connection that is in use ends.
async fn lost(brokers: Vec<BrokerSlot>) {
    let in_use: Vec<_> = brokers
        .into_iter()
        .filter_map(|slot| slot.target)
        .map(|target| target.session.connection.clone())
        .filter(|connection| connection.is_usable())
        .map(|connection| Box::pin(async move { connection.ended().await }))
        .collect();
    if in_use.is_empty() {
        return std::future::pending().await;
    }
    select_all(in_use).await;
}

/// Finds the topic's brokers and connects to them. Each is published as soon as it can be reached.
async fn find(lane: Arc<Lane>, client: Client, max_age: Duration) -> Result<bool> {
    let known = lane.brokers();
    let is_in_use = |slot: &BrokerSlot| slot.target.as_ref().is_some_and(|t| t.is_usable());
    let route = match client.shared.routes.for_writing(&lane.topic, max_age).await {
        // Name servers have not heard of it yet, or have forgotten it: it must not be made a second time elsewhere.
        Ok(route) if route.creates && known.iter().any(is_in_use) => known_route(&known),
        Ok(route) => route,
        Err(error) if known.is_empty() => return Err(error),
        Err(error) => {
            // Brokers may well be there while name servers are not, or have forgotten a topic for a moment.
            tracing::debug!(topic = %lane.topic, %error, "keeping the queues known before");
            known_route(&known)
        }
    };
    lane.look_at_tracer();
    if route.creates {
        create(&lane, &client, route.brokers).await
    } else {
        let lacks_masters = route.lacks_masters;
        let connected = connect(&lane, &client, &known, route.brokers).await;
        connected.map(|has_all| has_all && !lacks_masters)
    }
}

fn known_route(known: &[BrokerSlot]) -> WriteRoute {
    let brokers = known.iter().map(|slot| WriteBroker {
        name: slot.name.clone(),
        address: slot.address.clone(),
        queues: slot.queues,
    });
    WriteRoute {
        brokers: brokers.collect(),
        lacks_masters: false,
        creates: false,
    }
}

/// The target that is there already.
fn reuse(topic: &str, known: &[BrokerSlot], broker: &WriteBroker) -> Option<Arc<Target>> {
    let targets = known.iter().filter_map(|slot| slot.target.as_ref());
    let same = |target: &&Arc<Target>| {
        target.broker == broker.name
            && target.session.address() == &broker.address
            && target.is_usable()
            && target.session.knows(topic, target.alias)
    };
    targets.into_iter().find(same).cloned()
}

async fn reach(
    lane: &Lane,
    client: &Client,
    broker: &WriteBroker,
) -> Result<(Arc<Target>, AnnouncedTopic)> {
    let link = client.link(&broker.address, Role::Producer);
    let topic = lane.topic.clone();
    // A task of its own: it goes on when this search does not wait any more, and the next one finds what came of it.
    let reaching = client.shared.runtime.spawn(async move {
        let session = link.session().await?;
        let announced = session.topic(&topic).await?;
        Ok::<_, Error>((session, announced))
    });
    let not_connected = |reason: String| Error::Connect {
        address: broker.address.clone(),
        reason: reason.into(),
    };
    let reached = timeout(SEARCH_LIMIT, reaching).await;
    let reached = reached.map_err(|_| not_connected(format!("not within {SEARCH_LIMIT:?}")))?;
    let (session, topic) = reached.map_err(|error| not_connected(error.to_string()))??;
    let target = Target::new(broker.name.clone(), session, topic.alias);
    Ok((Arc::new(target), topic))
}

fn slot(broker: &WriteBroker, target: Option<Arc<Target>>) -> BrokerSlot {
    BrokerSlot {
        name: broker.name.clone(),
        address: broker.address.clone(),
        queues: broker.queues,
        target,
    }
}

async fn connect(
    lane: &Lane,
    client: &Client,
    known: &[BrokerSlot],
    brokers: Vec<WriteBroker>,
) -> Result<bool> {
    let mut slots: Vec<_> = brokers
        .iter()
        .map(|broker| slot(broker, reuse(&lane.topic, known, broker)))
        .collect();
    lane.publish_if_changed(&slots);
    let missing = (0..)
        .zip(&brokers)
        .filter(|(_, broker)| reuse(&lane.topic, known, broker).is_none());
    let mut reaching: FuturesUnordered<_> = missing
        .map(
            |(index, broker): (usize, _)| async move { (index, reach(lane, client, broker).await) },
        )
        .collect();
    let mut last = None;
    while let Some((index, reached)) = reaching.next().await {
        match (reached, slots.get_mut(index)) {
            (Ok((target, _)), Some(slot)) => {
                slot.target = Some(target);
                lane.publish_if_changed(&slots);
            }
            (Ok(_), None) => {}
            (Err(error), _) => last = Some(error),
        }
    }
    let missing_all = slots.iter().all(|slot| slot.target.is_none());
    match last {
        None if slots.is_empty() => Err(Error::NoQueue {
            topic: lane.topic.clone(),
            reason: "no broker with a master takes writes of it".into(),
        }),
        None => Ok(true),
        Some(error) if missing_all => Err(error),
        Some(error) => {
            tracing::debug!(topic = %lane.topic, %error, "a broker of the topic cannot be reached");
            Ok(false)
        }
    }
}

/// Creates the topic on the first broker that does it.
async fn create(lane: &Lane, client: &Client, mut brokers: Vec<WriteBroker>) -> Result<bool> {
    let first = fastrand::usize(..brokers.len().max(1));
    brokers.rotate_left(first);
    let mut last = Error::TopicNotFound {
        topic: lane.topic.clone(),
    };
    for broker in brokers {
        match reach(lane, client, &broker).await {
            Ok((target, topic)) => {
                let mut slot = slot(&broker, Some(target));
                slot.queues = topic.write_queues;
                lane.publish_if_changed(&[slot]);
                return Ok(true);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searching_slows_down_while_brokers_are_missing_but_not_for_messages_that_wait() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut schedule = Schedule::new(start);
        assert_eq!(schedule.next(Need::None), start);
        assert_eq!(schedule.next(Need::Waiting), start);
        for _ in 0..8 {
            schedule.missed_some(start, 0.0);
        }
        assert_eq!(schedule.next(Need::None), after(1000));
        assert_eq!(schedule.next(Need::Stale), after(1000));
        assert_eq!(schedule.next(Need::Waiting), after(200));
        schedule.found_all(start);
        assert_eq!(schedule.next(Need::None), after(30_000));
        assert_eq!(schedule.next(Need::Stale), after(100));
        assert_eq!(schedule.next(Need::Waiting), after(100));
    }
}
