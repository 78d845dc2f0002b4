//! The first exchange on a connection.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// The version of this wire.
pub const VERSION: u16 = 1;

/// What a connection is for. Each role has its requests; others are refused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sends messages.
    Producer,
    /// Receives messages.
    Consumer,
    /// Asks and changes what operators do; also asks name servers for routes.
    Admin,
    /// A broker that registers with a name server.
    Broker,
}

/// The client's first frame.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Newest version of the wire that the client speaks.
    pub version: u16,
    /// What the connection is for.
    pub role: Role,
    /// Names the client in the broker's views; unique among the members of a group.
    pub client_id: String,
    /// The client's software, for operators.
    pub software: String,
    /// Who the client is, where brokers ask for it.
    pub credentials: Option<Credentials>,
}

/// Who a client is. Not asked for yet.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Credentials {
    /// Names the account.
    pub access_key: String,
    /// Proves that the client has the account's secret.
    pub signature: Vec<u8>,
}

/// What the server takes on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Limits {
    /// Longest frame, length field not counted, in bytes.
    pub max_frame_bytes: u32,
    /// Longest body of one message, in bytes.
    pub max_message_bytes: u32,
    /// Longest encoded properties of one message, in bytes.
    pub max_properties_bytes: u32,
    /// Bytes of requests that may be unanswered; beyond, the server stops reading.
    pub window_bytes: u32,
    /// Topics and groups that may be announced on the connection.
    pub max_aliases: u32,
    /// A connection silent for longer is closed, in milliseconds.
    pub idle_timeout_ms: u32,
}

/// The server's first frame.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// The version both sides speak from here on.
    pub version: u16,
    /// The server's software.
    pub software: String,
    /// The cluster.
    pub cluster: String,
    /// The broker's name; empty for a name server.
    pub broker: String,
    /// 0 for a master.
    pub broker_id: u64,
    /// The address that is part of message ids: IP and port.
    pub store_host: String,
    /// What the server takes.
    pub limits: Limits,
}
