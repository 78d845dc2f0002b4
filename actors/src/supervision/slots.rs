//! The children as the engine sees them, with what it needs to find some of them quickly among very many.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::policy::Restart;
use super::record::ChildId;

/// What a supervisor promised about a child.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) restart: Restart,
    /// Time it has to stop when asked. In milliseconds, since there may be very many of these.
    pub(super) stop_within_ms: u32,
    /// A supervisor gets [`SUPERVISOR_GRACE`] on top.
    pub(super) is_supervisor: bool,
    /// Added while the supervisor ran: it has no order among its like, and a first start that fails is final.
    pub(super) is_guest: bool,
}

/// What a supervisor gets on top of its deadline, to bring down what is late below it and to say so.
pub(super) const SUPERVISOR_GRACE: Duration = Duration::from_secs(5);

impl Terms {
    pub(super) fn stop_within(self) -> Duration {
        Duration::from_millis(self.stop_within_ms.into())
    }

    pub(super) fn grace(self) -> Duration {
        match self.is_supervisor {
            true => SUPERVISOR_GRACE,
            false => Duration::ZERO,
        }
    }
}

/// What a child is doing, as far as the engine was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Vacant { not_before: Option<Instant> },
    Starting,
    Running,
    Stopping { until: Instant, is_halted: bool },
}

impl Phase {
    fn timer(self) -> Option<Instant> {
        match self {
            Self::Vacant { not_before } => not_before,
            Self::Stopping { until, .. } => Some(until),
            Self::Starting | Self::Running => None,
        }
    }

    fn is_moving(self) -> bool {
        matches!(self, Self::Starting | Self::Stopping { .. })
    }

    pub(super) fn is_vacant(self) -> bool {
        matches!(self, Self::Vacant { .. })
    }
}

/// One child.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) terms: Terms,
    pub(super) phase: Phase,
    /// Counts its starts. What answers an earlier one is stale.
    pub(super) turn: u32,
    /// It ran at least once since it was added.
    pub(super) is_welcome: bool,
}

impl Slot {
    pub(super) fn is_new_guest(&self) -> bool {
        self.terms.is_guest && !self.is_welcome
    }
}

/// All children, in the order of their starts.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: BTreeMap<ChildId, Slot>,
    /// One for each child that waits: for the end of its back-off, or of its time to stop.
    timers: BTreeSet<(Instant, ChildId)>,
    /// Children that are starting or stopping.
    moving: usize,
}

impl Slots {
    pub(super) fn add(&mut self, child: ChildId, terms: Terms, turn: u32) {
        let slot = Slot {
            terms,
            phase: Phase::Vacant { not_before: None },
            turn,
            is_welcome: false,
        };
        self.slots.insert(child, slot);
    }

    pub(super) fn remove(&mut self, child: ChildId) {
        self.enter(child, Phase::Vacant { not_before: None });
        self.slots.remove(&child);
    }

    /// The one place that changes a phase.
    pub(super) fn enter(&mut self, child: ChildId, phase: Phase) {
        let Some(slot) = self.slots.get_mut(&child) else {
            return;
        };
        let before = std::mem::replace(&mut slot.phase, phase);
        if let Some(at) = before.timer() {
            self.timers.remove(&(at, child));
        }
        if let Some(at) = phase.timer() {
            self.timers.insert((at, child));
        }
        self.moving -= usize::from(before.is_moving());
        self.moving += usize::from(phase.is_moving());
    }

    /// Begins a new turn of a child.
    pub(super) fn next_turn(&mut self, child: ChildId) -> u32 {
        self.slots.get_mut(&child).map_or(0, |slot| {
            slot.turn += 1;
            slot.turn
        })
    }

    pub(super) fn welcome(&mut self, child: ChildId) {
        if let Some(slot) = self.slots.get_mut(&child) {
            slot.is_welcome = true;
        }
    }

    pub(super) fn get(&self, child: ChildId) -> Option<Slot> {
        self.slots.get(&child).copied()
    }

    pub(super) fn phase(&self, child: ChildId) -> Option<Phase> {
        self.slots.get(&child).map(|slot| slot.phase)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ChildId> {
        self.slots.keys().copied()
    }

    /// Guests come after all that was planned.
    pub(super) fn guests_last_first(&self) -> Vec<ChildId> {
        let from_the_last = self.slots.iter().rev();
        from_the_last
            .take_while(|(_, slot)| slot.terms.is_guest)
            .map(|(child, _)| *child)
            .collect()
    }

    /// The last child that is not down, a guest being up as long as it is there.
    pub(super) fn last_up(&self) -> Option<(ChildId, Phase)> {
        let mut from_the_last = self.slots.iter().rev();
        from_the_last
            .find(|(_, slot)| slot.terms.is_guest || !slot.phase.is_vacant())
            .map(|(child, slot)| (*child, slot.phase))
    }

    /// Whether any child is starting or stopping.
    pub(super) fn is_any_moving(&self) -> bool {
        self.moving > 0
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes a timer that is due.
    pub(super) fn take_timer(&mut self, now: Instant) -> Option<ChildId> {
        let (at, child) = *self.timers.first()?;
        if at > now {
            return None;
        }
        self.timers.pop_first();
        Some(child)
    }

    /// Those whose timers are later than `at`.
    pub(super) fn timed_after(&self, at: Instant) -> Vec<ChildId> {
        let later = self.timers.range((at, ChildId(u64::MAX))..);
        later.map(|(_, child)| *child).collect()
    }
}
