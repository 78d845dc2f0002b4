//! What a message says about itself.

use castmq_protocol::model::jms_keys;

use crate::jms::Destination;

/// Whether a message survives its broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeliveryMode {
    /// Sending waits until the message is stored as the broker's flush policy says, and is tried again where it has to be.
    #[default]
    Persistent,
    /// Sending waits for nothing: the message is handed to a connection, stored without waiting for a flush, and never sent
    /// again. It comes once or not at all: it is lost with the connection it was handed to, with a broker that refuses it,
    /// and with a machine that loses power before the next flush. A session that awaits each send sends many times as many of
    /// them (`docs/benchmarks.md`).
    NonPersistent,
}

impl DeliveryMode {
    /// As selectors see it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Persistent => jms_keys::PERSISTENT,
            Self::NonPersistent => jms_keys::NON_PERSISTENT,
        }
    }
}

/// The headers. Those of the first half are set by sending and receiving, the others by whoever sends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Headers {
    pub(crate) destination: Option<Destination>,
    pub(crate) delivery_mode: DeliveryMode,
    pub(crate) message_id: Option<String>,
    pub(crate) timestamp_ms: i64,
    /// 0 for never.
    pub(crate) expiration_ms: i64,
    /// 0 for at once.
    pub(crate) delivery_time_ms: i64,
    pub(crate) priority: u8,
    /// How often it was delivered, this time included; 0 before it is received.
    pub(crate) delivery_count: u32,
    pub(crate) reply_to: Option<Destination>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) message_type: Option<String>,
    pub(crate) group_id: Option<String>,
    pub(crate) group_sequence: Option<i32>,
}

impl Default for Headers {
    fn default() -> Self {
        Self {
            destination: None,
            delivery_mode: DeliveryMode::default(),
            message_id: None,
            timestamp_ms: 0,
            expiration_ms: 0,
            delivery_time_ms: 0,
            priority: jms_keys::DEFAULT_PRIORITY,
            delivery_count: 0,
            reply_to: None,
            correlation_id: None,
            message_type: None,
            group_id: None,
            group_sequence: None,
        }
    }
}
