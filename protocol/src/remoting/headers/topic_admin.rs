//! What operators ask about topics.

use super::{FieldError, FieldWriter, Fields, ReadFields, WriteFields, headers};

headers! {
    /// Creates or changes a topic.
    PutTopic<'a> {
        /// The topic.
        "topic" => topic: &'a str,
        /// The topic after which tools say it is made.
        "defaultTopic" => default_topic: &'a str,
        /// Queues that consumers read.
        "readQueueNums" => read_queues: i32,
        /// Queues that producers write.
        "writeQueueNums" => write_queues: i32,
        /// Bits of [`permission`](crate::model::permission).
        "perm" => permission: i32,
        /// `SINGLE_TAG` or `MULTI_TAG`.
        "topicFilterType" => filter_type: &'a str,
        /// The topic's flag.
        "topicSysFlag" => sys_flag: Option<i32>,
        /// Whether producers must keep each queue on its broker.
        "order" => order: bool = false,
        /// What changes among the attributes: `+name=value` and `-name`, with commas between them.
        "attributes" => attributes: Option<&'a str>,
        /// Whether to change a topic whose queues are laid out elsewhere.
        "force" => force: bool = false,
    }

    /// Deletes a topic.
    DeleteTopic<'a> {
        /// The topic.
        "topic" => topic: &'a str,
    }

    /// A topic's settings.
    TopicConfigOf<'a> {
        /// The topic.
        "topic" => topic: &'a str,
    }

    /// Settings of all topics, or of some of them.
    AllTopicConfigs<'a> {
        /// How many to leave out at the beginning. Without it, all are wanted.
        "topicSeq" => first: Option<i32>,
        /// The version that the parts before had, as JSON.
        "dataVersion" => data_version: Option<&'a str>,
        /// The most that are wanted.
        "maxTopicNum" => max_topics: Option<i32>,
    }

    /// How many there are.
    AllTopicConfigsResponse {
        /// How many.
        "totalTopicNum" => total: Option<i32>,
    }

    /// Offsets of a topic's queues.
    TopicStats<'a> {
        /// The topic.
        "topic" => topic: &'a str,
    }

    /// Groups that consume a topic.
    TopicConsumers<'a> {
        /// The topic.
        "topic" => topic: &'a str,
    }
}
