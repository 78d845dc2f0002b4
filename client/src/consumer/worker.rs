//! The tasks that run handlers, and the one that watches for tries that are due.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use castmq_protocol::native::Request;
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::credit::Window;
use super::dispatcher::Dispatcher;
use super::handler::{Ack, Handler};
use crate::link::Session;
use crate::message::ReceivedMessage;
use crate::raw::Payload;

/// Where a queue's messages come from, and its credit goes.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) session: Arc<Session>,
    pub(super) subscription: u32,
}

impl Source {
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
pub(super) async fn work<H: Handler>(number: usize, messages: Arc<Messages>, handler: Arc<H>) {
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
        while let Some(message) = waiting.pop_front() {
            let ack = {
                let mut handling = pin!(handle(&*handler, &message));
                match poll_fn(|cx| Poll::Ready(handling.as_mut().poll(cx))).await {
                    Poll::Ready(ack) => ack,
                    Poll::Pending => {
                        most = 1;
                        if !handled.is_empty() || !waiting.is_empty() {
                            finish(&mut handled, std::mem::take(&mut waiting));
                        }
                        handling.await
                    }
                }
            };
            handled.push((message, ack));
            // Handlers that never wait would keep everybody else from running.
            tokio::task::coop::consume_budget().await;
            if ack == Ack::Retry {
                // In order, those behind it wait.
                break;
            }
        }
        finish(&mut handled, waiting);
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
