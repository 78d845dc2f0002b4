//! The engine over made-up children that answer in any order, late, or with failures: whatever happens, order is kept,
//! and everything comes up, or down, in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::{Just, Strategy as _, any, prop, prop_oneof, proptest};
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};
use tokio::time::Instant;

use crate::supervision::engine::{Action, Ending, Engine};
use crate::supervision::policy::{Backoff, FailureWindow, Intensity, Restart, Strategy};
use crate::supervision::record::ChildId;
use crate::supervision::slots::Terms;
use crate::supervision::{Cause, Failure};

use super::ms;

/// What comes next in a life.
#[derive(Debug, Clone)]
enum Step {
    /// A child does what it was ordered to, or, for a start, fails to.
    Obey {
        which: usize,
        fails: bool,
    },
    /// A running child fails, or finishes.
    Leave {
        which: usize,
        fails: bool,
    },
    Wait {
        wait_ms: u64,
    },
    AddGuest {
        restart: Restart,
    },
    /// Reports arrive that are no longer true.
    Late {
        which: usize,
    },
    StopAll,
}

fn restarts() -> impl proptest::strategy::Strategy<Value = Restart> {
    prop_oneof![
        4 => Just(Restart::Permanent),
        2 => Just(Restart::Transient),
        1 => Just(Restart::Temporary),
    ]
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    let which = 0_usize..8;
    let step = prop_oneof![
        12 => (which.clone(), prop::bool::weighted(0.1))
            .prop_map(|(which, fails)| Step::Obey { which, fails }),
        3 => (which, any::<bool>()).prop_map(|(which, fails)| Step::Leave { which, fails }),
        4 => (0_u64..2_000).prop_map(|wait_ms| Step::Wait { wait_ms }),
        2 => restarts().prop_map(|restart| Step::AddGuest { restart }),
        2 => (0_usize..8).prop_map(|which| Step::Late { which }),
        1 => Just(Step::StopAll),
    ];
    prop::collection::vec(step, 0..80)
}

/// A child that nobody programmed.
#[derive(Debug, Default)]
struct Dummy {
    is_guest: bool,
    is_up: bool,
    /// The last order, not carried out yet.
    order: Option<Action>,
}

struct Life {
    engine: Engine,
    strategy: Strategy,
    now: Instant,
    children: BTreeMap<ChildId, Dummy>,
    is_ready: bool,
    is_stopping: bool,
    is_down: bool,
}

type Checked = Result<(), TestCaseError>;

impl Life {
    fn new(strategy: Strategy, planned: &[Restart]) -> Self {
        let now = Instant::now();
        let intensity = Intensity {
            max_failures: 3,
            within: Duration::from_secs(1),
        };
        let failures = FailureWindow::new(intensity, Backoff::default(), now);
        let mut life = Self {
            engine: Engine::new(strategy, failures),
            strategy,
            now,
            children: BTreeMap::new(),
            is_ready: false,
            is_stopping: false,
            is_down: false,
        };
        for restart in planned {
            life.add(*restart, false);
        }
        life
    }

    fn add(&mut self, restart: Restart, is_guest: bool) {
        let last = self.children.keys().last();
        let child = ChildId(last.map_or(1, |last| last.0 + 1));
        let terms = Terms {
            restart,
            stop_within_ms: 1_000,
            is_supervisor: false,
            is_guest,
        };
        let dummy = Dummy {
            is_guest,
            ..Dummy::default()
        };
        self.children.insert(child, dummy);
        self.engine.add(child, terms, 0, false, self.now);
        self.engine.settle(self.now);
    }

    fn take(&mut self, step: &Step) -> Checked {
        match *step {
            Step::Obey { which, fails } => self.obey(which, fails),
            Step::Leave { which, fails } => self.leave(which, fails),
            Step::Wait { wait_ms } => {
                self.now += ms(wait_ms);
                self.engine.tick(self.now);
            }
            Step::AddGuest { restart } if !self.is_stopping => self.add(restart, true),
            Step::AddGuest { .. } => {}
            Step::Late { which } => self.be_late(which),
            Step::StopAll => {
                self.is_stopping = true;
                let deadline = self.now + ms(1_500);
                self.engine.stop(Some(deadline), self.now);
            }
        }
        self.carry_out()
    }

    fn obey(&mut self, which: usize, fails: bool) {
        let mut ordered = self.children.iter_mut();
        let Some((child, dummy)) = ordered
            .by_ref()
            .filter(|(_, d)| d.order.is_some())
            .nth(which)
        else {
            return;
        };
        let child = *child;
        match dummy.order.take() {
            Some(Action::Start { turn, .. }) if fails => {
                let failed = Ending::Failed(Failure::new("does not start"));
                self.engine.child_ended(child, turn, failed, self.now);
            }
            Some(Action::Start { turn, .. }) => {
                dummy.is_up = true;
                self.engine.child_started(child, turn, self.now);
            }
            Some(Action::Stop { turn, .. }) => {
                dummy.is_up = false;
                self.engine
                    .child_ended(child, turn, Ending::Stopped, self.now);
            }
            _ => {}
        }
    }

    fn leave(&mut self, which: usize, fails: bool) {
        let mut up = self.children.iter_mut().filter(|(_, dummy)| dummy.is_up);
        let Some((child, dummy)) = up.nth(which) else {
            return;
        };
        dummy.is_up = false;
        let turn = self.engine.turn(*child);
        let ending = match fails {
            true => Ending::Failed(Failure::new("fails")),
            false => Ending::Stopped,
        };
        self.engine.child_ended(*child, turn, ending, self.now);
    }

    fn be_late(&mut self, which: usize) {
        let Some(child) = self.children.keys().nth(which).copied() else {
            return;
        };
        let Some(past) = self.engine.turn(child).checked_sub(1) else {
            return;
        };
        self.engine.child_started(child, past, self.now);
        self.engine
            .child_ended(child, past, Ending::Stopped, self.now);
    }

    fn carry_out(&mut self) -> Checked {
        while let Some(action) = self.engine.next_action() {
            match action {
                Action::Start { child, .. } => {
                    self.check_start(child)?;
                    self.give(child, action);
                }
                Action::Stop { child, .. } => {
                    self.check_stop(child)?;
                    self.give(child, action);
                }
                Action::Halt { child, turn, .. } => self.fall(child, turn),
                Action::Remove { child } => {
                    let removed = self.children.remove(&child);
                    let is_known = removed.is_some();
                    prop_assert!(is_known, "{child:?} is removed twice");
                }
                Action::GiveUp { .. } => self.is_stopping = true,
                Action::Ready => self.is_ready = true,
                Action::Down => {
                    let up = self.children.values().filter(|dummy| dummy.is_up).count();
                    prop_assert_eq!(up, 0, "down with children up");
                    self.is_down = true;
                }
                Action::Announce { .. } | Action::Welcome { .. } => {}
            }
        }
        Ok(())
    }

    fn give(&mut self, child: ChildId, action: Action) {
        if let Some(dummy) = self.children.get_mut(&child) {
            dummy.order = Some(action);
        }
    }

    /// What is halted is down at once. Those that are not have a test of their own.
    fn fall(&mut self, child: ChildId, turn: u32) {
        if let Some(dummy) = self.children.get_mut(&child) {
            dummy.order = None;
            dummy.is_up = false;
            let stopped = Ending::Stopped;
            self.engine.child_ended(child, turn, stopped, self.now);
        }
    }

    fn check_start(&self, child: ChildId) -> Checked {
        prop_assert!(!self.is_stopping, "{child:?} is started while all stop");
        prop_assert!(!self.children[&child].is_up, "{child:?} is started twice");
        if self.strategy == Strategy::OneForOne && self.is_ready {
            return Ok(());
        }
        for (before, dummy) in self.children.range(..child) {
            prop_assert!(dummy.is_up, "{child:?} is started before {before:?}");
        }
        Ok(())
    }

    fn check_stop(&self, child: ChildId) -> Checked {
        if self.children[&child].is_guest && self.is_stopping {
            return Ok(());
        }
        for (after, dummy) in self.children.range(child..).skip(1) {
            prop_assert!(!dummy.is_up, "{child:?} is stopped before {after:?}");
        }
        Ok(())
    }

    /// From now on everybody does as told, and nothing fails.
    fn come_to_rest(&mut self) -> Checked {
        for _ in 0..1_000 {
            if self.children.values().any(|dummy| dummy.order.is_some()) {
                self.take(&Step::Obey {
                    which: 0,
                    fails: false,
                })?;
            } else if let Some(at) = self.engine.next_timer() {
                let wait = at.saturating_duration_since(self.now);
                let wait_ms = u64::try_from(wait.as_millis()).unwrap() + 1;
                self.take(&Step::Wait { wait_ms })?;
            } else {
                return Ok(());
            }
        }
        prop_assert!(false, "it never comes to rest");
        Ok(())
    }
}

proptest! {
    #[test]
    fn order_is_kept_and_all_come_up_or_go_down_in_the_end(
        strategy in prop_oneof![
            Just(Strategy::OneForOne), Just(Strategy::RestForOne), Just(Strategy::OneForAll),
        ],
        planned in prop::collection::vec(restarts(), 0..5),
        steps in steps(),
    ) {
        let mut life = Life::new(strategy, &planned);
        life.engine.settle(life.now);
        life.carry_out()?;
        for step in &steps {
            life.take(step)?;
        }
        life.come_to_rest()?;
        prop_assert_eq!(life.is_down, life.is_stopping);
        if !life.is_stopping {
            prop_assert!(life.is_ready);
            let down = life.children.iter().find(|(_, dummy)| !dummy.is_up);
            prop_assert!(down.is_none(), "{down:?} does not come up");
            life.take(&Step::StopAll)?;
            life.come_to_rest()?;
            prop_assert!(life.is_down);
        }
    }
}

#[test]
fn a_child_that_does_not_even_fall_is_given_up_with_its_supervisor() {
    let mut life = Life::new(Strategy::OneForAll, &[Restart::Permanent; 2]);
    life.engine.settle(life.now);
    for child in [ChildId(1), ChildId(2)] {
        life.engine.child_started(child, 1, life.now);
    }
    let failed = Ending::Failed(Failure::new("fails"));
    life.engine.child_ended(ChildId(1), 1, failed, life.now);
    let mut actions = Vec::new();
    for _ in 0..10 {
        actions.extend(std::iter::from_fn(|| life.engine.next_action()));
        life.now += ms(500);
        life.engine.tick(life.now);
    }
    let hung = actions.iter().find_map(|action| match action {
        Action::GiveUp { child, failure } => Some((*child, failure.cause())),
        _ => None,
    });
    assert_eq!(hung, Some((ChildId(2), Cause::Hung)));
    assert_eq!(actions.last(), Some(&Action::Down));
    let late_word = Ending::Stopped;
    life.engine.child_ended(ChildId(2), 1, late_word, life.now);
    assert_eq!(life.engine.next_action(), None);
}
