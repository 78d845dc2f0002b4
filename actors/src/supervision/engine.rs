//! The decisions of a supervisor: takes what happened, returns what to do. No runtime: time is an argument.
//!
//! Two rules carry everything. Children come up in order, each only when those before it are running, wherever order
//! matters: in the first start, and always under a strategy that lets siblings depend on each other. They go down in
//! reverse order, one at a time; only children that were added later have no order among themselves, and go first and
//! together.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::failure::{Cause, Failure};
use super::policy::{Departure, FailureWindow, Restart, Strategy, Verdict};
use super::record::ChildId;
use super::slots::{Phase, Slot, Slots, Terms};

/// How long a child that was halted has to say so. Longer means its thread is stuck: nothing can be done about it here.
pub(super) const HALT_GRACE: Duration = Duration::from_millis(500);

/// What a child gets to stop in even when the deadline has passed: those before a child that took all the time there was
/// are not late themselves.
const LAST_CALL: Duration = Duration::from_millis(50);

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Build the actor.
    Start { child: ChildId, turn: u32 },
    /// Ask it to stop.
    Stop {
        child: ChildId,
        turn: u32,
        deadline: Instant,
    },
    /// Drop it: its time is up, or, when it is not late, it belongs to a supervisor that is gone.
    Halt {
        child: ChildId,
        turn: u32,
        is_late: bool,
    },
    /// It leaves the tree, with its mailbox.
    Remove { child: ChildId },
    /// It will be started again after this wait.
    Announce { child: ChildId, wait: Duration },
    /// How the first start of a guest ended.
    Welcome {
        child: ChildId,
        outcome: Result<(), Failure>,
    },
    /// Too many failures, this one the last. The rest is stopped next.
    GiveUp { child: ChildId, failure: Failure },
    /// All children are running.
    Ready,
    /// All children are down, as was asked for, or because of [`Action::GiveUp`].
    Down,
}

/// How a child left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    Failed(Failure),
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Starting,
    Running,
    Stopping { deadline: Option<Instant> },
    Down,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Engine {
    strategy: Strategy,
    failures: FailureWindow,
    mode: Mode,
    slots: Slots,
    /// Children to be started.
    vacant: BTreeSet<ChildId>,
    /// Children that go down because a sibling failed.
    doomed: BTreeSet<ChildId>,
    actions: VecDeque<Action>,
}

impl Engine {
    pub(super) fn new(strategy: Strategy, failures: FailureWindow) -> Self {
        Self {
            strategy,
            failures,
            mode: Mode::Starting,
            slots: Slots::default(),
            vacant: BTreeSet::new(),
            doomed: BTreeSet::new(),
            actions: VecDeque::new(),
        }
    }

    // ---- what happens

    /// Adds a child behind all others. `turn` is its last; `may_be_up` says that an earlier supervisor may have left it
    /// running, so that it has to be brought down first. [`Engine::settle`] comes next.
    pub(super) fn add(
        &mut self,
        child: ChildId,
        terms: Terms,
        turn: u32,
        may_be_up: bool,
        now: Instant,
    ) {
        self.slots.add(child, terms, turn);
        if may_be_up {
            let is_late = false;
            self.halt(child, is_late, now);
        } else {
            self.vacant.insert(child);
        }
    }

    /// Gets on with whatever is possible.
    pub(super) fn settle(&mut self, now: Instant) {
        match self.mode {
            Mode::Starting | Mode::Running => {
                if self.clear_doomed(now) {
                    self.start_vacant(now);
                }
            }
            Mode::Stopping { deadline } => self.stop_next(deadline, now),
            Mode::Down => {}
        }
    }

    /// A child is running.
    pub(super) fn child_started(&mut self, child: ChildId, turn: u32, now: Instant) {
        let Some(slot) = self.slots.get(child) else {
            return;
        };
        if slot.turn != turn || slot.phase != Phase::Starting {
            return;
        }
        self.slots.enter(child, Phase::Running);
        if slot.is_new_guest() {
            let outcome = Ok(());
            self.push(Action::Welcome { child, outcome });
        }
        self.slots.welcome(child);
        self.settle(now);
    }

    /// A child is no longer running.
    pub(super) fn child_ended(&mut self, child: ChildId, turn: u32, ending: Ending, now: Instant) {
        let Some(slot) = self.slots.get(child) else {
            return;
        };
        if slot.turn != turn {
            return;
        }
        match slot.phase {
            Phase::Vacant { .. } => return,
            Phase::Stopping { .. } => self.vacated(child, slot),
            Phase::Starting | Phase::Running if self.is_stopping() => self.vacated(child, slot),
            Phase::Starting | Phase::Running => self.departed(child, slot, ending, now),
        }
        self.settle(now);
    }

    /// Time has passed. See [`Engine::next_timer`].
    pub(super) fn tick(&mut self, now: Instant) {
        while let Some(child) = self.slots.take_timer(now) {
            match self.slots.phase(child) {
                Some(Phase::Stopping { is_halted, .. }) if is_halted => self.abandon(child, now),
                Some(Phase::Stopping { .. }) => self.halt(child, true, now),
                _ => {}
            }
        }
        self.settle(now);
    }

    /// Everything is to stop, until `deadline` at the latest.
    pub(super) fn stop(&mut self, deadline: Option<Instant>, now: Instant) {
        match self.mode {
            Mode::Down => return,
            Mode::Stopping { deadline: earlier } => {
                let deadline = earliest(earlier, deadline);
                self.mode = Mode::Stopping { deadline };
                self.hurry(deadline);
            }
            Mode::Starting | Mode::Running => {
                self.mode = Mode::Stopping { deadline };
                self.vacant.clear();
                self.doomed.clear();
                self.stop_guests(deadline, now);
            }
        }
        self.settle(now);
    }

    // ---- what to do

    /// The next thing to do.
    pub(super) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Engine::tick`] is due.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.slots.next_timer()
    }

    pub(super) fn is_stopping(&self) -> bool {
        matches!(self.mode, Mode::Stopping { .. } | Mode::Down)
    }

    pub(super) fn recent_failures(&self) -> usize {
        self.failures.recent()
    }

    pub(super) fn children(&self) -> usize {
        self.slots.len()
    }

    /// The turn that a child is in.
    #[cfg(test)]
    pub(super) fn turn(&self, child: ChildId) -> u32 {
        self.slots.get(child).map_or(0, |slot| slot.turn)
    }

    fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    // ---- coming up

    fn start_vacant(&mut self, now: Instant) {
        let is_ordered = self.strategy.is_ordered() || self.mode == Mode::Starting;
        let mut ready = Vec::new();
        if !is_ordered {
            let due = self.vacant.iter().filter(|child| self.is_due(**child, now));
            ready.extend(due.copied());
        } else if !self.slots.is_any_moving() {
            // With nobody on the move, all before the first vacant one are running.
            let due = self
                .vacant
                .first()
                .filter(|child| self.is_due(**child, now));
            ready.extend(due.copied());
        }
        for child in ready {
            self.vacant.remove(&child);
            self.slots.enter(child, Phase::Starting);
            let turn = self.slots.next_turn(child);
            self.push(Action::Start { child, turn });
        }
        if self.mode == Mode::Starting && self.vacant.is_empty() && !self.slots.is_any_moving() {
            self.mode = Mode::Running;
            self.push(Action::Ready);
        }
    }

    fn is_due(&self, child: ChildId, now: Instant) -> bool {
        match self.slots.phase(child) {
            Some(Phase::Vacant { not_before }) => not_before.is_none_or(|at| at <= now),
            _ => false,
        }
    }

    // ---- failing

    /// A child left though nobody asked it to.
    fn departed(&mut self, child: ChildId, slot: Slot, ending: Ending, now: Instant) {
        if slot.is_new_guest() {
            let outcome = match &ending {
                Ending::Failed(failure) => Err(failure.clone()),
                Ending::Stopped => Ok(()),
            };
            let is_refused = outcome.is_err();
            self.push(Action::Welcome { child, outcome });
            if is_refused {
                return self.remove(child);
            }
        }
        let (departure, failure) = match ending {
            Ending::Failed(failure) => (Departure::Failed, failure),
            Ending::Stopped => {
                let failure = Failure::of(Cause::Finished, "it stopped, though it is permanent");
                (Departure::Finished, failure)
            }
        };
        if !slot.terms.restart.applies_after(departure) {
            return self.remove(child);
        }
        match self.failures.record(now) {
            Verdict::RestartAfter(wait) => self.restart(child, wait, now),
            Verdict::GiveUp => {
                self.slots.enter(child, Phase::Vacant { not_before: None });
                self.give_up(child, failure, now);
            }
        }
    }

    fn restart(&mut self, child: ChildId, wait: Duration, now: Instant) {
        let not_before = Some(now + wait);
        self.slots.enter(child, Phase::Vacant { not_before });
        self.vacant.insert(child);
        self.push(Action::Announce { child, wait });
        if self.strategy.is_ordered() {
            let siblings = self.slots.ids();
            let falls = |sibling: &ChildId| self.strategy.takes_down(&child, sibling);
            self.doomed.extend(siblings.filter(falls));
        }
    }

    fn give_up(&mut self, child: ChildId, failure: Failure, now: Instant) {
        self.push(Action::GiveUp { child, failure });
        self.stop(None, now);
    }

    /// Brings down siblings of a child that failed, the last first. True when none is left.
    fn clear_doomed(&mut self, now: Instant) -> bool {
        while let Some(child) = self.doomed.last().copied() {
            match self.slots.phase(child) {
                Some(Phase::Stopping { .. }) => return false,
                Some(Phase::Starting | Phase::Running) => {
                    self.stop_one(child, None, now);
                    return false;
                }
                Some(Phase::Vacant { .. }) | None => {
                    self.doomed.remove(&child);
                }
            }
        }
        true
    }

    // ---- going down

    fn stop_guests(&mut self, deadline: Option<Instant>, now: Instant) {
        for guest in self.slots.guests_last_first() {
            match self.slots.phase(guest) {
                Some(Phase::Vacant { .. }) => self.remove(guest),
                Some(Phase::Starting | Phase::Running) => self.stop_one(guest, deadline, now),
                Some(Phase::Stopping { .. }) | None => {}
            }
        }
    }

    /// Stops the last that is up, unless it is on its way down already.
    fn stop_next(&mut self, deadline: Option<Instant>, now: Instant) {
        match self.slots.last_up() {
            None => {
                self.mode = Mode::Down;
                self.push(Action::Down);
            }
            Some((child, Phase::Starting | Phase::Running)) => self.stop_one(child, deadline, now),
            Some(_) => {}
        }
    }

    fn stop_one(&mut self, child: ChildId, deadline: Option<Instant>, now: Instant) {
        let Some(Slot { terms, turn, .. }) = self.slots.get(child) else {
            return;
        };
        let own = now + terms.stop_within();
        let deadline = deadline.map_or(own, |deadline| deadline.min(own));
        let until = deadline.max(now + LAST_CALL) + terms.grace();
        let is_halted = false;
        self.slots
            .enter(child, Phase::Stopping { until, is_halted });
        self.push(Action::Stop {
            child,
            turn,
            deadline,
        });
    }

    fn halt(&mut self, child: ChildId, is_late: bool, now: Instant) {
        let Some(Slot { turn, .. }) = self.slots.get(child) else {
            return;
        };
        let until = now + HALT_GRACE;
        let is_halted = true;
        self.slots
            .enter(child, Phase::Stopping { until, is_halted });
        self.push(Action::Halt {
            child,
            turn,
            is_late,
        });
    }

    /// A child does not even react to being halted.
    fn abandon(&mut self, child: ChildId, now: Instant) {
        let Some(slot) = self.slots.get(child) else {
            return;
        };
        self.vacated(child, slot);
        // Whatever it still sends is stale.
        self.slots.next_turn(child);
        if !self.is_stopping() {
            let failure = Failure::of(Cause::Hung, "it does not stop: its thread is stuck");
            self.give_up(child, failure, now);
        }
    }

    /// A child that was to go down has.
    fn vacated(&mut self, child: ChildId, slot: Slot) {
        let leaves = if self.is_stopping() {
            slot.terms.is_guest
        } else {
            slot.terms.restart == Restart::Temporary
        };
        if leaves {
            return self.remove(child);
        }
        self.slots.enter(child, Phase::Vacant { not_before: None });
        if !self.is_stopping() {
            self.vacant.insert(child);
        }
    }

    /// A tighter deadline for those that are stopping already.
    fn hurry(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else {
            return;
        };
        for child in self.slots.timed_after(deadline) {
            if let Some(slot) = self.slots.get(child)
                && let Phase::Stopping { until, is_halted } = slot.phase
            {
                let until = until.min(deadline + slot.terms.grace());
                self.slots
                    .enter(child, Phase::Stopping { until, is_halted });
            }
        }
    }

    fn remove(&mut self, child: ChildId) {
        self.slots.remove(child);
        self.vacant.remove(&child);
        self.doomed.remove(&child);
        self.push(Action::Remove { child });
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
