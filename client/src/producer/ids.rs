//! Ids that producers give to messages.

use std::sync::atomic::{AtomicU64, Ordering};

use castmq_protocol::model::{PropertiesError, keys};

use crate::message::Message;

/// Ids of 32 hexadecimal digits, the length of RocketMQ's: half names the producer at random, half counts.
#[derive(Debug)]
pub(crate) struct UniqueIds {
    producer: u64,
    next: AtomicU64,
}

impl Default for UniqueIds {
    fn default() -> Self {
        Self {
            producer: fastrand::u64(..),
            next: AtomicU64::new(0),
        }
    }
}

impl UniqueIds {
    pub(crate) fn next(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:016X}{number:016X}", self.producer)
    }

    /// Gives a message an id, unless it has one.
    pub(crate) fn identify(&self, message: &mut Message) -> Result<(), PropertiesError> {
        match message.property(keys::UNIQ_KEY) {
            Some(_) => Ok(()),
            None => message.set_property(keys::UNIQ_KEY, &self.next()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_rocketmqs_length_and_differ() {
        let ids = UniqueIds::default();
        let (first, second) = (ids.next(), ids.next());
        assert_eq!(first.len(), 32);
        assert_ne!(first, second);
        assert_ne!(UniqueIds::default().next(), first);
    }

    #[test]
    fn a_message_keeps_the_id_that_it_has() {
        let mut message = Message::new("orders", "x");
        UniqueIds::default().identify(&mut message).unwrap();
        let given = message.property("UNIQ_KEY").unwrap().to_owned();
        assert_eq!(given.len(), 32);
        UniqueIds::default().identify(&mut message).unwrap();
        assert_eq!(message.property("UNIQ_KEY"), Some(&*given));
    }
}
