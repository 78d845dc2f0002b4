//! Random histories of an index, checked against a list of keys and RocketMQ's bytes.

use std::collections::BTreeMap;

use castmq_protocol::model::PhysicalOffset;
use proptest::prelude::*;

use super::tests::{Mapped, contents, disk, open_sized};
use super::{IndexKey, KeyIndex};
use crate::disk::fault::FaultDisk;

#[derive(Debug, Clone)]
enum Step {
    Put {
        count: u64,
        step: u64,
    },
    WriteBack,
    Sync,
    CleanStop,
    Kill,
    /// Power fails after so many changes of a sync, and the log loses its end.
    PowerCut {
        seed: u64,
        changes: u64,
        log_lost: u64,
    },
    Retention {
        percent: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..40_u64, 0..4_u64).prop_map(|(count, step)| Step::Put { count, step }),
        3 => Just(Step::WriteBack),
        3 => Just(Step::Sync),
        1 => Just(Step::CleanStop),
        1 => Just(Step::Kill),
        3 => (any::<u64>(), 0..12_u64, 0..20_u64)
            .prop_map(|(seed, changes, log_lost)| Step::PowerCut { seed, changes, log_lost }),
        1 => (0..100_u64).prop_map(|percent| Step::Retention { percent }),
    ]
}

struct Store {
    disk: FaultDisk,
    sizes: (u32, u32),
    index: KeyIndex,
    /// Keys in the order of the log, with their message.
    log: Vec<(String, u64)>,
    log_min: u64,
    /// The log is synced before this, and so is the index: retention stays behind.
    synced: u64,
    next: u64,
}

impl Store {
    fn stored_ms(physical: u64) -> i64 {
        1_000_000 + physical as i64 * 1_000
    }

    fn enter<'a>(&self, keys: impl IntoIterator<Item = &'a (String, u64)>) {
        let keys = keys.into_iter().map(|(key, physical)| {
            let stored_ms = Self::stored_ms(*physical);
            IndexKey::new("T", key, PhysicalOffset(*physical), stored_ms)
        });
        self.index.enter(&keys.collect::<Vec<_>>()).unwrap();
    }

    fn recover(&mut self, disk: FaultDisk) {
        self.disk = disk;
        self.index = open_sized(&self.disk, self.sizes.0, self.sizes.1, false);
        self.index.truncate(PhysicalOffset(self.next)).unwrap();
        let from = self.index.end_physical().0.max(self.log_min);
        if self.index.end_physical().0 == 0 {
            // It begins anew with what the log has.
            let log_min = self.log_min;
            self.log.retain(|(_, physical)| *physical >= log_min);
        }
        self.enter(self.log.iter().filter(|(_, physical)| *physical >= from));
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Put { count, step } => {
                let first = self.log.len();
                for n in 0..count {
                    // Every message may have several keys, none twice.
                    if n % 3 == 0 || step == 0 {
                        self.next += 1 + step;
                    }
                    let key = format!("key{}", self.log.len() % 13);
                    self.log.push((key, self.next - 1));
                }
                self.enter(&self.log[first..]);
            }
            Step::WriteBack => self.index.write_back().unwrap(),
            Step::Sync => {
                self.index.sync().unwrap();
                self.synced = self.next;
            }
            Step::CleanStop => {
                self.index.sync().unwrap();
                self.disk = self.disk.crash(7);
                self.index = open_sized(&self.disk, self.sizes.0, self.sizes.1, true);
            }
            Step::Kill => self.recover(self.disk.kill()),
            Step::PowerCut {
                seed,
                changes,
                log_lost,
            } => {
                self.disk.cut_power_after(changes);
                let _ = self.index.sync();
                self.next = self.next.saturating_sub(log_lost).max(self.synced);
                self.log.retain(|(_, physical)| *physical < self.next);
                self.recover(self.disk.crash(seed));
            }
            Step::Retention { percent } => {
                self.log_min = self.log_min.max(self.synced * percent / 100);
                self.index
                    .remove_below(PhysicalOffset(self.log_min))
                    .unwrap();
            }
        }
    }

    fn check(&self) {
        let mut expected: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (key, physical) in self.log.iter().rev() {
            expected.entry(key).or_default().push(*physical);
        }
        for (key, physicals) in expected {
            let found = self.index.query("T", key, usize::MAX, 0, i64::MAX).unwrap();
            let found: Vec<u64> = found.into_iter().map(|physical| physical.0).collect();
            // Files go as a whole, so that some messages below the log stay.
            let is_gone = found.len() < physicals.len();
            assert_eq!(found, physicals[..found.len()], "{key}");
            assert!(!is_gone || physicals[found.len()] < self.log_min, "{key}");
        }
    }

    fn check_bytes(&self) {
        self.index.sync().unwrap();
        let mut mapped = Mapped::default();
        for (key, physical) in &self.log {
            let stored_ms = Self::stored_ms(*physical);
            mapped.put(self.sizes.0, self.sizes.1, key, *physical as i64, stored_ms);
        }
        let files = contents(&self.disk);
        let gone = mapped.files.len() - files.len();
        for (number, (file, expected)) in files.iter().zip(&mapped.files[gone..]).enumerate() {
            assert!(file[36..40] == expected[36..40], "entries of file {number}");
            let end = Mapped::int(expected, 36) as usize * 20 + 40 + 4 * self.sizes.0 as usize;
            assert!(
                file[40..end] == expected[40..end],
                "slots or entries of file {number}"
            );
            assert!(file[..40] == expected[..40], "header of file {number}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn keys_are_found_through_every_stop(
        sizes in prop_oneof![Just((7, 50)), Just((5000, 400)), Just((3, 3))],
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let disk = disk();
        let mut store = Store {
            index: open_sized(&disk, sizes.0, sizes.1, true),
            disk,
            sizes,
            log: Vec::new(),
            log_min: 0,
            synced: 0,
            next: 1,
        };
        for step in &steps {
            store.run(step);
            store.check();
        }
        store.check_bytes();
    }
}
