//! One store: what happens to it, and how it stops.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, TopicName};
use castmq_storage::commit_log::{AppendError, LogWriter};
use castmq_storage::disk::fault::FaultDisk;
use castmq_storage::dispatch::Dispatch;
use castmq_storage::store::{Store, StoreError, StoreOptions, index_keys};
use fastrand::Rng;
use tempfile::TempDir;

use super::history::{History, Key, Sent};
use super::support;

const TOPICS: [&str; 3] = ["orders", "bills", "%RETRY%clerks"];
const TAGS: [&str; 3] = ["new", "paid", "sent"];
const QUEUES: u32 = 3;
const STEPS_PER_RUN: usize = 60;

/// Parts that only exist while the store is open.
struct Run {
    store: Store,
    writer: Option<LogWriter>,
    dispatch: Dispatch,
    next: BTreeMap<Key, QueueOffset>,
    indexed: PhysicalOffset,
    /// Not all keys behind that are listed.
    reads_keys: bool,
    /// Something is to go wrong: errors are to be expected.
    is_faulty: bool,
    /// A sync failed: nothing but a power cut can follow.
    is_doomed: bool,
}

/// A store from its first start on.
pub(crate) struct Life {
    dice: Rng,
    disk: FaultDisk,
    options: StoreOptions,
    history: History,
    run: Option<Run>,
    sent: u64,
    now_ms: i64,
    crashes: u64,
    _metadata: TempDir,
}

/// How a store stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Clean,
    Kill,
    PowerCut,
}

impl Life {
    pub(crate) fn begin(seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed);
        let metadata = tempfile::tempdir().expect("there is a place for metadata");
        let options = StoreOptions {
            segment_bytes: *dice.choice(&[4096, 8192, 32768]).unwrap_or(&4096),
            consume_queue_file_bytes: *dice.choice(&[100, 1000, 60_000]).unwrap_or(&100),
            has_index: dice.u8(..) > 20,
            index_slots: dice.u32(3..100),
            index_entries: dice.u32(5..200),
            verify_bodies: dice.bool(),
            is_sync_flush: dice.bool(),
            spare_segments: dice.usize(..3),
            ..support::options(Path::new("/data/store"), metadata.path().join("metadata"))
        };
        let mut life = Self {
            dice,
            disk: FaultDisk::new(),
            options,
            history: History::default(),
            run: None,
            sent: 0,
            now_ms: 1_700_000_000_000,
            crashes: 0,
            _metadata: metadata,
        };
        life.open(PhysicalOffset::ZERO, PhysicalOffset::ZERO, None);
        life
    }

    /// Stops so far that were not clean.
    pub(crate) fn crashes(&self) -> u64 {
        self.crashes
    }

    fn run(&mut self) -> &mut Run {
        self.run.as_mut().expect("the store is open")
    }

    /// Lets some things happen.
    pub(crate) fn go_on(&mut self) {
        for _ in 0..self.dice.usize(1..STEPS_PER_RUN) {
            self.now_ms += self.dice.i64(0..2000);
            match self.dice.u8(0..100) {
                0..45 => self.send(),
                45..60 => self.flush(),
                60..75 => self.dispatch(),
                75..82 => self.index(),
                82..88 => self.write_back(),
                88..93 => self.checkpoint(),
                93..95 => self.change_writer(),
                95..97 => self.expire(),
                97 => self.delete_topic(),
                _ => self.arm(),
            }
        }
    }

    fn new_message(&mut self, key: &Key, offset: QueueOffset) -> Sent {
        self.sent += 1;
        let length = match self.dice.u8(0..10) {
            0..8 => self.dice.usize(0..200),
            _ => self.dice.usize(0..3000),
        };
        let tag = *self.dice.choice(&TAGS).unwrap_or(&"new");
        let shared_key = format!("k{}", self.dice.u8(0..5));
        let unique_key = format!("u{}", self.sent);
        Sent {
            key: key.clone(),
            offset,
            physical: PhysicalOffset::ZERO,
            body: std::iter::repeat_with(|| self.dice.u8(..))
                .take(length)
                .collect(),
            properties: format!(
                "TAGS\u{1}{tag}\u{2}KEYS\u{1}{shared_key}\u{2}UNIQ_KEY\u{1}{unique_key}\u{2}"
            ),
            shared_key,
            unique_key,
            tag,
            stored_ms: self.now_ms,
        }
    }

    /// A batch for one queue, published as a whole or, when its writer dies, not at all.
    fn send(&mut self) {
        let topic = *self.dice.choice(&TOPICS).unwrap_or(&TOPICS[0]);
        let topic = TopicName::new(topic).expect("that is a name");
        let key = (topic, QueueId(self.dice.u32(0..QUEUES)));
        let run = self.run();
        let first = match run.next.get(&key) {
            Some(next) => *next,
            None => run.store.queues.next_offset(&key.0, key.1),
        };
        let count = self.dice.u64(1..4);
        let mut batch: Vec<_> = (0..count)
            .map(|index| self.new_message(&key, first + index))
            .collect();
        let dies = self.dice.u8(0..30) == 0;
        let run = self.run.as_mut().expect("the store is open");
        let Some(writer) = &mut run.writer else {
            return;
        };
        let bytes = batch.iter().map(Sent::bytes).sum();
        let place = match writer.reserve(bytes) {
            Err(AppendError::SegmentNotReady) => match run.store.log.add_segment() {
                Ok(_) => writer.reserve(bytes),
                Err(error) => {
                    assert!(run.is_faulty, "no segment: {error}");
                    return;
                }
            },
            reserved => reserved,
        };
        let mut place = match place {
            Ok(place) => place,
            Err(AppendError::TooLong { .. }) => return,
            Err(error) => {
                assert!(run.is_faulty, "nothing can be appended: {error}");
                return;
            }
        };
        for sent in &mut batch {
            sent.physical = place;
            place = place + writer.append(&sent.record()) as u64;
        }
        if dies {
            run.writer = None;
            run.resume_writer();
            return;
        }
        writer.publish();
        run.next.insert(key, first + count);
        self.history.sent.append(&mut batch);
    }

    fn flush(&mut self) {
        let run = self.run();
        match run.store.log.sync(run.store.log.appended()) {
            Ok(end) => run.store.note_durable(end),
            Err(error) => assert!(run.is_faulty, "the log cannot be synced: {error}"),
        }
    }

    fn committed(&self) -> PhysicalOffset {
        let log = &self.run.as_ref().expect("the store is open").store.log;
        match self.options.is_sync_flush {
            true => log.flushed(),
            false => log.appended(),
        }
    }

    fn dispatch(&mut self) {
        let committed = self.committed();
        let max_bytes = self.dice.u64(1..20_000);
        let dispatch = &mut self.run().dispatch;
        if dispatch.position() < committed {
            dispatch
                .advance(committed, max_bytes, |_| {})
                .expect("every record can be dispatched");
        }
    }

    fn index(&mut self) {
        let is_read = self.dice.bool();
        let run = self.run();
        let Some(index) = &run.store.index else {
            return;
        };
        let end = run.dispatch.position();
        let keyed = run.dispatch.take_keyed();
        let entered = match keyed.and_then(|keyed| keyed.keys) {
            Some(keys) if !is_read && !run.reads_keys => {
                let entered = index.enter(&keys).map_err(StoreError::from);
                entered.map(|()| {
                    index.note_entered(end);
                    end
                })
            }
            _ => index_keys(&run.store.log, index, run.indexed..end),
        };
        run.reads_keys = entered.is_err();
        match entered {
            Ok(end) => run.indexed = end,
            Err(error) => assert!(run.is_faulty, "keys cannot be entered: {error}"),
        }
    }

    fn write_back(&mut self) {
        let run = self.run();
        let written = run.store.write_back();
        run.check(written);
    }

    fn checkpoint(&mut self) {
        let now_ms = self.now_ms;
        let run = self.run();
        let store_ms = run.dispatch.last_store_timestamp_ms().min(now_ms);
        let saved = run.store.save_checkpoint(run.dispatch.position(), store_ms);
        run.check(saved);
    }

    fn change_writer(&mut self) {
        let run = self.run();
        run.writer = None;
        run.resume_writer();
    }

    /// The oldest segment goes.
    fn expire(&mut self) {
        let forces = self.dice.bool();
        let run = self.run();
        let log = &run.store.log;
        if !run.store.retire(log.begin()) {
            return;
        }
        let begin = log.begin();
        run.indexed = run.indexed.max(begin);
        let forgotten = run.store.forget_removed();
        run.check(forgotten);
        let removed = run.store.log.remove_retired(forces);
        run.check(removed.map(drop).map_err(StoreError::from));
        // A crash may have left segments whose messages queues have forgotten already.
        let before = self.history.expired_below;
        self.history.expired_below = before.max(begin);
    }

    /// A topic goes, and is made again at once: the next message of that name is the new one's.
    fn delete_topic(&mut self) {
        let topic = *self.dice.choice(&TOPICS).unwrap_or(&TOPICS[0]);
        let topic = TopicName::new(topic).expect("that is a name");
        let run = self.run();
        let below = run.store.log.appended();
        let deleted = run.store.delete_topic(&topic, run.dispatch.position());
        run.check(deleted);
        self.history.deleted_below.insert(topic, below);
    }

    /// Something is to go wrong soon.
    fn arm(&mut self) {
        let after = self.dice.u64(1..30);
        let fault = self.dice.u8(0..4);
        self.run().is_faulty = true;
        match fault {
            0 => {
                self.disk.fail_sync(after);
                // What the kernel forgot stays in its memory until the power goes.
                self.run().is_doomed = true;
            }
            1 => self.disk.fail_write(after),
            2 => self
                .disk
                .set_capacity(self.disk.used_bytes() + 1000 * after),
            // Nothing gets through any more: the power is off, or the process ends in the middle of something.
            _ => self.disk.cut_power_after(after),
        }
    }

    /// Ends the run in some way, opens what is left, and checks it.
    pub(crate) fn stop_and_open_again(&mut self) {
        let run = self.run.take().expect("the store is open");
        let mut stop = match self.dice.u8(0..10) {
            0..2 => Stop::Clean,
            2..5 => Stop::Kill,
            _ => Stop::PowerCut,
        };
        let mut was_clean = Some(stop == Stop::Clean);
        if stop == Stop::Clean
            && let Err(error) = run.store.close(run.dispatch.position())
        {
            assert!(run.is_faulty, "the store cannot be closed: {error}");
            stop = Stop::Kill;
            // The last step may be all that failed.
            was_clean = None;
        }
        if stop == Stop::Kill && run.is_doomed {
            stop = Stop::PowerCut;
        }
        let appended = run.store.log.appended();
        let durable = run.store.log.flushed();
        let kept = match stop {
            Stop::Clean | Stop::Kill => appended,
            Stop::PowerCut => durable,
        };
        self.crashes += u64::from(stop != Stop::Clean);
        self.disk = match stop {
            Stop::Kill => self.disk.kill(),
            // What was closed is durable.
            Stop::Clean | Stop::PowerCut => self.disk.crash(self.dice.u64(..)),
        };
        self.disk.set_capacity(1 << 40);
        drop(run);
        self.open(kept, durable, was_clean);
    }

    /// Opens the store, perhaps only after power cuts, and checks it. The log was kept up to `kept`, and was durable up to
    /// `durable`.
    fn open(&mut self, mut kept: PhysicalOffset, durable: PhysicalOffset, was_clean: Option<bool>) {
        let mut is_first = true;
        let (store, report) = loop {
            let is_cut = self.dice.u8(0..5) == 0;
            if is_cut {
                self.disk.cut_power_after(self.dice.u64(0..60));
            }
            let opened = Store::open(Arc::new(self.disk.clone()), self.options.clone());
            match opened {
                Ok(opened) if !is_cut => break opened,
                Err(error) if !is_cut => panic!("the store cannot be opened: {error}"),
                _ => {}
            }
            // A start that was cut off is a crash as well.
            self.crashes += 1;
            is_first = false;
            self.disk = match self.dice.bool() {
                true => self.disk.kill(),
                false => {
                    kept = durable;
                    self.disk.crash(self.dice.u64(..))
                }
            };
        };
        if let Some(was_clean) = was_clean.filter(|_| is_first) {
            assert_eq!(report.was_clean, was_clean);
            let is_filled_again = was_clean && report.dispatched > 0;
            assert!(!is_filled_again, "queues were not as they were left");
            let is_behind = store.indexed().is_some_and(|to| to < store.log.appended());
            let lacks_keys = was_clean && is_behind;
            assert!(!lacks_keys, "keys were not entered before a clean stop");
        }
        self.history.check_log(&store, kept);
        let (begin, end) = (store.log.begin(), store.log.appended());
        self.history.check_queues(&store, begin, end);
        if let (Some(index), Some(from)) = (&store.index, store.indexed()) {
            index_keys(&store.log, index, from..end).expect("keys can be entered");
        }
        self.history.check_index(&store, begin, end);
        let mut run = Run {
            dispatch: Dispatch::new(
                store.log.clone(),
                store.queues.clone(),
                Default::default(),
                end,
            )
            .finding_keys(),
            writer: None,
            store,
            next: BTreeMap::new(),
            indexed: end,
            reads_keys: false,
            is_faulty: false,
            is_doomed: false,
        };
        run.resume_writer();
        self.run = Some(run);
    }
}

impl Run {
    fn resume_writer(&mut self) {
        self.writer = match LogWriter::resume(self.store.log.clone()) {
            Ok(writer) => Some(writer),
            Err(error) => {
                assert!(self.is_faulty, "there is no writer: {error}");
                None
            }
        };
    }

    fn check(&self, result: Result<(), StoreError>) {
        if let Err(error) = result {
            assert!(self.is_faulty, "{error}");
        }
    }
}
