//! What happens when somebody sets the clock.
//!
//! - A message that waits for any time comes when the clock says so: later when it is set back, at once when it is set
//!   forward past its time.
//! - A message of a delay level comes no later than its delay after it was stored. One that was stored in what is now the future
//!   has nobody who could say how long it waited, and comes at once; that is so too for those that are stored before the
//!   clock is again where it was, since store times never go back.
//! - The invisible time of a popped message goes on when the clock is set back, from where it was when the broker last looked
//!   at the clock, which it does every second.
//! - An open transaction is asked about when it is old enough by the clock.

use std::time::Duration;

use castmq_client::{Message, PopConsumer, Producer, Resolution, StartFrom};
use fastrand::Rng;

use super::reading::Reading;
use super::world::{Ending, Life, World};

const TOPIC: &str = "reminders";
const HOUR_MS: i64 = 3_600_000;

/// The clock is looked at this often, however far away the next message is.
const LOOK_MS: u64 = 1_000;

fn with_broker(test: impl AsyncFnOnce(&Life, &mut Rng)) {
    let mut world = World::new(1, |settings| {
        settings.broker.delay_levels = "5s".to_owned();
        settings.broker.transaction_timeout_ms = 2_000;
        settings.broker.transaction_check_interval_ms = 500;
    });
    world.live(Ending::Stop, test);
}

async fn send(life: &Life, deliver_at_ms: Option<i64>) -> Producer {
    let producer = life.client.producer().build();
    let message = Message::builder(TOPIC, "0 ");
    let message = match deliver_at_ms {
        Some(at_ms) => message.deliver_at_ms(at_ms),
        None => message.delay_level(1),
    };
    let message = message.build().expect("a message");
    producer.send(message).await.expect("it is stored");
    producer
}

/// How many messages the topic has after some time.
async fn there_after(life: &Life, time_ms: u64, dice: &mut Rng) -> usize {
    life.time.pass(time_ms, 10, dice).await;
    let mut reading = Reading::of(TOPIC);
    reading.go_on(life).await;
    reading.found.len()
}

#[test]
fn a_message_for_a_time_waits_until_a_clock_that_was_set_back_is_there_again() {
    with_broker(async |life, dice| {
        let due_ms = life.time.now_ms() + 3_000;
        send(life, Some(due_ms)).await;
        assert_eq!(there_after(life, 1_000, dice).await, 0);
        life.time.set_by(-HOUR_MS);
        assert_eq!(there_after(life, 60_000, dice).await, 0);
        life.time.set_by(HOUR_MS - 60_000);
        let left_ms = due_ms - life.time.now_ms();
        let before_ms = u64::try_from(left_ms).expect("it is not due yet") - 300;
        assert_eq!(there_after(life, before_ms, dice).await, 0);
        assert_eq!(there_after(life, 400, dice).await, 1);
    });
}

#[test]
fn what_is_due_comes_when_the_clock_is_set_forward() {
    with_broker(async |life, dice| {
        let due_ms = life.time.now_ms() + HOUR_MS;
        send(life, Some(due_ms)).await;
        send(life, None).await;
        assert_eq!(there_after(life, 500, dice).await, 0);
        life.time.set_by(HOUR_MS);
        assert_eq!(there_after(life, LOOK_MS + 100, dice).await, 2);
    });
}

#[test]
fn a_message_of_a_level_comes_at_once_when_it_is_stored_in_what_is_now_the_future() {
    with_broker(async |life, dice| {
        send(life, None).await;
        assert_eq!(there_after(life, 1_000, dice).await, 0);
        // It has waited for a second, and waits for as long as the clock says.
        life.time.set_by(-500);
        assert_eq!(there_after(life, 4_000, dice).await, 0);
        assert_eq!(there_after(life, 600, dice).await, 1);
        send(life, None).await;
        assert_eq!(there_after(life, 1_000, dice).await, 1);
        life.time.set_by(-HOUR_MS);
        assert_eq!(there_after(life, LOOK_MS + 100, dice).await, 2);
        send(life, None).await;
        assert_eq!(there_after(life, LOOK_MS + 100, dice).await, 3);
        life.time.set_by(HOUR_MS);
        send(life, None).await;
        assert_eq!(there_after(life, 4_500, dice).await, 3);
        assert_eq!(there_after(life, 600, dice).await, 4);
    });
}

fn popping(life: &Life, wait: Duration) -> PopConsumer {
    let consumer = life.client.pop_consumer("workers").topic(TOPIC);
    let consumer = consumer
        .from(StartFrom::Earliest)
        .invisible(Duration::from_secs(3))
        .wait(wait);
    consumer.build().expect("a consumer")
}

#[test]
fn an_invisible_time_ends_for_whoever_waits_though_the_clock_is_set_back() {
    with_broker(async |life, dice| {
        let producer = life.client.producer().build();
        let message = Message::new(TOPIC, "0 ");
        producer.send(message).await.expect("it is stored");
        let mut consumer = popping(life, Duration::ZERO);
        let first = consumer.receive().await.expect("an answer");
        assert_eq!(first.len(), 1);
        let mut waiting = popping(life, Duration::from_secs(600));
        let again = async {
            let popped = waiting.receive().await.expect("an answer");
            (popped, life.time.now_ms())
        };
        let set_back = async {
            life.time.pass(1_000, 10, dice).await;
            life.time.set_by(-HOUR_MS);
            life.time.now_ms()
        };
        let ((again, back_ms), set_ms) = tokio::join!(again, set_back);
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].attempts(), 2);
        let waited_ms = back_ms - set_ms;
        let longest_ms = 2_000 + LOOK_MS as i64 + 100;
        assert!((2_000..longest_ms).contains(&waited_ms), "{waited_ms} ms");
        again[0].ack().await.expect("it is acknowledged");
        life.time.set_by(HOUR_MS);
        life.time.pass(10_000, 100, dice).await;
        assert_eq!(consumer.receive().await.expect("an answer").len(), 0);
    });
}

#[test]
fn a_transaction_is_asked_about_when_it_is_old_enough_by_the_clock() {
    with_broker(async |life, dice| {
        let producer = life.client.transaction_producer("payments").topic(TOPIC);
        let producer = producer.checker(|_| async { Resolution::Commit }).start();
        let producer = producer.await.expect("a producer");
        let begun = producer.begin(Message::new(TOPIC, "0 ")).await;
        drop(begun.expect("it is stored"));
        life.time.set_by(-HOUR_MS);
        assert_eq!(there_after(life, 60_000, dice).await, 0);
        life.time.set_by(HOUR_MS);
        assert_eq!(there_after(life, 1_000, dice).await, 1);
    });
}
