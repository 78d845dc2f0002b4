//! Wakes those who wait for the log to grow, or for more of it to be safe. Costs one look when nobody waits.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    has_waiters: AtomicBool,
    beat: Notify,
}

impl Pulse {
    /// Something has changed.
    #[inline]
    pub(crate) fn beat(&self) {
        if self.has_waiters.load(Ordering::Acquire)
            && self.has_waiters.swap(false, Ordering::AcqRel)
        {
            self.beat.notify_waiters();
        }
    }

    /// Waits until something has changed that makes `is_it` true.
    pub(crate) async fn until(&self, mut is_it: impl FnMut() -> bool) {
        loop {
            let beat = self.beat.notified();
            tokio::pin!(beat);
            // What changes from here on is heard of.
            beat.as_mut().enable();
            self.has_waiters.store(true, Ordering::SeqCst);
            if is_it() {
                return;
            }
            beat.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn nothing_that_changes_is_missed() {
        let pulse = Arc::new(Pulse::default());
        let place = Arc::new(AtomicU64::new(0));
        const LAST: u64 = 100_000;
        let writer = {
            let (pulse, place) = (pulse.clone(), place.clone());
            std::thread::spawn(move || {
                for next in 1..=LAST {
                    place.store(next, Ordering::Release);
                    pulse.beat();
                }
            })
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut seen = 0;
            while seen < LAST {
                pulse.until(|| place.load(Ordering::Acquire) > seen).await;
                seen = place.load(Ordering::Acquire);
            }
        });
        writer.join().unwrap();
    }
}
