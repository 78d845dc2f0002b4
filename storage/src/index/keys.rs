//! The keys of messages, and what the index knows them by.

use castmq_protocol::model::{PhysicalOffset, java_string_hash, keys, property_pairs};
use castmq_protocol::record::{RecordView, sys_flag};

/// One key of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexKey {
    pub(super) hash: u32,
    pub(super) physical: PhysicalOffset,
    pub(super) stored_ms: i64,
}

impl IndexKey {
    /// A key of the message of a topic that lies there.
    pub fn new(topic: &str, key: &str, physical: PhysicalOffset, stored_ms: i64) -> Self {
        Self {
            hash: TopicHash::of(topic).of_key(key),
            physical,
            stored_ms,
        }
    }

    /// Where the message lies.
    pub fn physical(&self) -> PhysicalOffset {
        self.physical
    }
}

/// What all keys of a topic's messages have in common: the hash of its name and what parts it from a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicHash(i32);

impl TopicHash {
    pub(crate) fn of(topic: &str) -> Self {
        let hash = java_string_hash(topic).wrapping_mul(31);
        Self(hash.wrapping_add(i32::from(b'#')))
    }

    /// The hash of a key: Java's of `topic#key`, made positive. The one number that has no positive counterpart is 0.
    #[inline]
    pub(super) fn of_key(self, key: &str) -> u32 {
        let units = match key.is_ascii() {
            true => key.len(),
            false => key.encode_utf16().count(),
        };
        // The hash of a text behind another is that of the first shifted by the length of the second, plus its own.
        let shifted = self.0.wrapping_mul(31_i32.wrapping_pow(units as u32));
        match shifted.wrapping_add(java_string_hash(key)) {
            i32::MIN => 0,
            hash => hash.unsigned_abs(),
        }
    }
}

/// The properties of a message that are keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Keys<'a> {
    unique: Option<&'a [u8]>,
    /// With spaces between them.
    others: Option<&'a [u8]>,
}

impl<'a> Keys<'a> {
    pub(crate) fn of(record: &RecordView<'a>) -> Self {
        let mut keys = Self::default();
        for (name, value) in property_pairs(record.properties()) {
            keys.note(name, value);
        }
        keys
    }

    /// Of a message that has no other than this.
    #[inline]
    pub(crate) fn unique(unique: &'a [u8]) -> Self {
        Self {
            unique: Some(unique),
            others: None,
        }
    }

    /// The unique one, where there is no other.
    pub(crate) fn only_unique(&self) -> Option<&'a [u8]> {
        self.unique.filter(|_| self.others.is_none())
    }

    /// Takes a property if it is one of them. Of two of the same name the first counts.
    #[inline]
    pub(crate) fn note(&mut self, name: &[u8], value: &'a [u8]) {
        if name == keys::UNIQ_KEY.as_bytes() {
            self.unique.get_or_insert(value);
        } else if name == keys::KEYS.as_bytes() {
            self.others.get_or_insert(value);
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.unique.is_none() && self.others.is_none()
    }

    /// Each key of the record that has these, the unique one first (RocketMQ `IndexService.buildIndex`).
    #[inline]
    pub(crate) fn in_record(
        self,
        record: &RecordView<'_>,
        topic: TopicHash,
        physical: PhysicalOffset,
    ) -> impl Iterator<Item = IndexKey> + use<'a> {
        let stored_ms = record.store_timestamp_ms();
        let is_rollback =
            record.sys_flag() & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_ROLLBACK;
        let text = |value: Option<&'a [u8]>| {
            let value = value.filter(|_| !is_rollback).unwrap_or_default();
            std::str::from_utf8(value).unwrap_or_default()
        };
        let unique = std::iter::once(text(self.unique));
        let all = unique.chain(text(self.others).split(' '));
        all.filter(|key| !key.is_empty()).map(move |key| IndexKey {
            hash: topic.of_key(key),
            physical,
            stored_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_like_java() {
        let java = |text: &str| java_string_hash(text).wrapping_abs().max(0).cast_unsigned();
        for (topic, key) in [
            ("T", "k1"),
            ("", ""),
            ("orders", "ключ"),
            ("t", "\u{1F600}x"),
        ] {
            assert_eq!(
                TopicHash::of(topic).of_key(key),
                java(&format!("{topic}#{key}"))
            );
        }
        assert_eq!(java_string_hash("T#00bhnqck"), i32::MIN);
        assert_eq!(TopicHash::of("T").of_key("00bhnqck"), 0);
    }
}
