//! What proves that the bytes of a chunk are those that were published.
//!
//! A ring goes round: behind the last byte that was written to a slot lie bytes of an earlier round, and after a power cut any
//! page of it may. Bodies have their own check sums. A seal has one of all that is not a body: of the end of a record that began
//! in an earlier chunk, and of the records that begin in this one, the last of which may end in a later chunk.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// The place in the log where the first record of the chunk begins, or would.
    pub begin: u64,
    /// The place behind the last of them.
    pub end: u64,
    /// The check sum.
    pub sum: u64,
}

impl Seal {
    /// Of a chunk to which only the end of an earlier record was written, in front of `begin`.
    pub fn of_end(end_of_record: &[u8], begin: u64) -> Self {
        Self {
            begin,
            end: begin,
            sum: xxh3_64_with_seed(end_of_record, 0),
        }
    }

    /// Takes in the next record, by what stands before and behind its body.
    #[inline]
    pub fn add(&mut self, before_body: &[u8], behind_body: &[u8], record_bytes: u64) {
        let sum = xxh3_64_with_seed(before_body, self.sum);
        self.sum = xxh3_64_with_seed(behind_body, sum);
        self.end += record_bytes;
    }
}
