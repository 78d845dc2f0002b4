//! A whole process: a name server, a broker, or both, as one tree.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use castmq_config::{Role, Settings};
use castmq_protocol::model::DelayLevelsError;
use castmq_storage::disk::Disk;
use castmq_storage::disk::os::OsDisk;
use castmq_storage::epochs::{note_master, note_shown};
use castmq_storage::metadata::MetadataError;
use castmq_storage::store::{OpenReport, Store, StoreError};
use futures_util::future::{Either, select};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use crate::broker;
use crate::broker::context::BrokerContext;
use crate::broker::restart::Asked;
use crate::clock::Clock;
use crate::name_server;
use crate::supervision::{
    Child, Exit, Failure, Plan, Stage, Strategy, Tree, Watchdog, WatchdogSettings,
};
use crate::worker::apart;

/// After a stop the data folder is free within this time, unless something hangs.
const RELEASE_WITHIN: Duration = Duration::from_secs(5);

/// On no more than these, links to slaves share the thread that messages pass through: to wake another one takes longer than what it
/// would do meanwhile. What has to be read from the disk for them is read elsewhere in any case.
const FEW_PROCESSORS: usize = 2;

/// A broker that becomes something else waits no longer for its actors: nobody is served meanwhile.
const RESTART_WITHIN: Duration = Duration::from_secs(5);

/// How often that is looked at.
const RELEASE_LOOK: Duration = Duration::from_millis(1);

/// A node of name server and broker waits so long for the one to know the other.
const FIRST_REGISTRATION: Duration = Duration::from_secs(1);

/// What a process is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// Name server and broker.
    Standalone,
    /// A broker.
    Broker,
    /// A name server.
    NameServer,
}

impl Parts {
    fn has_broker(self) -> bool {
        self != Self::NameServer
    }

    fn has_name_server(self) -> bool {
        self != Self::Broker
    }
}

/// What a node has around it. Tests put other things there.
#[derive(Debug, Clone)]
pub struct Surroundings {
    disk: Arc<dyn Disk>,
    clock: Clock,
    is_one_thread: bool,
}

impl Default for Surroundings {
    /// The operating system's disk and clock, and a thread for what messages pass through.
    fn default() -> Self {
        Self {
            disk: Arc::new(OsDisk),
            clock: Clock::system(),
            is_one_thread: false,
        }
    }
}

impl Surroundings {
    /// Another disk, for all that the store keeps but the metadata.
    #[must_use]
    pub fn disk(self, disk: Arc<dyn Disk>) -> Self {
        Self { disk, ..self }
    }

    /// Another wall clock, in milliseconds since 1970; asked from any thread.
    #[must_use]
    pub fn clock(self, now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        let clock = Clock::from_fn(now_ms);
        Self { clock, ..self }
    }

    /// All actors on the arbiter of the thread that starts the node: when its runtime's time stands still, so does
    /// everything that the node does later.
    #[must_use]
    pub fn one_thread(self) -> Self {
        let is_one_thread = true;
        Self {
            is_one_thread,
            ..self
        }
    }
}

/// Why a node does not start, or did not stop well.
#[derive(Debug, Error)]
pub enum NodeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; stop what uses the port, or choose another")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no port for the VIP channel.
    #[error(
        "broker.vip_channel takes the port two below that of broker.listen, {address}: choose one above 2, or set broker.vip_channel = false"
    )]
    VipPort {
        /// Where the broker listens.
        address: SocketAddr,
    },
    /// The delay levels are none.
    #[error("broker.delay_levels: {0}")]
    DelayLevels(#[from] DelayLevelsError),
    /// The address to give to clients cannot be resolved.
    #[error("broker.advertised_address {address:?} is no address and no name of one")]
    Advertised {
        /// What was configured.
        address: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The metadata.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The operating system refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The tree did not come up.
    #[error("the actors did not start: {0}")]
    Start(Failure),
    /// The tree ended by itself.
    #[error("the actors cannot be kept alive: {0}")]
    Failed(Failure),
    /// A bug: parts of the tree were joined twice.
    #[error("parts of the broker were joined twice")]
    Wiring,
}

/// A running node.
pub struct Node {
    /// What it was started with, and is started anew with.
    surroundings: Surroundings,
    settings: Settings,
    parts: Parts,
    tree: Tree,
    broker: Option<RunningBroker>,
    name_server: Option<SocketAddr>,
    stop_within: Duration,
    /// Reports threads that hang, until the node has stopped. `None` where threads have a time of their own.
    _watchdog: Option<Watchdog>,
}

struct RunningBroker {
    context: Arc<BrokerContext>,
    address: SocketAddr,
    report: OpenReport,
}

impl Node {
    /// Starts a node on the arbiter of the calling thread, which needs an actix system, and returns when it is ready to
    /// take connections.
    pub async fn start(settings: &Settings, parts: Parts) -> Result<Self, NodeError> {
        Self::start_in(Surroundings::default(), settings, parts).await
    }

    /// The same with a disk of one's own, for all that the store keeps but the metadata.
    pub async fn start_on(
        disk: Arc<dyn Disk>,
        settings: &Settings,
        parts: Parts,
    ) -> Result<Self, NodeError> {
        Self::start_in(Surroundings::default().disk(disk), settings, parts).await
    }

    /// The same in surroundings of one's own.
    pub async fn start_in(
        surroundings: Surroundings,
        settings: &Settings,
        parts: Parts,
    ) -> Result<Self, NodeError> {
        let is_watched = !surroundings.is_one_thread;
        let mut kept = settings.clone();
        let around = surroundings.clone();
        let mut plan = Plan::new(Strategy::OneForOne);
        let mut name_servers = settings.broker.name_servers.clone();
        let mut name_server = None;
        if parts.has_name_server() {
            let made = name_server::assembly::assemble(settings)?;
            if parts.has_broker() {
                name_servers = vec![made.address.to_string()];
            }
            name_server = Some(made.address);
            kept.name_server.listen = made.address;
            plan = plan.child(Child::supervisor("name-server", made.plan));
        }
        let mut running = None;
        if parts.has_broker() {
            let Surroundings {
                disk,
                clock,
                is_one_thread,
            } = surroundings;
            let data = match is_one_thread {
                true => Stage::here("data"),
                false => Stage::new("data")?,
            };
            let replication = match is_one_thread || processors() <= FEW_PROCESSORS {
                true => data.clone(),
                false => Stage::new("replication")?,
            };
            let made = broker::assembly::assemble(
                disk,
                settings,
                &name_servers,
                clock,
                &data,
                &replication,
            )?;
            plan = plan.child(Child::supervisor("broker", made.plan));
            // Started anew, it is found where it was.
            kept.broker.listen = made.address;
            if let Some(address) = made.context.ha_address.get() {
                kept.replication.ha_listen_port = Some(address.port());
            }
            running = Some(RunningBroker {
                context: made.context,
                address: made.address,
                report: made.report,
            });
        }
        let tree = Tree::start("node", plan);
        let watchdog = match is_watched {
            true => Some(Watchdog::start(&tree, WatchdogSettings::default())?),
            false => None,
        };
        if let Some(broker) = &running {
            broker
                .context
                .tree
                .set(tree.clone())
                .map_err(|_| NodeError::Wiring)?;
        }
        match tree.started().await {
            Ok(()) => {}
            Err(Exit::Failed(failure)) => return Err(NodeError::Start(failure)),
            Err(Exit::Stopped { .. }) => {
                return Err(NodeError::Start(Failure::new("it was stopped at once")));
            }
        }
        if let (Some(broker), Some(_)) = (&running, name_server) {
            // Whoever reads that the node is ready, and asks its name server for the broker, is to find it.
            let registered = broker.context.registered.notified();
            if timeout(FIRST_REGISTRATION, registered).await.is_err() {
                tracing::warn!("the broker is not known to its own name server yet");
            }
        }
        Ok(Self {
            surroundings: around,
            settings: kept,
            parts,
            tree,
            broker: running,
            name_server,
            stop_within: Duration::from_millis(settings.limits.shutdown_deadline_ms),
            _watchdog: watchdog,
        })
    }

    /// The broker's address, if there is one.
    pub fn broker_address(&self) -> Option<SocketAddr> {
        self.broker.as_ref().map(|broker| broker.address)
    }

    /// The name server's address, if there is one.
    pub fn name_server_address(&self) -> Option<SocketAddr> {
        self.name_server
    }

    /// How the broker's store was found.
    pub fn open_report(&self) -> Option<&OpenReport> {
        self.broker.as_ref().map(|broker| &broker.report)
    }

    /// The tree of actors.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Resolves when the tree cannot be kept alive.
    pub fn failed(&self) -> impl Future<Output = Failure> + Send + use<> {
        let exited = self.tree.exited();
        async move {
            match exited.await {
                Exit::Failed(failure) => failure,
                Exit::Stopped { .. } => std::future::pending().await,
            }
        }
    }

    /// Runs until `end` resolves, and stops then. Meanwhile its broker may become something else, a slave the master for instance,
    /// and starts anew for that. Returns the actors that did not stop in time.
    pub async fn run(self, end: impl Future<Output = ()>) -> Result<Vec<String>, NodeError> {
        let mut end = pin!(end);
        let mut node = self;
        loop {
            let (failed, asked) = (pin!(node.failed()), pin!(node.restart_asked()));
            let asked = match select(&mut end, select(failed, asked)).await {
                Either::Left(_) => return node.stop().await,
                Either::Right((Either::Left((failure, _)), _)) => {
                    return Err(NodeError::Failed(failure));
                }
                Either::Right((Either::Right((asked, _)), _)) => asked,
            };
            node = node.become_other(asked).await?;
        }
    }

    /// Resolves when its broker is to start anew.
    fn restart_asked(&self) -> impl Future<Output = Asked> + Send + use<> {
        let asked = self.broker.as_ref().map(|b| b.context.restart.asked());
        async move {
            match asked {
                Some(asked) => asked.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Stops, changes what has to be changed meanwhile, and starts again.
    async fn become_other(mut self, asked: Asked) -> Result<Self, NodeError> {
        tracing::info!(?asked, "the broker starts anew");
        let (surroundings, parts) = (self.surroundings.clone(), self.parts);
        let settings = self.settings.clone();
        if let Some(broker) = &self.broker {
            write_down(&broker.context, asked).await?;
        }
        self.stop_within = self.stop_within.min(RESTART_WITHIN);
        self.stop().await?;
        if let Asked::Rebase(rebase) = asked {
            let disk = surroundings.disk.clone();
            let options = broker::assembly::store_options(&settings);
            let rebasing = move || rebase.carry_out(&disk, &options);
            apart(rebasing).await??;
        }
        let until = Instant::now() + RELEASE_WITHIN;
        loop {
            match Self::start_in(surroundings.clone(), &settings, parts).await {
                // Its own port is free a moment after the last of those who listened on it is gone.
                Err(NodeError::Bind { .. }) if Instant::now() < until => sleep(RELEASE_LOOK).await,
                started => return started,
            }
        }
    }

    /// Stops: no more connections, what is owed is answered, everything is made durable. Returns the actors that did not
    /// stop in time.
    pub async fn stop(self) -> Result<Vec<String>, NodeError> {
        let Self {
            tree,
            broker,
            stop_within,
            _watchdog: watchdog,
            ..
        } = self;
        let exit = tree.stop(stop_within).await;
        drop((tree, watchdog));
        let closed = match broker {
            Some(broker) => close(broker).await,
            None => Ok(()),
        };
        match exit {
            Exit::Stopped { late } => closed.map(|()| late),
            Exit::Failed(failure) => Err(NodeError::Failed(failure)),
        }
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Has the next start know what the broker has become.
async fn write_down(context: &Arc<BrokerContext>, asked: Asked) -> Result<(), NodeError> {
    let Asked::Fenced(fence) = asked else {
        return Ok(());
    };
    let leadership = fence.leadership(context.settings.broker.id.into());
    let store = context.store.clone();
    let was_sync = context.standing.role == Role::SyncMaster;
    let saving = move || {
        // Made the master again before it has followed anybody, it waits for slaves as it did.
        note_master(&store.metadata, was_sync)?;
        leadership.save(&store.metadata)
    };
    Ok(apart(saving).await??)
}

async fn close(broker: RunningBroker) -> Result<(), NodeError> {
    let store: Arc<Store> = broker.context.store.clone();
    let dispatched = broker.context.positions.dispatched();
    let shown = broker.context.shown_by_now();
    let closing = move || {
        note_shown(&store.metadata, shown)?;
        store.close(dispatched)
    };
    let closed = apart(closing).await?;
    let in_use = broker.context.store.in_use();
    drop(broker);
    // The data thread drops what is left of its actors in its own time, and with the last of them the folder's locks: who
    // starts again at once must find it free.
    let released = async {
        while in_use.strong_count() > 0 {
            sleep(RELEASE_LOOK).await;
        }
    };
    if timeout(RELEASE_WITHIN, released).await.is_err() {
        tracing::warn!("the data folder is still in use by this process");
    }
    Ok(closed?)
}
