//! dispatcher: walks the log up to what is committed and tells queues and index what it finds.

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{PhysicalOffset, system_topics};
use castmq_storage::dispatch::Dispatch;
use serde::Serialize;

use super::indexer::{Index, Indexer};
use crate::broker::context::BrokerContext;
use crate::delivery::schedule::{Schedule, Scheduled};
use crate::delivery::timer::{Timer, TimerGrown};
use crate::supervision::{ActorRef, Cast, Ctx, Failure, Receive};

/// Bytes of log that are dispatched before others of the arbiter get their turn.
const BYTES_A_TURN: u64 = 1024 * 1024;

/// Consumers may see the log up to here.
#[derive(Debug)]
pub(crate) struct Advance {
    pub(crate) committed: PhysicalOffset,
}

/// Goes on where the last turn ended.
#[derive(Debug)]
struct GoOn;

/// See the module.
pub(crate) struct Dispatcher {
    context: Arc<BrokerContext>,
    dispatch: Dispatch,
    indexer: ActorRef<Indexer>,
    schedule: ActorRef<Schedule>,
    timer: ActorRef<Timer>,
    committed: PhysicalOffset,
    is_going_on: bool,
    /// Then nobody moves messages, and numbered sends are known to nobody else.
    is_slave: bool,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct DispatcherState {
    dispatched: u64,
    committed: u64,
    behind_bytes: u64,
}

impl Dispatcher {
    pub(crate) fn new(context: Arc<BrokerContext>) -> Result<Self, Failure> {
        let store = &context.store;
        let from = context.positions.dispatched();
        let is_slave = context.standing.is_slave();
        let (log, queues) = (store.log.clone(), store.queues.clone());
        let mut dispatch = Dispatch::new(log, queues, context.delays.clone(), from);
        if is_slave {
            dispatch = dispatch.finding_sends();
        }
        if store.index.is_some() {
            dispatch = dispatch.finding_keys();
        }
        Ok(Self {
            dispatch,
            is_slave,
            indexer: context.actors()?.indexer.clone(),
            schedule: context.actors()?.schedule.clone(),
            timer: context.actors()?.timer.clone(),
            committed: context.positions.committed(),
            is_going_on: false,
            context,
        })
    }

    fn turn(&mut self, ctx: &mut Ctx<'_, Self>) {
        let deliveries = &self.context.deliveries;
        let (schedule, timer, is_slave) = (&self.schedule, &self.timer, self.is_slave);
        let from = self.dispatch.position();
        let advanced = self
            .dispatch
            .advance(self.committed, BYTES_A_TURN, |queue| {
                deliveries.announce(queue);
                match queue.topic().as_str() {
                    _ if is_slave => {}
                    system_topics::SCHEDULE => drop(schedule.tell(Scheduled(queue.id()))),
                    system_topics::TIMER => drop(timer.tell(TimerGrown)),
                    _ => {}
                }
            });
        let position = self.dispatch.position();
        // Before anybody can make a checkpoint behind them.
        let met = self.dispatch.take_met();
        self.context.store.unseen.note(&met, from..position);
        for send in self.dispatch.take_sends() {
            self.context.store.sequences.note(&send);
        }
        if let Some(keyed) = self.dispatch.take_keyed() {
            self.indexer.tell(Index(keyed));
        }
        let store_ms = self.dispatch.last_store_timestamp_ms();
        self.context.positions.set_dispatched(position, store_ms);
        let done = match advanced {
            Ok(done) => done,
            Err(error) => {
                ctx.fail(error);
                return;
            }
        };
        let bytes = position.distance_from(from);
        self.context.meters.stored(done.messages, bytes);
        if position < self.committed && !self.is_going_on {
            self.is_going_on = true;
            ctx.me().tell(GoOn);
        }
    }
}

impl Cast for Dispatcher {
    type State = DispatcherState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        // What was committed while nobody dispatched.
        self.committed = self.committed.max(self.context.committed_now());
        self.context.positions.set_committed(self.committed);
        ctx.every(Duration::from_secs(1), |dispatcher, _| {
            dispatcher.context.meters.tick()
        });
        ctx.after(Duration::ZERO, |dispatcher, ctx| dispatcher.turn(ctx));
        Ok(())
    }

    fn observe(&self) -> DispatcherState {
        DispatcherState {
            dispatched: self.dispatch.position().0,
            committed: self.committed.0,
            behind_bytes: self.committed.distance_from(self.dispatch.position()),
        }
    }
}

impl Receive<Advance> for Dispatcher {
    fn receive(&mut self, Advance { committed }: Advance, ctx: &mut Ctx<'_, Self>) {
        self.committed = self.committed.max(committed);
        self.context.positions.set_committed(self.committed);
        self.context.pulse.beat();
        if !self.is_going_on {
            self.turn(ctx);
        }
    }
}

impl Receive<GoOn> for Dispatcher {
    fn receive(&mut self, GoOn: GoOn, ctx: &mut Ctx<'_, Self>) {
        self.is_going_on = false;
        self.turn(ctx);
    }
}
