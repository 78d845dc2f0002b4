//! census: looks at offsets every few seconds, on another thread, and notes what became of them.

use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;

use super::{Counted, LOOK};
use crate::broker::context::BrokerContext;
use crate::supervision::{Cast, Ctx, Failure};
use crate::worker::apart;

/// See the module.
pub(crate) struct Census {
    context: Arc<BrokerContext>,
    is_busy: bool,
    looks: u64,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct CensusState {
    looks: u64,
}

impl Census {
    pub(crate) fn new(context: Arc<BrokerContext>) -> Self {
        Self {
            context,
            is_busy: false,
            looks: 0,
        }
    }

    fn look(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.is_busy {
            return;
        }
        self.is_busy = true;
        let context = self.context.clone();
        let looked = apart(move || note(&context));
        ctx.then(looked, |census, looked, ctx| {
            census.is_busy = false;
            census.looks += 1;
            if let Err(error) = looked {
                ctx.fail(Failure::new(error.to_string()));
            }
        });
    }
}

fn note(context: &BrokerContext) {
    let at = Instant::now();
    context.statistics.note(at, all(context));
}

/// All numbers as they are.
fn all(context: &BrokerContext) -> Vec<(Counted, u64)> {
    let reading = context.meters.read();
    let mut all = vec![
        (Counted::AllStored, reading.stored),
        (Counted::AllDelivered, reading.delivered),
    ];
    for topic in context.topics.all() {
        let queues = context.store.queues.of_topic(&topic.name).into_iter();
        all.extend(queues.map(|queue| {
            let key = (topic.name.clone(), queue.id());
            (Counted::Stored(key), queue.max_offset().0)
        }));
    }
    // One group after the other: who commits does not wait for long.
    for group in context.groups.names() {
        let offsets = context.offsets.of_group(&group).into_iter();
        all.extend(offsets.map(|(key, offset)| (Counted::Processed(group.clone(), key), offset.0)));
    }
    all
}

impl Cast for Census {
    type State = CensusState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        ctx.every(LOOK, Self::look);
        if self.context.statistics.has_looked() {
            self.look(ctx);
        } else {
            // At once: what comes before the first look is not counted.
            note(&self.context);
        }
        Ok(())
    }

    fn observe(&self) -> CensusState {
        CensusState { looks: self.looks }
    }
}
