//! Notes on their way to the queues.

use castmq_protocol::model::PhysicalOffset;

use crate::commit_log::{Note, Notes};

/// Notes that were taken, and how many of them were used.
#[derive(Debug, Default)]
pub(super) struct Noted {
    taken: Vec<Note>,
    used: usize,
}

impl Noted {
    /// The next note that does not lie before `position`. It goes when that has passed it.
    #[inline]
    pub(super) fn next(&mut self, position: PhysicalOffset, notes: &Notes) -> Option<Note> {
        loop {
            if self.used == self.taken.len() {
                notes.take(&mut self.taken);
                self.used = 0;
            }
            let note = self.taken.get(self.used)?;
            if note.physical >= position {
                return Some(*note);
            }
            self.used += 1;
        }
    }
}
