//! Wakes at a pace that tokio's timers, which count milliseconds, cannot keep.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;

/// How often messages that are due are sent.
const PERIOD: Duration = Duration::from_micros(100);

/// Ticks about every 100 µs, from a thread that sleeps in between.
pub(crate) struct Ticker(Arc<Notify>);

impl Ticker {
    pub(crate) fn start() -> io::Result<Self> {
        let notify = Arc::new(Notify::new());
        let of_thread = Arc::downgrade(&notify);
        thread::Builder::new()
            .name("ticker".to_owned())
            .spawn(move || {
                while let Some(notify) = of_thread.upgrade() {
                    notify.notify_one();
                    drop(notify);
                    thread::sleep(PERIOD);
                }
            })?;
        Ok(Self(notify))
    }

    /// Waits for the next tick, or goes on at once when one was missed.
    pub(crate) async fn tick(&self) {
        self.0.notified().await;
    }
}
