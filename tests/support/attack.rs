//! Bytes that no honest client sends, from many connections.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use procfs::process::Status;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::process::Process;

/// Settings under which a broker is attacked.
pub const SETTINGS: [(&str, &str); 9] = [
    ("store.commit_log_segment_bytes", "33554432"),
    ("store.index_hash_slots", "1000"),
    ("store.index_max_entries", "10000"),
    ("limits.max_message_bytes", "1048576"),
    // Names are bent too, and each that is good enough makes a topic.
    ("limits.max_topics", "200"),
    ("limits.max_groups", "200"),
    ("limits.handshake_timeout_ms", "1000"),
    ("limits.idle_timeout_ms", "20000"),
    ("retention.force_clean_enabled", "false"),
];

/// What may stay taken of what was not before: caches and the allocator's own.
pub const KEPT_BYTES: u64 = 24 << 20;

/// What is sent over such a connection.
pub trait Bent {
    /// How it begins.
    fn any_opening(&self) -> Vec<u8>;

    /// What comes next.
    fn any_frame(&self) -> Vec<u8>;
}

/// Frames still to be sent.
type Budget = Rc<Cell<u64>>;

fn take(budget: &Budget) -> bool {
    let left = budget.get();
    budget.set(left.saturating_sub(1));
    left > 0
}

/// Sends bent frames over one connection until it is closed, or it has sent enough.
async fn attack_once(stock: &impl Bent, address: &str, budget: &Budget) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(&stock.any_opening()).await?;
    // Some never read what they are answered.
    let reads = fastrand::u8(..8) > 0;
    let mut answers = vec![0; 64 * 1024];
    for _ in 0..fastrand::u32(1..40) {
        if !take(budget) {
            break;
        }
        let frame = stock.any_frame();
        // Some come in pieces, and the last piece of some never comes.
        let (first, rest) = frame.split_at(fastrand::usize(..=frame.len()));
        socket.write_all(first).await?;
        if fastrand::u8(..4) == 0 {
            tokio::task::yield_now().await;
        }
        if fastrand::u8(..32) == 0 {
            break;
        }
        socket.write_all(rest).await?;
        if reads && !read_all(&socket, &mut answers)? {
            return Ok(());
        }
    }
    if fastrand::u8(..16) == 0 {
        // Half open for a while.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..50))).await;
    }
    Ok(())
}

/// Reads what is there; false at the end of the connection.
fn read_all(socket: &TcpStream, answers: &mut [u8]) -> std::io::Result<bool> {
    loop {
        match socket.try_read(answers) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

/// Attacks until the frames are used up.
pub async fn attack(stock: impl Bent + 'static, broker: &Process, connections: u64, frames: u64) {
    let budget: Budget = Rc::new(Cell::new(frames));
    let stock = Rc::new(stock);
    let mut tasks = Vec::new();
    for number in 0..connections {
        let (budget, stock) = (budget.clone(), stock.clone());
        let address = match number % 4 {
            0 => broker.name_server.clone(),
            _ => broker.broker.clone(),
        };
        tasks.push(actix_rt::spawn(async move {
            while budget.get() > 0 {
                // A connection that was closed in the middle of a frame is what this is about.
                let _ = attack_once(&*stock, &address, &budget).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("attackers do not panic");
    }
}

/// Bytes of memory of the process's own: what is mapped from files, the log above all, is the page cache's.
pub fn own_bytes(broker: &Process) -> u64 {
    bytes(broker, |status| status.rssanon)
}

pub fn bytes(broker: &Process, kib: fn(&Status) -> Option<u64>) -> u64 {
    let pid = i32::try_from(broker.id()).expect("a number of a process");
    let status = procfs::process::Process::new(pid).and_then(|process| process.status());
    kib(&status.expect("the process lives")).expect("a number of KiB") * 1024
}

pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
