//! Queues that cannot be written, or not as fast as messages come: what waits in memory is bounded, producers wait or hear why,
//! and nothing is lost.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::fs;

use bytes::BytesMut;
use castmq_client::model::QueueId;
use castmq_client::raw::request::SendBatch;
use castmq_client::raw::{Connection, ErrorCode, Failure, Payload, Request, Role};
use castmq_protocol::record::batch::Element;

use support::load::open;
use support::{admin, run, started, stop, stored, with_queues};

const TOPIC: &str = "orders";

/// Messages of one request.
const BATCH: u32 = 4000;

/// As the broker says it: units of queues that may wait in memory.
const MOST_PENDING: u64 = 2 * 1024 * 1024;

async fn send(connection: &Connection) -> Result<u64, Failure> {
    let mut payload = BytesMut::new();
    for _ in 0..BATCH {
        let element = Element {
            flag: 0,
            body: b"x",
            properties: b"",
        };
        element.encode(&mut payload);
    }
    let send = SendBatch {
        topic: 0,
        queue: QueueId(0),
        flags: 0,
        sys_flag: 0,
        born_timestamp_ms: 0,
        messages: BATCH,
        extras: None,
    };
    let payload = Payload::new(b"", payload.freeze());
    match connection.request(Request::SendBatch(send), payload).await {
        Ok(_) => Ok(u64::from(BATCH)),
        Err(castmq_client::Error::Refused { failure, .. }) => Err(failure),
        Err(other) => panic!("neither stored nor refused: {other}"),
    }
}

#[test]
fn producers_hear_of_queues_that_cannot_be_written_and_go_on_when_they_can() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = with_queues(folder.path(), 1);
        settings.store.index_enabled = false;
        let (node, client) = started(&settings).await;
        // In the place of the folder of the topic's queues.
        let in_the_way = settings.store.consume_queue_path().join(TOPIC);
        fs::write(&in_the_way, b"").expect("a file");
        let address = node.broker_address().expect("a broker").to_string();
        let connection = open(&address, Role::Producer, "one").await;
        let connection = connection.expect("a connection");
        let topic = TOPIC.to_owned();
        let announce = Request::AnnounceTopic { alias: 0, topic };
        let announced = connection.request(announce, Payload::none()).await;
        announced.expect("a topic");

        let mut acknowledged = 0;
        let refused = loop {
            match send(&connection).await {
                Ok(messages) => acknowledged += messages,
                Err(failure) => break failure,
            }
        };
        assert_eq!(refused.code, ErrorCode::StorageFailed, "{refused:?}");
        let said = &refused.message;
        assert!(said.contains("consume queues cannot be written"), "{said}");
        assert!(said.contains(TOPIC), "{said}");
        let bound = MOST_PENDING..=MOST_PENDING + 2 * u64::from(BATCH);
        assert!(bound.contains(&acknowledged), "{acknowledged}");

        fs::remove_file(&in_the_way).expect("it is there");
        for _ in 0..10 {
            while let Err(failure) = send(&connection).await {
                assert_eq!(failure.code, ErrorCode::StorageFailed, "{failure:?}");
            }
            acknowledged += u64::from(BATCH);
        }
        let admin = admin(&client).await;
        assert_eq!(stored(&admin, TOPIC).await, acknowledged);
        stop(node).await;
    });
}
