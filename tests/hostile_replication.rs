//! Masters and slaves that are none: bent handshakes and streams, on the port for slaves and from what a slave takes for its
//! master. Nothing panics, nothing is lost, and memory stays.
//!
//! `CASTMQ_HOSTILE_HANDSHAKES` says how many; `CASTMQ_HOSTILE_SEED` repeats those of an earlier run.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

#[allow(dead_code)]
#[path = "replication/set.rs"]
mod set;
mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use castmq_actors::Parts;
use castmq_client::model::{PhysicalOffset, QueueId, QueueOffset, TopicConfig};
use castmq_client::raw::{Request, Response, Role as Speaker, ServerHeader};
use castmq_client::{BrokerAdmin, SendStatus};
use castmq_config::Role;
use castmq_protocol::ha::{encode_committed, encode_header};
use castmq_protocol::native::frame::{Frames, PREFACE, decode_header, encode_frame};
use castmq_protocol::native::replication::{
    Follow, Followed, GroupOffset, LogEpoch, MetadataChange, MetadataChanges, SyncMetadata,
};
use castmq_protocol::native::{ClientHeader, Welcome};
use procfs::process::Process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use set::{
    Running, admin, broker, client, details, in_step, name_server, send, slave, standing, step,
};
use support::hostile::{any_role, frame, opening};
use support::{number, run, seed, until};

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts panics of any thread from here on.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            before(info);
        }));
    });
}

fn flip(bytes: &mut [u8]) {
    for _ in 0..fastrand::usize(1..6) {
        let at = fastrand::usize(..bytes.len());
        bytes[at] ^= 1 << fastrand::u8(..8);
    }
}

/// What may stay taken of what was not before: caches, and what the allocator keeps.
const KEPT_BYTES: u64 = 128 << 20;

/// Bytes of memory of the process's own.
fn own_bytes() -> u64 {
    let status = Process::myself().and_then(|process| process.status());
    let kib = status.expect("it lives").rssanon;
    kib.expect("a number of KiB") * 1024
}

fn noise() -> Vec<u8> {
    let noise = std::iter::repeat_with(|| fastrand::u8(..));
    noise.take(fastrand::usize(1..300)).collect()
}

fn any_place(end: u64) -> u64 {
    let known = [
        0,
        1,
        end,
        end.wrapping_sub(1),
        end + 1,
        8 << 20,
        1 << 40,
        i64::MAX as u64,
        u64::MAX,
    ];
    known[fastrand::usize(..known.len())]
}

fn any_epochs(end: u64) -> Vec<LogEpoch> {
    let entry = || LogEpoch {
        epoch: [0, 1, 2, 3, u32::MAX][fastrand::usize(..5)],
        run: fastrand::u64(..),
        start: PhysicalOffset(any_place(end)),
    };
    let count = [0, 1, 2, 5, 2000][fastrand::usize(..5)];
    std::iter::repeat_with(entry).take(count).collect()
}

/// What a connection to the port for slaves says.
fn any_slave(known: &Follow) -> Vec<u8> {
    let end = known.log_end.0;
    let report = || i64::to_be_bytes(any_place(end) as i64);
    match fastrand::u8(..10) {
        0 => noise(),
        1 => report()
            .into_iter()
            .chain(report())
            .chain(noise())
            .collect(),
        2 => {
            let mut hello = opening(Speaker::Broker);
            hello.truncate(fastrand::usize(..hello.len()));
            hello
        }
        3 => [opening(any_role()), noise()].concat(),
        4 => {
            let offsets = (0..fastrand::usize(..50)).map(|number| GroupOffset {
                group: "x".repeat(number * 10),
                topic: format!("topic-{number}"),
                queue: QueueId(fastrand::u32(..)),
                offset: Some(QueueOffset(any_place(end))),
            });
            let sync = frame(Request::SyncMetadata(SyncMetadata {
                broker_id: fastrand::u64(..3),
                offsets: offsets.collect(),
            }));
            [opening(Speaker::Broker), sync.clone(), sync].concat()
        }
        kind => {
            let mut follow = known.clone();
            match fastrand::u8(..5) {
                0 => follow.log_end = PhysicalOffset(any_place(end)),
                1 => follow.log_begin = PhysicalOffset(any_place(end)),
                2 => follow.epochs = any_epochs(end),
                3 => follow.broker_id = any_place(end),
                _ => {}
            }
            let mut bytes = frame(Request::Follow(follow));
            if kind < 7 {
                flip(&mut bytes);
            }
            let reports: Vec<u8> = std::iter::repeat_with(report).take(3).flatten().collect();
            [opening(Speaker::Broker), bytes, reports].concat()
        }
    }
}

/// One connection; what it is answered is thrown away.
async fn attack(address: &str, known: &Follow) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(&any_slave(known)).await?;
    if fastrand::u8(..8) == 0 {
        return Ok(());
    }
    socket.shutdown().await?;
    let mut answers = [0; 4096];
    while socket.read(&mut answers).await? > 0 {}
    Ok(())
}

async fn has_links(at: &BrokerAdmin) -> bool {
    let tree = at.actors().await.expect("the tree");
    tree.contains("replication-link(")
}

#[test]
fn bent_slaves_disturb_no_master() {
    count_panics();
    seed("CASTMQ_HOSTILE_SEED");
    let handshakes = number("CASTMQ_HOSTILE_HANDSHAKES", 10_000);
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let name_server = name_server(folder.path()).await;
        let mut settings = broker(folder.path(), 0, Role::SyncMaster, &[&name_server]);
        settings.limits.handshake_timeout_ms = 1_000;
        settings.replication.housekeeping_interval_ms = 1_000;
        let master = Running::start(&settings, Parts::Broker).await;
        let client = client(&name_server).await;
        let at = admin(&client, &master.address);
        send(&client, "orders", 0..100).await;
        let ha_address = standing(&at).await.ha_address;
        // Known to name servers, so that bent slaves get as far as possible in its name; its own master is nowhere.
        let mut settings = broker(folder.path(), 1, Role::Slave, &[&name_server]);
        let right = settings.clone();
        settings.replication.ha_master_address = "127.0.0.1:1".parse().ok();
        let real = Running::start(&settings, Parts::Broker).await;
        until(async || {
            let sets = client.admin().brokers().await.expect("brokers");
            sets.iter().any(|set| set.addresses.len() == 2)
        })
        .await;
        let known = Follow {
            cluster: "DefaultCluster".into(),
            broker: "broker-a".into(),
            broker_id: 1,
            address: real.address.clone(),
            segment_bytes: 8 << 20,
            log_begin: PhysicalOffset(0),
            log_end: PhysicalOffset(0),
            epochs: Vec::new(),
        };
        let before = own_bytes();
        let left = Rc::new(Cell::new(handshakes));
        let mut tasks = Vec::new();
        for _ in 0..60 {
            let (left, ha_address, known) = (left.clone(), ha_address.clone(), known.clone());
            tasks.push(actix_rt::spawn(async move {
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    // A connection that is closed in the middle is what this is about.
                    let _ = attack(&ha_address, &known).await;
                }
            }));
        }
        for task in tasks {
            task.await.expect("attackers do not panic");
        }
        until(async || !has_links(&at).await).await;
        let after = own_bytes();
        assert!(
            after < before + KEPT_BYTES,
            "{before} before, {after} after"
        );
        assert_eq!(standing(&at).await.role, "sync_master");
        real.stop().await;
        let real = Running::start(&right, Parts::Broker).await;
        step(&at, 1, true).await;
        let sent = async || send(&client, "orders", 0..1).await[0].status;
        until(async || sent().await == SendStatus::Stored).await;
        real.stop().await;
        master.stop().await;
        name_server.stop().await;
    });
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

fn answer(correlation: u64, response: Response) -> Vec<u8> {
    let header = ServerHeader {
        correlation,
        response,
    };
    let mut out = BytesMut::new();
    encode_frame(&header, &[], &mut out);
    out.to_vec()
}

/// What a master that is none takes from the real one.
#[derive(Clone)]
struct Disguise {
    welcome: Welcome,
    /// The first record of the log.
    record: Vec<u8>,
}

impl Disguise {
    fn any_welcome(&self) -> Welcome {
        let mut welcome = self.welcome.clone();
        match fastrand::u8(..8) {
            0 => welcome.cluster = "other".into(),
            1 => welcome.store_host = "127.0.0.1:1".into(),
            2 => welcome.broker = "b".repeat(1000),
            _ => {}
        }
        welcome
    }

    /// Where a slave is to go on; never twice the same that would make it a copy of something else by the word of who it has to trust.
    fn any_followed(&self, follow: &Follow) -> Followed {
        let end = follow.log_end.0;
        let same = (follow.log_end, follow.epochs.clone());
        let (from, epochs) = match fastrand::u8(..7) {
            0 => (PhysicalOffset(end + 1), follow.epochs.clone()),
            1 => (PhysicalOffset(end / 2), follow.epochs.clone()),
            2 => (PhysicalOffset(0), follow.epochs.clone()),
            3 => (follow.log_end, any_epochs(end)),
            4 => (PhysicalOffset(any_place(end)), any_epochs(end)),
            5 => {
                let later = follow.segment_bytes * fastrand::u64(1..1 << 36);
                (PhysicalOffset(later), follow.epochs.clone())
            }
            _ => same,
        };
        Followed {
            from,
            epochs,
            is_sync: fastrand::bool(),
        }
    }

    /// A stream without a whole record that is good.
    fn any_stream(&self, end: u64) -> Vec<u8> {
        let place = |bytes: &mut Vec<u8>, at: u64| {
            if let Some(field) = bytes.get_mut(28..36) {
                field.copy_from_slice(&at.to_be_bytes());
            }
        };
        let mut record = self.record.clone();
        place(&mut record, end);
        match fastrand::u8(..7) {
            0 => return noise(),
            1 => {
                // Never-ending.
                let header = encode_header(PhysicalOffset(end), i32::MAX as usize);
                return [&header[..], &record[..record.len() / 2]].concat();
            }
            2 => {
                let at = PhysicalOffset(any_place(end) & (u64::MAX >> 1));
                let elsewhere = at.0 != end;
                let body = if elsewhere { &record[..] } else { &[0; 64][..] };
                return [&encode_header(at, body.len())[..], body].concat();
            }
            3 => {
                let committed = encode_committed(PhysicalOffset(i64::MAX as u64));
                return [&committed[..], &noise()[..]].concat();
            }
            4 => record[4..8].fill(0),
            5 => {
                let lie = [0, 1, 87, 1 << 20, i32::MAX, -1][fastrand::usize(..6)];
                record[..4].copy_from_slice(&i32::to_be_bytes(lie));
            }
            _ => {
                let body = record.len() / 2;
                record[body..].fill(fastrand::u8(..));
                record[8] ^= 1;
            }
        }
        [
            &encode_header(PhysicalOffset(end), record.len())[..],
            &record[..],
        ]
        .concat()
    }

    fn any_changes() -> MetadataChanges {
        let name = || ["", "orders", " ", "%RETRY%x", "a/b"][fastrand::usize(..5)].to_owned();
        let change = || match fastrand::u8(..4) {
            0 => MetadataChange::Topic {
                name: format!("made-up-{}", fastrand::u8(..4)) + &name(),
                config: TopicConfig::with_queues(fastrand::u32(..8)),
            },
            1 => MetadataChange::Needed(PhysicalOffset(fastrand::u64(..))),
            2 => MetadataChange::Offset(GroupOffset {
                group: name(),
                topic: name(),
                queue: QueueId(fastrand::u32(..)),
                offset: Some(QueueOffset(fastrand::u64(..))),
            }),
            _ => MetadataChange::GroupGone { name: name() },
        };
        MetadataChanges {
            changes: std::iter::repeat_with(change).take(20).collect(),
            more: fastrand::bool(),
        }
    }

    /// Says something to one connection of a slave.
    async fn serve(self, mut socket: TcpStream) -> std::io::Result<()> {
        let mut input = BytesMut::new();
        while input.len() < PREFACE.len() {
            if socket.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        }
        let _ = input.split_to(PREFACE.len());
        loop {
            let mut frames = Frames::new(&input, 1 << 20);
            let Some(Ok(frame)) = frames.next() else {
                if socket.read_buf(&mut input).await? == 0 {
                    return Ok(());
                }
                continue;
            };
            let Ok((header, _)) = decode_header::<ClientHeader>(frame) else {
                return Ok(());
            };
            let consumed = frames.consumed();
            let _ = input.split_to(consumed);
            let mut end = None;
            let response = match header.request {
                Request::Hello(_) => Response::Welcome(self.any_welcome()),
                Request::Follow(follow) => {
                    end = Some(follow.log_end.0);
                    Response::Followed(self.any_followed(&follow))
                }
                _ => Response::Metadata(Self::any_changes()),
            };
            let mut out = answer(header.correlation, response);
            let bend = fastrand::u8(..16);
            match bend {
                0 => flip(&mut out),
                1 => out = noise(),
                2 => out.truncate(fastrand::usize(..out.len())),
                _ => {}
            }
            if bend < 3 {
                // A slave that waits for the rest is not what this is about.
                return socket.write_all(&out).await;
            }
            if let Some(end) = end {
                out.extend(self.any_stream(end));
                socket.write_all(&out).await?;
                socket.shutdown().await?;
                let mut reports = [0; 256];
                while socket.read(&mut reports).await? > 0 {}
                return Ok(());
            }
            socket.write_all(&out).await?;
        }
    }
}

/// The first record of a log, and how the real master welcomes.
async fn disguise(ha_address: &str, data: &std::path::Path) -> Disguise {
    let mut wire = support::wire::Wire::silent(ha_address).await;
    wire.say(&opening(Speaker::Broker)).await;
    let Response::Welcome(welcome) = wire.answer().await else {
        panic!("no welcome");
    };
    let log = std::fs::read(data.join("commitlog/00000000000000000000")).expect("a log");
    let length = u32::from_be_bytes(log[..4].try_into().expect("a length"));
    let record = log[..length as usize].to_vec();
    Disguise { welcome, record }
}

#[test]
fn bent_masters_take_nothing_from_a_slave() {
    count_panics();
    seed("CASTMQ_HOSTILE_SEED");
    // A slave tries again after a while, so these take longer.
    let handshakes = number("CASTMQ_HOSTILE_HANDSHAKES", 1_000);
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let name_server = name_server(folder.path()).await;
        let settings = broker(folder.path(), 0, Role::SyncMaster, &[&name_server]);
        let master = Running::start(&settings, Parts::Broker).await;
        let client = client(&name_server).await;
        let at = admin(&client, &master.address);
        let ha_address = standing(&at).await.ha_address;
        let rights: Vec<_> = (1..=4)
            .map(|id| broker(folder.path(), id, Role::Slave, &[&name_server]))
            .collect();
        send(&client, "orders", 0..1000).await;
        let end = details(&at).await.log_appended;
        for right in &rights {
            let running = Running::start(right, Parts::Broker).await;
            in_step(&at, &admin(&client, &running.address)).await;
            running.stop().await;
        }
        // A log that nobody has open is all in its files.
        let disguise = disguise(&ha_address, &rights[0].store.data_dir).await;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let hostile = listener.local_addr().expect("an address");
        let served = Rc::new(Cell::new(0));
        let counted = served.clone();
        let serving = actix_rt::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                counted.set(counted.get() + 1);
                actix_rt::spawn(disguise.clone().serve(socket));
            }
        });
        let mut slaves = Vec::new();
        for right in &rights {
            let mut wrong = right.clone();
            wrong.replication.ha_master_address = Some(hostile);
            wrong.replication.heartbeat_interval_ms = 10;
            wrong.replication.housekeeping_interval_ms = 1_000;
            slaves.push(Running::start(&wrong, Parts::Broker).await);
        }
        let before = own_bytes();
        until(async || served.get() >= handshakes).await;
        let after = own_bytes();
        assert!(
            after < before + KEPT_BYTES,
            "{before} before, {after} after"
        );
        for slave in slaves {
            let at_slave = admin(&client, &slave.address);
            let details = details(&at_slave).await;
            assert_eq!((details.log_begin.0, details.log_appended), (0, end));
            slave.stop().await;
        }
        serving.abort();
        for right in &rights {
            let running = Running::start(right, Parts::Broker).await;
            in_step(&at, &admin(&client, &running.address)).await;
            assert!(slave(&at, right.broker.id.into()).await.is_some());
            running.stop().await;
        }
        master.stop().await;
        name_server.stop().await;
    });
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}
