//! Giving credit back as messages are done. Pure.

/// How much of one queue a consumer may hold at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) messages: u32,
    pub(super) bytes: u32,
}

/// Credit that is to be given back, gathered so that not every message costs a frame.
#[derive(Debug)]
pub(super) struct Returns {
    window: Window,
    messages: u32,
    bytes: u32,
}

impl Returns {
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            messages: 0,
            bytes: 0,
        }
    }

    /// A message is done.
    pub(super) fn add(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_add(1);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// What to give back now: when it is a quarter of the window, or when nothing else is held, since then the other side
    /// may be out of credit.
    pub(super) fn take(&mut self, holds_nothing: bool) -> Option<Window> {
        let quarter =
            self.messages >= self.window.messages / 4 || self.bytes >= self.window.bytes / 4;
        if self.messages == 0 || !(quarter || holds_nothing) {
            return None;
        }
        let returned = Window {
            messages: self.messages,
            bytes: self.bytes,
        };
        *self = Self::new(self.window);
        Some(returned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Window = Window {
        messages: 100,
        bytes: 1000,
    };

    #[test]
    fn credit_goes_back_in_quarters() {
        let mut returns = Returns::new(WINDOW);
        assert_eq!(returns.take(true), None);
        for _ in 0..24 {
            returns.add(1);
            assert_eq!(returns.take(false), None);
        }
        returns.add(1);
        let quarter = Window {
            messages: 25,
            bytes: 25,
        };
        assert_eq!(returns.take(false), Some(quarter));
        returns.add(250);
        assert_eq!(returns.take(false).map(|w| w.messages), Some(1));
    }

    proptest! {
        #[test]
        fn a_stream_never_stalls_and_never_exceeds_the_window(
            lengths in prop::collection::vec(0_usize..3000, 1..200),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let mut returns = Returns::new(WINDOW);
            let (mut messages, mut bytes) = (i64::from(WINDOW.messages), i64::from(WINDOW.bytes));
            let mut held: Vec<usize> = Vec::new();
            let mut coming = lengths.iter().copied().peekable();
            let mut picks = picks.into_iter().cycle();
            while coming.peek().is_some() || !held.is_empty() {
                // The other side delivers while it has credit; one message is always possible.
                while messages > 0 && bytes > 0 && let Some(length) = coming.next() {
                    messages -= 1;
                    bytes -= length as i64;
                    held.push(length);
                }
                prop_assert!(!held.is_empty(), "stalled");
                let most = i64::from(WINDOW.messages);
                prop_assert!(held.len() as i64 <= most);
                let index = picks.next().map_or(0, |pick| pick.index(held.len()));
                returns.add(held.swap_remove(index));
                if let Some(back) = returns.take(held.is_empty()) {
                    messages += i64::from(back.messages);
                    bytes += i64::from(back.bytes);
                    prop_assert!(messages <= most && bytes <= i64::from(WINDOW.bytes));
                }
            }
        }
    }
}
