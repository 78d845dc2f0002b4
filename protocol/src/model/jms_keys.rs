//! Names of properties in which JMS headers and types are stored. Names that begin with `JMS` are no user's.

use super::properties::keys;

/// The kind of body: `plain`, `text`, `map`, `stream`, `object` or `bytes`. Absent on messages of other producers.
pub const KIND: &str = "JMS_CastMQ_Kind";
/// The types of the properties that are no strings, or are empty: `name=code`, separated by commas; see [`type_code`].
pub const TYPES: &str = "JMS_CastMQ_Types";
/// JMSType.
pub const TYPE: &str = "JMSType";
/// JMSCorrelationID.
pub const CORRELATION_ID: &str = "JMSCorrelationID";
/// JMSReplyTo: `queue:` or `topic:` and the name, with `temporary-` before those that live with a connection.
pub const REPLY_TO: &str = "JMSReplyTo";
/// JMSDeliveryMode, absent on persistent messages.
pub const DELIVERY_MODE: &str = "JMSDeliveryMode";
/// JMSXGroupSeq.
pub const GROUP_SEQUENCE: &str = "JMSXGroupSeq";
/// JMSXGroupID.
pub const GROUP_ID: &str = keys::SHARDING_KEY;
/// JMSMessageID without its `ID:`.
pub const MESSAGE_ID: &str = keys::UNIQ_KEY;
/// JMSPriority, absent on those with [`DEFAULT_PRIORITY`].
pub const PRIORITY: &str = keys::PRIORITY;
/// JMSExpiration, in milliseconds since the epoch; absent on messages that do not expire.
pub const EXPIRES_AT: &str = keys::EXPIRES_AT;

/// What precedes every message id.
pub const MESSAGE_ID_PREFIX: &str = "ID:";
/// JMSPriority where nothing else is said.
pub const DEFAULT_PRIORITY: u8 = 4;
/// JMSDeliveryMode of a message that survives its broker.
pub const PERSISTENT: &str = "PERSISTENT";
/// JMSDeliveryMode of a message that need not.
pub const NON_PERSISTENT: &str = "NON_PERSISTENT";

/// Codes of types in [`TYPES`].
pub mod type_code {
    /// `true` or `false`.
    pub const BOOL: char = 'b';
    /// A whole number of 8 bits.
    pub const BYTE: char = 'y';
    /// A whole number of 16 bits.
    pub const SHORT: char = 's';
    /// A whole number of 32 bits.
    pub const INT: char = 'i';
    /// A whole number of 64 bits.
    pub const LONG: char = 'l';
    /// A number of 32 bits with a fraction.
    pub const FLOAT: char = 'f';
    /// A number of 64 bits with a fraction.
    pub const DOUBLE: char = 'd';
    /// An empty string, which has no property of its own.
    pub const EMPTY: char = 'e';
}

/// The code of a property's type in the value of [`TYPES`]; `None` for a string.
pub fn type_of(types: &str, name: &str) -> Option<char> {
    let mut typed = types.split(',').filter_map(|pair| pair.split_once('='));
    let (_, code) = typed.find(|(other, _)| *other == name)?;
    code.chars().next()
}
