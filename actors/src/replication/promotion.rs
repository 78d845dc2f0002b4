//! Making a slave the master of its set.

use std::sync::Arc;

use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_storage::epochs::{Leadership, follows_sync_master};

use crate::broker::context::BrokerContext;
use crate::broker::restart::Asked;
use crate::broker::standing::FIRST_EPOCH;
use crate::worker::apart;

/// Writes down that this broker is the master from the next epoch on, and has it start anew. Returns the epoch.
///
/// The master of before is fenced by that: name servers and slaves know the greater epoch. Until it has heard of it, it takes
/// messages as its policy allows, and what nobody copied of them is cut off its log when it comes back.
pub(crate) async fn promote(context: &Arc<BrokerContext>, force: bool) -> Result<u32, Refusal> {
    let conflict = |message: String| Err(Refusal::never(ErrorCode::Conflict, message));
    if !context.standing.is_slave() {
        let name = &context.settings.broker.name;
        return conflict(format!("this broker is the master of {name} already"));
    }
    if let Some(master) = context.following.master().filter(|_| !force) {
        return conflict(format!(
            "its master at {master} lives, and this slave follows it: stop the master first, or use force, which loses what only \
             the master has by then"
        ));
    }
    let known = [
        context.standing.epoch,
        context.copied_epochs.lock().last_epoch(),
        context.set.epoch(),
    ];
    // A master whom nobody ever replaced is of the first.
    let known = known.into_iter().fold(FIRST_EPOCH, u32::max);
    let Some(epoch) = known.checked_add(1) else {
        return conflict(format!(
            "epoch {known} is the last there is, and no operator counted to it: stop the whole set, and start it with an empty data \
             folder each for the slaves"
        ));
    };
    let store = context.store.clone();
    let saving = apart(move || {
        let is_sync = follows_sync_master(&store.metadata)?;
        Leadership::Master { epoch, is_sync }.save(&store.metadata)
    });
    let saved = saving.await.map_err(|error| context.internal(error))?;
    saved.map_err(|error| Refusal::safe(ErrorCode::StorageFailed, error.to_string()))?;
    tracing::warn!(epoch, "an operator made this broker the master of its set");
    context.restart.ask(Asked::Promoted);
    Ok(epoch)
}
