//! A broker's machine: what outlives its processes, and how those end.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use castmq_actors::{Node, Parts, Surroundings};
use castmq_config::Settings;
use castmq_storage::disk::fault::FaultDisk;
use castmq_storage::lock::StoreLock;
use fastrand::Rng;
use tempfile::TempDir;
use tokio::sync::Notify;

use super::record::Record;
use super::shape::{Seat, Shape};

/// The time of the first moment, since 1970.
pub const EPOCH: Duration = Duration::from_millis(1_700_000_000_000);

/// How a broker's process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Stop,
    /// It is killed: what was written is there.
    Kill,
    /// What was not synced may be gone, page by page.
    PowerCut,
}

/// See the module.
pub struct Machine {
    pub seat: Seat,
    settings: Settings,
    record: Record,
    disk: RefCell<FaultDisk>,
    /// Tells the process that runs to stop.
    stop: RefCell<Rc<Notify>>,
    /// The metadata is on the operating system's disk. A power cut finds it as the end of the process does.
    folder: TempDir,
}

impl Machine {
    pub fn new(shape: &Shape, seat: &Seat, address: String, record: &Record) -> Rc<Self> {
        let folder = folder();
        let store = folder.path().join("store");
        fs::create_dir(&store).expect("a folder");
        let disk = FaultDisk::new();
        disk.set_now(UNIX_EPOCH + EPOCH);
        Rc::new(Self {
            seat: seat.clone(),
            settings: shape.broker_settings(seat, address, &store),
            record: record.clone(),
            disk: RefCell::new(disk),
            stop: RefCell::default(),
            folder,
        })
    }

    /// A broker's life, until it is told to stop or its host crashes.
    pub async fn live(self: Rc<Self>) -> turmoil::Result {
        let stop = Rc::new(Notify::new());
        *self.stop.borrow_mut() = stop.clone();
        let disk = self.disk.borrow().clone();
        let surroundings = Surroundings::default()
            .disk(Arc::new(disk))
            .clock(now_ms)
            .one_thread();
        let node = Node::start_in(surroundings, &self.settings, Parts::Broker).await?;
        let report = node.open_report();
        let report = report
            .map(|report| format!("{:?}", report.log))
            .unwrap_or_default();
        self.say(format_args!("is up: {report}"));
        let late = node.run(stop.notified()).await?;
        self.say(format_args!("has stopped; late: {late:?}"));
        Ok(())
    }

    fn say(&self, what: std::fmt::Arguments<'_>) {
        self.record
            .trace
            .note_here(format_args!("{} {what}", self.seat.host));
    }

    /// Tells the process to stop.
    pub fn stop(&self) {
        self.stop.borrow().notify_one();
    }

    /// What the end of the process leaves, to be called right before it.
    pub fn left_by(&self, ending: Ending, dice: &mut Rng) -> FaultDisk {
        let disk = self.disk.borrow();
        let left = match ending {
            Ending::Stop => disk.clone(),
            Ending::Kill => disk.kill(),
            Ending::PowerCut => disk.crash(dice.u64(..)),
        };
        let (metadata, kept) = self.metadata();
        if metadata.exists() {
            copy(&metadata, &kept);
        }
        left
    }

    /// The process is gone, and this is what it left.
    pub fn bury(&self, left: FaultDisk) {
        let (metadata, kept) = self.metadata();
        self.wait_until_free();
        if metadata.exists() {
            fs::remove_dir_all(&metadata).expect("it is nobody's any more");
        }
        if kept.exists() {
            fs::rename(&kept, &metadata).expect("there is nothing in the way");
        }
        *self.disk.borrow_mut() = left;
    }

    fn metadata(&self) -> (PathBuf, PathBuf) {
        let metadata = self.settings.store.data_dir.join("metadata");
        (metadata, self.folder.path().join("kept"))
    }

    /// Waits for the metadata's threads to let go of the folder.
    fn wait_until_free(&self) {
        let folder = &self.settings.store.data_dir;
        while StoreLock::take(folder, &folder.join("abort")).is_err() {
            std::thread::yield_now();
        }
    }
}

/// The wall clock of all hosts.
fn now_ms() -> i64 {
    let since_epoch = turmoil::since_epoch().unwrap_or(EPOCH);
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// A folder in memory where there is one: the metadata is opened in each of a broker's lives.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let parent = match memory.is_dir() {
        true => memory.to_owned(),
        false => std::env::temp_dir(),
    };
    // Names are made of what is the same in all runs.
    let prefix = format!("castmq-simulation-{}-", std::process::id());
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent);
    folder.expect("a folder")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("a copy")),
        }
    }
}
