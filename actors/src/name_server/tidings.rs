//! In which order a broker hears what is true of its set. Pure.
//!
//! Answers and changes reach a session by different ways, and a change may overtake an answer that is older. A broker takes
//! the last that it hears for true, so a change waits for the answer that is under way, and is said only if it is newer.

/// What is known at a moment, numbered in the order in which that came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Numbered<T> {
    pub(crate) number: u64,
    pub(crate) known: T,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tidings<T> {
    /// The number of what was said last.
    said: u64,
    /// The newest change that waits for an answer to go first.
    held: Option<Numbered<T>>,
}

impl<T> Default for Tidings<T> {
    fn default() -> Self {
        Self {
            said: 0,
            held: None,
        }
    }
}

impl<T> Tidings<T> {
    /// Something has changed.
    pub(super) fn changed(&mut self, change: Numbered<T>) {
        self.held = Some(change);
    }

    /// An answer goes out, and says what was known then.
    pub(super) fn answered(&mut self, number: u64) {
        self.said = number;
    }

    /// What has to be said while no answer is under way.
    pub(super) fn due(&mut self) -> Option<T> {
        let due = self.held.take().filter(|held| held.number > self.said)?;
        self.said = due.number;
        Some(due.known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(number: u64) -> Numbered<u64> {
        let known = number;
        Numbered { number, known }
    }

    #[test]
    fn a_change_that_overtook_an_older_answer_is_said_after_it() {
        let mut tidings = Tidings::default();
        tidings.changed(change(2));
        tidings.answered(1);
        assert_eq!(tidings.due(), Some(2));
        assert_eq!(tidings.due(), None);
    }

    #[test]
    fn a_change_that_an_answer_knew_of_is_not_said_after_it() {
        let mut tidings = Tidings::default();
        tidings.changed(change(2));
        tidings.answered(3);
        assert_eq!(tidings.due(), None);
        tidings.changed(change(4));
        tidings.changed(change(5));
        assert_eq!(tidings.due(), Some(5));
    }
}
