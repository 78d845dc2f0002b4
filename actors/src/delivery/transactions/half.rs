//! What a half message says of its transaction.

use castmq_protocol::model::{keys, property_pairs};

/// Found in its properties, in one pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Belongs<'a> {
    /// The group of its producer; empty when it does not say.
    pub(super) group: &'a str,
    /// The topic of its message; empty when it does not say.
    pub(super) topic: &'a str,
    /// The queue of its message.
    pub(super) queue: Option<u32>,
    /// 0 for none.
    pub(super) delay_level: u8,
}

impl<'a> Belongs<'a> {
    pub(super) fn of(properties: &'a [u8]) -> Self {
        let mut found = Self::default();
        for (name, value) in property_pairs(properties) {
            if name == keys::PRODUCER_GROUP.as_bytes() {
                found.group = std::str::from_utf8(value).unwrap_or_default();
            } else if name == keys::REAL_TOPIC.as_bytes() {
                found.topic = std::str::from_utf8(value).unwrap_or_default();
            } else if name == keys::REAL_QID.as_bytes() {
                found.queue = number(value);
            } else if name == keys::DELAY.as_bytes() {
                found.delay_level = number(value).unwrap_or_default();
            }
        }
        found
    }
}

fn number<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_no_number_is_not_there() {
        let properties =
            b"TAGS\x01a\x02PGROUP\x01payments\x02DELAY\x013\x02REAL_TOPIC\x01paid\x02REAL_QID\x017\x02";
        let belongs = Belongs {
            group: "payments",
            topic: "paid",
            queue: Some(7),
            delay_level: 3,
        };
        assert_eq!(Belongs::of(properties), belongs);
        let hostile = b"REAL_QID\x01-1\x02DELAY\x01999\x02PGROUP\x01\xff\x02";
        assert_eq!(Belongs::of(hostile), Belongs::default());
    }
}
