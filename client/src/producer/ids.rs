//! Ids that producers give to messages.

use std::sync::atomic::{AtomicU64, Ordering};

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
}
