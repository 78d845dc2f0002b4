//! The bytes of one file as sparse pages, and the three places they are in: memory, the kernel's belief, the device.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// Unit in which bytes reach the device.
pub(super) const PAGE_BYTES: usize = 4096;
/// Unit that the device writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

type Page = [u8; PAGE_BYTES];

/// Pseudo-random numbers that only depend on the seed (SplitMix64).
#[derive(Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn coin(&mut self) -> bool {
        self.roll() & 1 == 1
    }
}

/// A sparse file. Pages that are not there read as zeros.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    pub(super) bytes: u64,
    pages: BTreeMap<u64, Arc<Page>>,
}

impl Image {
    pub(super) fn of_zeros(bytes: u64) -> Self {
        Self {
            bytes,
            pages: BTreeMap::new(),
        }
    }

    pub(super) fn page_count(&self) -> u64 {
        self.pages.len() as u64
    }

    pub(super) fn has_page(&self, page: u64) -> bool {
        self.pages.contains_key(&page)
    }

    pub(super) fn read(&self, buffer: &mut [u8], at: u64) -> usize {
        let wanted = self.bytes.saturating_sub(at).min(buffer.len() as u64) as usize;
        for (page, within, done) in pieces(at, wanted) {
            let into = &mut buffer[done..done + within.len()];
            match self.pages.get(&page) {
                Some(bytes) => into.copy_from_slice(&bytes[within]),
                None => into.fill(0),
            }
        }
        wanted
    }

    pub(super) fn write(&mut self, bytes: &[u8], at: u64) {
        for (page, within, done) in pieces(at, bytes.len()) {
            let new = &bytes[done..done + within.len()];
            let old = self
                .pages
                .entry(page)
                .or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            // Equal bytes do not dirty the page, which keeps pages shared between images recognizable by address.
            if old[within.clone()] != *new {
                Arc::make_mut(old)[within].copy_from_slice(new);
            }
        }
        self.bytes = self.bytes.max(at + bytes.len() as u64);
    }

    /// Zeroes everything from `at` on; the length stays.
    pub(super) fn zero_from(&mut self, at: u64) {
        let first_whole = at.div_ceil(PAGE_BYTES as u64);
        self.pages.retain(|page, _| *page < first_whole);
        if let Some(page) = self.pages.get_mut(&(at / PAGE_BYTES as u64)) {
            Arc::make_mut(page)[(at % PAGE_BYTES as u64) as usize..].fill(0);
        }
    }

    /// One past the last page that holds anything but zeros, in bytes.
    pub(super) fn data_end(&self) -> u64 {
        let used = |page: &&Arc<Page>| page.iter().any(|byte| *byte != 0);
        let last = self.pages.iter().rev().find(|(_, page)| used(page));
        last.map_or(0, |(page, _)| {
            ((page + 1) * PAGE_BYTES as u64).min(self.bytes)
        })
    }

    /// The next stretch of whole pages from `at` on that were ever written.
    pub(super) fn next_data(&self, at: u64) -> Option<Range<u64>> {
        let page_bytes = PAGE_BYTES as u64;
        let (first, _) = self.pages.range(at / page_bytes..).next()?;
        let mut end = first + 1;
        while self.pages.contains_key(&end) {
            end += 1;
        }
        let data = at.max(first * page_bytes)..(end * page_bytes).min(self.bytes);
        (!data.is_empty()).then_some(data)
    }

    fn page(&self, page: u64) -> Option<&Arc<Page>> {
        self.pages.get(&page)
    }

    fn set_page(&mut self, page: u64, content: Option<Arc<Page>>) {
        match content {
            Some(content) => self.pages.insert(page, content),
            None => self.pages.remove(&page),
        };
    }
}

/// Splits a range of a file at page borders: page number, range within the page, bytes before it.
fn pieces(at: u64, bytes: usize) -> impl Iterator<Item = (u64, Range<usize>, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= bytes {
            return None;
        }
        let position = at + done as u64;
        let start = (position % PAGE_BYTES as u64) as usize;
        let length = (PAGE_BYTES - start).min(bytes - done);
        let piece = (position / PAGE_BYTES as u64, start..start + length, done);
        done += length;
        Some(piece)
    })
}

/// Where the bytes of one file are.
#[derive(Debug, Clone, Default)]
pub(super) struct Images {
    /// What a reader sees: the page cache.
    pub(super) memory: Image,
    /// What the kernel believes to be on the device. Differs from `device` after a sync that failed: Linux marks the
    /// pages clean all the same and never writes them again.
    believed: Image,
    /// What a power cut leaves for certain.
    device: Image,
}

impl Images {
    /// A file just made: its length, too, is durable only after a sync.
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            memory: Image::of_zeros(bytes),
            ..Self::default()
        }
    }

    fn everywhere(image: Image) -> Self {
        Self {
            memory: image.clone(),
            believed: image.clone(),
            device: image,
        }
    }

    /// Brings a range to the device, whole pages of it; with `works` false only the kernel believes so.
    pub(super) fn sync(&mut self, range: Range<u64>, works: bool) {
        for page in self.dirty_pages() {
            let start = page * PAGE_BYTES as u64;
            if start >= range.end || start + PAGE_BYTES as u64 <= range.start {
                continue;
            }
            let content = self.memory.page(page).cloned();
            if works {
                self.device.set_page(page, content.clone());
            }
            self.believed.set_page(page, content);
        }
        self.believed.bytes = self.memory.bytes;
        if works {
            self.device.bytes = self.memory.bytes;
        }
    }

    fn dirty_pages(&self) -> Vec<u64> {
        let pages: BTreeSet<u64> = self
            .memory
            .pages
            .keys()
            .chain(self.believed.pages.keys())
            .copied()
            .collect();
        let differs = |page: &u64| match (self.memory.page(*page), self.believed.page(*page)) {
            (Some(a), Some(b)) => !Arc::ptr_eq(a, b) && a != b,
            (Some(page), None) | (None, Some(page)) => page.iter().any(|byte| *byte != 0),
            (None, None) => false,
        };
        pages.into_iter().filter(differs).collect()
    }

    /// What a power cut leaves: the device's bytes, and of each page that was not synced nothing, all, or some sectors.
    pub(super) fn after_power_cut(&self, dice: &mut Dice) -> Self {
        let mut left = self.device.clone();
        if self.memory.bytes != left.bytes && dice.coin() {
            left.bytes = self.memory.bytes;
        }
        for page in self.dirty_pages() {
            match dice.roll() % 4 {
                0 | 1 => {}
                2 => left.set_page(page, self.memory.page(page).cloned()),
                _ => self.tear(page, &mut left, dice),
            }
        }
        let length = left.bytes;
        left.zero_from(length);
        Self::everywhere(left)
    }

    fn tear(&self, page: u64, left: &mut Image, dice: &mut Dice) {
        let at = page * PAGE_BYTES as u64;
        let length = left.bytes;
        for sector in (0..PAGE_BYTES).step_by(SECTOR_BYTES) {
            if dice.coin() {
                let from = &self.memory.page(page);
                let bytes = from.map_or(&[0; SECTOR_BYTES][..], |page| {
                    &page[sector..sector + SECTOR_BYTES]
                });
                left.write(bytes, at + sector as u64);
            }
        }
        left.bytes = length;
    }

    /// Changes one bit everywhere, as a bad device does.
    pub(super) fn flip_bit(&mut self, byte: u64, bit: u8) {
        for image in [&mut self.memory, &mut self.believed, &mut self.device] {
            let mut value = [0];
            if image.read(&mut value, byte) == 1 {
                image.write(&[value[0] ^ (1 << (bit % 8))], byte);
            }
        }
    }
}
