//! Other threads: children there, their death, their hanging.

use std::rc::Rc;
use std::sync::mpsc;
use std::thread::{self, ThreadId};
use std::time::Instant;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::supervision::watchdog::Round;

/// Where an actor runs.
struct Where;

/// An actor that could not move if it wanted to, and tells when it has started.
struct Local {
    name: Rc<str>,
    started: UnboundedSender<ThreadId>,
}

impl Cast for Local {
    type State = String;

    fn started(&mut self, _: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        self.started.send(thread::current().id())?;
        Ok(())
    }

    fn observe(&self) -> String {
        self.name.to_string()
    }
}

impl Answer<Where> for Local {
    type Reply = ThreadId;

    fn answer(&mut self, _: Where, reply: Reply<ThreadId>, _: &mut Ctx<'_, Self>) {
        reply.send(thread::current().id());
    }
}

impl Receive<Do> for Local {
    fn receive(&mut self, _: Do, _: &mut Ctx<'_, Self>) {
        panic!("told to");
    }
}

/// Blocks its thread until it is let go.
struct Block(mpsc::Receiver<()>);

impl Receive<Block> for Local {
    fn receive(&mut self, Block(until): Block, _: &mut Ctx<'_, Self>) {
        let _ = until.recv();
    }
}

type LocalFactory = Box<dyn FnMut() -> Result<Local, Failure> + Send>;

fn local(name: &'static str) -> (Child<Local, LocalFactory>, UnboundedReceiver<ThreadId>) {
    let (started, starts) = unbounded_channel();
    let factory: LocalFactory = Box::new(move || {
        Ok(Local {
            name: Rc::from(name),
            started: started.clone(),
        })
    });
    (Child::new(name, factory), starts)
}

fn elsewhere() -> Stage {
    Stage::new("elsewhere").unwrap()
}

#[test]
fn a_child_runs_on_its_stage_and_is_restarted_there() {
    play_on_threads(async {
        let stage = elsewhere();
        let (child, mut starts) = local("a");
        let actor = child.actor_ref();
        let plan = Plan::new(Strategy::OneForOne).child_on(&stage, child);
        let tree = up(plan).await;
        let there = actor.ask(Where).await.unwrap();
        assert_ne!(there, thread::current().id());
        assert_eq!(starts.recv().await, Some(there));
        assert!(actor.tell(Do(Box::new(|_, _| {}))));
        assert_eq!(actor.ask(Where).await, Ok(there));
        assert_eq!(starts.recv().await, Some(there));
        let node = tree.snapshot_within(ms(60_000)).await.children.remove(0);
        assert_eq!((node.restarts, node.state), (1, "a".into()));
        assert_eq!(node.stage, "elsewhere");
        let late = Vec::new();
        assert_eq!(tree.stop(ms(60_000)).await, Exit::Stopped { late });
    });
}

#[test]
fn siblings_on_different_threads_start_and_stop_in_order() {
    play_on_threads(async {
        let (one, two) = (elsewhere(), elsewhere());
        let diary = Diary::default();
        let plan = Plan::new(Strategy::OneForOne)
            .child_on(&one, puppet("a", &diary))
            .child(puppet("b", &diary))
            .child_on(&two, puppet("c", &diary));
        let tree = up(plan).await;
        tree.stop(ms(60_000)).await;
        let expected = [
            "build a", "start a", "build b", "start b", "build c", "start c", "stop c", "drop c",
            "stop b", "drop b", "stop a", "drop a",
        ];
        assert_eq!(diary.take(), expected);
    });
}

#[test]
fn a_child_of_a_dead_arbiter_is_started_on_a_new_one_and_resolves_by_name() {
    play_on_threads(async {
        let stage = elsewhere();
        let (child, mut starts) = local("a");
        let old = child.actor_ref();
        let tree = up(Plan::new(Strategy::OneForOne).child_on(&stage, child)).await;
        let first = starts.recv().await.unwrap();
        stage.arbiter().unwrap().stop();
        let second = starts.recv().await.unwrap();
        assert_ne!(first, second);
        assert!(!old.is_open());
        let path = "a".to_owned();
        assert_eq!(old.ask(Where).await, Err(AskError::Gone { path }));
        let new = tree.resolve::<Local>("a").unwrap();
        assert_eq!(new.ask(Where).await, Ok(second));
        let node = tree.snapshot_within(ms(60_000)).await.children.remove(0);
        assert_eq!(node.restarts, 1);
        let last = node.last_failure.unwrap().failure;
        assert_eq!(last.cause(), Cause::ArbiterLost);
        assert!(last.reason().contains("elsewhere"), "{last}");
    });
}

#[test]
fn children_of_one_dead_arbiter_move_to_one_new_one() {
    play_on_threads(async {
        let stage = elsewhere();
        let ((a, mut a_starts), (b, mut b_starts)) = (local("a"), local("b"));
        let plan = Plan::new(Strategy::OneForOne)
            .child_on(&stage, a)
            .child_on(&stage, b);
        let _tree = up(plan).await;
        let first = (a_starts.recv().await, b_starts.recv().await);
        stage.arbiter().unwrap().stop();
        let second = (a_starts.recv().await, b_starts.recv().await);
        assert_ne!(first.0, second.0);
        assert_eq!(second.0, second.1);
    });
}

#[test]
fn a_supervisor_elsewhere_has_its_children_there_and_survives_its_arbiter() {
    play_on_threads(async {
        let stage = elsewhere();
        let (started, mut starts) = unbounded_channel();
        let plan = Plan::new(Strategy::OneForOne).supervisor_on(&stage, "branch", move || {
            let started = started.clone();
            // Not even the factory could move.
            let name: Rc<str> = Rc::from("leaf");
            let leaf = Child::new("leaf", move || {
                let (name, started) = (Rc::clone(&name), started.clone());
                Ok(Local { name, started })
            });
            Plan::new(Strategy::OneForOne).child(leaf)
        });
        let tree = up(plan).await;
        let first = starts.recv().await.unwrap();
        assert_ne!(first, thread::current().id());
        let leaf = tree.resolve::<Local>("branch/leaf").unwrap();
        leaf.tell(Do(Box::new(|_, _| {})));
        assert_eq!(starts.recv().await, Some(first), "restarted over there");
        assert_eq!(leaf.ask(Where).await, Ok(first), "on the same mailbox");
        stage.arbiter().unwrap().stop();
        let second = starts.recv().await.unwrap();
        assert_ne!(first, second);
        let leaf = tree.resolve::<Local>("branch/leaf").unwrap();
        assert_eq!(leaf.ask(Where).await, Ok(second));
        let late = Vec::new();
        assert_eq!(tree.stop(ms(60_000)).await, Exit::Stopped { late });
    });
}

#[test]
fn children_elsewhere_of_a_supervisor_that_died_with_its_arbiter_are_brought_down() {
    play_on_threads(async {
        let (dies, lives) = (elsewhere(), elsewhere());
        let diary = Diary::default();
        let (diary_of_branch, lives_on) = (diary.clone(), lives.clone());
        let (started, mut starts) = unbounded_channel();
        let plan = Plan::new(Strategy::OneForOne).supervisor_on(&dies, "branch", move || {
            let started = started.clone();
            let marker = Child::new("marker", move || {
                let (name, started) = (Rc::from("marker"), started.clone());
                Ok(Local { name, started })
            });
            Plan::new(Strategy::OneForOne)
                .child_on(&lives_on, puppet("leaf", &diary_of_branch))
                .child(marker)
        });
        let tree = up(plan).await;
        starts.recv().await.unwrap();
        let leaf = tree.resolve::<Puppet>("branch/leaf").unwrap();
        dies.arbiter().unwrap().stop();
        starts.recv().await.unwrap();
        let again = tree.resolve::<Puppet>("branch/leaf").unwrap();
        assert_eq!(again.ask(Count).await, Ok(0));
        assert_ne!(leaf, again);
        assert!(!leaf.is_open());
        let once = ["build leaf", "start leaf"];
        let expected = [once[0], once[1], "drop leaf", once[0], once[1]];
        assert_eq!(diary.take(), expected);
    });
}

#[test]
fn guests_may_come_from_other_threads_and_live_there() {
    play_on_threads(async {
        let stage = elsewhere();
        let inn = Child::supervisor("inn", Plan::new(Strategy::OneForOne));
        let supervisor = inn.actor_ref();
        let tree = up(Plan::new(Strategy::OneForOne).child(inn)).await;
        let ((here, _here_starts), (there, mut there_starts)) = (local("here"), local("there"));
        let (from_there, stage_for_there) = (supervisor.clone(), stage.clone());
        let invited = thread::spawn(move || {
            let here = from_there.start(here);
            let there = from_there.start_on(&stage_for_there, there);
            (here, there)
        });
        let (here, there) = invited.join().unwrap();
        let (here, there) = (here.await.unwrap(), there.await.unwrap());
        assert_eq!(here.ask(Where).await, Ok(thread::current().id()));
        let first = there.ask(Where).await.unwrap();
        assert_ne!(first, thread::current().id());
        assert_eq!(there_starts.recv().await, Some(first));
        stage.arbiter().unwrap().stop();
        let second = there_starts.recv().await.unwrap();
        let there = tree.resolve::<Local>("inn/there").unwrap();
        assert_eq!(there.ask(Where).await, Ok(second));
    });
}

/// A tree with one actor on a thread of its own, which blocks until the sender is dropped.
async fn stuck() -> (Tree, Stuck) {
    let stage = elsewhere();
    let (child, mut starts) = local("a");
    let actor = child.actor_ref();
    let tree = up(Plan::new(Strategy::OneForOne).child_on(&stage, child)).await;
    starts.recv().await;
    let (release, until) = mpsc::channel();
    actor.tell(Block(until));
    // It is at it when the message has left the mailbox.
    while actor.depth() > 0 {
        thread::yield_now();
    }
    let stuck = Stuck {
        stage,
        actor,
        _release: release,
    };
    (tree, stuck)
}

/// Lets go when it is dropped.
struct Stuck {
    stage: Stage,
    actor: ActorRef<Local>,
    _release: mpsc::Sender<()>,
}

fn watch(tree: &Tree, on_hang: OnHang) -> Round {
    let settings = WatchdogSettings {
        hung_after: Duration::from_secs(5),
        on_hang,
        ..WatchdogSettings::default()
    };
    Round::new(tree.clone(), settings)
}

/// Lets a thread answer the watchdog: what is sent to an arbiter runs in order.
async fn let_answer(stage: &Stage) {
    let (sender, done) = tokio::sync::oneshot::channel();
    stage
        .arbiter()
        .unwrap()
        .spawn_fn(move || sender.send(()).unwrap());
    done.await.unwrap();
}

#[test]
fn a_stuck_actor_does_not_block_the_tree() {
    play_on_threads(async {
        let (tree, stuck) = stuck().await;
        stuck.actor.tell(Do(Box::new(|_, _| {})));
        let seen = tree.snapshot_within(ms(1)).await;
        let node = &seen.children[0];
        assert_eq!(node.state, serde_json::Value::Null);
        assert_eq!(node.note.as_deref(), Some("no answer within 1 ms"));
        assert_eq!(node.mailbox_depth, 1);
    });
}

#[test]
fn a_hang_is_seen_and_shown_and_so_is_its_end() {
    play_on_threads(async {
        let (tree, stuck) = stuck().await;
        let stage = stuck.stage.clone();
        let mut round = watch(&tree, OnHang::Report);
        let start = Instant::now();
        round.look(start);
        assert_eq!(
            tree.snapshot_within(ms(1)).await.children[0].hung_since_ms,
            None
        );
        let_answer(&Stage::here("main")).await;
        round.look(start + ms(6_000));
        let seen = tree.snapshot_within(ms(1)).await;
        assert_eq!(seen.status, Status::Running);
        assert_eq!(seen.children[0].status, Status::Hung);
        assert!(seen.children[0].hung_since_ms.is_some());
        drop(stuck);
        let_answer(&stage).await;
        round.look(start + ms(7_000));
        let seen = tree.snapshot_within(ms(60_000)).await;
        assert_eq!(seen.children[0].status, Status::Running);
        assert_eq!(seen.children[0].hung_since_ms, None);
    });
}

#[test]
fn a_hang_may_fail_the_process() {
    play_on_threads(async {
        let (tree, _stuck) = stuck().await;
        let mut round = watch(&tree, OnHang::FailTree);
        let start = Instant::now();
        round.look(start);
        let_answer(&Stage::here("main")).await;
        round.look(start + ms(6_000));
        let Exit::Failed(failure) = tree.exited().await else {
            panic!("the tree stopped without a failure");
        };
        assert_eq!(failure.cause(), Cause::Hung);
        assert!(failure.reason().contains("elsewhere"), "{failure}");
    });
}

#[test]
fn the_watchdog_looks_by_itself_and_sees_even_the_trees_own_thread_hang() {
    play_on_threads(async {
        let tree = up(Plan::new(Strategy::OneForOne)).await;
        let settings = WatchdogSettings {
            look_every: ms(1),
            hung_after: ms(20),
            on_hang: OnHang::FailTree,
        };
        let _watchdog = Watchdog::start(&tree, settings).unwrap();
        let exited = tree.exited();
        // This thread runs no actor until the other one is done.
        let outside = thread::spawn(move || {
            let runtime = Builder::new_current_thread().build().unwrap();
            runtime.block_on(exited)
        });
        let Exit::Failed(failure) = outside.join().unwrap() else {
            panic!("the tree stopped without a failure");
        };
        assert!(failure.reason().contains("main"), "{failure}");
    });
}

#[test]
fn a_stuck_child_is_given_up_when_the_tree_stops() {
    play_on_threads(async {
        let (tree, _stuck) = stuck().await;
        let late = vec!["a".to_owned()];
        assert_eq!(tree.stop(ms(1)).await, Exit::Stopped { late });
    });
}

#[test]
fn a_factory_that_cannot_be_sent_stays_with_its_supervisor() {
    play(async {
        let name: Rc<str> = Rc::from("a");
        let (started, mut starts) = unbounded_channel();
        let child = Child::new("a", move || {
            let (name, started) = (Rc::clone(&name), started.clone());
            Ok(Local { name, started })
        });
        let _tree = up(Plan::new(Strategy::OneForOne).child(child)).await;
        assert_eq!(starts.recv().await, Some(thread::current().id()));
    });
}

#[test]
fn a_tree_on_one_thread_needs_no_actix_system() {
    capture_panics();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let diary = Diary::default();
        let (tree, actor) = solo(&diary).await;
        perform(&actor, |_, _| panic!());
        assert_eq!(actor.ask(Count).await, Ok(0));
        Round::new(tree.clone(), WatchdogSettings::default()).look(Instant::now());
        let error = Stage::new("elsewhere").unwrap_err();
        assert!(error.to_string().contains("actix_rt::System"), "{error}");
        let late = Vec::new();
        assert_eq!(tree.stop(ms(1_000)).await, Exit::Stopped { late });
    });
}

#[test]
fn nothing_is_left_of_a_tree_that_has_ended_not_even_its_threads() {
    play_on_threads(async {
        let stage = elsewhere();
        let (sender, thread_ended) = tokio::sync::oneshot::channel::<()>();
        stage.arbiter().unwrap().spawn(async move {
            std::future::pending::<()>().await;
            drop(sender);
        });
        let (child, _starts) = local("a");
        let diary = Diary::default();
        let inn = Child::supervisor("inn", Plan::new(Strategy::OneForOne));
        let supervisor = inn.actor_ref();
        let plan = Plan::new(Strategy::OneForOne)
            .child_on(&stage, child)
            .child(inn);
        let tree = up(plan).await;
        supervisor.start(puppet("b", &diary)).await.unwrap();
        drop((stage, supervisor));
        let house = Arc::downgrade(tree.house());
        tree.stop(ms(60_000)).await;
        drop(tree);
        assert!(thread_ended.await.is_err());
        assert!(house.upgrade().is_none());
    });
}
