//! The children of a supervisor themselves: their places, their mailboxes, and how orders reach them. A roster outlives
//! the supervisor's incarnations, so that mailboxes do.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::child::Opener;
use super::context::Ctx;
use super::engine::Engine;
use super::failure::{Cause, Failure};
use super::policy::{Backoff, FailureWindow, Intensity, Strategy};
use super::record::{Branch, ChildId, Command, Member, Surroundings};
use super::slots::Terms;
use super::stage::Stage;
use super::supervisor::Supervisor;

/// See the module.
pub(super) struct Roster {
    strategy: Strategy,
    intensity: Intensity,
    backoff: Backoff,
    planned: Vec<(ChildId, Terms)>,
    /// Of those children whose shells may have to be opened, the first time or again.
    openers: BTreeMap<ChildId, Box<dyn Opener>>,
    branch: Arc<Branch>,
    home: Option<Home>,
    last_id: u64,
}

/// What all children have around them.
struct Home {
    surroundings: Arc<Surroundings>,
    stage: Stage,
}

impl Roster {
    pub(super) fn new(
        strategy: Strategy,
        intensity: Intensity,
        backoff: Backoff,
        children: Vec<(Terms, Box<dyn Opener>)>,
    ) -> Self {
        let mut roster = Self {
            strategy,
            intensity,
            backoff,
            planned: Vec::new(),
            openers: BTreeMap::new(),
            branch: Arc::default(),
            home: None,
            last_id: ChildId::ROOT.0,
        };
        for (terms, opener) in children {
            let child = roster.next_id();
            roster.planned.push((child, terms));
            roster.openers.insert(child, opener);
        }
        roster
    }

    pub(super) fn strategy(&self) -> Strategy {
        self.strategy
    }

    pub(super) fn intensity(&self) -> Intensity {
        self.intensity
    }

    /// An engine for a new incarnation of the supervisor.
    pub(super) fn engine(&self, now: Instant) -> Engine {
        let failures = FailureWindow::new(self.intensity, self.backoff, now);
        Engine::new(self.strategy, failures)
    }

    pub(super) fn member(&self, child: ChildId) -> Option<Arc<dyn Member>> {
        self.branch.lock().get(&child).cloned()
    }

    pub(super) fn path(&self, child: ChildId) -> String {
        self.member(child)
            .map_or_else(String::new, |member| member.record().path())
    }

    // ---- moving in

    /// Takes its supervisor's place in the tree.
    pub(super) fn settle(&mut self, ctx: &Ctx<'_, Supervisor>) -> Result<(), Failure> {
        if self.home.is_some() {
            return Ok(());
        }
        let Some(place) = ctx.record().adoption() else {
            return Err(Failure::new("the supervisor has no place in a tree"));
        };
        let prefix = match place.id {
            ChildId::ROOT => String::new(),
            _ => format!("{}/", ctx.path()),
        };
        let surroundings = Arc::new(Surroundings {
            prefix,
            house: Arc::clone(&place.surroundings.house),
            reports: ctx.me().mailbox(),
        });
        let stage = place.stage.clone();
        self.home = Some(Home {
            surroundings,
            stage,
        });
        ctx.record().grow_branch(Arc::clone(&self.branch));
        Ok(())
    }

    /// Gives the planned children their places, and puts them into the engine's hands.
    pub(super) fn enlist_planned(
        &mut self,
        engine: &mut Engine,
        now: Instant,
    ) -> Result<(), Failure> {
        for (child, terms) in self.planned.clone() {
            if self.member(child).is_none() && !self.admit(child) {
                return Err(Failure::new("two of its children have the same name"));
            }
            let Some(member) = self.member(child) else {
                continue;
            };
            let record = member.record();
            // Even if it seems to be down: it may be taking an order to start at this moment.
            let may_be_up = record.turn() > 0 && !record.has_ended();
            engine.add(child, terms, record.turn(), may_be_up, now);
        }
        Ok(())
    }

    /// Gives a child that was not planned its place. `None` when its name is taken.
    pub(super) fn enlist_guest(&mut self, opener: Box<dyn Opener>) -> Option<ChildId> {
        let child = self.next_id();
        self.openers.insert(child, opener);
        let has_place = self.admit(child);
        if !has_place {
            self.openers.remove(&child);
        }
        has_place.then_some(child)
    }

    fn next_id(&mut self) -> ChildId {
        self.last_id += 1;
        ChildId(self.last_id)
    }

    /// Gives a child its place, or a new mailbox in it. False when its name is taken.
    fn admit(&mut self, child: ChildId) -> bool {
        let (Some(home), Some(opener)) = (&self.home, self.openers.get_mut(&child)) else {
            return false;
        };
        let Some(member) = opener.admit(child, &home.surroundings, &home.stage) else {
            return false;
        };
        let mut branch = self.branch.lock();
        if let Some(past) = branch.get(&child) {
            member.record().inherit(past.record());
        }
        branch.insert(child, member);
        true
    }

    // ---- orders

    /// Orders a child to start, over a new mailbox if need be.
    pub(super) fn start(&mut self, child: ChildId, turn: u32) -> Result<(), Failure> {
        let has_ended = self
            .member(child)
            .is_none_or(|member| member.record().has_ended());
        if has_ended && !self.admit(child) {
            return Err(Failure::of(Cause::Refused, "its name is taken"));
        }
        // The order waits in the record for a shell that is about to be opened.
        self.order(child, Command::Start, turn);
        let is_planned = self.is_planned(child);
        let Some(opener) = self.openers.get_mut(&child) else {
            return Ok(());
        };
        opener.launch()?;
        if !is_planned && !opener.may_lose_mailbox() {
            // Nothing will ever open it again.
            self.openers.remove(&child);
        }
        Ok(())
    }

    pub(super) fn order(&self, child: ChildId, command: Command, turn: u32) {
        if let Some(member) = self.member(child) {
            member.record().order(command, turn);
        }
    }

    /// Ends a child for good.
    pub(super) fn remove(&mut self, child: ChildId) {
        let Some(member) = self.branch.lock().remove(&child) else {
            return;
        };
        if let Some(home) = &self.home {
            // Another may have the name from now on, not only when the shell is gone.
            home.surroundings.house.leave(&member);
        }
        member.record().order(Command::End, member.record().turn());
        if !self.is_planned(child) {
            self.openers.remove(&child);
        }
    }

    /// Whatever still runs is nobody's any more.
    pub(super) fn halt_all(&mut self) {
        let members = self.branch.lock().clone();
        for (child, member) in members {
            if self.is_planned(child) {
                let turn = member.record().turn();
                member.record().order(Command::Halt, turn);
            } else {
                self.remove(child);
            }
        }
    }

    fn is_planned(&self, child: ChildId) -> bool {
        self.planned.last().is_some_and(|(last, _)| child <= *last)
    }
}

impl Drop for Roster {
    fn drop(&mut self) {
        // The records of the children lead back to this branch.
        let members = std::mem::take(&mut *self.branch.lock());
        for member in members.into_values() {
            member.record().order(Command::End, member.record().turn());
        }
    }
}
