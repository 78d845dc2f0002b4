//! cleaner: removes what retention no longer keeps, and says when the disk is too full for more messages. On a thread of
//! its own.

use std::sync::Arc;
use std::time::Duration;

use castmq_config::RetentionSettings;
use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_storage::retention::{
    Decision, DiskLevel, Look, RetentionRules, SegmentAge, decide, local_hour,
};
use castmq_storage::store::StoreError;
use serde::Serialize;
use tokio::time::Instant;

use super::needed::Needed;
use crate::broker::context::{BrokerContext, Store};
use crate::broker::gate::Cause;
use crate::clock::Clock;
use crate::delivery::popper::MakeRoom;
use crate::supervision::{Answer, Cast, Ctx, Failure, Lost, Receive, Reply};
use crate::worker::{Worker, hand_over};

/// Time after which a segment that is still read loses its file all the same (RocketMQ's
/// `destroyMapedFileIntervalForcibly`). Its readers keep their bytes.
const FORCE_AFTER: Duration = Duration::from_secs(120);

/// Looks now. Answered when all is done that came of it.
#[derive(Debug)]
pub(crate) struct CleanNow {
    /// Also when it is not the hour to delete what has expired.
    pub(crate) at_any_hour: bool,
}

/// An operator who waits for a look.
type Waiting = Reply<Result<(), String>>;

#[derive(Debug)]
struct Work {
    was_refusing: bool,
    at_any_hour: bool,
    forces: bool,
    reply: Reply<Result<Cleaned, String>>,
}

#[derive(Debug)]
struct Cleaned {
    decision: Decision,
    /// Why it is not known what is needed: nothing is deleted.
    unknown: Option<String>,
    /// Segments whose readers are waited for.
    waiting: usize,
}

#[derive(Debug)]
struct Done(Result<Result<Cleaned, String>, Lost>);

/// See the module.
pub(crate) struct Cleaner {
    context: Arc<BrokerContext>,
    thread: Option<Worker<Work>>,
    is_busy: bool,
    level: DiskLevel,
    /// Since when segments wait for their readers.
    waits_since: Option<Instant>,
    last_error: Option<String>,
    /// The next look deletes what has expired at any hour.
    at_any_hour: bool,
    /// Those who wait for the look that is under way, and for the next.
    waiting: Vec<Waiting>,
    waiting_for_next: Vec<Waiting>,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct CleanerState {
    disk: String,
    waits_for_readers: bool,
    spare_segments: usize,
    last_error: Option<String>,
}

impl Cleaner {
    pub(crate) fn new(context: Arc<BrokerContext>) -> Self {
        Self {
            context,
            thread: None,
            is_busy: false,
            level: DiskLevel::Ok,
            waits_since: None,
            last_error: None,
            at_any_hour: false,
            waiting: Vec::new(),
            waiting_for_next: Vec::new(),
        }
    }

    fn look(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.is_busy {
            return;
        }
        let work = Work {
            was_refusing: self.level == DiskLevel::RefuseWrites,
            at_any_hour: std::mem::take(&mut self.at_any_hour),
            forces: self
                .waits_since
                .is_some_and(|since| since.elapsed() >= FORCE_AFTER),
            reply: Reply::to_mailbox(ctx.me().mailbox(), Done),
        };
        self.is_busy = hand_over(self.thread.as_ref(), work, ctx);
        if self.is_busy {
            self.waiting = std::mem::take(&mut self.waiting_for_next);
        }
    }

    fn cleaned(&mut self, cleaned: Cleaned) {
        let Decision {
            delete,
            is_held,
            level,
            reason,
        } = cleaned.decision;
        if level != self.level || !delete.is_empty() {
            tracing::info!(
                ?level,
                segments = delete.len(),
                reason,
                "looked at the disk"
            );
        }
        // Who is refused is told what holds now.
        if level != self.level || level == DiskLevel::RefuseWrites {
            let refuses = level == DiskLevel::RefuseWrites;
            let refusal = refuses.then(|| Refusal::safe(ErrorCode::DiskFull, reason));
            self.context.gate.set(Cause::Disk, refusal);
        }
        self.level = level;
        if is_held && let Ok(actors) = self.context.actors() {
            actors.popper.tell(MakeRoom);
        }
        self.waits_since = match cleaned.waiting {
            0 => None,
            _ => self.waits_since.or_else(|| Some(Instant::now())),
        };
        self.failed(cleaned.unknown);
    }

    fn spare_segments(&self) -> usize {
        let spares = self.context.store.log.spares();
        spares.map_or(0, |spares| spares.count())
    }

    fn failed(&mut self, error: Option<String>) {
        if let Some(error) = &error
            && self.last_error.as_ref() != Some(error)
        {
            tracing::error!(error, "retention cannot be carried out");
        }
        self.last_error = error;
    }
}

fn rules(settings: &RetentionSettings) -> RetentionRules {
    RetentionRules {
        delete_hours: settings.delete_hours.clone(),
        keep_hours: settings.keep_hours,
        max_used_percent: settings.disk_max_used_percent,
        force_percent: settings.disk_force_clean_percent,
        refuse_percent: settings.disk_refuse_writes_percent,
        force_enabled: settings.force_clean_enabled,
        batch_max: usize::try_from(settings.delete_batch_max).unwrap_or(usize::MAX),
    }
}

fn clean(
    store: &Store,
    clock: &Clock,
    rules: &RetentionRules,
    needed: &mut Needed,
    work: &Work,
) -> Result<Cleaned, String> {
    let text = |error: StoreError| error.to_string();
    let segments = store.log.segments().map_err(|e| text(e.into()))?;
    let segments: Vec<_> = segments
        .into_iter()
        .map(|segment| SegmentAge {
            base: segment.base,
            bytes: segment.bytes,
            modified: segment.modified,
            // Readers are waited for when the file is removed.
            in_use: false,
        })
        .collect();
    let space = store.log_space();
    let now = clock.now();
    let needed_from = needed.from();
    let look = Look {
        now,
        local_hour: local_hour(now),
        segments: &segments,
        space: space.map_err(|error| error.to_string())?,
        is_manual: work.at_any_hour,
        was_refusing: work.was_refusing,
        needed_from: *needed_from.as_ref().unwrap_or(&PhysicalOffset::ZERO),
        next_segment_bytes: store.room_for_segment(),
    };
    let decision = decide(rules, &look);
    for base in &decision.delete {
        // Refused until the next checkpoint when queues do not know all of it for good.
        if !store.retire(*base) {
            break;
        }
    }
    if !decision.delete.is_empty() {
        store.forget_removed().map_err(text)?;
    }
    let waiting = store
        .log
        .remove_retired(work.forces)
        .map_err(|e| text(e.into()))?;
    Ok(Cleaned {
        decision,
        unknown: needed_from.err().map(|error| error.to_string()),
        waiting,
    })
}

impl Cast for Cleaner {
    type State = CleanerState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        let (store, clock) = (self.context.store.clone(), self.context.clock.clone());
        let settings = &self.context.settings.retention;
        let rules = rules(settings);
        let mut needed = Needed::new(self.context.clone());
        self.thread = Some(Worker::start_in_background("clean", move |work: Work| {
            let cleaned = clean(&store, &clock, &rules, &mut needed, &work);
            work.reply.send(cleaned);
        })?);
        ctx.every(
            Duration::from_millis(settings.check_interval_ms),
            Self::look,
        );
        self.look(ctx);
        Ok(())
    }

    fn observe(&self) -> CleanerState {
        CleanerState {
            disk: format!("{:?}", self.level),
            waits_for_readers: self.waits_since.is_some(),
            spare_segments: self.spare_segments(),
            last_error: self.last_error.clone(),
        }
    }
}

impl Receive<Done> for Cleaner {
    fn receive(&mut self, Done(result): Done, ctx: &mut Ctx<'_, Self>) {
        self.is_busy = false;
        let outcome = match result {
            Ok(Ok(cleaned)) => {
                let unknown = cleaned.unknown.clone();
                self.cleaned(cleaned);
                unknown.map_or(Ok(()), Err)
            }
            Ok(Err(error)) => {
                self.failed(Some(error.clone()));
                Err(error)
            }
            Err(Lost) => return ctx.fail(Failure::new("the cleaner's thread died")),
        };
        for waiting in self.waiting.drain(..) {
            waiting.send(outcome.clone());
        }
        if !self.waiting_for_next.is_empty() {
            self.look(ctx);
        }
    }
}

impl Answer<CleanNow> for Cleaner {
    type Reply = Result<(), String>;

    fn answer(
        &mut self,
        CleanNow { at_any_hour }: CleanNow,
        reply: Reply<Self::Reply>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        self.at_any_hour |= at_any_hour;
        self.waiting_for_next.push(reply);
        self.look(ctx);
    }
}
