//! The producers that can be asked what became of their transactions, by group.

use castmq_protocol::model::GroupName;
use castmq_protocol::native::response::CheckTransaction;
use castmq_storage::commit_log::LogSlice;

use super::registry::Registry;

/// Asks a producer.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) check: CheckTransaction,
    /// The half message's record.
    pub(crate) record: LogSlice,
}

/// Those that are connected.
pub(crate) type Producers = Registry<GroupName, Check>;

impl Producers {
    /// Asks one of a group's producers, another one each `turn`. Whether there was one.
    pub(crate) fn ask(&self, group: &str, turn: usize, check: &Check) -> bool {
        self.tell_one(group, turn, check)
    }
}
