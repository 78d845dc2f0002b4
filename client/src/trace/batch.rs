//! Records that travel in one message.

use std::collections::BTreeSet;

use castmq_protocol::model::{keys, system_topics};
use castmq_protocol::trace::{TraceRecord, encode};

use crate::error::Result;
use crate::message::Message;

/// Records of one message (RocketMQ's clients send as many).
const MAX_RECORDS: usize = 100;

/// Longest body that another record is added to, in bytes (RocketMQ's clients keep to it).
const MAX_BODY_BYTES: usize = 128_000;

/// Most bytes of keys, well below what properties may have. A message's keys that are longer are left out.
const MAX_KEYS_BYTES: usize = 16 * 1024;

/// Records, and the keys by which they are found.
#[derive(Debug, Default)]
pub(super) struct Batch {
    records: usize,
    body: String,
    keys: BTreeSet<String>,
    keys_bytes: usize,
}

impl Batch {
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// Whether it should go before more is added.
    pub(super) fn is_full(&self) -> bool {
        self.records >= MAX_RECORDS
            || self.body.len() >= MAX_BODY_BYTES
            || self.keys_bytes >= MAX_KEYS_BYTES / 2
    }

    pub(super) fn add(&mut self, record: &TraceRecord) {
        encode(record, &mut self.body);
        self.records += 1;
        let keys = record.keys().unwrap_or_default();
        let keys = if keys.len() < MAX_KEYS_BYTES / 2 {
            keys
        } else {
            ""
        };
        let names = record.message_id().split_whitespace();
        for name in names.chain(keys.split_whitespace()) {
            if !self.keys.contains(name) {
                self.keys_bytes += name.len() + 1;
                self.keys.insert(name.to_owned());
            }
        }
    }

    /// The message. Its keys are the ids and the keys of the messages that it tells of.
    pub(super) fn message(self) -> Result<Message> {
        let mut message = Message::new(system_topics::TRACE, self.body);
        let keys: Vec<_> = self.keys.into_iter().collect();
        if !keys.is_empty() {
            message.set_property(keys::KEYS, &keys.join(" "))?;
        }
        Ok(message)
    }
}
