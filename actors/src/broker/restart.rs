//! Whether the broker is to start anew, to become something else.

use tokio::sync::watch;

use super::standing::{Fence, Rebase};

/// Why it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Another broker has become the master.
    Fenced(Fence),
    /// The log has to fit the master's.
    Rebase(Rebase),
    /// What it has become is written down.
    Promoted,
}

/// See the module. The first reason counts.
#[derive(Debug)]
pub(crate) struct Restart(watch::Sender<Option<Asked>>);

impl Default for Restart {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Restart {
    pub(crate) fn ask(&self, asked: Asked) {
        self.0.send_if_modified(|known| {
            let is_first = known.is_none();
            known.get_or_insert(asked);
            is_first
        });
    }

    /// Resolves when it is asked for.
    pub(crate) fn asked(&self) -> impl Future<Output = Asked> + Send + use<> {
        let mut changes = self.0.subscribe();
        async move {
            loop {
                if let Some(asked) = *changes.borrow_and_update() {
                    return asked;
                }
                if changes.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        }
    }
}
