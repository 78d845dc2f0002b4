//! Pulls whose answers nobody reads, or that wait at a queue whose actor fails.

use std::time::Duration;

use castmq_client::raw::request::Pull;
use castmq_client::raw::{ErrorCode, Request, Response, Retry};

use super::asking::{
    as_it_is, assert_says, consumer, producer, pull, send, session, with_node, with_payload,
};
use super::support::hostile::frame;

#[test]
fn pulls_of_a_slow_reader_wait_instead_of_filling_memory_and_all_are_answered() {
    with_node(as_it_is, async |node| {
        let mut sender = producer(node).await;
        let body = vec![b'x'; 1 << 20];
        for _ in 0..6 {
            sender.say(&with_payload(send(0, 0), &body)).await;
            assert!(matches!(sender.answer().await, Response::Sent(_)));
        }
        let mut slow = consumer(node).await;
        let pulls = 100;
        for number in 0..pulls {
            slow.say(&frame(pull(0, number % 6))).await;
        }
        loop {
            let state = session(node, "Consumer").await.expect("the session lives");
            let number = |name: &str| state[name].as_u64().unwrap_or_default();
            assert!(number("pending_bytes") < 4 << 20, "{state}");
            if number("waiting_pulls") > 50 && number("pending_bytes") >= 1 << 20 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..pulls {
            let (answer, payload) = slow.next().await.expect("an answer");
            assert!(
                matches!(answer, Response::Pulled(pulled) if pulled.messages == 1),
                "{answer:?}"
            );
            assert!(payload.len() > 1 << 20);
        }
        let state = session(node, "Consumer").await.expect("the session lives");
        assert_eq!(state["waiting_pulls"], 0, "{state}");
    });
}

#[test]
fn pulls_that_wait_at_a_queue_whose_actor_fails_are_told_to_come_again() {
    with_node(as_it_is, async |node| {
        let mut wire = consumer(node).await;
        let Request::Pull(waiting) = pull(0, 0) else {
            unreachable!("it is one");
        };
        let wait_ms = u32::MAX;
        let waiting = Request::Pull(Pull { wait_ms, ..waiting });
        for _ in 0..10 {
            wire.say(&frame(waiting.clone())).await;
        }
        let queue = loop {
            let tree = node.tree().snapshot().await;
            let queues = tree.find("broker/queues").expect("queues");
            let waits = |child: &&castmq_actors::supervision::TreeNode| {
                child.state["waiting_fetches"] == 10
            };
            if let Some(queue) = queues.children.iter().find(waits) {
                break format!("broker/queues/{}", queue.name);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert!(node.tree().poison(&queue));
        for _ in 0..10 {
            let Response::Failed(failure) = wire.answer().await else {
                panic!("a pull is answered although its queue failed");
            };
            assert_says(&failure, ErrorCode::Busy, &["pull again"]);
            assert_eq!(failure.retry, Retry::Safe);
        }
        let state = session(node, "Consumer").await.expect("the session lives");
        assert_eq!(state["waiting_pulls"], 0, "{state}");
        assert!(matches!(wire.ask(pull(0, 0)).await, Response::Pulled(_)));
    });
}
