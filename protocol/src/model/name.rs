//! Topic and group names. A value of these types has been checked; nobody checks it again.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Prefix of a consumer group's retry topic.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of a consumer group's dead-letter topic.
pub const DEAD_LETTER_PREFIX: &str = "%DLQ%";

/// Longest topic name a user may choose, in bytes (RocketMQ `TopicValidator`).
pub const MAX_TOPIC_BYTES: usize = 127;
/// Longest name of a topic derived from a group (retry, dead letter), in bytes.
pub const MAX_DERIVED_TOPIC_BYTES: usize = 255;
/// Longest group name, in bytes.
pub const MAX_GROUP_BYTES: usize = 120;

/// Why a topic or group name was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// The name is the empty string.
    #[error("{kind} name is empty: give it 1 to {limit} characters of A-Z a-z 0-9 _ - % |")]
    Empty {
        /// `topic` or `group`.
        kind: &'static str,
        /// Longest allowed name in bytes.
        limit: usize,
    },
    /// The name is longer than RocketMQ's limit.
    #[error("{kind} name is {length} bytes long, the limit is {limit}: choose a shorter name")]
    TooLong {
        /// `topic` or `group`.
        kind: &'static str,
        /// Bytes of the name that was refused.
        length: usize,
        /// Longest allowed name in bytes.
        limit: usize,
    },
    /// A character outside RocketMQ's set.
    #[error(
        "{kind} name has the character {character:?} at byte {at}: allowed are A-Z a-z 0-9 _ - % |"
    )]
    Character {
        /// `topic` or `group`.
        kind: &'static str,
        /// The character that is not allowed.
        character: char,
        /// Where in the name, in bytes.
        at: usize,
    },
}

fn check(kind: &'static str, name: &str, limit: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { kind, limit });
    }
    if name.len() > limit {
        return Err(NameError::TooLong {
            kind,
            length: name.len(),
            limit,
        });
    }
    let joint = pop_retry_joint(kind, name);
    let allowed = |at: usize, c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '%' | '|') || joint == Some(at)
    };
    match name.char_indices().find(|(at, c)| !allowed(*at, *c)) {
        Some((at, character)) => Err(NameError::Character {
            kind,
            character,
            at,
        }),
        None => Ok(()),
    }
}

/// Where the plus sign is in the name of a topic with what a group popped of another: `%RETRY%group+topic`.
fn pop_retry_joint(kind: &str, name: &str) -> Option<usize> {
    let at = name.find('+')?;
    let group = name.get(RETRY_PREFIX.len()..at)?;
    let is_whole = !group.is_empty() && at + 1 < name.len();
    (kind == "topic" && name.starts_with(RETRY_PREFIX) && is_whole).then_some(at)
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $limit:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks `name` against RocketMQ's rules.
            pub fn new(name: &str) -> Result<Self, NameError> {
                check($kind, name, $limit(name))?;
                Ok(Self(Arc::from(name)))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(&name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.as_str().to_owned()
            }
        }
    };
}

fn topic_limit(name: &str) -> usize {
    if name.starts_with(RETRY_PREFIX) || name.starts_with(DEAD_LETTER_PREFIX) {
        MAX_DERIVED_TOPIC_BYTES
    } else {
        MAX_TOPIC_BYTES
    }
}

fn group_limit(_: &str) -> usize {
    MAX_GROUP_BYTES
}

name_type!(
    /// A topic's name: 1 to 127 bytes of `A-Z a-z 0-9 _ - % |`; up to 255 for `%RETRY%` and `%DLQ%` topics.
    /// RocketMQ's brokers and clients also name topics `%RETRY%group+topic`.
    TopicName, "topic", topic_limit
);
name_type!(
    /// A producer or consumer group's name: 1 to 120 bytes of `A-Z a-z 0-9 _ - % |`.
    GroupName, "group", group_limit
);

impl TopicName {
    /// The topic that holds `group`'s messages waiting for another attempt.
    pub fn retry_of(group: &GroupName) -> Self {
        Self(format!("{RETRY_PREFIX}{group}").into())
    }

    /// The topic that holds messages `group` gave up on.
    pub fn dead_letter_of(group: &GroupName) -> Self {
        Self(format!("{DEAD_LETTER_PREFIX}{group}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_rocketmqs_set_and_lengths() {
        assert!(TopicName::new("orders_2024-%RETRY|x").is_ok());
        assert!(TopicName::new(&"t".repeat(127)).is_ok());
        assert!(matches!(
            TopicName::new(&"t".repeat(128)),
            Err(NameError::TooLong {
                length: 128,
                limit: 127,
                ..
            })
        ));
        assert!(TopicName::new(&format!("%RETRY%{}", "g".repeat(120))).is_ok());
        assert!(GroupName::new(&"g".repeat(121)).is_err());
        assert!(matches!(TopicName::new(""), Err(NameError::Empty { .. })));
    }

    #[test]
    fn a_plus_sign_joins_a_group_and_what_it_popped_of_and_nothing_else() {
        let named = TopicName::new("%RETRY%g-1+orders").unwrap();
        assert_eq!(named.as_str(), "%RETRY%g-1+orders");
        for name in [
            "+",
            "g+orders",
            "%RETRY%+orders",
            "%RETRY%g+",
            "%RETRY%g+orders+",
            "%DLQ%g+orders",
        ] {
            let refused = TopicName::new(name).unwrap_err();
            assert!(refused.to_string().contains("'+'"), "{refused}");
        }
        assert!(GroupName::new("%RETRY%g+orders").is_err());
    }

    #[test]
    fn a_refused_character_is_named_with_its_place() {
        let refused = TopicName::new("order/é").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "topic name has the character '/' at byte 5: allowed are A-Z a-z 0-9 _ - % |"
        );
    }

    #[test]
    fn derived_topics_carry_the_group() {
        let group = GroupName::new("g1").unwrap();
        assert_eq!(TopicName::retry_of(&group).as_str(), "%RETRY%g1");
        assert_eq!(TopicName::dead_letter_of(&group).as_str(), "%DLQ%g1");
    }

    #[test]
    fn serde_checks_names_too() {
        assert!(serde_json::from_str::<TopicName>("\"a b\"").is_err());
        let topic: TopicName = serde_json::from_str("\"ab\"").unwrap();
        assert_eq!(serde_json::to_string(&topic).unwrap(), "\"ab\"");
    }
}
