//! A line on a terminal that says how far a round is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

const PERIOD: Duration = Duration::from_millis(250);

/// Counts messages, and shows them where somebody may look.
#[derive(Clone, Default)]
pub(crate) struct Progress {
    messages: Arc<AtomicU64>,
}

impl Progress {
    pub(crate) fn add(&self, messages: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Shows the rate until the returned value is dropped. Nothing is shown in a pipe.
    pub(crate) fn show(&self, what: &'static str) -> Shown {
        let bar = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
        if bar.is_hidden() {
            return Shown { bar, task: None };
        }
        let (messages, of_task) = (self.messages.clone(), bar.clone());
        let task = tokio::task::spawn_local(async move {
            let (mut last, mut at) = (0, Instant::now());
            loop {
                tokio::time::sleep(PERIOD).await;
                let now = messages.load(Ordering::Relaxed);
                let rate = (now - last) as f64 / at.elapsed().as_secs_f64();
                (last, at) = (now, Instant::now());
                of_task.set_message(format!("{what}: {now} messages, {rate:.0} a second"));
                of_task.tick();
            }
        });
        Shown {
            bar,
            task: Some(task),
        }
    }
}

/// See [`Progress::show`].
pub(crate) struct Shown {
    bar: ProgressBar,
    task: Option<JoinHandle<()>>,
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        self.bar.finish_and_clear();
    }
}
