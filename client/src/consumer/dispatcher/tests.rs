use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::retry::RETRY_PAUSE;
use super::*;
use crate::message::{Origin, read_records, stored_record};

const WINDOW: Window = Window {
    messages: 1000,
    bytes: 1 << 20,
};

fn rules(order: Order) -> Rules {
    Rules {
        order,
        workers: 4,
        window: WINDOW,
        max_span: 2000,
        max_attempts: None,
    }
}

fn queue(id: u32) -> Queue {
    Queue::new("orders", "a", id)
}

fn messages(offsets: std::ops::Range<u64>) -> Vec<ReceivedMessage> {
    let origin = std::sync::Arc::new(Origin {
        topic: "orders".into(),
        broker: "a".into(),
    });
    let records: Vec<u8> = offsets
        .flat_map(|offset| stored_record(offset, b"x", b"", 0))
        .collect();
    read_records(Bytes::from(records), Some(&origin), 0).unwrap()
}

fn came(offsets: std::ops::Range<u64>, next: QueueOffset) -> Came {
    Came {
        messages: messages(offsets),
        next,
        expires: None,
        by_priority: false,
    }
}

/// A turn of one message.
#[derive(Debug)]
struct Job<S> {
    key: QueueKey,
    message: ReceivedMessage,
    source: S,
}

fn turn(dispatcher: &Dispatcher<u32>, most: usize) -> Option<Turn<u32>> {
    let mut cx = Context::from_waker(Waker::noop());
    match dispatcher.poll_next(0, most, &mut cx) {
        Poll::Ready(turn) => turn,
        Poll::Pending => None,
    }
}

fn next(dispatcher: &Dispatcher<u32>) -> Option<Job<u32>> {
    let mut turn = turn(dispatcher, 1)?;
    assert_eq!(turn.messages.len(), 1);
    Some(Job {
        key: turn.key,
        message: turn.messages.pop_front()?,
        source: turn.source,
    })
}

fn finish(dispatcher: &Dispatcher<u32>, job: Job<u32>, ack: Ack, now: Instant) -> Option<Window> {
    let mut handled = vec![(job.message, ack)];
    dispatcher.finish(job.key, &mut handled, VecDeque::new(), now)
}

fn deliver(dispatcher: &Dispatcher<u32>, key: QueueKey, offsets: std::ops::Range<u64>) {
    let behind = QueueOffset(offsets.end);
    dispatcher.deliver(key, came(offsets, behind), |_| true);
}

fn offset(job: &Job<u32>) -> u64 {
    job.message.offset().0
}

#[test]
fn without_order_all_messages_of_a_queue_may_run_at_once() {
    let dispatcher = Dispatcher::new(rules(Order::None));
    let key = dispatcher.add(queue(0), QueueOffset(0), 0);
    deliver(&dispatcher, key, 0..3);
    let jobs: Vec<_> = std::iter::from_fn(|| next(&dispatcher)).collect();
    assert_eq!(jobs.iter().map(offset).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn queues_take_turns() {
    let dispatcher = Dispatcher::new(rules(Order::None));
    let keys = [0, 1].map(|id| dispatcher.add(queue(id), QueueOffset(0), id));
    for key in keys {
        deliver(&dispatcher, key, 0..2);
    }
    let jobs: Vec<_> = std::iter::from_fn(|| next(&dispatcher)).collect();
    assert_eq!(
        jobs.iter().map(|job| job.source).collect::<Vec<_>>(),
        [0, 1, 0, 1]
    );
}

#[test]
fn in_order_one_message_of_a_queue_runs_at_a_time() {
    let now = Instant::now();
    let dispatcher = Dispatcher::new(rules(Order::PerQueue));
    let key = dispatcher.add(queue(0), QueueOffset(0), 0);
    deliver(&dispatcher, key, 0..3);
    for expected in 0..3 {
        let job = next(&dispatcher).unwrap();
        assert_eq!(offset(&job), expected);
        assert!(next(&dispatcher).is_none());
        finish(&dispatcher, job, Ack::Done, now);
    }
    assert_eq!(dispatcher.committable(key), Some(QueueOffset(3)));
}

#[test]
fn in_order_a_message_to_be_tried_again_suspends_its_queue_and_only_that() {
    let now = Instant::now();
    let dispatcher = Dispatcher::new(rules(Order::PerQueue));
    let first = dispatcher.add(queue(0), QueueOffset(0), 0);
    deliver(&dispatcher, first, 0..2);
    finish(&dispatcher, next(&dispatcher).unwrap(), Ack::Retry, now);
    assert!(next(&dispatcher).is_none());
    let second = dispatcher.add(queue(1), QueueOffset(0), 1);
    deliver(&dispatcher, second, 7..8);
    assert_eq!(offset(&next(&dispatcher).unwrap()), 7);
    assert_eq!(dispatcher.next_tick(), Some(now + RETRY_PAUSE));
    dispatcher.tick(now + RETRY_PAUSE);
    let again = next(&dispatcher).unwrap();
    assert_eq!((offset(&again), again.message.attempts()), (0, 2));
}

#[test]
fn without_order_others_go_on_while_one_waits_longer_each_time() {
    let mut now = Instant::now();
    let dispatcher = Dispatcher::new(rules(Order::None));
    let key = dispatcher.add(queue(0), QueueOffset(0), 0);
    deliver(&dispatcher, key, 0..2);
    let mut job = next(&dispatcher).unwrap();
    let other = next(&dispatcher).unwrap();
    finish(&dispatcher, other, Ack::Done, now);
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        finish(&dispatcher, job, Ack::Retry, now);
        let due = now + Duration::from_secs(seconds);
        assert_eq!(dispatcher.next_tick(), Some(due));
        dispatcher.tick(due - Duration::from_millis(1));
        assert!(next(&dispatcher).is_none());
        dispatcher.tick(due);
        job = next(&dispatcher).unwrap();
        now = due;
        assert_eq!(dispatcher.committable(key), Some(QueueOffset(0)));
    }
    finish(&dispatcher, job, Ack::Done, now);
    assert_eq!(dispatcher.committable(key), Some(QueueOffset(2)));
}

#[test]
fn a_message_tried_as_often_as_allowed_is_given_up() {
    let now = Instant::now();
    let dispatcher = Dispatcher::new(Rules {
        max_attempts: Some(2),
        ..rules(Order::None)
    });
    let key = dispatcher.add(queue(0), QueueOffset(0), 0);
    deliver(&dispatcher, key, 0..1);
    finish(&dispatcher, next(&dispatcher).unwrap(), Ack::Retry, now);
    dispatcher.tick(now + RETRY_PAUSE);
    finish(&dispatcher, next(&dispatcher).unwrap(), Ack::Retry, now);
    assert_eq!(dispatcher.next_tick(), None);
    assert_eq!(dispatcher.committable(key), Some(QueueOffset(1)));
}

#[test]
fn credit_is_held_back_while_an_unfinished_message_is_too_far_behind() {
    let now = Instant::now();
    let dispatcher = Dispatcher::new(Rules {
        max_span: 10,
        window: Window {
            messages: 4,
            bytes: 1 << 20,
        },
        ..rules(Order::None)
    });
    let key = dispatcher.add(queue(0), QueueOffset(0), 0);
    deliver(&dispatcher, key, 0..20);
    let mut jobs: Vec<_> = std::iter::from_fn(|| next(&dispatcher)).collect();
    let stuck = jobs.remove(0);
    for job in jobs {
        assert_eq!(finish(&dispatcher, job, Ack::Done, now), None);
    }
    let returned = finish(&dispatcher, stuck, Ack::Done, now).unwrap();
    assert_eq!(returned.messages, 20);
}

#[test]
fn messages_that_are_not_wanted_are_done_and_their_credit_returns() {
    let dispatcher = Dispatcher::new(rules(Order::None));
    let key = dispatcher.add(queue(0), QueueOffset(0), 0);
    let even = |message: &ReceivedMessage| message.offset().0.is_multiple_of(2);
    assert_eq!(
        dispatcher.deliver(key, came(0..3, QueueOffset(9)), even),
        None
    );
    let none = |_: &ReceivedMessage| false;
    let jobs: Vec<_> = std::iter::from_fn(|| next(&dispatcher)).collect();
    assert_eq!(jobs.iter().map(offset).collect::<Vec<_>>(), [0, 2]);
    for job in jobs {
        finish(&dispatcher, job, Ack::Done, Instant::now());
    }
    assert_eq!(dispatcher.committable(key), Some(QueueOffset(9)));
    let returned = dispatcher
        .deliver(key, came(9..11, QueueOffset(11)), none)
        .unwrap();
    assert_eq!(returned.messages, 2);
}

#[test]
fn by_priority_the_highest_queue_of_a_topic_takes_its_turns_and_other_topics_keep_theirs() {
    let dispatcher = Dispatcher::new(rules(Order::None));
    let add = |queue: Queue, by_priority| {
        let id = queue.id.0;
        let name = match &*queue.topic {
            "orders" => id,
            _ => 100 + id,
        };
        let key = dispatcher.add(queue, QueueOffset(0), name);
        let came = Came {
            by_priority,
            ..came(0..2, QueueOffset(2))
        };
        dispatcher.deliver(key, came, |_| true);
    };
    add(queue(1), true);
    add(Queue::new("plain", "a", 7), false);
    add(Queue::new("plain", "a", 8), false);
    add(queue(3), true);
    add(Queue::new("orders", "b", 2), true);
    let turns: Vec<_> = std::iter::from_fn(|| next(&dispatcher)).collect();
    let turns: Vec<_> = turns.iter().map(|job| job.source).collect();
    let of_orders: Vec<_> = turns.iter().copied().filter(|turn| *turn < 100).collect();
    assert_eq!(of_orders, [3, 3, 2, 2, 1, 1]);
    let others: Vec<_> = turns.iter().copied().filter(|turn| *turn >= 100).collect();
    assert_eq!(
        others,
        [107, 108, 107, 108],
        "in turn, and not last: {turns:?}"
    );
    assert_eq!(turns[..3], [3, 107, 108]);
}

#[test]
fn whether_messages_may_expire_is_what_was_said_last_and_their_property_counts_on() {
    let dispatcher = Dispatcher::new(rules(Order::None));
    let key = dispatcher.add(queue(0), QueueOffset(0), 0);
    let mut offset = 0;
    let mut expires_after = |expires| {
        let came = Came {
            expires,
            ..came(offset..offset + 1, QueueOffset(offset + 1))
        };
        offset += 1;
        dispatcher.deliver(key, came, |_| true);
        turn(&dispatcher, 1).unwrap().expires
    };
    assert_eq!(expires_after(None), None);
    assert_eq!(expires_after(Some(500)), Some(500));
    assert_eq!(expires_after(None), Some(0));
    assert_eq!(expires_after(Some(0)), Some(0));
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_what_runs_and_starts_nothing_more() {
    let dispatcher = Dispatcher::new(rules(Order::None));
    let key = dispatcher.add(queue(0), QueueOffset(0), 0);
    deliver(&dispatcher, key, 0..3);
    let job = next(&dispatcher).unwrap();
    dispatcher.drain(key);
    assert!(next(&dispatcher).is_none());
    let mut drained = Box::pin(dispatcher.drained(key));
    assert!(
        tokio::time::timeout(Duration::from_secs(1), &mut drained)
            .await
            .is_err()
    );
    finish(&dispatcher, job, Ack::Done, Instant::now());
    drained.await;
    assert_eq!(dispatcher.committable(key), Some(QueueOffset(1)));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_comes_back_can_wait_for_handlers_of_its_first_life() {
    let dispatcher = Dispatcher::new(rules(Order::PerQueue));
    let key = dispatcher.add(queue(0), QueueOffset(0), 0);
    deliver(&dispatcher, key, 0..3);
    let job = next(&dispatcher).unwrap();
    dispatcher.remove(key);
    assert_eq!(dispatcher.queues(), []);
    let mut quiet = Box::pin(async { dispatcher.quiet(&queue(0)).await });
    assert!(
        tokio::time::timeout(Duration::from_secs(1), &mut quiet)
            .await
            .is_err()
    );
    assert_eq!(finish(&dispatcher, job, Ack::Retry, Instant::now()), None);
    quiet.await;
    assert_eq!(dispatcher.next_tick(), None);
    // The place is free again, and what still knows its old key finds nothing.
    let again = dispatcher.add(queue(0), QueueOffset(1), 0);
    assert_ne!(again, key);
    assert_eq!(dispatcher.committable(key), None);
}

#[test]
fn workers_end_when_the_dispatcher_stops() {
    let dispatcher = Dispatcher::new(rules(Order::None));
    let key = dispatcher.add(queue(0), QueueOffset(0), 0);
    deliver(&dispatcher, key, 0..3);
    dispatcher.stop();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(
        dispatcher.poll_next(0, 1, &mut cx),
        Poll::Ready(None)
    ));
}

#[test]
fn several_messages_in_a_turn_are_a_fair_share_and_what_is_left_goes_back_to_its_place() {
    let now = Instant::now();
    let dispatcher = Dispatcher::new(rules(Order::None));
    let key = dispatcher.add(queue(0), QueueOffset(0), 0);
    deliver(&dispatcher, key, 0..100);
    let mut first = turn(&dispatcher, 32).unwrap();
    assert_eq!(first.messages.len(), 25);
    assert_eq!(turn(&dispatcher, 10).unwrap().messages.len(), 10);
    let mut handled = Vec::new();
    handled.extend(
        first
            .messages
            .pop_front()
            .map(|message| (message, Ack::Done)),
    );
    dispatcher.finish(key, &mut handled, first.messages, now);
    assert!(handled.is_empty());
    assert_eq!(dispatcher.committable(key), Some(QueueOffset(1)));
    assert_eq!(offset(&next(&dispatcher).unwrap()), 1);
}

#[test]
fn in_order_a_turn_that_fails_half_way_goes_on_at_the_message_that_failed() {
    let now = Instant::now();
    let dispatcher = Dispatcher::new(rules(Order::PerQueue));
    let key = dispatcher.add(queue(0), QueueOffset(0), 0);
    deliver(&dispatcher, key, 0..5);
    let mut all = turn(&dispatcher, 32).unwrap().messages;
    assert_eq!(all.len(), 5);
    assert!(turn(&dispatcher, 32).is_none());
    let rest = all.split_off(2);
    let acks = [Ack::Done, Ack::Retry];
    let mut handled = all.into_iter().zip(acks).collect();
    dispatcher.finish(key, &mut handled, rest, now);
    assert!(turn(&dispatcher, 32).is_none());
    dispatcher.tick(now + RETRY_PAUSE);
    let again = turn(&dispatcher, 32).unwrap().messages;
    let offsets: Vec<_> = again.iter().map(|message| message.offset().0).collect();
    assert_eq!(offsets, [1, 2, 3, 4]);
}

#[test]
fn what_is_left_of_a_turn_is_not_started_while_its_queue_drains() {
    let dispatcher = Dispatcher::new(rules(Order::PerQueue));
    let key = dispatcher.add(queue(0), QueueOffset(0), 0);
    deliver(&dispatcher, key, 0..5);
    let all = turn(&dispatcher, 32).unwrap().messages;
    dispatcher.drain(key);
    dispatcher.finish(key, &mut Vec::new(), all, Instant::now());
    assert!(next(&dispatcher).is_none());
    assert_eq!(dispatcher.committable(key), Some(QueueOffset(0)));
}

#[derive(Debug, Clone)]
enum Step {
    Deliver(usize, u64),
    Start,
    Finish(prop::sample::Index, bool),
    Wait,
    Replace(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_usize..3, 1_u64..5).prop_map(|(queue, count)| Step::Deliver(queue, count)),
        Just(Step::Start),
        Just(Step::Start),
        any::<(prop::sample::Index, bool)>().prop_map(|(pick, done)| Step::Finish(pick, done)),
        any::<prop::sample::Index>().prop_map(|pick| Step::Finish(pick, true)),
        Just(Step::Wait),
        (0_usize..3).prop_map(Step::Replace),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost_overtaken_or_committed_before_it_is_done(ordered in any::<bool>(), steps in prop::collection::vec(step(), 1..300)) {
        let order = if ordered { Order::PerQueue } else { Order::None };
        let dispatcher = Dispatcher::new(rules(order));
        let mut now = Instant::now();
        // Each queue's life: its key, its next offset, what is not done, and its highest start.
        let mut life = 0;
        let mut add = |start: u64| {
            life += 1;
            (dispatcher.add(queue(life), QueueOffset(start), life), start, BTreeSet::new(), None)
        };
        let mut queues: Vec<_> = (0..3).map(|_| add(0)).collect();
        let mut running: Vec<Job<u32>> = Vec::new();
        let drive = |queues: &mut Vec<(QueueKey, u64, BTreeSet<u64>, Option<u64>)>, running: &mut Vec<Job<u32>>| {
            let Some(job) = next(&dispatcher) else { return Ok(false) };
            let at = offset(&job);
            let held = queues.iter_mut().find(|held| held.0 == job.key);
            let (key, _, open, highest) = held.expect("only queues that are held start messages");
            prop_assert!(open.contains(&at));
            if ordered {
                prop_assert!(running.iter().all(|other| other.key != *key));
                prop_assert_eq!(Some(&at), open.first());
                prop_assert!(highest.is_none_or(|highest| at >= highest));
            }
            *highest = Some(at);
            running.push(job);
            Ok(true)
        };
        for step in steps {
            match step {
                Step::Deliver(index, count) => {
                    let (key, next, open, _) = &mut queues[index];
                    deliver(&dispatcher, *key, *next..*next + count);
                    open.extend(*next..*next + count);
                    *next += count;
                }
                Step::Start => drop(drive(&mut queues, &mut running)?),
                Step::Finish(pick, done) if !running.is_empty() => {
                    let job = running.remove(pick.index(running.len()));
                    if done && let Some(held) = queues.iter_mut().find(|held| held.0 == job.key) {
                        held.2.remove(&offset(&job));
                    }
                    finish(&dispatcher, job, if done { Ack::Done } else { Ack::Retry }, now);
                }
                Step::Finish(..) => {}
                Step::Wait => {
                    now += Duration::from_secs(31);
                    dispatcher.tick(now);
                }
                Step::Replace(index) => {
                    dispatcher.remove(queues[index].0);
                    queues[index] = add(100);
                }
            }
            for (key, next, open, _) in &queues {
                let expected = open.first().copied().unwrap_or(*next);
                prop_assert_eq!(dispatcher.committable(*key), Some(QueueOffset(expected)));
            }
        }
        // With patience everything is done.
        let mut counts = BTreeMap::new();
        for _ in 0..10_000 {
            now += Duration::from_secs(31);
            dispatcher.tick(now);
            while drive(&mut queues, &mut running)? {}
            if running.is_empty() {
                break;
            }
            for job in running.drain(..) {
                if let Some(held) = queues.iter_mut().find(|held| held.0 == job.key) {
                    held.2.remove(&offset(&job));
                }
                *counts.entry(job.source).or_insert(0) += 1;
                finish(&dispatcher, job, Ack::Done, now);
            }
        }
        for (key, next, open, _) in &queues {
            prop_assert!(open.is_empty());
            prop_assert_eq!(dispatcher.committable(*key), Some(QueueOffset(*next)));
        }
    }
}
