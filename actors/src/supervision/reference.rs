//! How to reach an actor: by reference, or by the messages it takes.

use std::fmt;
use std::sync::Arc;

use actix::dev::channel::AddressSender;
use actix::{Actor, Handler, Message};
use thiserror::Error;

use super::actor::{Answer, Cast, Receive};
use super::record::{Member, Record};
use super::reply::Reply;
use super::shell::{Asked, Shell, Told};

/// Why a question got no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AskError {
    /// The mailbox is closed: the actor ended for good, or its arbiter died.
    #[error("{path} is gone, the question was not delivered: resolve the name again")]
    Gone {
        /// Path of the actor.
        path: String,
    },
    /// The actor had the question, or had it queued, and will not answer: it failed, stopped, or dropped it.
    #[error("{path} failed or stopped with the question unanswered: ask again")]
    Lost {
        /// Path of the actor.
        path: String,
    },
}

/// Where messages for one child go: its mailbox and its record. It outlives every incarnation of the actor.
pub(super) struct Address<A: Cast> {
    mailbox: AddressSender<Shell<A>>,
    record: Record,
}

impl<A: Cast> Address<A> {
    pub(super) fn new(mailbox: AddressSender<Shell<A>>, name: Box<str>) -> Self {
        Self {
            mailbox,
            record: Record::new(name),
        }
    }

    fn deliver<T>(&self, envelope: T) -> bool
    where
        Shell<A>: Handler<T> + Actor<Context = actix::Context<Shell<A>>>,
        T: Message<Result = ()> + Send + 'static,
    {
        self.record.count_sent();
        let delivered = self.mailbox.do_send(envelope).is_ok();
        if !delivered {
            self.record.uncount_sent();
        }
        delivered
    }
}

impl<A: Cast> Member for Address<A> {
    fn record(&self) -> &Record {
        &self.record
    }
}

/// A reference to an actor. It stays good when the actor is restarted, from any thread; what it cannot outlive is the
/// actor's arbiter.
///
/// Cloning costs one atomic addition.
pub struct ActorRef<A: Cast>(Arc<Address<A>>);

impl<A: Cast> ActorRef<A> {
    pub(super) fn new(address: Arc<Address<A>>) -> Self {
        Self(address)
    }

    /// Puts a message into the mailbox. Never waits, never panics. False when the mailbox is closed; the message is then
    /// dropped, as it is when the actor ends before its turn comes.
    ///
    /// The mailbox has no bound: whoever lets work into the process has to bound it.
    pub fn tell<M>(&self, message: M) -> bool
    where
        A: Receive<M>,
        M: Send + 'static,
    {
        self.0.deliver(Told(message))
    }

    /// Asks a question. It is sent at once, and handled even when the returned future is dropped: a caller that gives up
    /// waiting does not know whether it was.
    pub fn ask<Q>(
        &self,
        question: Q,
    ) -> impl Future<Output = Result<A::Reply, AskError>> + Send + use<A, Q>
    where
        A: Answer<Q>,
        Q: Send + 'static,
    {
        let (reply, answer) = Reply::to_future();
        let delivered = self.0.deliver(Asked { question, reply });
        let actor = self.clone();
        async move {
            if !delivered {
                let path = actor.path();
                return Err(AskError::Gone { path });
            }
            answer
                .await
                .map_err(|_| AskError::Lost { path: actor.path() })
        }
    }

    /// A way to send one type of message without knowing to whom.
    pub fn mailbox<M>(&self) -> Mailbox<M>
    where
        A: Receive<M>,
        M: Send + 'static,
    {
        let address: Arc<Address<A>> = Arc::clone(&self.0);
        Mailbox(address)
    }

    /// Whether messages are still taken. They queue while the actor is down between two incarnations.
    pub fn is_open(&self) -> bool {
        self.0.mailbox.connected()
    }

    /// Messages in the mailbox.
    pub fn depth(&self) -> u64 {
        self.0.record.depth()
    }

    /// Where it is in the tree: names from the root's child down, with slashes between.
    pub fn path(&self) -> String {
        self.0.record.path()
    }

    pub(super) fn record(&self) -> &Record {
        &self.0.record
    }

    pub(super) fn member(&self) -> Arc<dyn Member> {
        let address: Arc<Address<A>> = Arc::clone(&self.0);
        address
    }
}

impl<A: Cast> Clone for ActorRef<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: Cast> PartialEq for ActorRef<A> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<A: Cast> Eq for ActorRef<A> {}

impl<A: Cast> fmt::Debug for ActorRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActorRef({})", self.path())
    }
}

trait Inlet<M>: Send + Sync {
    fn take(&self, message: M) -> bool;
    fn is_open(&self) -> bool;
}

impl<A, M> Inlet<M> for Address<A>
where
    A: Receive<M>,
    M: Send + 'static,
{
    fn take(&self, message: M) -> bool {
        self.deliver(Told(message))
    }

    fn is_open(&self) -> bool {
        self.mailbox.connected()
    }
}

struct FromFn<F>(F);

impl<M, F> Inlet<M> for FromFn<F>
where
    F: Fn(M) -> bool + Send + Sync,
{
    fn take(&self, message: M) -> bool {
        (self.0)(message)
    }

    fn is_open(&self) -> bool {
        true
    }
}

/// Somebody who takes messages of one type: an actor whose type is forgotten, or a function.
pub struct Mailbox<M>(Arc<dyn Inlet<M>>);

impl<M: 'static> Mailbox<M> {
    /// Messages go to a function, on the sender's thread. It says whether the message was taken.
    pub fn from_fn(function: impl Fn(M) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(FromFn(function)))
    }

    /// See [`ActorRef::tell`].
    pub fn tell(&self, message: M) -> bool {
        self.0.take(message)
    }

    /// See [`ActorRef::is_open`]. A function always takes messages.
    pub fn is_open(&self) -> bool {
        self.0.is_open()
    }
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mailbox")
    }
}
