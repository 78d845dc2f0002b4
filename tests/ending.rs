//! Ending transactions, many at once and not as it is meant: each is ended once, and what cannot be is refused clearly.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use bytes::Bytes;
use castmq_actors::Node;
use castmq_client::model::{PhysicalOffset, QueueOffset};
use castmq_client::raw::request::{
    ANY_QUEUE, EndTransaction, Resolution, Send, SendExtras, TransactionPhase,
};
use castmq_client::raw::{Answer, Connection, Payload, Request, Response, Role};
use castmq_client::{Error, ReceivedMessage, Result};
use castmq_protocol::model::{QueueId, keys, replace_properties, system_topics};
use castmq_protocol::native::ErrorCode;
use castmq_protocol::record::Record;

use support::load::open;
use support::{client, read_until, run, start, stop, text, with_queues};

/// A half message: its place among half messages, and in the log.
type Half = (QueueOffset, PhysicalOffset);

async fn ask(connection: &Connection, request: Request) -> Response {
    let answer = connection.request(request, Payload::none()).await;
    answer.expect("an answer").header.response
}

/// A producer of a group that sends to `paid`.
async fn join(node: &Node, group: &str) -> Connection {
    let address = node.broker_address().expect("a broker").to_string();
    let connection = open(&address, Role::Producer, group).await;
    let connection = connection.expect("a connection");
    let (alias, topic, group) = (0, "paid".to_owned(), group.to_owned());
    ask(&connection, Request::AnnounceTopic { alias, topic }).await;
    ask(&connection, Request::JoinProducers { group }).await;
    connection
}

async fn begin(connection: &Connection, body: impl Into<Bytes>) -> Half {
    let extras = SendExtras {
        transaction: TransactionPhase::Prepare,
        ..SendExtras::default()
    };
    let request = Request::Send(Send {
        topic: 0,
        queue: ANY_QUEUE,
        flags: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 1,
        properties_bytes: 0,
        extras: Some(Box::new(extras)),
    });
    let body = Payload::new(b"", body.into());
    let answer = connection.request(request, body).await.expect("an answer");
    match answer.header.response {
        Response::Sent(sent) => (sent.queue_offset, sent.physical_offset),
        other => panic!("a send is answered with {other:?}"),
    }
}

/// The request is on its way when this returns.
fn end(connection: &Connection, (half, place): Half, resolution: Resolution) -> Answer {
    let end = EndTransaction {
        half,
        place,
        resolution,
    };
    connection.request(Request::EndTransaction(end), Payload::none())
}

fn commit(connection: &Connection, half: Half) -> Answer {
    end(connection, half, Resolution::Commit)
}

async fn ended(answer: Answer) {
    let answer = answer.await.expect("it is ended");
    assert_eq!(answer.header.response, Response::Done);
}

fn refusal(answer: Result<castmq_client::raw::Reply>) -> (ErrorCode, String) {
    let error: Error = answer.expect_err("it is refused");
    (error.code().expect("an answer"), error.to_string())
}

/// Bodies of a topic up to the first for which `is_last` holds.
async fn read(node: &Node, topic: &str, is_last: impl Fn(&[String]) -> bool) -> Vec<String> {
    let bodies = |read: &[ReceivedMessage]| read.iter().map(text).collect::<Vec<_>>();
    let client = client(node).await;
    bodies(&read_until(&client, topic, |read| is_last(&bodies(read))).await)
}

#[test]
fn transactions_that_end_together_share_a_mark() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = start(&with_queues(folder.path(), 1)).await;
        let producer = join(&node, "payments").await;
        let mut halves = Vec::new();
        for number in 0..100 {
            halves.push(begin(&producer, number.to_string()).await);
        }
        let endings: Vec<_> = (0..)
            .zip(&halves)
            .map(|(number, half)| {
                let resolution = match number % 4 {
                    3 => Resolution::Rollback,
                    _ => Resolution::Commit,
                };
                end(&producer, *half, resolution)
            })
            .collect();
        for ending in endings {
            ended(ending).await;
        }
        let seen = read(&node, "paid", |bodies| bodies.len() == 75).await;
        let committed = (0..100).filter(|number| number % 4 != 3);
        assert_eq!(seen, committed.map(|n| n.to_string()).collect::<Vec<_>>());
        let names = |marks: &[String]| marks.concat().split_terminator(',').count();
        let marks = read(&node, "RMQ_SYS_TRANS_OP_HALF_TOPIC", |marks| {
            names(marks) == 100
        })
        .await;
        let marked: Vec<u64> = marks
            .concat()
            .split_terminator(',')
            .map(|offset| offset.parse().expect("an offset"))
            .collect();
        let offsets: Vec<_> = halves.iter().map(|(offset, _)| offset.0).collect();
        assert_eq!(marked, offsets, "each is marked once");
        assert!(marks.len() < 50, "{} marks of 100", marks.len());
        stop(node).await;
    });
}

#[test]
fn a_transaction_that_is_ended_several_times_at_once_is_ended_once() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = start(&with_queues(folder.path(), 1)).await;
        let (first, second) = (join(&node, "payments").await, join(&node, "payments").await);
        for round in 0..50 {
            let kept = begin(&first, format!("kept {round}")).await;
            let dropped = begin(&first, format!("dropped {round}")).await;
            let endings = [
                end(&first, kept, Resolution::Commit),
                end(&first, dropped, Resolution::Rollback),
                end(&first, kept, Resolution::Commit),
                end(&first, kept, Resolution::Rollback),
                end(&first, dropped, Resolution::Commit),
            ];
            for ending in endings {
                ended(ending).await;
            }
            let contested = begin(&first, format!("kept again {round}")).await;
            let (one, other) = (commit(&first, contested), commit(&second, contested));
            ended(one).await;
            ended(other).await;
            ended(commit(&second, contested)).await;
        }
        let last = begin(&first, "last").await;
        ended(commit(&first, last)).await;
        let seen = read(&node, "paid", |bodies| {
            bodies.iter().any(|body| body == "last")
        })
        .await;
        let kept = (0..50).flat_map(|n| [format!("kept {n}"), format!("kept again {n}")]);
        let wanted: Vec<_> = kept.chain(["last".to_owned()]).collect();
        assert_eq!(seen, wanted);
        stop(node).await;
    });
}

#[test]
fn a_transaction_that_is_unknown_or_of_another_group_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = start(&with_queues(folder.path(), 1)).await;
        let producer = join(&node, "payments").await;
        let stranger = join(&node, "refunds").await;
        let half = begin(&producer, "ours").await;
        let (offset, place) = half;

        let foreign = refusal(commit(&stranger, half).await);
        assert_eq!(foreign.0, ErrorCode::NotOwner);
        assert!(
            foreign.1.contains("group payments, not of refunds"),
            "{}",
            foreign.1
        );
        for unknown in [
            (offset + 1, place),
            (offset, place + 1),
            (offset, PhysicalOffset(u64::MAX)),
            (QueueOffset(u64::MAX), PhysicalOffset::ZERO),
        ] {
            let unknown = refusal(commit(&producer, unknown).await);
            assert_eq!(unknown.0, ErrorCode::MessageNotFound);
            assert!(unknown.1.contains("no half message"), "{}", unknown.1);
        }
        let address = node.broker_address().expect("a broker").to_string();
        let nobody = open(&address, Role::Producer, "nobody").await;
        let nobody = nobody.expect("a connection");
        let nobody = refusal(commit(&nobody, half).await);
        assert_eq!(nobody.0, ErrorCode::InvalidRequest);

        ended(commit(&producer, half)).await;
        // What is refused to others while it is open is refused to them when it is over, too.
        assert_eq!(
            refusal(commit(&stranger, half).await).0,
            ErrorCode::NotOwner
        );
        let seen = read(&node, "paid", |bodies| !bodies.is_empty()).await;
        assert_eq!(seen, ["ours"]);
        stop(node).await;
    });
}

/// What a half message looks like in the log.
fn half_record(group: &str, (half, place): Half) -> Vec<u8> {
    let properties = [
        (keys::PRODUCER_GROUP, Some(group)),
        (keys::REAL_TOPIC, Some("paid")),
        (keys::REAL_QID, Some("0")),
    ];
    let host = ([127, 0, 0, 1], 1).into();
    let record = Record {
        topic: system_topics::TRANSACTION_HALF,
        queue: QueueId(0),
        queue_offset: half,
        physical_offset: place,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 1,
        born_host: host,
        store_timestamp_ms: 1,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"theirs",
        body_crc: None,
        properties: &replace_properties(b"", &properties),
    };
    let mut bytes = vec![0; record.encoded_bytes()];
    record.encode(&mut bytes);
    bytes
}

#[test]
fn a_half_message_forged_inside_of_a_body_settles_nothing() {
    /// From the start of a record to its body, with hosts of IPv4.
    const BODY_AT: u64 = 88;
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = start(&with_queues(folder.path(), 1)).await;
        let (producer, forger) = (join(&node, "payments").await, join(&node, "refunds").await);
        let (half, place) = begin(&producer, "ours").await;
        // Two of the same length say where the next one will lie.
        let length = half_record("refunds", (half, place)).len();
        let (_, first) = begin(&forger, vec![0; length]).await;
        let (_, second) = begin(&forger, vec![0; length]).await;
        let next = second + (second.0 - first.0);
        let forged = (half, next + BODY_AT);
        let (_, body_of) = begin(&forger, half_record("refunds", forged)).await;
        assert_eq!(body_of, next);

        let refused = refusal(commit(&forger, forged).await);
        assert_eq!(refused.0, ErrorCode::MessageNotFound);
        ended(commit(&producer, (half, place))).await;
        let seen = read(&node, "paid", |bodies| !bodies.is_empty()).await;
        assert_eq!(seen, ["ours"]);
        stop(node).await;
    });
}
