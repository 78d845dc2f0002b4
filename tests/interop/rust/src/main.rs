//! Checks with the crate `rocketmq-client-rust`, against the name server of NAMESRV_ADDR.
//!
//! Its filter by tags is not checked: in this release it names the tags by hashes that are not Java's, and RocketMQ finds none.

#![recursion_limit = "512"]

/// Fails the check with what is said, unless the condition holds.
macro_rules! expect {
    ($condition:expr, $($said:tt)*) => {
        if !$condition {
            return Err(format!($($said)*).into());
        }
    };
}

mod consuming;
mod scene;
mod sending;
mod waiting;

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use rocketmq_model::common::message::message_single::Message;
use scene::Scene;

pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

type Check = for<'a> fn(&'a mut Scene) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

const CHECKS: &[(&str, Check)] = &[
    ("send, and a push consumer takes it", |scene| {
        Box::pin(sending::send(scene))
    }),
    ("one-way sends arrive", |scene| {
        Box::pin(sending::one_way(scene))
    }),
    ("a batch arrives as its messages", |scene| {
        Box::pin(sending::batch(scene))
    }),
    ("a big body arrives as it was", |scene| {
        Box::pin(sending::big(scene))
    }),
    ("an SQL92 expression filters", |scene| {
        Box::pin(sending::sql(scene))
    }),
    (
        "ordered sends come in order to an orderly consumer",
        |scene| Box::pin(sending::ordered(scene)),
    ),
    (
        "a committed transaction comes, one rolled back does not",
        |scene| Box::pin(waiting::transactions(scene)),
    ),
    (
        "an open transaction comes once the check says commit",
        |scene| Box::pin(waiting::checked_transaction(scene)),
    ),
    ("a delay level delays", |scene| {
        Box::pin(waiting::delay_level(scene))
    }),
    ("a delay in milliseconds delays", |scene| {
        Box::pin(waiting::delay_time(scene))
    }),
    ("a message given back comes again", |scene| {
        Box::pin(consuming::retry(scene))
    }),
    (
        "after its retries a message goes to the dead letters",
        |scene| Box::pin(consuming::dead_letter(scene)),
    ),
    ("a group goes on where it left off", |scene| {
        Box::pin(consuming::goes_on(scene))
    }),
    ("two consumers share a topic", |scene| {
        Box::pin(consuming::shared(scene))
    }),
    (
        "the broker assigns queues where the client asks it to",
        |scene| Box::pin(consuming::assigned_by_broker(scene)),
    ),
    ("a consumer set to POP takes each message once", |scene| {
        Box::pin(consuming::pop(scene))
    }),
    ("a pull consumer pulls by offset", |scene| {
        Box::pin(consuming::pull(scene))
    }),
    ("a lite pull consumer takes all of a topic", |scene| {
        Box::pin(consuming::lite_pull(scene))
    }),
];

pub fn bodies(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{prefix} {i}")).collect()
}

pub fn message(topic: &str, body: &str) -> Message {
    Message::builder()
        .topic(topic)
        .body_slice(body.as_bytes())
        .build_unchecked()
}

pub fn tagged(topic: &str, tag: &str, body: &str) -> Message {
    Message::builder()
        .topic(topic)
        .tags(tag)
        .body_slice(body.as_bytes())
        .build_unchecked()
}

#[tokio::main]
async fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in CHECKS.iter().filter(|(name, _)| name.contains(&wanted)) {
        let start = Instant::now();
        let mut scene = Scene::new();
        let outcome = match tokio::time::timeout(Duration::from_secs(120), check(&mut scene)).await
        {
            Ok(outcome) => outcome,
            Err(_) => Err("not done within 120 s".into()),
        };
        scene.end().await;
        let took = start.elapsed().as_secs_f32();
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("ok    {name} ({took:.1} s)");
            }
            Err(failure) => {
                failed += 1;
                println!("FAIL  {name} ({took:.1} s): {failure}");
            }
        }
    }
    println!("interop rust: {passed} passed, {failed} failed");
    std::process::exit(i32::from(failed > 0));
}
