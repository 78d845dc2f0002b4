//! When a member was last heard of: its session notes it, the group looks. Sharing a number is cheaper than a message for
//! every read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    start: Instant,
    /// Milliseconds after the start.
    at: Arc<AtomicU64>,
}

impl Heard {
    /// Heard of now.
    pub(crate) fn now() -> Self {
        Self {
            start: Instant::now(),
            at: Arc::default(),
        }
    }

    /// It is heard of.
    pub(crate) fn note(&self) {
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at.store(ms, Ordering::Relaxed);
    }

    /// For how long nothing was heard.
    pub(crate) fn silence(&self, now: Instant) -> Duration {
        let last = self.start + Duration::from_millis(self.at.load(Ordering::Relaxed));
        now.saturating_duration_since(last)
    }
}
