//! How well sending, storing and receiving went for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use crate::account::{Account, Ended, Receipt, Told};

/// See the module.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) took: Duration,
    /// Sends that were answered as stored.
    pub(crate) stored: usize,
    /// The same by the set that has them.
    pub(crate) stored_by: BTreeMap<String, usize>,
    /// Of these, those that are less safe than the policy wants it.
    pub(crate) less: usize,
    pub(crate) failed: usize,
    /// Their errors, each kind once.
    pub(crate) errors: BTreeSet<String>,
    /// The longest time for which a producer got no answer that its message is stored.
    pub(crate) longest_without_send: Duration,
    pub(crate) received: usize,
    pub(crate) received_by: BTreeMap<String, usize>,
    pub(crate) redelivered: usize,
    /// The longest time for which the group was given nothing.
    pub(crate) longest_without_receipt: Duration,
}

impl Window {
    /// What happened from one moment to another, with so many producers.
    pub(crate) fn of(account: &Account, producers: u32, from: Instant, to: Instant) -> Self {
        let ended = account.ended(from, to);
        let receipts = account.receipts(from, to);
        let is_stored = |ended: &&Ended| ended.told.place().is_some();
        let gap_of = |producer| {
            let its = ended.iter().filter(is_stored);
            let its = its.filter(|ended| ended.id.producer == producer);
            longest_gap(from, its.map(|ended| ended.at), to)
        };
        let first = |receipt: &&Receipt| !receipt.is_again;
        Self {
            took: to - from,
            stored: ended.iter().filter(is_stored).count(),
            stored_by: by_set(ended.iter().filter_map(|ended| ended.told.place())),
            less: ended
                .iter()
                .filter(|ended| matches!(ended.told, Told::Less(..)))
                .count(),
            failed: ended.iter().filter(|ended| !is_stored(ended)).count(),
            errors: ended
                .iter()
                .filter_map(|ended| ended.told.error())
                .map(kind)
                .collect(),
            longest_without_send: (0..producers).map(gap_of).max().unwrap_or_default(),
            received: receipts.iter().filter(first).count(),
            received_by: by_set(receipts.iter().filter(first).map(|receipt| &receipt.place)),
            redelivered: receipts.iter().filter(|receipt| receipt.is_again).count(),
            longest_without_receipt: longest_gap(
                from,
                receipts.iter().map(|receipt| receipt.at),
                to,
            ),
        }
    }

    /// What a set stored meanwhile.
    pub(crate) fn stored_at(&self, set: &str) -> usize {
        self.stored_by.get(set).copied().unwrap_or_default()
    }

    pub(crate) fn received_from(&self, set: &str) -> usize {
        self.received_by.get(set).copied().unwrap_or_default()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  in {:.1} s", self.took.as_secs_f64())?;
        writeln!(
            f,
            "  sending:   {} stored, {} of them with fewer copies, {} failed; longest without an answer {} ms",
            self.stored,
            self.less,
            self.failed,
            self.longest_without_send.as_millis()
        )?;
        writeln!(f, "  storing:   {:?}", self.stored_by)?;
        write!(
            f,
            "  receiving: {} {:?}, {} again; longest without one {} ms",
            self.received,
            self.received_by,
            self.redelivered,
            self.longest_without_receipt.as_millis()
        )?;
        self.errors
            .iter()
            .try_for_each(|error| write!(f, "\n  error:     {error}"))
    }
}

fn by_set<'a>(places: impl Iterator<Item = &'a crate::account::Place>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (queue, _) in places {
        *counts.entry(queue.broker.to_string()).or_default() += 1;
    }
    counts
}

fn longest_gap(from: Instant, times: impl Iterator<Item = Instant>, to: Instant) -> Duration {
    let mut times: Vec<_> = times.chain([from, to]).collect();
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default()
}

/// An error without what differs from one message to the next.
fn kind(error: &str) -> String {
    let letters = error.chars().map(|letter| match letter.is_ascii_digit() {
        true => '#',
        false => letter,
    });
    let mut kind: String = letters.collect();
    while kind.contains("##") {
        kind = kind.replace("##", "#");
    }
    kind
}
