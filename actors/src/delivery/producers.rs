//! The producers that can be asked what became of their transactions, by group.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use castmq_protocol::model::GroupName;
use castmq_protocol::native::response::CheckTransaction;
use castmq_storage::commit_log::LogSlice;
use parking_lot::RwLock;

use crate::supervision::Mailbox;

/// Asks a producer.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) check: CheckTransaction,
    /// The half message's record.
    pub(crate) record: LogSlice,
}

/// A producer's number.
pub(crate) type ProducerId = u64;

type Producer = (ProducerId, Mailbox<Check>);

/// Those that are connected.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    by_group: RwLock<HashMap<GroupName, Vec<Producer>>>,
    next: AtomicU64,
}

impl Producers {
    /// Adds a producer.
    pub(crate) fn add(&self, group: &GroupName, producer: Mailbox<Check>) -> ProducerId {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut by_group = self.by_group.write();
        by_group
            .entry(group.clone())
            .or_default()
            .push((id, producer));
        id
    }

    /// A producer is gone.
    pub(crate) fn remove(&self, group: &GroupName, id: ProducerId) {
        let mut by_group = self.by_group.write();
        if let Some(producers) = by_group.get_mut(group) {
            producers.retain(|(other, _)| *other != id);
            if producers.is_empty() {
                by_group.remove(group);
            }
        }
    }

    /// Asks one of a group's producers, another one each `turn`. Whether there was one.
    pub(crate) fn ask(&self, group: &str, turn: usize, check: &Check) -> bool {
        let by_group = self.by_group.read();
        let producers = by_group.get(group).map(Vec::as_slice).unwrap_or_default();
        let count = producers.len();
        (0..count).any(|next| {
            let (_, producer) = &producers[(turn + next) % count];
            producer.tell(check.clone())
        })
    }
}
