//! What an actor is: a plain struct with a state to look at, and a method per message.

use serde::Serialize;

use super::context::Ctx;
use super::failure::Failure;
use super::reply::Reply;

/// One of the cast: a plain struct that a factory builds, that handles one message at a time, and that can be thrown
/// away and built again at any moment.
///
/// Nothing here needs to be `Send`: an actor lives and dies on one thread. Messages to it do.
pub trait Cast: Sized + 'static {
    /// What the live tree shows of it: small, since it is taken and serialized on the actor's own thread.
    type State: Serialize;

    /// The actor was built and is about to get its first message. Whatever was spawned by the incarnation before it is
    /// gone; messages that were not handled by it still come. Take [`Ctx::hold`] to be started only later.
    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        let _ = ctx;
        Ok(())
    }

    /// The actor is asked to stop, by its supervisor or by [`Ctx::stop`]. Messages and futures are served on while it
    /// keeps a [`Ctx::hold`]; without one it is dropped now. It is not called before a restart after a failure.
    fn stopping(&mut self, ctx: &mut Ctx<'_, Self>) {
        let _ = ctx;
    }

    /// The state to show.
    fn observe(&self) -> Self::State;
}

/// An actor that takes messages of this type and answers nothing.
pub trait Receive<M>: Cast {
    /// Handles one message. A panic loses this message alone.
    fn receive(&mut self, message: M, ctx: &mut Ctx<'_, Self>);
}

/// An actor that answers questions of this type, now or later. For control paths: a question costs an allocation more
/// than a message, and waiting for its answer a wake-up.
pub trait Answer<Q>: Cast {
    /// What it answers.
    type Reply: Send + 'static;

    /// Handles one question. The reply may be kept and sent later.
    fn answer(&mut self, question: Q, reply: Reply<Self::Reply>, ctx: &mut Ctx<'_, Self>);
}
