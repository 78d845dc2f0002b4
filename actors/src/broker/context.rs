//! What the actors of one broker share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use castmq_config::{Flush, Role, Settings, WithoutSlaves};
use castmq_protocol::model::{DelayLevels, GroupName, PhysicalOffset};
use castmq_protocol::native::replication::TimerMark;
use castmq_protocol::native::{ErrorCode, Failure as Refusal, Limits, VERSION, Welcome};
use castmq_storage::epochs::Epochs;
pub(crate) use castmq_storage::store::Store;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::credits::Credits;
use super::details::SOFTWARE;
use super::gate::{Cause, Gate};
use super::hidden::Hidden;
use super::meters::Meters;
use super::offsets::Offsets;
use super::positions::Positions;
use super::restart::{Asked, Restart};
use super::routes::Routes;
use super::set_view::BrokerSetView;
use super::standing::{Fence, Rebase, Standing};
use super::statistics::Statistics;
use super::told::Told;
use super::topics::Topics;
use crate::clock::Clock;
use crate::delivery::client_groups::ClientGroups;
use crate::delivery::cold_reader::ColdReader;
use crate::delivery::consumer_group::ConsumerGroup;
use crate::delivery::groups::Groups;
use crate::delivery::popper::Popper;
use crate::delivery::producers::Producers;
use crate::delivery::queues::Queues;
use crate::delivery::requesters::Requesters;
use crate::delivery::schedule::Schedule;
use crate::delivery::timer::{SharedWheel, Timer};
use crate::delivery::transactions::Transactions;
use crate::metadata::actor::Metadata;
use crate::network::registrar::{RegisterNow, Registrar};
use crate::replication::complaints::Complaints;
use crate::replication::following::Following;
use crate::replication::pulse::Pulse;
use crate::replication::replicas::Replicas;
use crate::storage::cleaner::Cleaner;
use crate::storage::commit_tracker::CommitTracker;
use crate::storage::dispatcher::Dispatcher;
use crate::storage::flush_service::FlushService;
use crate::storage::indexer::Indexer;
use crate::storage::log_writer::LogWriter;
use crate::storage::runway::Runway;
use crate::storage::segment_allocator::SegmentAllocator;
use crate::supervision::{ActorRef, Failure, Stage, Supervisor, Tree};

/// Name servers have so long to tell a master that starts of another one. Those of a dead host do not keep it from starting.
const ASK_WITHIN: Duration = Duration::from_secs(3);

/// How often it is looked whether the dispatcher has caught up.
const DISPATCH_LOOK: Duration = Duration::from_millis(5);

/// When a message counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlushPolicy {
    /// When it is in memory that outlives the process.
    Async,
    /// When it is on the disk.
    Sync,
}

/// How many brokers have to have a message before it counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CopyPolicy {
    /// Slaves that have to have it; 0 in all but a sync_master.
    pub(crate) slaves: usize,
    /// What happens while fewer are in step.
    pub(crate) without_slaves: WithoutSlaves,
    /// How long a message waits for them, and how far behind one in step may be.
    pub(crate) timeout: Duration,
}

impl CopyPolicy {
    pub(crate) fn new(settings: &Settings, role: Role) -> Self {
        let brokers = settings.in_sync_replicas(role);
        let replication = &settings.replication;
        Self {
            slaves: brokers.saturating_sub(1) as usize,
            without_slaves: replication.without_slaves,
            timeout: Duration::from_millis(replication.slave_timeout_ms),
        }
    }
}

impl From<Flush> for FlushPolicy {
    fn from(mode: Flush) -> Self {
        match mode {
            Flush::Async => Self::Async,
            Flush::Sync => Self::Sync,
        }
    }
}

/// References to the broker's permanent actors.
#[derive(Debug)]
pub(crate) struct BrokerActors {
    pub(crate) log_writer: ActorRef<LogWriter>,
    pub(crate) flush_service: ActorRef<FlushService>,
    pub(crate) commit_tracker: ActorRef<CommitTracker>,
    pub(crate) dispatcher: ActorRef<Dispatcher>,
    pub(crate) indexer: ActorRef<Indexer>,
    pub(crate) segment_allocator: ActorRef<SegmentAllocator>,
    pub(crate) cleaner: ActorRef<Cleaner>,
    pub(crate) metadata: ActorRef<Metadata>,
    pub(crate) cold_reader: ActorRef<ColdReader>,
    pub(crate) schedule: ActorRef<Schedule>,
    pub(crate) timer: ActorRef<Timer>,
    pub(crate) transactions: ActorRef<Transactions>,
    pub(crate) popper: ActorRef<Popper>,
    pub(crate) queues: ActorRef<Supervisor>,
    pub(crate) groups: ActorRef<Supervisor>,
    pub(crate) sessions: ActorRef<Supervisor>,
}

/// What the actors of one broker share: settings, the store, tables that one of them changes and all read, and each
/// other.
pub(crate) struct BrokerContext {
    pub(crate) settings: Settings,
    pub(crate) standing: Standing,
    /// What name servers say of the set.
    pub(crate) set: BrokerSetView,
    /// What name servers say of topics.
    pub(crate) routes: Routes,
    pub(crate) limits: Limits,
    pub(crate) flush_policy: FlushPolicy,
    pub(crate) copies: CopyPolicy,
    pub(crate) clock: Clock,
    /// How long messages of each delay level wait.
    pub(crate) delays: DelayLevels,
    pub(crate) store: Arc<Store>,
    pub(crate) store_host: SocketAddr,
    pub(crate) positions: Positions,
    pub(crate) runway: Arc<Runway>,
    pub(crate) topics: Topics,
    pub(crate) groups: Groups,
    pub(crate) offsets: Offsets,
    pub(crate) deliveries: Queues,
    pub(crate) producers: Producers,
    pub(crate) requesters: Requesters,
    pub(crate) wheel: SharedWheel,
    /// The offset of the pop journal from which the last record that is stored has a replay begin; the last number there is
    /// when nothing would come of one.
    pub(crate) pops_replay_from: AtomicU64,
    pub(crate) credits: Credits,
    pub(crate) meters: Meters,
    pub(crate) statistics: Statistics,
    /// Turns the order of groups' members, differently on each broker.
    pub(crate) spread: u64,
    /// Whether messages are taken.
    pub(crate) gate: Gate,
    /// What consumers do not see yet.
    pub(crate) hidden: Hidden,
    /// Groups whose members share the queues among themselves.
    pub(crate) client_groups: ClientGroups,
    /// On a master: its slaves.
    pub(crate) replicas: Arc<Replicas>,
    /// What was wrong with them.
    pub(crate) complaints: Complaints,
    /// Told when the log has grown, or more of it is safe.
    pub(crate) pulse: Pulse,
    /// On a slave: its master.
    pub(crate) following: Following,
    /// On a slave: who wrote the log that it copies.
    pub(crate) copied_epochs: Mutex<Epochs>,
    /// How far messages that wait for a time have come out.
    pub(crate) timer_mark: Arc<Mutex<Option<TimerMark>>>,
    /// Bytes of the log from its end that count as being in memory.
    pub(crate) near_bytes: u64,
    /// From here on the log is needed for more than to be read: on a slave, as its master says.
    pub(crate) needed: AtomicU64,
    /// Where slaves reach this broker, once it listens for them.
    pub(crate) ha_address: OnceLock<SocketAddr>,
    /// Why the broker is to start anew, once it is.
    pub(crate) restart: Restart,
    pub(crate) connections: Arc<AtomicU32>,
    pub(crate) actors: OnceLock<BrokerActors>,
    pub(crate) registrars: OnceLock<Vec<ActorRef<Registrar>>>,
    pub(crate) tree: OnceLock<Tree>,
    /// Told each time a name server has taken note of the broker.
    pub(crate) registered: Notify,
    pub(crate) told: Told,
    /// Where sessions, log-writer, dispatcher, queues and groups run.
    pub(crate) data_stage: Stage,
}

impl BrokerContext {
    /// The broker's permanent actors.
    pub(crate) fn actors(&self) -> Result<&BrokerActors, Failure> {
        self.actors
            .get()
            .ok_or_else(|| Failure::new("the broker's actors are not made yet"))
    }

    /// How far consumers may see the log under the policy, by what is known now.
    pub(crate) fn committed_now(&self) -> PhysicalOffset {
        if self.copies.slaves > 0 || self.standing.is_slave() {
            // The commit-tracker knows, or the master does.
            return self.positions.committed();
        }
        match self.flush_policy {
            FlushPolicy::Async => self.store.log.appended(),
            FlushPolicy::Sync => self.store.log.flushed(),
        }
    }

    /// Consumers may see the log up to here.
    pub(crate) fn shown(&self) -> PhysicalOffset {
        self.hidden.limit(self.positions.committed())
    }

    /// Where the record begins up to which the next start is to show the log; `None` when it may show all of it.
    pub(crate) fn shown_by_now(&self) -> Option<PhysicalOffset> {
        let end = self.hidden.limit(self.positions.dispatched());
        self.hidden.is_kept().then_some(end)
    }

    /// As many brokers as the policy wants have the log up to here.
    pub(crate) fn copied(&self, to: PhysicalOffset) {
        if self.hidden.copied(to) {
            self.deliveries.announce_all();
            self.pulse.beat();
        }
    }

    /// Whether answers to producers wait for anything.
    #[inline]
    pub(crate) fn answers_wait(&self) -> bool {
        self.flush_policy == FlushPolicy::Sync || self.copies.slaves > 0
    }

    /// Whether it registers with name servers.
    pub(crate) fn has_registrars(&self) -> bool {
        self.registrars.get().is_some_and(|all| !all.is_empty())
    }

    /// Has all name servers told what is true now.
    pub(crate) fn register_now(&self) {
        for registrar in self.registrars.get().into_iter().flatten() {
            registrar.tell(RegisterNow);
        }
    }

    /// Has all name servers told what is true now, and waits a while for one that has something to say to that.
    pub(crate) async fn ask_name_servers(&self, most: Duration) {
        let mut changes = self.set.changes();
        self.register_now();
        let _ = timeout(most, changes.changed()).await;
    }

    /// Steps back when name servers know another master, of a later epoch.
    pub(crate) fn look_for_another_master(&self) {
        let epoch = self.set.epoch();
        if !self.standing.is_slave() && epoch > self.standing.epoch {
            let master_id = self.set.master().map(|master| master.configured_id);
            self.fence(Fence { epoch, master_id });
        } else {
            self.gate.set(Cause::Word, None);
        }
    }

    /// Waits until all name servers were asked whether another broker has become the master while this one was away. Before,
    /// it might take messages, and show some, that are cut off its log in the next moment.
    pub(crate) async fn until_not_replaced(&self) {
        if !self.standing.may_be_replaced {
            return;
        }
        self.until_name_servers_tried().await;
        if self.set.epoch() > self.standing.epoch {
            // It starts anew, as a slave.
            std::future::pending().await
        }
    }

    /// Waits until all name servers were asked who the set's master is, or a while.
    pub(crate) async fn until_name_servers_tried(&self) {
        let name_servers = self.registrars.get().map_or(0, Vec::len);
        if timeout(ASK_WITHIN, self.set.until_tried(name_servers))
            .await
            .is_err()
        {
            tracing::warn!(
                "not all name servers answer: another master that one of them knows of comes to light later"
            );
        }
    }

    /// Another broker of the set is its master: this one starts anew as its slave.
    pub(crate) fn fence(&self, fence: Fence) {
        self.restart.ask(Asked::Fenced(fence));
    }

    /// The broker starts anew, and something is done to its store before.
    pub(crate) fn rebase(&self, rebase: Rebase) {
        self.restart.ask(Asked::Rebase(rebase));
    }

    /// Where the master of the set takes slaves: as configured, or as name servers say, once one does.
    pub(crate) async fn master_ha_address(&self) -> String {
        if let Some(address) = self.settings.replication.ha_master_address {
            return address.to_string();
        }
        let mut changes = self.set.changes();
        loop {
            let master = self.set.master();
            if let Some(master) = master.filter(|master| !master.ha_address.is_empty()) {
                return master.ha_address;
            }
            // It is told as long as there is a context.
            let _ = changes.changed().await;
        }
    }

    /// From here on the log is needed for more than to be read.
    pub(crate) fn needed_from(&self) -> PhysicalOffset {
        PhysicalOffset(self.needed.load(Ordering::Acquire))
    }

    /// See [`needed_from`](Self::needed_from).
    pub(crate) fn set_needed_from(&self, from: PhysicalOffset) {
        self.needed.fetch_max(from.0, Ordering::AcqRel);
    }

    /// Time between two signs of life of a link.
    pub(crate) fn link_heartbeat(&self) -> Duration {
        Duration::from_millis(self.settings.replication.heartbeat_interval_ms)
    }

    /// Silence after which a link is given up.
    pub(crate) fn link_silence(&self) -> Duration {
        Duration::from_millis(self.settings.replication.housekeeping_interval_ms)
    }

    /// Time a new connection has for its first request.
    pub(crate) fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.settings.limits.handshake_timeout_ms)
    }

    /// What whoever connects is told.
    pub(crate) fn welcome(&self) -> Welcome {
        let broker = &self.settings.broker;
        Welcome {
            version: VERSION,
            software: SOFTWARE.to_owned(),
            cluster: broker.cluster_name.clone(),
            broker: broker.name.clone(),
            broker_id: self.standing.id,
            store_host: self.store_host.to_string(),
            limits: self.limits,
        }
    }

    /// Waits until queues, and all who note what the log says, know the log up to `end`.
    pub(crate) async fn dispatched_to(self: Arc<Self>, end: PhysicalOffset) {
        while self.positions.dispatched() < end {
            tokio::time::sleep(DISPATCH_LOOK).await;
        }
    }

    /// Whether messages are taken at all.
    #[inline]
    pub(crate) fn check_writes(&self) -> Result<(), Refusal> {
        self.standing.check_master()?;
        self.gate.refusal().map_or(Ok(()), Err)
    }

    /// Whether consumers are served: those of a slave only while its master is not there, unless they may always be.
    #[inline]
    pub(crate) fn check_reads(&self) -> Result<(), Refusal> {
        if !self.standing.is_slave() {
            return Ok(());
        }
        self.check_followed()?;
        match !self.serves_beside_master() && self.following.has_told() {
            false => Ok(()),
            true => Err(self.master_is_there()),
        }
    }

    /// What a slave has of before an epoch that it knows of, its master may lack: it may be cut off when the slave follows.
    fn check_followed(&self) -> Result<(), Refusal> {
        let epoch = self.standing.epoch;
        match self.copied_epochs.lock().last_epoch() < epoch {
            false => Ok(()),
            true => Err(Refusal::safe(
                ErrorCode::NotMaster,
                format!(
                    "the broker is a slave that has not followed the master of epoch {epoch} yet: read there"
                ),
            )),
        }
    }

    /// Whether consumers may read here while the master lives.
    pub(crate) fn serves_beside_master(&self) -> bool {
        self.settings.replication.slave_read_enabled
    }

    /// The id of the broker of the set that is better asked by whoever is this far behind: a slave when it would have the master
    /// read from its disk, and the master again when it would not.
    pub(crate) fn better_read_at(&self, behind_bytes: u64) -> u64 {
        let is_far = behind_bytes > self.near_bytes;
        match self.standing.is_slave() {
            true if is_far || !self.following.has_told() => self.standing.id,
            true => 0,
            false if is_far && self.serves_beside_master() => {
                let slaves = self.replicas.all();
                let in_step = slaves.iter().filter(|slave| slave.is_in_step());
                in_step.map(|slave| slave.broker_id).min().unwrap_or(0)
            }
            false => 0,
        }
    }

    /// What consumers of a slave are told whose master is there.
    pub(crate) fn master_is_there(&self) -> Refusal {
        Refusal::safe(
            ErrorCode::NotMaster,
            "the broker is a slave whose master is there: read at the master, or set replication.slave_read_enabled",
        )
    }

    /// A connection silent for longer is closed.
    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.settings.limits.idle_timeout_ms)
    }

    /// What clients are told when the broker stops.
    pub(crate) fn goodbye(&self) -> Refusal {
        Refusal::safe(
            ErrorCode::ShuttingDown,
            "the broker is stopping: use another, or come back",
        )
    }

    pub(crate) fn internal(&self, reason: impl std::fmt::Display) -> Refusal {
        Refusal::safe(ErrorCode::Internal, reason.to_string())
    }

    pub(crate) fn metadata(&self) -> Result<&ActorRef<Metadata>, Refusal> {
        let actors = self.actors().map_err(|failure| self.internal(failure))?;
        Ok(&actors.metadata)
    }

    pub(crate) fn cold_reader(&self) -> Result<&ActorRef<ColdReader>, Refusal> {
        let actors = self.actors().map_err(|failure| self.internal(failure))?;
        Ok(&actors.cold_reader)
    }

    /// A group's actor, started when it sleeps.
    pub(crate) fn wake_group(
        self: &Arc<Self>,
        group: &GroupName,
    ) -> Result<ActorRef<ConsumerGroup>, Refusal> {
        self.groups
            .wake(self, group)
            .map_err(|failure| self.internal(failure))
    }
}
