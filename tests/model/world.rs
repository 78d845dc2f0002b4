//! A broker in a world of its own: a disk in memory that forgets what was not synced, and time that is told to go by.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use castmq_actors::supervision::TreeNode;
use castmq_actors::{Node, Parts, Surroundings, jobs_under_way};
use castmq_client::Client;
use castmq_config::{Flush, Settings};
use castmq_storage::disk::Disk;
use castmq_storage::disk::fault::FaultDisk;
use castmq_storage::lock::StoreLock;
use fastrand::Rng;
use tempfile::TempDir;

use crate::support::settings;

use super::time::{Time, Wall};

/// How long clients wait for an answer: what is tested are not timeouts.
pub const PATIENCE: Duration = Duration::from_secs(3600);

/// How a broker's life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Stop,
    /// The process is killed: what was written is there.
    Kill,
    /// What was not synced may be gone, page by page.
    PowerCut,
}

/// What outlives a broker.
pub struct World {
    pub wall: Wall,
    pub dice: Rng,
    settings: Settings,
    disk: FaultDisk,
    folder: TempDir,
    lives: u32,
}

/// A broker that runs.
pub struct Life {
    pub time: Time,
    pub client: Client,
    pub node: Node,
    /// 1 is the first.
    pub number: u32,
    /// When it was ready, by the wall clock.
    pub since_ms: i64,
}

impl World {
    pub fn new(seed: u64, adjust: impl FnOnce(&mut Settings)) -> Self {
        let mut dice = Rng::with_seed(seed);
        let folder = folder();
        // The client's choices.
        fastrand::seed(seed);
        let mut settings = settings(folder.path());
        settings.store.commit_log_segment_bytes = 1 << 20;
        settings.store.index_enabled = false;
        settings.limits.max_message_bytes = 100_000;
        if dice.bool() {
            settings.store.flush = Flush::Sync;
        }
        adjust(&mut settings);
        let disk = FaultDisk::new();
        // What retention looks at is no part of this.
        disk.set_now(SystemTime::now());
        Self {
            wall: Wall::default(),
            dice,
            settings,
            disk,
            folder,
            lives: 0,
        }
    }

    /// Any ending that loses nothing of what was answered.
    pub fn any_ending(&mut self) -> Ending {
        let is_sync = self.settings.store.flush == Flush::Sync;
        match self.dice.u8(..4) {
            0 => Ending::Stop,
            1 | 2 if is_sync => Ending::PowerCut,
            _ => Ending::Kill,
        }
    }

    /// Waits for worker threads to let go of the folder. How long they take is no matter of the node's time.
    fn wait_until_free(&self) {
        let folder = &self.settings.store.data_dir;
        while StoreLock::take(folder, &folder.join("abort")).is_err() {
            std::thread::yield_now();
        }
    }

    /// Lets a broker live on what the one before left. When `course` is over, whatever it had under way is never heard of
    /// again.
    pub fn live<T>(&mut self, ending: Ending, course: impl AsyncFnOnce(&Life, &mut Rng) -> T) -> T {
        self.lives += 1;
        let (number, disk) = (self.lives, self.disk.clone());
        let (settings, dice) = (&self.settings, &mut self.dice);
        let metadata = settings.store.data_dir.join("metadata");
        let kept = self.folder.path().join("kept");
        let wall = self.wall.clone();
        let (result, left) = wall.run(async |time| {
            let node = start(Arc::new(disk.clone()), settings, time.clone()).await;
            let life = Life {
                client: connect(&node).await,
                since_ms: time.now_ms(),
                time,
                node,
                number,
            };
            let result = course(&life, dice).await;
            // Looking takes a few turns, in which something under way may come to an end.
            if ending == Ending::Stop || dice.u8(..4) == 0 {
                check_tree(&life.node.tree().snapshot().await);
            }
            // From here on nothing of the broker runs until what it leaves is known.
            while jobs_under_way() > 0 {
                std::thread::yield_now();
            }
            let left = match ending {
                Ending::Stop => None,
                Ending::Kill => Some(disk.kill()),
                Ending::PowerCut => Some(disk.crash(dice.u64(..))),
            };
            if left.is_some() {
                copy(&metadata, &kept);
            }
            drop(life.client);
            crate::support::stop(life.node).await;
            (result, left)
        });
        self.wait_until_free();
        if let Some(left) = left {
            self.disk = left;
            fs::remove_dir_all(&metadata).expect("it is nobody's any more");
            fs::rename(&kept, &metadata).expect("there is nothing in the way");
        }
        result
    }
}

/// A folder whose name no other test has, though names are made of what the seed decides.
fn folder() -> TempDir {
    static WORLDS: AtomicU32 = AtomicU32::new(0);
    let number = WORLDS.fetch_add(1, Ordering::Relaxed);
    let prefix = format!("castmq-model-{}-{number}-", std::process::id());
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir();
    folder.expect("a folder")
}

/// A node on one thread, in a time of its own.
pub async fn start(disk: Arc<dyn Disk>, settings: &Settings, time: Time) -> Node {
    let surroundings = Surroundings::default()
        .disk(disk)
        .clock(move || time.now_ms())
        .one_thread();
    let node = Node::start_in(surroundings, settings, Parts::Standalone);
    node.await.expect("the node starts")
}

/// Nothing has failed: what a restart mends is hidden well.
fn check_tree(node: &TreeNode) {
    assert_eq!(node.restarts, 0, "{}: {:?}", node.name, node.last_failure);
    node.children.iter().for_each(check_tree);
}

/// With patience: what is tested are not timeouts.
pub async fn connect(node: &Node) -> Client {
    let address = node.name_server_address().expect("a name server");
    let client = Client::builder()
        .name_servers([address.to_string()])
        .connect_timeout(PATIENCE)
        .request_timeout(PATIENCE);
    client.build().await.expect("the client connects")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target: PathBuf = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("a copy")),
        }
    }
}
