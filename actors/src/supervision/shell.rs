//! The actix actor around ours: how it is built, served, stopped, and cleared away. [`seat`](super::seat) has the task
//! around that.
//!
//! What actix does that the two exist for:
//!
//! - A panic closes the mailbox for good. But actor and mailbox are one future, which a future of ours can poll inside
//!   `catch_unwind`; left unpolled it keeps the mailbox, and `restart()` makes it usable again.
//! - `actix::Supervisor` restarts with the old value. Here `restart()` drops it, and the next poll calls `started`, which
//!   builds a new one.
//! - A dropped actor future is polled once more and, if it never ran, started: `phase` tells such calls apart.
//! - An actor that nobody has an address of ends. Ours holds its own.
//! - A mailbox is served until it is empty, whoever else waits. Ours pauses every [`TURN_LIMIT`] messages.
//! - The default mailbox holds 16 messages, and slows asks down badly. Ours are made without a limit.
//! - Dropping the future of a `send` cancels the message. Ours are never sent that way.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Weak;
use std::task::{Context, Poll};

use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, ActorState, AsyncContext, Handler, Message, Running, Supervised};
use tokio::time::Instant;

use super::actor::{Answer, Cast, Receive};
use super::context::{Backstage, Ctx, TURN_LIMIT};
use super::failure::{Failure, guard};
use super::record::{Command, Event, Record, Status};
use super::reference::ActorRef;
use super::reply::Reply;

/// A message in a mailbox.
pub(super) struct Told<M>(pub(super) M);

impl<M> Message for Told<M> {
    type Result = ();
}

/// A question in a mailbox.
pub(super) struct Asked<Q, R> {
    pub(super) question: Q,
    pub(super) reply: Reply<R>,
}

impl<Q, R> Message for Asked<Q, R> {
    type Result = ();
}

/// Builds an actor, where it runs. Shared with whoever may have to open another shell for it.
pub(super) type Factory<A> = Rc<RefCell<dyn FnMut() -> Result<A, Failure>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Phase {
    /// There is no actor. Messages queue.
    #[default]
    Vacant,
    Starting,
    Running,
    Stopping,
}

/// What the shell and the task around it both see.
#[derive(Default)]
pub(super) struct Inside {
    pub(super) phase: Cell<Phase>,
    /// The turn of the order that is being carried out.
    pub(super) turn: Cell<u32>,
    /// Why the incarnation ends, once it does.
    pub(super) exit: Cell<Option<Event>>,
    pub(super) deadline: Cell<Option<Instant>>,
    pub(super) late: RefCell<Vec<String>>,
}

/// The actix actor: perhaps an actor of ours, and what belongs to it.
pub(super) struct Shell<A: Cast> {
    value: Option<A>,
    backstage: Backstage<A>,
    factory: Factory<A>,
    handled: u64,
    /// Messages it may handle before others get their turn.
    budget: u32,
}

// Nothing here is ever pinned in place.
impl<A: Cast> Unpin for Shell<A> {}

impl<A: Cast> Shell<A> {
    pub(super) fn new(actor: ActorRef<A>, inside: Rc<Inside>, factory: Factory<A>) -> Self {
        Self {
            value: None,
            backstage: Backstage::new(actor, inside),
            factory,
            handled: 0,
            budget: TURN_LIMIT,
        }
    }

    fn record(&self) -> &Record {
        self.backstage.me.record()
    }

    fn enter(&self, phase: Phase, status: Status) {
        self.backstage.inside.phase.set(phase);
        self.record().set_status(status);
    }

    /// Accounts for a message, and gives the actor to handle it with.
    fn take_turn<'a>(
        &'a mut self,
        actix: &'a mut actix::Context<Self>,
    ) -> Option<(&'a mut A, Ctx<'a, A>)> {
        self.handled += 1;
        self.backstage.me.record().set_handled(self.handled);
        self.budget = self.budget.saturating_sub(1);
        if self.budget == 0 {
            // The mailbox is not served while a future is waited for.
            actix.wait(Pause { is_over: false });
        }
        #[cfg(any(test, feature = "chaos"))]
        self.backstage.me.record().poison().strike_with_message();
        let actor = self.value.as_mut()?;
        Some((actor, Ctx::new(actix, &mut self.backstage)))
    }

    fn build(&mut self, actix: &mut actix::Context<Self>) -> Result<(), Failure> {
        let built = match self.factory.try_borrow_mut() {
            Ok(mut factory) => factory(),
            Err(_) => Err(Failure::new("its factory is still busy")),
        };
        let actor = self.value.insert(built?);
        actor.started(&mut Ctx::new(actix, &mut self.backstage))
    }

    /// All that the actor does besides messages. Runs after each round of them.
    fn work(&mut self, actix: &mut actix::Context<Self>, cx: &mut Context<'_>) {
        self.budget = TURN_LIMIT;
        let is_stop = |command| matches!(command, Command::Stop { .. });
        if let Some(order) = self.record().take_order(is_stop) {
            self.backstage.inside.turn.set(order.turn);
            if let Command::Stop { deadline } = order.command {
                self.backstage.inside.deadline.set(Some(deadline));
            }
            return actix.stop();
        }
        let Some(actor) = self.value.as_mut() else {
            return;
        };
        #[cfg(any(test, feature = "chaos"))]
        self.backstage.me.record().poison().strike_without(cx);
        for observer in self.backstage.me.record().take_observers() {
            // An observer that has left is fine, and so is a state without a JSON form: it shows as none.
            let _ = observer.send(serde_json::to_value(actor.observe()).ok());
        }
        self.backstage.work(actor, actix, cx);
        if actix.state().alive() {
            self.settle(actix);
        }
    }

    /// Ends a start or a stop that nothing holds up any more.
    fn settle(&mut self, actix: &mut actix::Context<Self>) {
        if self.backstage.is_held() {
            return;
        }
        match self.backstage.inside.phase.get() {
            Phase::Starting => {
                self.enter(Phase::Running, Status::Running);
                let turn = self.backstage.inside.turn.get();
                self.record().report(turn, Event::Started);
            }
            Phase::Stopping => {
                self.set_stopped();
                actix.terminate();
            }
            Phase::Vacant | Phase::Running => {}
        }
    }

    fn set_stopped(&self) {
        let inside = &self.backstage.inside;
        let late = inside.late.take();
        let exit = inside.exit.take().unwrap_or(Event::Stopped { late });
        inside.exit.set(Some(exit));
    }

    /// Drops the actor and all that belongs to it. Each part by itself, so that one that panics does not keep the others.
    fn clear(&mut self) {
        let path = self.backstage.me.path();
        let logged = |part: Result<(), Failure>| {
            if let Err(failure) = part {
                tracing::error!(%path, reason = %failure, "panic while an actor was dropped");
            }
        };
        logged(guard(|| self.backstage.drop_tasks()));
        logged(guard(|| self.backstage.drop_hooks()));
        logged(guard(|| drop(self.value.take())));
        self.backstage.hold = Weak::new();
        self.budget = TURN_LIMIT;
    }
}

impl<A: Cast> Actor for Shell<A> {
    type Context = actix::Context<Self>;

    fn started(&mut self, actix: &mut Self::Context) {
        if self.backstage.inside.phase.get() != Phase::Starting {
            return;
        }
        actix.spawn(Work);
        match self.build(actix) {
            Ok(()) if actix.state().alive() => self.settle(actix),
            Ok(()) => {}
            Err(failure) => {
                let exit = Event::Failed(failure.refused());
                self.backstage.inside.exit.set(Some(exit));
                actix.terminate();
            }
        }
    }

    fn stopping(&mut self, actix: &mut Self::Context) -> Running {
        let phase = self.backstage.inside.phase.get();
        if matches!(phase, Phase::Starting | Phase::Running) {
            self.enter(Phase::Stopping, Status::Stopping);
            if let Some(actor) = self.value.as_mut() {
                actor.stopping(&mut Ctx::new(actix, &mut self.backstage));
            }
        }
        let has_failed = actix.state() == ActorState::Stopped;
        if self.backstage.is_held() && !has_failed && phase != Phase::Vacant {
            return Running::Continue;
        }
        self.set_stopped();
        Running::Stop
    }
}

impl<A: Cast> Supervised for Shell<A> {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.clear();
    }
}

impl<A: Receive<M>, M: Send + 'static> Handler<Told<M>> for Shell<A> {
    type Result = ();

    fn handle(&mut self, Told(message): Told<M>, actix: &mut Self::Context) {
        if let Some((actor, mut ctx)) = self.take_turn(actix) {
            actor.receive(message, &mut ctx);
        }
    }
}

impl<A: Answer<Q>, Q: Send + 'static> Handler<Asked<Q, A::Reply>> for Shell<A> {
    type Result = ();

    fn handle(&mut self, asked: Asked<Q, A::Reply>, actix: &mut Self::Context) {
        if let Some((actor, mut ctx)) = self.take_turn(actix) {
            actor.answer(asked.question, asked.reply, &mut ctx);
        }
    }
}

/// The one future in each actix context: it is polled with the actor after each round of messages.
struct Work;

impl<A: Cast> ActorFuture<Shell<A>> for Work {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        shell: &mut Shell<A>,
        actix: &mut actix::Context<Shell<A>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        shell.work(actix, cx);
        Poll::Pending
    }
}

/// Lets the rest of the arbiter run once.
struct Pause {
    is_over: bool,
}

impl<A: Cast> ActorFuture<Shell<A>> for Pause {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        _: &mut Shell<A>,
        _: &mut actix::Context<Shell<A>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if self.is_over {
            return Poll::Ready(());
        }
        self.is_over = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
