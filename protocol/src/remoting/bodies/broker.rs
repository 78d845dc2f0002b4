//! How brokers stand to the others of their sets (RocketMQ `HARuntimeInfo`).

use serde::{Deserialize, Serialize};

/// How a broker stands to the others of its set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaStatus {
    /// On a slave: how it follows.
    #[serde(rename = "haClientRuntimeInfo")]
    pub client: HaClient,
    /// On a master: its slaves.
    #[serde(rename = "haConnectionInfo")]
    pub slaves: Vec<HaSlave>,
    /// Slaves that are in step.
    #[serde(rename = "inSyncSlaveNums")]
    pub slaves_in_step: i32,
    /// Whether it is the master.
    #[serde(rename = "master")]
    pub is_master: bool,
    /// Behind the last byte of the log.
    pub master_commit_log_max_offset: i64,
}

/// How a slave follows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaClient {
    /// Whether it is connected. RocketMQ has no way to say that.
    #[serde(rename = "activated", skip_serializing_if = "std::ops::Not::not")]
    pub is_active: bool,
    /// When it last heard of the master, in milliseconds since the epoch.
    #[serde(rename = "lastReadTimestamp")]
    pub last_read_ms: i64,
    /// When it last spoke to the master, in milliseconds since the epoch.
    #[serde(rename = "lastWriteTimestamp")]
    pub last_write_ms: i64,
    /// Where the master takes slaves.
    #[serde(rename = "masterAddr", skip_serializing_if = "Option::is_none")]
    pub master_address: Option<String>,
    /// Up to where the master has flushed its log.
    pub master_flush_offset: i64,
    /// Behind the last byte of its own log.
    pub max_offset: i64,
    /// Bytes received a second.
    #[serde(rename = "transferredByteInSecond")]
    pub bytes_per_second: i64,
}

/// A slave that follows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaSlave {
    /// Where it connected from.
    #[serde(rename = "addr")]
    pub address: String,
    /// Bytes that it lacks.
    #[serde(rename = "diff")]
    pub lag_bytes: i64,
    /// Whether it keeps up.
    #[serde(rename = "inSync")]
    pub is_in_step: bool,
    /// It has the log up to here.
    #[serde(rename = "slaveAckOffset")]
    pub acknowledged: i64,
    /// It is sent the log from here on.
    pub transfer_from_where: i64,
    /// Bytes sent a second.
    #[serde(rename = "transferredByteInSecond")]
    pub bytes_per_second: i64,
}
