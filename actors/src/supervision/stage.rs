//! Where actors run: an arbiter, and its replacement when the thread has died.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_rt::{Arbiter, ArbiterHandle, System};
use parking_lot::Mutex;

use super::failure::{Cause, Failure};

/// An arbiter that children can be put on. Clones are the same stage.
///
/// A stage made with [`Stage::new`] owns a thread: it is replaced by a new one when it has died, and ends when the last
/// clone is gone, references to actors on it included.
#[derive(Clone)]
pub struct Stage(Arc<Inner>);

struct Inner {
    name: String,
    arbiter: Mutex<ArbiterHandle>,
    owns_thread: bool,
    /// Wall clock, milliseconds since 1970; 0 while it responds.
    hung_since_ms: AtomicU64,
}

impl Stage {
    /// A new thread.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn new(name: impl Into<String>) -> io::Result<Self> {
        let arbiter = spawn_arbiter()?;
        Ok(Self::with(name, arbiter, true))
    }

    /// The arbiter of the calling thread.
    ///
    /// # Errors
    /// When the calling thread has none.
    pub fn here(name: impl Into<String>) -> io::Result<Self> {
        let arbiter = Arbiter::try_current().ok_or_else(no_arbiter)?;
        Ok(Self::with(name, arbiter, false))
    }

    fn with(name: impl Into<String>, arbiter: ArbiterHandle, owns_thread: bool) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            arbiter: Mutex::new(arbiter),
            owns_thread,
            hung_since_ms: AtomicU64::new(0),
        }))
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The arbiter as it is, dead or alive.
    pub fn arbiter(&self) -> ArbiterHandle {
        self.0.arbiter.lock().clone()
    }

    /// A living arbiter: the one it has, or a new thread in its place. All children of a stage move together, since the
    /// first that asks replaces it for all.
    pub(super) fn revive(&self) -> Result<ArbiterHandle, Failure> {
        let mut arbiter = self.0.arbiter.lock();
        if !arbiter.alive() {
            if !self.0.owns_thread {
                let reason = format_args!("the thread of stage {} has ended", self.0.name);
                return Err(Failure::of(Cause::ArbiterLost, reason));
            }
            *arbiter = spawn_arbiter()?;
            self.set_hung_since_ms(None);
            tracing::warn!(stage = self.name(), "arbiter lost, thread replaced");
        }
        Ok(arbiter.clone())
    }

    /// Since when it has not responded, in milliseconds since 1970.
    pub fn hung_since_ms(&self) -> Option<u64> {
        match self.0.hung_since_ms.load(Ordering::Relaxed) {
            0 => None,
            since => Some(since),
        }
    }

    pub(super) fn set_hung_since_ms(&self, since: Option<u64>) {
        self.0
            .hung_since_ms
            .store(since.unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stage").field(&self.0.name).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.owns_thread {
            self.arbiter.get_mut().stop();
        }
    }
}

fn spawn_arbiter() -> io::Result<ArbiterHandle> {
    // actix-rt panics without a system.
    if !System::is_registered() {
        return Err(no_arbiter());
    }
    Arbiter::try_new().map(|arbiter| arbiter.handle())
}

fn no_arbiter() -> io::Error {
    io::Error::other("the calling thread has no actix system: run it under actix_rt::System")
}
