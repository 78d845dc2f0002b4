//! A disk that fills up under load: sends fail with a clear error, reads go on, sends resume when space returns, and nothing
//! acknowledged is lost.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use castmq_actors::{Node, Parts, Surroundings};
use castmq_client::model::{QueueId, QueueOffset};
use castmq_client::raw::request::{Filter, Pull, Resolution, Send, Subscribe};
use castmq_client::raw::response::PullStatus;
use castmq_client::raw::{ErrorCode, Failure, Payload, Request, Response, Retry, Role};
use castmq_client::{Client, Message, TransactionProducer};
use castmq_config::{Flush, Settings};
use castmq_storage::disk::fault::FaultDisk;

use support::load::{Traffic, open};
use support::{admin, client, now_ms, pop, read_until, run, settings, stop, text, until};

/// Bytes of a log segment in this test.
const SEGMENT_BYTES: u64 = 1 << 20;

/// A disk of so many segments, and room for what is small.
fn capacity(segments: u64) -> u64 {
    segments * SEGMENT_BYTES + SEGMENT_BYTES / 2
}

type Producing = actix_rt::task::JoinHandle<castmq_client::Result<()>>;

struct Filling {
    node: Node,
    disk: FaultDisk,
    address: String,
    traffic: Rc<Traffic>,
    producer: Producing,
    /// How far its clock is set ahead.
    ahead_ms: Arc<AtomicI64>,
    settings: Settings,
    _folder: tempfile::TempDir,
}

/// A node on a disk of a few segments, and a producer that does not stop.
async fn filling(segments: u64, change: impl FnOnce(&mut Settings)) -> Filling {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = settings(folder.path());
    settings.store.commit_log_segment_bytes = SEGMENT_BYTES;
    settings.store.index_enabled = false;
    settings.store.consume_queue_file_bytes = 20_000;
    settings.limits.max_message_bytes = 100_000;
    settings.retention.check_interval_ms = 100;
    settings.retention.force_clean_enabled = true;
    change(&mut settings);
    let disk = FaultDisk::new();
    disk.set_capacity(capacity(segments));
    let ahead_ms = Arc::new(AtomicI64::new(0));
    let node = start_on(&disk, &ahead_ms, &settings).await;
    let address = node.broker_address().expect("a broker").to_string();
    let traffic = Traffic::new(&["orders"]);
    let (sending, to) = (traffic.clone(), address.clone());
    let producer = actix_rt::spawn(async move { sending.produce(&to).await });
    Filling {
        node,
        disk,
        address,
        traffic,
        producer,
        ahead_ms,
        settings,
        _folder: folder,
    }
}

async fn start_on(disk: &FaultDisk, ahead_ms: &Arc<AtomicI64>, settings: &Settings) -> Node {
    let ahead = ahead_ms.clone();
    let surroundings = Surroundings::default()
        .disk(Arc::new(disk.clone()))
        .clock(move || now_ms() + ahead.load(Ordering::SeqCst));
    let node = Node::start_in(surroundings, settings, Parts::Standalone);
    node.await.expect("the node starts")
}

/// Sends one message and waits for its answer.
async fn send(address: &str, topic: &str) -> Result<(), Failure> {
    let connection = open(address, Role::Producer, "one")
        .await
        .expect("a connection");
    let (alias, topic) = (0, topic.to_owned());
    let announce = Request::AnnounceTopic { alias, topic };
    connection
        .request(announce, Payload::none())
        .await
        .expect("announced");
    let send = Request::Send(Send {
        topic: 0,
        queue: QueueId(0),
        flags: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 0,
        properties_bytes: 0,
        extras: None,
    });
    // Longer than what is left of most segments that are called full.
    let body = Payload::new(b"", vec![b'x'; 50_000].into());
    match connection.request(send, body).await {
        Ok(_) => Ok(()),
        Err(castmq_client::Error::Refused { failure, .. }) => Err(failure),
        Err(other) => panic!("neither stored nor refused: {other}"),
    }
}

async fn refusal(address: &str) -> Failure {
    loop {
        if let Err(failure) = send(address, "other").await {
            return failure;
        }
    }
}

fn assert_says(failure: &Failure, words: &[&str]) {
    assert_eq!(
        (failure.code, failure.retry),
        (ErrorCode::DiskFull, Retry::Safe),
        "{failure}"
    );
    for word in words {
        assert!(
            failure.message.contains(word),
            "{word:?} is missing: {failure}"
        );
    }
}

async fn end_producing(traffic: &Traffic, producer: Producing) {
    traffic.end();
    let producer = producer.await.expect("no panic");
    producer.expect("the connection holds throughout");
}

async fn end(filling: Filling) {
    end_producing(&filling.traffic, filling.producer).await;
    let figures = filling.traffic.verify(&filling.address).await;
    assert_eq!(figures.unknown, 0, "{figures:?}");
    stop(filling.node).await;
}

fn no_room_for_a_segment(flush: Flush) {
    run(async {
        let filling = filling(4, |settings| {
            settings.store.flush = flush;
            // The watermark has a test of its own.
            settings.retention.disk_refuse_writes_percent = 100;
            settings.retention.force_clean_enabled = false;
        })
        .await;
        let failure = refusal(&filling.address).await;
        assert_says(&failure, &["segment", "bytes are free", "free space"]);
        let stored = filling.traffic.read_all(&filling.address).await;
        let read: usize = stored.expect("reads go on").values().map(Vec::len).sum();
        assert!(read > 1000, "{read}");
        filling.disk.set_capacity(capacity(8));
        while send(&filling.address, "other").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        filling
            .traffic
            .reach(filling.traffic.acknowledged() + 100)
            .await;
        end(filling).await;
    });
}

#[test]
fn sends_fail_while_no_segment_fits_and_resume_when_one_does() {
    no_room_for_a_segment(Flush::Async);
}

#[test]
fn the_same_under_synchronous_flush() {
    no_room_for_a_segment(Flush::Sync);
}

/// How long messages wait on a disk that fills meanwhile.
const DELAY: Duration = Duration::from_millis(500);

/// The one level, and the age at which transactions are asked about.
fn wait_for(settings: &mut Settings, delay: Duration) {
    let ms = delay.as_millis();
    settings.broker.delay_levels = format!("{ms}ms");
    settings.broker.transaction_timeout_ms = ms as u64;
    settings.broker.transaction_check_interval_ms = 50;
    settings.broker.transaction_check_max = 100_000;
}

/// Sends a message of the level, one for a time and half a transaction, which who is returned commits when it is asked about.
async fn send_for_later(client: &Client, delay: Duration) -> TransactionProducer {
    let producer = client.producer().build();
    let message = |body: &'static str| Message::builder("due", body);
    let due_ms = now_ms() + delay.as_millis() as i64;
    let level = message("level").delay_level(1).build();
    let timed = message("timed").deliver_at_ms(due_ms).build();
    for message in [level, timed] {
        let sent = producer.send(message.expect("a message")).await;
        sent.expect("it is stored");
    }
    let transactions = client
        .transaction_producer("payments")
        .topic("due")
        .checker(|_| async { Resolution::Commit })
        .start();
    let transactions = transactions.await.expect("a producer");
    let half = message("half").build().expect("a message");
    drop(transactions.begin(half).await.expect("it is stored"));
    transactions
}

/// Sends a message whose topic is deleted before it is due, and one that is cancelled.
async fn send_what_never_comes(client: &Client, delay: Duration) {
    let producer = client.producer().build();
    let doomed = Message::builder("doomed", "").delay_level(1).build();
    let sent = producer.send(doomed.expect("a message")).await;
    sent.expect("it is stored");
    let admin = admin(client).await;
    admin.delete_topic("doomed").await.expect("it is deleted");
    let at_ms = now_ms() + delay.as_millis() as i64;
    let cancelled = Message::builder("due", "cancelled").property("UNIQ_KEY", "cancelled");
    let cancelled = cancelled.deliver_at_ms(at_ms).build();
    let receipt = producer.send(cancelled.expect("a message")).await;
    let receipt = receipt.expect("it is stored");
    let cancelled = producer.cancel_delivery(&receipt, "cancelled", at_ms);
    cancelled.await.expect("it is cancelled");
}

async fn assert_comes_once(client: &Client) {
    let read = read_until(client, "due", |read| read.len() >= 3).await;
    let mut bodies: Vec<_> = read.iter().map(text).collect();
    bodies.sort();
    assert_eq!(bodies, ["half", "level", "timed"]);
}

#[test]
fn what_is_due_on_a_full_disk_waits_until_there_is_space_and_comes_once() {
    run(async {
        let filling = filling(4, |settings| {
            settings.retention.disk_refuse_writes_percent = 100;
            settings.retention.force_clean_enabled = false;
            wait_for(settings, DELAY);
        })
        .await;
        let client = client(&filling.node).await;
        let due = Instant::now() + DELAY;
        let _asked = send_for_later(&client, DELAY).await;
        // By then the disk is full, and what is due has nowhere to go.
        refusal(&filling.address).await;
        while Instant::now() < due {
            refusal(&filling.address).await;
        }
        // Nobody else is to take the space that returns.
        filling.traffic.end();
        filling.disk.set_capacity(capacity(12));
        assert_comes_once(&client).await;
        end(filling).await;
    });
}

#[test]
fn what_waits_is_kept_however_full_the_disk_is_and_no_longer() {
    const LATER: Duration = Duration::from_secs(3600);
    run(async {
        let filling = filling(40, |settings| {
            settings.retention.check_interval_ms = 10;
            settings.retention.disk_max_used_percent = 30;
            settings.retention.disk_force_clean_percent = 50;
            settings.retention.disk_refuse_writes_percent = 60;
            wait_for(settings, LATER);
        })
        .await;
        let client = client(&filling.node).await;
        let _asked = send_for_later(&client, LATER).await;
        send_what_never_comes(&client, LATER).await;
        let failure = refusal(&filling.address).await;
        assert_says(&failure, &["60", "messages wait in it"]);
        filling
            .ahead_ms
            .fetch_add(LATER.as_millis() as i64, Ordering::SeqCst);
        assert_comes_once(&client).await;
        // Nothing waits any more, and the oldest make room.
        let acknowledged = filling.traffic.acknowledged();
        filling.traffic.reach(acknowledged + 10_000).await;
        end_producing(&filling.traffic, filling.producer).await;
        stop(filling.node).await;
    });
}

#[test]
fn who_has_what_is_known_after_a_start_though_the_oldest_segments_made_room() {
    run(async {
        let filling = filling(20, |settings| {
            settings.retention.check_interval_ms = 10;
            settings.retention.disk_max_used_percent = 30;
            settings.retention.disk_force_clean_percent = 50;
            settings.retention.disk_refuse_writes_percent = 95;
            settings.broker.default_topic_queues = 1;
        })
        .await;
        let client = client(&filling.node).await;
        let workers = pop::connection(&filling.address).await;
        pop::send(&client, pop::numbers(1)).await;
        let first = pop::pop(&workers, pop::one()).await;
        assert_eq!(pop::acknowledge(&workers, first).await, []);
        let admin = admin(&client).await;
        until(async || {
            let details = admin.show_topic(pop::TOPIC).await.expect("the topic");
            details.queues[0].min_offset > QueueOffset(0)
        })
        .await;
        // From here on there is room for what this test sends.
        end_producing(&filling.traffic, filling.producer).await;
        until(async || send(&filling.address, "other").await.is_ok()).await;
        pop::send(&client, pop::numbers(2)).await;
        pop::pop(&workers, pop::one()).await;
        let second = pop::pop(&workers, pop::one()).await;
        assert_eq!(second.len(), 1);
        assert_eq!(pop::acknowledge(&workers, second).await, []);

        stop(filling.node).await;
        let node = start_on(&filling.disk, &filling.ahead_ms, &filling.settings).await;
        let address = node.broker_address().expect("a broker").to_string();
        let workers = pop::connection(&address).await;
        assert_eq!(pop::pop(&workers, pop::one()).await, []);
        stop(node).await;
    });
}

#[test]
fn above_the_watermark_messages_are_refused_until_space_returns() {
    run(async {
        let filling = filling(60, |settings| {
            // Often enough for any machine: little comes between two looks.
            settings.retention.check_interval_ms = 10;
            settings.retention.disk_max_used_percent = 20;
            settings.retention.disk_force_clean_percent = 30;
            settings.retention.disk_refuse_writes_percent = 40;
            settings.retention.force_clean_enabled = false;
        })
        .await;
        let failure = refusal(&filling.address).await;
        assert_says(&failure, &["%", "40"]);
        let used = filling.disk.used_bytes();
        assert!(
            used < capacity(60) / 2,
            "{used} bytes are used: it was not the watermark"
        );
        let stored = filling.traffic.read_all(&filling.address).await;
        assert!(
            stored
                .expect("reads go on")
                .values()
                .any(|queue| queue.len() > 10)
        );
        filling.disk.set_capacity(capacity(200));
        while send(&filling.address, "other").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        filling
            .traffic
            .reach(filling.traffic.acknowledged() + 100)
            .await;
        end(filling).await;
    });
}

#[test]
fn where_the_oldest_segments_make_room_readers_are_told_where_the_queue_begins() {
    run(async {
        let filling = filling(12, |settings| {
            settings.retention.disk_max_used_percent = 30;
            settings.retention.disk_force_clean_percent = 50;
            settings.retention.disk_refuse_writes_percent = 95;
        })
        .await;
        let connection = open(&filling.address, Role::Consumer, "late")
            .await
            .expect("a connection");
        let (alias, topic) = (0, "orders".to_owned());
        let announce = Request::AnnounceTopic { alias, topic };
        connection
            .request(announce, Payload::none())
            .await
            .expect("announced");
        let group = "billing".to_owned();
        let announce = Request::AnnounceGroup { alias, group };
        connection
            .request(announce, Payload::none())
            .await
            .expect("announced");
        let pull = Request::Pull(Pull {
            topic: 0,
            queue: QueueId(0),
            offset: QueueOffset(0),
            max_messages: 10,
            max_bytes: 1 << 20,
            wait_ms: 0,
            filter: Filter::All,
        });
        let begin = loop {
            let reply = connection
                .request(pull.clone(), Payload::none())
                .await
                .expect("an answer");
            let Response::Pulled(pulled) = reply.header.response else {
                panic!("{:?}", reply.header);
            };
            if pulled.status == PullStatus::OffsetTooSmall {
                assert_eq!(
                    (pulled.next_offset, pulled.messages),
                    (pulled.min_offset, 0)
                );
                break pulled.min_offset;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(begin > QueueOffset(0));
        let subscribe = Request::Subscribe(Subscribe {
            subscription: 1,
            group: 0,
            topic: 0,
            queue: QueueId(0),
            offset: QueueOffset(0),
            filter: Filter::All,
            credit_messages: 1,
            credit_bytes: 1,
        });
        let reply = connection
            .request(subscribe, Payload::none())
            .await
            .expect("an answer");
        let Response::Subscribed(range) = reply.header.response else {
            panic!("{:?}", reply.header);
        };
        assert!(range.offset >= begin, "{range:?}");
        // Nobody is refused: room is made as fast as it is used.
        filling
            .traffic
            .reach(filling.traffic.acknowledged() + 1000)
            .await;
        end_producing(&filling.traffic, filling.producer).await;
        stop(filling.node).await;
    });
}
