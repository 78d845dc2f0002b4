//! commit-tracker: knows how far the log is flushed and copied, releases the answers that wait for it, and says how far
//! consumers may see.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use castmq_config::WithoutSlaves;
use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::native::response::SendStatus;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use serde::Serialize;
use tokio::time::Instant;

use super::append::{AppendBatch, Outcome, Stored};
use super::dispatcher::{Advance, Dispatcher};
use super::flush_service::{FlushService, FlushTo};
use crate::broker::context::{BrokerContext, FlushPolicy};
use crate::broker::gate::Cause;
use crate::replication::steps::Steps;
use crate::supervision::{ActorRef, Cast, Ctx, Failure, Receive};

/// How often it is looked who keeps up.
const LOOK: Duration = Duration::from_millis(100);

/// Everything there can be.
const ALL: PhysicalOffset = PhysicalOffset(u64::MAX);

/// A batch in the log whose answers wait for the policy. Dropping it answers them: as late, unless they were settled.
#[derive(Debug)]
pub(crate) struct Park {
    /// Behind its last record; zero once its outcomes say how it stands.
    pub(crate) end: PhysicalOffset,
    pub(crate) batch: AppendBatch,
}

impl Park {
    /// Its outcomes say how it stands.
    fn settle(&mut self) {
        self.end = PhysicalOffset::ZERO;
    }

    /// It is stored, but does not meet the policy.
    fn settle_as(&mut self, status: SendStatus) {
        self.batch
            .restate(|stored| Outcome::Stored(Stored { status, ..stored }));
        self.settle();
    }
}

impl Drop for Park {
    /// With an actor that fails, in its hand or in its keeping, what is not durable must not be called so.
    fn drop(&mut self) {
        if self.end != PhysicalOffset::ZERO {
            self.settle_as(SendStatus::FlushTimeout);
        }
    }
}

/// The log is durable up to here.
#[derive(Debug)]
pub(crate) struct Flushed(pub(crate) PhysicalOffset);

/// The log cannot be flushed any more.
#[derive(Debug)]
pub(crate) struct FlushFailed {
    pub(crate) reason: String,
}

/// A slave has more of the log, or is gone.
#[derive(Debug)]
pub(crate) struct Acknowledged;

/// See the module.
pub(crate) struct CommitTracker {
    context: Arc<BrokerContext>,
    dispatcher: ActorRef<Dispatcher>,
    flusher: ActorRef<FlushService>,
    flushed: PhysicalOffset,
    /// As many brokers as the policy wants have the log up to here.
    copied: PhysicalOffset,
    /// Whether as many slaves are in step as the policy wants.
    has_slaves: bool,
    steps: Steps,
    parked: VecDeque<Parked>,
    failure: Option<String>,
}

struct Parked {
    park: Park,
    since: Instant,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct CommitTrackerState {
    flushed: u64,
    copied: Option<u64>,
    has_slaves: bool,
    parked_batches: usize,
    failure: Option<String>,
}

impl CommitTracker {
    pub(crate) fn new(context: Arc<BrokerContext>) -> Result<Self, Failure> {
        let actors = context.actors()?;
        Ok(Self {
            dispatcher: actors.dispatcher.clone(),
            flusher: actors.flush_service.clone(),
            flushed: context.store.log.flushed(),
            copied: PhysicalOffset::ZERO,
            has_slaves: true,
            steps: Steps::new(context.copies.timeout),
            failure: context.store.log.failure(),
            parked: VecDeque::new(),
            context,
        })
    }

    /// Looks who keeps up, and how far as many as are needed have the log.
    fn look(&mut self) {
        let now = Instant::now();
        self.steps.grown(self.context.store.log.appended(), now);
        let mut in_step = 0;
        // What one that is out of step has is there nevertheless.
        let mut ends = Vec::new();
        for slave in self.context.replicas.all() {
            let is_in_step = self.steps.judge(&slave, now);
            if slave.kind.counts() {
                in_step += usize::from(is_in_step);
                ends.push(slave.acknowledged());
            }
        }
        let wanted = self.context.copies.slaves;
        let Some(last) = wanted.checked_sub(1) else {
            return;
        };
        ends.sort_unstable_by(|one, other| other.cmp(one));
        let end = ends.get(last).copied();
        self.copied = self.copied.max(end.unwrap_or_default());
        self.context.copied(self.copied);
        let has_slaves = in_step >= wanted;
        if has_slaves != self.has_slaves {
            self.has_slaves = has_slaves;
            self.slaves_changed(in_step);
        }
    }

    fn slaves_changed(&self, in_step: usize) {
        let copies = &self.context.copies;
        let wanted = copies.slaves;
        if self.has_slaves {
            tracing::info!(in_step, wanted, "enough slaves are in step");
        } else {
            let without = copies.without_slaves;
            tracing::warn!(in_step, wanted, ?without, "too few slaves are in step");
        }
        let refuses = !self.has_slaves && copies.without_slaves == WithoutSlaves::Refuse;
        let refusal = refuses.then(|| {
            Refusal::safe(
                ErrorCode::SlaveNotAvailable,
                format!(
                    "{in_step} of the {wanted} slaves are in step that have to have a message before it is acknowledged: use another \
                     broker, look after the slaves, or change replication.without_slaves"
                ),
            )
        });
        self.context.gate.set(Cause::Slaves, refusal);
    }

    /// Whether messages are taken without slaves, which their producers are told.
    fn does_without(&self) -> bool {
        !self.has_slaves && self.context.copies.without_slaves == WithoutSlaves::Accept
    }

    /// As safe as its own disk has to make it.
    fn flush_reach(&self) -> PhysicalOffset {
        match self.context.flush_policy {
            FlushPolicy::Async => ALL,
            FlushPolicy::Sync => self.flushed,
        }
    }

    /// On as many brokers as it has to be.
    fn copy_reach(&self) -> PhysicalOffset {
        match self.context.copies.slaves == 0 || self.does_without() {
            true => ALL,
            false => self.copied,
        }
    }

    /// Answers what the policy allows, and lets consumers see it.
    fn advance(&mut self) {
        if !self.context.answers_wait() {
            return;
        }
        let reach = self.flush_reach().min(self.copy_reach());
        while let Some(mut parked) = self.parked.pop_front() {
            let end = parked.park.end;
            if end > reach {
                self.parked.push_front(parked);
                break;
            }
            // Dropping it answers it.
            match self.context.copies.slaves > 0 && end > self.copied {
                true => parked.park.settle_as(SendStatus::SlaveNotAvailable),
                false => parked.park.settle(),
            }
        }
        let committed = reach.min(self.context.store.log.appended());
        if committed > self.context.positions.committed() {
            self.dispatcher.tell(Advance { committed });
        }
    }

    /// Answers what waits for too long: it is stored, but perhaps not as safe as it should be.
    fn release_late(&mut self) {
        let flush_limit = self.context.settings.store.sync_flush_timeout_ms;
        let flush_limit = Duration::from_millis(flush_limit);
        let flush_reach = self.flush_reach();
        while let Some(mut parked) = self.parked.pop_front() {
            let (limit, status) = match parked.park.end > flush_reach {
                true => (flush_limit, SendStatus::FlushTimeout),
                false => (self.context.copies.timeout, SendStatus::ReplicationTimeout),
            };
            if parked.since.elapsed() < limit {
                self.parked.push_front(parked);
                return;
            }
            parked.park.settle_as(status);
        }
    }

    fn refuse(&mut self, reason: &str) {
        let refusal = Refusal::unknown(
            ErrorCode::StorageFailed,
            format!("the message may not be durable, because {reason}: look at the broker's disk"),
        );
        for mut parked in self.parked.drain(..) {
            let batch = &mut parked.park.batch;
            batch.restate(|_| Outcome::Refused(Box::new(refusal.clone())));
            parked.park.settle();
        }
    }
}

impl Cast for CommitTracker {
    type State = CommitTrackerState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        if !self.context.standing.is_slave() {
            // An earlier incarnation may have found too few slaves where there are enough now.
            self.context.gate.set(Cause::Slaves, None);
            ctx.every(LOOK, |tracker, _| {
                tracker.look();
                tracker.advance();
                tracker.release_late();
            });
            self.look();
        }
        // What an earlier incarnation was told may not have reached the dispatcher.
        self.advance();
        if self.context.flush_policy == FlushPolicy::Sync {
            // Nor may what was parked with it have been flushed, and perhaps no message follows that would have it done.
            self.flusher
                .tell(FlushTo(self.context.store.log.appended()));
        }
        Ok(())
    }

    fn observe(&self) -> CommitTrackerState {
        let copies = self.context.copies.slaves > 0;
        CommitTrackerState {
            flushed: self.flushed.0,
            copied: copies.then_some(self.copied.0),
            has_slaves: self.has_slaves,
            parked_batches: self.parked.len(),
            failure: self.failure.clone(),
        }
    }
}

impl Receive<Park> for CommitTracker {
    fn receive(&mut self, park: Park, _ctx: &mut Ctx<'_, Self>) {
        let end = park.end;
        self.parked.push_back(Parked {
            park,
            since: Instant::now(),
        });
        // It may have nothing but what was stored before, or no messages at all: nobody would flush anything for it.
        self.advance();
        if self.context.flush_policy == FlushPolicy::Async || end <= self.flushed {
            return;
        }
        match self.failure.clone() {
            Some(reason) => self.refuse(&reason),
            None => {
                self.flusher.tell(FlushTo(end));
            }
        }
    }
}

impl Receive<Flushed> for CommitTracker {
    fn receive(&mut self, Flushed(end): Flushed, _ctx: &mut Ctx<'_, Self>) {
        self.flushed = self.flushed.max(end);
        self.context.pulse.beat();
        self.advance();
    }
}

impl Receive<FlushFailed> for CommitTracker {
    fn receive(&mut self, FlushFailed { reason }: FlushFailed, _ctx: &mut Ctx<'_, Self>) {
        self.refuse(&reason);
        self.failure = Some(reason);
    }
}

impl Receive<Acknowledged> for CommitTracker {
    fn receive(&mut self, Acknowledged: Acknowledged, _ctx: &mut Ctx<'_, Self>) {
        self.look();
        self.advance();
    }
}
