//! A mailbox, and the task that serves it: the life of a child from its first incarnation to its end.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix::dev::ContextFut;
use actix::dev::channel::{AddressReceiver, channel};

use super::actor::Cast;
use super::failure::{Cause, Failure, guard};
use super::record::{Command, Event, Record, Status};
use super::reference::{ActorRef, Address};
use super::shell::{Factory, Inside, Phase, Shell};

/// A mailbox that no shell serves yet. Messages queue in it.
pub(super) struct Seat<A: Cast> {
    actor: ActorRef<A>,
    receiver: Option<AddressReceiver<Shell<A>>>,
}

impl<A: Cast> Seat<A> {
    pub(super) fn new(name: Box<str>) -> Self {
        let (sender, receiver) = channel(0);
        let address = Address::new(sender, name);
        Self {
            actor: ActorRef::new(Arc::new(address)),
            receiver: Some(receiver),
        }
    }

    pub(super) fn actor(&self) -> &ActorRef<A> {
        &self.actor
    }

    /// Serves the mailbox on this thread, with actors from `factory`, as the supervisor orders.
    pub(super) fn open(mut self, factory: Factory<A>) {
        if let Some(receiver) = self.receiver.take() {
            let task = ShellTask::new(self.actor.clone(), receiver, factory);
            actix_rt::spawn(task);
        }
    }
}

impl<A: Cast> Drop for Seat<A> {
    fn drop(&mut self) {
        if self.receiver.take().is_some() {
            close(&self.actor);
            // It was on its way to an arbiter that is gone.
            let record = self.actor.record();
            record.report(record.turn(), Event::Lost);
        }
    }
}

/// Nothing is taken any more, and nothing found.
fn close<A: Cast>(actor: &ActorRef<A>) {
    let record = actor.record();
    record.set_ended();
    drop(record.take_observers());
    if let Some(adoption) = record.adoption() {
        adoption.surroundings.house.leave(&actor.member());
    }
}

/// The task that carries a shell through its incarnations.
struct ShellTask<A: Cast> {
    actor: ActorRef<A>,
    inside: Rc<Inside>,
    /// Gone when the mailbox is.
    context: Option<ContextFut<Shell<A>, actix::Context<Shell<A>>>>,
}

impl<A: Cast> ShellTask<A> {
    fn new(actor: ActorRef<A>, receiver: AddressReceiver<Shell<A>>, factory: Factory<A>) -> Self {
        let inside = Rc::new(Inside::default());
        let shell = Shell::new(actor.clone(), Rc::clone(&inside), factory);
        let context = actix::Context::with_receiver(receiver).into_future(shell);
        Self {
            actor,
            inside,
            context: Some(context),
        }
    }

    /// Carries out an order, unless it is one that the actor itself has to. Ready when it was the last.
    fn obey(&mut self) -> Poll<()> {
        let is_vacant = self.inside.phase.get() == Phase::Vacant;
        let is_ours = |command| is_vacant || !matches!(command, Command::Stop { .. });
        let Some(order) = self.actor.record().take_order(is_ours) else {
            return Poll::Pending;
        };
        if !is_vacant {
            self.vacate();
        }
        let record = self.actor.record();
        self.inside.turn.set(order.turn);
        match order.command {
            Command::Start => {
                if order.turn > 1 {
                    record.count_restart();
                }
                self.inside.deadline.set(None);
                self.inside.late.take();
                self.inside.phase.set(Phase::Starting);
                record.set_status(Status::Starting);
            }
            Command::Stop { .. } | Command::Halt => {
                let late = self.inside.late.take();
                self.announce(Event::Stopped { late });
            }
            Command::End => {
                self.end();
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// The incarnation is over: drops the actor, keeps the mailbox.
    fn vacate(&mut self) {
        self.inside.phase.set(Phase::Vacant);
        self.inside.exit.take();
        if let Some(context) = self.context.as_mut()
            && let Err(failure) = guard(|| context.restart())
        {
            tracing::error!(path = self.actor.path(), reason = %failure, "panic while an actor was dropped");
        }
    }

    fn announce(&self, event: Event) {
        let record = self.actor.record();
        match &event {
            Event::Failed(failure) => {
                tracing::error!(path = record.path(), reason = %failure, "actor failed");
                record.note_failure(failure.clone());
                record.set_status(Status::Restarting);
            }
            _ => record.set_status(Status::Stopped),
        }
        // Nobody is there to answer.
        drop(record.take_observers());
        record.report(self.inside.turn.get(), event);
    }

    fn end(&mut self) {
        self.vacate();
        if let Some(context) = self.context.take()
            && let Err(failure) = guard(|| drop(context))
        {
            tracing::error!(path = self.actor.path(), reason = %failure, "panic while a mailbox was dropped");
        }
        close(&self.actor);
    }
}

impl<A: Cast> Future for ShellTask<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.actor.record().shell().register(cx.waker());
        loop {
            if this.obey().is_ready() {
                return Poll::Ready(());
            }
            if this.inside.phase.get() == Phase::Vacant {
                drop(this.actor.record().take_observers());
                return Poll::Pending;
            }
            let Some(context) = this.context.as_mut() else {
                return Poll::Ready(());
            };
            let exit = match guard(|| Pin::new(context).poll(cx)) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) => this.inside.exit.take(),
                Err(panic) => Some(Event::Failed(panic)),
            };
            this.vacate();
            let late = Vec::new();
            this.announce(exit.unwrap_or(Event::Stopped { late }));
        }
    }
}

impl<A: Cast> Drop for ShellTask<A> {
    fn drop(&mut self) {
        // A shell ends by order. Whatever else drops it is the end of the arbiter.
        if self.context.is_some() {
            self.end();
            let record = self.actor.record();
            record.note_failure(lost(record));
            record.report(record.turn(), Event::Lost);
        }
    }
}

pub(super) fn lost(record: &Record) -> Failure {
    let stage = record.adoption().map_or("", |at| at.stage.name());
    Failure::of(
        Cause::ArbiterLost,
        format_args!("the thread of stage {stage:?} ended under it"),
    )
}
