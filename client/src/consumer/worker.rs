//! The tasks that run handlers, and the one that watches for tries that are due.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use castmq_protocol::native::Request;
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::credit::Window;
use super::dispatcher::Dispatcher;
use super::handler::{Ack, Handler};
use crate::link::Session;
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

/// Handles one message after the other. As many of these as handlers may run at once: none is spawned per message.
pub(super) async fn work<H: Handler>(number: usize, messages: Arc<Messages>, handler: Arc<H>) {
    while let Some(job) = std::future::poll_fn(|cx| messages.poll_next(number, cx)).await {
        let message = job.message.clone();
        let handled = AssertUnwindSafe(async { handler.handle(message).await });
        let ack = handled.catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(message = ?job.message, "handler panicked, the message will be tried again");
            Ack::Retry
        });
        let source = job.source.clone();
        if let Some(credit) = messages.finish(job, ack, Instant::now()) {
            source.give_back(credit);
        }
        // Handlers that never wait would keep everybody else from running.
        tokio::task::coop::consume_budget().await;
    }
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
