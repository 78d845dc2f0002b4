//! What an actor can do besides handling its message: spawn, wait, stop, fail, find others.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix::ActorContext;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::actor::Cast;
use super::failure::Failure;
use super::record::{Event, Member, Record};
use super::reference::ActorRef;
use super::shell::{Inside, Shell};

/// Handed to an actor with each message. Everything started through it ends with this incarnation of the actor.
pub struct Ctx<'a, A: Cast> {
    actix: &'a mut actix::Context<Shell<A>>,
    backstage: &'a mut Backstage<A>,
}

impl<'a, A: Cast> Ctx<'a, A> {
    pub(super) fn new(
        actix: &'a mut actix::Context<Shell<A>>,
        backstage: &'a mut Backstage<A>,
    ) -> Self {
        Self { actix, backstage }
    }

    /// The actor itself.
    pub fn me(&self) -> &ActorRef<A> {
        &self.backstage.me
    }

    /// Where it is in the tree.
    pub fn path(&self) -> String {
        self.me().path()
    }

    /// Finds an actor of the same tree by its path; `None` when there is none, it is of another type, or its mailbox is
    /// closed.
    pub fn resolve<B: Cast>(&self, path: &str) -> Option<ActorRef<B>> {
        let adoption = self.record().adoption()?;
        adoption.surroundings.house.resolve(path)
    }

    /// Runs a future beside the actor. A panic in it is the actor's.
    pub fn spawn(&mut self, future: impl Future<Output = ()> + 'static) -> Task {
        self.then(future, |_, (), _| {})
    }

    /// Runs a future, then gives its output to the actor. The actor handles messages meanwhile; a future costs nothing
    /// until it is woken.
    pub fn then<F: Future + 'static>(
        &mut self,
        future: F,
        next: impl FnOnce(&mut A, F::Output, &mut Ctx<'_, A>) + 'static,
    ) -> Task {
        let task = Task::default();
        self.push(task.clone(), future, next);
        task
    }

    /// Calls the actor once, after a while.
    pub fn after(
        &mut self,
        delay: Duration,
        next: impl FnOnce(&mut A, &mut Ctx<'_, A>) + 'static,
    ) -> Task {
        self.then(sleep(delay), |actor, (), ctx| next(actor, ctx))
    }

    /// Calls the actor once every `period`, for the first time after one. Ticks that were missed are skipped.
    ///
    /// # Panics
    /// When `period` is zero.
    pub fn every(
        &mut self,
        period: Duration,
        tick: impl FnMut(&mut A, &mut Ctx<'_, A>) + 'static,
    ) -> Task {
        let mut interval = interval_at(Instant::now() + period, period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let task = Task::default();
        self.await_tick(task.clone(), interval, tick);
        task
    }

    /// Polls a function with the actor at hand: on the next occasion, and from then on whenever the actor is woken by
    /// whatever cause, a message for instance, until it is ready. It has to leave its waker where it waits, and to limit
    /// what it does in one call.
    ///
    /// This is how a session reads its socket: it polls the socket, and handles what came without a hop.
    pub fn poll_with(
        &mut self,
        hook: impl FnMut(&mut A, &mut Ctx<'_, A>, &mut Context<'_>) -> Poll<()> + 'static,
    ) {
        self.backstage.hooks.push(Box::new(hook));
        self.backstage.has_unpolled = true;
    }

    /// While it starts: it counts as started only when the guard is dropped, and those after it wait. While it stops: it
    /// is dropped only when the guard is, or when its time is up. The guard may go to another thread.
    pub fn hold(&mut self) -> Hold {
        let token = self.backstage.hold.upgrade().unwrap_or_else(|| {
            let member = self.me().member();
            Arc::new(HoldToken { member })
        });
        self.backstage.hold = Arc::downgrade(&token);
        Hold { _token: token }
    }

    /// Stops the actor after this message, as its supervisor would: [`Cast::stopping`] comes next. Messages that are
    /// still queued when it is gone are dropped, unless it is permanent and comes back.
    pub fn stop(&mut self) {
        self.actix.stop();
    }

    /// Ends this incarnation after this message, as a panic would. The first failure counts.
    pub fn fail(&mut self, failure: impl Into<Failure>) {
        let exit = &self.backstage.inside.exit;
        let first = exit.take().unwrap_or(Event::Failed(failure.into()));
        exit.set(Some(first));
        self.actix.terminate();
    }

    /// While it stops: when its time is up. `None` when it stops of its own will.
    pub fn stop_deadline(&self) -> Option<Instant> {
        self.backstage.inside.deadline.get()
    }

    pub(super) fn record(&self) -> &Record {
        self.me().record()
    }

    /// Adds to the paths below this actor that did not stop in time.
    pub(super) fn add_late(&mut self, paths: impl IntoIterator<Item = String>) {
        self.backstage.inside.late.borrow_mut().extend(paths);
    }

    fn push<F: Future + 'static>(
        &mut self,
        task: Task,
        future: F,
        next: impl FnOnce(&mut A, F::Output, &mut Ctx<'_, A>) + 'static,
    ) {
        let work = async move {
            let output = task.unless_cancelled(future).await?;
            let next: Next<A> = Box::new(move |actor, ctx| next(actor, output, ctx));
            Some(next)
        };
        let tasks = self.backstage.tasks.get_or_insert_default();
        tasks.push(Box::pin(work));
        self.backstage.has_unpolled = true;
    }

    fn await_tick(
        &mut self,
        task: Task,
        mut interval: tokio::time::Interval,
        mut tick: impl FnMut(&mut A, &mut Ctx<'_, A>) + 'static,
    ) {
        let tick_came = async move {
            interval.tick().await;
            interval
        };
        self.push(task.clone(), tick_came, move |actor, interval, ctx| {
            tick(actor, ctx);
            ctx.await_tick(task, interval, tick);
        });
    }
}

type Next<A> = Box<dyn FnOnce(&mut A, &mut Ctx<'_, A>)>;
type Work<A> = Pin<Box<dyn Future<Output = Option<Next<A>>>>>;
type Hook<A> = Box<dyn FnMut(&mut A, &mut Ctx<'_, A>, &mut Context<'_>) -> Poll<()>>;

/// What belongs to an actor's incarnation besides its value. All of it goes when the incarnation does.
pub(super) struct Backstage<A: Cast> {
    pub(super) me: ActorRef<A>,
    pub(super) inside: Rc<Inside>,
    pub(super) hold: Weak<HoldToken>,
    /// A set that polls only those that were woken, where actix's own would poll each of them on every wake-up. Most
    /// actors never have any.
    tasks: Option<FuturesUnordered<Work<A>>>,
    hooks: Vec<Hook<A>>,
    /// Whether a task or a hook was added that has not been polled yet, and so would never be woken.
    has_unpolled: bool,
}

/// The most things one actor does before it lets the others of its arbiter run.
pub(super) const TURN_LIMIT: u32 = 256;

impl<A: Cast> Backstage<A> {
    pub(super) fn new(me: ActorRef<A>, inside: Rc<Inside>) -> Self {
        Self {
            me,
            inside,
            hold: Weak::new(),
            tasks: None,
            hooks: Vec::new(),
            has_unpolled: false,
        }
    }

    /// Lets tasks and hooks get on.
    pub(super) fn work(
        &mut self,
        actor: &mut A,
        actix: &mut actix::Context<Shell<A>>,
        cx: &mut Context<'_>,
    ) {
        let mut budget = TURN_LIMIT;
        while budget > 0 {
            self.has_unpolled = false;
            self.poll_tasks(&mut budget, actor, actix, cx);
            self.poll_hooks(actor, actix, cx);
            if !self.has_unpolled || !actix.state().alive() {
                return;
            }
            budget = budget.saturating_sub(1);
        }
        cx.waker().wake_by_ref();
    }

    fn poll_tasks(
        &mut self,
        budget: &mut u32,
        actor: &mut A,
        actix: &mut actix::Context<Shell<A>>,
        cx: &mut Context<'_>,
    ) {
        while let Some(tasks) = self.tasks.as_mut() {
            match tasks.poll_next_unpin(cx) {
                Poll::Ready(Some(Some(next))) => next(actor, &mut Ctx::new(actix, self)),
                Poll::Ready(Some(None)) => {}
                Poll::Ready(None) | Poll::Pending => return,
            }
            *budget = budget.saturating_sub(1);
            if *budget == 0 {
                // Others that are ready would not be woken again.
                self.has_unpolled = true;
            }
            if *budget == 0 || !actix.state().alive() {
                return;
            }
        }
    }

    fn poll_hooks(
        &mut self,
        actor: &mut A,
        actix: &mut actix::Context<Shell<A>>,
        cx: &mut Context<'_>,
    ) {
        let mut hooks = std::mem::take(&mut self.hooks);
        hooks.retain_mut(|hook| {
            !actix.state().alive() || hook(actor, &mut Ctx::new(actix, self), cx).is_pending()
        });
        // Those that were added meanwhile come behind.
        hooks.append(&mut self.hooks);
        self.hooks = hooks;
    }

    /// Whether the actor may not be called started, or stopped, yet.
    pub(super) fn is_held(&self) -> bool {
        self.hold.strong_count() > 0
    }

    pub(super) fn drop_tasks(&mut self) {
        self.tasks = None;
    }

    pub(super) fn drop_hooks(&mut self) {
        self.hooks = Vec::new();
    }
}

/// Keeps an actor from being called started, or stopped. See [`Ctx::hold`].
#[must_use = "dropping a hold ends it"]
pub struct Hold {
    _token: Arc<HoldToken>,
}

pub(super) struct HoldToken {
    member: Arc<dyn Member>,
}

impl Drop for HoldToken {
    fn drop(&mut self) {
        self.member.record().shell().wake();
    }
}

/// Something an actor started through its [`Ctx`] and may call off. Dropping it calls nothing off.
#[derive(Clone, Default)]
pub struct Task(Rc<TaskState>);

#[derive(Default)]
struct TaskState {
    is_cancelled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Task {
    /// Calls it off: the actor hears no more of it.
    pub fn cancel(&self) {
        self.0.is_cancelled.set(true);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }

    async fn unless_cancelled<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if self.0.is_cancelled.get() {
                return Poll::Ready(None);
            }
            let outcome = future.as_mut().poll(cx).map(Some);
            if outcome.is_pending() {
                self.0.waker.replace(Some(cx.waker().clone()));
            }
            outcome
        })
        .await
    }
}
