//! What has to last: entries that make a ledger again.

use castmq_protocol::model::QueueOffset;

use super::encoding::encode;
use super::window::Delivery;

/// A change of a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Begins a snapshot: an empty window at `floor`. What is in the window follows as other entries.
    Start {
        /// The group's consumer offset.
        floor: QueueOffset,
        /// What the ledger's clock showed last, in milliseconds.
        latest_ms: i64,
        /// How far it is ahead of the clock outside.
        ahead_ms: i64,
        /// Of the request whose messages are out, in order.
        attempt_id: Option<u64>,
    },
    /// Messages were handed out, or their invisible time was changed.
    HandedOut {
        /// The first of them.
        first: QueueOffset,
        /// How many consecutive ones.
        count: u64,
        /// How.
        delivery: Delivery,
    },
    /// Messages with keys were read; those that are handed out follow as [`Entry::HandedOut`].
    Keyed {
        /// The first of them.
        first: QueueOffset,
        /// The keys of consecutive ones.
        keys: Vec<u64>,
    },
    /// Messages were acknowledged, went to the dead letter queue, were passed over by the filter, or are gone from
    /// the log.
    Settled {
        /// The first of them.
        first: QueueOffset,
        /// How many consecutive ones.
        count: u64,
    },
    /// The request whose messages are handed out next, in order.
    AttemptId(Option<u64>),
    /// The clock outside stepped back.
    ClockBack {
        /// What the ledger's clock showed then.
        latest_ms: i64,
        /// How far it is ahead of the clock outside since.
        ahead_ms: i64,
    },
}

/// Entries in order. Ledgers add to it; its owner writes it to the log and clears it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Journal {
    entries: Vec<Entry>,
    /// The last entry with keys.
    keyed_at: Option<usize>,
}

impl Journal {
    /// What has to be written.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// To be called when it is written.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.keyed_at = None;
    }

    /// The bytes to write: one record of the journal.
    pub(crate) fn encode(&self) -> Vec<u8> {
        encode(&self.entries)
    }

    pub(super) fn push(&mut self, entry: Entry) {
        if let Entry::Keyed { .. } = entry {
            self.keyed_at = Some(self.entries.len());
        }
        self.entries.push(entry);
    }

    /// Settles an offset. A run grows at both ends, since acknowledgements come in any order.
    pub(super) fn settled(&mut self, offset: u64) {
        if let Some(Entry::Settled { first, count }) = self.entries.last_mut() {
            if offset == first.0 + *count {
                *count += 1;
                return;
            }
            if offset + 1 == first.0 {
                first.0 = offset;
                *count += 1;
                return;
            }
        }
        self.push(Entry::Settled {
            first: QueueOffset(offset),
            count: 1,
        });
    }

    pub(super) fn handed_out(&mut self, offset: u64, delivery: Delivery) {
        if let Some(Entry::HandedOut {
            first,
            count,
            delivery: last,
        }) = self.entries.last_mut()
            && *last == delivery
            && offset == first.0 + *count
        {
            *count += 1;
            return;
        }
        self.push(Entry::HandedOut {
            first: QueueOffset(offset),
            count: 1,
            delivery,
        });
    }

    /// Adds a key. When it continues the last ones it goes before what happened since: that was about earlier offsets,
    /// and a message is held or free by what is settled in the end.
    pub(super) fn keyed(&mut self, offset: u64, key: u64) {
        let last = self.keyed_at.and_then(|at| self.entries.get_mut(at));
        if let Some(Entry::Keyed { first, keys }) = last
            && offset == first.0 + keys.len() as u64
        {
            keys.push(key);
            return;
        }
        self.push(Entry::Keyed {
            first: QueueOffset(offset),
            keys: vec![key],
        });
    }
}
