//! What a producer has on its way: how much, under which numbers, and whether all of it has arrived.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use castmq_protocol::record::SendNumber;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::span::{MAX_SPAN, Span};

/// Bits of a [`Term`] that count bytes; those above count messages.
const BYTE_BITS: u32 = 40;

/// The largest limit: with the weight that every message has, no more messages fit in it than a term can count.
const MAX_LIMIT_BYTES: usize = 1 << 32;

/// Messages and bytes on their way, in one number: counting both costs every message once.
#[derive(Debug, Default)]
struct Term(AtomicU64);

fn packed(bytes: usize) -> u64 {
    1 << BYTE_BITS | bytes as u64
}

fn bytes_in(packed: u64) -> usize {
    (packed & ((1 << BYTE_BITS) - 1)) as usize
}

fn messages_in(packed: u64) -> u64 {
    packed >> BYTE_BITS
}

impl Term {
    fn load(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Messages on their way are counted in one of two terms. A flush begins the other term and waits until the first is
/// empty, so that messages sent after it do not keep it waiting.
#[derive(Debug)]
pub(super) struct Budget {
    limit_bytes: usize,
    term: AtomicUsize,
    terms: [Term; 2],
    /// Who waits for room. Saves everybody else looking.
    waiting: AtomicUsize,
    /// There may be room for those who wait.
    room: Notify,
    /// A term became empty.
    empty: Notify,
    flushing: tokio::sync::Mutex<()>,
    /// Those of an idempotent producer.
    numbers: Option<Numbers>,
}

/// The numbers of an idempotent producer's messages.
#[derive(Debug)]
struct Numbers {
    producer_id: u64,
    span: Mutex<Span>,
    /// The span's oldest, to be read without its lock.
    oldest: AtomicU64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            producer_id: fastrand::u64(1..),
            span: Mutex::default(),
            oldest: AtomicU64::new(Span::default().oldest()),
        }
    }
}

impl Numbers {
    fn settle(&self, sequence: u64) {
        let mut span = self.span.lock();
        span.settle(sequence);
        self.oldest.store(span.oldest(), Ordering::Release);
    }
}

/// A message's place in a budget.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    bytes: usize,
    term: usize,
    /// Its number; 0 when it has none.
    sequence: u64,
}

impl Budget {
    /// An idempotent producer's messages get numbers.
    pub(super) fn new(limit_bytes: usize, is_idempotent: bool) -> Self {
        Self {
            limit_bytes: limit_bytes.min(MAX_LIMIT_BYTES),
            term: AtomicUsize::new(0),
            terms: Default::default(),
            waiting: AtomicUsize::new(0),
            room: Notify::new(),
            empty: Notify::new(),
            flushing: tokio::sync::Mutex::new(()),
            numbers: is_idempotent.then(Numbers::default),
        }
    }

    fn term(&self, term: usize) -> &Term {
        let [first, second] = &self.terms;
        if term == 0 { first } else { second }
    }

    fn on_their_way(&self) -> usize {
        self.terms.iter().map(|term| bytes_in(term.load())).sum()
    }

    /// Bytes on their way, and the limit.
    pub(super) fn bytes(&self) -> (usize, usize) {
        (self.on_their_way(), self.limit_bytes)
    }

    pub(super) fn has_room(&self) -> bool {
        self.on_their_way() < self.limit_bytes && self.lacks_numbers().is_none()
    }

    /// How many messages there may be from the oldest on that is on its way, when there are that many.
    pub(super) fn lacks_numbers(&self) -> Option<usize> {
        let numbers = self.numbers.as_ref()?;
        (!numbers.span.lock().has_room()).then_some(MAX_SPAN)
    }

    /// The number of a message, as it is to be sent now.
    pub(super) fn number(&self, share: Share) -> Option<SendNumber> {
        let numbers = self.numbers.as_ref().filter(|_| share.sequence > 0)?;
        Some(SendNumber {
            producer_id: numbers.producer_id,
            sequence: share.sequence,
            settled_below: numbers.oldest.load(Ordering::Acquire),
        })
    }

    /// Takes a share, whether there is room or not: the caller has looked.
    pub(super) fn take(&self, bytes: usize) -> Share {
        let numbers = self.numbers.as_ref();
        Share {
            sequence: numbers.map_or(0, |numbers| numbers.span.lock().take()),
            ..self.take_unnumbered(bytes)
        }
    }

    /// The same for what is sent without a number whatever the producer: one that it had would hold up those behind it.
    pub(super) fn take_unnumbered(&self, bytes: usize) -> Share {
        let term = self.term.load(Ordering::Acquire);
        self.term(term).0.fetch_add(packed(bytes), Ordering::SeqCst);
        Share {
            bytes,
            term,
            sequence: 0,
        }
    }

    pub(super) fn give_back(&self, share: Share) {
        if let Some(numbers) = self.numbers.as_ref().filter(|_| share.sequence > 0) {
            numbers.settle(share.sequence);
        }
        let own = self.term(share.term);
        let before = own.0.fetch_sub(packed(share.bytes), Ordering::SeqCst);
        // Whoever begins to wait after this look sees what was given back before it.
        if self.waiting.load(Ordering::SeqCst) > 0 && self.has_room() {
            self.room.notify_waiters();
        }
        if messages_in(before) == 1 {
            self.empty.notify_waiters();
        }
    }

    /// Waits until there is room.
    pub(super) async fn room(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
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
            if messages_in(self.term(term).load()) == 0 {
                return;
            }
            empty.await;
        }
    }
}

/// One who waits for room.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
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
        let budget = Budget::new(100, false);
        let before = budget.take(10);
        let pushed = Cell::new(0);
        let mut flush = Box::pin(budget.flush(|| pushed.set(pushed.get() + 1)));
        assert!(timeout(Duration::from_secs(1), &mut flush).await.is_err());
        let _after = budget.take(10);
        budget.give_back(before);
        timeout(Duration::from_secs(1), flush).await.unwrap();
        assert!(pushed.get() >= 2);
        // The next one has the later message to wait for.
        let next = timeout(Duration::from_secs(1), budget.flush(|| {}));
        assert!(next.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_that_was_dropped_half_way_hides_nothing_from_the_next() {
        let budget = Budget::new(100, false);
        let share = budget.take(10);
        for _ in 0..3 {
            let flush = timeout(Duration::from_secs(1), budget.flush(|| {}));
            assert!(flush.await.is_err());
        }
        budget.give_back(share);
        let flush = timeout(Duration::from_secs(1), budget.flush(|| {}));
        flush.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn room_comes_when_bytes_are_given_back() {
        let budget = Budget::new(100, false);
        let large = budget.take(150);
        assert!(!budget.has_room());
        let room = timeout(Duration::from_secs(1), budget.room());
        assert!(room.await.is_err());
        let mut room = Box::pin(budget.room());
        let early = timeout(Duration::from_secs(1), &mut room);
        assert!(early.await.is_err());
        budget.give_back(large);
        room.await;
        assert_eq!(budget.bytes(), (0, 100));
    }

    #[test]
    fn room_that_two_give_back_at_once_in_both_terms_wakes_those_who_wait() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            for _ in 0..2000 {
                let budget = std::sync::Arc::new(Budget::new(100, false));
                let first = budget.take(60);
                budget.term.fetch_xor(1, Ordering::SeqCst);
                let second = budget.take(60);
                let [mut room, one, other] = [None, Some(first), Some(second)].map(|share| {
                    let budget = budget.clone();
                    tokio::spawn(async move {
                        match share {
                            Some(share) => budget.give_back(share),
                            None => budget.room().await,
                        }
                    })
                });
                one.await.unwrap();
                other.await.unwrap();
                let woken = timeout(Duration::from_secs(10), &mut room).await;
                woken.expect("there is room").unwrap();
            }
        });
    }

    #[test]
    fn a_message_of_two_gibibytes_is_still_counted_right() {
        let budget = Budget::new(usize::MAX, false);
        let shares: Vec<_> = (0..3).map(|_| budget.take(1 << 31)).collect();
        assert_eq!(budget.bytes(), (3 << 31, MAX_LIMIT_BYTES));
        for share in shares {
            budget.give_back(share);
        }
        assert_eq!(budget.bytes().0, 0);
    }
}
