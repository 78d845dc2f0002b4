//! Hangs: an arbiter that runs nothing any more. Supervision cannot see them, since nobody fails, and cannot mend them,
//! since a thread cannot be taken from what it runs. So they are reported, and the process may be failed.
//!
//! Each arbiter of a tree is asked, by a thread that does nothing else, to run a trivial task. One that has not done so
//! in time hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::failure::{Cause, Failure};
use super::house::House;
use super::stage::Stage;
use super::tree::Tree;

/// What to do about a hang, besides reporting it in the log and in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnHang {
    /// Nothing: it may recover.
    Report,
    /// End the tree as failed, and so the process.
    FailTree,
}

/// How a tree is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchdogSettings {
    /// Time between two looks.
    pub look_every: Duration,
    /// An arbiter that has run nothing for this long hangs. What is legitimate there has to be well below.
    pub hung_after: Duration,
    /// What follows.
    pub on_hang: OnHang,
}

impl Default for WatchdogSettings {
    /// A look every 500 ms, a hang after 5 s, reported only.
    fn default() -> Self {
        Self {
            look_every: Duration::from_millis(500),
            hung_after: Duration::from_secs(5),
            on_hang: OnHang::Report,
        }
    }
}

/// Watches the arbiters of a tree, those that join it later included, until it is dropped.
#[derive(Debug)]
pub struct Watchdog {
    /// Dropped to end the thread.
    _ends_thread: mpsc::Sender<()>,
}

impl Watchdog {
    /// Starts a thread that watches.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(tree: &Tree, settings: WatchdogSettings) -> io::Result<Self> {
        let mut round = Round::new(tree.clone(), settings);
        let (ends_thread, ended) = mpsc::channel();
        thread::Builder::new()
            .name("castmq-watchdog".to_owned())
            .spawn(move || {
                while ended.recv_timeout(settings.look_every) == Err(RecvTimeoutError::Timeout) {
                    round.look(Instant::now());
                }
            })?;
        let _ends_thread = ends_thread;
        Ok(Self { _ends_thread })
    }
}

/// The watchdog without its thread.
pub(super) struct Round {
    tree: Tree,
    settings: WatchdogSettings,
    watched: Vec<Watched>,
}

struct Watched {
    stage: Stage,
    pulse: Pulse,
    answered: Arc<AtomicBool>,
}

impl Round {
    pub(super) fn new(tree: Tree, settings: WatchdogSettings) -> Self {
        Self {
            tree,
            settings,
            watched: Vec::new(),
        }
    }

    /// Looks after every stage once.
    pub(super) fn look(&mut self, now: Instant) {
        for stage in self.tree.house().stages() {
            if !self.watched.iter().any(|known| known.stage.is_same(&stage)) {
                self.watched.push(Watched::new(stage));
            }
        }
        for watched in &mut self.watched {
            match watched.look(now, self.settings.hung_after) {
                Finding::Nothing => {}
                Finding::Hung(silence) => {
                    report(&self.tree, &watched.stage, silence, self.settings)
                }
                Finding::Recovered(silence) => {
                    watched.stage.set_hung_since_ms(None);
                    let silence_ms = silence.as_millis();
                    tracing::warn!(
                        stage = watched.stage.name(),
                        silence_ms,
                        "arbiter runs again"
                    );
                }
            }
        }
    }
}

fn report(tree: &Tree, stage: &Stage, silence: Duration, settings: WatchdogSettings) {
    let house: &House = tree.house();
    let silence_ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
    stage.set_hung_since_ms(Some(house.now_ms().saturating_sub(silence_ms).max(1)));
    tracing::error!(stage = stage.name(), silence_ms, "arbiter hangs");
    if settings.on_hang == OnHang::FailTree {
        let reason = format_args!(
            "the arbiter of stage {} has run nothing for {silence_ms} ms",
            stage.name()
        );
        tree.fail(Failure::of(Cause::Hung, reason));
    }
}

impl Watched {
    fn new(stage: Stage) -> Self {
        Self {
            stage,
            pulse: Pulse::default(),
            answered: Arc::default(),
        }
    }

    fn look(&mut self, now: Instant, hung_after: Duration) -> Finding {
        let Some(arbiter) = self.stage.arbiter() else {
            return Finding::Nothing;
        };
        // A dead arbiter does not hang: those who ran on it have been told, and its replacement starts afresh.
        let has_answered = self.answered.load(Ordering::Acquire) || !arbiter.alive();
        let (finding, asks) = self.pulse.look(has_answered, now, hung_after);
        if asks {
            // An answer to an earlier question must not count for this one.
            self.answered = Arc::default();
            let answered = Arc::clone(&self.answered);
            arbiter.spawn_fn(move || answered.store(true, Ordering::Release));
        }
        finding
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    Nothing,
    Hung(Duration),
    Recovered(Duration),
}

/// What is known of one arbiter.
#[derive(Debug, Default)]
struct Pulse {
    asked_at: Option<Instant>,
    is_hung: bool,
}

impl Pulse {
    /// Judges by whether the last question was answered, and says whether to ask again.
    fn look(&mut self, has_answered: bool, now: Instant, hung_after: Duration) -> (Finding, bool) {
        let Some(asked_at) = self.asked_at else {
            self.asked_at = Some(now);
            return (Finding::Nothing, true);
        };
        let silence = now.saturating_duration_since(asked_at);
        if has_answered {
            self.asked_at = Some(now);
            return match std::mem::take(&mut self.is_hung) {
                true => (Finding::Recovered(silence), true),
                false => (Finding::Nothing, true),
            };
        }
        if silence >= hung_after && !self.is_hung {
            self.is_hung = true;
            return (Finding::Hung(silence), false);
        }
        (Finding::Nothing, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn at(origin: Instant, seconds: u64) -> Instant {
        origin + Duration::from_secs(seconds)
    }

    #[test]
    fn an_arbiter_that_answers_is_asked_again_and_left_alone() {
        let (mut pulse, start) = (Pulse::default(), Instant::now());
        assert_eq!(pulse.look(false, start, LIMIT), (Finding::Nothing, true));
        assert_eq!(
            pulse.look(true, at(start, 60), LIMIT),
            (Finding::Nothing, true)
        );
        assert_eq!(
            pulse.look(false, at(start, 64), LIMIT),
            (Finding::Nothing, false)
        );
    }

    #[test]
    fn a_hang_is_found_once_and_so_is_its_end() {
        let (mut pulse, start) = (Pulse::default(), Instant::now());
        pulse.look(false, start, LIMIT);
        let (finding, asks) = pulse.look(false, at(start, 5), LIMIT);
        assert_eq!((finding, asks), (Finding::Hung(LIMIT), false));
        assert_eq!(
            pulse.look(false, at(start, 6), LIMIT),
            (Finding::Nothing, false)
        );
        let (finding, asks) = pulse.look(true, at(start, 7), LIMIT);
        assert_eq!(
            (finding, asks),
            (Finding::Recovered(Duration::from_secs(7)), true)
        );
        assert_eq!(
            pulse.look(true, at(start, 8), LIMIT),
            (Finding::Nothing, true)
        );
    }
}
