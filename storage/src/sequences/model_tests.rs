//! The table against one that keeps everything it was ever told, and reasons from that.

use std::collections::BTreeMap;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset};
use castmq_protocol::record::SendNumber;
use proptest::prelude::*;

use super::*;

const WIDTH: u64 = 8;
const EXPIRY_MS: i64 = 100;
const MAX_PRODUCERS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// A producer sends: how far from its newest, how many below it are not settled, and whether storing works.
    Send {
        id: u64,
        ahead: i64,
        open: u64,
        stores: bool,
    },
    Wait(i64),
    /// The end of the log is lost, so many sends of it.
    Cut(usize),
    /// A start, with what was durable: all but so many sends.
    Restart(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let send = (1_u64..6, -10_i64..4, 0_u64..12, prop::bool::weighted(0.9)).prop_map(
        |(id, ahead, open, stores)| Step::Send {
            id,
            ahead,
            open,
            stores,
        },
    );
    let step = prop_oneof![
        20 => send,
        2 => (0_i64..60).prop_map(Step::Wait),
        1 => (0_usize..4).prop_map(Step::Cut),
        1 => (0_usize..4).prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 0..200)
}

/// What a producer told and was told.
#[derive(Debug, Clone, Default)]
struct Known {
    stored: BTreeMap<u64, Place>,
    newest: u64,
    settled_below: u64,
    last_ms: i64,
}

impl Known {
    fn floor(&self) -> u64 {
        self.settled_below
            .max(self.newest.saturating_sub(WIDTH - 1))
    }
}

#[derive(Default)]
struct Naive {
    producers: BTreeMap<u64, Known>,
    log: Vec<StoredSend>,
}

impl Naive {
    fn look(&mut self, number: &SendNumber) -> Look {
        let Some(known) = self.producers.get_mut(&number.producer_id) else {
            return Look::New;
        };
        known.newest = known.newest.max(number.sequence);
        known.settled_below = known
            .settled_below
            .max(number.settled_below.min(number.sequence));
        match known.stored.get(&number.sequence) {
            _ if number.sequence < known.floor() => Look::Forgotten {
                floor: known.floor(),
            },
            Some(place) => Look::Stored(*place),
            None => Look::New,
        }
    }

    fn note(&mut self, send: StoredSend) {
        let known = self.producers.entry(send.number.producer_id).or_default();
        known.newest = known.newest.max(send.number.sequence);
        known.settled_below = known.settled_below.max(send.number.settled_below);
        known.stored.insert(send.number.sequence, send.place);
        known.last_ms = send.stored_ms;
        self.log.push(send);
    }

    fn end(&self) -> PhysicalOffset {
        PhysicalOffset(self.log.last().map_or(0, |send| send.place.physical.0 + 1))
    }

    /// Loses the end of the log.
    fn cut(&mut self, sends: usize) -> PhysicalOffset {
        let left = self.log.len().saturating_sub(sends);
        for send in self.log.drain(left..) {
            if let Some(known) = self.producers.get_mut(&send.number.producer_id) {
                known.stored.remove(&send.number.sequence);
            }
        }
        self.end()
    }
}

fn limits() -> ProducerLimits {
    ProducerLimits {
        max_producers: MAX_PRODUCERS,
        expiry_ms: EXPIRY_MS as u64,
        width: WIDTH,
        max_remembered: usize::MAX,
    }
}

/// A start: what was durable is saved, the rest is found in the log.
fn restart(table: &mut Table, naive: &Naive, unsaved: usize) -> Table {
    let saved = naive.log.len().saturating_sub(unsaved);
    let durable = PhysicalOffset(
        naive
            .log
            .get(saved)
            .map_or(u64::MAX, |s| s.place.physical.0),
    );
    let mut again = Table::new(limits());
    let windows = naive.producers.keys().filter_map(|id| {
        let value = table.encode(*id, durable)?;
        let (window, last_ms) = encoding::decode(&value).unwrap();
        Some((*id, window, last_ms))
    });
    again.restore(windows.collect());
    for send in &naive.log[saved..] {
        // What a producer stored before it was forgotten would only let more be forgotten.
        let known = naive.producers.get(&send.number.producer_id);
        let place = known.and_then(|known| known.stored.get(&send.number.sequence));
        if place == Some(&send.place) {
            again.note(send);
        }
    }
    again
}

/// Those that the table has forgotten had been idle; others it must know.
fn forget_idle(naive: &mut Naive, table: &Table, now_ms: i64) {
    let is_recent = |known: &Known| known.last_ms + EXPIRY_MS > now_ms;
    naive
        .producers
        .retain(|id, known| table.knows(*id) || is_recent(known));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_send_is_known_exactly_while_it_is_in_its_producers_window(steps in steps()) {
        let mut table = Table::new(limits());
        let mut naive = Naive::default();
        let (mut now_ms, mut place) = (1000, 0);
        for step in steps {
            match step {
                Step::Wait(ms) => now_ms += ms,
                Step::Cut(sends) => table.cut(naive.cut(sends)),
                Step::Restart(unsaved) => table = restart(&mut table, &naive, unsaved),
                Step::Send { id, ahead, open, stores } => {
                    let newest = naive.producers.get(&id).map_or(20, |known| known.newest);
                    let sequence = newest.saturating_add_signed(ahead).max(1);
                    let settled_below = sequence.saturating_sub(open);
                    let number = SendNumber { producer_id: id, sequence, settled_below };
                    let look = table.look(&number, now_ms);
                    if look == Look::TooManyProducers {
                        // Nobody is forgotten before its time.
                        let recent = naive.producers.values().filter(|known| known.last_ms + 2 * EXPIRY_MS > now_ms);
                        prop_assert_eq!(recent.count().min(MAX_PRODUCERS), MAX_PRODUCERS);
                        prop_assert!(!naive.producers.contains_key(&id));
                        continue;
                    }
                    forget_idle(&mut naive, &table, now_ms);
                    prop_assert_eq!(look, naive.look(&number));
                    if look == Look::New && stores {
                        place += 1;
                        let place = Place { queue: QueueId(1), offset: QueueOffset(place), physical: PhysicalOffset(place) };
                        let send = StoredSend { number, place, stored_ms: now_ms };
                        table.note(&send);
                        naive.note(send);
                        forget_idle(&mut naive, &table, now_ms);
                    }
                }
            }
            prop_assert!(table.producers() <= MAX_PRODUCERS);
            for id in naive.producers.keys() {
                prop_assert!(table.knows(*id), "{id} was forgotten");
            }
            prop_assert_eq!(table.remembered(), table.count());
        }
    }
}
