//! What a supervisor is told of a child: a name, a factory, and terms.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::actor::Cast;
use super::failure::{Cause, Failure};
use super::policy::Restart;
use super::record::{Adoption, ChildId, Member, Surroundings};
use super::reference::ActorRef;
use super::seat::{Seat, lost};
use super::shell::Factory;
use super::slots::Terms;
use super::stage::Stage;

/// Time a child has to stop unless told otherwise.
pub const DEFAULT_STOP_WITHIN: Duration = Duration::from_secs(5);

/// A child to be: a mailbox, and a factory for the actors that will serve it one after the other.
///
/// The mailbox exists already: [`Child::actor_ref`] can be given to others, and used, before the child is started. So
/// children may know each other, however they are ordered.
///
/// A child is permanent unless told otherwise.
pub struct Child<A: Cast, F> {
    name: Box<str>,
    seat: Seat<A>,
    factory: F,
    restart: Restart,
    stop_within: Duration,
    is_supervisor: bool,
}

impl<A, F> Child<A, F>
where
    A: Cast,
    F: FnMut() -> Result<A, Failure> + 'static,
{
    /// A child whose actors come from `factory`, called once for each start. The actor before is dropped by then, with
    /// whatever it held. `name` is unique among siblings; it may contain slashes.
    pub fn new(name: impl Into<Box<str>>, factory: F) -> Self {
        let name = name.into();
        Self {
            seat: Seat::new(name.clone()),
            name,
            factory,
            restart: Restart::Permanent,
            stop_within: DEFAULT_STOP_WITHIN,
            is_supervisor: false,
        }
    }

    /// Restart it only after failures. When it finishes, it leaves the tree.
    pub fn transient(self) -> Self {
        self.restart(Restart::Transient)
    }

    /// Never restart it. However it ends, it leaves the tree.
    pub fn temporary(self) -> Self {
        self.restart(Restart::Temporary)
    }

    /// When to restart it.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Time it has to stop when asked, 49 days at most; what it keeps up after that is dropped.
    pub fn stop_within(mut self, time: Duration) -> Self {
        self.stop_within = time;
        self
    }

    /// The reference to its mailbox.
    pub fn actor_ref(&self) -> ActorRef<A> {
        self.seat.actor().clone()
    }

    /// It has no limit of its own: those of its children are what counts.
    pub(super) fn for_supervisor(mut self) -> Self {
        self.is_supervisor = true;
        self.stop_within(Duration::MAX)
    }

    fn terms(&self, is_guest: bool) -> Terms {
        Terms {
            restart: self.restart,
            stop_within_ms: u32::try_from(self.stop_within.as_millis()).unwrap_or(u32::MAX),
            is_supervisor: self.is_supervisor,
            is_guest,
        }
    }

    /// To be run on the supervisor's arbiter, from the first on.
    pub(super) fn settle(self) -> (Terms, Box<dyn Opener>) {
        (self.terms(false), Box::new(self.into_here()))
    }

    /// To be run on a stage of its own, from the first on.
    pub(super) fn settle_on(self, stage: &Stage) -> (Terms, Box<dyn Opener>)
    where
        F: Send,
    {
        (self.terms(false), Box::new(self.into_there(stage)))
    }

    /// To be added to a running supervisor, perhaps from another thread.
    pub(super) fn visit(self) -> (Terms, Visit)
    where
        F: Send,
    {
        let terms = self.terms(true);
        (terms, Box::new(move || Box::new(self.into_here())))
    }

    pub(super) fn visit_on(self, stage: &Stage) -> (Terms, Visit)
    where
        F: Send,
    {
        let (terms, stage) = (self.terms(true), stage.clone());
        (terms, Box::new(move || Box::new(self.into_there(&stage))))
    }

    fn into_here(self) -> Here<A> {
        Here {
            name: self.name,
            seat: Some(self.seat),
            factory: Rc::new(RefCell::new(self.factory)),
        }
    }

    fn into_there(self, stage: &Stage) -> There<A>
    where
        F: Send,
    {
        let factory = Arc::new(Mutex::new(self.factory));
        let make = move || -> Factory<A> {
            let factory = Arc::clone(&factory);
            Rc::new(RefCell::new(move || match factory.try_lock() {
                Some(mut factory) => factory(),
                None => Err(Failure::of(
                    Cause::Hung,
                    "its factory is stuck on the arbiter it was on before",
                )),
            }))
        };
        There {
            name: self.name,
            seat: Some(self.seat),
            stage: stage.clone(),
            make: Arc::new(make),
        }
    }
}

/// Makes an actor the first time, and fails after that.
pub type OnceFactory<A> = Box<dyn FnMut() -> Result<A, Failure> + Send>;

impl<A: Cast> Child<A, ()> {
    /// A temporary child made from things that can be used only once, such as an accepted socket.
    pub fn once(
        name: impl Into<Box<str>>,
        factory: impl FnOnce() -> Result<A, Failure> + Send + 'static,
    ) -> Child<A, OnceFactory<A>> {
        let mut factory = Some(factory);
        let take: OnceFactory<A> = Box::new(move || match factory.take() {
            Some(factory) => factory(),
            None => Err(Failure::new("it can be started only once")),
        });
        Child::new(name, take).temporary()
    }
}

/// Brings a child to its supervisor's thread.
pub(super) type Visit = Box<dyn FnOnce() -> Box<dyn Opener> + Send>;

/// Opens shells for a child, its actor's type being known to nobody else.
pub(super) trait Opener {
    /// Gives the child its place and its name, with a new mailbox if the last is closed. `None` when the name is taken.
    fn admit(
        &mut self,
        id: ChildId,
        surroundings: &Arc<Surroundings>,
        supervisors_stage: &Stage,
    ) -> Option<Arc<dyn Member>>;

    /// Opens a shell on the mailbox, unless it has one.
    fn launch(&mut self) -> Result<(), Failure>;

    /// Whether the mailbox can be lost while the supervisor lives.
    fn may_lose_mailbox(&self) -> bool;
}

struct Here<A: Cast> {
    name: Box<str>,
    seat: Option<Seat<A>>,
    factory: Factory<A>,
}

impl<A: Cast> Opener for Here<A> {
    fn admit(
        &mut self,
        id: ChildId,
        surroundings: &Arc<Surroundings>,
        supervisors_stage: &Stage,
    ) -> Option<Arc<dyn Member>> {
        admit(
            &mut self.seat,
            &self.name,
            id,
            surroundings,
            supervisors_stage,
        )
    }

    fn launch(&mut self) -> Result<(), Failure> {
        if let Some(seat) = self.seat.take() {
            seat.open(Rc::clone(&self.factory));
        }
        Ok(())
    }

    fn may_lose_mailbox(&self) -> bool {
        false
    }
}

/// A child on a stage that may be another thread's. Its factory is made over there.
pub(super) struct There<A: Cast> {
    name: Box<str>,
    seat: Option<Seat<A>>,
    stage: Stage,
    make: Arc<dyn Fn() -> Factory<A> + Send + Sync>,
}

impl<A: Cast> There<A> {
    pub(super) fn new(
        name: Box<str>,
        stage: &Stage,
        make: impl Fn() -> Factory<A> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            seat: None,
            stage: stage.clone(),
            make: Arc::new(make),
        }
    }
}

impl<A: Cast> Opener for There<A> {
    fn admit(
        &mut self,
        id: ChildId,
        surroundings: &Arc<Surroundings>,
        _: &Stage,
    ) -> Option<Arc<dyn Member>> {
        surroundings.house.add_stage(&self.stage);
        admit(&mut self.seat, &self.name, id, surroundings, &self.stage)
    }

    fn launch(&mut self) -> Result<(), Failure> {
        let Some(seat) = self.seat.take() else {
            return Ok(());
        };
        let make = Arc::clone(&self.make);
        let actor = seat.actor().clone();
        if self.stage.run(move || seat.open(make()))? {
            Ok(())
        } else {
            Err(lost(actor.record()))
        }
    }

    fn may_lose_mailbox(&self) -> bool {
        true
    }
}

fn admit<A: Cast>(
    seat: &mut Option<Seat<A>>,
    name: &str,
    id: ChildId,
    surroundings: &Arc<Surroundings>,
    stage: &Stage,
) -> Option<Arc<dyn Member>> {
    let actor = seat.get_or_insert_with(|| Seat::new(name.into())).actor();
    let member = actor.member();
    let adoption = Adoption {
        id,
        surroundings: Arc::clone(surroundings),
        stage: stage.clone(),
    };
    let is_new = member.record().adopt(adoption);
    let has_name = is_new && surroundings.house.enter(Arc::clone(&member));
    if !has_name {
        *seat = None;
    }
    has_name.then_some(member)
}
