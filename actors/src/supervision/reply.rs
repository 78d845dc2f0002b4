//! An answer that is owed: whoever waits for it hears, whatever happens to the one who owes it.

use std::fmt;

use thiserror::Error;
use tokio::sync::oneshot;

use super::failure::guard;
use super::reference::Mailbox;

/// The answer will not come: whoever owed it failed, stopped, or dropped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the answer was lost, because the actor that owed it failed or stopped: ask again")]
pub struct Lost;

/// The right to answer once, and the duty: dropped unanswered (a panic with the question in hand, a restart, a closed
/// mailbox) it delivers [`Lost`] instead.
#[must_use = "dropping a reply tells the one who waits for it that it was lost"]
pub struct Reply<T>(Option<Waiting<T>>);

enum Waiting<T> {
    Future(oneshot::Sender<T>),
    Hearer(Box<dyn Hear<T>>),
}

/// Somebody who hears an answer, or of its loss.
trait Hear<T>: Send {
    fn hear(self: Box<Self>, answer: Result<T, Lost>);

    /// Whether anything comes of it.
    fn is_there(&self) -> bool;
}

struct Function<F>(F);

impl<T, F: FnOnce(Result<T, Lost>) + Send> Hear<T> for Function<F> {
    fn hear(self: Box<Self>, answer: Result<T, Lost>) {
        (self.0)(answer);
    }

    fn is_there(&self) -> bool {
        true
    }
}

struct Message<M, F> {
    mailbox: Mailbox<M>,
    message: F,
}

impl<T, M: 'static, F: FnOnce(Result<T, Lost>) -> M + Send> Hear<T> for Message<M, F> {
    fn hear(self: Box<Self>, answer: Result<T, Lost>) {
        self.mailbox.tell((self.message)(answer));
    }

    fn is_there(&self) -> bool {
        self.mailbox.is_open()
    }
}

impl<T: 'static> Reply<T> {
    /// Answers a function. It runs on the thread that answers, in its time: it should pass the answer on and no more.
    pub fn to_fn(function: impl FnOnce(Result<T, Lost>) + Send + 'static) -> Self {
        Self(Some(Waiting::Hearer(Box::new(Function(function)))))
    }

    /// Answers an actor with a message made from the answer, or from its loss.
    pub fn to_mailbox<M: 'static>(
        mailbox: Mailbox<M>,
        message: impl FnOnce(Result<T, Lost>) -> M + Send + 'static,
    ) -> Self {
        Self(Some(Waiting::Hearer(Box::new(Message {
            mailbox,
            message,
        }))))
    }

    /// Whether somebody still waits for the answer, as far as that is known: an actor that ended does not.
    pub fn is_awaited(&self) -> bool {
        match &self.0 {
            Some(Waiting::Future(sender)) => !sender.is_closed(),
            Some(Waiting::Hearer(hearer)) => hearer.is_there(),
            None => false,
        }
    }

    pub(super) fn to_future() -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Some(Waiting::Future(sender))), receiver)
    }

    /// Answers.
    pub fn send(mut self, answer: T) {
        match self.0.take() {
            // Whoever asked may have lost interest, which is fine.
            Some(Waiting::Future(sender)) => drop(sender.send(answer)),
            Some(Waiting::Hearer(hearer)) => hearer.hear(Ok(answer)),
            None => {}
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(Waiting::Hearer(hearer)) = self.0.take() {
            // This may run while the actor's panic unwinds: a second one must not leave here, or the process aborts.
            if let Err(failure) = guard(|| hearer.hear(Err(Lost))) {
                tracing::error!(reason = %failure, "panic while a lost answer was reported");
            }
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

#[cfg(test)]
mod tests {
    use std::panic;
    use std::sync::mpsc;

    use super::*;

    fn reply() -> (Reply<u32>, mpsc::Receiver<Result<u32, Lost>>) {
        let (sender, receiver) = mpsc::channel();
        let reply = Reply::to_fn(move |answer| sender.send(answer).unwrap());
        (reply, receiver)
    }

    #[test]
    fn an_answer_arrives_once() {
        let (reply, heard) = reply();
        reply.send(7);
        assert_eq!(heard.iter().collect::<Vec<_>>(), [Ok(7)]);
    }

    #[test]
    fn a_dropped_reply_says_so_once() {
        let (reply, heard) = reply();
        drop(reply);
        assert_eq!(heard.iter().collect::<Vec<_>>(), [Err(Lost)]);
    }

    #[test]
    fn a_panic_with_the_reply_in_hand_says_so_even_when_the_function_panics_too() {
        let (reply, heard) = reply();
        let clumsy = Reply::<u32>::to_fn(|_| panic!("and another"));
        let outcome = panic::catch_unwind(panic::AssertUnwindSafe(move || {
            let _held = (reply, clumsy);
            panic!("first");
        }));
        assert!(outcome.is_err());
        assert_eq!(heard.iter().collect::<Vec<_>>(), [Err(Lost)]);
    }

    #[test]
    fn a_future_that_was_dropped_awaits_nothing() {
        let (reply, heard) = Reply::<u8>::to_future();
        assert!(reply.is_awaited());
        drop(heard);
        assert!(!reply.is_awaited());
    }

    #[test]
    fn a_reply_can_be_a_message() {
        let (sender, heard) = mpsc::channel();
        let mailbox = Mailbox::from_fn(move |text: String| sender.send(text).is_ok());
        Reply::to_mailbox(mailbox.clone(), |answer: Result<u8, Lost>| {
            format!("{answer:?}")
        })
        .send(1);
        drop(Reply::<u8>::to_mailbox(mailbox, |answer| {
            format!("{answer:?}")
        }));
        assert_eq!(heard.iter().collect::<Vec<_>>(), ["Ok(1)", "Err(Lost)"]);
    }
}
