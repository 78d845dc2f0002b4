//! When invisible times end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Stale ends that are not worth a round of cleaning.
const MIN_STALE: usize = 64;

/// Ends by time. An end whose message was settled or given a new end meanwhile is stale; it stays until its time comes
/// or until more than half of them are, so that settling costs nothing here.
#[derive(Debug, Default)]
pub(super) struct Ends(BinaryHeap<Reverse<(i64, u64)>>);

impl Ends {
    /// Adds the end of an offset's invisible time. `live`: how many ends are not stale; `is_live` tells which.
    pub(super) fn push(
        &mut self,
        end_ms: i64,
        offset: u64,
        live: usize,
        is_live: impl Fn(i64, u64) -> bool,
    ) {
        if self.0.len() > 2 * live + MIN_STALE {
            let mut ends = std::mem::take(&mut self.0).into_vec();
            ends.retain(|Reverse((end_ms, offset))| is_live(*end_ms, *offset));
            // A message whose end moved away and back within a millisecond is here twice.
            ends.sort_unstable();
            ends.dedup();
            self.0 = ends.into();
        }
        self.0.push(Reverse((end_ms, offset)));
    }

    /// Takes an end that has come at `time_ms`.
    pub(super) fn pop_passed(&mut self, time_ms: i64) -> Option<(i64, u64)> {
        let Reverse((end_ms, _)) = self.0.peek()?;
        if *end_ms > time_ms {
            return None;
        }
        self.0.pop().map(|Reverse(end)| end)
    }

    /// The earliest end that is not stale.
    pub(super) fn first(&mut self, is_live: impl Fn(i64, u64) -> bool) -> Option<i64> {
        while let Some(Reverse((end_ms, offset))) = self.0.peek() {
            if is_live(*end_ms, *offset) {
                return Some(*end_ms);
            }
            self.0.pop();
        }
        None
    }

    /// To be called when all ends are stale.
    pub(super) fn clear(&mut self) {
        self.0.clear();
        self.0.shrink_to(MIN_STALE);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
