//! What a topic has, read bit by bit over many lives, and once more in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use castmq_client::model::QueueOffset;
use castmq_client::{Error, PullConsumer, ReceivedMessage, SeekTo};

use super::seeds::{Findings, Violation};
use super::world::Life;

/// A message as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub id: u64,
    pub stored_ms: i64,
    pub attempts: u32,
    /// When it was first read, by the wall clock.
    pub read_ms: i64,
}

/// Queue and offset.
pub type Place = (u32, u64);

/// Where a message was found.
pub type Places<'a> = Vec<(Place, &'a Found)>;

/// A topic.
#[derive(Debug, Default)]
pub struct Reading {
    topic: &'static str,
    pub found: BTreeMap<Place, Found>,
}

/// Identity of a message of these tests, with which its body begins.
pub fn id_of(message: &ReceivedMessage) -> u64 {
    let body = message.body().expect("a body");
    let text = std::str::from_utf8(body).expect("text");
    let id = text.split(' ').next().unwrap_or_default();
    id.parse().expect("a number")
}

impl Reading {
    pub fn of(topic: &'static str) -> Self {
        Self {
            topic,
            found: BTreeMap::new(),
        }
    }

    /// Reads what is new.
    pub async fn go_on(&mut self, life: &Life) {
        let next = |queue: u32| {
            let range = self.found.range((queue, 0)..(queue + 1, 0));
            let last = range.map(|((_, offset), _)| *offset).next_back();
            last.map_or(SeekTo::Earliest, |last| {
                SeekTo::Offset(QueueOffset(last + 1))
            })
        };
        let Some(mut consumer) = consumer(life, self.topic).await else {
            return;
        };
        for queue in consumer.assignment() {
            let to = next(queue.id.0);
            consumer.seek(&queue, to).await.expect("it is there");
        }
        for message in all(&mut consumer).await {
            let found = Found {
                id: id_of(&message),
                stored_ms: message.store_timestamp_ms(),
                attempts: message.attempts(),
                read_ms: life.time.now_ms(),
            };
            let place = (message.queue_id().0, message.offset().0);
            assert_eq!(self.found.insert(place, found), None, "{place:?} twice");
        }
    }

    /// Reads everything once more: what was there has to be there still.
    pub async fn conclude(&mut self, life: &Life, findings: &mut Findings) {
        self.go_on(life).await;
        let mut again = Self::of(self.topic);
        again.go_on(life).await;
        for (place, found) in &self.found {
            let is_there = again
                .found
                .get(place)
                .is_some_and(|again| again.id == found.id);
            let vanished = format!("{found:?} is not at {place:?} of {} any more", self.topic);
            findings.check(is_there, found.id, Violation::Wrong(vanished));
        }
        let holes = again.found.keys().zip(again.found.keys().skip(1));
        for (one, next) in holes.filter(|(one, next)| one.0 == next.0) {
            let hole = format!("nothing between {one:?} and {next:?} of {}", self.topic);
            findings.check(one.1 + 1 == next.1, 0, Violation::Wrong(hole));
        }
    }

    /// Places by identity.
    pub fn by_id(&self) -> BTreeMap<u64, Places<'_>> {
        let mut by_id: BTreeMap<_, Places<'_>> = BTreeMap::new();
        for (place, found) in &self.found {
            by_id.entry(found.id).or_default().push((*place, found));
        }
        by_id
    }
}

async fn consumer(life: &Life, topic: &str) -> Option<PullConsumer> {
    let consumer = life.client.pull_consumer("reader").build();
    let mut consumer = consumer.expect("a consumer");
    let queues = match consumer.queues(topic).await {
        Err(Error::TopicNotFound { .. }) => return None,
        queues => queues.expect("queues"),
    };
    consumer.assign(queues).await.expect("assigned");
    Some(consumer)
}

/// Reads until nothing comes for a while.
async fn all(consumer: &mut PullConsumer) -> Vec<ReceivedMessage> {
    let mut all = Vec::new();
    loop {
        let messages = consumer.poll(Duration::from_millis(100)).await;
        let messages = messages.expect("a poll");
        if messages.is_empty() {
            return all;
        }
        all.extend(messages);
    }
}
