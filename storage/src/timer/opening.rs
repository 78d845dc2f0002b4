//! Opening a timer, after whatever stop.
//!
//! The checkpoint says up to where log and wheel are durable. Behind that the log is read unit by unit until one is none:
//! there it is cut. Slots get the units they do not have yet, since they are written last. When slots and log do not fit
//! together, which no stop does, the wheel is built again from all of the log, in a file that takes the old one's place
//! once it is whole.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueOffset};

use super::check::{Check, Head, Own};
use super::error::{During, TimerError};
use super::log::{Block, TimerLog};
use super::open_slot::OpenSlot;
use super::options::{BLANK_SLOTS, TimerOptions};
use super::slot::Slot;
use super::state::Timer;
use super::unit::{MAX_TIME_MS, UNIT_BYTES, Unit};
use super::wheel::{Survey, Wheel};
use crate::disk::Disk;

/// Units read at once.
const UNITS_PER_READ: u64 = 5_000;

/// How far what the timer leads to goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The end of the commit log: messages from here on are forgotten, so that others can come there.
    pub physical: PhysicalOffset,
    /// The end of the queue of the timer topic.
    pub queue: QueueOffset,
}

/// Why the wheel has to be built again; the log is in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unfit;

impl Timer {
    /// Opens `timerwheel`, `timerlog` and `config/timercheck` below `root`, or makes them.
    ///
    /// # Errors
    ///
    /// I/O errors, sizes that do not fit, files that are missing below what was durable.
    pub fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        options: TimerOptions,
        ends: Ends,
        now_ms: i64,
    ) -> Result<Self, TimerError> {
        options.check()?;
        let (config, folder) = (root.join("config"), root.join("timerlog"));
        for directory in [&config, &folder] {
            let made = disk.create_directory_durably(directory);
            made.during("create the folder", directory)?;
        }
        let (mut check, own) = Check::open(&*disk, &config.join("timercheck"))?;
        disk.sync_directory(&config)
            .during("sync the folder", &config)?;
        if !(0..=MAX_TIME_MS).contains(&check.head.read_ms) {
            return Err(TimerError::ReadTime {
                path: config.join("timercheck"),
                read_ms: check.head.read_ms,
            });
        }
        let is_new = check.head.read_ms < options.precision_ms;
        let flushed = u64::try_from(check.head.log_flushed).unwrap_or(0);
        let flushed = Some(flushed).filter(|_| !is_new);
        let log = TimerLog::load(disk.clone(), folder, options.places(), flushed)?;
        if is_new {
            begin(&mut check, &log, options, now_ms)?;
        }
        let own = own.filter(|own| (check.head.read_ms..=MAX_TIME_MS).contains(&own.read_ms));
        let path = root.join("timerwheel");
        remove_unfinished(&*disk, &unfinished(&path))?;
        let found = Wheel::open(&*disk, &path, options.wheel_slots)?;
        let is_missing = found.is_none();
        let wheel = match found {
            Some(wheel) => wheel,
            None => Wheel::create(&*disk, &unfinished(&path), options.wheel_slots)?,
        };
        let front = OpenSlot::begin(Slot::empty(0));
        let opening = Opening {
            timer: Self::over(options, log, wheel, check, front),
            disk,
            path,
            ends,
            count_from: 0,
            is_new: is_missing,
        };
        opening.finish(own, now_ms)
    }
}

/// A checkpoint without a time is a new one, or RocketMQ's before it ever wrote one: then the wheel is read from where
/// RocketMQ would begin.
fn begin(
    check: &mut Check,
    log: &TimerLog,
    options: TimerOptions,
    now_ms: i64,
) -> Result<(), TimerError> {
    let now = now_ms.clamp(0, MAX_TIME_MS) / options.precision_ms;
    let behind = (options.wheel_slots / 2 - BLANK_SLOTS) as i64;
    let time = match log.files.is_empty() {
        true => now,
        false => now - behind,
    };
    let read_ms = time.max(1) * options.precision_ms;
    check.save(Head {
        read_ms,
        ..check.head
    })
}

/// Where a wheel is built.
fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("new")
}

fn remove_unfinished(disk: &dyn Disk, path: &Path) -> Result<(), TimerError> {
    match disk.remove(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.during("remove", path),
    }
}

struct Opening {
    timer: Timer,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    ends: Ends,
    /// Slots from this time on wait.
    count_from: i64,
    /// Whether the wheel has to be built.
    is_new: bool,
}

impl Opening {
    fn finish(mut self, own: Option<Own>, now_ms: i64) -> Result<Timer, TimerError> {
        let head = self.timer.check.head;
        let precision_ms = self.timer.options.precision_ms;
        self.count_from = own.map_or(head.read_ms, |own| own.read_ms) / precision_ms;
        let flushed = self.flushed();
        let end = match self.replay_tail(flushed)? {
            Ok(end) => end,
            Err(Unfit) => self.rebuild(flushed)?,
        };
        let is_whole = flushed.is_some_and(|flushed| flushed <= end);
        let own = own.filter(|own| is_whole && own.log_end <= end.cast_signed());
        let read_ms = own.map_or(head.read_ms, |own| own.read_ms);
        let resume = match own {
            Some(own) => own.queue_offset,
            // What the log has lost has to come again, wherever it was.
            None if !is_whole => 0,
            None => head.queue_offset.min(head.master_queue_offset),
        };
        let resume = QueueOffset(resume.try_into().unwrap_or(0)).min(self.ends.queue);
        self.timer.resume = resume;
        self.forget_lost_messages(end)?;
        let end = self.timer.log.written;
        self.timer.log.cut(end)?;
        let time = read_ms / precision_ms;
        if time < self.count_from {
            self.timer.waiting += self.waiting_between(time)?;
        }
        self.timer.front = OpenSlot::begin(self.timer.wheel.get(time)?);
        let is_changed = self.is_new || flushed != Some(end);
        self.timer.log.synced = flushed.filter(|_| !self.is_new).unwrap_or(0).min(end);
        if !is_changed {
            return Ok(self.timer);
        }
        self.timer.log.sync()?;
        self.timer.wheel.sync()?;
        if self.is_new {
            self.timer.wheel.rename(&*self.disk, &self.path)?;
        }
        self.timer.sync(now_ms, head.read_ms)?;
        self.timer.note(read_ms)?;
        Ok(self.timer)
    }

    /// Up to where the log is durable; `None` when the checkpoint cannot be of this log.
    fn flushed(&self) -> Option<u64> {
        let log = &self.timer.log;
        let flushed = u64::try_from(self.timer.check.head.log_flushed).ok()?;
        let files = log.start()..=log.files_end();
        (files.contains(&flushed) && log.places.is_end(flushed)).then_some(flushed)
    }

    /// Gives the wheel what the log has behind the checkpoint, and returns where it ends.
    fn replay_tail(&mut self, flushed: Option<u64>) -> Result<Result<u64, Unfit>, TimerError> {
        let Some(flushed) = flushed.filter(|_| !self.is_new) else {
            return Ok(Err(Unfit));
        };
        let Some(survey) = self.survey()? else {
            return Ok(Err(Unfit));
        };
        self.timer.waiting = survey.waiting;
        if !self.knows_last(flushed)? {
            return Ok(Err(Unfit));
        }
        let end = self.replay(flushed, flushed)?;
        Ok(end
            .filter(|end| survey.last.is_none_or(|last| last < *end))
            .ok_or(Unfit))
    }

    fn survey(&self) -> Result<Option<Survey>, TimerError> {
        let Timer { wheel, log, .. } = &self.timer;
        let files = log.start()..log.files_end();
        wheel.survey(
            self.timer.durable_time(),
            self.count_from,
            files,
            log.places,
        )
    }

    /// Remembers the last message before the checkpoint. Whether the wheel has it: one of another precision, or from
    /// another time, has not.
    fn knows_last(&mut self, flushed: u64) -> Result<bool, TimerError> {
        let Some(at) = self.before(flushed) else {
            return Ok(true);
        };
        let Some(unit) = self.unit_at(at, flushed, &mut Block::default())? else {
            return Ok(false);
        };
        self.timer.last_physical = Some(PhysicalOffset(unit.physical));
        let time = self.time(&unit);
        let is_out = time < self.timer.durable_time();
        Ok(is_out || self.timer.wheel.get(time)?.last >= Some(at))
    }

    fn time(&self, unit: &Unit) -> i64 {
        unit.deliver_at_ms() / self.timer.options.precision_ms
    }

    fn before(&self, at: u64) -> Option<u64> {
        let before = self.timer.log.places.before(at)?;
        (before >= self.timer.log.start()).then_some(before)
    }

    /// The unit at a position below `end`; `None` when its bytes are damaged.
    fn unit_at(
        &mut self,
        at: u64,
        end: u64,
        block: &mut Block,
    ) -> Result<Option<Unit>, TimerError> {
        self.timer.log.written = end;
        match self.timer.log.unit_at(at, block) {
            Ok(unit) => Ok(Some(unit)),
            Err(TimerError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Builds the wheel from all of the log, and returns where it ends.
    fn rebuild(&mut self, flushed: Option<u64>) -> Result<u64, TimerError> {
        let start = self.timer.log.start();
        if !self.timer.log.files.is_empty() {
            tracing::warn!(path = %self.path.display(), "building the timer wheel again from the timer log");
        }
        let slots = self.timer.options.wheel_slots;
        self.timer.wheel = Wheel::create(&*self.disk, &unfinished(&self.path), slots)?;
        self.is_new = true;
        self.timer.waiting = 0;
        self.timer.last_physical = None;
        let end = self.replay(start, flushed.unwrap_or(start))?;
        Ok(end.unwrap_or(start))
    }

    /// Goes through the log from a position on to its end, which is not before `durable` as long as there are files. `None`
    /// when a unit does not follow what the wheel has.
    fn replay(&mut self, from: u64, durable: u64) -> Result<Option<u64>, TimerError> {
        let places = self.timer.log.places;
        let mut at = from;
        let mut bytes = Vec::new();
        loop {
            if places.within(at) == places.filler_within() {
                if at >= durable && !self.timer.log.has_filler(at)? {
                    return Ok(Some(at));
                }
                at = places.file_start(at) + places.file_bytes;
            }
            self.timer.log.read_units(at, UNITS_PER_READ, &mut bytes)?;
            if bytes.is_empty() {
                return Ok(Some(at));
            }
            for bytes in bytes.as_chunks::<UNIT_BYTES>().0 {
                match Unit::from_bytes(bytes) {
                    Some(unit) if at < durable || self.follows(&unit) => {
                        if !self.replay_unit(at, &unit)? {
                            return Ok(None);
                        }
                    }
                    None if at < durable => {
                        let error = self.timer.log.damaged(at, "the bytes are no unit");
                        tracing::error!(%error, "a message that waited for its time is lost");
                    }
                    _ => return Ok(Some(at)),
                }
                at += UNIT_BYTES as u64;
            }
        }
    }

    /// Whether a unit that is not known to be durable can be there.
    fn follows(&self, unit: &Unit) -> bool {
        let physical = PhysicalOffset(unit.physical);
        Some(physical) > self.timer.last_physical
            && physical < self.ends.physical
            && self.time(unit) < self.times_end()
    }

    fn times_end(&self) -> i64 {
        self.timer.durable_time() + self.timer.options.wheel_slots as i64
    }

    /// Gives a unit to its slot, unless it has it. Whether that was possible; a wheel that is built takes every unit.
    fn replay_unit(&mut self, at: u64, unit: &Unit) -> Result<bool, TimerError> {
        let physical = Some(PhysicalOffset(unit.physical));
        self.timer.last_physical = self.timer.last_physical.max(physical);
        let time = self.time(unit);
        if time < self.timer.durable_time() {
            return Ok(true);
        }
        if time >= self.times_end() {
            let error = self.timer.log.damaged(at, "the time of the unit is none");
            tracing::error!(%error, "a message that waited for its time is lost");
            return Ok(true);
        }
        let slot = self.timer.wheel.get(time)?;
        if slot.last >= Some(at) {
            return Ok(true);
        }
        if unit.previous != slot.last {
            if !self.is_new {
                return Ok(false);
            }
            self.timer.log.relink(at, slot.last)?;
        }
        self.timer.wheel.put(slot.with(at, unit.counts()))?;
        if time >= self.count_from {
            self.timer.waiting += i64::from(unit.counts());
        }
        Ok(true)
    }

    /// Takes units of messages that the commit log lost off the end, and remembers the last message that is left.
    fn forget_lost_messages(&mut self, end: u64) -> Result<(), TimerError> {
        let mut end = end;
        let mut block = Block::default();
        self.timer.last_physical = None;
        while let Some(at) = self.before(end) {
            if let Some(unit) = self.unit_at(at, end, &mut block)? {
                let physical = PhysicalOffset(unit.physical);
                if physical < self.ends.physical {
                    self.timer.last_physical = Some(physical);
                    break;
                }
                self.take_back(at, &unit)?;
            }
            end = at;
        }
        self.timer.log.written = end;
        Ok(())
    }

    fn take_back(&mut self, at: u64, unit: &Unit) -> Result<(), TimerError> {
        let time = self.time(unit);
        let slot = self.timer.wheel.get(time)?;
        if slot.last != Some(at) {
            return Ok(());
        }
        let rest = slot.without_last(unit.previous, unit.counts());
        self.timer.wheel.put(rest)?;
        if time >= self.count_from {
            self.timer.waiting -= i64::from(unit.counts());
        }
        Ok(())
    }

    /// What waits in slots from a time on that were not counted.
    fn waiting_between(&mut self, time: i64) -> Result<i64, TimerError> {
        let mut waiting = 0;
        for time in time..self.count_from.min(self.times_end()) {
            waiting += i64::from(self.timer.wheel.get(time)?.count);
        }
        Ok(waiting)
    }
}
