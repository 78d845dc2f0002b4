//! How far a tool is: a line on the terminal that moves, nothing in a pipe.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the line moves by itself.
const TICK: Duration = Duration::from_millis(200);

/// A line on standard error, if that is a terminal.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Counts messages of which nobody knows how many there are.
    pub(super) fn counting() -> Self {
        Self::new(
            ProgressBar::no_length(),
            "{spinner} {human_pos} messages, {per_sec}, {elapsed}",
        )
    }

    /// Counts messages up to a number.
    pub(super) fn up_to(messages: u64) -> Self {
        Self::new(
            ProgressBar::new(messages),
            "{bar:30} {human_pos}/{human_len} messages, {per_sec}, {eta} left",
        )
    }

    /// Counts the bytes of a file, and says beside it how many messages they made.
    pub(super) fn through_file(bytes: u64) -> Self {
        Self::new(
            ProgressBar::new(bytes),
            "{bar:30} {bytes}/{total_bytes}, {msg} messages, {eta} left",
        )
    }

    fn new(bar: ProgressBar, template: &str) -> Self {
        if !io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
            return Self(bar);
        }
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    pub(super) fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    pub(super) fn say(&self, text: impl FnOnce() -> String) {
        if !self.0.is_hidden() {
            self.0.set_message(text());
        }
    }

    /// Takes the line away while something else is printed.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
