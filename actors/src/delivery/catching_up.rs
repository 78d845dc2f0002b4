//! Catching up: an actor that knows from the log what it has done asks it first when all is there that was handed to it before,
//! by itself or by one that had its place and failed.

use std::sync::Arc;

use crate::broker::context::BrokerContext;
use crate::storage::append::Appended;
use crate::storage::log_writer::LogWriter;
use crate::storage::put::PutBatch;
use crate::supervision::{ActorRef, Cast, Ctx, Receive};

/// Asks the log-writer. [`Appended`] without requests is its answer.
pub(super) fn ask<A: Receive<Appended>>(writer: &ActorRef<LogWriter>, ctx: &Ctx<'_, A>) {
    PutBatch::default().send(writer, ctx.me().mailbox());
}

/// The answer has come: goes on when what the log has now is noted, too.
pub(super) fn when_noted<A: Cast>(
    context: &Arc<BrokerContext>,
    ctx: &mut Ctx<'_, A>,
    go_on: fn(&mut A, &mut Ctx<'_, A>),
) {
    let end = context.store.log.appended();
    let dispatched = context.clone().dispatched_to(end);
    ctx.then(dispatched, move |actor, (), ctx| go_on(actor, ctx));
}
