//! The broker itself: its configuration, its figures, how it stands to the others of its set.

use std::collections::BTreeMap;
use std::path::Path;

use castmq_config::{ChangeRefused, Node, Role, check_changes as check, rocketmq_pairs};
use castmq_protocol::model::{QueueId, system_topics};
use castmq_protocol::remoting::bodies::KvTable;
use castmq_protocol::remoting::bodies::broker::{HaClient, HaSlave, HaStatus};
use castmq_protocol::remoting::codes::version;
use castmq_protocol::remoting::headers::broker_admin::BrokerConfigResponse;

use super::*;
use crate::broker::details::broker_details;
use crate::names::shortened;
use crate::storage::cleaner::CleanNow;

/// Letters of an error that holds what a client sent.
const SHOWN_LETTERS: usize = 512;

impl RemotingSession {
    /// Settings under the names that RocketMQ has for them.
    pub(super) fn broker_config(&mut self, asked: &Asked<'_>) -> Handled {
        let lines = config(&self.context).into_iter();
        let text: String = lines
            .map(|(name, value)| format!("{name}={}\n", escaped(&value)))
            .collect();
        let version = json(&topics::version(&self.context));
        let version = String::from_utf8_lossy(&version);
        let fields = BrokerConfigResponse { version: &version };
        self.connection
            .respond(asked.asker, &fields, text.as_bytes());
        Ok(())
    }

    /// Has what retention does not keep removed now, at any hour if an operator wants that.
    pub(super) fn clean(
        &mut self,
        asked: &Asked<'_>,
        at_any_hour: bool,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let actors = self.context.actors();
        let actors = actors.map_err(|failure| self.context.internal(failure))?;
        let cleaned = actors.cleaner.ask(CleanNow { at_any_hour });
        let asker = asked.asker;
        let respond =
            move |session: &mut Self, cleaned: Result<(), String>, _: &mut Ctx<'_, Self>| {
                cleaned.map_err(|error| session.context.internal(error))?;
                session.respond(asker, &())
            };
        self.then(asker, cleaned, respond, ctx);
        Ok(())
    }
}

/// As in a `.properties` file.
pub(crate) fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
}

fn config(context: &BrokerContext) -> BTreeMap<&'static str, String> {
    let settings = &context.settings;
    let host = context.store_host;
    let mut config: BTreeMap<_, _> = rocketmq_pairs(settings, Node::Broker).into_iter().collect();
    if let Some(ha_address) = context.ha_address.get() {
        config.insert("haListenPort", ha_address.port().to_string());
    }
    let role = match context.standing.role {
        Role::AsyncMaster => "ASYNC_MASTER",
        Role::SyncMaster => "SYNC_MASTER",
        Role::Slave => "SLAVE",
    };
    // In a standalone node nobody says where the name server is.
    config.retain(|name, value| *name != "namesrvAddr" || !value.is_empty());
    let store = &settings.store;
    config.insert("storePathRootDir", absolute(&store.data_dir));
    config.insert("storePathCommitLog", absolute(&store.commit_log_path()));
    // exportMetrics takes it for the number of processors.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    config.insert("clientCallbackExecutorThreads", processors.to_string());
    config.extend([
        // What it is now, whatever its file says.
        ("brokerId", context.standing.id.to_string()),
        ("brokerRole", role.to_owned()),
        ("brokerIP1", host.ip().to_string()),
        ("listenPort", host.port().to_string()),
        // What is always so.
        ("aclEnable", false.to_string()),
        ("enablePropertyFilter", true.to_string()),
        ("msgTraceTopicName", system_topics::TRACE.to_owned()),
        ("recallMessageEnable", true.to_string()),
        ("timerWheelEnable", true.to_string()),
        ("traceOn", true.to_string()),
        ("useTLS", false.to_string()),
        (
            "timerMaxDelaySec",
            (settings.broker.timer_max_delay_ms / 1000).to_string(),
        ),
    ]);
    config
}

fn absolute(path: &Path) -> String {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    whole.display().to_string()
}

/// Nothing is set while the broker runs, which whoever tries is told.
pub(super) fn check_changes(context: &BrokerContext, body: &[u8]) -> Result<Bytes, Refused> {
    let text = String::from_utf8_lossy(body);
    match check(&context.settings, Node::Broker, &text) {
        Ok(()) => Ok(Bytes::new()),
        Err(refused) => Err(change_refused(&refused)),
    }
}

/// The answer to an operator who would set something.
pub(crate) fn change_refused(refused: &ChangeRefused) -> Refused {
    let code = match refused {
        ChangeRefused::Protected => response_code::NO_PERMISSION,
        _ => response_code::SYSTEM_ERROR,
    };
    Refused::new(code, shortened(&refused.to_string(), SHOWN_LETTERS))
}

/// What tools and the dashboard show of a broker. Rates have three windows on this wire, and here are all the same one.
pub(super) fn runtime_info(context: &BrokerContext) -> KvTable {
    let details = broker_details(context);
    let rate = |per_second: f64| format!("{per_second:.1} {per_second:.1} {per_second:.1}");
    let (puts, gets) = (
        rate(details.messages_in_per_second),
        rate(details.messages_out_per_second),
    );
    let started_ms = context.clock.now_ms() - details.uptime_ms as i64;
    let log = &context.store.log;
    let behind = details.log_appended.distance_from(details.log_dispatched);
    let unflushed = details.log_appended.distance_from(details.log_flushed);
    let stored_bytes = context.meters.read().stored_bytes;
    let average = stored_bytes.checked_div(details.messages_in);
    let ours = version::OURS;
    let mut table: BTreeMap<String, String> = [
        ("bootTimestamp", started_ms.to_string()),
        ("runtime", days(details.uptime_ms)),
        ("brokerVersion", ours.to_string()),
        ("brokerVersionDesc", version::name(ours)),
        ("brokerActive", (!context.standing.is_slave()).to_string()),
        ("commitLogMinOffset", details.log_begin.to_string()),
        ("commitLogMaxOffset", details.log_appended.to_string()),
        ("dispatchBehindBytes", behind.to_string()),
        ("remainHowManyDataToFlush", human_bytes(unflushed)),
        ("earliestMessageTimeStamp", {
            let first_ms = log.store_timestamp_ms(details.log_begin);
            first_ms.unwrap_or(-1).to_string()
        }),
        ("startAcceptSendRequestTimeStamp", 0.to_string()),
        ("msgPutTotalTodayNow", details.messages_in.to_string()),
        ("msgGetTotalTodayNow", details.messages_out.to_string()),
        ("putMessageTimesTotal", details.messages_in.to_string()),
        ("putMessageSizeTotal", stored_bytes.to_string()),
        ("putMessageAverageSize", {
            format!("{:.1}", average.unwrap_or_default() as f64)
        }),
        ("putTps", puts),
        ("getTransferredTps", gets.clone()),
        ("getTotalTps", gets.clone()),
        ("getFoundTps", gets),
        ("getMissTps", rate(0.0)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    table.extend(NONE.iter().map(|(name, none)| (*name, *none)).map(owned));
    add_space(context, &mut table);
    add_delays(context, &mut table);
    KvTable { table }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// What RocketMQ counts and there is nothing of here: thread pools have no queues, because there are no thread pools, and what
/// waits for its time is entered as it comes. Tools read these names all the same.
const NONE: &[(&str, &str)] = &[
    ("msgPutTotalTodayMorning", "0"),
    ("msgPutTotalYesterdayMorning", "0"),
    ("msgGetTotalTodayMorning", "0"),
    ("msgGetTotalYesterdayMorning", "0"),
    ("pageCacheLockTimeMills", "0"),
    ("sendThreadPoolQueueSize", "0"),
    ("sendThreadPoolQueueHeadWaitTimeMills", "0"),
    ("pullThreadPoolQueueSize", "0"),
    ("pullThreadPoolQueueHeadWaitTimeMills", "0"),
    ("litePullThreadPoolQueueSize", "0"),
    ("litePullThreadPoolQueueHeadWaitTimeMills", "0"),
    ("ackThreadPoolQueueSize", "0"),
    ("ackThreadPoolQueueHeadWaitTimeMills", "0"),
    ("queryThreadPoolQueueSize", "0"),
    ("queryThreadPoolQueueHeadWaitTimeMills", "0"),
    ("EndTransactionQueueSize", "0"),
    ("timerReadBehind", "0"),
    ("timerOffsetBehind", "0"),
    ("timerCongestNum", "0"),
    ("timerEnqueueTps", "0.0"),
    ("timerDequeueTps", "0.0"),
];

/// How full the partitions are.
fn add_space(context: &BrokerContext, table: &mut BTreeMap<String, String>) {
    let store = &context.store;
    let space = |path: &Path| store.disk.space(path).ok();
    let ratio = |used: f64| format!("{used:.2}");
    let log = store.log.directory();
    if let Some(space) = space(log) {
        let used = ratio(space.used_ratio());
        table.insert(
            format!("commitLogDiskRatio_{}", absolute(log)),
            used.clone(),
        );
        table.insert("commitLogDiskRatio".to_owned(), used);
        let (total, free) = (
            human_bytes(space.total_bytes),
            human_bytes(space.available_bytes),
        );
        let capacity = format!("Total : {total}, Free : {free}.");
        table.insert("commitLogDirCapacity".to_owned(), capacity);
    }
    let queues = context.settings.store.consume_queue_path();
    // Its folder may not be there before the first message is.
    if let Some(space) = space(&queues).or_else(|| space(store.root())) {
        table.insert(
            "consumeQueueDiskRatio".to_owned(),
            ratio(space.used_ratio()),
        );
    }
}

/// How far the delay levels are that have had messages.
fn add_delays(context: &BrokerContext, table: &mut BTreeMap<String, String>) {
    for queue in 0..context.delays.count() {
        let id = QueueId(queue.into());
        if let Some(found) = context.store.queues.find(system_topics::SCHEDULE, id) {
            let next = context.store.unseen.moved.next_scheduled(queue);
            let name = format!("scheduleMessageOffset_{}", u32::from(queue) + 1);
            table.insert(name, format!("{next},{}", found.max_offset()));
        }
    }
}

/// As Java's tools write a time span.
fn days(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    format!("[ {days} days, {hours} hours, {minutes} minutes, {seconds} seconds ]")
}

/// As Java's tools write bytes.
fn human_bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].into_iter();
    let mut unit = units.next();
    while size >= 1024.0
        && let Some(next) = units.next()
    {
        size /= 1024.0;
        unit = Some(next);
    }
    match unit {
        None | Some("B") => format!("{bytes} B"),
        Some(unit) => format!("{size:.1} {unit}"),
    }
}

/// A master's slaves, or how a slave follows.
pub(super) fn ha_status(context: &BrokerContext) -> HaStatus {
    let end = context.store.log.appended();
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let slaves = context.replicas.all().into_iter().map(|slave| {
        let acknowledged = slave.acknowledged();
        HaSlave {
            address: slave.address.clone(),
            lag_bytes: signed(end.distance_from(acknowledged)),
            is_in_step: slave.is_in_step(),
            acknowledged: acknowledged.as_i64(),
            transfer_from_where: acknowledged.as_i64(),
            // Links do not count what they send by time.
            bytes_per_second: 0,
        }
    });
    let slaves: Vec<_> = slaves.collect();
    let in_step = slaves.iter().filter(|slave| slave.is_in_step).count();
    let master_address = context.following.master();
    HaStatus {
        client: HaClient {
            is_active: master_address.is_some(),
            max_offset: match context.standing.is_slave() {
                true => end.as_i64(),
                false => 0,
            },
            master_address,
            ..HaClient::default()
        },
        slaves_in_step: i32::try_from(in_step).unwrap_or(i32::MAX),
        slaves,
        is_master: !context.standing.is_slave(),
        master_commit_log_max_offset: end.as_i64(),
    }
}

/// On a master there is nothing to reset, as in RocketMQ. A slave's log is its master's, up to where it has it.
pub(super) fn reset_flush_offset(context: &BrokerContext) -> Result<Bytes, Refused> {
    match context.standing.is_slave() {
        false => Ok(Bytes::new()),
        true => Err(Refused::new(
            response_code::SYSTEM_ERROR,
            "a slave follows its master's log, and nobody else says up to where that counts",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_written_as_javas_tools_do() {
        assert_eq!(
            days(90_061_000),
            "[ 1 days, 1 hours, 1 minutes, 1 seconds ]"
        );
        assert_eq!(human_bytes(0), "0 B");
        assert_eq!(human_bytes(1_023), "1023 B");
        assert_eq!(human_bytes(1_536), "1.5 KiB");
        assert_eq!(human_bytes(5 << 40), "5.0 TiB");
        assert_eq!(escaped("a\\b\nc"), "a\\\\b\\nc");
    }
}
