//! What consumers record: that they begin with a message, and how they were done with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use castmq_protocol::model::keys;
use castmq_protocol::trace::{Acknowledged, Consumed, DEFAULT_REGION, Delivered, TraceRecord};
use tokio::time::Instant;

use super::Tracer;
use crate::message::{ReceivedMessage, now_ms};
use crate::raw::milliseconds;

pub(crate) use castmq_protocol::trace::Consumed as Outcome;

/// A group whose consumer is traced.
#[derive(Debug, Clone)]
pub(crate) struct TracedGroup {
    pub(crate) tracer: Arc<Tracer>,
    pub(crate) group: Arc<str>,
}

/// A message that is being processed.
#[derive(Debug)]
pub(crate) struct Consuming {
    since: Instant,
    request_id: String,
    message_id: String,
    keys: Option<String>,
    is_done: AtomicBool,
}

impl TracedGroup {
    /// A message is given to whoever processes it. `None` when it is not traced.
    #[inline]
    pub(crate) fn begin(&self, message: &ReceivedMessage) -> Option<Box<Consuming>> {
        if !self.tracer.is_any() || !self.tracer.wants(message.topic()) {
            return None;
        }
        Some(self.begin_traced(message))
    }

    fn begin_traced(&self, message: &ReceivedMessage) -> Box<Consuming> {
        let unique_id = message.unique_id().map(str::to_owned);
        let consuming = Consuming {
            since: Instant::now(),
            request_id: format!("{:032X}", fastrand::u128(..)),
            message_id: unique_id.unwrap_or_else(|| message.id().to_string()),
            keys: message.property(keys::KEYS).map(str::to_owned),
            is_done: AtomicBool::new(false),
        };
        self.tracer.record(TraceRecord::Delivered(Delivered {
            timestamp_ms: now_ms(),
            region: DEFAULT_REGION.to_owned(),
            group: self.group.as_ref().to_owned(),
            request_id: consuming.request_id.clone(),
            message_id: consuming.message_id.clone(),
            retries: message.attempts().saturating_sub(1),
            keys: consuming.keys.clone(),
        }));
        Box::new(consuming)
    }

    /// It is known what came of it. Only the first time counts.
    pub(crate) fn end(&self, consuming: &Consuming, outcome: Consumed) {
        if consuming.is_done.swap(true, Ordering::Relaxed) {
            return;
        }
        self.tracer.record(TraceRecord::Acknowledged(Acknowledged {
            request_id: consuming.request_id.clone(),
            message_id: consuming.message_id.clone(),
            cost_ms: milliseconds(consuming.since.elapsed()),
            is_success: outcome == Consumed::Success,
            keys: consuming.keys.clone(),
            outcome,
            timestamp_ms: now_ms(),
            group: self.group.as_ref().to_owned(),
        }));
    }
}
