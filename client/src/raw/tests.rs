//! How a connection behaves, against a far side that does what the test says.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset};
use castmq_protocol::native::frame::encode_frame;
use castmq_protocol::native::request::{Pull, Send};
use castmq_protocol::native::response::{SendStatus, Sent};
use castmq_protocol::native::{ErrorCode, Failure, Retry};
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};

use super::*;
use crate::error::Error;
use crate::testing::{Listener, Network, Peer, welcome};

async fn open(network: &Network, listener: &mut Listener) -> (Connection, Pushes, Peer) {
    let options = Options::new(Role::Producer, "test").dial(Arc::new(network.clone()));
    let (opened, peer) = tokio::join!(
        Connection::open("b:1", &options),
        listener.greet(welcome("b"))
    );
    let (connection, pushes) = opened.unwrap();
    (connection, pushes, peer)
}

fn announce(alias: u32) -> Request {
    Request::AnnounceTopic {
        alias,
        topic: format!("topic-{alias}"),
    }
}

fn announced(alias: u32) -> Response {
    Response::TopicAnnounced {
        alias,
        write_queues: 4,
        read_queues: 4,
    }
}

#[tokio::test(start_paused = true)]
async fn answers_find_their_requests_in_any_order() {
    let network = Network::default();
    let mut listener = network.listen("b:1");
    let (connection, _pushes, mut peer) = open(&network, &mut listener).await;
    let answers: Vec<_> = (0..100)
        .map(|alias| connection.request(announce(alias), Payload::none()))
        .collect();
    let mut asked = Vec::new();
    for alias in 0..100 {
        asked.push((alias, peer.next().await.unwrap().0));
    }
    for (alias, header) in asked.into_iter().rev() {
        assert_eq!(header.request, announce(alias));
        peer.reply(header.correlation, announced(alias)).await;
    }
    for (alias, answer) in answers.into_iter().enumerate() {
        assert_eq!(
            answer.await.unwrap().header.response,
            announced(alias as u32)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn payloads_arrive_whole_whatever_their_length() {
    let network = Network::default();
    let mut listener = network.listen("b:1");
    let (connection, _pushes, mut peer) = open(&network, &mut listener).await;
    for length in [0, 1, 16 * 1024, 16 * 1024 + 1, 900_000] {
        let body = Bytes::from(vec![5; length]);
        let payload = Payload::new(b"head", body.clone());
        let answer = connection.request(Request::Heartbeat, payload);
        let (header, payload) = peer.next().await.unwrap();
        assert_eq!(payload, [b"head", &body[..]].concat());
        let back = tokio::spawn(async move {
            peer.reply_with(header.correlation, Response::Done, &payload)
                .await;
            peer
        });
        assert_eq!(answer.await.unwrap().payload.len(), 4 + length);
        peer = back.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_an_error_that_keeps_its_code() {
    let network = Network::default();
    let mut listener = network.listen("b:1");
    let (connection, _pushes, mut peer) = open(&network, &mut listener).await;
    let answer = connection.request(announce(0), Payload::none());
    let (header, _) = peer.next().await.unwrap();
    peer.fail(
        header.correlation,
        Failure::never(ErrorCode::TopicNotFound, "no topic x"),
    )
    .await;
    let error = answer.await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::TopicNotFound));
    assert_eq!(
        error.to_string(),
        "announce topic was refused by b:1: no topic x"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_unanswered_stays_within_the_window() {
    let network = Network::default();
    let mut listener = network.listen("b:1");
    let (connection, _pushes, mut peer) = open(&network, &mut listener).await;
    let body = Bytes::from(vec![0; 100 * 1024]);
    let answers: Vec<_> = (0..5)
        .map(|_| connection.request(Request::Heartbeat, Payload::new(b"", body.clone())))
        .collect();
    let first = peer.next().await.unwrap().0;
    let second = peer.next().await.unwrap().0;
    // 200 KiB are unanswered and the window is 256 KiB.
    assert!(
        timeout(Duration::from_millis(100), peer.next())
            .await
            .is_err()
    );
    peer.reply(second.correlation, Response::Done).await;
    let third = peer.next().await.unwrap().0;
    for header in [first, third] {
        peer.reply(header.correlation, Response::Done).await;
    }
    for _ in 0..2 {
        let header = peer.next().await.unwrap().0;
        peer.reply(header.correlation, Response::Done).await;
    }
    for answer in answers {
        answer.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_tells_written_requests_from_unwritten_ones() {
    let network = Network::default();
    let mut listener = network.listen("b:1");
    let (connection, mut pushes, mut peer) = open(&network, &mut listener).await;
    let body = Bytes::from(vec![0; 200 * 1024]);
    let written = connection.request(Request::Heartbeat, Payload::new(b"", body.clone()));
    let unwritten = connection.request(Request::Heartbeat, Payload::new(b"", body));
    peer.next().await.unwrap();
    drop(peer);
    assert_eq!(written.await.unwrap_err().retry(), Retry::MayDuplicate);
    assert_eq!(unwritten.await.unwrap_err().retry(), Retry::Safe);
    assert!(!connection.is_usable());
    assert!(pushes.next().await.is_none());
    let later = connection.request(Request::Heartbeat, Payload::none());
    assert!(later.await.unwrap_err().is_retry_safe());
    assert!(
        connection
            .tell(Request::Heartbeat, Payload::none())
            .is_err()
    );
    assert!(matches!(
        connection.ended().await,
        Error::Disconnected { .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_request_nobody_answers_fails_after_its_timeout_and_a_late_answer_harms_nobody() {
    let network = Network::default();
    let mut listener = network.listen("b:1");
    let (connection, _pushes, mut peer) = open(&network, &mut listener).await;
    let began = Instant::now();
    let slow = connection.request(announce(0), Payload::none());
    let (late, _) = peer.next().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Something is heard, so the connection is not taken for dead.
    let other = connection.request(announce(1), Payload::none());
    let (header, _) = peer.next().await.unwrap();
    peer.reply(header.correlation, announced(1)).await;
    other.await.unwrap();
    let error = slow.await.unwrap_err();
    assert_eq!(began.elapsed().as_secs(), 3);
    assert!(
        matches!(error, Error::Timeout { written: true, .. }),
        "{error}"
    );
    let next = connection.request(announce(2), Payload::none());
    peer.reply(late.correlation, announced(0)).await;
    let (header, _) = peer.next().await.unwrap();
    peer.reply(header.correlation, announced(2)).await;
    assert_eq!(next.await.unwrap().header.response, announced(2));
}

#[tokio::test(start_paused = true)]
async fn a_silent_other_side_is_taken_for_dead() {
    let network = Network::default();
    let mut listener = network.listen("b:1");
    let (connection, _pushes, _peer) = open(&network, &mut listener).await;
    let error = connection
        .request(Request::Heartbeat, Payload::none())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }));
    let error = connection.ended().await;
    assert!(
        error.to_string().contains("neither read nor written"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_sends_heartbeats_and_ends_when_they_are_not_answered() {
    let network = Network::default();
    let mut listener = network.listen("b:1");
    let (connection, _pushes, mut peer) = open(&network, &mut listener).await;
    let began = Instant::now();
    for round in 1..=3 {
        let (header, _) = peer.next().await.unwrap();
        assert_eq!(header.request, Request::Heartbeat);
        assert_eq!(began.elapsed().as_secs(), 10 * round);
        peer.reply(header.correlation, Response::Done).await;
    }
    connection.ended().await;
    assert_eq!(began.elapsed().as_secs(), 45);
}

#[tokio::test(start_paused = true)]
async fn a_pull_may_take_as_long_as_it_asks_to_wait() {
    let network = Network::default();
    let mut listener = network.listen("b:1");
    let (connection, _pushes, mut peer) = open(&network, &mut listener).await;
    let pull = Request::Pull(Pull {
        topic: 0,
        queue: QueueId(0),
        offset: QueueOffset(0),
        max_messages: 1,
        max_bytes: 1,
        wait_ms: 20_000,
        filter: Default::default(),
    });
    let answer = connection.request(pull, Payload::none());
    let (pull, _) = peer.next().await.unwrap();
    let (heartbeat, _) = peer.next().await.unwrap();
    peer.reply(heartbeat.correlation, Response::Done).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    peer.reply(pull.correlation, Response::Done).await;
    answer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn pushes_come_in_order_and_an_announced_end_keeps_new_work_away() {
    let network = Network::default();
    let mut listener = network.listen("b:1");
    let (connection, mut pushes, mut peer) = open(&network, &mut listener).await;
    let answer = connection.request(announce(0), Payload::none());
    let (header, _) = peer.next().await.unwrap();
    peer.reply_with(0, Response::Done, b"one").await;
    let reason = Failure::safe(ErrorCode::ShuttingDown, "restart");
    peer.reply(0, Response::Closing { reason }).await;
    assert_eq!(pushes.next().await.unwrap().payload, "one");
    assert!(matches!(
        pushes.next().await.unwrap().response,
        Response::Closing { .. }
    ));
    assert!(!connection.is_usable());
    // What was asked before is still answered.
    peer.reply(header.correlation, announced(0)).await;
    answer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_handle_closes_after_writing_what_waits() {
    let network = Network::default();
    let mut listener = network.listen("b:1");
    let (connection, _pushes, mut peer) = open(&network, &mut listener).await;
    let body = Bytes::from(vec![0; 600 * 1024]);
    connection
        .tell(Request::Heartbeat, Payload::new(b"", body))
        .unwrap();
    drop(connection);
    assert_eq!(peer.next().await.unwrap().1.len(), 600 * 1024);
    assert!(peer.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn ready_waits_until_what_was_told_is_written() {
    let network = Network::default();
    let mut listener = network.listen("b:1");
    let (connection, _pushes, mut peer) = open(&network, &mut listener).await;
    let body = Bytes::from(vec![0; 700 * 1024]);
    for _ in 0..3 {
        connection
            .tell(Request::Heartbeat, Payload::new(b"", body.clone()))
            .unwrap();
    }
    let reader = tokio::spawn(async move {
        for _ in 0..3 {
            peer.next().await.unwrap();
        }
        peer
    });
    connection.ready().await.unwrap();
    reader.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_oversized_frame_is_refused_here_and_nothing_else_suffers() {
    let network = Network::default();
    let mut listener = network.listen("b:1");
    let (connection, _pushes, mut peer) = open(&network, &mut listener).await;
    let body = Bytes::from(vec![0; 2 * 1024 * 1024]);
    let refused = connection.request(Request::Heartbeat, Payload::new(b"", body));
    let answer = connection.request(announce(0), Payload::none());
    assert!(matches!(
        refused.await,
        Err(Error::TooLarge {
            limit: 1_048_576,
            ..
        })
    ));
    let (header, _) = peer.next().await.unwrap();
    peer.reply(header.correlation, announced(0)).await;
    answer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_not_frames_end_the_connection_by_name() {
    let network = Network::default();
    let mut listener = network.listen("b:1");
    let (connection, _pushes, mut peer) = open(&network, &mut listener).await;
    let answer = connection.request(announce(0), Payload::none());
    peer.next().await.unwrap();
    peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let error = answer.await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn opening_fails_in_time_and_says_why() {
    let network = Network::default();
    let options = Options::new(Role::Producer, "test").dial(Arc::new(network.clone()));
    let nobody = Connection::open("b:1", &options).await.unwrap_err();
    assert!(
        nobody.to_string().starts_with("cannot connect to b:1: "),
        "{nobody}"
    );
    let mut listener = network.listen("b:1");
    let silent = Connection::open("b:1", &options).await.unwrap_err();
    assert!(matches!(silent, Error::Connect { .. }), "{silent}");
    drop(listener.accept().await);
    let refusing = tokio::spawn(async move {
        let mut peer = listener.accept().await;
        let (header, _) = peer.next().await.unwrap();
        let failure = Failure::never(ErrorCode::WrongRole, "no producers here");
        peer.fail(header.correlation, failure).await;
        peer
    });
    let refused = Connection::open("b:1", &options).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::WrongRole));
    drop(refusing);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_closes_at_the_hello_may_be_one_of_rocketmqs() {
    let network = Network::default();
    let options = Options::new(Role::Producer, "test").dial(Arc::new(network.clone()));
    let mut listener = network.listen("b:1");
    let (closed, ()) = tokio::join!(Connection::open("b:1", &options), async {
        drop(listener.accept().await);
    });
    let said = closed.unwrap_err().to_string();
    assert!(said.starts_with("cannot connect to b:1: "), "{said}");
    assert!(said.contains("as RocketMQ's brokers"), "{said}");
    let (opened, peer) = tokio::join!(
        Connection::open("b:1", &options),
        listener.greet(welcome("b"))
    );
    let (connection, _pushes) = opened.unwrap();
    let answer = connection.request(announce(1), Payload::none());
    drop(peer);
    let said = answer.await.unwrap_err().to_string();
    assert!(!said.contains("RocketMQ"), "{said}");
}

/// A far side that greets, and then never stops to say that nothing is new.
struct Flood {
    greeting: Bytes,
    frame: Bytes,
}

impl AsyncRead for Flood {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        out.put_slice(&std::mem::take(&mut this.greeting));
        out.put_slice(&this.frame);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(b.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug)]
struct ToFlood;

impl Dial for ToFlood {
    fn dial(&self, _: &str) -> Dialing {
        let frame = |correlation, response| {
            let mut out = BytesMut::new();
            let header = ServerHeader {
                correlation,
                response,
            };
            encode_frame(&header, &[], &mut out);
            out.freeze()
        };
        let flood = Flood {
            greeting: frame(1, Response::Welcome(welcome("b"))),
            frame: frame(0, Response::Done),
        };
        Box::pin(async move { Ok(Box::new(flood) as Box<dyn Stream>) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_with_its_time_however_much_else_comes() {
    let options = Options::new(Role::Producer, "test").dial(Arc::new(ToFlood));
    let (connection, pushes) = Connection::open("b:1", &options).await.unwrap();
    drop(pushes);
    let mut answer = connection.request(announce(0), Payload::none());
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_secs(4)).await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let ended = (&mut answer).now_or_never();
    assert!(matches!(ended, Some(Err(Error::Timeout { .. }))));
}

/// The bytes of an example in the documentation of the wire.
fn documented(example: usize) -> Vec<u8> {
    let text = include_str!("../../../docs/wire-format.md");
    let block = text.split("```").nth(1 + 2 * example).unwrap();
    let lines = block.trim().lines();
    // Two spaces end the bytes of a line.
    let bytes = lines.flat_map(|line| line.split("  ").next().unwrap_or("").split(' '));
    bytes
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

#[test]
fn the_documented_send_and_its_answer_are_what_goes_over_the_wire() {
    let mut out = BytesMut::new();
    let send = Send {
        topic: 0,
        queue: QueueId(2),
        flags: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 1_700_000_000_001,
        properties_bytes: 7,
        extras: None,
    };
    let header = ClientHeader {
        correlation: 5,
        request: Request::Send(send),
    };
    encode_frame(&header, &[b"TAGS\x01a\x02", b"hello"], &mut out);
    assert_eq!(out, documented(0));
    out.clear();
    let sent = Sent {
        status: SendStatus::Stored,
        queue: QueueId(2),
        queue_offset: QueueOffset(0),
        physical_offset: PhysicalOffset(4096),
    };
    let header = ServerHeader {
        correlation: 5,
        response: Response::Sent(sent),
    };
    encode_frame(&header, &[], &mut out);
    assert_eq!(out, documented(1));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_ended_keeps_nothing_that_waited_to_be_written() {
    let network = Network::default();
    let mut listener = network.listen("b:1");
    let (connection, _pushes, peer) = open(&network, &mut listener).await;
    let body = Bytes::from(vec![0; 1000]);
    for _ in 0..1000 {
        connection
            .tell(Request::Heartbeat, Payload::new(b"", body.clone()))
            .unwrap();
    }
    tokio::task::yield_now().await;
    drop(peer);
    connection.ended().await;
    assert_eq!(connection.waiting_bytes(), 0);
}
