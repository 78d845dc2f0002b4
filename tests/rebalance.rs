//! Members of a group come, go, are lost and hang at random, while messages with ordering keys arrive all the time.
//!
//! Each member is a client with a thread of its own, so that one that hangs takes nobody along. A handler knows whether
//! another one is at the same queue at the same time, and whether a key's messages come in order.
//!
//! `CASTMQ_STEPS=10000 cargo test --release --test rebalance -- --nocapture` takes 10,000 steps; `CASTMQ_SEED` repeats a run. What
//! members notice that keep their queues is measured by `… -- --ignored --nocapture`.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// The seed is what a failure is repeated with.
#![allow(clippy::print_stdout)]

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use castmq_actors::Node;
use castmq_client::raw::admin::GroupDetails;
use castmq_client::{
    Ack, Client, Filter, Message, Order, PushConsumer, ReceivedMessage, StartFrom,
};
use castmq_config::Settings;
use hdrhistogram::Histogram;
use tokio::sync::{mpsc, oneshot};

use support::{client, number, run, start, stop, with_queues};

const TOPIC: &str = "orders";
const GROUP: &str = "billing";
const QUEUES: u32 = 16;
const KEYS: u64 = 64;
const MEMBERS: usize = 8;
const LEASE: Duration = Duration::from_secs(1);

/// What handlers of all members note.
#[derive(Debug, Default)]
struct Notes {
    /// The number that each key's next new message has.
    next: Mutex<HashMap<u64, u64>>,
    busy: Vec<AtomicBool>,
    handled: AtomicU64,
    wrong: Mutex<Vec<String>>,
    /// When each queue's last message was handled, and the longest pause between two.
    pauses: Mutex<HashMap<u32, (Instant, Duration)>>,
    bystanders: Mutex<Bystanders>,
}

/// What the first two members notice of others that come and go.
#[derive(Debug, Default)]
struct Bystanders {
    /// The member that had a queue's last message, and when.
    last: HashMap<u32, (usize, Instant)>,
    /// Pauses between two messages of a queue that stayed with one of them, in microseconds.
    pauses: Option<Histogram<u64>>,
}

impl Bystanders {
    fn note(&mut self, member: usize, queue: u32, now: Instant) {
        if let Some(pauses) = &mut self.pauses {
            let last = self.last.insert(queue, (member, now));
            if let Some((_, at)) = last.filter(|(before, _)| *before == member && member < 2) {
                pauses.saturating_record((now - at).as_micros() as u64);
            }
        }
    }
}

impl Notes {
    fn new() -> Self {
        Self {
            busy: (0..QUEUES).map(|_| AtomicBool::new(false)).collect(),
            ..Self::default()
        }
    }

    fn is_wrong(&self, what: String) {
        self.wrong.lock().expect("notes").push(what);
    }

    /// Handles a message. Nothing here waits: a member hangs between messages, not within one.
    fn handle(&self, member: usize, message: &ReceivedMessage, fails: bool) -> Ack {
        let queue = message.queue_id().0;
        let busy = &self.busy[queue as usize];
        if busy.swap(true, Ordering::AcqRel) {
            self.is_wrong(format!(
                "member {member} has queue {queue} with another one"
            ));
        }
        let body = message.body().expect("a body");
        let text = std::str::from_utf8(body).expect("text").to_owned();
        let (key, count) = text.split_once(' ').expect("key and number");
        let (key, count): (u64, u64) = (
            key.parse().expect("a key"),
            count.parse().expect("a number"),
        );
        // Another member's handler would be seen.
        std::thread::yield_now();
        let ack = if fails { Ack::Retry } else { Ack::Done };
        {
            let mut next = self.next.lock().expect("notes");
            let next = next.entry(key).or_default();
            match count.cmp(next) {
                std::cmp::Ordering::Greater => {
                    self.is_wrong(format!("message {count} of key {key} came before {next}"));
                }
                std::cmp::Ordering::Equal if ack == Ack::Done => *next += 1,
                _ => {}
            }
        }
        let now = Instant::now();
        let mut pauses = self.pauses.lock().expect("notes");
        let (last, longest) = pauses.entry(queue).or_insert((now, Duration::ZERO));
        *longest = (*longest).max(now - *last);
        *last = now;
        drop(pauses);
        let mut bystanders = self.bystanders.lock().expect("notes");
        bystanders.note(member, queue, now);
        drop(bystanders);
        self.handled.fetch_add(1, Ordering::AcqRel);
        busy.store(false, Ordering::Release);
        ack
    }

    fn longest_pause(&self) -> Duration {
        let pauses = self.pauses.lock().expect("notes");
        let longest = pauses.values().map(|(_, longest)| *longest).max();
        longest.unwrap_or_default()
    }

    fn done(&self) -> u64 {
        self.next.lock().expect("notes").values().sum()
    }
}

enum Command {
    Join,
    Leave,
    /// The process dies: nothing is said to anybody.
    Die,
    /// The process stands still, and is still there.
    Hang(Duration),
}

/// A member in a thread of its own.
struct Member {
    commands: mpsc::UnboundedSender<(Command, oneshot::Sender<()>)>,
    thread: Option<std::thread::JoinHandle<()>>,
    is_in: bool,
}

impl Member {
    fn new(number: usize, name_server: String, notes: Arc<Notes>) -> Self {
        let (commands, received) = mpsc::unbounded_channel();
        let thread = std::thread::spawn(move || live(number, &name_server, &notes, received));
        Self {
            commands,
            thread: Some(thread),
            is_in: false,
        }
    }

    async fn tell(&mut self, command: Command) {
        self.is_in = match command {
            Command::Join => true,
            Command::Leave | Command::Die => false,
            Command::Hang(_) => self.is_in,
        };
        let (sender, done) = oneshot::channel();
        self.commands
            .send((command, sender))
            .expect("the thread lives");
        done.await.expect("the thread lives");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let (closed, _) = mpsc::unbounded_channel();
        self.commands = closed;
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(joined.is_ok() || std::thread::panicking());
        }
    }
}

/// A new runtime for each life: with it go all its connections.
fn live(
    number: usize,
    name_server: &str,
    notes: &Arc<Notes>,
    mut commands: mpsc::UnboundedReceiver<(Command, oneshot::Sender<()>)>,
) {
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let ended = runtime.block_on(async {
            let mut consumer: Option<PushConsumer> = None;
            while let Some((command, done)) = commands.recv().await {
                match command {
                    Command::Join => consumer = Some(join(number, name_server, notes).await),
                    Command::Leave => {
                        if let Some(consumer) = consumer.take() {
                            // One that hung is no member any more, and cannot commit.
                            let _ = consumer.shutdown().await;
                        }
                    }
                    Command::Die => {
                        // Dropping it would say goodbye, given time.
                        std::mem::forget(consumer.take());
                        let _ = done.send(());
                        return false;
                    }
                    Command::Hang(time) => {
                        let _ = done.send(());
                        std::thread::sleep(time);
                        continue;
                    }
                }
                let _ = done.send(());
            }
            if let Some(consumer) = consumer.take() {
                let _ = consumer.shutdown().await;
            }
            true
        });
        runtime.shutdown_background();
        if ended {
            return;
        }
    }
}

async fn join(number: usize, name_server: &str, notes: &Arc<Notes>) -> PushConsumer {
    let client = Client::connect(name_server).await.expect("it connects");
    let notes = notes.clone();
    let consumer = client
        .push_consumer(GROUP)
        .subscribe(TOPIC, Filter::All)
        .from(StartFrom::Earliest)
        .order(Order::PerQueue)
        .commit_every(Duration::from_millis(200))
        .handler(move |message| {
            let fails = message.attempts() == 1 && fastrand::u32(..20_000) == 0;
            let ack = notes.handle(number, &message, fails);
            async move { ack }
        })
        .start();
    consumer.await.expect("it joins")
}

fn settings_of_test(folder: &std::path::Path) -> Settings {
    let mut settings = with_queues(folder, QUEUES);
    settings.broker.member_lease_ms = LEASE.as_millis() as u64;
    settings
}

/// Sends messages of all keys in turn until told to stop. Returns how many each key has.
async fn produce(client: Client, stopped: Arc<AtomicBool>) -> u64 {
    let producer = client.producer().build();
    let mut count = 0;
    while !stopped.load(Ordering::Acquire) {
        let messages = (0..KEYS).map(|key| {
            Message::builder(TOPIC, format!("{key} {count}"))
                .ordering_key(&key.to_string())
                .build()
                .expect("a message")
        });
        for receipt in producer.send_all(messages).await {
            receipt.expect("it is stored");
        }
        count += 1;
        // As fast as handlers in a debug build.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    producer.close().await;
    count
}

async fn members(node: &Node, notes: &Arc<Notes>) -> Vec<Member> {
    let address = node.name_server_address().expect("a name server");
    (0..MEMBERS)
        .map(|number| Member::new(number, address.to_string(), notes.clone()))
        .collect()
}

/// How long queues were with nobody while there were members, and with members that were gone, at most.
#[derive(Debug, Default)]
struct Ownerless {
    since: HashMap<u32, (Option<String>, Instant)>,
    nobody: Duration,
    lost: Duration,
}

impl Ownerless {
    fn look(&mut self, shown: &GroupDetails) {
        let now = Instant::now();
        let is_member = |owner: &String| {
            shown
                .members
                .iter()
                .any(|member| member.client_id == *owner)
        };
        for progress in shown.progress.iter().filter(|p| p.queue.topic == TOPIC) {
            let queue = progress.queue.queue.0;
            if shown.members.is_empty() || progress.owner.as_ref().is_some_and(is_member) {
                self.since.remove(&queue);
                continue;
            }
            let seen = (progress.owner.clone(), now);
            let since = self.since.entry(queue).or_insert_with(|| seen.clone());
            if since.0 != seen.0 {
                *since = seen;
            }
            let longest = match since.0 {
                None => &mut self.nobody,
                Some(_) => &mut self.lost,
            };
            *longest = (*longest).max(now - since.1);
        }
    }

    /// Looks all the time, as the broker tells it.
    async fn watch(client: Client, stopped: Arc<AtomicBool>) -> Self {
        let mut ownerless = Self::default();
        let brokers = client.admin().masters().await.expect("brokers");
        let broker = brokers.first().expect("a broker");
        while !stopped.load(Ordering::Acquire) {
            // There is none before the first member.
            if let Ok(shown) = broker.show_group(GROUP).await {
                ownerless.look(&shown);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        ownerless
    }
}

async fn take_step(members: &mut [Member], random: &mut fastrand::Rng) {
    let number = random.usize(..members.len());
    let member = &mut members[number];
    let command = match (member.is_in, random.u32(..100)) {
        (false, _) => Command::Join,
        (true, 0..70) => Command::Leave,
        (true, 70..98) => Command::Die,
        (true, _) => Command::Hang(LEASE + LEASE / 2),
    };
    member.tell(command).await;
}

#[test]
fn members_come_and_go_and_no_queue_is_with_two_nor_a_key_out_of_order() {
    let seed = number("CASTMQ_SEED", fastrand::u64(..));
    let steps = number("CASTMQ_STEPS", 300);
    println!("CASTMQ_SEED={seed} CASTMQ_STEPS={steps}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let settings = settings_of_test(folder.path());
    run(async {
        let node = start(&settings).await;
        let notes = Arc::new(Notes::new());
        let stopped = Arc::new(AtomicBool::new(false));
        let producing = actix_rt::spawn(produce(client(&node).await, stopped.clone()));
        let watching = Ownerless::watch(client(&node).await, stopped.clone());
        let watching = actix_rt::spawn(watching);
        let mut members = members(&node, &notes).await;
        for _ in 0..steps {
            take_step(&mut members, &mut random).await;
        }
        for member in &mut members {
            if !member.is_in {
                member.tell(Command::Join).await;
            }
        }
        stopped.store(true, Ordering::Release);
        let sent = producing.await.expect("the producer ends") * KEYS;
        while notes.done() < sent && notes.wrong.lock().expect("notes").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let handled = notes.handled.load(Ordering::Acquire);
        let ownerless = watching.await.expect("the watcher ends");
        println!(
            "{sent} messages handled {handled} times; longest pause of a queue {:?}; with nobody {:?}, with a member that is gone {:?}, at most; lease {LEASE:?}",
            notes.longest_pause(),
            ownerless.nobody,
            ownerless.lost
        );
        assert_eq!(ownerless.nobody, Duration::ZERO, "seed {seed}");
        drop(members);
        let wrong = std::mem::take(&mut *notes.wrong.lock().expect("notes"));
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
        stop(node).await;
    });
}

/// All members but the first two come and go for a while, or nobody does. Returns the pauses that those two noticed.
async fn watch(members: &mut [Member], notes: &Notes, is_disturbed: bool) -> (Histogram<u64>, u32) {
    {
        let mut bystanders = notes.bystanders.lock().expect("notes");
        bystanders.last.clear();
        bystanders.pauses =
            Some(Histogram::new_with_bounds(1, 60_000_000, 3).expect("a histogram"));
    }
    let end = Instant::now() + Duration::from_secs(4);
    let mut moves = 0;
    let others = members.get_mut(2..).expect("others");
    while Instant::now() < end {
        if is_disturbed {
            let member = &mut others[fastrand::usize(..others.len())];
            let command = if member.is_in {
                Command::Leave
            } else {
                Command::Join
            };
            member.tell(command).await;
            moves += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let pauses = notes.bystanders.lock().expect("notes").pauses.take();
    for member in others.iter_mut().filter(|member| !member.is_in) {
        member.tell(Command::Join).await;
    }
    (pauses.expect("a histogram"), moves)
}

#[test]
#[ignore = "a measurement"]
fn members_that_keep_their_queues_while_others_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings_of_test(folder.path());
    run(async {
        let node = start(&settings).await;
        let notes = Arc::new(Notes::new());
        let stopped = Arc::new(AtomicBool::new(false));
        let producing = actix_rt::spawn(produce(client(&node).await, stopped.clone()));
        let mut members = members(&node, &notes).await;
        for member in &mut members {
            member.tell(Command::Join).await;
        }
        let mut ratios = Vec::new();
        for round in 0..7 {
            let (quiet, _) = watch(&mut members, &notes, false).await;
            let (disturbed, moves) = watch(&mut members, &notes, true).await;
            let ms = |of: &Histogram<u64>, p: f64| of.value_at_quantile(p) as f64 / 1000.0;
            // The first round warms up.
            if round > 0 {
                ratios.push(ms(&disturbed, 0.99) / ms(&quiet, 0.99));
            }
            println!(
                "pauses in ms, p50 p99 p99.9: quiet {:.1} {:.1} {:.1}, with {moves} comings and goings {:.1} {:.1} {:.1}",
                ms(&quiet, 0.5),
                ms(&quiet, 0.99),
                ms(&quiet, 0.999),
                ms(&disturbed, 0.5),
                ms(&disturbed, 0.99),
                ms(&disturbed, 0.999),
            );
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "p99 disturbed / quiet, median: {:.2}",
            ratios[ratios.len() / 2]
        );
        stopped.store(true, Ordering::Release);
        producing.await.expect("the producer ends");
        drop(members);
        stop(node).await;
    });
}
