//! Long random histories of a timer on a disk that loses, tears and dies, checked against a list of messages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueOffset};
use fastrand::Rng;

use super::tests::{NOW, root};
use super::*;
use crate::disk::Disk;
use crate::disk::fault::FaultDisk;

const STEPS: u32 = 12_000;

/// What a broker around the timer would know, without any of the timer's files.
struct Model {
    seed: u64,
    dice: Rng,
    options: TimerOptions,
    disk: FaultDisk,
    timer: Timer,
    now_ms: i64,
    /// The greatest time the clock ever showed.
    latest_ms: i64,
    /// The queue of the timer topic: what a power cut leaves of it is still in it.
    queue: Vec<Entry>,
    end: u64,
    /// The next entry to insert.
    next: usize,
    /// Up to here the timer topic and what was delivered survive a power cut.
    synced: usize,
    /// What was inserted and is not out, by its time.
    waiting: BTreeSet<(i64, u64)>,
    /// Messages that came out since the timer was opened.
    out_now: BTreeSet<u64>,
    /// Messages that ever came out, and the slot they came from.
    out: BTreeMap<u64, i64>,
    /// Slots before these never come out again after a kill, and after a power cut.
    passed_kill_ms: i64,
    passed_cut_ms: i64,
    came_out: u64,
    stops: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed);
        let precision_ms = [1000, 100, 1][dice.usize(..3)];
        let options = TimerOptions {
            precision_ms,
            wheel_slots: dice.u64(300..700),
            roll_window_slots: dice.u64(10..90),
            log_file_bytes: dice.u64(68..4_000),
        };
        let disk = FaultDisk::new();
        let ends = Ends {
            physical: PhysicalOffset(u64::MAX),
            queue: QueueOffset(0),
        };
        let timer = Timer::open(Arc::new(disk.clone()), root(), options, ends, NOW).unwrap();
        Self {
            seed,
            dice,
            options,
            disk,
            timer,
            now_ms: NOW,
            latest_ms: NOW,
            queue: Vec::new(),
            end: 0,
            next: 0,
            synced: 0,
            waiting: BTreeSet::new(),
            out_now: BTreeSet::new(),
            out: BTreeMap::new(),
            passed_kill_ms: NOW,
            passed_cut_ms: NOW,
            came_out: 0,
            stops: 0,
        }
    }

    fn store(&mut self, deliver_at_ms: i64, kind: Kind) {
        let size_bytes = self.dice.u32(1..500);
        self.queue.push(Entry {
            queue_offset: QueueOffset(self.queue.len() as u64),
            physical: PhysicalOffset(self.end),
            size_bytes,
            deliver_at_ms,
            kind,
            topic_hash: self.dice.i32(..),
        });
        self.end += u64::from(size_bytes) + self.dice.u64(..1000);
    }

    fn store_some(&mut self) {
        let slot_ms = self.options.precision_ms;
        for _ in 0..self.dice.u32(1..20) {
            let slots = match self.dice.u32(..10) {
                0 => self.dice.i64(-50..2),
                1 => self.dice.i64(0..1_000),
                2 => self.options.roll_window_slots as i64,
                _ => self.dice.i64(0..20),
            };
            let within_ms = self.dice.i64(0..slot_ms);
            let kind = match self.dice.u32(..8) {
                0 => Kind::DeleteMarker,
                _ => Kind::Message,
            };
            self.store(self.now_ms + slots * slot_ms + within_ms, kind);
        }
    }

    /// Whether the disk let everything be inserted.
    fn insert_all(&mut self) -> bool {
        while let Some(entry) = self.queue.get(self.next) {
            if self.timer.insert(entry, self.now_ms).is_err() {
                return false;
            }
            self.next += 1;
            if !self.out.contains_key(&entry.physical.0) {
                self.waiting.insert((entry.deliver_at_ms, entry.physical.0));
            }
        }
        assert_eq!(self.timer.resume_offset().0, self.queue.len() as u64);
        true
    }

    /// Takes out some of what is due; whether the disk and the wheel let everything be taken.
    fn take(&mut self, calls: u32) -> bool {
        for _ in 0..calls {
            let mut due = Vec::new();
            let max = self.dice.usize(1..30);
            let taken = self.timer.take_due(self.now_ms, max, &mut due);
            assert!(due.len() <= max);
            for due in &due {
                self.check(due);
            }
            match taken {
                Err(_) => return false,
                Ok(progress) if progress.checkpoint_first => return false,
                Ok(progress) if !progress.more => return true,
                Ok(_) => {}
            }
        }
        false
    }

    /// Nothing comes out early, as another than it was, or twice without a stop that allows it.
    fn check(&mut self, due: &Due) {
        let seed = self.seed;
        let slot_ms = self.options.precision_ms;
        let at = self
            .queue
            .binary_search_by_key(&due.physical, |entry| entry.physical);
        let entry = self.queue[at.unwrap_or_else(|_| panic!("seed {seed}: nobody stored {due:?}"))];
        let told = (due.size_bytes, due.topic_hash, due.kind);
        assert_eq!(
            told,
            (entry.size_bytes, entry.topic_hash, entry.kind),
            "seed {seed}"
        );
        let begins_ms = match due.cancels() {
            true => due.deliver_at_ms / slot_ms * slot_ms,
            false => due.deliver_at_ms,
        };
        assert!(
            begins_ms <= self.now_ms,
            "seed {seed}: early by the wheel, {due:?}"
        );
        let wanted_ms = match due.cancels() {
            true => entry.deliver_at_ms / slot_ms * slot_ms,
            false => entry.deliver_at_ms,
        };
        match due.rolls {
            true => assert!(due.deliver_at_ms <= entry.deliver_at_ms, "seed {seed}"),
            false => assert!(wanted_ms <= self.now_ms, "seed {seed}: early, {entry:?}"),
        }
        assert!(
            self.out_now.insert(entry.physical.0),
            "seed {seed}: twice, {entry:?}"
        );
        self.waiting
            .remove(&(entry.deliver_at_ms, entry.physical.0));
        let slot_ms = self.timer.read_time_ms();
        if let Some(before_ms) = self.out.insert(entry.physical.0, slot_ms) {
            assert!(
                before_ms >= self.passed_cut_ms,
                "seed {seed}: again, {entry:?} of {before_ms}"
            );
        } else {
            self.came_out += 1;
            if due.rolls {
                self.store(entry.deliver_at_ms, entry.kind);
            }
        }
    }

    /// Everything whose time has come is out, unless a rolled one still has to be stored anew.
    fn check_all_out(&self) {
        // Late ones of before a restart wait until the clock is where it was.
        if self.now_ms < self.latest_ms {
            return;
        }
        if let Some((deliver_at_ms, physical)) = self.waiting.first() {
            assert!(
                *deliver_at_ms > self.now_ms,
                "seed {}: {physical} of {deliver_at_ms} is lost or late",
                self.seed
            );
        }
    }

    /// Nothing that has not come out lies before the first message that waits, which may come out yet.
    fn check_first_waiting(&mut self) {
        let first = self.timer.first_waiting().unwrap();
        let durable_ms = self.timer.start_ms(self.timer.durable_time());
        let mut inserted = self.queue[..self.next].iter().map(|entry| entry.physical);
        let waits = inserted.find(|physical| !self.out.contains_key(&physical.0));
        let seed = self.seed;
        assert!(
            waits.is_none_or(|waits| first.is_some_and(|first| first <= waits)),
            "seed {seed}: {waits:?} waits, not {first:?}"
        );
        let out_ms = first.and_then(|first| self.out.get(&first.0));
        assert!(
            out_ms.is_none_or(|out_ms| *out_ms >= durable_ms),
            "seed {seed}: {first:?} was out at {out_ms:?}, before {durable_ms}"
        );
    }

    fn checkpoint(&mut self, survives: Survives) -> bool {
        let read_ms = self.timer.read_time_ms();
        let done = self
            .timer
            .checkpoint(self.now_ms, read_ms, survives)
            .is_ok();
        if done && survives == Survives::Kill {
            self.passed_kill_ms = read_ms;
        }
        if done && survives == Survives::PowerCut {
            self.synced = self.next;
            self.passed_kill_ms = read_ms;
            self.passed_cut_ms = read_ms;
        }
        done
    }

    fn advance(&mut self) {
        let slot_ms = self.options.precision_ms;
        self.now_ms += match self.dice.u32(..40) {
            0 => self.dice.i64(0..400) * slot_ms,
            1 => -self.dice.i64(0..30) * slot_ms,
            _ => self.dice.i64(0..=2 * slot_ms),
        };
        self.latest_ms = self.latest_ms.max(self.now_ms);
    }

    fn reopen(&mut self, disk: FaultDisk) {
        self.stops += 1;
        self.disk = disk;
        // Recovery is cut short, too.
        while self.dice.u32(..4) == 0 {
            self.disk.cut_power_after(self.dice.u64(..12));
            if self.try_open().is_ok() {
                break;
            }
            self.disk = self.disk.crash(self.dice.u64(..));
        }
        let disk = self.disk.kill();
        self.disk = disk;
        self.timer = self
            .try_open()
            .unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let resume = self.timer.resume_offset().0 as usize;
        assert!(resume <= self.queue.len());
        self.next = resume;
        self.out_now.clear();
        // What the log has lost is inserted again, and comes out as if it never had.
        let last = self.timer.last_physical();
        self.out
            .retain(|physical, _| Some(PhysicalOffset(*physical)) <= last);
        let inserted = self.queue[..self.next].iter();
        let left = inserted.filter(|entry| !self.out.contains_key(&entry.physical.0));
        self.waiting = left
            .map(|entry| (entry.deliver_at_ms, entry.physical.0))
            .collect();
    }

    fn try_open(&self) -> Result<Timer, TimerError> {
        let ends = Ends {
            physical: PhysicalOffset(self.end),
            queue: QueueOffset(self.queue.len() as u64),
        };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        Timer::open(disk, root(), self.options, ends, self.now_ms)
    }

    fn kill(&mut self) {
        let disk = self.disk.kill();
        let passed_ms = self.passed_kill_ms;
        let boots = disk.boot();
        self.reopen(disk);
        if self.disk.boot() == boots {
            assert!(self.timer.read_time_ms() >= passed_ms, "seed {}", self.seed);
        }
        self.passed_kill_ms = self.timer.read_time_ms();
    }

    /// Power fails in the middle of whatever came up, and the commit log loses a part of what was not synced.
    fn cut_power(&mut self) {
        self.disk.cut_power_after(self.dice.u64(..12));
        let survives = match self.dice.bool() {
            true => Survives::PowerCut,
            false => Survives::Kill,
        };
        let inserted = self.insert_all();
        let _ =
            inserted && self.take(20) && self.checkpoint(survives) && self.timer.retire().is_ok();
        // The disk may have let the checkpoint through.
        let kept = self.dice.usize(self.synced..=self.queue.len());
        for lost in self.queue.drain(kept..) {
            self.out.remove(&lost.physical.0);
            self.end = self.end.min(lost.physical.0);
        }
        let disk = self.disk.crash(self.dice.u64(..));
        self.reopen(disk);
        assert!(
            self.timer.read_time_ms() >= self.passed_cut_ms,
            "seed {}",
            self.seed
        );
        self.passed_kill_ms = self.timer.read_time_ms();
    }

    fn step(&mut self) {
        match self.dice.u32(..100) {
            0..30 => self.store_some(),
            30..50 => self.advance(),
            50..60 => assert!(self.insert_all()),
            60..82 => {
                assert!(self.insert_all());
                let calls = if self.dice.bool() { 2 } else { 10_000 };
                if self.take(calls) {
                    // What was rolled or came out again had to be stored anew.
                    assert!(self.insert_all());
                    if self.take(10_000) {
                        self.check_all_out();
                    }
                }
            }
            82..85 => assert!(self.checkpoint(Survives::Kill)),
            85..92 => assert!(self.checkpoint(Survives::PowerCut)),
            92..94 => self.timer.flush().unwrap(),
            94..96 => {
                self.timer.retire().unwrap();
            }
            96 => self.check_first_waiting(),
            97 => {
                assert!(self.checkpoint(Survives::PowerCut));
                let disk = self.disk.crash(self.dice.u64(..));
                let end = self.next as u64;
                self.reopen(disk);
                assert_eq!(self.timer.resume_offset().0, end, "seed {}", self.seed);
            }
            98 => self.kill(),
            _ => self.cut_power(),
        }
    }

    /// In the end everything is out, and every file but the last is gone.
    fn finish(&mut self) {
        self.now_ms = self.latest_ms;
        for _ in 0..100_000 {
            assert!(self.insert_all());
            let is_done = self.take(10_000);
            if is_done && self.next == self.queue.len() {
                self.check_all_out();
                if self.timer.waiting() == 0 && self.out.len() == self.queue.len() {
                    break;
                }
            }
            assert!(self.checkpoint(Survives::PowerCut));
            self.now_ms += self.options.precision_ms * 20;
            self.latest_ms = self.now_ms;
        }
        assert_eq!(self.out.len(), self.queue.len(), "seed {}", self.seed);
        self.now_ms += self.options.precision_ms * 2;
        self.take(10);
        assert!(self.checkpoint(Survives::PowerCut));
        while self.timer.retire().unwrap() {}
        assert_eq!(self.timer.first_waiting().unwrap(), None);
        assert!(self.timer.log.files.len() <= 2, "seed {}", self.seed);
    }
}

fn run(seed: u64) {
    eprintln!("seed {seed}");
    let mut model = Model::new(seed);
    for _ in 0..STEPS {
        model.step();
    }
    model.finish();
    assert!(model.came_out > 10_000 && model.stops > 150, "seed {seed}");
}

#[test]
fn nothing_is_lost_early_or_twice_in_slots_of_any_length() {
    (1..=3).for_each(run);
}

#[test]
fn nothing_is_lost_early_or_twice_whatever_the_seed() {
    let seed = fastrand::u64(..);
    run(seed);
}
