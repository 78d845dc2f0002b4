//! Messages that a group's handler cannot process: tried again, later each time, and dead letters in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use castmq_client::model::GroupConfig;
use castmq_client::{Ack, Filter, Message, Producer, PushConsumer, ReceivedMessage, StartFrom};
use fastrand::Rng;

use super::reading::{Reading, id_of};
use super::seeds::{self, Findings, Violation};
use super::time::Time;
use super::world::{Ending, Life, PATIENCE, World};

const TOPIC: &str = "orders";
const GROUP: &str = "billing";
const DEAD_LETTERS: &str = "%DLQ%billing";

const MAX_ATTEMPTS: u32 = 4;

/// The third level is the first that a retry waits.
const LEVELS: &str = "1ms 1ms 100ms 400ms 1500ms 3s";
const WAITS_MS: [i64; 3] = [100, 400, 1_500];

const LEAP_MS: u64 = 100;

/// A message is back this long after its time at the latest, when the broker runs.
const LATE_MS: i64 = LEAP_MS as i64 + 20;

/// What the handler says, and for how long the message then waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Done,
    Retry { wait_ms: i64 },
    Dead,
}

/// A message that the handler got.
#[derive(Debug, Clone, Copy)]
struct Delivery {
    /// The record: queue, offset, and when it was stored.
    record: (u32, u64, i64),
    life: u32,
    at_ms: i64,
}

/// What is known of a message.
#[derive(Debug, Default)]
struct Order {
    is_stored: bool,
    /// By attempt.
    deliveries: BTreeMap<u32, Vec<Delivery>>,
}

#[derive(Debug, Default)]
struct Model {
    seed: u64,
    /// Whether the group says how often a message is tried, or its consumer.
    group_decides: bool,
    orders: BTreeMap<u64, Order>,
    operations: u64,
    /// Whatever comes now comes from a broker that is dead already.
    is_over: bool,
    findings: Findings,
}

impl Model {
    /// The same however often it is asked.
    fn verdict(&self, id: u64, attempt: u32) -> Verdict {
        let mut dice = Rng::with_seed(self.seed ^ (id << 8) ^ u64::from(attempt));
        match dice.u8(..20) {
            0..10 => Verdict::Done,
            10..11 => Verdict::Dead,
            _ if attempt >= MAX_ATTEMPTS => Verdict::Dead,
            11..18 => Verdict::Retry {
                wait_ms: WAITS_MS[attempt as usize - 1],
            },
            _ => Verdict::Retry {
                wait_ms: dice.i64(1..3_000),
            },
        }
    }

    /// What the handler is to answer.
    fn answer(&self, id: u64, attempt: u32) -> Ack {
        match self.verdict(id, attempt) {
            Verdict::Done => Ack::Done,
            Verdict::Dead if attempt >= MAX_ATTEMPTS => Ack::Retry,
            Verdict::Dead => Ack::DeadLetter,
            Verdict::Retry { wait_ms } if wait_ms == WAITS_MS[attempt as usize - 1] => Ack::Retry,
            Verdict::Retry { wait_ms } => {
                Ack::RetryAfter(Duration::from_millis(wait_ms.unsigned_abs()))
            }
        }
    }

    fn deliver(&mut self, message: &ReceivedMessage, life: u32, now_ms: i64) -> Ack {
        let (id, attempt) = (id_of(message), message.attempts());
        self.operations += 1;
        let found = attempt;
        let is_possible = (1..=MAX_ATTEMPTS).contains(&attempt);
        let expected = format!("1 to {MAX_ATTEMPTS}");
        let Some(order) = self.orders.get_mut(&id).filter(|_| is_possible) else {
            self.findings
                .add(id, Violation::Attempts { expected, found });
            return Ack::Done;
        };
        let delivery = Delivery {
            record: (
                message.queue_id().0,
                message.offset().0,
                message.store_timestamp_ms(),
            ),
            life,
            at_ms: now_ms,
        };
        let deliveries = order.deliveries.entry(attempt).or_default();
        let is_again = |before: &Delivery| before.record == delivery.record && before.life == life;
        let times = 1 + deliveries.iter().filter(|before| is_again(before)).count();
        deliveries.push(delivery);
        // Only what was not committed before a crash comes again.
        let duplicated = Violation::Duplicated { times, allowed: 1 };
        self.findings.check(times == 1, id, duplicated);
        self.answer(id, attempt)
    }

    fn check(&mut self, letters: &Reading, lives: &[(i64, i64)]) -> i64 {
        let buried = letters.by_id();
        let mut findings = std::mem::take(&mut self.findings);
        let mut latest_ms = 0;
        for (id, order) in &self.orders {
            let letters = buried.get(id).map_or(0, Vec::len);
            let mut endings = 0;
            let mut is_settled = false;
            for (attempt, deliveries) in &order.deliveries {
                let records: BTreeSet<_> = deliveries.iter().map(|one| one.record).collect();
                let before = attempt.checked_sub(1);
                let before = before.and_then(|before| order.deliveries.get(&before));
                // The first is the message itself; each other one was asked for.
                let allowed = before.map_or(usize::from(*attempt == 1), Vec::len);
                let times = records.len();
                let duplicated = Violation::Duplicated { times, allowed };
                findings.check(times <= allowed, *id, duplicated);
                if let Some(before) = before {
                    match self.verdict(*id, attempt - 1) {
                        Verdict::Retry { wait_ms } => {
                            let late_ms =
                                check_waits(*id, wait_ms, before, &records, lives, &mut findings);
                            latest_ms = latest_ms.max(late_ms);
                        }
                        _ => findings.add(*id, Violation::Undead),
                    }
                }
                match self.verdict(*id, *attempt) {
                    Verdict::Done => is_settled = true,
                    Verdict::Dead => endings += deliveries.len(),
                    Verdict::Retry { .. } => {}
                }
            }
            is_settled |= letters > 0;
            findings.check(is_settled || !order.is_stored, *id, Violation::Lost);
            let (times, allowed) = (letters, endings);
            let duplicated = Violation::Duplicated { times, allowed };
            findings.check(times <= allowed, *id, duplicated);
            let is_buried = endings == 0 || letters > 0;
            findings.check(is_buried, *id, Violation::Lost);
        }
        for id in buried.keys().filter(|id| !self.orders.contains_key(id)) {
            findings.add(*id, Violation::Phantom);
        }
        self.findings = findings;
        latest_ms
    }
}

/// Each retry waits as long as it has to, from when it was asked for, and not much longer.
fn check_waits(
    id: u64,
    wait_ms: i64,
    before: &[Delivery],
    records: &BTreeSet<(u32, u64, i64)>,
    lives: &[(i64, i64)],
    findings: &mut Findings,
) -> i64 {
    let asked_ms: Vec<_> = before.iter().map(|one| one.at_ms).collect();
    let mut latest_ms = 0;
    for (_, _, stored_ms) in records {
        let first_ms = asked_ms.iter().min().copied().unwrap_or(i64::MAX);
        let ms = first_ms.saturating_add(wait_ms) - stored_ms;
        findings.check(ms <= 0, id, Violation::Early { ms });
        // Since when it can be there: the last time it may have been asked for, or the broker's start.
        let asked = asked_ms
            .iter()
            .filter(|at_ms| *at_ms + wait_ms <= *stored_ms);
        let life = lives
            .iter()
            .find(|(from_ms, to_ms)| (from_ms..=to_ms).contains(&stored_ms));
        if let (Some(asked_ms), Some((from_ms, _))) = (asked.max(), life) {
            let ms = stored_ms - (asked_ms + wait_ms).max(*from_ms);
            latest_ms = latest_ms.max(ms);
            findings.check(ms <= LATE_MS, id, Violation::Late { ms });
        }
    }
    latest_ms
}

/// The model, which the handler answers from.
#[derive(Clone)]
struct Shared(Arc<Mutex<Model>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Model> {
        self.0.lock().expect("nobody panics with it")
    }

    /// What the handler says; `None` when its broker is dead.
    fn handle(&self, message: &ReceivedMessage, life: u32, time: &Time) -> Option<Ack> {
        let mut model = self.lock();
        (!model.is_over).then(|| model.deliver(message, life, time.now_ms()))
    }

    async fn consumer(&self, life: &Life, dice: &mut Rng) -> PushConsumer {
        let (shared, time, number) = (self.clone(), life.time.clone(), life.number);
        let mut consumer = life
            .client
            .push_consumer(GROUP)
            .subscribe(TOPIC, Filter::All)
            .from(StartFrom::Earliest)
            .concurrency(dice.usize(1..10))
            .commit_every(Duration::from_millis(dice.u64(50..2_000)));
        if !self.lock().group_decides {
            consumer = consumer.max_attempts(MAX_ATTEMPTS);
        }
        let consumer = consumer
            .handler(move |message| {
                let ack = shared.handle(&message, number, &time);
                async move {
                    match ack {
                        Some(ack) => ack,
                        None => std::future::pending().await,
                    }
                }
            })
            .start();
        consumer.await.expect("a consumer")
    }

    async fn send(&self, producer: &Producer, dice: &mut Rng) {
        let ids: Vec<_> = {
            let mut model = self.lock();
            let first = model.orders.len() as u64;
            let ids: Vec<_> = (first..first + dice.u64(1..30)).collect();
            model.operations += ids.len() as u64;
            for id in &ids {
                model.orders.insert(*id, Order::default());
            }
            ids
        };
        let messages = ids.iter().map(|id| Message::new(TOPIC, format!("{id} ")));
        let receipts = producer.send_all(messages).await;
        let mut model = self.lock();
        for (id, receipt) in ids.iter().zip(receipts) {
            receipt.expect("it is stored");
            model.orders.entry(*id).or_default().is_stored = true;
        }
    }

    async fn live(&self, life: &Life, dice: &mut Rng, ending: Ending) {
        let producer = life.client.producer().send_timeout(PATIENCE).build();
        producer.prepare(TOPIC).await.expect("a topic");
        if self.lock().group_decides {
            let address = life.node.broker_address().expect("a broker").to_string();
            let config = GroupConfig {
                retry_max: MAX_ATTEMPTS - 1,
                ..Default::default()
            };
            let admin = life.client.admin();
            let put = admin.at(&address).put_group(GROUP, config).await;
            put.expect("a group");
        }
        let consumer = self.consumer(life, dice).await;
        for _ in 0..dice.u32(20..100) {
            match dice.u8(..10) {
                0..4 => self.send(&producer, dice).await,
                _ => {
                    self.lock().operations += 1;
                    let leap_ms = *dice.choice(&[3, 30, LEAP_MS]).unwrap_or(&3);
                    let most_ms = leap_ms * 15;
                    life.time.pass(dice.u64(..most_ms), leap_ms, dice).await;
                }
            }
        }
        if ending == Ending::Stop {
            consumer.shutdown().await.expect("a shutdown");
        } else {
            // In the middle of whatever it is doing.
            for _ in 0..dice.usize(..60) {
                tokio::task::yield_now().await;
            }
        }
        self.lock().is_over = true;
    }
}

fn run(seed: u64) -> Findings {
    let mut world = World::new(seed, |settings| {
        settings.broker.delay_levels = LEVELS.to_owned();
    });
    let shared = Shared(Arc::new(Mutex::new(Model {
        seed,
        group_decides: world.dice.bool(),
        ..Model::default()
    })));
    let mut endings = [0; 3];
    let mut lives = Vec::new();
    while shared.lock().operations < seeds::operations() {
        shared.lock().is_over = false;
        let ending = world.any_ending();
        endings[ending as usize] += 1;
        let lived = world.live(ending, async |life, dice| {
            shared.live(life, dice, ending).await;
            (life.since_ms, life.time.now_ms())
        });
        lives.push(lived);
        let away_ms = world.dice.i64(0..5_000);
        world.wall.set_by(away_ms);
    }
    shared.lock().is_over = false;
    let mut letters = Reading::of(DEAD_LETTERS);
    let mut findings = Findings::default();
    let lived = world.live(Ending::Stop, async |life, dice| {
        let consumer = shared.consumer(life, dice).await;
        life.time.pass(20_000, LEAP_MS, dice).await;
        consumer.shutdown().await.expect("a shutdown");
        letters.conclude(life, &mut findings).await;
        (life.since_ms, life.time.now_ms())
    });
    lives.push(lived);
    let mut model = shared.lock();
    let latest_ms = model.check(&letters, &lives);
    findings.violations.append(&mut model.findings.violations);
    let deliveries = |attempts: &dyn Fn(u32) -> bool| -> usize {
        let orders = model.orders.values();
        let all = orders.flat_map(|order| order.deliveries.iter());
        all.filter(|(attempt, _)| attempts(**attempt))
            .map(|(_, deliveries)| deliveries.len())
            .sum()
    };
    findings.said(format_args!(
        "{} operations, {} messages, {} deliveries, {} of them retries, {latest_ms} ms late at most, {} dead letters; {endings:?} stops, kills, power cuts",
        model.operations,
        model.orders.len(),
        deliveries(&|_| true),
        deliveries(&|attempt| attempt > 1),
        letters.found.len(),
    ))
}

#[test]
fn retried_messages_do_as_their_model() {
    seeds::each("retry", run);
}
