//! Random histories of the queues of a small store, checked against a list of messages.

use std::path::Path;
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, TopicName};
use proptest::prelude::*;

use super::*;
use crate::disk::fault::FaultDisk;
use crate::disk::{Disk, Wait};

const QUEUES: u32 = 3;

#[derive(Debug, Clone)]
enum Step {
    /// Messages of one queue come in.
    Append {
        queue: u32,
        count: u64,
        size: u32,
    },
    WriteBack,
    Sync,
    /// What recovery would start from is written down.
    Checkpoint,
    /// The log forgets this part of what the checkpoint covers.
    Retention {
        percent: u64,
    },
    CleanStop,
    Kill,
    PowerCut {
        seed: u64,
        log_lost_percent: u64,
    },
    /// Power fails after so many changes of a write-back and a sync.
    PowerCutWhileWriting {
        seed: u64,
        changes: u64,
    },
    /// Power fails, and again after so many changes of the truncation.
    PowerCutTwice {
        seed: u64,
        changes: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let seed = any::<u64>();
    prop_oneof![
        6 => (0..QUEUES, prop_oneof![1..20_u64, 1..3000_u64], 1..500_u32)
            .prop_map(|(queue, count, size)| Step::Append { queue, count, size }),
        4 => Just(Step::WriteBack),
        3 => Just(Step::Sync),
        3 => Just(Step::Checkpoint),
        1 => (0..=100_u64).prop_map(|percent| Step::Retention { percent }),
        1 => Just(Step::CleanStop),
        1 => Just(Step::Kill),
        2 => (seed, 0..=100_u64)
            .prop_map(|(seed, log_lost_percent)| Step::PowerCut { seed, log_lost_percent }),
        2 => (seed, 0..12_u64)
            .prop_map(|(seed, changes)| Step::PowerCutWhileWriting { seed, changes }),
        1 => (seed, 0..12_u64).prop_map(|(seed, changes)| Step::PowerCutTwice { seed, changes }),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Message {
    queue: u32,
    at: u64,
    unit: ConsumeUnit,
}

struct Store {
    disk: FaultDisk,
    file_bytes: u64,
    queues: ConsumeQueues,
    log: Vec<Message>,
    log_min: u64,
    log_end: u64,
    checkpoint: u64,
    first_offsets: [u64; QUEUES as usize],
}

fn topic() -> TopicName {
    TopicName::new("T").unwrap()
}

fn open(disk: &FaultDisk, file_bytes: u64) -> ConsumeQueues {
    ConsumeQueues::open(Arc::new(disk.clone()), "/store/cq", file_bytes).unwrap()
}

impl Store {
    fn new(file_bytes: u64, log_start: u64, first_offsets: [u64; QUEUES as usize]) -> Self {
        let disk = FaultDisk::new();
        disk.create_directory(Path::new("/store")).unwrap();
        disk.sync_directory(Path::new("/")).unwrap();
        Self {
            queues: open(&disk, file_bytes),
            disk,
            file_bytes,
            log: Vec::new(),
            log_min: log_start,
            log_end: log_start,
            checkpoint: log_start,
            first_offsets,
        }
    }

    fn dispatch(&self, message: &Message) -> Appended {
        let queue = self.queues.queue(&topic(), QueueId(message.queue));
        queue.append(QueueOffset(message.at), message.unit).unwrap()
    }

    fn append(&mut self, queue: u32, count: u64, size: u32) {
        let last = self.log.iter().rev().find(|message| message.queue == queue);
        let first = last.map_or(self.first_offsets[queue as usize], |last| last.at + 1);
        for at in first..first + count {
            let message = Message {
                queue,
                at,
                unit: ConsumeUnit {
                    physical: PhysicalOffset(self.log_end),
                    size,
                    tags_code: at as i64,
                },
            };
            self.log_end += u64::from(size);
            assert_eq!(self.dispatch(&message), Appended::New);
            self.log.push(message);
        }
    }

    /// Opens what is left and does what recovery does.
    fn recover(&mut self, disk: FaultDisk) {
        self.disk = disk;
        self.queues = open(&self.disk, self.file_bytes);
        self.queues
            .truncate(PhysicalOffset(self.checkpoint), Leftovers::Near)
            .unwrap();
        let again = self.log.iter().filter(|message| {
            message.unit.physical.0 >= self.checkpoint && message.unit.physical.0 >= self.log_min
        });
        for message in again {
            assert_eq!(self.dispatch(message), Appended::New, "it was truncated");
        }
        self.queues
            .remove_below(PhysicalOffset(self.log_min))
            .unwrap();
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Append { queue, count, size } => self.append(queue, count, size),
            Step::WriteBack => self.queues.write_back_all().unwrap(),
            Step::Sync => self.queues.sync_all().unwrap(),
            Step::Checkpoint => {
                let dispatched = PhysicalOffset(self.log_end);
                self.checkpoint = self.queues.durable_physical(dispatched).0;
            }
            Step::Retention { percent } => {
                let target = self.log_min + (self.checkpoint - self.log_min) * percent / 100;
                let starts = self.log.iter().map(|message| message.unit.physical.0);
                let starts = starts.chain([self.log_end]);
                self.log_min = starts
                    .filter(|start| *start <= target)
                    .max()
                    .unwrap_or(target);
                self.queues
                    .remove_below(PhysicalOffset(self.log_min))
                    .unwrap();
            }
            Step::CleanStop => {
                self.queues.write_back_all().unwrap();
                self.queues.sync_all().unwrap();
                self.checkpoint = self.log_end;
                self.disk = self.disk.crash(7);
                self.queues = open(&self.disk, self.file_bytes);
                let end = PhysicalOffset(self.log_end);
                self.queues.truncate(end, Leftovers::Nothing).unwrap();
                self.queues
                    .remove_below(PhysicalOffset(self.log_min))
                    .unwrap();
            }
            Step::Kill => self.recover(self.disk.kill()),
            Step::PowerCut {
                seed,
                log_lost_percent,
            } => {
                let lost = (self.log_end - self.checkpoint) * log_lost_percent / 100;
                let end = self.log_end - lost;
                self.log.retain(|message| message.unit.end().0 <= end);
                let last = self.log.last();
                self.log_end = last
                    .map_or(self.checkpoint, |last| last.unit.end().0)
                    .max(self.checkpoint);
                self.recover(self.disk.crash(seed));
            }
            Step::PowerCutWhileWriting { seed, changes } => {
                self.disk.cut_power_after(changes);
                let _ = self.queues.write_back_all();
                let _ = self.queues.sync_all();
                self.recover(self.disk.crash(seed));
            }
            Step::PowerCutTwice { seed, changes } => {
                let disk = self.disk.crash(seed);
                let queues = open(&disk, self.file_bytes);
                disk.cut_power_after(changes);
                let _ = queues.truncate(PhysicalOffset(self.checkpoint), Leftovers::Near);
                self.recover(disk.crash(seed.wrapping_add(1)));
            }
        }
    }

    fn check(&self) {
        for id in 0..QUEUES {
            let all: Vec<&Message> = self
                .log
                .iter()
                .filter(|message| message.queue == id)
                .collect();
            let Some(last) = all.last() else { continue };
            let expected: Vec<ConsumeUnit> = all
                .iter()
                .filter(|message| message.unit.physical.0 >= self.log_min)
                .map(|message| message.unit)
                .collect();
            let Some(queue) = self.queues.find("T", QueueId(id)) else {
                assert_eq!(expected, vec![]);
                continue;
            };
            // A queue whose messages all expired may have been forgotten by a truncation.
            if queue.max_offset() == QueueOffset(0) {
                assert_eq!(expected, vec![]);
                continue;
            }
            assert_eq!(queue.max_offset().0, last.at + 1);
            assert_eq!(queue.max_physical(), last.unit.end());
            assert_eq!(queue.min_offset().0, last.at + 1 - expected.len() as u64);
            let mut units = Vec::new();
            let min = queue.min_offset();
            queue
                .read(min, usize::MAX, Wait::ForDisk, &mut units)
                .unwrap();
            assert_eq!(units, expected);
            if let Some(next) = units.get(1) {
                let offset = queue.search::<ConsumeQueueError>(
                    next.physical.0 as i64,
                    Boundary::Lower,
                    |unit| Ok(unit.physical.0 as i64),
                );
                assert_eq!(offset.unwrap(), min + 1);
            }
        }
    }

    /// Every byte of every file, against the layout written by hand.
    fn check_bytes(&self) {
        self.queues.write_back_all().unwrap();
        for id in 0..QUEUES {
            let folder = format!("/store/cq/T/{id}");
            for entry in self.disk.list(Path::new(&folder)).unwrap() {
                let path = format!("{folder}/{}", entry.name);
                let base: u64 = entry.name.parse().unwrap();
                assert_eq!(entry.bytes, self.file_bytes);
                let mut bytes = vec![0; entry.bytes as usize];
                let file = self.disk.open(Path::new(&path)).unwrap();
                file.read_at(&mut bytes, 0, Wait::ForDisk).unwrap();
                let mut expected = vec![0; entry.bytes as usize];
                let first = self.first_offsets[id as usize];
                for at in base / 20..first.min((base + self.file_bytes) / 20) {
                    expected[(at * 20 - base) as usize..][..20].copy_from_slice(&[
                        0, 0, 0, 0, 0, 0, 0, 0, 127, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0,
                    ]);
                }
                for message in self.log.iter().filter(|message| message.queue == id) {
                    let position = message.at * 20;
                    if (base..base + self.file_bytes).contains(&position) {
                        let unit = &mut expected[(position - base) as usize..][..20];
                        unit[..8].copy_from_slice(&message.unit.physical.0.to_be_bytes());
                        unit[8..12].copy_from_slice(&message.unit.size.to_be_bytes());
                        unit[12..].copy_from_slice(&message.unit.tags_code.to_be_bytes());
                    }
                }
                assert!(bytes == expected, "{path} differs");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn queues_hold_what_was_appended_through_every_stop(
        units_per_file in prop_oneof![100..500_u64, 3000..6000_u64],
        log_start in prop_oneof![Just(0_u64), Just((1 << 32) - 100_000)],
        first_offsets in prop::array::uniform3(prop_oneof![Just(0), 1..2000_u64]),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut store = Store::new(units_per_file * 20, log_start, first_offsets);
        for step in &steps {
            store.run(step);
            store.check();
        }
        store.check_bytes();
    }
}
