//! Messages that are acknowledged one by one: each is with one consumer at a time, comes again when it is not
//! acknowledged, and never after it was.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use castmq_client::model::{QueueId, TopicConfig};
use castmq_client::raw::admin::ResetTo;
use castmq_client::raw::request::{ChangeInvisible, Pop, PopReceipt};
use castmq_client::raw::{Payload, Request, Response};
use castmq_client::{
    Client, Error, ErrorCode, Message, PoppedMessage, ReceivedMessage, StartFrom, tags,
};

use support::pop::{
    GROUP, TOPIC, acknowledge, built, committed, connection, consumer, next, numbers, one, pop,
    send,
};
use support::{
    admin, client, read_until, run, set_retry_max, start, started, stop, stored, text, until,
    with_queues,
};

/// Longer than any test runs.
const LONG: Duration = Duration::from_secs(86_400);

/// Asserts that a message came again as it has to.
fn assert_again(first: &PoppedMessage, again: &PoppedMessage) {
    assert_eq!(text(again), text(first));
    assert_eq!(again.attempts(), first.attempts() + 1);
    assert!(
        again.receipt().popped_at_ms >= first.visible_at_ms(),
        "{again:?} came before the invisible time of {first:?} had ended"
    );
}

#[test]
fn more_consumers_than_queues_share_a_topic() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_queues(folder.path(), 1)).await;
        send(&client, numbers(60)).await;
        let mut shares = Vec::new();
        let mut consumers = Vec::new();
        // Each of six takes ten, and has them while the others take theirs.
        for _ in 0..6 {
            let mut consumer = built(consumer(&client).max_messages(10));
            let messages = consumer.receive().await.expect("messages");
            assert_eq!(messages.len(), 10);
            shares.push(messages);
            consumers.push(consumer);
        }
        let bodies: HashSet<_> = shares.iter().flatten().map(|one| text(one)).collect();
        assert_eq!(bodies.len(), 60, "nobody has what another one has");
        assert_eq!(committed(&client, 0).await, Some(0));
        for messages in shares.iter().rev() {
            let refused = PoppedMessage::ack_all(messages).await.expect("an answer");
            assert_eq!(refused, []);
        }
        assert_eq!(committed(&client, 0).await, Some(60));
        stop(node).await;
    });
}

#[test]
fn a_consumer_that_waits_gets_what_is_sent_then() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_queues(folder.path(), 4)).await;
        send(&client, ["first".to_owned()]).await;
        let mut waiting = built(consumer(&client).wait(Duration::from_secs(3600)));
        let first = next(&mut waiting).await;
        first.ack().await.expect("it is acknowledged");
        let (second, ()) = tokio::join!(next(&mut waiting), async {
            tokio::task::yield_now().await;
            send(&client, ["second".to_owned()]).await;
        });
        assert_eq!(text(&second), "second");
        let mut patient = built(consumer(&client).wait(Duration::from_millis(30)));
        assert_eq!(patient.receive().await.expect("an answer").len(), 0);
        stop(node).await;
    });
}

#[test]
fn a_message_that_is_not_acknowledged_comes_again_after_its_invisible_time_and_not_before() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_queues(folder.path(), 4)).await;
        send(&client, ["job".to_owned()]).await;
        let invisible = Duration::from_millis(150);
        let mut hasty = built(consumer(&client).invisible(invisible).max_messages(1));
        let first = next(&mut hasty).await;
        assert_eq!(first.attempts(), 1);
        let second = next(&mut hasty).await;
        assert_again(&first, &second);
        let mut patient = built(consumer(&client).invisible(LONG).max_messages(1));
        let third = next(&mut patient).await;
        assert_again(&second, &third);
        let late = first.ack().await.expect_err("that was too late");
        assert_eq!(late.code(), Some(ErrorCode::ReceiptExpired));
        third.ack().await.expect("it is acknowledged");
        third.ack().await.expect("saying it again is harmless");
        let settled = third.nack(Duration::ZERO).await.expect_err("it is done");
        assert_eq!(settled.code(), Some(ErrorCode::MessageSettled));
        stop(node).await;
    });
}

#[test]
fn a_message_comes_again_when_a_consumer_says_so_and_stays_away_for_as_long_as_one_says() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_queues(folder.path(), 1)).await;
        send(&client, ["job".to_owned()]).await;
        let mut patient = built(consumer(&client).invisible(LONG).max_messages(1));
        let first = next(&mut patient).await;
        first.nack(Duration::ZERO).await.expect("at once");
        let second = next(&mut patient).await;
        assert_eq!(second.attempts(), 2);
        let before_ms = second.receipt().popped_at_ms;
        second.nack(Duration::from_millis(100)).await.expect("soon");
        let third = next(&mut patient).await;
        assert_eq!(third.attempts(), 3);
        assert!(third.receipt().popped_at_ms >= before_ms + 100);
        third.nack(Duration::ZERO).await.expect("at once");

        let short = Duration::from_millis(1_000);
        let mut hasty = built(consumer(&client).invisible(short).max_messages(1));
        let mut fourth = next(&mut hasty).await;
        let old = fourth.receipt();
        fourth
            .extend(Duration::from_millis(1_500))
            .await
            .expect("longer");
        assert_ne!(fourth.receipt(), old);
        assert!(fourth.visible_at_ms() >= old.popped_at_ms + 1_500);
        let fifth = next(&mut patient).await;
        assert_again(&fourth, &fifth);
        fifth.ack().await.expect("it is acknowledged");
        stop(node).await;
    });
}

#[test]
fn forged_receipts_settle_nothing_and_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_queues(folder.path(), 1)).await;
        send(&client, numbers(2)).await;
        let address = node.broker_address().expect("a broker").to_string();
        let connection = connection(&address).await;
        let never = PopReceipt {
            queue: castmq_client::model::QueueId(0),
            offset: castmq_client::model::QueueOffset(0),
            popped_at_ms: 1,
            invisible_ms: 2,
            attempt: 1,
        };
        let unknown = ErrorCode::ReceiptUnknown;
        // Of a group that has popped nothing.
        assert_eq!(acknowledge(&connection, vec![never]).await, [(0, unknown)]);
        let receipt = pop(&connection, one()).await.remove(0);
        let forged = [
            PopReceipt {
                offset: receipt.offset + 1,
                ..receipt
            },
            PopReceipt {
                queue: castmq_client::model::QueueId(7),
                ..receipt
            },
            PopReceipt {
                popped_at_ms: receipt.popped_at_ms - 1,
                ..receipt
            },
            PopReceipt {
                invisible_ms: 1,
                ..receipt
            },
            PopReceipt {
                attempt: 2,
                ..receipt
            },
            PopReceipt {
                attempt: 0,
                ..receipt
            },
        ];
        for receipt in [forged[0], forged[5]] {
            let change = Request::ChangeInvisible(ChangeInvisible {
                group: 0,
                topic: 0,
                receipt,
                invisible_ms: 0,
            });
            let refused = connection.request(change, Payload::none()).await;
            let refused = refused.expect_err("nothing is out with it");
            assert_eq!(refused.code(), Some(unknown));
        }
        let all: Vec<_> = forged.into_iter().chain([receipt]).collect();
        let refused: Vec<_> = (0..6).map(|place| (place, unknown)).collect();
        assert_eq!(acknowledge(&connection, all).await, refused);
        let nothing = Pop {
            invisible_ms: 0,
            ..one()
        };
        let refused = connection
            .request(Request::Pop(nothing), Payload::none())
            .await;
        let refused = refused.expect_err("it would be for nobody");
        assert_eq!(refused.code(), Some(ErrorCode::InvalidRequest));
        assert_eq!(pop(&connection, one()).await[0].offset, receipt.offset + 1);
        stop(node).await;
    });
}

#[test]
fn what_the_filter_does_not_let_through_is_settled() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_queues(folder.path(), 1)).await;
        let producer = client.producer().build();
        for number in 0..10_000 {
            let tag = match number % 2_500 {
                2_499 => "red",
                _ => "green",
            };
            let message = Message::builder(TOPIC, number.to_string()).tag(tag);
            let message = message.build().expect("a message");
            drop(producer.send(message).await.expect("it is stored"));
        }
        let mut reds = built(consumer(&client).filter(tags(["red"])));
        let mut bodies = Vec::new();
        while bodies.len() < 4 {
            let messages = reds.receive().await.expect("an answer");
            PoppedMessage::ack_all(&messages).await.expect("an answer");
            bodies.extend(messages.iter().map(|message| text(message)));
        }
        assert_eq!(bodies, ["2499", "4999", "7499", "9999"]);
        assert_eq!(committed(&client, 0).await, Some(10_000));
        stop(node).await;
    });
}

#[test]
fn after_the_last_attempt_a_message_is_a_dead_letter() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_queues(folder.path(), 1)).await;
        send(&client, ["bad".to_owned(), "good".to_owned()]).await;
        set_retry_max(&admin(&client).await, GROUP, 2).await;
        let mut consumer = built(consumer(&client).max_messages(1));
        for attempt in 1..=3 {
            let message = next(&mut consumer).await;
            assert_eq!(
                (text(&message).as_str(), message.attempts()),
                ("bad", attempt)
            );
            message.nack(Duration::ZERO).await.expect("it failed");
        }
        let good = next(&mut consumer).await;
        assert_eq!(text(&good), "good");
        good.ack().await.expect("it is acknowledged");
        let letters = format!("%DLQ%{GROUP}");
        let letters = read_until(&client, &letters, |read| !read.is_empty()).await;
        let letter = &letters[0];
        assert_eq!(text(letter), "bad");
        assert_eq!(letter.topic(), TOPIC);
        assert_eq!(letter.reconsume_times(), 3);
        assert_eq!(letter.property("DLQ_ORIGIN_TOPIC"), Some(TOPIC));
        until(async || committed(&client, 0).await == Some(2)).await;
        stop(node).await;
    });
}

#[test]
fn more_messages_than_are_buried_at_once_become_dead_letters_each_once() {
    /// Twice as many as may be on their way, and some.
    const COUNT: u32 = 600;
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_queues(folder.path(), 1)).await;
        send(&client, numbers(COUNT)).await;
        let address = node.broker_address().expect("a broker").to_string();
        let admin = admin(&client).await;
        set_retry_max(&admin, GROUP, 0).await;
        let connection = connection(&address).await;
        let mut count = 0;
        while count < COUNT as usize {
            let all = Pop {
                max_messages: COUNT,
                invisible_ms: 300,
                ..one()
            };
            count += pop(&connection, all).await.len();
        }
        until(async || committed(&client, 0).await == Some(COUNT.into())).await;
        let letters = format!("%DLQ%{GROUP}");
        assert_eq!(stored(&admin, &letters).await, u64::from(COUNT));
        let is_all = |read: &[ReceivedMessage]| read.len() == COUNT as usize;
        let letters = read_until(&client, &letters, is_all).await;
        let mut bodies: Vec<u32> = letters
            .iter()
            .map(|letter| text(letter).parse().expect("a number"))
            .collect();
        bodies.sort_unstable();
        assert!(bodies.into_iter().eq(0..COUNT));
        stop(node).await;
    });
}

/// Sets the group back to the first message.
async fn reset(client: &Client) {
    let to = ResetTo::Start(StartFrom::Earliest);
    let admin = admin(client).await;
    let reset = admin.reset_offsets(GROUP, TOPIC, None, to);
    reset.await.expect("a reset");
}

#[test]
fn an_operator_sets_back_what_a_group_has_popped() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let settings = with_queues(folder.path(), 1);
        let bodies =
            |messages: &[PoppedMessage]| messages.iter().map(|one| text(one)).collect::<Vec<_>>();
        let node = start(&settings).await;
        {
            let client = client(&node).await;
            send(&client, numbers(5)).await;
            let mut consumer = built(consumer(&client));
            let messages = consumer.receive().await.expect("messages");
            PoppedMessage::ack_all(&messages).await.expect("an answer");
            reset(&client).await;
            let again = consumer.receive().await.expect("messages");
            assert_eq!(bodies(&again), bodies(&messages));
            PoppedMessage::ack_all(&again).await.expect("an answer");
            assert_eq!(committed(&client, 0).await, Some(5));
            reset(&client).await;
        }
        stop(node).await;
        let (node, client) = started(&settings).await;
        let mut consumer = built(consumer(&client));
        let again = consumer.receive().await.expect("messages");
        let expected: Vec<_> = numbers(5).collect();
        assert_eq!(bodies(&again), expected, "a restart leaves it there");
        stop(node).await;
    });
}

#[test]
fn a_pop_that_waits_gets_what_is_sent_to_a_queue_that_came_meanwhile() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_queues(folder.path(), 1)).await;
        send(&client, ["first".to_owned()]).await;
        let mut waiting = built(consumer(&client).wait(Duration::from_secs(3600)));
        let first = next(&mut waiting).await;
        first.ack().await.expect("it is acknowledged");
        let address = node.broker_address().expect("a broker").to_string();
        let pops = connection(&address).await;
        // Of one queue, and before the one of all.
        let of_first = Pop {
            queue: QueueId(0),
            wait_ms: 3_600_000,
            ..one()
        };
        let of_first = pops.request(Request::Pop(of_first), Payload::none());
        let popper = async |state: &str| {
            let tree = node.tree().snapshot().await;
            let popper = tree.find("broker/delivery/popper").expect("it is there");
            popper.state[state].as_u64().expect("a number")
        };
        until(async || popper("waiting_pops").await == 1).await;
        let (second, ()) = tokio::join!(next(&mut waiting), async {
            until(async || popper("waiting_pops").await == 2).await;
            let admin = admin(&client).await;
            let grown = admin.put_topic(TOPIC, TopicConfig::with_queues(2));
            grown.await.expect("it has two queues");
            until(async || popper("ledgers").await == 2).await;
            // The name server hears of it a little later.
            until(async || {
                let client = support::client(&node).await;
                let message = Message::builder(TOPIC, "second").queue(1);
                let message = message.build().expect("a message");
                match client.producer().build().send(message).await {
                    Ok(_) => true,
                    Err(Error::NoQueue { .. }) => false,
                    Err(error) => panic!("it is not stored: {error}"),
                }
            })
            .await;
        });
        assert_eq!(text(&second), "second");
        drop(of_first);
        stop(node).await;
    });
}

#[test]
fn a_popper_that_nobody_uses_sleeps_and_finds_out_first_what_happened_meanwhile() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_queues(folder.path(), 1)).await;
        send(&client, numbers(3)).await;
        let mut consumer = built(consumer(&client));
        let messages = consumer.receive().await.expect("messages");
        PoppedMessage::ack_all(&messages).await.expect("an answer");
        let is_awake = async || {
            let tree = node.tree().snapshot().await;
            let popper = tree.find("broker/delivery/popper").expect("it is there");
            popper.state["is_awake"].as_bool().expect("a state")
        };
        assert!(is_awake().await);
        until(async || !is_awake().await).await;
        reset(&client).await;
        let again = consumer.receive().await.expect("messages");
        assert_eq!(again.len(), 3);
        stop(node).await;
    });
}

#[test]
fn a_restart_changes_nothing_of_who_has_what() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let settings = with_queues(folder.path(), 1);
        let node = start(&settings).await;
        let address = node.broker_address().expect("a broker").to_string();
        let (receipts, done) = {
            let client = client(&node).await;
            send(&client, numbers(10)).await;
            let connection = connection(&address).await;
            let all = Pop {
                max_messages: 10,
                ..one()
            };
            let mut receipts = pop(&connection, all).await;
            // Every second is acknowledged: the floor moves over the first alone.
            let done: Vec<_> = receipts.iter().copied().step_by(2).collect();
            assert_eq!(acknowledge(&connection, done.clone()).await, []);
            receipts.retain(|receipt| !done.contains(receipt));
            (receipts, done)
        };
        stop(node).await;
        let (node, client) = started(&settings).await;
        assert_eq!(committed(&client, 0).await, Some(1));
        let address = node.broker_address().expect("a broker").to_string();
        let connection = connection(&address).await;
        assert_eq!(pop(&connection, one()).await, [], "they are out still");
        assert_eq!(
            acknowledge(&connection, done).await,
            [],
            "they are settled still"
        );
        assert_eq!(acknowledge(&connection, receipts).await, []);
        assert_eq!(committed(&client, 0).await, Some(10));
        stop(node).await;
    });
}

/// Where a start would begin to replay the journal.
async fn replays_from(client: &Client, address: &str) -> u64 {
    let actors = client.admin().at(address).actors().await;
    let actors = actors.expect("the tree");
    let (_, rest) = actors.split_once("\"replays_from\":").expect("a popper");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("an offset")
}

#[test]
fn a_start_replays_from_the_last_time_that_all_was_written_down() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let settings = with_queues(folder.path(), 2);
        let node = start(&settings).await;
        let address = node.broker_address().expect("a broker").to_string();
        let (receipts, from) = {
            let client = client(&node).await;
            send(&client, numbers(100)).await;
            let connection = connection(&address).await;
            let all = Pop {
                max_messages: 100,
                ..one()
            };
            let mut receipts = pop(&connection, all).await;
            assert_eq!(receipts.len(), 100);
            // Each change is an entry of the journal.
            while replays_from(&client, &address).await == 0 {
                for _ in 0..20 {
                    let change = |receipt: &PopReceipt| {
                        let change = Request::ChangeInvisible(ChangeInvisible {
                            group: 0,
                            topic: 0,
                            receipt: *receipt,
                            invisible_ms: 86_400_000,
                        });
                        connection.request(change, Payload::none())
                    };
                    let changes: Vec<_> = receipts.iter().map(change).collect();
                    for (receipt, change) in receipts.iter_mut().zip(changes) {
                        let answer = change.await.expect("an answer").header.response;
                        let Response::InvisibleChanged { receipt: new } = answer else {
                            panic!("a change is answered with {answer:?}");
                        };
                        *receipt = new;
                    }
                }
            }
            (receipts, replays_from(&client, &address).await)
        };
        stop(node).await;
        let node = start(&settings).await;
        let address = node.broker_address().expect("a broker").to_string();
        let connection = connection(&address).await;
        assert_eq!(pop(&connection, one()).await, [], "they are out still");
        assert_eq!(acknowledge(&connection, receipts).await, []);
        let client = client(&node).await;
        assert!(replays_from(&client, &address).await >= from);
        stop(node).await;
    });
}
