//! Transactions: committed, rolled back, left to be asked about, or never settled.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use castmq_client::{Message, Resolution, Transaction, TransactionProducer};
use fastrand::Rng;

use super::reading::{Reading, id_of};
use super::seeds::{self, Findings, Violation};
use super::time::Time;
use super::under_way::abandon;
use super::world::{Ending, Life, PATIENCE, World};

const TOPIC: &str = "paid";

/// Where messages go that nobody settles.
const ASIDE: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

const TIMEOUT_MS: i64 = 2_000;
const INTERVAL_MS: i64 = 500;
const MAX_CHECKS: usize = 4;

/// How long a message waits that waits for its delay level as well.
const LEVEL_MS: i64 = 1_000;

const LEAP_MS: u64 = 100;

/// What is to be asked about is asked about this long after its time at the latest: the next round, and the leap in which
/// it is.
const LATE_MS: i64 = INTERVAL_MS + 2 * LEAP_MS as i64;

/// What is known of a transaction.
#[derive(Debug)]
struct Begun {
    /// What the application wants to become of it.
    wanted: Resolution,
    has_level: bool,
    since_ms: i64,
    /// When it was known to be stored.
    stored_ms: Option<i64>,
    /// When it was first said that it is committed, by whoever.
    committed_ms: Option<i64>,
    /// When its end was answered. One that nobody settles has none.
    ended_ms: Option<i64>,
    /// When it was asked about, and in which life.
    checks: Vec<(u32, i64)>,
}

#[derive(Debug, Default)]
struct Model {
    begun: BTreeMap<u64, Begun>,
    operations: u64,
    /// Whatever comes now comes from a broker that is dead already.
    is_over: bool,
}

/// The model, which the checker answers from.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Model>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Model> {
        self.0.lock().expect("nobody panics with it")
    }

    /// Asked what becomes of a transaction.
    fn answer(&self, id: u64, life: u32, time: &Time) -> Resolution {
        let mut model = self.lock();
        if model.is_over {
            return Resolution::Unknown;
        }
        let now_ms = time.now_ms();
        let begun = model.begun.get_mut(&id).expect("it was begun");
        begun.checks.push((life, now_ms));
        if begun.wanted == Resolution::Commit {
            begun.committed_ms.get_or_insert(now_ms);
        }
        begun.wanted
    }

    async fn producer(&self, life: &Life) -> TransactionProducer {
        let (shared, time, number) = (self.clone(), life.time.clone(), life.number);
        let producer = life.client.transaction_producer("payments").topic(TOPIC);
        let producer = producer
            .send_timeout(PATIENCE)
            .checker(move |message| {
                let answer = shared.answer(id_of(&message), number, &time);
                async move { answer }
            })
            .start();
        producer.await.expect("a producer")
    }

    fn new_message(&self, life: &Life, dice: &mut Rng) -> (u64, Message) {
        let mut model = self.lock();
        let id = model.begun.len() as u64;
        let begun = Begun {
            wanted: match dice.u8(..10) {
                0..6 => Resolution::Commit,
                6..9 => Resolution::Rollback,
                _ => Resolution::Unknown,
            },
            has_level: dice.u8(..8) == 0,
            since_ms: life.time.now_ms(),
            stored_ms: None,
            committed_ms: None,
            ended_ms: None,
            checks: Vec::new(),
        };
        let message = Message::builder(TOPIC, format!("{id} "));
        let message = message.delay_level(u8::from(begun.has_level));
        model.begun.insert(id, begun);
        model.operations += 1;
        (id, message.build().expect("a message"))
    }

    /// Begins a transaction, waiting for the answer or not.
    async fn begin(
        &self,
        producer: &TransactionProducer,
        life: &Life,
        dice: &mut Rng,
        waits: bool,
    ) -> Option<(u64, Transaction)> {
        let (id, message) = self.new_message(life, dice);
        let begun = producer.begin(message);
        let transaction = match waits {
            true => begun.await,
            false => abandon(begun, dice.usize(..40)).await?,
        };
        let transaction = transaction.expect("it is stored");
        let mut model = self.lock();
        let begun = model.begun.get_mut(&id).expect("it was begun");
        begun.stored_ms = Some(life.time.now_ms());
        Some((id, transaction))
    }

    /// Ends a transaction as is wanted, waiting for the answer or not.
    async fn end(&self, (id, transaction): (u64, Transaction), life: &Life, turns: Option<usize>) {
        let wanted = {
            let mut model = self.lock();
            model.operations += 1;
            let begun = model.begun.get_mut(&id).expect("it was begun");
            if begun.wanted == Resolution::Commit {
                begun.committed_ms.get_or_insert(life.time.now_ms());
            }
            begun.wanted
        };
        let end = async {
            let ended = match wanted {
                Resolution::Commit => transaction.commit().await,
                Resolution::Rollback => transaction.rollback().await,
                // Nobody knows.
                Resolution::Unknown => return,
            };
            ended.expect("it is ended");
            let mut model = self.lock();
            let begun = model.begun.get_mut(&id).expect("it was begun");
            begun.ended_ms = Some(life.time.now_ms());
        };
        match turns {
            None => end.await,
            Some(turns) => drop(abandon(end, turns).await),
        }
    }

    async fn live(&self, life: &Life, dice: &mut Rng, reading: &mut Reading, ending: Ending) {
        let producer = self.producer(life).await;
        let mut open = Vec::new();
        for _ in 0..dice.u32(100..1_500) {
            match dice.u8(..100) {
                0..40 => open.extend(self.begin(&producer, life, dice, true).await),
                40..75 => {
                    let some = (!open.is_empty()).then(|| dice.usize(..open.len()));
                    if let Some(one) = some.map(|index| open.swap_remove(index)) {
                        self.end(one, life, None).await;
                    }
                }
                75..85 => {
                    // It is left to the checker, now or when the broker asks.
                    let some = (!open.is_empty()).then(|| dice.usize(..open.len()));
                    drop(some.map(|index| open.swap_remove(index)));
                }
                85..97 => {
                    self.lock().operations += 1;
                    let leap_ms = *dice.choice(&[3, 30, LEAP_MS]).unwrap_or(&3);
                    life.time
                        .pass(dice.u64(..leap_ms * 10), leap_ms, dice)
                        .await;
                }
                _ => {
                    self.lock().operations += 1;
                    reading.go_on(life).await;
                }
            }
        }
        if ending != Ending::Stop {
            for _ in 0..dice.u32(..5) {
                open.extend(self.begin(&producer, life, dice, false).await);
                if let Some(one) = open.pop() {
                    self.end(one, life, Some(dice.usize(..40))).await;
                }
            }
            self.lock().is_over = true;
        }
    }
}

impl Model {
    fn check(
        &self,
        topic: &Reading,
        aside: &Reading,
        lives: &[(i64, i64)],
        findings: &mut Findings,
    ) {
        let (found, put_aside) = (topic.by_id(), aside.by_id());
        for (id, begun) in &self.begun {
            let id = *id;
            let places = found.get(&id).map_or(&[][..], Vec::as_slice);
            let times = places.len();
            findings.check(times <= 1, id, Violation::Duplicated { times, allowed: 1 });
            let level_ms = i64::from(begun.has_level) * LEVEL_MS;
            for (_, found) in places {
                match begun.committed_ms {
                    Some(committed_ms) => {
                        let ms = committed_ms + level_ms - found.stored_ms;
                        findings.check(ms <= 0, id, Violation::Early { ms });
                    }
                    None => findings.add(id, Violation::Undead),
                }
            }
            let must_be_there = begun.wanted == Resolution::Commit && begun.stored_ms.is_some();
            findings.check(times == 1 || !must_be_there, id, Violation::Lost);
            let times = put_aside.get(&id).map_or(0, Vec::len);
            let is_for_aside = begun.wanted == Resolution::Unknown;
            match (is_for_aside, begun.stored_ms) {
                (false, _) => findings.check(times == 0, id, Violation::Phantom),
                (true, Some(_)) => findings.check(times >= 1, id, Violation::Lost),
                (true, None) => {}
            }
            findings.check(times <= 1, id, Violation::Duplicated { times, allowed: 1 });
            check_questions(id, begun, lives, findings);
        }
        for id in found.keys().chain(put_aside.keys()) {
            findings.check(self.begun.contains_key(id), *id, Violation::Phantom);
        }
    }
}

/// Each life asks when the time has come, soon after, no more often than it may, and not about what has ended: a question may
/// be under way then.
fn check_questions(id: u64, begun: &Begun, lives: &[(i64, i64)], findings: &mut Findings) {
    if let (Some(ended_ms), Some((_, asked_ms))) = (begun.ended_ms, begun.checks.last()) {
        let ms = asked_ms - ended_ms;
        let wrong = format!("asked about {ms} ms after its end was answered");
        findings.check(ms <= LEAP_MS as i64, id, Violation::Wrong(wrong));
    }
    for (life, (from_ms, to_ms)) in (1..).zip(lives) {
        let of_life = begun.checks.iter().filter(|(number, _)| *number == life);
        let asked: Vec<i64> = of_life.map(|(_, at_ms)| *at_ms).collect();
        if asked.len() > MAX_CHECKS {
            let expected = format!("asked {MAX_CHECKS} times a life at most");
            let found = asked.len() as u32;
            findings.add(id, Violation::Attempts { expected, found });
        }
        if let Some(first) = asked.first() {
            let ms = begun.since_ms + TIMEOUT_MS - first;
            findings.check(ms <= 0, id, Violation::Early { ms });
        }
        // Whether it is still open is known of those that nobody settles, in the life they began in.
        let Some(stored_ms) = begun.stored_ms else {
            continue;
        };
        let is_first = (*from_ms..=*to_ms).contains(&stored_ms);
        if begun.wanted == Resolution::Unknown && is_first {
            let due_ms = stored_ms + TIMEOUT_MS;
            let first_ms = asked.first().copied().unwrap_or(i64::MAX).min(*to_ms);
            let ms = first_ms - due_ms;
            findings.check(ms <= LATE_MS, id, Violation::Late { ms });
        }
    }
}

fn run(seed: u64) -> Findings {
    let mut world = World::new(seed, |settings| {
        settings.broker.delay_levels = "1s".to_owned();
        settings.broker.transaction_timeout_ms = TIMEOUT_MS as u64;
        settings.broker.transaction_check_interval_ms = INTERVAL_MS as u64;
        settings.broker.transaction_check_max = MAX_CHECKS as u32;
    });
    let shared = Shared::default();
    let (mut topic, mut aside) = (Reading::of(TOPIC), Reading::of(ASIDE));
    let mut endings = [0; 3];
    let mut lives = Vec::new();
    while shared.lock().operations < seeds::operations() {
        shared.lock().is_over = false;
        let ending = world.any_ending();
        endings[ending as usize] += 1;
        let lived = world.live(ending, async |life, dice| {
            shared.live(life, dice, &mut topic, ending).await;
            (life.since_ms, life.time.now_ms())
        });
        lives.push(lived);
        let away_ms = world.dice.i64(0..5_000);
        world.wall.set_by(away_ms);
    }
    shared.lock().is_over = false;
    let mut findings = Findings::default();
    let lived = world.live(Ending::Stop, async |life, dice| {
        let producer = shared.producer(life).await;
        let time_ms = TIMEOUT_MS + INTERVAL_MS * (MAX_CHECKS as i64 + 3) + LEVEL_MS;
        life.time.pass(time_ms as u64, LEAP_MS, dice).await;
        topic.conclude(life, &mut findings).await;
        aside.conclude(life, &mut findings).await;
        drop(producer);
        (life.since_ms, life.time.now_ms())
    });
    lives.push(lived);
    let model = shared.lock();
    model.check(&topic, &aside, &lives, &mut findings);
    let count = |wanted: Resolution| {
        let begun = model.begun.values();
        begun.filter(|begun| begun.wanted == wanted).count()
    };
    findings.said(format_args!(
        "{} operations, {} to be committed, {} to be rolled back, {} for nobody to settle; {} there, {} put aside, {} questions; {endings:?} stops, kills, power cuts",
        model.operations,
        count(Resolution::Commit),
        count(Resolution::Rollback),
        count(Resolution::Unknown),
        topic.found.len(),
        aside.found.len(),
        model.begun.values().map(|begun| begun.checks.len()).sum::<usize>(),
    ))
}

#[test]
fn transactions_do_as_their_model() {
    seeds::each("transaction", run);
}
