//! What operators ask: each request becomes one of [`AdminRequest`], and its answer a body of RocketMQ's.

use std::collections::BTreeSet;

use castmq_protocol::model::{QueueId, QueueOffset, TopicConfig, TopicName, system_topics};
use castmq_protocol::native::admin::{
    AdminRequest, AdminResponse, GroupDetails, ResetTo, TopicDetails,
};
use castmq_protocol::native::request::{StartFrom, TopicQueue};
use castmq_protocol::remoting::attributes::{AttributeChange, attribute_changes};
use castmq_protocol::remoting::bodies::connection::{
    Connection as Member, ConsumerConnections, ProducerConnections,
};
use castmq_protocol::remoting::bodies::group::{GroupEntry, GroupList, GroupTable};
use castmq_protocol::remoting::bodies::offset::ResetOffsets;
use castmq_protocol::remoting::bodies::route::TopicList;
use castmq_protocol::remoting::bodies::stats::{ConsumeStats, Progress, QueueStats, TopicStats};
use castmq_protocol::remoting::bodies::topic::{MappedTopicTable, PutTopics, TopicEntry};
use castmq_protocol::remoting::bodies::{DataVersion, KvTable, MessageQueue};
use castmq_protocol::remoting::headers::broker_admin::BrokerConfigResponse;
use castmq_protocol::remoting::headers::group_admin::{
    CloneOffsets, ConsumeStats as ConsumeStatsOf, ConsumerConnections as ConnectionsOf,
    DeleteGroup, GroupConfigOf, ProducerConnections as ProducersOf, TopicsOfConsumer,
};
use castmq_protocol::remoting::headers::membership::ResetOffset;
use castmq_protocol::remoting::headers::topic_admin::{
    DeleteTopic, PutTopic, TopicConfigOf, TopicConsumers, TopicStats as TopicStatsOf,
};
use castmq_protocol::remoting::json::from_slice;
use castmq_protocol::remoting::{ReadFields, codes::version, response_code};
use castmq_storage::disk::Wait;

use super::offsets::known_topic;
use super::*;
use crate::broker::details::broker_details;
use crate::delivery::client_groups::ClientMember;
use crate::names::{group_name, shortened};
use crate::network::admin_session::answer;
use crate::network::remoting::json;

/// Carries requests out, one after the other, up to the first that is refused. Returns the answer to the last.
async fn carried_out(
    context: Arc<BrokerContext>,
    requests: Vec<AdminRequest>,
) -> Result<Option<AdminResponse>, Refusal> {
    let mut last = None;
    for request in requests {
        if let Some(answered) = answer(context.clone(), request).await {
            last = Some(answered?.0);
        }
    }
    Ok(last)
}

/// Nothing but that it is done.
fn done(_: &BrokerContext, _: AdminResponse) -> Result<Bytes, Refused> {
    Ok(Bytes::new())
}

impl RemotingSession {
    pub(super) fn administer(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let fields = &asked.command.fields;
        let context = self.context.clone();
        let body: Bytes = match asked.command.code {
            request_code::UPDATE_AND_CREATE_TOPIC => {
                let put = put_topic(&context, &PutTopic::from_fields(fields)?)?;
                return self.change_topics(asked, vec![put], ctx);
            }
            request_code::UPDATE_AND_CREATE_TOPIC_LIST => {
                let put: PutTopics = from_slice(asked.body.bytes)?;
                let puts = put.topics.into_iter().map(|entry| AdminRequest::PutTopic {
                    config: entry.config(),
                    topic: entry.topic_name,
                    only_new: false,
                });
                return self.change_topics(asked, puts.collect(), ctx);
            }
            request_code::DELETE_TOPIC_IN_BROKER => {
                let topic = DeleteTopic::from_fields(fields)?.topic.to_owned();
                return self.change_topics(asked, vec![AdminRequest::DeleteTopic { topic }], ctx);
            }
            request_code::GET_TOPIC_STATS_INFO => {
                let topic = TopicStatsOf::from_fields(fields)?.topic;
                let topic = known_topic(&context, topic)?.name.to_string();
                let show = AdminRequest::ShowTopic {
                    topic: topic.clone(),
                };
                let body = move |context: &BrokerContext, response| match response {
                    AdminResponse::Topic(details) => {
                        Ok(bytes(topic_stats(context, &topic, &details)))
                    }
                    _ => Err(context
                        .internal("a topic is shown as something else")
                        .into()),
                };
                return self.carry_out(asked, vec![show], body, ctx);
            }
            request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => {
                let entry: GroupEntry = from_slice(asked.body.bytes)?;
                let put = AdminRequest::PutGroup {
                    config: entry.config(),
                    group: entry.group_name,
                };
                return self.carry_out(asked, vec![put], done, ctx);
            }
            request_code::DELETE_SUBSCRIPTIONGROUP => {
                let group = DeleteGroup::from_fields(fields)?.group.to_owned();
                let with_topics = false;
                let delete = AdminRequest::DeleteGroup { group, with_topics };
                return self.carry_out(asked, vec![delete], done, ctx);
            }
            request_code::GET_CONSUME_STATS => {
                let of = ConsumeStatsOf::from_fields(fields)?;
                let topics = of
                    .topic
                    .filter(|topic| !topic.is_empty())
                    .map(str::to_owned);
                let group = of.group.to_owned();
                let body = move |context: &BrokerContext, response| match response {
                    AdminResponse::Group(details) => {
                        Ok(bytes(consume_stats(context, &details, topics.as_deref())))
                    }
                    _ => Err(context
                        .internal("a group is shown as something else")
                        .into()),
                };
                return self.carry_out(asked, vec![AdminRequest::ShowGroup { group }], body, ctx);
            }
            request_code::INVOKE_BROKER_TO_RESET_OFFSET => return self.reset(asked, ctx),
            request_code::CLONE_GROUP_OFFSET => {
                let clone = CloneOffsets::from_fields(fields)?;
                let clone = AdminRequest::CloneOffsets {
                    group: clone.to.to_owned(),
                    from: clone.from.to_owned(),
                    topic: clone.topic.map(str::to_owned),
                };
                return self.carry_out(asked, vec![clone], done, ctx);
            }
            request_code::GET_TOPIC_CONFIG => {
                let topic = known_topic(&context, TopicConfigOf::from_fields(fields)?.topic)?;
                bytes(TopicEntry::new(topic.name.as_str(), &topic.config()))
            }
            request_code::GET_ALL_TOPIC_CONFIG => bytes(all_topics(&context)),
            request_code::GET_SUBSCRIPTIONGROUP_CONFIG => {
                let group = group_name(GroupConfigOf::from_fields(fields)?.group)?;
                let config = context.groups.existing(&group)?;
                bytes(GroupEntry::new(group.as_str(), &config))
            }
            request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => bytes(all_groups(&context)),
            request_code::GET_CONSUMER_CONNECTION_LIST => {
                let group = ConnectionsOf::from_fields(fields)?.group;
                bytes(connections(&context, group)?)
            }
            request_code::GET_PRODUCER_CONNECTION_LIST => {
                let group = ProducersOf::from_fields(fields)?.group;
                bytes(producer_connections(&context, group)?)
            }
            request_code::GET_BROKER_CONFIG => {
                let text = broker_config(&context);
                let version = String::from_utf8_lossy(&json(&version_of(&context))).into_owned();
                let fields = BrokerConfigResponse { version: &version };
                self.connection
                    .respond(asked.asker, &fields, text.as_bytes());
                return Ok(());
            }
            request_code::QUERY_TOPIC_CONSUME_BY_WHO => {
                let topic = TopicConsumers::from_fields(fields)?.topic;
                bytes(consumers_of(&context, topic))
            }
            request_code::QUERY_TOPICS_BY_CONSUMER => {
                let group = group_name(TopicsOfConsumer::from_fields(fields)?.group)?;
                let offsets = context.offsets.of_group(&group).into_iter();
                let topics = offsets.map(|((topic, _), _)| topic.to_string());
                bytes(TopicList {
                    broker_address: Some(context.store_host.to_string()),
                    topics: topics.collect(),
                })
            }
            request_code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => {
                let names = context
                    .topics
                    .names()
                    .into_iter()
                    .map(|name| name.to_string());
                let own = [
                    context.settings.broker.cluster_name.clone(),
                    context.settings.broker.name.clone(),
                ];
                let is_system =
                    |name: &String| system_topics::is_system(name) || own.contains(name);
                bytes(TopicList {
                    broker_address: Some(context.store_host.to_string()),
                    topics: names.filter(is_system).chain(own.clone()).collect(),
                })
            }
            request_code::GET_BROKER_RUNTIME_INFO => bytes(runtime_info(&context)),
            code => return Err(not_served(code, "broker")),
        };
        self.connection.respond(asked.asker, &(), &body);
        Ok(())
    }

    /// Carries requests out that change topics, and answers when name servers know: RocketMQ's tools look there next.
    fn change_topics(
        &mut self,
        asked: &Asked<'_>,
        requests: Vec<AdminRequest>,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let context = self.context.clone();
        let changed = async move {
            let changed = carried_out(context.clone(), requests).await;
            context.told.until(context.topics.version()).await;
            Ok(changed)
        };
        let asker = asked.asker;
        let respond =
            move |session: &mut Self, changed: Result<_, Refusal>, _: &mut Ctx<'_, Self>| {
                changed?;
                session.respond(asker, &())
            };
        self.then(asker, changed, respond, ctx);
        Ok(())
    }

    /// Carries requests out, one after the other, and answers with what comes of the last.
    fn carry_out(
        &mut self,
        asked: &Asked<'_>,
        requests: Vec<AdminRequest>,
        body: impl FnOnce(&BrokerContext, AdminResponse) -> Result<Bytes, Refused> + 'static,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let context = self.context.clone();
        let carried_out = async move { Ok(carried_out(context, requests).await) };
        let asker = asked.asker;
        let respond = move |session: &mut Self,
                            carried_out: Result<Option<AdminResponse>, Refusal>,
                            _: &mut Ctx<'_, Self>| {
            let body = match carried_out? {
                Some(response) => body(&session.context, response)?,
                None => Bytes::new(),
            };
            session.connection.respond(asker, &(), &body);
            Ok(())
        };
        self.then(asker, carried_out, respond, ctx);
        Ok(())
    }

    /// Sets a group's offsets. Members are told at their next pull, and what they commit before that does not count.
    fn reset(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let reset = ResetOffset::from_fields(&asked.command.fields)?;
        let group = group_name(reset.group)?;
        let topic = known_topic(&self.context, reset.topic)?;
        let queue = u32::try_from(reset.queue).ok().map(QueueId);
        let to = match (reset.offset, reset.timestamp_ms) {
            (Some(offset), _) if offset >= 0 => ResetTo::Offset(QueueOffset(offset.unsigned_abs())),
            (_, -1) => ResetTo::Start(StartFrom::Latest),
            (_, at_ms) => ResetTo::Start(StartFrom::Timestamp(at_ms)),
        };
        let request = AdminRequest::ResetOffsets {
            group: group.to_string(),
            topic: topic.name.to_string(),
            queue,
            to,
        };
        let body = move |context: &BrokerContext, response| {
            let AdminResponse::Offsets(offsets) = response else {
                return Err(context
                    .internal("offsets are shown as something else")
                    .into());
            };
            let broker = &context.settings.broker.name;
            let mut reset = ResetOffsets::default();
            for (place, offset) in offsets {
                if let Ok(topic) = TopicName::new(&place.topic) {
                    let groups = &context.client_groups;
                    groups.reset(&group, (topic, place.queue), offset);
                }
                let queue = MessageQueue::new(&place.topic, broker, place.queue.0 as i32);
                reset.offsets.insert(queue, offset.0 as i64);
            }
            Ok(bytes(reset))
        };
        self.carry_out(asked, vec![request], body, ctx)
    }
}

fn bytes(body: impl Serialize) -> Bytes {
    json(&body).freeze()
}

/// A topic with the settings of a request, and those that it has and the request does not name.
fn put_topic(context: &BrokerContext, put: &PutTopic<'_>) -> Result<AdminRequest, Refused> {
    if system_topics::is_system(put.topic) {
        return Err(Refused::new(
            response_code::INVALID_PARAMETER,
            format!("The topic[{}] is conflict with system topic.", put.topic),
        ));
    }
    let known = context.topics.find(put.topic).map(|topic| topic.config());
    let mut attributes =
        known.map_or_else(Default::default, |config: TopicConfig| config.attributes);
    let changes = attribute_changes(put.attributes.unwrap_or_default());
    let changes = changes
        .map_err(|error| Refused::new(response_code::INVALID_PARAMETER, error.to_string()))?;
    for change in changes {
        match change {
            AttributeChange::Set { name, value } => {
                attributes.insert(name.to_owned(), value.to_owned());
            }
            AttributeChange::Remove { name } => {
                attributes.remove(name);
            }
        }
    }
    let entry = TopicEntry {
        attributes,
        order: put.order,
        permission: put.permission,
        read_queues: put.read_queues,
        write_queues: put.write_queues,
        sys_flag: put.sys_flag.unwrap_or_default(),
        topic_name: put.topic.to_owned(),
        ..TopicEntry::default()
    };
    Ok(AdminRequest::PutTopic {
        config: entry.config(),
        topic: entry.topic_name,
        only_new: false,
    })
}

fn version_of(context: &BrokerContext) -> DataVersion {
    let version = context.topics.version();
    DataVersion {
        counter: version.counter as i64,
        state_version: 0,
        timestamp: version.timestamp_ms,
    }
}

fn all_topics(context: &BrokerContext) -> MappedTopicTable {
    let topics = context.topics.all().into_iter().map(|topic| {
        let name = topic.name.to_string();
        (name.clone(), TopicEntry::new(&name, &topic.config()))
    });
    MappedTopicTable {
        data_version: version_of(context),
        topics: topics.collect(),
        ..MappedTopicTable::default()
    }
}

fn all_groups(context: &BrokerContext) -> GroupTable {
    let groups = context
        .groups
        .all()
        .into_iter()
        .map(|(name, config)| (name.to_string(), GroupEntry::new(name.as_str(), &config)));
    GroupTable {
        data_version: DataVersion {
            counter: context.groups.version() as i64,
            ..DataVersion::default()
        },
        groups: groups.collect(),
        ..GroupTable::default()
    }
}

fn topic_stats(context: &BrokerContext, topic: &str, details: &TopicDetails) -> TopicStats {
    let broker = &context.settings.broker.name;
    let offsets = details.queues.iter().map(|queue| {
        let stats = QueueStats {
            last_store_timestamp_ms: queue.last_store_timestamp_ms,
            max_offset: queue.max_offset.0 as i64,
            min_offset: queue.min_offset.0 as i64,
        };
        (
            MessageQueue::new(topic, broker, queue.queue.0 as i32),
            stats,
        )
    });
    TopicStats {
        offsets: offsets.collect(),
        topic_put_tps: 0.0,
    }
}

fn consume_stats(
    context: &BrokerContext,
    details: &GroupDetails,
    topic: Option<&str>,
) -> ConsumeStats {
    let broker = &context.settings.broker.name;
    let progress = details.progress.iter();
    let wanted = progress.filter(|of| topic.is_none_or(|topic| of.queue.topic == topic));
    let offsets = wanted.map(|of| {
        let queue = MessageQueue::new(&of.queue.topic, broker, of.queue.queue.0 as i32);
        let committed = of.committed.map_or(0, |offset| offset.0 as i64);
        let progress = Progress {
            broker_offset: of.max_offset.0 as i64,
            consumer_offset: committed,
            last_timestamp_ms: last_taken_ms(context, &of.queue, committed),
            pull_offset: committed,
        };
        (queue, progress)
    });
    ConsumeStats {
        consume_tps: 0.0,
        offsets: offsets.collect(),
    }
}

/// When the last message was stored that a group has processed of a queue; 0 when it has none, or its message is gone.
fn last_taken_ms(context: &BrokerContext, place: &TopicQueue, committed: i64) -> i64 {
    let found = || {
        let last = QueueOffset(u64::try_from(committed).ok()?.checked_sub(1)?);
        let queue = context.store.queues.find(&place.topic, place.queue)?;
        let mut units = Vec::new();
        queue.read(last, 1, Wait::Never, &mut units).ok()?;
        context
            .store
            .log
            .store_timestamp_ms(units.first()?.physical)
    };
    found().unwrap_or_default()
}

fn connections(context: &BrokerContext, group: &str) -> Result<ConsumerConnections, Refused> {
    let groups = &context.client_groups;
    let wishes = groups.wishes(group).ok_or_else(|| {
        let group = shortened(group, 128);
        Refused::new(
            response_code::CONSUMER_NOT_ONLINE,
            format!("the consumer group[{group}] not online"),
        )
    })?;
    let members = groups.members(group);
    let subscriptions = wishes.subscriptions.into_iter();
    Ok(ConsumerConnections {
        connections: members.iter().map(connection).collect(),
        consume_from_where: wishes.from,
        consume_type: wishes.consume_type,
        message_model: wishes.model,
        subscriptions: subscriptions
            .map(|(topic, subscribed)| (topic.to_string(), subscribed.told))
            .collect(),
    })
}

fn producer_connections(
    context: &BrokerContext,
    group: &str,
) -> Result<ProducerConnections, Refused> {
    let producers = context.client_groups.producers();
    let members = producers.get(group).ok_or_else(|| {
        let group = shortened(group, 128);
        Refused::new(
            response_code::SYSTEM_ERROR,
            format!("the producer group[{group}] not exist"),
        )
    })?;
    let connections = members.iter().map(connection);
    Ok(ProducerConnections {
        connections: connections.collect(),
    })
}

fn connection(member: &ClientMember) -> Member {
    Member {
        client_address: member.address.clone(),
        client_id: member.client_id.clone(),
        language: member.language,
        version: member.version,
    }
}

/// Settings as RocketMQ names them, as far as tools and clients ask for them.
fn broker_config(context: &BrokerContext) -> String {
    let settings = &context.settings;
    let broker = &settings.broker;
    let values = [
        ("brokerClusterName", broker.cluster_name.clone()),
        ("brokerName", broker.name.clone()),
        ("brokerId", context.standing.id.to_string()),
        ("brokerIP1", context.store_host.ip().to_string()),
        ("listenPort", context.store_host.port().to_string()),
        ("namesrvAddr", broker.name_servers.join(";")),
        ("messageDelayLevel", broker.delay_levels.clone()),
        (
            "defaultTopicQueueNums",
            broker.default_topic_queues.to_string(),
        ),
        (
            "maxMessageSize",
            settings.limits.max_message_bytes.to_string(),
        ),
        (
            "transactionCheckMax",
            broker.transaction_check_max.to_string(),
        ),
        (
            "transactionCheckInterval",
            broker.transaction_check_interval_ms.to_string(),
        ),
        (
            "transactionTimeOut",
            broker.transaction_timeout_ms.to_string(),
        ),
        (
            "timerMaxDelaySec",
            (broker.timer_max_delay_ms / 1000).to_string(),
        ),
        ("enablePropertyFilter", true.to_string()),
    ];
    let lines = values.map(|(name, value)| format!("{name}={value}\n"));
    lines.concat()
}

fn consumers_of(context: &BrokerContext, topic: &str) -> GroupList {
    let mut groups: BTreeSet<_> = context.client_groups.of_topic(topic).into_iter().collect();
    if let Ok(name) = TopicName::new(topic) {
        let all = context.groups.names().into_iter();
        groups.extend(all.filter(|group| context.offsets.knows_topic(group, &name)));
    }
    GroupList {
        groups: groups.into_iter().map(|group| group.to_string()).collect(),
    }
}

/// What tools and the dashboard show of a broker. Rates have three windows on this wire, and here are all the same one.
fn runtime_info(context: &BrokerContext) -> KvTable {
    let details = broker_details(context);
    let rate = |per_second: f64| format!("{per_second:.1} {per_second:.1} {per_second:.1}");
    let started_ms = context.clock.now_ms() - details.uptime_ms as i64;
    let ours = version::OURS;
    let values = [
        ("bootTimestamp", started_ms.to_string()),
        ("brokerVersion", ours.to_string()),
        ("brokerVersionDesc", version::name(ours)),
        ("brokerActive", (!context.standing.is_slave()).to_string()),
        (
            "commitLogDiskRatio",
            format!("{:.2}", details.disk_used_ratio),
        ),
        ("commitLogMinOffset", details.log_begin.to_string()),
        ("commitLogMaxOffset", details.log_appended.to_string()),
        ("dispatchBehindBytes", {
            let behind = details.log_appended.distance_from(details.log_dispatched);
            behind.to_string()
        }),
        ("msgPutTotalTodayNow", details.messages_in.to_string()),
        ("msgGetTotalTodayNow", details.messages_out.to_string()),
        ("msgPutTotalTodayMorning", "0".to_owned()),
        ("msgPutTotalYesterdayMorning", "0".to_owned()),
        ("msgGetTotalTodayMorning", "0".to_owned()),
        ("msgGetTotalYesterdayMorning", "0".to_owned()),
        ("putTps", rate(details.messages_in_per_second)),
        ("getTransferredTps", rate(details.messages_out_per_second)),
        ("getTotalTps", rate(details.messages_out_per_second)),
        ("getFoundTps", rate(details.messages_out_per_second)),
        ("getMissTps", rate(0.0)),
        ("pageCacheLockTimeMills", "0".to_owned()),
        ("sendThreadPoolQueueSize", "0".to_owned()),
        ("sendThreadPoolQueueHeadWaitTimeMills", "0".to_owned()),
        ("pullThreadPoolQueueSize", "0".to_owned()),
        ("pullThreadPoolQueueHeadWaitTimeMills", "0".to_owned()),
        ("ackThreadPoolQueueSize", "0".to_owned()),
        ("queryThreadPoolQueueHeadWaitTimeMills", "0".to_owned()),
        ("timerReadBehind", "0".to_owned()),
        ("timerOffsetBehind", "0".to_owned()),
        ("timerCongestNum", "0".to_owned()),
        ("timerEnqueueTps", "0.0".to_owned()),
        ("timerDequeueTps", "0.0".to_owned()),
    ];
    let named = values
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    KvTable {
        table: named.collect(),
    }
}
