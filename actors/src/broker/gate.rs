//! Whether messages are taken, and why not. Several look after that, each for a reason of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use castmq_protocol::native::Failure as Refusal;
use parking_lot::RwLock;

/// Why messages are not taken, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// The disk is too full.
    Disk,
    /// No name server has said yet that no other broker has become the master meanwhile.
    Word,
    /// Too few slaves are in step.
    Slaves,
}

/// See the module. Costs one look while messages are taken.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_closed: AtomicBool,
    refusals: RwLock<BTreeMap<Cause, Refusal>>,
}

impl Gate {
    /// Refuses messages for this cause from now on; with `None` no longer for it.
    pub(crate) fn set(&self, cause: Cause, refusal: Option<Refusal>) {
        let mut refusals = self.refusals.write();
        match refusal {
            Some(refusal) => refusals.insert(cause, refusal),
            None => refusals.remove(&cause),
        };
        self.is_closed
            .store(!refusals.is_empty(), Ordering::Release);
    }

    /// What whoever sends a message is told, when none are taken.
    #[inline]
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        if !self.is_closed.load(Ordering::Acquire) {
            return None;
        }
        self.refusals.read().values().next().cloned()
    }
}

#[cfg(test)]
mod tests {
    use castmq_protocol::native::ErrorCode;

    use super::*;

    #[test]
    fn it_opens_when_the_last_cause_is_gone_and_tells_the_worst() {
        let gate = Gate::default();
        let refuse = |text: &str| Some(Refusal::safe(ErrorCode::Busy, text));
        let told = || gate.refusal().map(|refusal| refusal.message);
        assert_eq!(told(), None);
        gate.set(Cause::Slaves, refuse("slaves"));
        gate.set(Cause::Disk, refuse("disk"));
        assert_eq!(told().as_deref(), Some("disk"));
        gate.set(Cause::Disk, None);
        assert_eq!(told().as_deref(), Some("slaves"));
        gate.set(Cause::Slaves, None);
        assert_eq!(told(), None);
    }
}
