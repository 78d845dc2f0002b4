//! The claims of the supervision layer, over running trees.

mod engine;
mod failing;
mod guests;
mod messages;
mod snapshot;
mod stages;
mod stopping;
mod strategies;

use std::sync::Arc;
use std::time::Duration;

use actix_rt::System;
use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::time::sleep;

use super::*;

/// Runs a test in an actix system of its own. Its clock jumps ahead whenever there is nothing else to do.
fn play<F: Future>(test: F) -> F::Output {
    let clock_jumps = true;
    play_on(clock_jumps, test)
}

/// The same for tests that span threads: the clock is real, since it would jump ahead of them.
fn play_on_threads<F: Future>(test: F) -> F::Output {
    let clock_jumps = false;
    play_on(clock_jumps, test)
}

fn play_on<F: Future>(clock_jumps: bool, test: F) -> F::Output {
    capture_panics();
    let runtime = move || {
        Builder::new_current_thread()
            .enable_all()
            .start_paused(clock_jumps)
            .build()
            .unwrap()
    };
    System::with_tokio_rt(runtime).block_on(test)
}

/// Starts a tree and waits until it is up.
async fn up(plan: Plan) -> Tree {
    let tree = Tree::start("node", plan);
    tree.started().await.unwrap();
    tree
}

/// Lets everything that can happen without waiting happen.
async fn calm() {
    sleep(Duration::from_nanos(1)).await;
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().push(what.into());
    }

    /// What was noted since the last look.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// Notes that it was dropped.
struct Noted(Diary, &'static str);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

/// An actor that keeps a diary and does as it is told.
struct Puppet {
    name: &'static str,
    diary: Diary,
    count: u32,
    on_start: Start,
    on_stop: fn(&mut Puppet, &mut Ctx<'_, Puppet>),
    belongings: Vec<Box<dyn std::any::Any>>,
}

type Start = fn(&mut Puppet, &mut Ctx<'_, Puppet>) -> Result<(), Failure>;

impl Puppet {
    fn new(name: &'static str, diary: &Diary) -> Self {
        diary.note(format!("build {name}"));
        Self {
            name,
            diary: diary.clone(),
            count: 0,
            on_start: |_, _| Ok(()),
            on_stop: |_, _| {},
            belongings: Vec::new(),
        }
    }

    fn on_start(mut self, on_start: Start) -> Self {
        self.on_start = on_start;
        self
    }

    fn on_stop(mut self, on_stop: fn(&mut Puppet, &mut Ctx<'_, Puppet>)) -> Self {
        self.on_stop = on_stop;
        self
    }

    fn note(&self, what: &str) {
        self.diary.note(format!("{what} {}", self.name));
    }
}

impl Cast for Puppet {
    type State = u32;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        self.note("start");
        (self.on_start)(self, ctx)
    }

    fn stopping(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.note("stop");
        (self.on_stop)(self, ctx);
    }

    fn observe(&self) -> u32 {
        self.count
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.note("drop");
    }
}

/// Notes a word.
struct Say(&'static str);

impl Receive<Say> for Puppet {
    fn receive(&mut self, Say(word): Say, _: &mut Ctx<'_, Self>) {
        self.count += 1;
        self.note(word);
    }
}

type Action = dyn FnOnce(&mut Puppet, &mut Ctx<'_, Puppet>) + Send;

/// Does anything.
struct Do(Box<Action>);

impl Receive<Do> for Puppet {
    fn receive(&mut self, Do(action): Do, ctx: &mut Ctx<'_, Self>) {
        action(self, ctx);
    }
}

fn perform(
    puppet: &ActorRef<Puppet>,
    action: impl FnOnce(&mut Puppet, &mut Ctx<'_, Puppet>) + Send + 'static,
) {
    assert!(puppet.tell(Do(Box::new(action))));
}

/// How many words it said since it was built.
struct Count;

impl Answer<Count> for Puppet {
    type Reply = u32;

    fn answer(&mut self, _: Count, reply: Reply<u32>, _: &mut Ctx<'_, Self>) {
        reply.send(self.count);
    }
}

type Consideration = dyn FnOnce(&mut Puppet, Reply<u32>, &mut Ctx<'_, Puppet>) + Send;

/// Answered by whatever the action does with the reply.
struct Consider(Box<Consideration>);

impl Answer<Consider> for Puppet {
    type Reply = u32;

    fn answer(&mut self, Consider(action): Consider, reply: Reply<u32>, ctx: &mut Ctx<'_, Self>) {
        action(self, reply, ctx);
    }
}

type PuppetFactory = Box<dyn FnMut() -> Result<Puppet, Failure> + Send>;

/// A puppet as a child.
fn puppet(name: &'static str, diary: &Diary) -> Child<Puppet, PuppetFactory> {
    puppet_as(name, diary, |puppet| puppet)
}

/// A puppet with something special about it.
fn puppet_as(
    name: &'static str,
    diary: &Diary,
    shape: fn(Puppet) -> Puppet,
) -> Child<Puppet, PuppetFactory> {
    let diary = diary.clone();
    Child::new(name, Box::new(move || Ok(shape(Puppet::new(name, &diary)))))
}

/// One puppet, running.
async fn solo(diary: &Diary) -> (Tree, ActorRef<Puppet>) {
    let child = puppet("a", diary);
    let actor = child.actor_ref();
    let tree = up(Plan::new(Strategy::OneForOne).child(child)).await;
    diary.take();
    (tree, actor)
}
