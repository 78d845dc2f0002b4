//! Everything that happened, as one number. Runs of the same seed have the same, or something hangs on more than the seed.
//!
//! What is sent counts with its way and its time, and not with its bytes: clients date messages by the machine's clock.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Clones add to the same trace.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    hasher: DefaultHasher,
    shown: Shown,
}

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Nothing,
    /// What hosts do and what goes wrong.
    Events,
    /// What the network does, too.
    Network,
}

impl Trace {
    pub fn new(shown: Shown) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            hasher: DefaultHasher::new(),
            shown,
        })))
    }

    /// Something happened.
    pub fn note(&self, now: Duration, what: fmt::Arguments<'_>) {
        let mut inner = self.0.lock();
        let line = format!("{:>9.3} {what}", now.as_secs_f64());
        line.hash(&mut inner.hasher);
        if inner.shown != Shown::Nothing {
            println!("{line}");
        }
    }

    /// The same on a host, by the simulation's time.
    pub fn note_here(&self, what: fmt::Arguments<'_>) {
        self.note(turmoil::sim_elapsed().unwrap_or_default(), what);
    }

    /// All of it.
    pub fn digest(&self) -> u64 {
        self.0.lock().hasher.finish()
    }
}

/// Adds what the network does.
impl<S: Subscriber> Layer<S> for Trace {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "turmoil" {
            let mut way = Way::default();
            event.record(&mut way);
            let mut inner = self.0.lock();
            way.0.hash(&mut inner.hasher);
            if inner.shown == Shown::Network {
                println!("          {}", way.0);
            }
        }
    }
}

/// What of the network's events counts.
#[derive(Default)]
struct Way(String);

impl Visit for Way {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != "protocol" {
            self.0.push_str(&format!("{}={value:?} ", field.name()));
        }
    }
}
