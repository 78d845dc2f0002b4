//! Settings of topics, on the wire and in `topics.json` (RocketMQ `TopicConfig`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DataVersion, names, not_negative, signed};
use crate::model::{TopicConfig, permission};

names! {
    /// How many tags a message may have. Nobody looks at it.
    FilterType {
        /// One.
        #[default]
        SingleTag = "SINGLE_TAG",
        /// Several.
        MultiTag = "MULTI_TAG",
    }
}

/// A topic's settings with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicEntry {
    /// RocketMQ's topic attributes.
    pub attributes: BTreeMap<String, String>,
    /// Whether producers must keep each queue on its broker.
    pub order: bool,
    /// Bits of [`permission`].
    #[serde(rename = "perm")]
    pub permission: i32,
    /// Queues that consumers read.
    #[serde(rename = "readQueueNums")]
    pub read_queues: i32,
    /// How many tags a message may have.
    #[serde(rename = "topicFilterType")]
    pub filter_type: FilterType,
    /// The name.
    pub topic_name: String,
    /// Bit 0 unit, bit 1 unit subscription.
    #[serde(rename = "topicSysFlag")]
    pub sys_flag: i32,
    /// Queues that producers write.
    #[serde(rename = "writeQueueNums")]
    pub write_queues: i32,
}

impl Default for TopicEntry {
    /// RocketMQ's settings of a topic of which nothing is said.
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            permission: signed(permission::READ | permission::WRITE),
            read_queues: 16,
            filter_type: FilterType::SingleTag,
            topic_name: String::new(),
            sys_flag: 0,
            write_queues: 16,
        }
    }
}

impl TopicEntry {
    /// A topic of that name with those settings.
    pub fn new(topic_name: &str, config: &TopicConfig) -> Self {
        Self {
            attributes: config.attributes.clone(),
            order: config.order,
            permission: signed(config.permission),
            read_queues: signed(config.read_queues),
            filter_type: FilterType::SingleTag,
            topic_name: topic_name.to_owned(),
            sys_flag: signed(config.system_flag),
            write_queues: signed(config.write_queues),
        }
    }

    /// The settings. Numbers that are negative count as 0.
    pub fn config(&self) -> TopicConfig {
        TopicConfig {
            read_queues: not_negative(self.read_queues),
            write_queues: not_negative(self.write_queues),
            permission: not_negative(self.permission),
            order: self.order,
            system_flag: not_negative(self.sys_flag),
            attributes: self.attributes.clone(),
        }
    }
}

/// All topics of a broker: `topics.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicTable {
    /// The table's state.
    pub data_version: DataVersion,
    /// Topics by their names.
    #[serde(rename = "topicConfigTable")]
    pub topics: BTreeMap<String, TopicEntry>,
}

/// All topics of a broker, as slaves and tools ask for them and name servers are told of them
/// (RocketMQ `TopicConfigAndMappingSerializeWrapper`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MappedTopicTable {
    /// The table's state.
    pub data_version: DataVersion,
    /// The state of the mappings.
    pub mapping_data_version: DataVersion,
    /// Topics by their names.
    #[serde(rename = "topicConfigTable")]
    pub topics: BTreeMap<String, TopicEntry>,
    /// Logical queues, which brokers here do not have.
    #[serde(rename = "topicQueueMappingDetailMap")]
    pub mapping_details: NoMappings,
    /// Logical queues, which brokers here do not have.
    #[serde(rename = "topicQueueMappingInfoMap")]
    pub mapping_infos: NoMappings,
}

/// Mappings of logical queues, which brokers here do not have: `topicQueueMapping.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicMappingTable {
    /// The table's state.
    pub data_version: DataVersion,
    /// Nothing.
    #[serde(rename = "topicQueueMappingInfoMap")]
    pub mapping_infos: NoMappings,
}

/// The empty object where mappings of logical queues would be. Whatever stands there is passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NoMappings {}

/// Topics to be created or changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PutTopics {
    /// The topics.
    #[serde(rename = "topicConfigList")]
    pub topics: Vec<TopicEntry>,
}
