//! Bytes that no honest client sends, from many connections, against the real binary: it serves on, gives memory back, and
//! nothing panics.
//!
//! `CASTMQ_HOSTILE_FRAMES` and `CASTMQ_HOSTILE_CONNECTIONS` say how much; `tests/hostile.sh` sends a million frames over
//! fifty connections. `CASTMQ_HOSTILE_SEED` repeats the frames of an earlier run.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod support;

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use castmq_client::raw::admin::{AdminRequest, AdminResponse};
use castmq_client::raw::{Payload, Request, Response, Role};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use support::hostile::Stock;
use support::load::{Traffic, open};
use support::process::Process;
use support::{number, seed};

const SETTINGS: [(&str, &str); 9] = [
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
const KEPT_BYTES: u64 = 24 << 20;

/// Frames still to be sent.
type Budget = Rc<Cell<u64>>;

fn take(budget: &Budget) -> bool {
    let left = budget.get();
    budget.set(left.saturating_sub(1));
    left > 0
}

/// Sends bent frames over one connection until it is closed, or it has sent enough.
async fn attack_once(stock: &Stock, address: &str, budget: &Budget) -> std::io::Result<()> {
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
async fn attack(broker: &Process, connections: u64, frames: u64) {
    let budget: Budget = Rc::new(Cell::new(frames));
    let stock = Rc::new(Stock::default());
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
                let _ = attack_once(&stock, &address, &budget).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("attackers do not panic");
    }
}

/// Bytes of memory of the process's own: what is mapped from files, the log above all, is the page cache's.
fn own_bytes(broker: &Process) -> u64 {
    field(broker, "RssAnon:")
}

fn field(broker: &Process, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.id()));
    let status = status.expect("the process lives");
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number of KiB")
        * 1024
}

/// Keeps asking the name server where a topic is.
async fn keep_asking(traffic: Rc<Traffic>, address: String) -> u64 {
    let connection = open(&address, Role::Admin, "asker")
        .await
        .expect("a connection");
    let mut answers = 0;
    while !traffic.is_over() {
        let route = Request::Route {
            topic: traffic.topics[0].clone(),
        };
        let answer = connection.request(route, Payload::none()).await;
        answers += u64::from(answer.is_ok());
        assert!(
            answers == 0 || answer.is_ok(),
            "the route is gone: {answer:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    answers
}

/// Sessions in the broker's tree.
async fn sessions(broker: &Process) -> usize {
    let connection = open(&broker.broker, Role::Admin, "operator")
        .await
        .expect("a connection");
    let request = Request::Admin(AdminRequest::Actors);
    let reply = connection
        .request(request, Payload::none())
        .await
        .expect("the tree");
    let Response::Admin(AdminResponse::Json(json)) = reply.header.response else {
        panic!("no tree: {:?}", reply.header);
    };
    json.matches("hostile@").count()
}

#[test]
fn a_million_bent_frames_disturb_nobody() {
    let frames = number("CASTMQ_HOSTILE_FRAMES", 20_000);
    let connections = number("CASTMQ_HOSTILE_CONNECTIONS", 20);
    seed("CASTMQ_HOSTILE_SEED");
    let folder = tempfile::tempdir().expect("a folder");
    let mut broker = Process::spawn(&folder.path().join("data"), &SETTINGS);
    broker.ready();
    actix_rt::System::new().block_on(async {
        let traffic = Traffic::new(&["well-behaved-and-far-from-orders"]);
        traffic.set_slow(true);
        let (producing, consuming) = (traffic.clone(), traffic.clone());
        let (to, from) = (broker.broker.clone(), broker.broker.clone());
        let producer = actix_rt::spawn(async move { producing.produce(&to).await });
        let consumer = actix_rt::spawn(async move { consuming.consume(&from, "well-behaved").await });
        let asker = keep_asking(traffic.clone(), broker.name_server.clone());
        let asker = actix_rt::spawn(asker);
        traffic.reach(100).await;
        // Topics and groups up to their limits, and what the allocator keeps, are there after the first part.
        attack(&broker, connections, frames / 10).await;
        let before = own_bytes(&broker);
        let started = Instant::now();
        attack(&broker, connections, frames - frames / 10).await;
        let (peak, elapsed) = (field(&broker, "VmHWM:"), started.elapsed());
        let acknowledged = traffic.acknowledged();
        traffic.reach(acknowledged + 100).await;
        while sessions(&broker).await > 0 || own_bytes(&broker) > before + KEPT_BYTES {
            let waited = started.elapsed() - elapsed;
            let own = own_bytes(&broker);
            assert!(waited < Duration::from_secs(60), "{own} bytes are taken, {before} were");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        traffic.end();
        producer.await.expect("no panic").expect("the producer was served throughout");
        consumer.await.expect("no panic").expect("the consumer was served throughout");
        assert!(asker.await.expect("no panic") > 0);
        let figures = traffic.verify(&broker.broker).await;
        assert_eq!((figures.refused, figures.unknown), (0, 0), "{figures:?}");
        println!(
            "{frames} frames over {connections} connections, the last nine tenths in {:.1} s; own memory {:.1} MiB before, {:.1} MiB after, all of it with mapped files {:.1} MiB now and {:.1} MiB at most; {figures:?}",
            elapsed.as_secs_f64(),
            mib(before),
            mib(own_bytes(&broker)),
            mib(field(&broker, "VmRSS:")),
            mib(peak),
        );
    });
    assert_eq!(broker.panics(), Vec::<String>::new());
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
