//! Messages that are acknowledged one by one.

use std::collections::BTreeMap;

use castmq_client::model::GroupConfig;
use castmq_client::{ErrorCode, Message, PopConsumer, PoppedMessage, Producer, StartFrom};
use fastrand::Rng;
use std::time::Duration;

use super::reading::{Reading, id_of};
use super::seeds::{self, Findings, Violation};
use super::under_way::abandon;
use super::world::{Ending, Life, PATIENCE, World};

const TOPIC: &str = "jobs";
const GROUP: &str = "workers";
const DEAD_LETTERS: &str = "%DLQ%workers";

/// Attempts after the first.
const RETRIES: u32 = 4;

const LEAP_MS: u64 = 200;

/// Invisible times, in milliseconds.
const INVISIBLE_MS: [u64; 4] = [30, 400, 3_000, 20_000];

/// Whether something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    No,
    /// It was asked for, and nothing was heard of it.
    Perhaps,
    /// That was answered, at this time.
    At(i64),
}

/// What is known of a message.
#[derive(Debug)]
struct Job {
    is_stored: bool,
    acknowledged: Done,
    /// The last attempt that was seen.
    attempts: u32,
    /// How many pops there were at that time whose answers were not waited for.
    dark_pops: u32,
    /// Until then nobody may get it, by the broker's clock.
    invisible_until_ms: i64,
    deliveries: u32,
}

#[derive(Default)]
struct Model {
    jobs: BTreeMap<u64, Job>,
    /// Those that somebody has.
    out: Vec<PoppedMessage>,
    /// Pops whose answers were not waited for.
    dark_pops: u32,
    /// The last that was handed out for the first time, by queue.
    first_attempts: BTreeMap<u32, u64>,
    operations: u64,
    findings: Findings,
}

impl Model {
    fn new_message(&mut self) -> (u64, Message) {
        let id = self.jobs.len() as u64;
        self.operations += 1;
        let job = Job {
            is_stored: false,
            acknowledged: Done::No,
            attempts: 0,
            dark_pops: self.dark_pops,
            invisible_until_ms: 0,
            deliveries: 0,
        };
        self.jobs.insert(id, job);
        (id, Message::new(TOPIC, format!("{id} ")))
    }

    fn job(&mut self, id: u64) -> &mut Job {
        self.jobs.get_mut(&id).expect("it was sent")
    }

    async fn send(&mut self, producer: &Producer, dice: &mut Rng) {
        let new = (0..dice.usize(1..20)).map(|_| self.new_message());
        let (ids, messages): (Vec<_>, Vec<_>) = new.unzip();
        for (id, receipt) in ids.iter().zip(producer.send_all(messages).await) {
            receipt.expect("it is stored");
            self.job(*id).is_stored = true;
        }
    }

    /// Somebody gets a message.
    fn deliver(&mut self, message: &PoppedMessage) {
        let id = id_of(message);
        let receipt = message.receipt();
        let Some(job) = self.jobs.get_mut(&id) else {
            self.findings.add(id, Violation::Phantom);
            return;
        };
        let findings = &mut self.findings;
        let is_undead = matches!(job.acknowledged, Done::At(_));
        findings.check(!is_undead, id, Violation::Undead);
        let ms = job.invisible_until_ms - receipt.popped_at_ms;
        findings.check(ms <= 0, id, Violation::Early { ms });
        let least = job.attempts + 1;
        let most = (least + self.dark_pops - job.dark_pops).min(RETRIES + 1);
        let found = message.attempts();
        let expected = format!("{least} to {most}");
        let is_possible = (least..=most).contains(&found);
        findings.check(is_possible, id, Violation::Attempts { expected, found });
        if found == 1 {
            let offset = message.offset().0;
            let last = self.first_attempts.insert(message.queue_id().0, offset);
            if let Some(before) = last.filter(|last| *last > offset) {
                findings.add(id, Violation::Reordered { before });
            }
        }
        job.attempts = found;
        job.dark_pops = self.dark_pops;
        job.invisible_until_ms = message.visible_at_ms();
        job.deliveries += 1;
    }

    async fn receive(&mut self, consumer: &mut PopConsumer) -> usize {
        self.operations += 1;
        let messages = consumer.receive().await.expect("an answer");
        for message in &messages {
            self.deliver(message);
        }
        let count = messages.len();
        self.out.extend(messages);
        count
    }

    /// Pops into the dark.
    async fn receive_unheard(&mut self, consumer: &mut PopConsumer, dice: &mut Rng) {
        self.dark_pops += 1;
        if let Some(answer) = abandon(consumer.receive(), dice.usize(..40)).await {
            for message in answer.expect("an answer") {
                self.deliver(&message);
            }
        }
    }

    fn take_out(&mut self, dice: &mut Rng) -> Option<PoppedMessage> {
        let some = (!self.out.is_empty()).then(|| dice.usize(..self.out.len()));
        some.map(|index| self.out.swap_remove(index))
    }

    /// Acknowledges, waiting for the answer or not.
    async fn acknowledge(&mut self, message: PoppedMessage, life: &Life, turns: Option<usize>) {
        self.operations += 1;
        let id = id_of(&message);
        let job = self.job(id);
        if job.acknowledged == Done::No {
            job.acknowledged = Done::Perhaps;
        }
        let answer = match turns {
            None => Some(message.ack().await),
            Some(turns) => abandon(message.ack(), turns).await,
        };
        match answer {
            None => {}
            Some(Ok(())) => {
                let at = Done::At(life.time.now_ms());
                self.job(id).acknowledged = at;
            }
            Some(Err(error)) => {
                self.check_refusal(id, &message, error.code());
                let job = self.job(id);
                if job.acknowledged == Done::Perhaps {
                    job.acknowledged = Done::No;
                }
            }
        }
    }

    /// A receipt is only refused when its time is over, or somebody did something else with it.
    fn check_refusal(&mut self, id: u64, message: &PoppedMessage, code: Option<ErrorCode>) {
        let is_over = matches!(
            code,
            Some(ErrorCode::ReceiptExpired | ErrorCode::MessageSettled)
        );
        let wrong = format!("{message:?} was refused with {code:?}");
        self.findings.check(is_over, id, Violation::Wrong(wrong));
    }

    /// Hands a message back, or keeps it for longer.
    async fn change(&mut self, mut message: PoppedMessage, dice: &mut Rng) {
        self.operations += 1;
        let id = id_of(&message);
        let time_ms = dice.u64(..2_000);
        let time = Duration::from_millis(time_ms);
        let gives_back = dice.bool();
        let is_current = message.attempts() == self.job(id).attempts;
        // From now on it may come sooner than was said before.
        if is_current {
            self.job(id).invisible_until_ms = 0;
        }
        let before = message.visible_at_ms();
        let changed = match gives_back {
            true => message.nack(time).await,
            false => message.extend(time.max(Duration::from_millis(1))).await,
        };
        match changed {
            Err(error) => {
                self.check_refusal(id, &message, error.code());
                if is_current {
                    self.job(id).invisible_until_ms = before;
                }
            }
            Ok(()) if gives_back => {}
            Ok(()) => {
                self.job(id).invisible_until_ms = message.visible_at_ms();
                self.out.push(message);
            }
        }
    }

    async fn live(&mut self, life: &Life, dice: &mut Rng, ending: Ending) {
        prepare(life).await;
        let producer = life.client.producer().send_timeout(PATIENCE).build();
        let mut consumers: Vec<_> = (0..3).map(|_| consumer(life, dice)).collect();
        for _ in 0..dice.u32(100..1_200) {
            let one = dice.usize(..consumers.len());
            match dice.u8(..100) {
                0..10 => self.send(&producer, dice).await,
                10..40 => drop(self.receive(&mut consumers[one]).await),
                40..75 => {
                    if let Some(message) = self.take_out(dice) {
                        self.acknowledge(message, life, None).await;
                    }
                }
                75..83 => {
                    if let Some(message) = self.take_out(dice) {
                        self.change(message, dice).await;
                    }
                }
                // Its consumer is gone.
                83..86 => drop(self.take_out(dice)),
                86..88 => consumers[one] = consumer(life, dice),
                _ => {
                    self.operations += 1;
                    let leap_ms = *dice.choice(&[3, 30, LEAP_MS]).unwrap_or(&3);
                    let most_ms = leap_ms * 20;
                    life.time.pass(dice.u64(..most_ms), leap_ms, dice).await;
                }
            }
        }
        if ending != Ending::Stop {
            for _ in 0..dice.u32(..6) {
                self.receive_unheard(&mut consumers[0], dice).await;
                // It may have been sent to nobody: the connection goes with the consumer.
                consumers[0] = consumer(life, dice);
                if let Some(message) = self.take_out(dice) {
                    self.acknowledge(message, life, Some(dice.usize(..40)))
                        .await;
                }
            }
        }
        // Whoever had them is gone with the broker.
        self.out.clear();
    }

    /// Works until nothing comes any more.
    async fn finish(&mut self, life: &Life, dice: &mut Rng) {
        prepare(life).await;
        let mut consumer = consumer(life, dice);
        // Longer than any message is invisible, and than the broker takes to bury it.
        let end_ms = 2 * INVISIBLE_MS[3] as i64;
        let mut quiet_since_ms = life.time.now_ms();
        while life.time.now_ms() - quiet_since_ms < end_ms {
            let came = self.receive(&mut consumer).await;
            while let Some(message) = self.out.pop() {
                self.acknowledge(message, life, None).await;
            }
            if came > 0 {
                quiet_since_ms = life.time.now_ms();
            }
            life.time.pass(100, LEAP_MS, dice).await;
        }
    }

    fn check(&mut self, letters: &Reading) {
        let buried = letters.by_id();
        for (id, job) in &self.jobs {
            let times = buried.get(id).map_or(0, Vec::len);
            let is_settled = job.acknowledged != Done::No || times > 0;
            let findings = &mut self.findings;
            findings.check(is_settled || !job.is_stored, *id, Violation::Lost);
            let duplicated = Violation::Duplicated { times, allowed: 1 };
            findings.check(times <= 1, *id, duplicated);
            for (_, letter) in buried.get(id).into_iter().flatten() {
                // Acknowledging what is settled already, among the dead letters, is harmless.
                let is_undead =
                    matches!(job.acknowledged, Done::At(at_ms) if at_ms < letter.stored_ms);
                findings.check(!is_undead, *id, Violation::Undead);
                let found = letter.attempts - 1;
                let expected = format!("{} before the end", RETRIES + 1);
                let is_last = found == RETRIES + 1;
                findings.check(is_last, *id, Violation::Attempts { expected, found });
            }
        }
        for id in buried.keys().filter(|id| !self.jobs.contains_key(id)) {
            self.findings.add(*id, Violation::Phantom);
        }
    }
}

async fn prepare(life: &Life) {
    let address = life.node.broker_address().expect("a broker").to_string();
    let config = GroupConfig {
        retry_max: RETRIES,
        ..Default::default()
    };
    let admin = life.client.admin();
    let put = admin.at(&address).put_group(GROUP, config).await;
    put.expect("a group");
    life.client
        .producer()
        .build()
        .prepare(TOPIC)
        .await
        .expect("a topic");
}

fn consumer(life: &Life, dice: &mut Rng) -> PopConsumer {
    let invisible_ms = *dice.choice(&INVISIBLE_MS).unwrap_or(&30);
    let consumer = life
        .client
        .pop_consumer(GROUP)
        .topic(TOPIC)
        .from(StartFrom::Earliest)
        .max_messages(dice.u32(1..8))
        .invisible(Duration::from_millis(invisible_ms))
        .wait(Duration::from_millis(dice.u64(..50)));
    consumer.build().expect("a consumer")
}

fn run(seed: u64) -> Findings {
    let mut world = World::new(seed, |_| {});
    let mut model = Model::default();
    let mut endings = [0; 3];
    while model.operations < seeds::operations() {
        let ending = world.any_ending();
        endings[ending as usize] += 1;
        world.live(ending, async |life, dice| {
            model.live(life, dice, ending).await;
        });
        let away_ms = world.dice.i64(0..5_000);
        world.wall.set_by(away_ms);
    }
    let mut letters = Reading::of(DEAD_LETTERS);
    let mut findings = Findings::default();
    world.live(Ending::Stop, async |life, dice| {
        model.finish(life, dice).await;
        letters.conclude(life, &mut findings).await;
    });
    model.check(&letters);
    findings.violations.append(&mut model.findings.violations);
    let again = |job: &Job| job.deliveries.saturating_sub(1);
    findings.said(format_args!(
        "{} operations, {} messages, {} deliveries again, {} dead letters; {endings:?} stops, kills, power cuts",
        model.operations,
        model.jobs.len(),
        model.jobs.values().map(again).sum::<u32>(),
        letters.found.len(),
    ))
}

#[test]
fn popped_messages_do_as_their_model() {
    seeds::each("pop", run);
}
