//! Gathering the messages of one queue into batches. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// When a batch is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Messages in one batch, at most.
    pub(super) messages: usize,
    /// Bytes in one batch, at most; a longer message goes alone.
    pub(super) bytes: usize,
    /// How long a message waits for company, at most.
    pub(super) linger: Duration,
}

/// What all messages of a batch have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// How bodies are compressed.
    pub(super) system_flag: i32,
    /// Whether the answer waits for flush and replicas.
    pub(super) no_wait: bool,
}

/// The batch of one queue that is being filled.
#[derive(Debug)]
pub(super) struct Batcher<T> {
    kind: Option<Kind>,
    items: Vec<T>,
    bytes: usize,
    due: Option<Instant>,
}

impl<T> Default for Batcher<T> {
    fn default() -> Self {
        Self {
            kind: None,
            items: Vec::new(),
            bytes: 0,
            due: None,
        }
    }
}

impl<T> Batcher<T> {
    /// Adds a message. Batches that are complete by that go to `emit`, in order.
    pub(super) fn push(
        &mut self,
        limits: &Limits,
        kind: Kind,
        item: T,
        bytes: usize,
        now: Instant,
        mut emit: impl FnMut(Vec<T>),
    ) {
        if self.kind != Some(kind) || self.bytes + bytes > limits.bytes {
            self.flush(&mut emit);
        }
        if self.items.is_empty() {
            self.kind = Some(kind);
            self.due = Some(now + limits.linger);
        }
        self.items.push(item);
        self.bytes += bytes;
        if self.items.len() >= limits.messages || self.bytes >= limits.bytes {
            self.flush(&mut emit);
        }
    }

    /// Completes the batch as it is.
    pub(super) fn flush(&mut self, mut emit: impl FnMut(Vec<T>)) {
        self.bytes = 0;
        self.due = None;
        if !self.items.is_empty() {
            emit(std::mem::take(&mut self.items));
        }
    }

    /// When the batch has to go, full or not. `None` when it is empty.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Kind = Kind {
        system_flag: 0,
        no_wait: false,
    };

    fn limits(messages: usize, bytes: usize) -> Limits {
        Limits {
            messages,
            bytes,
            linger: Duration::from_millis(5),
        }
    }

    #[test]
    fn a_batch_goes_when_it_is_full_by_count_or_bytes() {
        let now = Instant::now();
        let mut batcher = Batcher::default();
        let mut out = Vec::new();
        for item in 0..3 {
            batcher.push(&limits(3, 100), PLAIN, item, 1, now, |batch| {
                out.push(batch)
            });
        }
        batcher.push(&limits(3, 100), PLAIN, 3, 60, now, |batch| out.push(batch));
        batcher.push(&limits(3, 100), PLAIN, 4, 60, now, |batch| out.push(batch));
        batcher.push(&limits(3, 100), PLAIN, 5, 200, now, |batch| out.push(batch));
        assert_eq!(out, [vec![0, 1, 2], vec![3], vec![4], vec![5]]);
        assert_eq!(batcher.due(), None);
    }

    #[test]
    fn the_first_message_sets_the_time_and_another_kind_ends_the_batch() {
        let now = Instant::now();
        let mut batcher = Batcher::default();
        let mut out = Vec::new();
        batcher.push(&limits(9, 100), PLAIN, 1, 1, now, |batch| out.push(batch));
        let later = now + Duration::from_millis(3);
        batcher.push(&limits(9, 100), PLAIN, 2, 1, later, |batch| out.push(batch));
        assert_eq!(batcher.due(), Some(now + Duration::from_millis(5)));
        let compressed = Kind {
            system_flag: 1,
            ..PLAIN
        };
        batcher.push(&limits(9, 100), compressed, 3, 1, later, |batch| {
            out.push(batch)
        });
        assert_eq!(out, [vec![1, 2]]);
        assert_eq!(batcher.due(), Some(later + Duration::from_millis(5)));
        batcher.flush(|batch| out.push(batch));
        batcher.flush(|batch| out.push(batch));
        assert_eq!(out, [vec![1, 2], vec![3]]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_the_order_is_kept_and_no_batch_is_too_large_or_mixed(
            steps in prop::collection::vec((0_usize..120, 0_i32..2, 0_u8..10), 0..200),
            messages in 1_usize..20,
            bytes in 1_usize..300,
        ) {
            let now = Instant::now();
            let limits = limits(messages, bytes);
            let mut batcher = Batcher::default();
            let mut out = Vec::new();
            for (number, (length, system_flag, flush)) in steps.iter().enumerate() {
                let kind = Kind { system_flag: *system_flag, no_wait: false };
                batcher.push(&limits, kind, (number, *length, *system_flag), *length, now, |batch| out.push(batch));
                if *flush == 0 {
                    batcher.flush(|batch| out.push(batch));
                }
            }
            batcher.flush(|batch| out.push(batch));
            for batch in &out {
                prop_assert!(!batch.is_empty() && batch.len() <= messages);
                prop_assert!(batch.len() == 1 || batch.iter().map(|(_, length, _)| length).sum::<usize>() <= bytes);
                prop_assert!(batch.iter().all(|(_, _, flag)| *flag == batch[0].2));
            }
            let numbers: Vec<_> = out.iter().flatten().map(|(number, ..)| *number).collect();
            prop_assert_eq!(numbers, (0..steps.len()).collect::<Vec<_>>());
        }
    }
}
