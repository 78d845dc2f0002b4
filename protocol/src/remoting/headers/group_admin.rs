//! What operators ask about groups.

use super::{FieldError, FieldWriter, Fields, ReadFields, WriteFields, headers};

headers! {
    /// A consumer group's settings.
    GroupConfigOf<'a> {
        /// The group.
        "group" => group: &'a str,
    }

    /// Settings of all consumer groups, or of some of them.
    AllGroupConfigs<'a> {
        /// How many to leave out at the beginning. Without it, all are wanted.
        "groupSeq" => first: Option<i32>,
        /// The version that the parts before had, as JSON.
        "dataVersion" => data_version: Option<&'a str>,
        /// The most that are wanted.
        "maxGroupNum" => max_groups: Option<i32>,
    }

    /// How many there are.
    AllGroupConfigsResponse {
        /// How many.
        "totalGroupNum" => total: Option<i32>,
    }

    /// Deletes a consumer group.
    DeleteGroup<'a> {
        /// The group.
        "groupName" => group: &'a str,
        /// Whether its offsets go, too.
        "cleanOffset" => clean_offsets: bool = false,
    }

    /// Connections of a consumer group.
    ConsumerConnections<'a> {
        /// The group.
        "consumerGroup" => group: &'a str,
    }

    /// Connections of a producer group.
    ProducerConnections<'a> {
        /// The group.
        "producerGroup" => group: &'a str,
    }

    /// How far a group is.
    ConsumeStats<'a> {
        /// The group.
        "consumerGroup" => group: &'a str,
        /// Only in this topic.
        "topic" => topic: Option<&'a str>,
        /// Only in these topics, with semicolons between them.
        "topicList" => topics: Option<&'a str>,
    }

    /// How far all groups are.
    BrokerConsumeStats {
        /// Only groups that consume in order.
        "isOrder" => in_order: bool = false,
    }

    /// Times of the first, last and next messages of a group's queues.
    ConsumeTimeSpan<'a> {
        /// The topic.
        "topic" => topic: &'a str,
        /// The group.
        "group" => group: &'a str,
    }

    /// Topics that a group consumes.
    TopicsOfConsumer<'a> {
        /// The group.
        "group" => group: &'a str,
    }

    /// A group's subscription to a topic.
    SubscriptionOf<'a> {
        /// The group.
        "group" => group: &'a str,
        /// The topic.
        "topic" => topic: Option<&'a str>,
    }

    /// Whether a group may read a topic; changes it if told so.
    GroupForbidden<'a> {
        /// The group.
        "group" => group: &'a str,
        /// The topic.
        "topic" => topic: &'a str,
        /// What it shall be.
        "readable" => readable: Option<bool>,
    }

    /// Sets a group's offsets to those of another one.
    CloneOffsets<'a> {
        /// The group whose offsets are taken.
        "srcGroup" => from: &'a str,
        /// The group that is set.
        "destGroup" => to: &'a str,
        /// Only in this topic.
        "topic" => topic: Option<&'a str>,
        /// Whether the group that is set may have no members.
        "offline" => offline: bool = false,
    }

    /// Smallest offsets among groups.
    CorrectionOffset<'a> {
        /// The groups, with commas between them.
        "filterGroups" => groups: Option<&'a str>,
        /// The group that they are compared with.
        "compareGroup" => compare_group: &'a str,
        /// The topic.
        "topic" => topic: &'a str,
    }
}
