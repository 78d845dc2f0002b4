//! Messages that wait for a delay level, or for any time, or are cancelled meanwhile.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use castmq_client::{Message, Producer, SendReceipt};
use castmq_config::Flush;
use fastrand::Rng;

use super::reading::Reading;
use super::seeds::{self, Findings, Violation};
use super::under_way::abandon;
use super::world::{Ending, Life, PATIENCE, World};

const TOPIC: &str = "reminders";

const LEVELS: &str = "20ms 300ms 2s 15s";
const LEVELS_MS: [i64; 4] = [20, 300, 2_000, 15_000];

/// The longest leap of time at once.
const LEAP_MS: u64 = 200;

/// A message is there this long after it was due at the latest, when the broker runs: the leap in which it was due, and a
/// turn of the timer.
const LATE_MS: i64 = LEAP_MS as i64 + 20;

/// What is known of a message.
#[derive(Debug)]
struct Sent {
    /// For a level, or until a time.
    level: Option<u8>,
    /// When it is due at the earliest.
    due_ms: i64,
    /// When it was known to be stored, and due at the latest.
    stored: Option<Stored>,
    cancelled: Cancelled,
}

#[derive(Debug)]
struct Stored {
    receipt: SendReceipt,
    due_ms: i64,
}

/// Whether a message was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancelled {
    No,
    /// It was asked for.
    Perhaps,
    /// That was answered, at this time.
    At(i64),
}

/// What was sent, by number.
#[derive(Debug, Default)]
struct Model {
    sent: BTreeMap<u64, Sent>,
    /// When brokers ran, from and to.
    lives: Vec<(i64, i64)>,
    operations: u64,
}

impl Model {
    /// A message that waits anyhow.
    fn new_message(&mut self, life: &Life, dice: &mut Rng) -> (u64, Message) {
        let id = self.sent.len() as u64;
        let now_ms = life.time.now_ms();
        let message = Message::builder(TOPIC, format!("{id} "));
        let message = message.property("UNIQ_KEY", &format!("u{id}"));
        let (level, due_ms) = match dice.u8(..5) {
            0 => (None, now_ms),
            1 | 2 => {
                let level = dice.u8(1..=4);
                (Some(level), now_ms + LEVELS_MS[usize::from(level) - 1])
            }
            _ => {
                let most_ms = *dice.choice(&[50, 1_500, 30_000]).unwrap_or(&50);
                (None, now_ms + dice.i64(1..most_ms))
            }
        };
        let message = match level {
            Some(level) => message.delay_level(level),
            None if due_ms == now_ms => message,
            None => message.deliver_at_ms(due_ms),
        };
        let sent = Sent {
            level,
            due_ms,
            stored: None,
            cancelled: Cancelled::No,
        };
        self.sent.insert(id, sent);
        self.operations += 1;
        (id, message.build().expect("a message"))
    }

    fn stored(&mut self, id: u64, receipt: SendReceipt, now_ms: i64) {
        let sent = self.sent.get_mut(&id).expect("it was sent");
        let due_ms = match sent.level {
            Some(level) => now_ms + LEVELS_MS[usize::from(level) - 1],
            None => sent.due_ms.max(now_ms),
        };
        sent.stored = Some(Stored { receipt, due_ms });
    }

    async fn send(&mut self, producer: &Producer, life: &Life, dice: &mut Rng) {
        let count = dice.usize(1..30);
        let new = (0..count).map(|_| self.new_message(life, dice));
        let (ids, messages): (Vec<_>, Vec<_>) = new.unzip();
        let receipts = producer.send_all(messages).await;
        for (id, receipt) in ids.into_iter().zip(receipts) {
            self.stored(id, receipt.expect("it is stored"), life.time.now_ms());
        }
    }

    /// Begins to send, and sees no more than the first of what comes of it.
    async fn send_into_the_dark(&mut self, producer: &Producer, life: &Life, dice: &mut Rng) {
        let mut under_way: Vec<_> = (0..dice.usize(..30))
            .map(|_| {
                let (id, message) = self.new_message(life, dice);
                (id, producer.enqueue(message))
            })
            .collect();
        for _ in 0..dice.usize(..60) {
            tokio::task::yield_now().await;
        }
        let mut context = Context::from_waker(Waker::noop());
        for (id, delivery) in &mut under_way {
            if let Poll::Ready(receipt) = std::pin::pin!(delivery).poll(&mut context) {
                self.stored(*id, receipt.expect("it is stored"), life.time.now_ms());
            }
        }
    }

    /// Cancels a message that is perhaps not due yet; whether that is waited for is left to chance.
    async fn cancel(&mut self, producer: &Producer, life: &Life, dice: &mut Rng, waits: bool) {
        self.operations += 1;
        let now_ms = life.time.now_ms();
        let recent = self.sent.iter_mut().rev().take(200);
        let mut waiting: Vec<_> = recent
            .filter(|(_, sent)| sent.level.is_none() && sent.due_ms > now_ms)
            .filter_map(|(id, sent)| {
                let receipt = sent.stored.as_ref()?.receipt.clone();
                Some((*id, receipt, sent))
            })
            .collect();
        if waiting.is_empty() {
            return;
        }
        let (id, receipt, sent) = waiting.swap_remove(dice.usize(..waiting.len()));
        if sent.cancelled == Cancelled::No {
            sent.cancelled = Cancelled::Perhaps;
        }
        let unique_id = format!("u{id}");
        let answer = producer.cancel_delivery(&receipt, &unique_id, sent.due_ms);
        let answer = match waits {
            true => Some(answer.await),
            false => abandon(answer, dice.usize(..40)).await,
        };
        // One that is due meanwhile cannot be cancelled.
        if let (Some(Ok(())), Cancelled::Perhaps) = (answer, sent.cancelled) {
            sent.cancelled = Cancelled::At(life.time.now_ms());
        }
    }

    async fn live(&mut self, life: &Life, dice: &mut Rng, reading: &mut Reading, ending: Ending) {
        let producer = life
            .client
            .producer()
            .retries(0)
            .send_timeout(PATIENCE)
            .build();
        for _ in 0..dice.u32(20..120) {
            match dice.u8(..100) {
                0..45 => self.send(&producer, life, dice).await,
                45..65 => self.cancel(&producer, life, dice, true).await,
                65..95 => {
                    self.operations += 1;
                    let leap_ms = *dice.choice(&[3, 30, LEAP_MS]).unwrap_or(&3);
                    let most_ms = leap_ms * 20;
                    life.time.pass(dice.u64(..most_ms), leap_ms, dice).await;
                }
                _ => {
                    self.operations += 1;
                    reading.go_on(life).await;
                }
            }
        }
        if ending != Ending::Stop {
            self.send_into_the_dark(&producer, life, dice).await;
            if dice.bool() {
                self.cancel(&producer, life, dice, false).await;
            }
        }
        self.lives.push((life.since_ms, life.time.now_ms()));
    }

    /// How long after it had to be there a message came; how long it would be late if it were not there yet.
    fn late_ms(&self, due_ms: i64, stored_ms: Option<i64>) -> i64 {
        let mut late_ms = 0;
        for (from_ms, to_ms) in &self.lives {
            let seen_ms = stored_ms.unwrap_or(i64::MAX).min(*to_ms);
            late_ms = late_ms.max(seen_ms - due_ms.max(*from_ms));
        }
        late_ms
    }

    fn check(&self, reading: &Reading, findings: &mut Findings) -> i64 {
        let found = reading.by_id();
        let mut latest_ms = 0;
        for (id, sent) in &self.sent {
            let places = found.get(id).map_or(&[][..], Vec::as_slice);
            let times = places.len();
            findings.check(times <= 1, *id, Violation::Duplicated { times, allowed: 1 });
            let stored_ms = places.first().map(|(_, found)| found.stored_ms);
            for (_, found) in places {
                let ms = sent.due_ms - found.stored_ms.min(found.read_ms);
                findings.check(ms <= 0, *id, Violation::Early { ms });
            }
            match (sent.cancelled, stored_ms) {
                (Cancelled::At(at_ms), Some(_)) => {
                    findings.check(at_ms >= sent.due_ms, *id, Violation::Undead);
                }
                (Cancelled::No, None) => {
                    findings.check(sent.stored.is_none(), *id, Violation::Lost);
                }
                _ => {}
            }
            if let (Some(stored), Some(_)) = (&sent.stored, stored_ms) {
                let ms = self.late_ms(stored.due_ms, stored_ms);
                latest_ms = latest_ms.max(ms);
                findings.check(ms <= LATE_MS, *id, Violation::Late { ms });
            }
        }
        for id in found.keys() {
            findings.check(self.sent.contains_key(id), *id, Violation::Phantom);
        }
        self.check_order(reading, findings);
        latest_ms
    }

    /// Messages of a level come in the order in which they were sent to their queue.
    fn check_order(&self, reading: &Reading, findings: &mut Findings) {
        let mut last = BTreeMap::new();
        for ((queue, _), found) in &reading.found {
            let Some(Sent {
                level: Some(level), ..
            }) = self.sent.get(&found.id)
            else {
                continue;
            };
            if let Some(before) = last.insert((*queue, *level), found.id) {
                let is_behind = before < found.id;
                findings.check(is_behind, found.id, Violation::Reordered { before });
            }
        }
    }
}

fn run(seed: u64) -> Findings {
    let mut world = World::new(seed, |settings| {
        settings.broker.delay_levels = LEVELS.to_owned();
    });
    let mut model = Model::default();
    let mut reading = Reading::of(TOPIC);
    let mut endings = [0; 3];
    while model.operations < seeds::operations() {
        let ending = world.any_ending();
        endings[ending as usize] += 1;
        world.live(ending, async |life, dice| {
            model.live(life, dice, &mut reading, ending).await;
        });
        let away_ms = world.dice.i64(0..5_000);
        world.wall.set_by(away_ms);
    }
    let mut findings = Findings::default();
    world.live(Ending::Stop, async |life, dice| {
        life.time.pass(40_000, LEAP_MS, dice).await;
        reading.conclude(life, &mut findings).await;
        model.lives.push((life.since_ms, life.time.now_ms()));
    });
    let latest_ms = model.check(&reading, &mut findings);
    let cancelled = |sent: &&Sent| matches!(sent.cancelled, Cancelled::At(_));
    findings.said(format_args!(
        "{} operations, {} messages, {} of them cancelled, {} there, {latest_ms} ms late at most; {endings:?} stops, kills, power cuts",
        model.operations,
        model.sent.len(),
        model.sent.values().filter(cancelled).count(),
        reading.found.len(),
    ))
}

#[test]
fn delayed_messages_do_as_their_model() {
    seeds::each("delay", run);
}

#[test]
fn what_became_due_meanwhile_comes_at_once_though_nothing_else_has_to_be_flushed() {
    let mut world = World::new(1, |settings| {
        settings.broker.delay_levels = LEVELS.to_owned();
        settings.store.flush = Flush::Sync;
    });
    world.live(Ending::Stop, async |life, _| {
        let producer = life.client.producer().build();
        let due_ms = life.time.now_ms() + 1_000;
        let messages = [
            Message::builder(TOPIC, "0 ").delay_level(3),
            Message::builder(TOPIC, "1 ").deliver_at_ms(due_ms),
        ];
        for message in messages {
            let message = message.build().expect("a message");
            producer.send(message).await.expect("it is stored");
        }
    });
    world.wall.set_by(60_000);
    world.live(Ending::Stop, async |life, dice| {
        life.time.pass(1_000, 1, dice).await;
        let mut reading = Reading::of(TOPIC);
        reading.go_on(life).await;
        assert_eq!(reading.found.len(), 2);
        for found in reading.found.values() {
            let late_ms = found.stored_ms - life.since_ms;
            assert!(late_ms < 50, "{found:?} came {late_ms} ms after the start");
        }
    });
}
