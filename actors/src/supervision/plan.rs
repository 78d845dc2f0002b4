//! What a supervisor is told: its children, in order, and how to treat them.

use std::cell::RefCell;
use std::rc::Rc;

use super::actor::Cast;
use super::child::{Child, Opener, There};
use super::failure::Failure;
use super::policy::{Backoff, Intensity, Restart, Strategy};
use super::roster::Roster;
use super::shell::Factory;
use super::slots::Terms;
use super::stage::Stage;
use super::supervisor::Supervisor;

/// The children of a supervisor, in the order of their starts, and how it treats them.
pub struct Plan {
    strategy: Strategy,
    intensity: Intensity,
    backoff: Backoff,
    children: Vec<(Terms, Box<dyn Opener>)>,
}

impl Plan {
    /// No children yet.
    pub fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            intensity: Intensity::default(),
            backoff: Backoff::default(),
            children: Vec::new(),
        }
    }

    /// How many failures are borne.
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.intensity = intensity;
        self
    }

    /// How long a failed child stays down.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Adds a child that runs on the supervisor's arbiter. Neither its factory nor its actor needs to be `Send`.
    pub fn child<A, F>(mut self, child: Child<A, F>) -> Self
    where
        A: Cast,
        F: FnMut() -> Result<A, Failure> + 'static,
    {
        self.children.push(child.settle());
        self
    }

    /// Adds a child that runs elsewhere: its factory is sent there, its actor never moves.
    pub fn child_on<A, F>(mut self, stage: &Stage, child: Child<A, F>) -> Self
    where
        A: Cast,
        F: FnMut() -> Result<A, Failure> + Send + 'static,
    {
        self.children.push(child.settle_on(stage));
        self
    }

    /// Adds a supervisor that runs elsewhere, and with it those of its children that are not put on yet another stage.
    /// Its plan is made over there, once for each arbiter that it lives on.
    pub fn supervisor_on(
        mut self,
        stage: &Stage,
        name: impl Into<Box<str>>,
        plan: impl Fn() -> Plan + Send + Sync + 'static,
    ) -> Self {
        let make = move || -> Factory<Supervisor> { Rc::new(RefCell::new(factory(plan()))) };
        let opener = There::new(name.into(), stage, make);
        let terms = Terms {
            restart: Restart::Permanent,
            stop_within_ms: u32::MAX,
            is_supervisor: true,
            is_guest: false,
        };
        self.children.push((terms, Box::new(opener)));
        self
    }
}

/// Makes a supervisor again and again from one plan.
pub type SupervisorFactory = Box<dyn FnMut() -> Result<Supervisor, Failure>>;

impl Child<Supervisor, ()> {
    /// A supervisor as a child.
    ///
    /// When it is restarted its planned children keep their mailboxes, like it; those added later are gone.
    pub fn supervisor(
        name: impl Into<Box<str>>,
        plan: Plan,
    ) -> Child<Supervisor, SupervisorFactory> {
        let factory: SupervisorFactory = Box::new(factory(plan));
        Child::new(name, factory).for_supervisor()
    }
}

fn factory(plan: Plan) -> impl FnMut() -> Result<Supervisor, Failure> {
    let Plan {
        strategy,
        intensity,
        backoff,
        children,
    } = plan;
    let roster = Roster::new(strategy, intensity, backoff, children);
    let roster = Rc::new(RefCell::new(roster));
    move || Ok(Supervisor::new(Rc::clone(&roster)))
}
