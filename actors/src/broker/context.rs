//! What the actors of one broker share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use castmq_config::{Flush, Settings};
use castmq_protocol::model::{DelayLevels, GroupName, PhysicalOffset};
use castmq_protocol::native::{ErrorCode, Failure as Refusal, Limits};
pub(crate) use castmq_storage::store::Store;
use parking_lot::RwLock;
use tokio::sync::Notify;

use super::credits::Credits;
use super::meters::Meters;
use super::offsets::Offsets;
use super::positions::Positions;
use super::set_view::BrokerSetView;
use super::standing::Standing;
use super::topics::Topics;
use crate::clock::Clock;
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
use crate::network::registrar::Registrar;
use crate::storage::commit_tracker::CommitTracker;
use crate::storage::dispatcher::Dispatcher;
use crate::storage::flush_service::FlushService;
use crate::storage::indexer::Indexer;
use crate::storage::log_writer::LogWriter;
use crate::storage::runway::Runway;
use crate::storage::segment_allocator::SegmentAllocator;
use crate::supervision::{ActorRef, Failure, Stage, Supervisor, Tree};

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
    pub(crate) limits: Limits,
    pub(crate) flush_policy: FlushPolicy,
    pub(crate) clock: Clock,
    /// How long messages of each delay level wait.
    pub(crate) delays: DelayLevels,
    pub(crate) store: Arc<Store>,
    pub(crate) store_host: SocketAddr,
    /// Where slaves are listened for, once they are.
    pub(crate) ha_address: OnceLock<SocketAddr>,
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
    /// Turns the order of groups' members, differently on each broker.
    pub(crate) spread: u64,
    /// Why writes are refused, while they are.
    pub(crate) refuses_writes: RwLock<Option<Refusal>>,
    pub(crate) connections: Arc<AtomicU32>,
    pub(crate) actors: OnceLock<BrokerActors>,
    pub(crate) registrars: OnceLock<Vec<ActorRef<Registrar>>>,
    pub(crate) tree: OnceLock<Tree>,
    /// Told each time a name server has taken note of the broker.
    pub(crate) registered: Notify,
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
        match self.flush_policy {
            FlushPolicy::Async => self.store.log.appended(),
            FlushPolicy::Sync => self.store.log.flushed(),
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
        match &*self.refuses_writes.read() {
            None => Ok(()),
            Some(refusal) => Err(refusal.clone()),
        }
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
