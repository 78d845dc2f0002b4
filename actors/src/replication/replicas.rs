//! Which slaves are there, and how far they are. Links write it, the commit-tracker and operators read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use castmq_protocol::model::PhysicalOffset;
use parking_lot::Mutex;

/// What a slave speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It has said who it is and what it has.
    Native,
    /// It reports where its log ends, as RocketMQ's slaves do.
    Classic {
        /// Whether messages that it has count as copied all the same.
        counts: bool,
    },
}

impl Kind {
    /// Whether messages that it has count as copied.
    pub(crate) fn counts(self) -> bool {
        matches!(self, Self::Native | Self::Classic { counts: true })
    }
}

/// A slave that is connected.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) broker_id: u64,
    /// Where it is reached, or where it connected from when it did not say.
    pub(crate) address: String,
    pub(crate) kind: Kind,
    /// It has the log up to here.
    acknowledged: AtomicU64,
    /// Whether it keeps up: then messages wait for it.
    is_in_step: AtomicBool,
    /// Milliseconds that it is behind.
    lag_ms: AtomicU64,
}

impl Replica {
    pub(crate) fn acknowledged(&self) -> PhysicalOffset {
        PhysicalOffset(self.acknowledged.load(Ordering::Acquire))
    }

    pub(crate) fn set_acknowledged(&self, end: PhysicalOffset) {
        self.acknowledged.fetch_max(end.0, Ordering::AcqRel);
    }

    pub(crate) fn is_in_step(&self) -> bool {
        self.is_in_step.load(Ordering::Acquire)
    }

    pub(crate) fn lag_ms(&self) -> u64 {
        self.lag_ms.load(Ordering::Acquire)
    }

    /// How it stands, by whoever watches it.
    pub(crate) fn set_step(&self, is_in_step: bool, lag_ms: u64) {
        self.is_in_step.store(is_in_step, Ordering::Release);
        self.lag_ms.store(lag_ms, Ordering::Release);
    }
}

/// The slaves that are connected.
#[derive(Debug, Default)]
pub(crate) struct Replicas(Mutex<Vec<Arc<Replica>>>);

/// A slave's place among them. Dropping it says that the slave is gone.
#[derive(Debug)]
pub(crate) struct Place {
    replica: Arc<Replica>,
    all: Arc<Replicas>,
}

impl Replicas {
    /// A slave is connected, and has the log up to `end`. One of the same number is superseded: it comes back over another
    /// connection before the end of the first is known.
    pub(crate) fn join(
        self: &Arc<Self>,
        broker_id: u64,
        address: String,
        kind: Kind,
        end: PhysicalOffset,
    ) -> Place {
        let replica = Arc::new(Replica {
            broker_id,
            address,
            kind,
            acknowledged: AtomicU64::new(end.0),
            is_in_step: AtomicBool::new(false),
            lag_ms: AtomicU64::new(0),
        });
        let mut all = self.0.lock();
        all.retain(|known| known.broker_id != broker_id);
        all.push(replica.clone());
        Place {
            replica,
            all: self.clone(),
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Replica>> {
        self.0.lock().clone()
    }
}

impl Place {
    pub(crate) fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// Whether the slave has come over another connection since.
    pub(crate) fn is_superseded(&self) -> bool {
        let all = self.all.0.lock();
        !all.iter().any(|known| Arc::ptr_eq(known, &self.replica))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.all.0.lock();
        all.retain(|known| !Arc::ptr_eq(known, &self.replica));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slave_that_comes_back_takes_its_own_place() {
        let replicas = Arc::new(Replicas::default());
        let join = |id, end| replicas.join(id, "a".into(), Kind::Native, PhysicalOffset(end));
        let (first, other, again) = (join(1, 5), join(2, 6), join(1, 7));
        assert!(first.is_superseded() && !again.is_superseded());
        drop(first);
        assert_eq!(replicas.all().len(), 2);
        again.replica().set_acknowledged(PhysicalOffset(6));
        assert_eq!(again.replica().acknowledged(), PhysicalOffset(7));
        drop((again, other));
        assert!(replicas.all().is_empty());
    }
}
