//! Putting a broker together: the store is opened, the children of its tree are made, and each gets to know the others.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use castmq_config::{Flush, Settings};
use castmq_protocol::model::{DelayLevels, GroupConfig, GroupName, TopicName};
use castmq_protocol::native::{ErrorCode, Failure as Refusal, Limits};
use castmq_storage::disk::Disk;
use castmq_storage::sequences::ProducerLimits;
use castmq_storage::store::{OpenReport, Store, StoreOptions};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::addresses::{advertised, bind, bind_for_slaves, bind_vip};
use super::context::{BrokerActors, BrokerContext, CopyPolicy, FlushPolicy};
use super::credits::Credits;
use super::details::machine_memory_bytes;
use super::gate::{Cause, Gate};
use super::hidden::Hidden;
use super::meters::Meters;
use super::offsets::Offsets;
use super::positions::Positions;
use super::reception::Desk;
use super::restart::Restart;
use super::routes::Routes;
use super::set_view::BrokerSetView;
use super::standing::Standing;
use super::statistics::Statistics;
use super::statistics::census::Census;
use super::told::Told;
use super::topics::Topics;
use super::unheard::make_unheard_topics;
use crate::clock::Clock;
use crate::delivery::client_groups::ClientGroups;
use crate::delivery::cold_reader::ColdReader;
use crate::delivery::groups::Groups;
use crate::delivery::popper::Popper;
use crate::delivery::producers::Producers;
use crate::delivery::queues::Queues;
use crate::delivery::requesters::Requesters;
use crate::delivery::schedule::Schedule;
use crate::delivery::timer::{SharedWheel, Timer};
use crate::delivery::transactions::Transactions;
use crate::metadata::actor::Metadata;
use crate::metadata::system;
use crate::network::aliases::MAX_ALIASES;
use crate::network::listener::{Listener, Reception};
use crate::network::registrar::Registrar;
use crate::network::socket::Bound;
use crate::node::NodeError;
use crate::replication::complaints::Complaints;
use crate::replication::desk::Desk as SlavesDesk;
use crate::replication::follower::Follower;
use crate::replication::following::Following;
use crate::replication::pulse::Pulse;
use crate::replication::rocketmq_shadow::RocketmqShadow;
use crate::replication::shadow::Shadow;
use crate::storage::checkpointer::Checkpointer;
use crate::storage::cleaner::Cleaner;
use crate::storage::commit_tracker::CommitTracker;
use crate::storage::dispatcher::Dispatcher;
use crate::storage::flush_service::FlushService;
use crate::storage::indexer::Indexer;
use crate::storage::log_writer::LogWriter;
use crate::storage::runway::Runway;
use crate::storage::segment_allocator::SegmentAllocator;
use crate::supervision::{Child, Failure, Intensity, Plan, Stage, Strategy};

/// A broker that is put together, to be started as a part of a tree.
pub(crate) struct Broker {
    pub(crate) context: Arc<BrokerContext>,
    pub(crate) address: SocketAddr,
    pub(crate) report: OpenReport,
    pub(crate) plan: Plan,
}

type Wiring = Arc<OnceLock<Arc<BrokerContext>>>;

fn wired(wiring: &Wiring) -> Result<Arc<BrokerContext>, Failure> {
    wiring
        .get()
        .cloned()
        .ok_or_else(|| Failure::new("the broker is not wired yet"))
}

/// Opens the store and makes all actors. Blocks.
pub(crate) fn assemble(
    disk: Arc<dyn Disk>,
    settings: &Settings,
    name_servers: &[String],
    clock: Clock,
    data: &Stage,
    replication: &Stage,
) -> Result<Broker, NodeError> {
    let socket = bind(settings.broker.listen)?;
    let address = socket.address()?;
    let vip = bind_vip(settings, address)?;
    let store_host = advertised(settings, address)?;
    let (store, report) = Store::open(disk, store_options(settings))?;
    let context = new_context(settings, Arc::new(store), store_host, clock, data)?;
    if context.standing.may_be_replaced && !name_servers.is_empty() {
        let refusal = Refusal::safe(
            ErrorCode::NotMaster,
            "the broker has just started, and no name server has said yet that no slave became the master meanwhile: use another \
             broker, or look after the name servers",
        );
        context.gate.set(Cause::Word, Some(refusal));
    }
    let copying = copying(&context, bind_for_slaves(settings)?, replication)?;
    let sockets = [Some(socket), vip].into_iter().flatten().collect();
    let plan = plan(&context, sockets, copying, name_servers)?;
    Ok(Broker {
        context,
        address,
        report,
        plan,
    })
}

/// Where a broker with these settings has its store, and how it is laid out.
pub fn store_options(settings: &Settings) -> StoreOptions {
    let store = &settings.store;
    StoreOptions {
        root: store.data_dir.clone(),
        metadata: store.data_dir.join("metadata"),
        takes_lock: true,
        commit_log: store.commit_log_path(),
        consume_queues: store.consume_queue_path(),
        index: store.index_path(),
        segment_bytes: store.commit_log_segment_bytes,
        consume_queue_file_bytes: store.consume_queue_file_bytes,
        has_index: store.index_enabled,
        index_slots: store.index_hash_slots,
        index_entries: store.index_max_entries,
        ring_bytes: store.ring_bytes,
        spare_segments: store.spare_segments as usize,
        metadata_cache_bytes: store.metadata_cache_bytes,
        // Whoever starts a broker is told what is wrong with them.
        delays: settings.broker.delay_levels.parse().unwrap_or_default(),
        producers: ProducerLimits {
            max_producers: settings.broker.idempotent_producers_max as usize,
            expiry_ms: settings.broker.idempotent_producer_expiry_ms,
            ..ProducerLimits::default()
        },
        verify_bodies: store.verify_crc_on_recovery,
        is_sync_flush: store.flush == Flush::Sync,
        repair: false,
    }
}

fn new_context(
    settings: &Settings,
    store: Arc<Store>,
    store_host: SocketAddr,
    clock: Clock,
    data: &Stage,
) -> Result<Arc<BrokerContext>, NodeError> {
    let delays: DelayLevels = settings.broker.delay_levels.parse()?;
    create_system_entries(settings, &store, &delays)?;
    let end = store.log.appended();
    let metadata = &store.metadata;
    let broker = &settings.broker;
    let spread = u64::from(crc32fast::hash(broker.name.as_bytes()));
    make_unheard_topics(&store)?;
    let standing = Standing::take_up(settings, &store)?;
    Ok(Arc::new(BrokerContext {
        offsets: Offsets::new(metadata.offsets()?),
        hidden: Hidden::at_start(settings, &store, standing.role)?,
        copies: CopyPolicy::new(settings, standing.role),
        copied_epochs: Mutex::new(standing.epochs.clone()),
        standing,
        gate: Gate::default(),
        client_groups: ClientGroups::default(),
        replicas: Arc::default(),
        complaints: Complaints::default(),
        pulse: Pulse::default(),
        set: BrokerSetView::default(),
        routes: Routes::default(),
        following: Following::default(),
        timer_mark: Arc::default(),
        near_bytes: machine_memory_bytes() / 100
            * u64::from(settings.replication.slave_read_memory_percent),
        needed: AtomicU64::new(0),
        ha_address: OnceLock::new(),
        restart: Restart::default(),
        limits: limits(settings),
        delays,
        flush_policy: FlushPolicy::from(settings.store.flush),
        positions: Positions::new(store.log.clone(), end),
        runway: Arc::new(Runway::new(end)),
        topics: Topics::new(metadata.topics()?, clock.now_ms()),
        groups: Groups::new(metadata.groups()?),
        deliveries: Queues::default(),
        producers: Producers::default(),
        requesters: Requesters::default(),
        wheel: SharedWheel::default(),
        pops_replay_from: AtomicU64::new(0),
        credits: Credits::new(settings.limits.max_in_flight_bytes_total),
        meters: Meters::default(),
        statistics: Statistics::default(),
        spread,
        connections: Arc::new(AtomicU32::new(0)),
        actors: OnceLock::new(),
        registrars: OnceLock::new(),
        tree: OnceLock::new(),
        registered: Notify::new(),
        told: Told::default(),
        data_stage: data.clone(),
        settings: settings.clone(),
        store_host,
        store,
        clock,
    }))
}

/// Writes the topics and groups that every broker has, where they are missing or too small.
fn create_system_entries(
    settings: &Settings,
    store: &Store,
    delays: &DelayLevels,
) -> Result<(), NodeError> {
    let broker = &settings.broker;
    let metadata = &store.metadata;
    let known: HashMap<_, _> = metadata.topics()?.into_iter().collect();
    let mut is_changed = false;
    let topics = system::topics(
        &broker.cluster_name,
        &broker.name,
        broker.auto_create_topics,
        delays.count(),
        broker.trace_topic,
    );
    for (name, config) in topics {
        // A cluster or broker whose name cannot be a topic's has no topic; RocketMQ's tools alone miss it.
        if let Ok(name) = TopicName::new(&name)
            && known
                .get(&name)
                .is_none_or(|known| known.queues() < config.queues())
        {
            metadata.put_topic(&name, &config)?;
            is_changed = true;
        }
    }
    let known: Vec<_> = metadata
        .groups()?
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    for name in system::GROUPS {
        if let Ok(name) = GroupName::new(name)
            && !known.contains(&name)
        {
            metadata.put_group(&name, &GroupConfig::default())?;
            is_changed = true;
        }
    }
    if is_changed {
        metadata.flush()?;
    }
    Ok(())
}

fn limits(settings: &Settings) -> Limits {
    let limits = &settings.limits;
    let u32_of = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    Limits {
        max_frame_bytes: u32_of(limits.max_frame_bytes),
        max_message_bytes: u32_of(limits.max_message_bytes),
        max_properties_bytes: limits.max_properties_bytes,
        window_bytes: u32_of(limits.max_in_flight_bytes_per_connection),
        max_aliases: MAX_ALIASES,
        idle_timeout_ms: u32_of(limits.idle_timeout_ms),
    }
}

/// Many actors of one kind may meet one bug at once: that is no reason to take all others down.
fn crowd() -> Plan {
    Plan::new(Strategy::OneForOne).intensity(Intensity {
        max_failures: 1000,
        within: Duration::from_secs(10),
    })
}

/// Supervisors run on the main stage, and so do listener, registrars and census. What messages pass through runs on the data
/// stage.
fn plan(
    context: &Arc<BrokerContext>,
    sockets: Vec<Bound>,
    copying: Plan,
    name_servers: &[String],
) -> Result<Plan, NodeError> {
    let wiring: Wiring = Arc::default();
    macro_rules! child {
        ($name:literal, $make:expr) => {{
            let wiring = wiring.clone();
            Child::new($name, move || $make(wired(&wiring)?))
        }};
    }
    let log_writer = child!("log-writer", LogWriter::new);
    let flush_service = child!("flush-service", FlushService::new);
    let commit_tracker = child!("commit-tracker", CommitTracker::new);
    let dispatcher = child!("dispatcher", Dispatcher::new);
    let indexer = child!("indexer", Indexer::new);
    let segment_allocator = child!("segment-allocator", SegmentAllocator::new);
    let checkpointer = child!("checkpointer", |context| {
        Ok::<_, Failure>(Checkpointer::new(context))
    });
    let cleaner = child!("cleaner", |context| Ok::<_, Failure>(Cleaner::new(context)));
    let metadata = child!("metadata", |context| Ok::<_, Failure>(Metadata::new(
        context
    )))
    .stop_within(Duration::from_secs(10));
    let cold_reader = child!("cold-reader", |context| {
        Ok::<_, Failure>(ColdReader::new(context))
    });
    let schedule = child!("schedule", Schedule::new);
    let timer = child!("timer", Timer::new);
    let transactions = child!("transactions", Transactions::new);
    let popper = child!("popper", Popper::new);
    let census = child!("census", |context| Ok::<_, Failure>(Census::new(context)));
    let queues = Child::supervisor("queues", crowd());
    let groups = Child::supervisor("groups", crowd());
    let sessions = Child::supervisor("sessions", crowd());
    let actors = BrokerActors {
        log_writer: log_writer.actor_ref(),
        flush_service: flush_service.actor_ref(),
        commit_tracker: commit_tracker.actor_ref(),
        dispatcher: dispatcher.actor_ref(),
        indexer: indexer.actor_ref(),
        segment_allocator: segment_allocator.actor_ref(),
        cleaner: cleaner.actor_ref(),
        metadata: metadata.actor_ref(),
        cold_reader: cold_reader.actor_ref(),
        schedule: schedule.actor_ref(),
        timer: timer.actor_ref(),
        transactions: transactions.actor_ref(),
        popper: popper.actor_ref(),
        queues: queues.actor_ref(),
        groups: groups.actor_ref(),
        sessions: sessions.actor_ref(),
    };
    let data = &context.data_stage;
    let storage = Plan::new(Strategy::RestForOne)
        .child_on(data, log_writer)
        .child_on(data, flush_service)
        .child_on(data, commit_tracker)
        .child_on(data, dispatcher)
        .child_on(data, indexer)
        .child_on(data, segment_allocator)
        .child_on(data, checkpointer)
        .child_on(data, cleaner)
        .child_on(data, cold_reader)
        .child_on(data, metadata);
    let delivery = Plan::new(Strategy::OneForOne)
        .child_on(data, schedule)
        .child_on(data, timer)
        .child_on(data, transactions)
        .child_on(data, popper)
        .child(census);
    let mut network = Plan::new(Strategy::OneForOne);
    for socket in sockets {
        network = network.child(listener(context, socket)?);
    }
    let mut registrars = Vec::new();
    for address in name_servers {
        let (context, name_server) = (context.clone(), address.clone());
        let registrar = Child::new(format!("registrar({address})"), move || {
            Ok(Registrar::new(context.clone(), name_server.clone()))
        });
        registrars.push(registrar.actor_ref());
        network = network.child(registrar);
    }
    // Nobody else has the context yet, so nothing can be set before.
    context.actors.set(actors).map_err(|_| NodeError::Wiring)?;
    context
        .registrars
        .set(registrars)
        .map_err(|_| NodeError::Wiring)?;
    wiring.set(context.clone()).map_err(|_| NodeError::Wiring)?;
    Ok(Plan::new(Strategy::OneForOne)
        .child(Child::supervisor("storage", storage))
        .child(queues)
        .child(groups)
        .child(Child::supervisor("delivery", delivery))
        .child(Child::supervisor("replication", copying))
        .child(sessions)
        .child(Child::supervisor("network", network)))
}

/// What a slave has to follow its master.
fn of_slave(context: &Arc<BrokerContext>) -> Plan {
    let data = &context.data_stage;
    let of_log = context.clone();
    let follower = Child::new("replica-follower", move || Follower::new(of_log.clone()));
    let plan = Plan::new(Strategy::OneForOne).child_on(data, follower);
    let of_rest = context.clone();
    let replication = &context.settings.replication;
    if replication.ha_master_is_rocketmq {
        let Some(address) = replication.master_address else {
            tracing::warn!(
                "topics, groups and offsets are not copied: set replication.master_address to where clients reach the RocketMQ master"
            );
            return plan;
        };
        let shadow = Child::new("rocketmq-shadow", move || {
            Ok(RocketmqShadow::new(of_rest.clone(), address.to_string()))
        });
        return plan.child_on(data, shadow);
    }
    let shadow = Child::new("shadow", move || Ok(Shadow::new(of_rest.clone())));
    plan.child_on(data, shadow)
}

/// What a broker has for its slaves, and a slave to follow its master.
fn copying(context: &Arc<BrokerContext>, socket: Bound, stage: &Stage) -> Result<Plan, NodeError> {
    let port = socket.address().map_err(NodeError::Io)?.port();
    let plan = match context.standing.is_slave() {
        // It listens, too: to tell those who were pointed at it whom to follow.
        true => of_slave(context),
        false => {
            let address = SocketAddr::new(context.store_host.ip(), port);
            let set = context.ha_address.set(address);
            set.map_err(|_| NodeError::Wiring)?;
            Plan::new(Strategy::OneForOne)
        }
    };
    let links = Child::supervisor("links", crowd());
    let desk: Arc<dyn Reception> = Arc::new(SlavesDesk {
        context: context.clone(),
        links: links.actor_ref(),
        stage: stage.clone(),
    });
    let connections = Arc::new(AtomicU32::new(0));
    let listener = Child::new(format!("ha-listener({port})"), move || {
        Listener::new(socket.try_clone()?, desk.clone(), connections.clone())
    });
    Ok(plan.child(links).child(listener))
}

fn listener(
    context: &Arc<BrokerContext>,
    socket: Bound,
) -> Result<Child<Listener, impl FnMut() -> Result<Listener, Failure> + 'static>, NodeError> {
    let reception: Arc<dyn Reception> = Arc::new(Desk(context.clone()));
    let connections = context.connections.clone();
    let port = socket.address().map_err(NodeError::Io)?.port();
    Ok(Child::new(format!("listener({port})"), move || {
        Listener::new(socket.try_clone()?, reception.clone(), connections.clone())
    }))
}
