//! What the broker counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Rates are taken over this time.
const WINDOW: Duration = Duration::from_secs(10);

/// Counters since the start, cheap to add to.
#[derive(Debug)]
pub(crate) struct Meters {
    stored: AtomicU64,
    stored_bytes: AtomicU64,
    delivered: AtomicU64,
    expired: AtomicU64,
    started: Instant,
    /// When the counters were looked at, and what they were then.
    looked: Mutex<Vec<(Instant, u64, u64)>>,
}

/// Counters and rates at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    /// Messages stored.
    pub(crate) stored: u64,
    /// Bytes that they have in the log.
    pub(crate) stored_bytes: u64,
    /// Messages delivered.
    pub(crate) delivered: u64,
    /// Messages passed over because they had expired.
    pub(crate) expired: u64,
    /// Messages stored a second, lately.
    pub(crate) stored_per_second: f64,
    /// Messages delivered a second, lately.
    pub(crate) delivered_per_second: f64,
    /// Since the start.
    pub(crate) uptime: Duration,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            stored: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            started: Instant::now(),
            looked: Mutex::default(),
        }
    }
}

impl Meters {
    /// Since the broker's start.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts messages that were stored, and what they take in the log.
    pub(crate) fn stored(&self, messages: u64, bytes: u64) {
        self.stored.fetch_add(messages, Ordering::Relaxed);
        self.stored_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts messages that were delivered.
    pub(crate) fn delivered(&self, messages: u64) {
        self.delivered.fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts messages that had expired when somebody would have got them.
    #[inline]
    pub(crate) fn expired(&self, messages: u64) {
        if messages > 0 {
            self.expired.fetch_add(messages, Ordering::Relaxed);
        }
    }

    /// To be called every second or so.
    pub(crate) fn tick(&self) {
        let now = Instant::now();
        let mut looked = self.looked.lock();
        looked.retain(|(at, ..)| now - *at <= WINDOW);
        looked.push((
            now,
            self.stored.load(Ordering::Relaxed),
            self.delivered.load(Ordering::Relaxed),
        ));
    }

    /// Counters and rates now.
    pub(crate) fn read(&self) -> Reading {
        let (stored, delivered) = (
            self.stored.load(Ordering::Relaxed),
            self.delivered.load(Ordering::Relaxed),
        );
        let oldest = self.looked.lock().first().copied();
        let (since, stored_then, delivered_then) = oldest.unwrap_or((self.started, 0, 0));
        let seconds = since.elapsed().as_secs_f64().max(0.001);
        Reading {
            stored,
            stored_bytes: self.stored_bytes.load(Ordering::Relaxed),
            delivered,
            expired: self.expired.load(Ordering::Relaxed),
            stored_per_second: (stored - stored_then) as f64 / seconds,
            delivered_per_second: (delivered - delivered_then) as f64 / seconds,
            uptime: self.uptime(),
        }
    }
}
