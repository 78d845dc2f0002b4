//! The actor that keeps others alive. What it decides is in [`engine`](super::engine); here it is carried out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Serialize;
use thiserror::Error;
use tokio::time::Instant;

use super::actor::{Cast, Receive};
use super::child::{Child, Visit};
use super::context::{Ctx, Hold, Task};
use super::engine::{Action, Ending, Engine};
use super::failure::{Cause, Failure};
use super::policy::{Intensity, Strategy};
use super::record::{ChildId, Command, Event, Report};
use super::reference::ActorRef;
use super::reply::Reply;
use super::roster::Roster;
use super::seat::lost;
use super::slots::Terms;
use super::stage::Stage;

/// Why a child could not be added to a running supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StartError {
    /// The supervisor has a child of that name.
    #[error("{path} is taken: end the actor that has the name, or choose another")]
    NameTaken {
        /// Path of the child that is there already.
        path: String,
    },
    /// Its factory or its start failed. It is not in the tree.
    #[error("{path} did not start: {failure}")]
    Refused {
        /// Path the child would have had.
        path: String,
        /// What went wrong.
        failure: Failure,
    },
    /// The supervisor is stopping, or gone.
    #[error("{path} takes no children, because it is stopping or gone")]
    Stopping {
        /// Path of the supervisor.
        path: String,
    },
}

impl ActorRef<Supervisor> {
    /// Adds a child behind all others, on the supervisor's arbiter. The request is sent at once, whether or not the
    /// returned future is awaited: it tells how the first start ended. A first start that fails is final, and does not
    /// count against the supervisor.
    pub fn start<A, F>(
        &self,
        child: Child<A, F>,
    ) -> impl Future<Output = Result<ActorRef<A>, StartError>> + Send + use<A, F>
    where
        A: Cast,
        F: FnMut() -> Result<A, Failure> + Send + 'static,
    {
        let actor = child.actor_ref();
        self.invite(actor, child.visit())
    }

    /// The same, on another stage.
    pub fn start_on<A, F>(
        &self,
        stage: &Stage,
        child: Child<A, F>,
    ) -> impl Future<Output = Result<ActorRef<A>, StartError>> + Send + use<A, F>
    where
        A: Cast,
        F: FnMut() -> Result<A, Failure> + Send + 'static,
    {
        let actor = child.actor_ref();
        self.invite(actor, child.visit_on(stage))
    }

    fn invite<A: Cast>(
        &self,
        actor: ActorRef<A>,
        (terms, visit): (Terms, Visit),
    ) -> impl Future<Output = Result<ActorRef<A>, StartError>> + Send + use<A> {
        let (reply, outcome) = Reply::to_future();
        self.tell(Guest {
            terms,
            visit,
            reply,
        });
        let supervisor = self.clone();
        async move {
            let refusal = match outcome.await {
                Ok(Ok(())) => return Ok(actor),
                Ok(Err(refusal)) => refusal,
                Err(_) => Refusal::Stopping,
            };
            let path = actor.path();
            Err(match refusal {
                Refusal::NameTaken => StartError::NameTaken { path },
                Refusal::Failed(failure) => StartError::Refused { path, failure },
                Refusal::Stopping => StartError::Stopping {
                    path: supervisor.path(),
                },
            })
        }
    }
}

/// A child that asks to be added.
pub(super) struct Guest {
    terms: Terms,
    visit: Visit,
    reply: Reply<Result<(), Refusal>>,
}

enum Refusal {
    NameTaken,
    Failed(Failure),
    Stopping,
}

/// What the live tree shows of a supervisor.
#[derive(Debug, Clone, Serialize)]
pub struct SupervisorState {
    /// Whom it restarts along.
    pub strategy: Strategy,
    /// Children it has.
    pub children: usize,
    /// Failures that still count against its intensity.
    pub recent_failures: usize,
}

/// An actor that starts others in order, restarts those that fail, and fails itself when they fail too often.
pub struct Supervisor {
    roster: Rc<RefCell<Roster>>,
    engine: Engine,
    /// Kept while it starts, or stops.
    hold: Option<Hold>,
    alarm: Option<(Instant, Task)>,
    /// Who waits for the first start of a guest.
    guests: BTreeMap<ChildId, Reply<Result<(), Refusal>>>,
    escalation: Option<Failure>,
    late: Vec<String>,
}

impl Supervisor {
    pub(super) fn new(roster: Rc<RefCell<Roster>>) -> Self {
        let engine = roster.borrow().engine(Instant::now());
        Self {
            roster,
            engine,
            hold: None,
            alarm: None,
            guests: BTreeMap::new(),
            escalation: None,
            late: Vec::new(),
        }
    }

    fn carry_out(&mut self, ctx: &mut Ctx<'_, Self>) {
        while let Some(action) = self.engine.next_action() {
            self.act(action, ctx);
        }
        self.set_alarm(ctx);
    }

    fn act(&mut self, action: Action, ctx: &mut Ctx<'_, Self>) {
        let mut roster = self.roster.borrow_mut();
        match action {
            Action::Start { child, turn } => {
                let started = roster.start(child, turn);
                drop(roster);
                if let Err(failure) = started {
                    self.start_failed(child, turn, failure);
                }
            }
            Action::Stop {
                child,
                turn,
                deadline,
            } => roster.order(child, Command::Stop { deadline }, turn),
            Action::Halt {
                child,
                turn,
                is_late,
            } => {
                roster.order(child, Command::Halt, turn);
                if is_late {
                    let path = roster.path(child);
                    tracing::warn!(path, "dropped, since it did not stop in time");
                    self.late.push(path);
                }
            }
            Action::Remove { child } => {
                roster.remove(child);
                if let Some(reply) = self.guests.remove(&child) {
                    reply.send(Err(Refusal::Stopping));
                }
            }
            Action::Announce { child, wait } => {
                tracing::warn!(
                    path = roster.path(child),
                    wait_ms = wait.as_millis(),
                    "restarting"
                );
            }
            Action::Welcome { child, outcome } => {
                if let Some(reply) = self.guests.remove(&child) {
                    reply.send(outcome.map_err(Refusal::Failed));
                }
            }
            Action::GiveUp { child, failure } => {
                let reason = too_much(roster.intensity(), &roster.path(child), &failure);
                self.escalation = Some(Failure::of(Cause::Escalated, reason));
            }
            Action::Ready => self.hold = None,
            Action::Down => match self.escalation.take() {
                Some(failure) => ctx.fail(failure),
                None => {
                    ctx.add_late(self.late.drain(..));
                    self.hold = None;
                }
            },
        }
    }

    /// A child did not get as far as a shell that would report.
    fn start_failed(&mut self, child: ChildId, turn: u32, failure: Failure) {
        self.note_failure(child, &failure);
        let now = Instant::now();
        self.engine
            .child_ended(child, turn, Ending::Failed(failure), now);
    }

    fn note_failure(&self, child: ChildId, failure: &Failure) {
        if let Some(member) = self.roster.borrow().member(child) {
            let record = member.record();
            tracing::error!(path = record.path(), reason = %failure, "actor failed");
            record.note_failure(failure.clone());
        }
    }

    fn set_alarm(&mut self, ctx: &mut Ctx<'_, Self>) {
        let due = self.engine.next_timer();
        if self.alarm.as_ref().map(|(at, _)| *at) == due {
            return;
        }
        if let Some((_, task)) = self.alarm.take() {
            task.cancel();
        }
        self.alarm = due.map(|at| {
            let delay = at.saturating_duration_since(Instant::now());
            let task = ctx.after(delay, |supervisor: &mut Self, ctx| {
                supervisor.alarm = None;
                supervisor.engine.tick(Instant::now());
                supervisor.carry_out(ctx);
            });
            (at, task)
        });
    }
}

fn too_much(intensity: Intensity, path: &str, failure: &Failure) -> String {
    let Intensity {
        max_failures,
        within,
    } = intensity;
    match failure.cause() {
        Cause::Hung => format!("{path}: {failure}"),
        _ => format!(
            "more than {max_failures} failures in {within:?}, the last of {path}: {failure}"
        ),
    }
}

impl Cast for Supervisor {
    type State = SupervisorState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        self.hold = Some(ctx.hold());
        let now = Instant::now();
        let mut roster = self.roster.borrow_mut();
        roster.settle(ctx)?;
        roster.enlist_planned(&mut self.engine, now)?;
        drop(roster);
        self.engine.settle(now);
        self.carry_out(ctx);
        Ok(())
    }

    fn stopping(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.hold = Some(ctx.hold());
        // Only what is late from here on is late for those who ask.
        self.late.clear();
        self.engine.stop(ctx.stop_deadline(), Instant::now());
        self.carry_out(ctx);
    }

    fn observe(&self) -> SupervisorState {
        SupervisorState {
            strategy: self.roster.borrow().strategy(),
            children: self.engine.children(),
            recent_failures: self.engine.recent_failures(),
        }
    }
}

impl Receive<Report> for Supervisor {
    fn receive(&mut self, report: Report, ctx: &mut Ctx<'_, Self>) {
        let Report { child, turn, event } = report;
        let now = Instant::now();
        let ending = match event {
            Event::Started => {
                self.engine.child_started(child, turn, now);
                return self.carry_out(ctx);
            }
            Event::Failed(failure) => Ending::Failed(failure),
            Event::Stopped { late } => {
                self.late.extend(late);
                Ending::Stopped
            }
            Event::Lost => {
                let member = self.roster.borrow().member(child);
                let Some(member) = member.filter(|member| member.record().turn() == turn) else {
                    return;
                };
                let failure = lost(member.record());
                self.note_failure(child, &failure);
                Ending::Failed(failure)
            }
        };
        self.engine.child_ended(child, turn, ending, now);
        self.carry_out(ctx);
    }
}

impl Receive<Guest> for Supervisor {
    fn receive(&mut self, guest: Guest, ctx: &mut Ctx<'_, Self>) {
        if self.engine.is_stopping() {
            return guest.reply.send(Err(Refusal::Stopping));
        }
        let opener = (guest.visit)();
        let Some(child) = self.roster.borrow_mut().enlist_guest(opener) else {
            return guest.reply.send(Err(Refusal::NameTaken));
        };
        self.guests.insert(child, guest.reply);
        let now = Instant::now();
        self.engine.add(child, guest.terms, 0, false, now);
        self.engine.settle(now);
        self.carry_out(ctx);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // After a stop in good order there is nothing left to do here.
        self.roster.borrow_mut().halt_all();
    }
}
