//! Names and numbers as they are in sled.

use castmq_protocol::model::{GroupName, QueueId, TopicName};
use sled::IVec;

/// Separates the parts of a key; no name can contain it.
const SEPARATOR: u8 = 0;

pub(super) fn encode_offset_key(group: &GroupName, topic: &TopicName, queue: QueueId) -> Vec<u8> {
    let (group, topic) = (group.as_str().as_bytes(), topic.as_str().as_bytes());
    let mut key = Vec::with_capacity(group.len() + topic.len() + 6);
    key.extend_from_slice(group);
    key.push(SEPARATOR);
    key.extend_from_slice(topic);
    key.push(SEPARATOR);
    key.extend_from_slice(&queue.0.to_be_bytes());
    key
}

pub(super) fn decode_offset_key(key: &IVec) -> Option<(GroupName, (TopicName, QueueId))> {
    let (names, queue) = key.split_last_chunk::<4>()?;
    let names = names.strip_suffix(&[SEPARATOR])?;
    let mut parts = names.split(|byte| *byte == SEPARATOR);
    let mut name = || std::str::from_utf8(parts.next()?).ok();
    let group = GroupName::new(name()?).ok()?;
    let topic = TopicName::new(name()?).ok()?;
    Some((group, (topic, QueueId(u32::from_be_bytes(*queue)))))
}

pub(super) fn decode_u64(value: &IVec) -> Option<u64> {
    Some(u64::from_be_bytes(<[u8; 8]>::try_from(&**value).ok()?))
}

pub(super) fn value_key(namespace: &str, key: &str) -> Vec<u8> {
    let mut bytes = namespace.as_bytes().to_vec();
    bytes.push(SEPARATOR);
    bytes.extend_from_slice(key.as_bytes());
    bytes
}
