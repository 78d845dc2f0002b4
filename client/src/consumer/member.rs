//! Membership of a group at one broker: joins, takes up and gives up queues, commits, leaves.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use castmq_protocol::model::QueueOffset;
use castmq_protocol::native::request::{
    Filter, GroupAlias, GroupMode, JoinGroup, TopicAlias, TopicQueue, TopicSubscription,
};
use castmq_protocol::native::response::{AssignmentChanged, Deliver};
use castmq_protocol::native::{ErrorCode, Request, Response, Role};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::dispatcher::{Came, QueueKey};
use super::lease::Lease;
use super::push::Core;
use super::tracker::{Assigned, Progress};
use super::worker::Source;
use crate::error::{Error, Result};
use crate::link::Session;
use crate::message::{Origin, Queue, read_records};
use crate::raw::{Push, Pushes};
use crate::routes::Place;

/// How serving a connection ended.
pub(super) enum Served {
    /// The consumer stopped; what the last commit met.
    Stopped(Result<()>),
    /// The group was left here, to join it there.
    Left(Place),
    /// The connection is gone.
    Lost(Error),
}

/// What happens to a queue.
#[derive(Debug)]
pub(super) enum Command {
    /// It is ours from here on.
    TakeUp(Assigned),
    /// It is another's.
    GiveUp,
}

/// A queue whose messages come.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) key: QueueKey,
    pub(super) topic: TopicAlias,
    pub(super) subscription: u32,
    pub(super) name: Queue,
    /// Where the broker said to begin.
    pub(super) assigned: Assigned,
    /// What was committed; `None` before the first time, so that the start is committed too: a group that begins at the
    /// latest message must not begin anew after a restart.
    pub(super) committed: Option<QueueOffset>,
}

/// Where the messages of a subscription go.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    pub(super) key: QueueKey,
    pub(super) origin: Arc<Origin>,
    pub(super) source: Arc<Source>,
    /// Tags that are wanted; empty for all.
    pub(super) tags: Arc<[String]>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) held: BTreeMap<TopicQueue, Held>,
    pub(super) destinations: BTreeMap<u32, Destination>,
    /// Each queue has a task that does one thing after the other.
    pub(super) tasks: BTreeMap<TopicQueue, mpsc::UnboundedSender<Command>>,
    pub(super) next_subscription: u32,
}

/// Membership on one connection.
pub(super) struct Membership {
    pub(super) core: Arc<Core>,
    pub(super) session: Arc<Session>,
    pub(super) group: GroupAlias,
    pub(super) lease: Arc<Lease>,
    pub(super) table: Mutex<Table>,
}

type Tasks = FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>;

impl Membership {
    pub(super) async fn join(core: &Arc<Core>, address: &str) -> Result<(Arc<Self>, Pushes)> {
        let options = core.client.options(Role::Consumer, &core.member_id);
        let (session, pushes) = Session::open(address, &options).await?;
        let group = session.group(&core.group).await?;
        let filtered_here = core.filters_here();
        let mut lease = join_group(core, &session, group).await;
        if let Err(error) = &lease
            && core.may_filter_here(error, filtered_here)
        {
            lease = join_group(core, &session, group).await;
        }
        let membership = Self {
            core: core.clone(),
            session: Arc::new(session),
            group,
            lease: Arc::new(lease?),
            table: Mutex::default(),
        };
        Ok((Arc::new(membership), pushes))
    }

    pub(super) fn place(&self) -> Place {
        Place {
            address: self.session.address().clone(),
            is_slave: self.session.is_slave(),
        }
    }

    /// Until the consumer stops, the connection ends, or there is a `better` place.
    pub(super) async fn serve(
        self: Arc<Self>,
        mut pushes: Pushes,
        better: impl Future<Output = Place>,
        stop: &mut watch::Receiver<bool>,
    ) -> Served {
        let mut better = pin!(better);
        let mut tasks = Tasks::new();
        let mut commit = interval(self.core.commit_every);
        commit.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renew = interval(self.lease.renewal());
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once.
        commit.tick().await;
        renew.tick().await;
        let served = loop {
            tokio::select! {
                push = pushes.next() => {
                    let Some(push) = push else {
                        break Served::Lost(self.session.connection.ended().await);
                    };
                    if let Err(error) = self.pushed(push, &tasks) {
                        self.session.connection.close();
                        break Served::Lost(error);
                    }
                }
                Some(()) = tasks.next(), if !tasks.is_empty() => {}
                _ = renew.tick() => tasks.push(self.clone().renewing()),
                _ = commit.tick() => tasks.push(self.clone().committing()),
                place = &mut better => {
                    if let Err(error) = self.leave().await {
                        tracing::warn!(%error, group = %self.core.group, "offsets could not be committed");
                    }
                    break Served::Left(place);
                }
                _ = stop.changed() => break Served::Stopped(self.leave().await),
            }
        };
        self.let_go();
        served
    }

    /// Forgets the queues, but not how far they are.
    fn let_go(&self) {
        let (held, destinations) = {
            let mut table = self.table.lock();
            let destinations = std::mem::take(&mut table.destinations);
            (std::mem::take(&mut table.held), destinations)
        };
        for (_, held) in held {
            if let Some(committable) = self.core.messages.committable(held.key) {
                self.core
                    .remember(held, committable, self.session.address(), &self.lease);
            }
        }
        for (_, destination) in destinations {
            self.core.messages.remove(destination.key);
        }
    }

    fn pushed(self: &Arc<Self>, push: Push, tasks: &Tasks) -> Result<()> {
        match push.response {
            Response::Deliver(deliver) => self.delivered(&deliver, push.payload)?,
            Response::AssignmentChanged(change) if change.group == self.group => {
                self.assignment_changed(change, tasks);
            }
            Response::Closing { reason } => {
                tracing::info!(broker = %self.session.broker, %reason, "broker closes the connection");
                tasks.push(self.clone().committing());
            }
            other => tracing::debug!(?other, "push is not for this membership"),
        }
        Ok(())
    }

    fn delivered(&self, deliver: &Deliver, payload: Bytes) -> Result<()> {
        let destination = self
            .table
            .lock()
            .destinations
            .get(&deliver.subscription)
            .cloned();
        let Some(destination) = destination else {
            // On its way while the subscription ended.
            return Ok(());
        };
        let messages = read_records(payload, Some(&destination.origin), deliver.messages)?;
        let tags = &destination.tags;
        // Brokers compare hashes of tags, which can collide, or do not filter at all.
        let wanted = |message: &crate::ReceivedMessage| {
            tags.is_empty()
                || message
                    .tag()
                    .is_some_and(|tag| tags.iter().any(|one| one == tag))
        };
        let came = Came {
            messages,
            next: deliver.next_offset,
            expires: deliver.expires,
            by_priority: deliver.by_priority,
        };
        let delivered = self.core.messages.deliver(destination.key, came, wanted);
        if let Some(credit) = delivered {
            destination.source.give_back(credit);
        }
        Ok(())
    }

    fn assignment_changed(self: &Arc<Self>, change: AssignmentChanged, tasks: &Tasks) {
        tracing::info!(
            group = %self.core.group,
            broker = %self.session.broker,
            assigned = change.assigned.len(),
            revoked = change.revoked.len(),
            "assignment changed"
        );
        for queue in change.revoked {
            self.command(queue, Command::GiveUp, tasks);
        }
        for assigned in change.assigned {
            let (offset, epoch) = (assigned.offset, change.epoch);
            let take_up = Command::TakeUp(Assigned { offset, epoch });
            self.command(assigned.queue, take_up, tasks);
        }
    }

    fn command(self: &Arc<Self>, queue: TopicQueue, command: Command, tasks: &Tasks) {
        let mut table = self.table.lock();
        let sender = table.tasks.entry(queue).or_insert_with_key(|queue| {
            let (sender, commands) = mpsc::unbounded_channel();
            tasks.push(Box::pin(self.clone().keep_queue(queue.clone(), commands)));
            sender
        });
        // The task lives as long as its sender.
        let _ = sender.send(command);
    }

    fn renewing(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let asked = Instant::now();
            // A connection on which nothing is answered ends by itself.
            if self.session.ask(Request::Heartbeat).await.is_ok() {
                self.lease.renew(asked);
            }
        })
    }

    async fn keep_queue(
        self: Arc<Self>,
        queue: TopicQueue,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::TakeUp(assigned) => self.take_up(&queue, assigned, &mut commands).await,
                Command::GiveUp => self.give_up(&queue).await,
            }
        }
    }

    /// Finishes what runs, commits, and leaves the group.
    async fn leave(&self) -> Result<()> {
        let keys: Vec<_> = self
            .table
            .lock()
            .held
            .values()
            .map(|held| held.key)
            .collect();
        for key in &keys {
            self.core.messages.drain(*key);
        }
        let drained = join_all(keys.iter().map(|key| self.core.messages.drained(*key)));
        if timeout(self.core.drain_timeout, drained).await.is_err() {
            tracing::warn!(group = %self.core.group, "handlers still run at shutdown, their messages will come again");
        }
        let committed = self.commit_all().await;
        let left = self
            .session
            .ask(Request::LeaveGroup { group: self.group })
            .await;
        if let Err(error) = left {
            tracing::debug!(%error, "could not leave the group, the lost connection will do it");
        }
        self.session.connection.close();
        committed
    }
}

async fn join_group(core: &Core, session: &Session, group: GroupAlias) -> Result<Lease> {
    let subscriptions = core.subscriptions.iter().map(|wanted| TopicSubscription {
        topic: wanted.topic.clone(),
        filter: core.filter_for_broker(&wanted.filter),
    });
    let request = Request::JoinGroup(JoinGroup {
        group,
        mode: core.mode(),
        from: core.from,
        subscriptions: subscriptions.collect(),
        ordered: core.order.is_kept(),
        reclaims: core.still_held(&session.broker),
        room: core.room.clone(),
        claims: topic_queues(&core.claims, &session.broker),
    });
    let asked = Instant::now();
    match session.ask(request).await?.header.response {
        // A broadcasting member shares nothing.
        Response::Joined(_) if core.mode() == GroupMode::Broadcasting => {
            Ok(Lease::new(asked, Duration::ZERO))
        }
        Response::Joined(joined) => Ok(Lease::new(
            asked,
            Duration::from_millis(joined.lease_ms.into()),
        )),
        _ => Err(session.unexpected("join group")),
    }
}

/// Those at one broker, as it knows them.
fn topic_queues<'a>(
    queues: impl IntoIterator<Item = &'a Queue>,
    broker: &Arc<str>,
) -> Vec<TopicQueue> {
    let there = queues.into_iter().filter(|queue| queue.broker == *broker);
    there
        .map(|queue| TopicQueue {
            topic: queue.topic.to_string(),
            queue: queue.id,
        })
        .collect()
}

impl Core {
    pub(super) fn filters_here(&self) -> bool {
        self.filters_here.load(Ordering::Acquire)
    }

    /// Whether what was refused may work with the filtering done here. `already` says where it was done before.
    pub(super) fn may_filter_here(&self, error: &Error, already: bool) -> bool {
        let by_tags = |wanted: &TopicSubscription| matches!(wanted.filter, Filter::Tags(_));
        let helps = error.code() == Some(ErrorCode::NotSupported)
            && !already
            && self.subscriptions.iter().any(by_tags);
        if helps && !self.filters_here.swap(true, Ordering::AcqRel) {
            tracing::info!(group = %self.group, "broker does not filter, filtering here");
        }
        helps
    }

    /// Queues of a broker that nobody else has been given: when the lease is over with which they were held, others may have
    /// had them since.
    fn still_held(&self, broker: &Arc<str>) -> Vec<TopicQueue> {
        let now = Instant::now();
        let progress = self.progress.lock();
        let held = progress.iter().filter(|(_, of)| of.lease.is_valid(now));
        topic_queues(held.map(|(queue, _)| queue), broker)
    }

    /// Remembers how far a queue is that is held no longer.
    fn remember(&self, held: Held, committable: QueueOffset, at: &Arc<str>, lease: &Arc<Lease>) {
        match &self.offsets {
            Some(offsets) => offsets.set(held.name, committable),
            None => {
                let progress = Progress {
                    at: at.clone(),
                    lease: lease.clone(),
                    epoch: held.assigned.epoch,
                    known: held.committed.unwrap_or(held.assigned.offset),
                    committable,
                };
                self.progress.lock().insert(held.name, progress);
            }
        }
    }

    /// The consumer stops while it is no member at a broker. What went wrong there, when it leaves something uncommitted.
    pub(super) async fn end_apart(&self, broker: &Arc<str>, last: Option<Error>) -> Result<()> {
        if let Some(offsets) = &self.offsets {
            return offsets.save().await;
        }
        let is_open = self.progress.lock().iter().any(|(queue, progress)| {
            queue.broker == *broker && progress.committable > progress.known
        });
        match last {
            Some(error) if is_open => Err(error),
            _ => Ok(()),
        }
    }

    /// Where to begin in a queue that the broker at `address` assigns.
    pub(super) fn start_of(&self, queue: &Queue, assigned: Assigned, address: &str) -> QueueOffset {
        match &self.offsets {
            Some(offsets) => offsets.get(queue).unwrap_or(assigned.offset),
            None => {
                let progress = self.progress.lock();
                let known = progress.get(queue);
                known.map_or(assigned.offset, |progress| {
                    progress.resume(assigned, address)
                })
            }
        }
    }

    pub(super) fn filter(&self, topic: &str) -> Filter {
        let wanted = self
            .subscriptions
            .iter()
            .find(|wanted| wanted.topic == topic);
        wanted.map_or(Filter::All, |wanted| wanted.filter.clone())
    }

    pub(super) fn filter_for_broker(&self, wanted: &Filter) -> Filter {
        match wanted {
            Filter::Tags(_) if self.filters_here() => Filter::All,
            other => other.clone(),
        }
    }
}
