//! What a group that pops has before it.

use castmq_protocol::remoting::headers::pop::{Notification, PeekMessage, PollingInfo, PopMessage};
use castmq_protocol::remoting::{request_code, response_code};

use crate::messages::{bodies, broker, message, node, send};
use crate::support::{run, stop};
use crate::wire::{Came, Wire};

fn peek(most: i32) -> PeekMessage<'static> {
    PeekMessage {
        topic: "t",
        queue: -1,
        max_messages: most,
        group: "g",
    }
}

fn notification(poll_ms: i64) -> Notification<'static> {
    Notification {
        group: "g",
        topic: "t",
        queue: -1,
        poll_ms,
        born_ms: 0,
        in_order: false,
        attempt_id: None,
    }
}

/// Takes messages that come back after a time.
fn pop(most: i32, invisible_ms: i64, poll_ms: i64) -> PopMessage<'static> {
    PopMessage {
        group: "g",
        topic: "t",
        queue: -1,
        max_messages: most,
        invisible_ms,
        poll_ms,
        born_ms: 0,
        init_mode: 0,
        expression_type: None,
        expression: Some("*"),
        in_order: false,
        attempt_id: None,
    }
}

/// Bodies of messages that came.
fn shown(came: &Came) -> Vec<String> {
    let bodies = bodies(came).into_iter();
    bodies.map(|(body, _)| body).collect()
}

async fn has_messages(wire: &mut Wire, poll_ms: i64) -> bool {
    let code = request_code::NOTIFICATION;
    let came = wire.ask(code, &notification(poll_ms), b"").await;
    assert_eq!(came.code, response_code::SUCCESS, "{}", came.remark);
    came.field("hasMsg") == "true"
}

#[test]
fn messages_are_shown_without_being_handed_out() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        let code = request_code::PEEK_MESSAGE;
        let nobody = wire.ask(code, &peek(1), b"").await;
        assert_eq!(nobody.code, response_code::SUBSCRIPTION_GROUP_NOT_EXIST);
        for body in ["one", "two", "three"] {
            send(&mut wire, message("t"), body).await;
        }
        wire.heartbeat("client", "g", "t").await;
        for _ in 0..2 {
            let came = wire.ask(code, &peek(2), b"").await;
            assert_eq!(came.code, response_code::SUCCESS, "{}", came.remark);
            assert_eq!(shown(&came), ["one", "two"]);
            assert_eq!(came.field("restNum"), "3");
        }
        // Those that are out are not shown until they are back.
        let popped = wire
            .ask(request_code::POP_MESSAGE, &pop(2, 1_000, 0), b"")
            .await;
        assert_eq!(shown(&popped), ["one", "two"]);
        let came = wire.ask(code, &peek(9), b"").await;
        assert_eq!(shown(&came), ["three"]);
        let all = loop {
            let seen = shown(&wire.ask(code, &peek(9), b"").await);
            if seen.len() > 2 {
                break seen;
            }
        };
        assert_eq!(all, ["one", "two", "three"]);
        stop(node).await;
    });
}

#[test]
fn who_asks_for_messages_hears_of_the_next_one_and_of_one_that_comes_back() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        send(&mut wire, message("t"), "one").await;
        wire.heartbeat("client", "g", "t").await;
        assert!(has_messages(&mut wire, 0).await);
        assert!(has_messages(&mut wire, 60_000).await);
        let popped = wire
            .ask(request_code::POP_MESSAGE, &pop(1, 1_500, 0), b"")
            .await;
        assert_eq!(popped.code, response_code::SUCCESS);
        assert!(!has_messages(&mut wire, 0).await);
        assert!(!has_messages(&mut wire, 10).await);
        // It comes back.
        assert!(has_messages(&mut wire, 60_000).await);
        let code = request_code::POP_MESSAGE;
        wire.ask(code, &pop(1, 600_000, 0), b"").await;
        let code = request_code::NOTIFICATION;
        let waiting = wire.send(code, &notification(60_000), b"").await;
        let mut other = Wire::open(&broker(&node)).await;
        send(&mut other, message("t"), "two").await;
        let came = wire.answer(waiting).await;
        assert_eq!(came.field("hasMsg"), "true");
        stop(node).await;
    });
}

#[test]
fn waiting_pops_are_counted() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        send(&mut wire, message("t"), "one").await;
        wire.heartbeat("client", "g", "t").await;
        let code = request_code::POP_MESSAGE;
        wire.ask(code, &pop(1, 600_000, 0), b"").await;
        let patient = pop(1, 600_000, 60_000);
        for _ in 0..2 {
            wire.send(code, &patient, b"").await;
        }
        let info = PollingInfo {
            group: "g",
            topic: "t",
            queue: patient.queue,
        };
        let code = request_code::POLLING_INFO;
        let mut asking = Wire::open(&broker(&node)).await;
        while asking.ask(code, &info, b"").await.field("pollingNum") != "2" {
            tokio::task::yield_now().await;
        }
        stop(node).await;
    });
}
