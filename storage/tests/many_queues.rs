//! What many queues with messages cost. To be read, not to pass: `cargo test --release -p castmq-storage --test
//! many_queues -- --ignored --nocapture`.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used, clippy::print_stdout)]

use std::sync::Arc;
use std::time::Instant;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, TopicName};
use castmq_storage::consume_queue::{ConsumeQueues, ConsumeUnit};
use castmq_storage::disk::os::OsDisk;

const TOPICS: u64 = 10_000;
const QUEUES: u64 = 4;

fn append_to_all(queues: &ConsumeQueues, round: u64) {
    for number in 0..TOPICS * QUEUES {
        let topic = TopicName::new(&format!("topic-{}", number / QUEUES)).expect("a name");
        let queue = queues.queue(&topic, QueueId((number % QUEUES) as u32));
        let unit = ConsumeUnit {
            physical: PhysicalOffset((round * TOPICS * QUEUES + number) * 100),
            size: 100,
            tags_code: 0,
        };
        let appended = queue.append(QueueOffset(round), unit);
        appended.expect("it is the next message");
    }
}

#[test]
#[ignore = "takes a minute, and the disk"]
fn all_of_forty_thousand_queues_get_a_message() {
    let folder = tempfile::tempdir().expect("there is a place");
    let queues = ConsumeQueues::open(Arc::new(OsDisk), folder.path().join("cq"), 6_000_000)
        .expect("an empty folder opens");
    for round in 0..3 {
        append_to_all(&queues, round);
        let began = Instant::now();
        queues.write_back_all().expect("there is room");
        let wrote = began.elapsed();
        queues.sync_all().expect("there is room");
        let synced = began.elapsed() - wrote;
        println!("round {round}: written back in {wrote:?}, synced in {synced:?}");
    }
}
