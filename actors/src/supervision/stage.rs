//! Where actors run: an arbiter, and its replacement when the thread has died.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ThreadId};

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
    /// `None` where there is only a `LocalSet`, as in a network simulation.
    arbiter: Mutex<Option<ArbiterHandle>>,
    owns_thread: bool,
    /// The thread it was made on.
    made_on: ThreadId,
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
        Ok(Self::with(name, Some(arbiter), true))
    }

    /// The calling thread, with the arbiter it has, if any.
    pub fn here(name: impl Into<String>) -> Self {
        Self::with(name, Arbiter::try_current(), false)
    }

    fn with(name: impl Into<String>, arbiter: Option<ArbiterHandle>, owns_thread: bool) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            arbiter: Mutex::new(arbiter),
            owns_thread,
            made_on: thread::current().id(),
            hung_since_ms: AtomicU64::new(0),
        }))
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The arbiter as it is, dead or alive; `None` on a thread without one.
    pub fn arbiter(&self) -> Option<ArbiterHandle> {
        self.0.arbiter.lock().clone()
    }

    /// Has something run there soon. False when its thread has ended meanwhile.
    pub(super) fn run(&self, work: impl FnOnce() + Send + 'static) -> Result<bool, Failure> {
        let has_no_arbiter = !self.0.owns_thread && self.arbiter().is_none();
        if has_no_arbiter && thread::current().id() == self.0.made_on {
            actix_rt::spawn(async { work() });
            return Ok(true);
        }
        Ok(self.revive()?.spawn_fn(work))
    }

    /// A living arbiter: the one it has, or a new thread in its place. All children of a stage move together, since the
    /// first that asks replaces it for all.
    fn revive(&self) -> Result<ArbiterHandle, Failure> {
        let mut arbiter = self.0.arbiter.lock();
        if let Some(alive) = arbiter.as_ref().filter(|arbiter| arbiter.alive()) {
            return Ok(alive.clone());
        }
        if !self.0.owns_thread {
            let reason = format_args!("the thread of stage {} has no arbiter", self.0.name);
            return Err(Failure::of(Cause::ArbiterLost, reason));
        }
        let replacement = spawn_arbiter()?;
        *arbiter = Some(replacement.clone());
        self.set_hung_since_ms(None);
        tracing::warn!(stage = self.name(), "arbiter lost, thread replaced");
        Ok(replacement)
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
        if self.owns_thread
            && let Some(arbiter) = self.arbiter.get_mut()
        {
            arbiter.stop();
        }
    }
}

fn spawn_arbiter() -> io::Result<ArbiterHandle> {
    // actix-rt panics without a system.
    if !System::is_registered() {
        let reason = "no thread can be started outside of an actix system: use actix_rt::System";
        return Err(io::Error::other(reason));
    }
    Arbiter::try_new().map(|arbiter| arbiter.handle())
}
