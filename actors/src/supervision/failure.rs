//! Why an actor is no longer running, and how a panic becomes a reason.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use serde::Serialize;

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The actor gave up with an error of its own.
    Error,
    /// It panicked.
    Panic,
    /// Its factory or its start returned an error.
    Refused,
    /// A permanent child finished.
    Finished,
    /// A supervisor's children failed too often.
    Escalated,
    /// The arbiter's thread ended under it.
    ArbiterLost,
    /// It, or its arbiter, does not respond.
    Hung,
}

/// Why an actor is no longer running: a kind, and a text for the operator.
///
/// It converts from every error, so that `?` works in factories and in [`Cast::started`](super::Cast::started); the
/// text then holds the error and its sources. For the same reason it is not an error itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    cause: Cause,
    reason: Box<str>,
}

impl Failure {
    /// A failure of the actor's own.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self::of(Cause::Error, reason)
    }

    pub(super) fn of(cause: Cause, reason: impl fmt::Display) -> Self {
        Self {
            cause,
            reason: reason.to_string().into(),
        }
    }

    /// The same, seen from an actor that did not get as far as running.
    pub(super) fn refused(self) -> Self {
        match self.cause {
            Cause::Error => Self {
                cause: Cause::Refused,
                ..self
            },
            _ => self,
        }
    }

    /// What kind of failure it is.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// What happened, for the operator.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            reason.push_str(": ");
            reason.push_str(&inner.to_string());
            source = inner.source();
        }
        Self::new(reason)
    }
}

thread_local! {
    static GUARDED: Cell<u32> = const { Cell::new(0) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `work`; a panic in it becomes a failure.
pub(super) fn guard<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    GUARDED.set(GUARDED.get() + 1);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(GUARDED.get() - 1);
    outcome.map_err(|payload| {
        let text = text_of(payload);
        match PLACE.take() {
            Some(place) => Failure::of(Cause::Panic, format_args!("{text} (at {place})")),
            None => Failure::of(Cause::Panic, text),
        }
    })
}

fn text_of(payload: Box<dyn Any + Send>) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        return (*text).to_owned();
    }
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(unknown) => {
            // Dropping a stranger could panic again, outside of any guard.
            std::mem::forget(unknown);
            "panicked with something other than text".to_owned()
        }
    }
}

/// Makes panics of actors name their source line, and keeps them off standard error: they are logged once, with the
/// actor's path. Panics elsewhere go to the hook that was there before. For the binary to call once at its start,
/// after it set up logging.
pub fn capture_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if GUARDED.get() == 0 {
                return previous(info);
            }
            PLACE.set(info.location().map(ToString::to_string));
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_panic_becomes_its_text() {
        let failure = guard(|| panic!("disk {} is on fire", 3)).unwrap_err();
        assert_eq!(failure.cause(), Cause::Panic);
        assert!(failure.reason().starts_with("disk 3 is on fire"));
        let failure = guard(|| panic::panic_any(7)).unwrap_err();
        assert!(failure.reason().contains("other than text"));
    }

    #[test]
    fn captured_panics_name_their_line() {
        capture_panics();
        let failure = guard(|| panic!("here")).unwrap_err();
        assert!(failure.reason().starts_with("here (at "), "{failure}");
        assert!(failure.reason().contains("failure.rs:"), "{failure}");
    }

    #[test]
    fn an_error_keeps_its_sources() {
        #[derive(Debug, thiserror::Error)]
        #[error("segment 7 cannot be opened")]
        struct Opening(#[source] io::Error);
        let failure = Failure::from(Opening(io::Error::other("no such device")));
        assert_eq!(
            failure.to_string(),
            "segment 7 cannot be opened: no such device"
        );
        assert_eq!(failure.cause(), Cause::Error);
    }
}
