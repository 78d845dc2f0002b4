//! What the supervision layer costs over plain actix: messages and questions on one arbiter, in alternating rounds, and
//! the price of a child in time and memory.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler, Message};
use actix_rt::System;
use castmq_actors::supervision::{Answer, Cast, Child, Ctx, Plan, Receive, Reply, Strategy, Tree};
use tokio::sync::oneshot;

const ROUNDS: usize = 15;
const MESSAGES: u64 = 200_000;
const QUESTIONS: u64 = 50_000;
/// Messages that are sent before the receiver gets to run.
const BURST: u64 = 200;
const CHILDREN: u32 = 50_000;

/// The size of a small message, and what a batch handle of the data path weighs.
struct Item([u64; 4]);

struct Last(oneshot::Sender<u64>);

struct Double(u64);

struct Plain(u64);

impl Actor for Plain {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(0);
    }
}

impl Message for Item {
    type Result = ();
}

impl Handler<Item> for Plain {
    type Result = ();

    fn handle(&mut self, item: Item, _: &mut Context<Self>) {
        self.0 = self.0.wrapping_add(item.0[0]);
    }
}

impl Message for Last {
    type Result = ();
}

impl Handler<Last> for Plain {
    type Result = ();

    fn handle(&mut self, last: Last, _: &mut Context<Self>) {
        last.0.send(self.0).unwrap();
    }
}

impl Message for Double {
    type Result = u64;
}

impl Handler<Double> for Plain {
    type Result = u64;

    fn handle(&mut self, Double(number): Double, _: &mut Context<Self>) -> u64 {
        number * 2
    }
}

struct Supervised(u64);

impl Cast for Supervised {
    type State = u64;

    fn observe(&self) -> u64 {
        self.0
    }
}

impl Receive<Item> for Supervised {
    fn receive(&mut self, item: Item, _: &mut Ctx<'_, Self>) {
        self.0 = self.0.wrapping_add(item.0[0]);
    }
}

impl Receive<Last> for Supervised {
    fn receive(&mut self, last: Last, _: &mut Ctx<'_, Self>) {
        last.0.send(self.0).unwrap();
    }
}

impl Answer<Double> for Supervised {
    type Reply = u64;

    fn answer(&mut self, Double(number): Double, reply: Reply<u64>, _: &mut Ctx<'_, Self>) {
        reply.send(number * 2);
    }
}

macro_rules! time_messages {
    ($send:expr) => {{
        let start = Instant::now();
        for _ in 0..MESSAGES / BURST {
            for number in 0..BURST {
                $send(Item([number; 4]));
            }
            tokio::task::yield_now().await;
        }
        let (sender, done) = oneshot::channel();
        $send(Last(sender));
        done.await.unwrap();
        start.elapsed()
    }};
}

macro_rules! time_questions {
    ($ask:expr) => {{
        let start = Instant::now();
        for number in 0..QUESTIONS {
            $ask(Double(number)).await.unwrap();
        }
        start.elapsed()
    }};
}

fn report(what: &str, count: u64, mut plain: Vec<Duration>, mut supervised: Vec<Duration>) {
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_nanos() as f64 / count as f64
    };
    let (plain, supervised) = (median(&mut plain), median(&mut supervised));
    println!(
        "{what}: actix {plain:.0} ns, supervised {supervised:.0} ns, ratio {:.2}",
        supervised / plain
    );
}

async fn messages() {
    let plain = Plain(0).start();
    let child = Child::new("a", || Ok(Supervised(0)));
    let supervised = child.actor_ref();
    let tree = Tree::start("bench", Plan::new(Strategy::OneForOne).child(child));
    tree.started().await.unwrap();
    let (mut told, mut asked) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for _ in 0..ROUNDS {
        told.0.push(time_messages!(|item| plain.do_send(item)));
        told.1
            .push(time_messages!(|item| assert!(supervised.tell(item))));
        asked
            .0
            .push(time_questions!(|question| plain.send(question)));
        asked
            .1
            .push(time_questions!(|question| supervised.ask(question)));
    }
    report("message, one way", MESSAGES, told.0, told.1);
    report(
        "question and answer, one at a time",
        QUESTIONS,
        asked.0,
        asked.1,
    );
    tree.stop(Duration::from_secs(1)).await;
}

/// Resident memory of this process.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}

async fn children() {
    let before = resident_bytes();
    let plain: Vec<_> = (0..CHILDREN).map(|_| Plain(0).start()).collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let plain_bytes = resident_bytes().saturating_sub(before) / u64::from(CHILDREN);

    let inn = Child::supervisor("inn", Plan::new(Strategy::OneForOne));
    let supervisor = inn.actor_ref();
    let tree = Tree::start("bench", Plan::new(Strategy::OneForOne).child(inn));
    tree.started().await.unwrap();
    let before = resident_bytes();
    let start = Instant::now();
    for number in 0..CHILDREN {
        let child = Child::new(format!("topic-{number}"), || Ok(Supervised(0)));
        let started = supervisor.start(child);
        if number % 100 == 99 {
            started.await.unwrap();
        }
    }
    let started = start.elapsed() / CHILDREN;
    let bytes = resident_bytes().saturating_sub(before) / u64::from(CHILDREN);
    let start = Instant::now();
    tree.snapshot_within(Duration::from_secs(60)).await;
    let seen = start.elapsed() / CHILDREN;
    let start = Instant::now();
    tree.stop(Duration::from_secs(60)).await;
    let stopped = start.elapsed() / CHILDREN;
    println!(
        "child of {CHILDREN}: started in {started:?}, shown in {seen:?}, stopped in {stopped:?}, \
         {bytes} bytes (plain actix actor: {plain_bytes} bytes)"
    );
    drop(plain);
}

fn main() {
    System::new().block_on(async {
        messages().await;
        children().await;
    });
}
