//! The ring's head: which chunks its slots hold, and their seals.
//!
//! Words of 8 bytes, little endian. It is changed in place, through a mapping: what a process wrote to it before it was
//! killed is there. A seal has two places that take turns, so that the last but one is whole while the last is written.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;

use super::Seal;
use crate::disk::region::SharedWords;

/// Bytes before the first slot.
pub(super) const HEAD_BYTES: usize = 64 * 1024;

const MAGIC: u64 = u64::from_le_bytes(*b"CMQRING1");

/// The position of a slot that holds nothing.
const NOTHING: u64 = u64::MAX;

const MAGIC_AT: usize = 0;
const CHUNK_BYTES_AT: usize = 1;
const FIRST_SLOT_AT: usize = 8;

/// Words of a slot.
mod slot_at {
    pub(super) const POSITION: usize = 0;
    pub(super) const BEGIN: usize = 1;
    pub(super) const FIRST_SEAL: usize = 2;
    pub(super) const SECOND_SEAL: usize = 4;
    pub(super) const WORDS: usize = 8;
}

/// Slots that the head has room for.
pub(super) const MOST_SLOTS: usize =
    (HEAD_BYTES / size_of::<u64>() - FIRST_SLOT_AT) / slot_at::WORDS;

/// The head of a ring that is in use.
#[derive(Debug)]
pub(super) struct Head {
    words: SharedWords,
}

impl Head {
    pub(super) fn create(file: &File, chunk_bytes: usize) -> io::Result<Self> {
        let head = Self {
            words: SharedWords::map(file, HEAD_BYTES)?,
        };
        for slot in 0..MOST_SLOTS {
            head.clear_slot(slot);
        }
        head.set(CHUNK_BYTES_AT, chunk_bytes as u64);
        head.set(MAGIC_AT, MAGIC);
        Ok(head)
    }

    fn set(&self, word: usize, value: u64) {
        self.words.get(word).store(value.to_le(), Ordering::Release);
    }

    fn get(&self, word: usize) -> u64 {
        u64::from_le(self.words.get(word).load(Ordering::Acquire))
    }

    pub(super) fn clear_slot(&self, slot: usize) {
        self.set(word_of(slot, slot_at::POSITION), NOTHING);
        self.set(word_of(slot, slot_at::FIRST_SEAL), 0);
        self.set(word_of(slot, slot_at::SECOND_SEAL), 0);
    }

    /// Says what chunk a slot holds that held nothing.
    pub(super) fn set_slot(&self, slot: usize, position: u64) {
        self.set(word_of(slot, slot_at::POSITION), position);
    }

    #[inline]
    pub(super) fn set_seal(&self, slot: usize, seal: &Seal) {
        let (first, second) = (
            word_of(slot, slot_at::FIRST_SEAL),
            word_of(slot, slot_at::SECOND_SEAL),
        );
        let (older, newer) = match self.get(first) <= self.get(second) {
            true => (first, second),
            false => (second, first),
        };
        // One that reaches farther is of something that was never published.
        let place = match self.get(newer) > seal.end {
            true => newer,
            false => older,
        };
        self.set(word_of(slot, slot_at::BEGIN), seal.begin);
        self.set(place + 1, seal.sum);
        self.set(place, seal.end);
    }

    /// The newest seal of a slot.
    pub(super) fn seal(&self, slot: usize) -> Option<Seal> {
        let words = |at| self.get(word_of(slot, at));
        let seals = seals_of(words);
        seals
            .into_iter()
            .max_by_key(|seal| seal.end)
            .filter(|seal| seal.end > 0)
    }
}

fn word_of(slot: usize, word: usize) -> usize {
    FIRST_SLOT_AT + slot * slot_at::WORDS + word
}

fn seals_of(word: impl Fn(usize) -> u64) -> [Seal; 2] {
    [slot_at::FIRST_SEAL, slot_at::SECOND_SEAL].map(|at| Seal {
        begin: word(slot_at::BEGIN),
        end: word(at),
        sum: word(at + 1),
    })
}

/// A slot of a ring that was left behind.
#[derive(Debug, Clone, Copy)]
pub struct LeftSlot {
    /// Its number.
    pub slot: usize,
    /// The place of its chunk in the log.
    pub position: u64,
    /// Its seals, the one with more first. One of them may be half written, and each may be missing (`end` 0).
    pub seals: [Seal; 2],
}

/// What a head says: the size of a chunk, and the slots that hold one; `None` when it is none, or was never finished.
pub(super) fn read(bytes: &[u8]) -> Option<(usize, Vec<LeftSlot>)> {
    let word = |at: usize| {
        let start = at * size_of::<u64>();
        Some(u64::from_le_bytes(*bytes.get(start..)?.first_chunk()?))
    };
    if bytes.len() < HEAD_BYTES || word(MAGIC_AT)? != MAGIC {
        return None;
    }
    let chunk_bytes = usize::try_from(word(CHUNK_BYTES_AT)?).ok()?;
    let slots = (0..MOST_SLOTS).filter_map(|slot| {
        let of_slot = |at| word(word_of(slot, at)).unwrap_or_default();
        let position = of_slot(slot_at::POSITION);
        let mut seals = seals_of(of_slot);
        seals.sort_by_key(|seal| std::cmp::Reverse(seal.end));
        (position != NOTHING).then_some(LeftSlot {
            slot,
            position,
            seals,
        })
    });
    Some((chunk_bytes, slots.collect()))
}
