//! The push consumer: the tasks that make it up, and what they share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use castmq_protocol::native::request::{GroupMode, StartFrom, TopicSubscription};
use castmq_protocol::native::route::TopicRoute;
use hashbrown::HashSet;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::Order;
use super::PushConsumerBuilder;
use super::broadcast::OffsetStore;
use super::credit::Window;
use super::handler::Handler;
use super::home::{Report, Reports, keep_membership};
use super::tracker::Progress;
use super::worker::{Messages, watch_retries, work};
use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::Result;
use crate::message::Queue;
use crate::routes::{LOOK, Place, REFRESH, readable, reading_place};
use crate::trace::TracedGroup;

/// Waits for what became of joining at each broker. One that is out of reach is no error while another is there.
async fn first_results(
    mut reports: mpsc::UnboundedReceiver<Report>,
    mut expected: HashSet<Arc<str>>,
) -> Result<()> {
    let mut joined = expected.is_empty();
    let mut last = None;
    while !expected.is_empty()
        && let Some((broker, result)) = reports.recv().await
    {
        expected.remove(&broker);
        match result {
            Ok(()) => joined = true,
            Err(error) if error.is_final() => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) if !joined => Err(error),
        _ => Ok(()),
    }
}

/// What the tasks of one consumer share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) client: Client,
    pub(super) member_id: String,
    pub(super) group: Arc<str>,
    pub(super) subscriptions: Vec<TopicSubscription>,
    pub(super) from: StartFrom,
    pub(super) window: Window,
    pub(super) order: Order,
    pub(super) max_attempts: Option<u32>,
    pub(super) commit_every: Duration,
    pub(super) drain_timeout: Duration,
    pub(super) messages: Arc<Messages>,
    /// A broadcasting consumer's own.
    pub(super) offsets: Option<OffsetStore>,
    pub(super) room: Option<String>,
    pub(super) claims: Vec<Queue>,
    /// How far queues were when their connections were lost.
    pub(super) progress: Mutex<BTreeMap<Queue, Progress>>,
    /// A membership was lost, or cannot be had: brokers may be elsewhere by now.
    pub(super) troubled: Notify,
    /// Brokers do not filter: it is done here.
    pub(super) filters_here: AtomicBool,
}

impl Core {
    pub(super) fn mode(&self) -> GroupMode {
        if self.offsets.is_some() {
            GroupMode::Broadcasting
        } else {
            GroupMode::Clustering
        }
    }

    /// Waits until a queue's messages can be handled without getting ahead of others.
    pub(super) async fn wait_for_order(&self, queue: &Queue) {
        if self.order == Order::PerQueue {
            self.messages.quiet(queue).await;
        }
    }

    /// Brokers that have queues of the topics, and where they are read.
    async fn brokers(&self, max_age: Duration) -> Result<BTreeMap<Arc<str>, Place>> {
        let mut brokers = BTreeMap::new();
        for subscription in &self.subscriptions {
            let topic = subscription.topic.as_str().into();
            match self.client.shared.routes.find(&topic, max_age).await? {
                Some(route) => {
                    let found = readable(&route).into_iter();
                    brokers.extend(found.map(|broker| (broker.name, broker.place)));
                }
                None if max_age < REFRESH / 2 => tracing::debug!(%topic, "topic is not there"),
                None => tracing::warn!(%topic, group = %self.group, "topic does not exist yet"),
            }
        }
        Ok(brokers)
    }

    /// Where a broker is read, as far as a route tells that is not older than `max_age`, or is all that is known.
    pub(super) async fn place_of(&self, broker: &str, max_age: Duration) -> Option<Place> {
        let routes = &self.client.shared.routes;
        for subscription in &self.subscriptions {
            let topic = subscription.topic.as_str().into();
            let known = routes.at_hand(&topic, REFRESH).await;
            let has_broker =
                |route: &Arc<TopicRoute>| route.brokers.iter().any(|set| set.name == broker);
            if known.ok().flatten().as_ref().is_some_and(has_broker) {
                // All its topics say the same: one is asked for.
                let found = routes.find(&topic, max_age).await.ok().flatten();
                return found.and_then(|route| reading_place(&route, broker));
            }
        }
        None
    }
}

type Member = JoinHandle<Result<()>>;

/// The memberships of one consumer, one for each broker.
struct Members {
    core: Arc<Core>,
    stopped: watch::Receiver<bool>,
    reports: Reports,
    members: BTreeMap<Arc<str>, Member>,
}

impl Members {
    /// Begins memberships at brokers that are new. Where the others are is for themselves to find out. One at a broker that is
    /// not listed stays: name servers forget brokers that are still there.
    fn update(&mut self, brokers: BTreeMap<Arc<str>, Place>) {
        for (name, place) in brokers {
            self.members.entry(name).or_insert_with_key(|name| {
                let (core, stopped) = (self.core.clone(), self.stopped.clone());
                let reports = self.reports.clone();
                tokio::spawn(keep_membership(core, name.clone(), place, stopped, reports))
            });
        }
    }

    /// Looks for brokers until the consumer stops, then waits for the memberships to end.
    async fn keep(mut self) -> Result<()> {
        let mut stopped = self.stopped.clone();
        let mut backoff = Backoff::default();
        while !*stopped.borrow() {
            let wait = if self.members.is_empty() {
                backoff.after_failure(fastrand::f64())
            } else {
                REFRESH
            };
            let max_age = tokio::select! {
                () = sleep(wait) => REFRESH / 2,
                () = self.core.troubled.notified() => LOOK,
                _ = stopped.changed() => break,
            };
            match self.core.brokers(max_age).await {
                Ok(brokers) => self.update(brokers),
                Err(error) => tracing::debug!(%error, "cannot look for brokers"),
            }
        }
        let mut result = Ok(());
        for (_, member) in std::mem::take(&mut self.members) {
            match member.await {
                Ok(Err(error)) => result = Err(error),
                Ok(Ok(())) => {}
                Err(error) => tracing::error!(%error, "membership's task failed"),
            }
        }
        result
    }
}

/// Is given messages, as a member of a group, and hands them to a handler.
///
/// The brokers share the queues of the topics out among the group's members; when members come and go, queues move. A
/// message is delivered at least once: one whose handler was running when a connection was lost, or a consumer crashed,
/// comes again. Committed offsets never pass a message that is not done.
///
/// Lost connections are made again, with growing pauses. While a broker set has no master, the consumer goes on at the slave
/// with the least id, and comes back when the master is back; a consumer that processes in order waits for the master.
/// Messages that could not be processed are kept and tried here until a master takes them. Dropping the consumer shuts it down in the background;
/// [`PushConsumer::shutdown`] waits for that.
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: castmq_client::Client) -> castmq_client::Result<()> {
/// use castmq_client::{Filter, PushConsumer};
///
/// let consumer = PushConsumer::builder(&client, "billing")
///     .subscribe("orders", Filter::All)
///     .handler(|message| async move { println!("{message:?}") })
///     .start()
///     .await?;
/// println!("has {:?}", consumer.assignment());
/// consumer.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PushConsumer {
    core: Arc<Core>,
    stop: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
    members: Option<JoinHandle<Result<()>>>,
}

impl PushConsumer {
    /// Settings first.
    pub fn builder(client: &Client, group: &str) -> PushConsumerBuilder {
        client.push_consumer(group)
    }

    pub(super) async fn start<H: Handler>(
        core: Arc<Core>,
        workers: usize,
        handler: H,
    ) -> Result<Self> {
        let brokers = core.brokers(REFRESH / 2).await?;
        let (stop, stopped) = watch::channel(false);
        let handler = Arc::new(handler);
        let group = TracedGroup {
            tracer: core.client.shared.tracer.clone(),
            group: core.group.clone(),
        };
        let workers = (0..workers)
            .map(|number| {
                let (messages, handler) = (core.messages.clone(), handler.clone());
                tokio::spawn(work(number, messages, handler, group.clone()))
            })
            .collect();
        tokio::spawn(watch_retries(core.messages.clone(), stopped.clone()));
        let (reports, first_reports) = mpsc::unbounded_channel();
        let mut members = Members {
            core: core.clone(),
            stopped,
            reports,
            members: BTreeMap::new(),
        };
        members.update(brokers);
        let expected = members.members.keys().cloned().collect();
        let consumer = PushConsumer {
            core,
            stop,
            workers,
            members: Some(tokio::spawn(members.keep())),
        };
        match first_results(first_reports, expected).await {
            Ok(()) => Ok(consumer),
            Err(error) => {
                // Whatever else went wrong, this is why.
                let _ = consumer.shutdown().await;
                Err(error)
            }
        }
    }

    /// The queues that are assigned to this consumer now, sorted.
    pub fn assignment(&self) -> Vec<Queue> {
        self.core.messages.queues()
    }

    /// Starts no more handlers, waits for those that run, commits, and leaves the group.
    ///
    /// Handlers that take longer than the drain timeout are stopped where they wait.
    ///
    /// # Errors
    ///
    /// When offsets could not be committed: messages that are done will come again.
    pub async fn shutdown(mut self) -> Result<()> {
        self.signal();
        let deadline = Instant::now() + self.core.drain_timeout;
        let result = match self.members.take() {
            Some(members) => members.await.unwrap_or(Ok(())),
            None => Ok(()),
        };
        for worker in std::mem::take(&mut self.workers) {
            let abort = worker.abort_handle();
            if timeout_at(deadline, worker).await.is_err() {
                abort.abort();
            }
        }
        result
    }

    fn signal(&self) {
        self.core.messages.stop();
        self.stop.send_replace(true);
    }
}

impl Drop for PushConsumer {
    fn drop(&mut self) {
        self.signal();
    }
}
