//! What operators ask about brokers, and brokers about each other.

use super::{FieldError, FieldWriter, Fields, ReadFields, WriteFields, headers};

headers! {
    /// A counter of the last minute, hour and day.
    StatsData<'a> {
        /// What is counted, such as `TOPIC_PUT_NUMS`.
        "statsName" => name: &'a str,
        /// Of what, such as a topic.
        "statsKey" => key: &'a str,
    }

    /// What a broker's configuration is answered with.
    BrokerConfigResponse<'a> {
        /// A [`DataVersion`](crate::remoting::bodies::DataVersion), as JSON.
        "version" => version: &'a str,
    }

    /// Sets up to where a slave's log counts.
    ResetMasterFlushOffset {
        /// Up to where.
        "masterFlushOffset" => offset: i64,
    }

    /// Between brokers of a set: where to copy from.
    HaInfo<'a> {
        /// Where the master takes slaves.
        "masterHaAddress" => ha_address: Option<&'a str>,
        /// Up to where the master has flushed its log.
        "masterFlushOffset" => flush_offset: Option<i64>,
        /// Where clients reach the master.
        "masterAddress" => master_address: Option<&'a str>,
    }

    /// A user, of whom something is asked or changed.
    User<'a> {
        /// The name.
        "username" => name: Option<&'a str>,
    }

    /// Users.
    ListUsers<'a> {
        /// Only those whose name has this in it.
        "filter" => filter: Option<&'a str>,
    }

    /// Rights of a user, of which something is asked or changed.
    Acl<'a> {
        /// The user, as `User:name`.
        "subject" => subject: Option<&'a str>,
        /// Only rights of this kind: `Custom` or `Default`.
        "policyType" => policy_type: Option<&'a str>,
        /// Only rights to this.
        "resource" => resource: Option<&'a str>,
    }

    /// Rights.
    ListAcls<'a> {
        /// Only of users whose name has this in it.
        "subjectFilter" => subject_filter: Option<&'a str>,
        /// Only to what has this in its name.
        "resourceFilter" => resource_filter: Option<&'a str>,
    }
}
