//! What a producer has on its way: how much, and whether all of it has arrived.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Messages on their way are counted in one of two terms. A flush begins the other term and waits until the first is
/// empty, so that messages sent after it do not keep it waiting.
#[derive(Debug)]
pub(super) struct Budget {
    limit_bytes: usize,
    bytes: AtomicUsize,
    term: AtomicUsize,
    messages: [AtomicUsize; 2],
    /// Bytes went below the limit.
    room: Notify,
    /// A term became empty.
    empty: Notify,
    flushing: tokio::sync::Mutex<()>,
}

/// A message's place in a budget.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    bytes: usize,
    term: usize,
}

impl Budget {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            bytes: AtomicUsize::new(0),
            term: AtomicUsize::new(0),
            messages: [AtomicUsize::new(0), AtomicUsize::new(0)],
            room: Notify::new(),
            empty: Notify::new(),
            flushing: tokio::sync::Mutex::new(()),
        }
    }

    fn messages(&self, term: usize) -> &AtomicUsize {
        let [first, second] = &self.messages;
        if term == 0 { first } else { second }
    }

    /// Bytes on their way, and the limit.
    pub(super) fn bytes(&self) -> (usize, usize) {
        (self.bytes.load(Ordering::Acquire), self.limit_bytes)
    }

    pub(super) fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Acquire) < self.limit_bytes
    }

    /// Takes a share, whether there is room or not: the caller has looked.
    pub(super) fn take(&self, bytes: usize) -> Share {
        let term = self.term.load(Ordering::Acquire);
        self.messages(term).fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        Share { bytes, term }
    }

    pub(super) fn give_back(&self, share: Share) {
        let before = self.bytes.fetch_sub(share.bytes, Ordering::AcqRel);
        if before >= self.limit_bytes && before - share.bytes < self.limit_bytes {
            self.room.notify_waiters();
        }
        if self.messages(share.term).fetch_sub(1, Ordering::AcqRel) == 1 {
            self.empty.notify_waiters();
        }
    }

    /// Waits until there is room.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }

    /// Waits until all that was taken before is given back. `push` is called whenever waiting begins: it sends what would
    /// otherwise wait for company.
    pub(super) async fn flush(&self, push: impl Fn()) {
        let _turn = self.flushing.lock().await;
        // A flush that was dropped half way left messages in the term that is not the current one.
        self.emptied(self.term.load(Ordering::Acquire) ^ 1, &push)
            .await;
        let term = self.term.fetch_xor(1, Ordering::AcqRel);
        self.emptied(term, &push).await;
    }

    async fn emptied(&self, term: usize, push: impl Fn()) {
        loop {
            let empty = self.empty.notified();
            push();
            if self.messages(term).load(Ordering::Acquire) == 0 {
                return;
            }
            empty.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn a_flush_waits_for_what_came_before_it_only() {
        let budget = Budget::new(100);
        let before = budget.take(10);
        let pushed = Cell::new(0);
        let mut flush = Box::pin(budget.flush(|| pushed.set(pushed.get() + 1)));
        assert!(timeout(Duration::from_secs(1), &mut flush).await.is_err());
        let _after = budget.take(10);
        budget.give_back(before);
        timeout(Duration::from_secs(1), flush).await.unwrap();
        assert!(pushed.get() >= 2);
        // The next one has the later message to wait for.
        assert!(
            timeout(Duration::from_secs(1), budget.flush(|| {}))
                .await
                .is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_that_was_dropped_half_way_hides_nothing_from_the_next() {
        let budget = Budget::new(100);
        let share = budget.take(10);
        for _ in 0..3 {
            assert!(
                timeout(Duration::from_secs(1), budget.flush(|| {}))
                    .await
                    .is_err()
            );
        }
        budget.give_back(share);
        timeout(Duration::from_secs(1), budget.flush(|| {}))
            .await
            .unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn room_comes_when_bytes_are_given_back() {
        let budget = Budget::new(100);
        let large = budget.take(150);
        assert!(!budget.has_room());
        assert!(
            timeout(Duration::from_secs(1), budget.room())
                .await
                .is_err()
        );
        let mut room = Box::pin(budget.room());
        assert!(timeout(Duration::from_secs(1), &mut room).await.is_err());
        budget.give_back(large);
        room.await;
        assert_eq!(budget.bytes(), (0, 100));
    }
}
