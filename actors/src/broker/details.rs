//! What operators see of a broker.

use castmq_config::Role;
use castmq_protocol::native::admin::{BrokerDetails, ReplicationDetails, SlaveDetails};
use procfs::process::{Process, Status};
use procfs::{Current, Meminfo};

use super::context::BrokerContext;

/// The software as it names itself.
pub(crate) const SOFTWARE: &str = concat!("castmq ", env!("CARGO_PKG_VERSION"));

/// Memory and processor time of this process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ProcessUse {
    pub(crate) cpu_ns: u64,
    pub(crate) rss_bytes: u64,
    pub(crate) rss_file_bytes: u64,
}

impl ProcessUse {
    /// As the operating system tells; zeros where it does not.
    pub(crate) fn now() -> Self {
        let status = Process::myself().and_then(|process| process.status());
        let bytes = |field: fn(&Status) -> Option<u64>| {
            let kib = status.as_ref().ok().and_then(field);
            kib.unwrap_or(0) * 1024
        };
        let times = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let seconds = u64::try_from(times.tv_sec).unwrap_or(0);
        Self {
            cpu_ns: seconds * 1_000_000_000 + u64::try_from(times.tv_nsec).unwrap_or(0),
            rss_bytes: bytes(|status| status.vmrss),
            rss_file_bytes: bytes(|status| status.rssfile) + bytes(|status| status.rssshmem),
        }
    }
}

/// Memory of the machine in bytes; 0 where the operating system does not tell.
pub(crate) fn machine_memory_bytes() -> u64 {
    Meminfo::current().map_or(0, |memory| memory.mem_total)
}

/// Gathers them.
pub(crate) fn broker_details(context: &BrokerContext) -> BrokerDetails {
    let reading = context.meters.read();
    let log = &context.store.log;
    let process = ProcessUse::now();
    let space = context.store.disk.space(log.directory());
    let health = trouble(context).unwrap_or_else(|| "ok".to_owned());
    let broker = &context.settings.broker;
    BrokerDetails {
        cluster: broker.cluster_name.clone(),
        name: broker.name.clone(),
        broker_id: context.standing.id,
        software: SOFTWARE.to_owned(),
        uptime_ms: u64::try_from(reading.uptime.as_millis()).unwrap_or(u64::MAX),
        messages_in: reading.stored,
        messages_out: reading.delivered,
        messages_in_per_second: reading.stored_per_second,
        messages_out_per_second: reading.delivered_per_second,
        log_begin: log.begin(),
        log_appended: log.appended(),
        log_flushed: log.flushed(),
        log_committed: context.shown(),
        log_dispatched: context.positions.dispatched(),
        connections: context
            .connections
            .load(std::sync::atomic::Ordering::Acquire),
        topics: u32::try_from(context.topics.len()).unwrap_or(u32::MAX),
        groups: u32::try_from(context.groups.len()).unwrap_or(u32::MAX),
        disk_used_ratio: space.map_or(0.0, |space| space.used_ratio()),
        health,
        cpu_ns: process.cpu_ns,
        rss_bytes: process.rss_bytes,
        rss_file_bytes: process.rss_file_bytes,
        messages_expired: reading.expired,
        replication: replication_details(context),
    }
}

/// What is wrong with the broker, if anything is.
fn trouble(context: &BrokerContext) -> Option<String> {
    let log = &context.store.log;
    log.failure()
        .or_else(|| context.gate.refusal().map(|refusal| refusal.message))
        .or_else(|| match context.standing.is_slave() {
            true => context.following.trouble(),
            false => None,
        })
}

fn replication_details(context: &BrokerContext) -> ReplicationDetails {
    let standing = &context.standing;
    let ha_address = context.ha_address.get();
    let slaves = context
        .replicas
        .all()
        .into_iter()
        .map(|slave| SlaveDetails {
            broker_id: slave.broker_id,
            address: slave.address.clone(),
            acknowledged: slave.acknowledged(),
            lag_ms: slave.lag_ms(),
            is_in_step: slave.is_in_step(),
        });
    let mut slaves: Vec<_> = slaves.collect();
    slaves.sort_by_key(|slave| slave.broker_id);
    ReplicationDetails {
        role: match standing.role {
            Role::AsyncMaster => "async_master",
            Role::SyncMaster => "sync_master",
            Role::Slave => "slave",
        }
        .to_owned(),
        configured_id: context.settings.broker.id.into(),
        // A slave that was never anything else knows it from its master.
        epoch: standing
            .epoch
            .max(context.copied_epochs.lock().last_epoch()),
        ha_address: ha_address.map_or_else(String::new, ToString::to_string),
        following: context.following.master().unwrap_or_default(),
        in_sync_replicas: context.settings.in_sync_replicas(standing.role),
        slaves,
    }
}
