//! Message properties in RocketMQ's text form: `name \x01 value \x02 name \x01 value \x02 …`.

use std::{fmt, iter};

use thiserror::Error;

use crate::search::find_byte;

/// Longest encoded properties of one message: the record keeps their length in a signed 16-bit field.
pub const MAX_PROPERTIES_BYTES: usize = i16::MAX as usize;

const NAME_END: u8 = 1;
const PAIR_END: u8 = 2;

/// Names of properties that the broker or the clients give a meaning to (RocketMQ `MessageConst`).
pub mod keys {
    /// Business keys, separated by spaces; the key index finds a message by each.
    pub const KEYS: &str = "KEYS";
    /// The tags a consumer can filter by.
    pub const TAGS: &str = "TAGS";
    /// `false`: answer without waiting for flush or replicas.
    pub const WAIT: &str = "WAIT";
    /// The id a producer gave the message.
    pub const UNIQ_KEY: &str = "UNIQ_KEY";
    /// Level of delay, 1-based.
    pub const DELAY: &str = "DELAY";
    /// The topic a rewritten message belongs to.
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    /// The queue a rewritten message belongs to.
    pub const REAL_QID: &str = "REAL_QID";
    /// When a message of the timer topic is to be delivered, in milliseconds since the epoch.
    pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
    /// How often it was stored anew, because its time is too far away.
    pub const TIMER_ROLL_TIMES: &str = "TIMER_ROLL_TIMES";
    /// On a delivered message, when it was stored in the timer topic, in milliseconds since the epoch.
    pub const TIMER_ENQUEUE_MS: &str = "TIMER_ENQUEUE_MS";
    /// On a delivered message, when it was taken out of the timer, in milliseconds since the epoch.
    pub const TIMER_DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
    /// On a message of the timer topic that cancels another: its topic, a plus sign, and its unique id.
    pub const TIMER_CANCELS: &str = "TIMER_DEL_UNIQKEY";
    /// The topic of a message that a group tries again.
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    /// The id of the message that was tried first.
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    /// The topic of a dead letter.
    pub const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
    /// The id of the message that became a dead letter.
    pub const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
    /// `true` on a half message, and on what it becomes.
    pub const TRANSACTION_PREPARED: &str = "TRAN_MSG";
    /// The group of the producer that sent a half message.
    pub const PRODUCER_GROUP: &str = "PGROUP";
    /// The id of a transaction: that of its message.
    pub const TRANSACTION_ID: &str = "__transactionId__";
    /// Seconds for which the producer of a half message is not asked about it.
    pub const CHECK_IMMUNITY_SECONDS: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
    /// Messages with one value of this stay in order.
    pub const SHARDING_KEY: &str = "__SHARDINGKEY";
    /// Names a request, and the reply to it.
    pub const CORRELATION_ID: &str = "CORRELATION_ID";
    /// The client id of the producer that waits for the reply.
    pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
    /// How long the producer of a request waits for the reply, in milliseconds.
    pub const TTL: &str = "TTL";
    /// The cluster in which a request is stored; the reply goes there.
    pub const CLUSTER: &str = "CLUSTER";
    /// What a message is: [`MESSAGE_TYPE_REPLY`] on a reply.
    pub const MESSAGE_TYPE: &str = "MSG_TYPE";
    /// The value of [`MESSAGE_TYPE`] on a reply.
    pub const MESSAGE_TYPE_REPLY: &str = "reply";
    /// When a broker passed a reply on, in milliseconds since the epoch.
    pub const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
    /// When the message expires, in milliseconds since the epoch. CastMQ's own.
    pub const EXPIRES_AT: &str = "EXPIRES_AT";
    /// The message's priority in its topic, 0 lowest.
    pub const PRIORITY: &str = "_SYS_MSG_PRIORITY_";
    /// A producer's id, the number it gave the send, and how far below all are settled. The broker writes it: what a
    /// client puts there is replaced, and means nothing without it.
    pub const PRODUCER_SEQUENCE: &str = "PSEQ";
    /// W3C trace context.
    pub const TRACE_CONTEXT: &str = "TRACE_CONTEXT";

    /// Names of properties that brokers set on messages which they store themselves. Producers that use one say something
    /// that is not so: the Rust client refuses them, and brokers go by requests and not by these.
    pub const OF_BROKERS: [&str; 17] = [
        DELAY,
        REAL_TOPIC,
        REAL_QID,
        TIMER_OUT_MS,
        TIMER_ROLL_TIMES,
        TIMER_ENQUEUE_MS,
        TIMER_DEQUEUE_MS,
        TIMER_CANCELS,
        RETRY_TOPIC,
        ORIGIN_MESSAGE_ID,
        DLQ_ORIGIN_TOPIC,
        DLQ_ORIGIN_MESSAGE_ID,
        TRANSACTION_PREPARED,
        PRODUCER_GROUP,
        TRANSACTION_ID,
        PUSH_REPLY_TIME,
        PRODUCER_SEQUENCE,
    ];
}

/// Why properties were refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PropertiesError {
    /// A name or value that the text form cannot carry.
    #[error("property {name:?} is empty or contains the separator \\x01 or \\x02: remove it")]
    Unencodable {
        /// The property's name.
        name: String,
    },
    /// All pairs together are longer than the record's 16-bit length can say.
    #[error(
        "properties are {length} bytes long, the limit is {MAX_PROPERTIES_BYTES}: send fewer or shorter properties"
    )]
    TooLong {
        /// Bytes of the encoded form.
        length: usize,
    },
    /// The bytes are not UTF-8.
    #[error("properties are not UTF-8")]
    NotUtf8,
    /// A producer uses one of the names [`OF_BROKERS`](keys::OF_BROKERS).
    #[error("property {name} is for brokers to set: choose another name")]
    Reserved {
        /// The property's name.
        name: String,
    },
}

/// Properties of one message, kept in the encoded form in which they are sent and stored.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties {
    encoded: String,
}

impl Properties {
    /// No properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the encoded form as it came from a socket or a file.
    pub fn from_encoded(bytes: &[u8]) -> Result<Self, PropertiesError> {
        if bytes.len() > MAX_PROPERTIES_BYTES {
            return Err(PropertiesError::TooLong {
                length: bytes.len(),
            });
        }
        let encoded = std::str::from_utf8(bytes)
            .map_err(|_| PropertiesError::NotUtf8)?
            .to_owned();
        Ok(Self { encoded })
    }

    /// Adds a pair, or replaces the value when the name is there already.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), PropertiesError> {
        let unencodable =
            |text: &str| text.is_empty() || text.bytes().any(|b| b == NAME_END || b == PAIR_END);
        if unencodable(name) || unencodable(value) {
            return Err(PropertiesError::Unencodable {
                name: name.to_owned(),
            });
        }
        let mut next = self.without(name);
        if !next.is_empty() && !next.ends_with(PAIR_END as char) {
            next.push(PAIR_END as char);
        }
        next.push_str(name);
        next.push(NAME_END as char);
        next.push_str(value);
        next.push(PAIR_END as char);
        if next.len() > MAX_PROPERTIES_BYTES {
            return Err(PropertiesError::TooLong { length: next.len() });
        }
        self.encoded = next;
        Ok(())
    }

    fn without(&self, name: &str) -> String {
        if self.get(name).is_none() {
            return self.encoded.clone();
        }
        self.iter()
            .filter(|(other, _)| *other != name)
            .flat_map(|(name, value)| [name, "\x01", value, "\x02"])
            .collect()
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// All pairs, in the order in which they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        property_pairs(self.encoded.as_bytes()).filter_map(|(name, value)| {
            Some((
                std::str::from_utf8(name).ok()?,
                std::str::from_utf8(value).ok()?,
            ))
        })
    }

    /// The encoded form.
    pub fn as_bytes(&self) -> &[u8] {
        self.encoded.as_bytes()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Pairs of encoded properties. Like RocketMQ, drops pairs with an empty name or value and does not need the last
/// separator.
pub fn property_pairs(encoded: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = encoded;
    iter::from_fn(move || {
        while !rest.is_empty() {
            let end = find_byte(PAIR_END, rest).unwrap_or(rest.len());
            let (pair, behind) = rest.split_at(end);
            rest = behind.get(1..).unwrap_or_default();
            if let Some(at) = find_byte(NAME_END, pair) {
                let (name, value) = (&pair[..at], &pair[at + 1..]);
                if !name.is_empty() && !value.is_empty() {
                    return Some((name, value));
                }
            }
        }
        None
    })
}

/// Encoded properties with other values for some of them: a new one, or none.
pub fn replace_properties(encoded: &[u8], changes: &[(&str, Option<&str>)]) -> Vec<u8> {
    let added: usize = changes
        .iter()
        .filter_map(|(name, value)| Some(name.len() + (*value)?.len() + 2))
        .sum();
    let mut replaced = Vec::with_capacity(encoded.len() + added + 1);
    write_properties(encoded, changes, &mut replaced);
    replaced
}

/// Like [`replace_properties`], behind what is in `out`.
pub fn write_properties(encoded: &[u8], changes: &[(&str, Option<&str>)], out: &mut Vec<u8>) {
    let mut add = |name: &[u8], value: &[u8]| {
        out.extend_from_slice(name);
        out.push(NAME_END);
        out.extend_from_slice(value);
        out.push(PAIR_END);
    };
    for (name, value) in property_pairs(encoded) {
        if !changes.iter().any(|(other, _)| other.as_bytes() == name) {
            add(name, value);
        }
    }
    for (name, value) in changes {
        if let Some(value) = value {
            add(name.as_bytes(), value.as_bytes());
        }
    }
}

/// The value of one property in its encoded form.
pub fn property_value<'a>(encoded: &'a [u8], name: &str) -> Option<&'a str> {
    property_pairs(encoded)
        .find(|(n, _)| *n == name.as_bytes())
        .and_then(|(_, value)| std::str::from_utf8(value).ok())
}

/// Names of all properties in their encoded form.
pub fn property_names(encoded: &[u8]) -> impl Iterator<Item = &[u8]> {
    property_pairs(encoded).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_text_form_is_rocketmqs() {
        let mut properties = Properties::new();
        properties.set("TAGS", "TagA").unwrap();
        properties.set("KEYS", "k1 k2").unwrap();
        assert_eq!(properties.as_bytes(), b"TAGS\x01TagA\x02KEYS\x01k1 k2\x02");
        properties.set("TAGS", "TagB").unwrap();
        assert_eq!(properties.as_bytes(), b"KEYS\x01k1 k2\x02TAGS\x01TagB\x02");
    }

    #[test]
    fn parsing_forgives_what_rocketmq_forgives() {
        let pairs: Vec<_> =
            property_pairs(b"a\x01b\x02\x01x\x02c\x01\x02noseparator\x02d\x01e").collect();
        assert_eq!(pairs, vec![(&b"a"[..], &b"b"[..]), (b"d", b"e")]);
    }

    #[test]
    fn values_are_replaced_added_and_removed_and_the_rest_stays() {
        let encoded = b"TAGS\x01a\x02DELAY\x013\x02KEYS\x01k";
        let changes = [
            ("DELAY", None),
            ("TAGS", Some("b")),
            ("REAL_QID", Some("0")),
        ];
        assert_eq!(
            replace_properties(encoded, &changes),
            b"KEYS\x01k\x02TAGS\x01b\x02REAL_QID\x010\x02"
        );
        assert_eq!(replace_properties(b"", &[]), b"");
    }

    #[test]
    fn separators_and_excess_are_refused() {
        let mut properties = Properties::new();
        assert!(properties.set("a\x01", "b").is_err());
        assert!(properties.set("a", "").is_err());
        assert!(matches!(
            properties.set("a", &"x".repeat(40_000)),
            Err(PropertiesError::TooLong { .. })
        ));
        assert!(properties.is_empty());
    }

    proptest! {
        #[test]
        fn what_was_set_is_found(pairs in prop::collection::btree_map("[a-z]{1,8}", "[^\x01\x02]{1,20}", 0..20)) {
            let mut properties = Properties::new();
            for (name, value) in &pairs {
                properties.set(name, value).unwrap();
            }
            let again = Properties::from_encoded(properties.as_bytes()).unwrap();
            for (name, value) in &pairs {
                prop_assert_eq!(again.get(name), Some(value.as_str()));
            }
            prop_assert_eq!(again.iter().count(), pairs.len());
        }
    }
}
