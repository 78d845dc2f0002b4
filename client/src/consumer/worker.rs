//! The tasks that run handlers, and the one that watches for tries that are due.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use castmq_protocol::native::Request;
use castmq_protocol::native::request::{Another, GroupAlias, SendBack, TopicAlias};
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Order;
use super::credit::Window;
use super::dispatcher::Dispatcher;
use super::handler::{Ack, Handler};
use super::lease::Lease;
use crate::link::Session;
use crate::message::{ReceivedMessage, now_ms};
use crate::raw::Payload;
use crate::trace::{Outcome, TracedGroup};

/// Where a queue's messages come from, and its credit goes.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) session: Arc<Session>,
    pub(super) lease: Arc<Lease>,
    pub(super) subscription: u32,
    pub(super) group: GroupAlias,
    pub(super) topic: TopicAlias,
    pub(super) returns: ReturnRule,
}

/// What is done with messages that were not processed.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReturnRule {
    /// Whether the broker takes them back; a broadcasting consumer keeps them.
    pub(super) to_broker: bool,
    pub(super) order: Order,
    /// Tries after which a message is a dead letter.
    pub(super) max_attempts: Option<u32>,
}

impl ReturnRule {
    /// What the broker is asked to do with a message; `None` when it stays here.
    fn another(self, ack: Ack, attempts: u32) -> Option<Another> {
        if !self.to_broker {
            return None;
        }
        let is_last = self.max_attempts.is_some_and(|most| attempts >= most);
        match (ack, self.order) {
            (Ack::Done, _) => None,
            (Ack::DeadLetter, _) => Some(Another::Never),
            _ if is_last => Some(Another::Never),
            (_, Order::PerQueue) => None,
            (Ack::Retry, Order::None) => Some(Another::Level(0)),
            (Ack::RetryAtLevel(level), Order::None) => Some(Another::Level(level)),
            (Ack::RetryAfter(time), Order::None) => {
                let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                Some(Another::After(ms))
            }
        }
    }
}

impl Source {
    /// Lets the broker have a message that was not processed. Returns what is left to be done with it here.
    async fn hand_back(&self, message: &ReceivedMessage, ack: Ack) -> Ack {
        let Some(another) = self.returns.another(ack, message.attempts()) else {
            return ack;
        };
        let request = Request::SendBack(SendBack {
            group: self.group,
            topic: self.topic,
            queue: message.queue_id(),
            offset: message.offset(),
            another,
            // The first try is no retry.
            max_retries: self
                .returns
                .max_attempts
                .map_or(0, |most| most.saturating_sub(1).max(1)),
        });
        match self.session.ask(request).await {
            Ok(_) => Ack::Done,
            Err(error) => {
                tracing::warn!(%error, ?message, "the broker does not take the message back, it is tried again here");
                Ack::Retry
            }
        }
    }

    /// Gives credit back. On a connection that has ended there is nobody to give it to.
    pub(super) fn give_back(&self, credit: Window) {
        let request = Request::Credit {
            subscription: self.subscription,
            messages: credit.messages,
            bytes: credit.bytes,
        };
        let _ = self.session.connection.tell(request, Payload::none());
    }
}

/// The messages of one consumer.
pub(super) type Messages = Dispatcher<Arc<Source>>;

/// Messages taken at once while handlers do not wait.
const TURN_MESSAGES: usize = 32;

/// Handles one message after the other. As many of these as handlers may run at once: none is spawned per message.
///
/// A worker whose handler finishes without waiting takes several messages at once, and reports them at once. When a handler
/// waits after all, the messages behind it go back: other workers have time for them.
pub(super) async fn work<H: Handler>(
    number: usize,
    messages: Arc<Messages>,
    handler: Arc<H>,
    group: TracedGroup,
) {
    let mut most = 1;
    while let Some(turn) = poll_fn(|cx| messages.poll_next(number, most, cx)).await {
        let finish = |handled: &mut Vec<_>, untouched| {
            if let Some(credit) = messages.finish(turn.key, handled, untouched, Instant::now()) {
                turn.source.give_back(credit);
            }
        };
        let mut waiting = turn.messages;
        let mut handled = Vec::with_capacity(waiting.len());
        most = TURN_MESSAGES;
        let mut looks_at_lease = true;
        while let Some(message) = waiting.pop_front() {
            // Looking costs as much as a small handler: without order a turn that nothing holds up may be finished.
            if std::mem::replace(&mut looks_at_lease, turn.source.returns.order.is_kept())
                && !turn.source.lease.is_valid(Instant::now())
            {
                // Others may have the queue by now.
                waiting.push_front(message);
                messages.drain(turn.key);
                turn.source.session.connection.close();
                break;
            }
            // It may have waited here for longer than it lives.
            if let Some(ttl_ms) = turn.expires
                && message.is_over(ttl_ms, now_ms())
            {
                handled.push((message, Ack::Done));
                continue;
            }
            let traced = group.begin(&message);
            let ack = {
                let mut handling = pin!(handle(&*handler, &message));
                match poll_fn(|cx| Poll::Ready(handling.as_mut().poll(cx))).await {
                    Poll::Ready(ack) => ack,
                    Poll::Pending => {
                        most = 1;
                        looks_at_lease = true;
                        if !handled.is_empty() || !waiting.is_empty() {
                            finish(&mut handled, std::mem::take(&mut waiting));
                        }
                        handling.await
                    }
                }
            };
            if let Some(traced) = traced {
                group.end(&traced, outcome(ack));
            }
            let ack = match ack {
                Ack::Done => Ack::Done,
                _ => {
                    looks_at_lease = true;
                    turn.source.hand_back(&message, ack).await
                }
            };
            handled.push((message, ack));
            // Handlers that never wait would keep everybody else from running.
            let mut budget = pin!(tokio::task::coop::consume_budget());
            let made_way =
                |cx: &mut Context<'_>| Poll::Ready(budget.as_mut().poll(cx).is_pending());
            if poll_fn(made_way).await {
                looks_at_lease = true;
                budget.await;
            }
            if ack.is_retry() {
                // In order, those behind it wait.
                break;
            }
        }
        finish(&mut handled, waiting);
    }
}

fn outcome(ack: Ack) -> Outcome {
    match ack {
        Ack::Done => Outcome::Success,
        _ => Outcome::Failed,
    }
}

/// A panic is a failure like any other.
async fn handle<H: Handler>(handler: &H, message: &ReceivedMessage) -> Ack {
    let handled = AssertUnwindSafe(async { handler.handle(message.clone()).await });
    handled.catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(
            ?message,
            "handler panicked, the message will be tried again"
        );
        Ack::Retry
    })
}

/// Wakes workers for tries that are due.
pub(super) async fn watch_retries(messages: Arc<Messages>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let next = messages.next_tick();
        tokio::select! {
            _ = stop.changed() => return,
            () = messages.rescheduled.notified() => {}
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                messages.tick(Instant::now());
            }
        }
    }
}
