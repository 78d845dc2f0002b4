//! What is traced, what a message with traces holds, and what happens when there is too much of it.

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{keys, system_topics};
use castmq_protocol::trace::{Consumed, DEFAULT_REGION, Delivered, TraceRecord, decode};

use super::batch::Batch;
use super::{Trace, Tracer};
use crate::routes::REFRESH;
use crate::testing::{FakeCluster, Fault};
use crate::{Client, ErrorCode, Failure, Message};

fn delivered(message_id: String, keys: Option<String>) -> TraceRecord {
    TraceRecord::Delivered(Delivered {
        timestamp_ms: 1,
        region: DEFAULT_REGION.into(),
        group: "billing".into(),
        request_id: "r".into(),
        message_id,
        retries: 0,
        keys,
    })
}

#[tokio::test(start_paused = true)]
async fn topics_that_say_so_are_traced_unless_the_client_says_otherwise() {
    let cluster = FakeCluster::start(&["a"]);
    let client = cluster.client().await;
    let topic = Arc::from("orders");
    let tracer = |choice| Tracer::new(choice, client.clone());
    for (choice, before, when_on) in [
        (Trace::ByTopic, false, true),
        (Trace::All, true, true),
        (Trace::Off, false, false),
    ] {
        let tracer = tracer(choice);
        assert_eq!(tracer.wants(&topic), before);
        tracer.learn(&topic, true);
        assert_eq!(tracer.wants(&topic), when_on);
        assert!(!tracer.wants(system_topics::TRACE));
        tracer.learn(&topic, false);
        assert_eq!(tracer.wants(&topic), before);
        assert_eq!(tracer.is_any(), before);
    }
}

#[test]
fn a_message_with_traces_is_found_by_the_ids_and_keys_of_those_that_it_tells_of() {
    let mut batch = Batch::default();
    batch.add(&delivered("m1".into(), Some("k2 k1".into())));
    batch.add(&delivered("m1".into(), Some("k1".into())));
    batch.add(&delivered("m2".into(), None));
    assert_eq!(batch.records(), 3);
    let message = batch.message().unwrap();
    assert_eq!(message.topic(), "RMQ_SYS_TRACE_TOPIC");
    assert_eq!(message.property(keys::KEYS), Some("k1 k2 m1 m2"));
    let body = std::str::from_utf8(message.body()).unwrap();
    assert_eq!(decode(body).filter(Result::is_ok).count(), 3);
}

#[test]
fn a_batch_is_full_before_its_keys_or_its_body_are_too_long() {
    let long = "k".repeat(7_000);
    for (keys, most) in [
        (None, 100),
        (Some(long), 2),
        (Some("k ".repeat(30_000)), 100),
    ] {
        let mut batch = Batch::default();
        let mut number = 0;
        while !batch.is_full() {
            let keys = keys
                .as_ref()
                .map(|keys| keys.replace('k', &format!("{number}")));
            batch.add(&delivered(format!("{number:032}"), keys));
            number += 1;
        }
        assert!(number <= most, "{number}");
        assert!(batch.message().is_ok());
    }
}

async fn traced_client(cluster: &FakeCluster) -> Client {
    let builder = cluster.builder().trace(Trace::All);
    builder.build().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn too_many_records_are_dropped_and_counted_and_hold_up_nobody() {
    let cluster = FakeCluster::start(&["a"]);
    let client = traced_client(&cluster).await;
    // Nothing runs between these, so nothing is sent.
    for number in 0..3000 {
        client
            .shared
            .tracer
            .record(delivered(number.to_string(), None));
    }
    assert_eq!(client.traces_dropped(), 3000 - 2048);
    // No broker has the topic, so the others are lost, too.
    client.flush_traces().await;
    assert_eq!(client.traces_dropped(), 3000);
}

#[tokio::test(start_paused = true)]
async fn records_are_sent_and_none_is_lost_when_the_client_goes() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", system_topics::TRACE, 1);
    cluster.topic("a", "orders", 1);
    let client = traced_client(&cluster).await;
    let producer = client.producer().build();
    // Fewer than would be compressed.
    for number in 0..20 {
        let message = Message::new("orders", number.to_string());
        producer.send(message).await.unwrap();
    }
    producer.close().await;
    let group = super::TracedGroup {
        tracer: client.shared.tracer.clone(),
        group: "billing".into(),
    };
    client.flush_traces().await;
    assert_eq!(client.traces_dropped(), 0);
    assert_eq!(records(&cluster).len(), 20);
    // What is recorded last is sent when nobody flushes, too.
    let record = crate::message::stored_record(0, b"x", b"UNIQ_KEY\x01m\x02", 0);
    let message = crate::ReceivedMessage::from_record(record.into()).unwrap();
    let consuming = group.begin(&message).unwrap();
    group.end(&consuming, Consumed::Success);
    group.end(&consuming, Consumed::Failed);
    drop((client, producer, group));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(records(&cluster).len(), 22);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_to_send_is_recorded_with_its_broker() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", system_topics::TRACE, 1);
    cluster.topic("a", "orders", 1);
    let client = traced_client(&cluster).await;
    let producer = client.producer().build();
    producer.prepare("orders").await.unwrap();
    let busy = Failure::safe(ErrorCode::Busy, "busy");
    cluster.fault("a", "send", Fault::Refuse(busy));
    cluster.fault("a", "send", Fault::Close);
    let message = Message::builder("orders", "x").property(keys::UNIQ_KEY, "m");
    producer.send(message.build().unwrap()).await.unwrap();
    client.flush_traces().await;
    let records = records(&cluster);
    let [
        TraceRecord::Produced(first),
        TraceRecord::Produced(second),
        TraceRecord::Produced(third),
    ] = &records[..]
    else {
        panic!("{records:?}");
    };
    let outcomes = [first, second, third].map(|sent| (sent.is_success, &*sent.message_id));
    assert_eq!(outcomes, [(false, "m"), (false, "m"), (true, "m")]);
    assert_eq!(first.store_host.as_deref(), Some("10.0.0.1:10911"));
    assert_eq!(
        (&second.stored_id, third.stored_id.is_some()),
        (&None, true)
    );
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_may_have_stored_a_batch_is_recorded_once() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", system_topics::TRACE, 1);
    cluster.topic("a", "orders", 1);
    let client = traced_client(&cluster).await;
    let producer = client.producer().idempotent(true).build();
    producer.prepare("orders").await.unwrap();
    cluster.fault("a", "send batch", Fault::DoneThenClose);
    let message = |id: &str| {
        let message = Message::builder("orders", "x").property(keys::UNIQ_KEY, id);
        message.build().unwrap()
    };
    for result in producer.send_all([message("m1"), message("m2")]).await {
        result.unwrap();
    }
    client.flush_traces().await;
    let records = records(&cluster);
    let first = records.iter().filter_map(|record| match record {
        TraceRecord::Produced(sent) if sent.message_id == "m1" => Some(sent.is_success),
        _ => None,
    });
    assert_eq!(first.collect::<Vec<_>>(), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_producer_hears_within_half_a_minute_that_a_topic_is_traced_and_that_it_is_not() {
    let cluster = FakeCluster::start(&["a"]);
    for topic in [system_topics::TRACE, "orders", "other"] {
        cluster.topic("a", topic, 1);
    }
    let client = cluster.client().await;
    let producer = client.producer().build();
    for (traced, sent) in [("other", 0), ("orders", 1), ("other", 1)] {
        cluster.trace_only(traced);
        tokio::time::sleep(REFRESH + Duration::from_secs(1)).await;
        producer.send(Message::new("orders", "x")).await.unwrap();
        client.flush_traces().await;
        assert_eq!(records(&cluster).len(), sent, "{traced}");
    }
    // Only what is traced is given an id.
    let properties = cluster.properties("a", "orders", 0);
    let has_id = |properties: &String| properties.contains(keys::UNIQ_KEY);
    assert_eq!(
        properties.iter().map(has_id).collect::<Vec<_>>(),
        [false, true, false]
    );
}

/// What the cluster has stored.
fn records(cluster: &FakeCluster) -> Vec<TraceRecord> {
    let stored = cluster.bodies("a", system_topics::TRACE, 0);
    let records = |body: &String| decode(body).collect::<Vec<_>>();
    let records = stored.iter().flat_map(records);
    records.map(Result::unwrap).collect()
}
