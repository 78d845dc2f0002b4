//! What is known of half messages that are not over, in the order in which they were stored.

use std::collections::{BTreeMap, VecDeque};

use castmq_protocol::model::{PhysicalOffset, QueueOffset};

use super::Half;

/// Fewer entries that are over than this are not worth looking for.
const MIN_SWEPT: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Its message lies here, and it is not marked.
    Committed(PhysicalOffset),
    Over,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    half: Half,
    state: State,
}

/// What became true with the records of a stretch of the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    /// Behind the stretch.
    pub(super) end: PhysicalOffset,
    /// Everything before is over.
    pub(super) floor: QueueOffset,
    /// The first message whose half message was marked in the stretch, if it was committed.
    committed_from: Option<PhysicalOffset>,
}

/// Half messages that are open, or committed and not marked.
///
/// They stand in the order of the half topic, which is that of the log, so that one is found by either place without a
/// table of its own. What is over stays among them until enough is.
#[derive(Debug, Default)]
pub(super) struct Notes {
    entries: VecDeque<Entry>,
    over: usize,
    unmarked: usize,
    /// Behind the last half message that was met.
    end: QueueOffset,
    /// Oldest first.
    pub(super) unsaved: VecDeque<Change>,
    last_floor: QueueOffset,
    committed_from: Option<PhysicalOffset>,
    /// How often the producers of open ones were asked, where they were.
    asked: BTreeMap<QueueOffset, u32>,
    pub(super) has_unsaved_questions: bool,
}

impl Notes {
    /// Begins with everything before `floor` over.
    pub(super) fn starting_at(floor: QueueOffset) -> Self {
        Self {
            end: floor,
            last_floor: floor,
            ..Self::default()
        }
    }

    /// Everything before is settled and marked.
    pub(super) fn floor(&self) -> QueueOffset {
        self.entries
            .front()
            .map_or(self.end, |entry| entry.half.offset)
    }

    /// Where the first lies that is not over.
    pub(super) fn first_place(&self) -> Option<PhysicalOffset> {
        self.entries.front().map(|entry| entry.half.physical)
    }

    pub(super) fn open(&self) -> usize {
        self.entries.len() - self.over - self.unmarked
    }

    fn index_of(&self, offset: QueueOffset) -> Result<usize, usize> {
        // Among the last none is missing, as long as nothing was swept out of them.
        let from_back = self.end.0.wrapping_sub(offset.0);
        let guess = usize::try_from(from_back).ok();
        let guess = guess.and_then(|back| self.entries.len().checked_sub(back));
        let is_it = |index: &usize| {
            let entry = self.entries.get(*index);
            entry.is_some_and(|entry| entry.half.offset == offset)
        };
        match guess.filter(is_it) {
            Some(index) => Ok(index),
            None => self
                .entries
                .binary_search_by_key(&offset, |entry| entry.half.offset),
        }
    }

    fn get(&self, offset: QueueOffset) -> Option<&Entry> {
        self.entries.get(self.index_of(offset).ok()?)
    }

    pub(super) fn find(&self, offset: QueueOffset) -> Option<Half> {
        let entry = self.get(offset)?;
        (entry.state == State::Open).then_some(entry.half)
    }

    /// How often the producers of one were asked.
    pub(super) fn asked(&self, offset: QueueOffset) -> u32 {
        self.asked.get(&offset).copied().unwrap_or_default()
    }

    pub(super) fn ask(&mut self, offset: QueueOffset) -> u32 {
        let asked = self.asked.entry(offset).or_default();
        *asked = asked.saturating_add(1);
        self.has_unsaved_questions = true;
        *asked
    }

    /// Forgets how often the producers of one were asked.
    pub(super) fn ask_anew(&mut self, offset: QueueOffset) {
        if self.asked.remove(&offset).is_some() {
            self.has_unsaved_questions = true;
        }
    }

    /// Takes up how often producers were asked before a stop, about those that are open or may be met again.
    pub(super) fn take_up(&mut self, asked: impl IntoIterator<Item = (QueueOffset, u32)>) {
        for (offset, count) in asked {
            if offset >= self.end || self.find(offset).is_some() {
                self.asked.insert(offset, count);
            }
        }
    }

    /// How often the producers of open ones were asked, oldest first.
    pub(super) fn questions(&self) -> impl Iterator<Item = (QueueOffset, u32)> + '_ {
        let asked = self.asked.iter().map(|(offset, count)| (*offset, *count));
        asked.filter(|(offset, _)| self.find(*offset).is_some())
    }

    pub(super) fn all_open_from(&self, from: QueueOffset) -> impl Iterator<Item = Half> + '_ {
        let first = self.index_of(from).unwrap_or_else(|index| index);
        let entries = self.entries.range(first..);
        let open = entries.filter(|entry| entry.state == State::Open);
        open.map(|entry| entry.half)
    }

    /// Those that are committed without a mark, and where their messages lie.
    pub(super) fn all_unmarked(&self) -> impl Iterator<Item = (QueueOffset, PhysicalOffset)> + '_ {
        let some = match self.unmarked {
            0 => self.entries.range(..0),
            _ => self.entries.range(..),
        };
        some.filter_map(|entry| match entry.state {
            State::Committed(at) => Some((entry.half.offset, at)),
            State::Open | State::Over => None,
        })
    }

    /// A half message was stored. It may have been met before, when the log is read again.
    pub(super) fn add(&mut self, half: Half) {
        self.end = self.end.max(half.offset + 1);
        let entry = Entry {
            half,
            state: State::Open,
        };
        let is_next = self
            .entries
            .back()
            .is_none_or(|last| last.half.offset < half.offset);
        if is_next {
            self.entries.push_back(entry);
            return;
        }
        match self.index_of(half.offset) {
            Ok(index) => {
                self.set(index, State::Open);
                self.entries[index] = entry;
            }
            Err(index) => self.entries.insert(index, entry),
        }
    }

    /// The message of the half message at this place was stored at `at`.
    pub(super) fn committed(&mut self, place: PhysicalOffset, at: PhysicalOffset) {
        let entries = &self.entries;
        if let Ok(index) = entries.binary_search_by_key(&place, |entry| entry.half.physical)
            && entries[index].state == State::Open
        {
            self.set(index, State::Committed(at));
        }
    }

    pub(super) fn marked(&mut self, offset: QueueOffset) {
        let Ok(index) = self.index_of(offset) else {
            return;
        };
        if let State::Committed(at) = self.entries[index].state {
            let first = self.committed_from.unwrap_or(at);
            self.committed_from = Some(first.min(at));
        }
        self.set(index, State::Over);
        self.sweep();
    }

    /// All before this one are over.
    pub(super) fn over_before(&mut self, floor: QueueOffset) {
        let count = self.index_of(floor).unwrap_or_else(|index| index);
        (0..count).for_each(|index| self.set(index, State::Over));
        self.sweep();
    }

    fn set(&mut self, index: usize, state: State) {
        let entry = &mut self.entries[index];
        if state != State::Open && !self.asked.is_empty() {
            self.asked.remove(&entry.half.offset);
        }
        let before = std::mem::replace(&mut entry.state, state);
        for (state, is_more) in [(before, false), (state, true)] {
            let count = match state {
                State::Open => continue,
                State::Committed(_) => &mut self.unmarked,
                State::Over => &mut self.over,
            };
            *count = if is_more { *count + 1 } else { *count - 1 };
        }
    }

    fn sweep(&mut self) {
        let is_over = |entry: &mut Entry| entry.state == State::Over;
        while self.entries.pop_front_if(is_over).is_some() {
            self.over -= 1;
        }
        if self.over > MIN_SWEPT && self.over > self.entries.len() / 2 {
            self.entries.retain(|entry| entry.state != State::Over);
            self.over = 0;
        }
    }

    /// All that was noted lies below `end`.
    pub(super) fn noted(&mut self, end: PhysicalOffset) {
        let floor = self.floor();
        let committed_from = self.committed_from.take();
        if floor != self.last_floor || committed_from.is_some() {
            self.last_floor = floor;
            self.unsaved.push_back(Change {
                end,
                floor,
                committed_from,
            });
        }
    }

    /// From where on recovery has to read the log again, when everything below `durable` survives: a message whose half
    /// message is not marked, or whose mark may be lost, would be taken for one that is not committed.
    pub(super) fn needed_from(&self, durable: PhysicalOffset) -> Option<PhysicalOffset> {
        let unmarked = self.all_unmarked().map(|(_, at)| at);
        let late = self.unsaved.iter().filter(|change| change.end > durable);
        unmarked
            .chain(late.filter_map(|change| change.committed_from))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn half(offset: u64) -> Half {
        Half {
            offset: QueueOffset(offset),
            physical: PhysicalOffset(offset * 100),
            stored_ms: offset as i64,
        }
    }

    #[test]
    fn everything_before_the_first_that_is_open_or_unmarked_is_over() {
        let mut notes = Notes::default();
        (0..4).for_each(|offset| notes.add(half(offset)));
        notes.marked(QueueOffset(0));
        notes.committed(PhysicalOffset(100), PhysicalOffset(5000));
        notes.marked(QueueOffset(3));
        assert_eq!(notes.open(), 1);
        let unmarked: Vec<_> = notes.all_unmarked().collect();
        assert_eq!(unmarked, [(QueueOffset(1), PhysicalOffset(5000))]);
        assert_eq!(notes.floor(), QueueOffset(1));
        notes.marked(QueueOffset(1));
        assert_eq!(notes.floor(), QueueOffset(2));
        notes.marked(QueueOffset(2));
        assert_eq!(notes.floor(), QueueOffset(4));
        assert_eq!(notes.find(QueueOffset(2)), None);
    }

    #[test]
    fn recovery_reads_committed_messages_again_until_their_marks_are_durable() {
        let mut notes = Notes::default();
        notes.add(half(0));
        notes.noted(PhysicalOffset(100));
        notes.committed(PhysicalOffset(0), PhysicalOffset(100));
        notes.noted(PhysicalOffset(200));
        assert_eq!(
            notes.needed_from(PhysicalOffset(200)),
            Some(PhysicalOffset(100))
        );
        notes.marked(QueueOffset(0));
        notes.noted(PhysicalOffset(300));
        assert_eq!(
            notes.needed_from(PhysicalOffset(299)),
            Some(PhysicalOffset(100))
        );
        assert_eq!(notes.needed_from(PhysicalOffset(300)), None);
    }

    #[test]
    fn what_another_broker_is_done_with_is_over_without_a_mark() {
        let mut notes = Notes::default();
        (0..4).for_each(|offset| notes.add(half(offset)));
        notes.committed(PhysicalOffset(100), PhysicalOffset(5000));
        notes.over_before(QueueOffset(2));
        assert_eq!((notes.floor(), notes.open()), (QueueOffset(2), 2));
        assert_eq!(notes.all_unmarked().count(), 0);
        notes.over_before(QueueOffset(9));
        assert_eq!((notes.floor(), notes.open()), (QueueOffset(4), 0));
    }

    #[test]
    fn questions_are_counted_while_a_half_message_is_open() {
        let mut notes = Notes::default();
        (0..3).for_each(|offset| notes.add(half(offset)));
        assert_eq!(notes.asked(QueueOffset(1)), 0);
        assert_eq!(
            [1, 1, 0].map(|offset| notes.ask(QueueOffset(offset))),
            [1, 2, 1]
        );
        notes.marked(QueueOffset(0));
        assert_eq!(notes.questions().collect::<Vec<_>>(), [(QueueOffset(1), 2)]);
        let mut again = Notes::default();
        (0..3).for_each(|offset| again.add(half(offset)));
        again.marked(QueueOffset(2));
        again.take_up([0, 2, 3].map(|offset| (QueueOffset(offset), 5)));
        let asked = [0, 1, 2, 3].map(|offset| again.asked(QueueOffset(offset)));
        assert_eq!(asked, [5, 0, 0, 5], "3 comes when the log is read again");
        again.has_unsaved_questions = false;
        again.ask_anew(QueueOffset(1));
        assert!(!again.has_unsaved_questions, "nobody was asked about it");
        again.ask_anew(QueueOffset(0));
        assert_eq!(again.asked(QueueOffset(0)), 0);
        assert!(again.has_unsaved_questions);
    }

    #[derive(Debug, Clone)]
    enum Event {
        Stored,
        Committed(u64),
        Marked(u64),
        ReadAgain(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => Just(Event::Stored),
            3 => (0..300_u64).prop_map(Event::Committed),
            5 => (0..300_u64).prop_map(Event::Marked),
            1 => (0..300_u64).prop_map(Event::ReadAgain),
        ]
    }

    proptest! {
        #[test]
        fn they_agree_with_a_plain_map(events in prop::collection::vec(event(), 0..1000)) {
            let mut notes = Notes::default();
            // Whether each that is not over is committed.
            let mut model = BTreeMap::new();
            let mut next = 0;
            for event in events {
                match event {
                    Event::Stored => {
                        notes.add(half(next));
                        model.insert(next, false);
                        next += 1;
                    }
                    Event::Committed(offset) => {
                        notes.committed(half(offset).physical, PhysicalOffset(1_000_000 + offset));
                        model.entry(offset).and_modify(|is_committed| *is_committed = true);
                    }
                    Event::Marked(offset) => {
                        notes.marked(QueueOffset(offset));
                        model.remove(&offset);
                    }
                    Event::ReadAgain(offset) if offset < next => {
                        notes.add(half(offset));
                        model.insert(offset, false);
                    }
                    Event::ReadAgain(_) => {}
                }
                let open = model.iter().filter(|(_, is_committed)| !**is_committed);
                let open: Vec<_> = open.map(|(offset, _)| half(*offset)).collect();
                prop_assert_eq!(notes.open(), open.len());
                prop_assert_eq!(notes.all_open_from(QueueOffset::ZERO).collect::<Vec<_>>(), open);
                prop_assert_eq!(notes.all_unmarked().count(), model.len() - notes.open());
                let floor = model.keys().next().copied().unwrap_or(next);
                prop_assert_eq!(notes.floor(), QueueOffset(floor));
            }
        }
    }
}
