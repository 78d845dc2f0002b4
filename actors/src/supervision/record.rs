//! What is known of a child from any thread, without asking it: its place in the tree, its vital signs, and the order
//! its supervisor gave it last.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::failure::Failure;
use super::house::House;
use super::reference::Mailbox;
use super::stage::Stage;

/// A child among its siblings; they compare in the order of their starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChildId(pub(super) u64);

impl ChildId {
    /// The one that is nobody's child. Children count from 1.
    pub(super) const ROOT: Self = Self(0);
}

/// What a child is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Status {
    /// It has not been started yet: those before it come first.
    Waiting,
    /// Its factory or its start is at work.
    Starting,
    /// It handles messages.
    Running,
    /// It failed and will be started again. Messages queue.
    Restarting,
    /// It was asked to stop and is finishing.
    Stopping,
    /// It stopped.
    Stopped,
    /// Its arbiter does not respond.
    Hung,
}

impl Status {
    const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Starting,
        Self::Running,
        Self::Restarting,
        Self::Stopping,
        Self::Stopped,
        Self::Hung,
    ];

    fn from_u8(value: u8) -> Self {
        Self::ALL
            .get(usize::from(value))
            .copied()
            .unwrap_or(Self::Stopped)
    }

    /// Whether there is an actor value.
    pub(super) fn is_occupied(self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Running | Self::Stopping | Self::Hung
        )
    }
}

/// The last failure of a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastFailure {
    /// Kind and reason.
    #[serde(flatten)]
    pub failure: Failure,
    /// When, in milliseconds since 1970.
    pub when_ms: u64,
}

/// What a supervisor wants of a child. The last order counts; each is answered by one report, but for `End`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Command {
    /// Build the actor and start it.
    Start,
    /// Stop, taking time up to the deadline.
    Stop { deadline: Instant },
    /// Drop the actor now. The mailbox stays.
    Halt,
    /// Drop everything. Nobody will ask again.
    End,
}

/// A command, and the turn it belongs to: a report that answers an earlier turn is stale.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    pub(super) command: Command,
    pub(super) turn: u32,
}

/// What a child's shell tells its supervisor.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) child: ChildId,
    pub(super) turn: u32,
    pub(super) event: Event,
}

/// What happened to a child.
#[derive(Debug)]
pub(super) enum Event {
    Started,
    Failed(Failure),
    /// It stopped: because it was told to, or by itself. `late` are the paths below it that did not stop in time.
    Stopped {
        late: Vec<String>,
    },
    /// Its arbiter died, and the mailbox with it.
    Lost,
}

/// What all children of one supervisor have in common.
pub(super) struct Surroundings {
    /// Path of the supervisor with a slash behind it; empty for the root's children.
    pub(super) prefix: String,
    pub(super) house: Arc<House>,
    pub(super) reports: Mailbox<Report>,
}

/// A child's place in the tree.
pub(super) struct Adoption {
    pub(super) id: ChildId,
    pub(super) surroundings: Arc<Surroundings>,
    pub(super) stage: Stage,
}

/// The children of a supervisor, as the tree walks over them.
pub(super) type Branch = Mutex<BTreeMap<ChildId, Arc<dyn Member>>>;

/// Anything with a record: an address whose actor's type is forgotten.
pub(super) trait Member: Any + Send + Sync {
    fn record(&self) -> &Record;
}

const ORDERED: u8 = 1;
const OBSERVED: u8 = 2;

#[derive(Default)]
struct Inbox {
    order: Option<Order>,
    observers: Vec<oneshot::Sender<Option<Value>>>,
}

/// See the module.
pub(super) struct Record {
    name: Box<str>,
    adoption: OnceLock<Adoption>,
    /// Filled by supervisors alone.
    branch: OnceLock<Arc<Branch>>,
    sent: AtomicU64,
    handled: AtomicU64,
    /// Which parts of `inbox` are worth locking it for.
    signals: AtomicU8,
    status: AtomicU8,
    restarts: AtomicU32,
    turn: AtomicU32,
    inbox: Mutex<Inbox>,
    failure: Mutex<Option<Box<LastFailure>>>,
    shell: AtomicWaker,
    #[cfg(any(test, feature = "chaos"))]
    poison: super::chaos::Poison,
}

impl Record {
    pub(super) fn new(name: Box<str>) -> Self {
        Self {
            name,
            adoption: OnceLock::new(),
            branch: OnceLock::new(),
            sent: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            signals: AtomicU8::new(0),
            status: AtomicU8::new(Status::Waiting as u8),
            restarts: AtomicU32::new(0),
            turn: AtomicU32::new(0),
            inbox: Mutex::default(),
            failure: Mutex::default(),
            shell: AtomicWaker::new(),
            #[cfg(any(test, feature = "chaos"))]
            poison: super::chaos::Poison::default(),
        }
    }

    // ---- its place

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn path(&self) -> String {
        let prefix = self.adoption().map_or("", |at| &at.surroundings.prefix);
        format!("{prefix}{}", self.name)
    }

    pub(super) fn has_path(&self, path: &str) -> bool {
        let prefix = self.adoption().map_or("", |at| &at.surroundings.prefix);
        path.strip_prefix(prefix) == Some(&*self.name)
    }

    /// False when it has a place already.
    pub(super) fn adopt(&self, adoption: Adoption) -> bool {
        self.adoption.set(adoption).is_ok()
    }

    pub(super) fn adoption(&self) -> Option<&Adoption> {
        self.adoption.get()
    }

    pub(super) fn grow_branch(&self, branch: Arc<Branch>) {
        // A supervisor that comes back brings the branch it had.
        let _ = self.branch.set(branch);
    }

    pub(super) fn branch(&self) -> Option<&Arc<Branch>> {
        self.branch.get()
    }

    // ---- its mailbox

    pub(super) fn count_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn uncount_sent(&self) {
        self.sent.fetch_sub(1, Ordering::Relaxed);
    }

    /// Only the shell counts here, so a store does.
    pub(super) fn set_handled(&self, handled: u64) {
        self.handled.store(handled, Ordering::Relaxed);
    }

    pub(super) fn depth(&self) -> u64 {
        if self.has_ended() {
            return 0;
        }
        let handled = self.handled.load(Ordering::Relaxed);
        let sent = self.sent.load(Ordering::Relaxed);
        sent.saturating_sub(handled)
    }

    // ---- its health

    pub(super) fn status(&self) -> Status {
        Status::from_u8(self.status.load(Ordering::Acquire) & !ENDED)
    }

    pub(super) fn set_status(&self, status: Status) {
        self.status.store(status as u8, Ordering::Release);
    }

    /// The mailbox is closed for good.
    pub(super) fn has_ended(&self) -> bool {
        self.status.load(Ordering::Acquire) & ENDED != 0
    }

    pub(super) fn set_ended(&self) {
        self.status
            .store(Status::Stopped as u8 | ENDED, Ordering::Release);
    }

    pub(super) fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }

    pub(super) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn last_failure(&self) -> Option<LastFailure> {
        self.failure.lock().as_deref().cloned()
    }

    pub(super) fn note_failure(&self, failure: Failure) {
        if let Some(adoption) = self.adoption() {
            let when_ms = adoption.surroundings.house.now_ms();
            *self.failure.lock() = Some(Box::new(LastFailure { failure, when_ms }));
        }
    }

    /// Takes over the history of the record it replaces.
    pub(super) fn inherit(&self, past: &Self) {
        self.restarts.store(past.restarts(), Ordering::Relaxed);
        self.turn
            .store(past.turn.load(Ordering::Relaxed), Ordering::Relaxed);
        *self.failure.lock() = past.failure.lock().take();
    }

    // ---- its orders

    /// The turn of the last order.
    pub(super) fn turn(&self) -> u32 {
        self.turn.load(Ordering::Relaxed)
    }

    /// Replaces whatever order was not taken yet.
    pub(super) fn order(&self, command: Command, turn: u32) {
        self.turn.store(turn, Ordering::Relaxed);
        let mut inbox = self.inbox.lock();
        inbox.order = Some(Order { command, turn });
        self.signals.fetch_or(ORDERED, Ordering::Release);
        drop(inbox);
        self.shell.wake();
    }

    /// Takes the order if `wanted` says so, else leaves it.
    pub(super) fn take_order(&self, wanted: impl FnOnce(Command) -> bool) -> Option<Order> {
        if self.signals.load(Ordering::Acquire) & ORDERED == 0 {
            return None;
        }
        let mut inbox = self.inbox.lock();
        let order = inbox.order.take_if(|order| wanted(order.command));
        if inbox.order.is_none() {
            self.signals.fetch_and(!ORDERED, Ordering::Relaxed);
        }
        order
    }

    /// Asks the actor for its state.
    pub(super) fn observe(&self) -> oneshot::Receiver<Option<Value>> {
        let (observer, state) = oneshot::channel();
        let mut inbox = self.inbox.lock();
        // Nobody else clears out those who gave up waiting on an actor that is stuck.
        inbox.observers.retain(|waiting| !waiting.is_closed());
        inbox.observers.push(observer);
        self.signals.fetch_or(OBSERVED, Ordering::Release);
        drop(inbox);
        if self.has_ended() {
            self.take_observers();
        }
        self.shell.wake();
        state
    }

    pub(super) fn take_observers(&self) -> Vec<oneshot::Sender<Option<Value>>> {
        if self.signals.load(Ordering::Acquire) & OBSERVED == 0 {
            return Vec::new();
        }
        let mut inbox = self.inbox.lock();
        self.signals.fetch_and(!OBSERVED, Ordering::Relaxed);
        std::mem::take(&mut inbox.observers)
    }

    #[cfg(any(test, feature = "chaos"))]
    pub(super) fn poison(&self) -> &super::chaos::Poison {
        &self.poison
    }

    /// Whom to wake for orders and observers.
    pub(super) fn shell(&self) -> &AtomicWaker {
        &self.shell
    }

    /// Tells the supervisor.
    pub(super) fn report(&self, turn: u32, event: Event) {
        if let Some(adoption) = self.adoption() {
            let child = adoption.id;
            let report = Report { child, turn, event };
            adoption.surroundings.reports.tell(report);
        }
    }
}

/// Beside the status: nothing comes after this.
const ENDED: u8 = 0x80;
