//! Topics: settings, offsets, who consumes them.

use std::collections::BTreeSet;

use castmq_protocol::model::{TopicConfig, TopicName, system_topics};
use castmq_protocol::native::admin::TopicDetails;
use castmq_protocol::remoting::attributes::{AttributeChange, attribute_changes};
use castmq_protocol::remoting::bodies::group::GroupList;
use castmq_protocol::remoting::bodies::route::TopicList;
use castmq_protocol::remoting::bodies::stats::{QueueStats, TopicStats};
use castmq_protocol::remoting::bodies::topic::{MappedTopicTable, TopicEntry};
use castmq_protocol::remoting::bodies::{DataVersion, MessageQueue};
use castmq_protocol::remoting::headers::topic_admin::TopicStats as TopicStatsOf;

use super::super::offsets::known_topic;
use super::*;

impl RemotingSession {
    pub(super) fn topic_stats(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let topic = TopicStatsOf::from_fields(&asked.command.fields)?.topic;
        let topic = known_topic(&self.context, topic)?.name.to_string();
        let show = AdminRequest::ShowTopic {
            topic: topic.clone(),
        };
        let body = move |context: &BrokerContext, response| match response {
            AdminResponse::Topic(details) => Ok(bytes(stats(context, &topic, &details))),
            _ => Err(context
                .internal("a topic is shown as something else")
                .into()),
        };
        self.carry_out(asked, vec![show], body, ctx)
    }
}

fn check_not_of_system(topic: &str) -> Result<(), Refused> {
    match system_topics::is_system(topic) {
        false => Ok(()),
        true => Err(Refused::new(
            response_code::INVALID_PARAMETER,
            format!("The topic[{topic}] is conflict with system topic."),
        )),
    }
}

/// A topic with the settings of a request, and those that it has and the request does not name.
pub(super) fn put(context: &BrokerContext, put: &PutTopic<'_>) -> Result<AdminRequest, Refused> {
    check_not_of_system(put.topic)?;
    let invalid = |error: &dyn std::fmt::Display| {
        Refused::new(response_code::INVALID_PARAMETER, error.to_string())
    };
    TopicName::new(put.topic).map_err(|error| invalid(&error))?;
    let known = context.topics.find(put.topic).map(|topic| topic.config());
    let mut attributes =
        known.map_or_else(Default::default, |config: TopicConfig| config.attributes);
    let changes = attribute_changes(put.attributes.unwrap_or_default());
    for change in changes.map_err(|error| invalid(&error))? {
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

/// Tools delete retry topics that may never have been made: one that is not there is gone.
pub(super) fn delete(
    context: &BrokerContext,
    delete: &DeleteTopic<'_>,
) -> Result<Option<AdminRequest>, Refused> {
    check_not_of_system(delete.topic)?;
    let known = context.topics.find(delete.topic);
    Ok(known.map(|topic| AdminRequest::DeleteTopic {
        topic: topic.name.to_string(),
    }))
}

pub(super) fn config(
    context: &BrokerContext,
    of: &TopicConfigOf<'_>,
) -> Result<TopicEntry, Refused> {
    let topic = known_topic(context, of.topic)?;
    Ok(TopicEntry::new(topic.name.as_str(), &topic.config()))
}

pub(super) fn version(context: &BrokerContext) -> DataVersion {
    let version = context.topics.version();
    DataVersion {
        counter: version.counter as i64,
        state_version: 0,
        timestamp: version.timestamp_ms,
    }
}

pub(super) fn all(context: &BrokerContext) -> MappedTopicTable {
    let topics = context.topics.all().into_iter().map(|topic| {
        let name = topic.name.to_string();
        (name.clone(), TopicEntry::new(&name, &topic.config()))
    });
    MappedTopicTable {
        data_version: version(context),
        topics: topics.collect(),
        ..MappedTopicTable::default()
    }
}

/// Those that the broker made for itself, its cluster's and its own name among them.
pub(super) fn of_system(context: &BrokerContext) -> TopicList {
    let broker = &context.settings.broker;
    let own = [
        broker.cluster_name.clone(),
        broker.name.clone(),
        system_topics::replies(&broker.cluster_name),
    ];
    let names = context.topics.names().into_iter();
    let system = names
        .map(|name| name.to_string())
        .filter(|name| system_topics::is_system(name));
    TopicList {
        broker_address: Some(context.store_host.to_string()),
        topics: system.chain(own).collect(),
    }
}

fn stats(context: &BrokerContext, topic: &str, details: &TopicDetails) -> TopicStats {
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
        topic_put_tps: statistics::stored_per_second(context, topic),
    }
}

/// Groups that subscribe to a topic, or have offsets in it.
pub(super) fn consumers(context: &BrokerContext, topic: &str) -> GroupList {
    let mut groups: BTreeSet<_> = context.client_groups.of_topic(topic).into_iter().collect();
    if let Ok(name) = TopicName::new(topic) {
        let all = context.groups.names().into_iter();
        groups.extend(all.filter(|group| context.offsets.knows_topic(group, &name)));
    }
    GroupList {
        groups: groups.into_iter().map(|group| group.to_string()).collect(),
    }
}
