//! Which topics each name server knows of, so that an answer can wait until it is true there, too.

use std::collections::BTreeMap;
use std::time::Duration;

use castmq_protocol::native::route::DataVersion;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

/// For one that does not answer nobody waits longer: it is told when it does.
const MOST: Duration = Duration::from_secs(3);

/// See the module. Registrars write it.
#[derive(Debug)]
pub(crate) struct Told {
    /// What those whose connections stand have confirmed.
    confirmed: Mutex<BTreeMap<String, DataVersion>>,
    changes: watch::Sender<()>,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            confirmed: Mutex::default(),
            changes: watch::Sender::new(()),
        }
    }
}

impl Told {
    /// A name server has confirmed the topics of this state.
    pub(crate) fn confirm(&self, name_server: &str, version: DataVersion) {
        let mut confirmed = self.confirmed.lock();
        confirmed.insert(name_server.to_owned(), version);
        self.changes.send_replace(());
    }

    /// A name server cannot be told anything at the moment.
    pub(crate) fn lose(&self, name_server: &str) {
        if self.confirmed.lock().remove(name_server).is_some() {
            self.changes.send_replace(());
        }
    }

    fn is_behind(&self, version: DataVersion) -> bool {
        let confirmed = self.confirmed.lock();
        confirmed.values().any(|known| *known < version)
    }

    /// Waits until all that can be told know this state, or one after it; not for ever.
    pub(crate) async fn until(&self, version: DataVersion) {
        let mut changes = self.changes.subscribe();
        let all = async {
            while self.is_behind(version) {
                // It is told as long as it is there.
                let _ = changes.changed().await;
            }
        };
        let _ = timeout(MOST, all).await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};

    use super::*;

    fn is_ready(waiting: Pin<&mut impl Future<Output = ()>>) -> bool {
        waiting
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    fn version(counter: u64) -> DataVersion {
        DataVersion {
            timestamp_ms: 1,
            counter,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_goes_on_when_all_that_can_be_told_know() {
        let told = Told::default();
        told.until(version(9)).await;
        told.confirm("n1", version(2));
        told.confirm("n2", version(3));
        told.until(version(2)).await;
        let mut waiting = pin!(told.until(version(3)));
        assert!(!is_ready(waiting.as_mut()));
        told.confirm("n1", version(4));
        assert!(is_ready(waiting.as_mut()));
        let mut waiting = pin!(told.until(version(4)));
        assert!(!is_ready(waiting.as_mut()));
        told.lose("n2");
        assert!(is_ready(waiting.as_mut()));
        // One that does not answer holds nobody up for ever.
        told.until(version(5)).await;
    }
}
