//! A million messages that wait for any time, due over ten minutes. Takes a while, and half a gigabyte of memory:
//! `cargo test --release --test model million -- --ignored --nocapture`. `CASTMQ_MESSAGES` says how many.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use castmq_client::{Message, PullConsumer, SeekTo};
use castmq_storage::disk::fault::FaultDisk;
use fastrand::Rng;

use super::reading::id_of;
use super::time::{Time, Wall};
use super::world::{self, PATIENCE};
use crate::support::{number, settings, stop};

const TOPIC: &str = "reminders";
const SPREAD_MS: u64 = 600_000;
const LEAP_MS: u64 = 50;

/// Messages sent at once.
const CHUNK: u64 = 5_000;

/// What came so far.
struct Arrived {
    due_ms: Vec<i64>,
    times: Vec<u8>,
    count: u64,
    latest_ms: i64,
}

#[test]
#[ignore = "takes a minute"]
fn of_a_million_messages_over_ten_minutes_none_is_early_none_lost_and_none_comes_twice() {
    let messages = number("CASTMQ_MESSAGES", 1_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = settings(folder.path());
    settings.store.commit_log_segment_bytes = 4 << 20;
    settings.store.index_enabled = false;
    let begun = Instant::now();
    Wall::default().run(async |time| {
        // Not the machine's disk: retention takes what waits, too, from one that is nearly full.
        let disk = FaultDisk::new();
        disk.set_now(SystemTime::now());
        let node = world::start(Arc::new(disk), &settings, time.clone()).await;
        let client = world::connect(&node).await;
        let producer = client.producer().send_timeout(PATIENCE).build();
        // All of them are stored before the first is due.
        let first_ms = time.now_ms() + 60_000;
        let mut dice = Rng::with_seed(1);
        let due = |_| first_ms + dice.u64(..SPREAD_MS) as i64;
        let mut arrived = Arrived {
            due_ms: (0..messages).map(due).collect(),
            times: vec![0; messages as usize],
            count: 0,
            latest_ms: 0,
        };
        for from in (0..messages).step_by(CHUNK as usize) {
            let chunk = (from..messages.min(from + CHUNK)).map(|id| {
                let message = Message::builder(TOPIC, format!("{id} "));
                let message = message.deliver_at_ms(arrived.due_ms[id as usize]);
                message.build().expect("a message")
            });
            for receipt in producer.send_all(chunk).await {
                receipt.expect("it is stored");
            }
        }
        assert!(time.now_ms() < first_ms, "they waited for nothing");
        println!("{messages} messages stored in {:.1?}", begun.elapsed());
        let consumer = client.pull_consumer("reader").batch(1_000).build();
        let mut consumer = consumer.expect("a consumer");
        let queues = consumer.queues(TOPIC).await.expect("queues");
        consumer.assign(queues.clone()).await.expect("assigned");
        for queue in &queues {
            let sought = consumer.seek(queue, SeekTo::Earliest).await;
            sought.expect("sought");
        }
        let end_ms = first_ms + SPREAD_MS as i64 + 2 * LEAP_MS as i64;
        while time.now_ms() < end_ms {
            time.pass(2_000, LEAP_MS, &mut dice).await;
            arrived.read(&mut consumer, &time, 5).await;
        }
        // A consumer that is far behind rests now and then.
        arrived.read(&mut consumer, &time, 5_000).await;
        println!(
            "{} arrived in {:.1?} in all, {} ms late at most",
            arrived.count,
            begun.elapsed(),
            arrived.latest_ms
        );
        assert_eq!(arrived.count, messages);
        assert!(arrived.times.iter().all(|times| *times == 1));
        assert!(arrived.latest_ms <= LEAP_MS as i64 + 20);
        producer.close().await;
        stop(node).await;
    });
}

impl Arrived {
    /// Reads until nothing comes for so long.
    async fn read(&mut self, consumer: &mut PullConsumer, time: &Time, patience_ms: u64) {
        loop {
            let read = consumer.poll(Duration::from_millis(patience_ms)).await;
            let read = read.expect("a poll");
            if read.is_empty() {
                return;
            }
            for message in &read {
                self.note(id_of(message), message.store_timestamp_ms(), time.now_ms());
            }
        }
    }

    fn note(&mut self, id: u64, stored_ms: i64, now_ms: i64) {
        let due_ms = self.due_ms[id as usize];
        let early_ms = due_ms - stored_ms.min(now_ms);
        assert!(early_ms <= 0, "{id} came {early_ms} ms early");
        self.times[id as usize] += 1;
        self.count += 1;
        self.latest_ms = self.latest_ms.max(stored_ms - due_ms);
    }
}
