//! Requests and replies: each requester gets its own reply, and each responder hears when nobody waits.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod support;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use castmq_client::raw::request::SendReply;
use castmq_client::raw::response::PushedReply;
use castmq_client::raw::{ClientHeader, Payload, Request, Response, Role};
use castmq_client::{
    Client, Error, ErrorCode, Filter, Message, Producer, PullConsumer, PushConsumer,
    ReceivedMessage, Reply, Result, Retry, StartFrom,
};
use castmq_protocol::native::frame::encode_frame;
use castmq_protocol::native::{Hello, PREFACE, VERSION};

use support::process::Process;
use support::wire::Wire;
use support::{client, reader, run, settings, start, started, stop, text};

const TOPIC: &str = "stock";
const REPLIES: &str = "DefaultCluster_REPLY_TOPIC";

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// Makes the topic. Name servers hear of it a moment later.
async fn open_topic(client: &Client) {
    let prepared = client.producer().build().prepare(TOPIC).await;
    prepared.expect("a topic");
    while client.admin().route(TOPIC).await.is_err() {
        tokio::task::yield_now().await;
    }
}

/// Replies to each request with its own text and a mark.
async fn responder(client: &Client) -> PushConsumer {
    let producer = client.producer().build();
    let consumer = client
        .push_consumer("warehouse")
        .subscribe(TOPIC, Filter::All)
        .from(StartFrom::Earliest)
        .concurrency(32)
        .handler(move |request| {
            let producer = producer.clone();
            async move {
                // In another order than they came.
                for _ in 0..fastrand::u8(..8) {
                    tokio::task::yield_now().await;
                }
                let body = format!("{}!", text(&request));
                producer.reply(&request, body).await
            }
        });
    consumer.start().await.expect("a consumer")
}

/// Has a request sent, which waits for its reply in a task of its own.
fn ask(
    producer: &Producer,
    body: &'static str,
) -> actix_rt::task::JoinHandle<Result<ReceivedMessage>> {
    let producer = producer.clone();
    actix_rt::spawn(async move { producer.request(Message::new(TOPIC, body), LONG).await })
}

async fn next(consumer: &mut PullConsumer) -> ReceivedMessage {
    loop {
        let messages = consumer.poll(LONG).await.expect("a poll");
        if let Some(message) = messages.into_iter().next() {
            return message;
        }
    }
}

fn is_not_awaited(result: &Result<()>) -> bool {
    let error = result.as_ref().expect_err("nobody waits");
    error.code() == Some(ErrorCode::ReplyNotAwaited)
}

#[test]
fn a_request_is_replied_to_with_rocketmqs_properties() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        let producer = client.producer().build();
        open_topic(&client).await;
        let asked = ask(&producer, "how many?");
        let mut consumer = reader(&client, TOPIC).await;
        let request = next(&mut consumer).await;
        assert_eq!(text(&request), "how many?");
        assert_eq!(request.property("TTL"), Some("60000"));
        assert_eq!(request.property("CLUSTER"), Some("DefaultCluster"));
        let to = request.property("REPLY_TO_CLIENT").expect("who asks");
        assert!(to.starts_with(client.id()), "{to}");
        let long = "a long reply ".repeat(1000);
        let reply = Reply::to(&request, long.clone()).expect("a reply");
        let reply = reply.property("warehouse", "north").expect("a property");
        producer
            .send_reply(reply.flag(7))
            .await
            .expect("it is waited for");
        let reply = asked.await.expect("no panic").expect("a reply");
        // It was compressed on the way.
        assert_eq!(text(&reply), long);
        assert!(reply.stored_body().len() < long.len());
        assert_eq!(reply.topic(), REPLIES);
        assert_eq!(reply.flag(), 7);
        assert_eq!(reply.property("MSG_TYPE"), Some("reply"));
        assert_eq!(reply.property("warehouse"), Some("north"));
        let correlation = request.property("CORRELATION_ID");
        assert_eq!(reply.property("CORRELATION_ID"), correlation);
        let pushed = reply.property("PUSH_REPLY_TIME").expect("a time");
        let pushed: i64 = pushed.parse().expect("a number");
        assert!(pushed >= request.store_timestamp_ms());
        // And it is stored, as RocketMQ does.
        let mut stored = reader(&client, REPLIES).await;
        let stored = next(&mut stored).await;
        assert_eq!(text(&stored), long);
        assert_eq!(stored.property("CORRELATION_ID"), correlation);
        producer.close().await;
        stop(node).await;
    });
}

#[test]
fn many_requests_at_once_get_each_its_own_reply() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        settings.broker.store_replies = false;
        let node = start(&settings).await;
        let first = client(&node).await;
        let second = client(&node).await;
        open_topic(&first).await;
        let consumer = responder(&second).await;
        let mut asked = Vec::new();
        let since = Instant::now();
        for client in [&first, &second] {
            // More than may wait at once.
            let producer = client.producer().max_requests(100).build();
            for number in 0..1000 {
                let producer = producer.clone();
                let name = format!("{}/{number}", client.id());
                asked.push(actix_rt::spawn(async move {
                    let request = Message::new(TOPIC, name.clone());
                    let reply = producer.request(request, LONG).await.expect("a reply");
                    assert_eq!(text(&reply), format!("{name}!"));
                }));
            }
        }
        for asked in asked {
            asked.await.expect("each reply is the right one");
        }
        println!("2000 requests were replied to in {:?}", since.elapsed());
        consumer.shutdown().await.expect("a clean end");
        // Nothing of it is stored where that is not wanted.
        let broker = first.admin().broker("broker-a").await.expect("a broker");
        let replies = broker.show_topic(REPLIES).await.expect("a topic");
        assert!(replies.queues.iter().all(|queue| queue.max_offset.0 == 0));
        stop(node).await;
    });
}

#[test]
fn a_request_that_nobody_replies_to_fails_with_its_id_and_its_time() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        let producer = client.producer().max_requests(1).build();
        open_topic(&client).await;
        // Long enough for the request to be stored, on any machine.
        let short = Duration::from_millis(2_300);
        let first = Message::new(TOPIC, "anybody?");
        // The second finds no room as long as the first waits.
        let (first, second) = tokio::join!(
            producer.request(first, short),
            producer.request(Message::new(TOPIC, "no room"), Duration::from_millis(1)),
        );
        let error = first.expect_err("nobody replies");
        let mut consumer = reader(&client, TOPIC).await;
        let request = next(&mut consumer).await;
        let id = request.property("CORRELATION_ID").expect("an id");
        let said = error.to_string();
        assert!(said.contains(id) && said.contains("2.3s"), "{said}");
        assert!(matches!(
            error,
            Error::NoReply {
                is_stored: true,
                ..
            }
        ));
        assert_eq!(error.retry(), Retry::MayDuplicate);
        let error = second.expect_err("no room");
        assert!(matches!(error, Error::RequestsFull { limit: 1, .. }));
        assert!(error.is_retry_safe());
        // The responder that comes too late hears of it.
        assert!(is_not_awaited(&producer.reply(&request, "late").await));
        // What is no request is not replied to.
        producer
            .send(Message::new(TOPIC, "plain"))
            .await
            .expect("it is stored");
        let plain = next(&mut consumer).await;
        let error = producer.reply(&plain, "?").await.expect_err("no request");
        assert!(matches!(error, Error::NotARequest { .. }), "{error}");
        producer.close().await;
        let closed = producer.request(Message::new(TOPIC, "x"), short).await;
        assert!(matches!(closed, Err(Error::Closed { .. })));
        stop(node).await;
    });
}

#[test]
fn a_reply_that_nobody_waits_for_is_refused_and_stored() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = start(&settings(folder.path())).await;
        let client_of_responder = client(&node).await;
        let responder = client_of_responder.producer().build();
        open_topic(&client_of_responder).await;
        let mut consumer = reader(&client_of_responder, TOPIC).await;
        let mut replies = reader(&client_of_responder, REPLIES).await;

        let requester = client(&node).await.producer().build();
        // One that gave up: its task is gone.
        let asked = ask(&requester, "first");
        let request = next(&mut consumer).await;
        asked.abort();
        assert!(asked.await.is_err());
        assert!(is_not_awaited(&responder.reply(&request, "a").await));
        assert_eq!(text(&next(&mut replies).await), "a");

        // A second reply to the same request.
        let asked = ask(&requester, "second");
        let request = next(&mut consumer).await;
        responder.reply(&request, "b").await.expect("it waits");
        assert!(is_not_awaited(&responder.reply(&request, "c").await));
        let reply = asked.await.expect("no panic").expect("a reply");
        assert_eq!(text(&reply), "b");

        // A requester whose producer is gone, connections and all.
        let asked = ask(&requester, "third");
        let request = next(&mut consumer).await;
        asked.abort();
        assert!(asked.await.is_err());
        drop(requester);
        let to = request.property("REPLY_TO_CLIENT").expect("who asks");
        let gone = loop {
            let error = responder.reply(&request, "d").await;
            let error = error.expect_err("nobody waits");
            assert_eq!(error.code(), Some(ErrorCode::ReplyNotAwaited));
            // The connection ends a moment later.
            if error.to_string().contains("is not connected") {
                break error.to_string();
            }
        };
        assert!(gone.contains(to), "{gone}");
        stop(node).await;
    });
}

/// A frame with a payload.
fn frame(request: Request, payload: &[u8]) -> Vec<u8> {
    let header = ClientHeader {
        correlation: 9,
        request,
    };
    let mut out = BytesMut::new();
    encode_frame(&header, &[payload], &mut out);
    out.to_vec()
}

fn reply_frame(properties: &[u8], body: &[u8]) -> Vec<u8> {
    let reply = SendReply {
        flag: 0,
        sys_flag: -1,
        born_timestamp_ms: 1,
        properties_bytes: properties.len() as u32,
    };
    frame(Request::SendReply(reply), &[properties, body].concat())
}

fn reply_to(client_id: &str, correlation: &str) -> Vec<u8> {
    format!("CORRELATION_ID\x01{correlation}\x02REPLY_TO_CLIENT\x01{client_id}\x02").into_bytes()
}

#[test]
fn forged_and_broken_replies_are_refused_and_reach_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = start(&settings(folder.path())).await;
        let address = node.broker_address().expect("a broker");
        let client = client(&node).await;
        let producer = client.producer().build();
        open_topic(&client).await;
        let asked = ask(&producer, "how many?");
        let mut consumer = reader(&client, TOPIC).await;
        let request = next(&mut consumer).await;
        let to = request.property("REPLY_TO_CLIENT").expect("who asks");

        let mut wire = Wire::open(address, Role::Producer).await;
        let long = "x".repeat(30_000);
        for (properties, code) in [
            // A client that exists and asked, ids that it did not give.
            (reply_to(to, "0"), ErrorCode::ReplyNotAwaited),
            (reply_to(to, "ffffffffffffffff"), ErrorCode::ReplyNotAwaited),
            (reply_to(to, &long), ErrorCode::ReplyNotAwaited),
            (reply_to(to, "%s\u{0}\u{7f}\n"), ErrorCode::ReplyNotAwaited),
            // One that is connected and takes no replies, and one that is not there.
            (reply_to(client.id(), "0"), ErrorCode::ReplyNotAwaited),
            (reply_to("nobody", "0"), ErrorCode::ReplyNotAwaited),
            (reply_to("", "0"), ErrorCode::InvalidRequest),
            (reply_to(to, ""), ErrorCode::InvalidRequest),
            (b"REPLY_TO_CLIENT\x01a".to_vec(), ErrorCode::InvalidRequest),
            (
                b"CORRELATION_ID\x01\xff\xfe\x02REPLY_TO_CLIENT\x01a\x02".to_vec(),
                ErrorCode::InvalidRequest,
            ),
            (
                reply_to(to, &"x".repeat(40_000)),
                ErrorCode::PropertiesTooLarge,
            ),
        ] {
            wire.say(&reply_frame(&properties, b"forged")).await;
            let Response::Failed(failure) = wire.answer().await else {
                panic!("not refused: {properties:?}");
            };
            assert_eq!(failure.code, code, "{failure}");
        }
        let lies = SendReply {
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 0,
            properties_bytes: u32::MAX,
        };
        let failure = wire.refused(Request::SendReply(lies)).await;
        assert_eq!(failure.code, ErrorCode::InvalidRequest);
        // Words about replies that were never pushed change nothing.
        for number in [0, 1, u64::MAX] {
            let taken = Request::ReplyTaken {
                number,
                is_awaited: true,
            };
            wire.say(&frame(taken, b"")).await;
        }
        assert_eq!(wire.ask(Request::Heartbeat).await, Response::Done);
        let mut other = Wire::open(address, Role::Consumer).await;
        let failure = other.refused(Request::TakeReplies).await;
        assert_eq!(failure.code, ErrorCode::WrongRole);

        // The request still waits, and gets the reply that is for it.
        producer.reply(&request, "12").await.expect("it waits");
        let reply = asked.await.expect("no panic").expect("a reply");
        assert_eq!(text(&reply), "12");
        stop(node).await;
    });
}

/// A connection that takes replies under an id, and does nothing with them.
async fn idle_requester(address: std::net::SocketAddr, client_id: &str) -> Wire {
    let hello = Request::Hello(Hello {
        version: VERSION,
        role: Role::Producer,
        client_id: client_id.to_owned(),
        software: "idle".to_owned(),
        credentials: None,
    });
    let mut wire = Wire::silent(address).await;
    wire.say(&[&PREFACE[..], &frame(hello, b"")].concat()).await;
    assert!(matches!(wire.answer().await, Response::Welcome(_)));
    assert_eq!(wire.ask(Request::TakeReplies).await, Response::Done);
    wire
}

#[test]
fn a_requester_that_does_not_read_holds_up_neither_the_broker_nor_its_responder() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        settings.broker.store_replies = false;
        settings.limits.max_in_flight_bytes_per_connection = 128 << 20;
        let node = start(&settings).await;
        let address = node.broker_address().expect("a broker");
        let requester = idle_requester(address, "idle").await;
        let options = castmq_client::raw::Options::new(Role::Producer, "responder");
        let opened = castmq_client::raw::Connection::open(&address.to_string(), &options).await;
        let (responder, _pushes) = opened.expect("a connection");
        let (properties, body) = (reply_to("idle", "1"), Bytes::from(vec![0; 1 << 20]));
        let reply = Request::SendReply(SendReply {
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 1,
            properties_bytes: properties.len() as u32,
        });
        // More than sockets and the connection's output hold.
        let mut answers: Vec<_> = (0..64)
            .map(|_| {
                let payload = Payload::new(&properties, body.clone());
                responder.request_within(LONG, reply.clone(), payload)
            })
            .collect();
        let last = answers.pop().expect("there are some");
        let alive = responder.request(Request::Heartbeat, Payload::none());
        alive.await.expect("the session serves on");
        let busy = last.await.expect_err("it is not taken");
        assert_eq!(busy.code(), Some(ErrorCode::Busy), "{busy}");
        assert_eq!(busy.retry(), Retry::Safe);
        // When it goes its responder hears that of all that it was pushed.
        drop(requester);
        let mut pushed = 0;
        for answer in answers {
            let error = answer.await.expect_err("nobody took it");
            match error.code() {
                Some(ErrorCode::ReplyNotAwaited) => pushed += 1,
                code => assert_eq!(code, Some(ErrorCode::Busy), "{error}"),
            }
        }
        assert!(pushed >= 4, "{pushed} MiB fit its output");
        stop(node).await;
    });
}

#[test]
fn a_requester_that_says_nothing_has_a_limited_number_of_replies_in_hand() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        settings.broker.store_replies = false;
        let node = start(&settings).await;
        let address = node.broker_address().expect("a broker");
        let mut requester = idle_requester(address, "idle").await;
        let mut responder = Wire::open(address, Role::Producer).await;
        let one = reply_frame(&reply_to("idle", "1"), b"x");
        responder.say(&one.repeat(1025)).await;
        let Response::Failed(busy) = responder.answer().await else {
            panic!("the last one is not refused");
        };
        assert_eq!(busy.code, ErrorCode::Busy);
        let mut numbers = HashSet::new();
        for _ in 0..1024 {
            let Response::Reply(pushed) = requester.answer().await else {
                panic!("no reply");
            };
            numbers.insert(pushed.number);
        }
        assert_eq!(numbers.len(), 1024);
        for number in numbers {
            let taken = Request::ReplyTaken {
                number,
                is_awaited: number % 2 == 0,
            };
            requester.say(&frame(taken, b"")).await;
            match responder.answer().await {
                Response::Done => assert_eq!(number % 2, 0),
                Response::Failed(failure) => {
                    assert_eq!(failure.code, ErrorCode::ReplyNotAwaited);
                    assert_eq!(number % 2, 1);
                }
                other => panic!("{other:?}"),
            }
        }
        stop(node).await;
    });
}

#[test]
fn a_requester_that_says_nothing_for_ten_seconds_counts_as_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = start(&settings(folder.path())).await;
        let address = node.broker_address().expect("a broker");
        let mut requester = idle_requester(address, "idle").await;
        let mut responder = Wire::open(address, Role::Producer).await;
        let since = Instant::now();
        let mut numbers = Vec::new();
        for _ in 0..2 {
            responder
                .say(&reply_frame(&reply_to("idle", "1"), b"x"))
                .await;
            let Response::Reply(PushedReply { number }) = requester.answer().await else {
                panic!("no reply");
            };
            numbers.push(number);
        }
        for number in numbers {
            let Response::Failed(failure) = responder.answer().await else {
                panic!("nobody said that it waits");
            };
            assert_eq!(failure.code, ErrorCode::ReplyNotAwaited);
            assert_eq!(failure.retry, Retry::MayDuplicate);
            // What is said too late changes nothing.
            let late = Request::ReplyTaken {
                number,
                is_awaited: true,
            };
            requester.say(&frame(late, b"")).await;
        }
        assert_eq!(requester.ask(Request::Heartbeat).await, Response::Done);
        assert_eq!(responder.ask(Request::Heartbeat).await, Response::Done);
        assert!(since.elapsed() >= Duration::from_secs(10));
        stop(node).await;
    });
}

#[test]
fn a_request_waits_on_while_its_broker_starts_again() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        let node = start(&settings).await;
        settings.broker.listen = node.broker_address().expect("a broker");
        settings.name_server.listen = node.name_server_address().expect("a name server");
        let client = client(&node).await;
        let producer = client.producer().build();
        open_topic(&client).await;
        let asked = ask(&producer, "how many?");
        let request = next(&mut reader(&client, TOPIC).await).await;
        stop(node).await;
        let node = start(&settings).await;
        // The requester comes back when it has noticed.
        let is_back = |result: Result<()>| match result {
            Ok(()) => true,
            Err(error) => {
                let is_early = error.code() == Some(ErrorCode::ReplyNotAwaited);
                assert!(is_early || error.is_retry_safe(), "{error}");
                false
            }
        };
        while !is_back(producer.reply(&request, "12").await) {
            tokio::task::yield_now().await;
        }
        let reply = asked.await.expect("no panic").expect("a reply");
        assert_eq!(text(&reply), "12");
        stop(node).await;
    });
}

#[test]
fn a_killed_broker_keeps_the_request_and_its_requester_hears_of_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    run(async {
        let broker = Process::start_small(&data, &[]);
        let client = broker.client().await;
        let producer = client.producer().build();
        open_topic(&client).await;
        let asked = {
            let producer = producer.clone();
            let request = Message::new(TOPIC, "how many?");
            actix_rt::spawn(async move { producer.request(request, Duration::from_secs(2)).await })
        };
        let request = next(&mut reader(&client, TOPIC).await).await;
        broker.kill();
        let error = producer.reply(&request, "12").await.expect_err("no broker");
        assert!(error.code().is_none(), "{error}");
        let error = asked.await.expect("no panic").expect_err("no reply");
        let id = request.property("CORRELATION_ID").expect("an id");
        assert!(error.to_string().contains(id), "{error}");
        assert!(matches!(error, Error::NoReply { .. }), "{error}");

        let broker = Process::start_small(&data, &[]);
        let client = broker.client().await;
        let request = next(&mut reader(&client, TOPIC).await).await;
        assert_eq!(text(&request), "how many?");
        let late = client.producer().build().reply(&request, "12").await;
        assert!(is_not_awaited(&late));
        assert_eq!(broker.panics(), Vec::<String>::new());
        broker.kill();
    });
}
