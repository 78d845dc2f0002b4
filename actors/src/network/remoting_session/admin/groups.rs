//! Groups: settings, members, what they want.

use castmq_protocol::remoting::Fields;
use castmq_protocol::remoting::bodies::DataVersion;
use castmq_protocol::remoting::bodies::assignment::{RequestMode, RequestModes, SetRequestMode};
use castmq_protocol::remoting::bodies::connection::{
    Connection as Member, ConsumerConnections, ProducerConnections, ProducerInfo, ProducerTable,
};
use castmq_protocol::remoting::bodies::group::{GroupReadable, GroupSubscription, GroupTable};
use castmq_protocol::remoting::bodies::route::TopicList;
use castmq_protocol::remoting::headers::group_admin::{
    ConsumerConnections as ConnectionsOf, GroupConfigOf, GroupForbidden,
    ProducerConnections as ProducersOf, SubscriptionOf, TopicsOfConsumer,
};

use super::*;
use crate::delivery::client_groups::ClientMember;
use crate::names::{group_name, shortened};

pub(super) fn put(entry: GroupEntry) -> AdminRequest {
    AdminRequest::PutGroup {
        config: entry.config(),
        group: entry.group_name,
    }
}

pub(super) fn config(context: &BrokerContext, fields: &Fields<'_>) -> Result<GroupEntry, Refused> {
    let group = group_name(GroupConfigOf::from_fields(fields)?.group)?;
    let config = context.groups.existing(&group)?;
    Ok(GroupEntry::new(group.as_str(), &config))
}

pub(super) fn all(context: &BrokerContext) -> GroupTable {
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

pub(super) fn connections(
    context: &BrokerContext,
    fields: &Fields<'_>,
) -> Result<ConsumerConnections, Refused> {
    let group = ConnectionsOf::from_fields(fields)?.group;
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

pub(super) fn producer_connections(
    context: &BrokerContext,
    fields: &Fields<'_>,
) -> Result<ProducerConnections, Refused> {
    let group = ProducersOf::from_fields(fields)?.group;
    let producers = context.client_groups.producers();
    let members = producers.get(group).ok_or_else(|| {
        let group = shortened(group, 128);
        Refused::new(
            response_code::SYSTEM_ERROR,
            format!("the producer group[{group}] not exist"),
        )
    })?;
    let connections = members.iter().map(|heard| connection(&heard.member));
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

/// All that produce, with when each was heard of last.
pub(super) fn producers(context: &BrokerContext) -> ProducerTable {
    let now_ms = context.clock.now_ms();
    let groups = context.client_groups.producers().into_iter();
    let info = |heard: &crate::delivery::client_groups::Heard| {
        let silent_ms = i64::try_from(heard.at.elapsed().as_millis()).unwrap_or(i64::MAX);
        ProducerInfo {
            client_id: heard.member.client_id.clone(),
            language: heard.member.language,
            last_update_ms: now_ms.saturating_sub(silent_ms),
            // As Java writes an address without a name.
            remote_address: format!("/{}", heard.member.address),
            version: heard.member.version,
        }
    };
    ProducerTable {
        groups: groups
            .map(|(group, members)| (group.to_string(), members.iter().map(info).collect()))
            .collect(),
    }
}

/// Topics in which a group has offsets.
pub(super) fn topics(context: &BrokerContext, fields: &Fields<'_>) -> Result<TopicList, Refused> {
    let group = group_name(TopicsOfConsumer::from_fields(fields)?.group)?;
    let offsets = context.offsets.of_group(&group).into_iter();
    let topics = offsets.map(|((topic, _), _)| topic.to_string());
    Ok(TopicList {
        broker_address: Some(context.store_host.to_string()),
        topics: topics.collect(),
    })
}

pub(super) fn subscription(
    context: &BrokerContext,
    fields: &Fields<'_>,
) -> Result<GroupSubscription, Refused> {
    let of = SubscriptionOf::from_fields(fields)?;
    let topic = of.topic.unwrap_or_default();
    let subscribed = context.client_groups.subscribed(of.group, topic);
    Ok(GroupSubscription {
        group: of.group.to_owned(),
        subscription: subscribed.flatten().map(|subscribed| subscribed.told),
        topic: topic.to_owned(),
    })
}

/// Whether a group may read a topic, which no operator can deny it for one topic alone.
pub(super) fn readable(
    context: &BrokerContext,
    fields: &Fields<'_>,
) -> Result<GroupReadable, Refused> {
    let of = GroupForbidden::from_fields(fields)?;
    if of.readable == Some(false) {
        return Err(Refused::new(
            response_code::SYSTEM_ERROR,
            "a group cannot be kept from one topic alone: take the topic's permission to be read, or the group's to consume",
        ));
    }
    let config = context.groups.config(of.group);
    Ok(GroupReadable {
        group: of.group.to_owned(),
        readable: config.is_none_or(|config| config.consume_enabled),
        topic: of.topic.to_owned(),
    })
}

/// Groups that pop because an operator wants them to.
pub(super) fn request_modes(context: &BrokerContext) -> RequestModes {
    let mut all = RequestModes::default();
    for (group, topic) in context.client_groups.all_pops() {
        let of_topic = all.modes.entry(topic.to_string()).or_default();
        let mode = SetRequestMode {
            consumer_group: group.to_string(),
            mode: RequestMode::Pop,
            pop_share_queues: 0,
            topic: topic.to_string(),
        };
        of_topic.insert(group.to_string(), mode);
    }
    all
}
