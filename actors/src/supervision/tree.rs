//! The whole tree: started, watched, stopped, and what became of it.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::actor::Cast;
use super::child::Child;
use super::engine::HALT_GRACE;
use super::failure::{Cause, Failure};
use super::house::House;
use super::plan::Plan;
use super::record::{
    ChildId, Command, Event, LastFailure, Member, Record, Report, Status, Surroundings,
};
use super::reference::{ActorRef, Mailbox};
use super::seat::lost;
use super::slots::SUPERVISOR_GRACE;
use super::stage::Stage;
use super::supervisor::Supervisor;

/// How long [`Tree::snapshot`] waits for the states of actors that are busy.
pub const SNAPSHOT_PATIENCE: Duration = Duration::from_millis(100);

/// How a tree ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It was told to stop, and did.
    Stopped {
        /// Paths of those that did not stop in time, and were dropped.
        late: Vec<String>,
    },
    /// It could not be kept alive: the reason for the process to end.
    Failed(Failure),
}

#[derive(Debug, Clone)]
enum Life {
    Starting,
    Running,
    Over(Exit),
}

/// A running tree of actors. Clones are the same tree; dropping them does not stop it.
#[derive(Clone)]
pub struct Tree {
    root: ActorRef<Supervisor>,
    house: Arc<House>,
    life: watch::Sender<Life>,
}

impl Tree {
    /// Starts a tree on the calling thread. Its children come up one after the other from here on; see
    /// [`Tree::started`].
    ///
    /// A tree on one thread needs no more than a `LocalSet`; [`Stage::new`] needs an actix system.
    ///
    /// # Panics
    /// Outside of a `LocalSet`, and of what runs one: the `block_on` of an actix system.
    pub fn start(name: &str, plan: Plan) -> Self {
        Self::start_with_clock(name, plan, system_clock_ms)
    }

    /// The same, with a wall clock of one's own, in milliseconds since 1970. It dates failures and nothing else.
    ///
    /// # Panics
    /// As [`Tree::start`].
    pub fn start_with_clock(
        name: &str,
        plan: Plan,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let stage = Stage::here("main");
        let house = Arc::new(House::new(clock));
        house.add_stage(&stage);
        let child = Child::supervisor(name, plan);
        let root = child.actor_ref();
        let (life, _) = watch::channel(Life::Starting);
        let (ending, member) = (life.clone(), Arc::downgrade(&root.member()));
        let surroundings = Arc::new(Surroundings {
            prefix: String::new(),
            house: Arc::clone(&house),
            reports: Mailbox::from_fn(move |report| hear(&ending, &member, report)),
        });
        let (_, mut opener) = child.settle();
        opener.admit(ChildId::ROOT, &surroundings, &stage);
        root.record().order(Command::Start, FIRST_TURN);
        let tree = Self { root, house, life };
        if let Err(failure) = opener.launch() {
            tree.fail(failure);
        }
        tree
    }

    /// Resolves when all planned children are running, each having been started after the one before it.
    ///
    /// # Errors
    /// Why the tree ended before that.
    pub async fn started(&self) -> Result<(), Exit> {
        let mut life = self.life.subscribe();
        // The sender is held by the tree itself.
        match life.wait_for(|life| !matches!(life, Life::Starting)).await {
            Ok(life) => match &*life {
                Life::Over(exit) => Err(exit.clone()),
                Life::Starting | Life::Running => Ok(()),
            },
            Err(_) => Ok(()),
        }
    }

    /// Resolves when the tree has ended, with the reason for the process to end. It may be awaited on any thread: on one
    /// that the tree does not run on, it resolves even when a watchdog finds the tree's own thread stuck.
    pub fn exited(&self) -> impl Future<Output = Exit> + Send + use<> {
        let mut life = self.life.subscribe();
        async move {
            let over = life.wait_for(|life| matches!(life, Life::Over(_))).await;
            match over.as_deref() {
                Ok(Life::Over(exit)) => exit.clone(),
                _ => Exit::Failed(Failure::of(Cause::ArbiterLost, "the tree was dropped")),
            }
        }
    }

    /// Stops all actors in reverse order of their starts, and returns the paths of those that were not done in time.
    pub async fn stop(&self, within: Duration) -> Exit {
        let deadline = Instant::now() + within;
        self.root
            .record()
            .order(Command::Stop { deadline }, FIRST_TURN);
        let patience = within + SUPERVISOR_GRACE + 2 * HALT_GRACE;
        if let Ok(exit) = timeout(patience, self.exited()).await {
            return exit;
        }
        let late = self.still_up();
        end(&self.life, self.root.record(), Exit::Stopped { late });
        self.exited().await
    }

    /// Ends the tree as failed, without waiting for any of it. For those outside who find that it cannot go on.
    pub fn fail(&self, failure: Failure) {
        end(&self.life, self.root.record(), Exit::Failed(failure));
    }

    /// Finds an actor by its path; `None` when there is none, it is of another type, or its mailbox is closed. A name
    /// resolves before its actor has started, while it restarts, and to the new mailbox after its arbiter was lost.
    pub fn resolve<A: Cast>(&self, path: &str) -> Option<ActorRef<A>> {
        self.house.resolve(path)
    }

    /// The tree as it is now. Actors that do not tell their state at once, being busy, stuck or down, are shown without.
    pub async fn snapshot(&self) -> TreeNode {
        self.snapshot_within(SNAPSHOT_PATIENCE).await
    }

    /// The same, with a patience of one's own. It is spent once for the whole tree.
    pub async fn snapshot_within(&self, patience: Duration) -> TreeNode {
        let deadline = Instant::now() + patience;
        let mut answers = VecDeque::new();
        let mut tree = sketch(&self.root.member(), &mut answers);
        let mut states = VecDeque::with_capacity(answers.len());
        for answer in answers {
            states.push_back(match timeout_at(deadline, answer).await {
                Ok(Ok(Some(state))) => Ok(state),
                Ok(Ok(None)) => Err("its state has no JSON form".to_owned()),
                Ok(Err(_)) => Err("no actor to ask".to_owned()),
                Err(_) => Err(format!("no answer within {} ms", patience.as_millis())),
            });
        }
        fill_in(&mut tree, &mut states);
        tree
    }

    pub(super) fn house(&self) -> &Arc<House> {
        &self.house
    }

    fn still_up(&self) -> Vec<String> {
        let mut paths = Vec::new();
        walk(&self.root.member(), &mut |member| {
            if member.record().status().is_occupied() {
                paths.push(member.record().path());
            }
        });
        paths
    }
}

/// The root is started once.
const FIRST_TURN: u32 = 1;

fn system_clock_ms() -> u64 {
    let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

/// What the root reports, it having no supervisor.
fn hear(life: &watch::Sender<Life>, root: &Weak<dyn Member>, report: Report) -> bool {
    let Some(root) = root.upgrade() else {
        return false;
    };
    let exit = match report.event {
        Event::Started => {
            return life.send_if_modified(|life| match life {
                Life::Starting => {
                    *life = Life::Running;
                    true
                }
                Life::Running | Life::Over(_) => false,
            });
        }
        Event::Failed(failure) => Exit::Failed(failure),
        Event::Stopped { late } => Exit::Stopped { late },
        Event::Lost => Exit::Failed(lost(root.record())),
    };
    end(life, root.record(), exit);
    true
}

/// The first reason counts.
fn end(life: &watch::Sender<Life>, root: &Record, exit: Exit) {
    root.order(Command::End, FIRST_TURN);
    life.send_if_modified(|life| {
        let is_first = !matches!(life, Life::Over(_));
        if is_first {
            *life = Life::Over(exit);
        }
        is_first
    });
}

/// What a node of the tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It has children.
    Supervisor,
    /// It does work.
    Actor,
}

/// One actor, and those below it, as they were at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct TreeNode {
    /// Its name among its siblings.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What it is doing.
    pub status: Status,
    /// Name of the stage it runs on.
    pub stage: String,
    /// Since when its stage has not responded, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hung_since_ms: Option<u64>,
    /// Messages in its mailbox.
    pub mailbox_depth: u64,
    /// How often it was started again.
    pub restarts: u32,
    /// Why it was, the last time.
    pub last_failure: Option<LastFailure>,
    /// Its own state; null when it did not tell.
    pub state: Value,
    /// Why there is no state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Those it supervises, in the order of their starts.
    pub children: Vec<TreeNode>,
}

impl TreeNode {
    /// The node at a path below this one.
    pub fn find(&self, path: &str) -> Option<&TreeNode> {
        self.children.iter().find_map(|child| {
            let rest = path.strip_prefix(&child.name)?;
            match rest.strip_prefix('/') {
                _ if rest.is_empty() => Some(child),
                Some(below) => child.find(below),
                None => None,
            }
        })
    }
}

fn children_of(member: &Arc<dyn Member>) -> Vec<Arc<dyn Member>> {
    let branch = member.record().branch();
    branch.map_or_else(Vec::new, |branch| branch.lock().values().cloned().collect())
}

fn walk(member: &Arc<dyn Member>, visit: &mut impl FnMut(&Arc<dyn Member>)) {
    visit(member);
    for child in children_of(member) {
        walk(&child, visit);
    }
}

/// All that is known without asking. The questions are under way, in the order of a walk.
fn sketch(
    member: &Arc<dyn Member>,
    answers: &mut VecDeque<oneshot::Receiver<Option<Value>>>,
) -> TreeNode {
    let record = member.record();
    answers.push_back(record.observe());
    let stage = record.adoption().map(|adoption| &adoption.stage);
    let hung_since_ms = stage.and_then(Stage::hung_since_ms);
    let status = match record.status() {
        status if status.is_occupied() && hung_since_ms.is_some() => Status::Hung,
        status => status,
    };
    TreeNode {
        name: record.name().to_owned(),
        kind: match record.branch() {
            Some(_) => Kind::Supervisor,
            None => Kind::Actor,
        },
        status,
        stage: stage.map_or_else(String::new, |stage| stage.name().to_owned()),
        hung_since_ms,
        mailbox_depth: record.depth(),
        restarts: record.restarts(),
        last_failure: record.last_failure(),
        state: Value::Null,
        note: None,
        children: children_of(member)
            .iter()
            .map(|child| sketch(child, answers))
            .collect(),
    }
}

fn fill_in(node: &mut TreeNode, states: &mut VecDeque<Result<Value, String>>) {
    match states.pop_front() {
        Some(Ok(state)) => node.state = state,
        Some(Err(note)) => node.note = Some(note),
        None => {}
    }
    for child in &mut node.children {
        fill_in(child, states);
    }
}
