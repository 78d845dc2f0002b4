//! What is recorded of messages that are traced.

use std::sync::Arc;

use castmq_protocol::model::keys;
use castmq_protocol::native::request::Resolution;
use castmq_protocol::native::response::Sent;
use castmq_protocol::record::MessageId;
use castmq_protocol::trace::{
    DEFAULT_REGION, MessageKind, Produced, TraceRecord, TransactionEnded,
};
use tokio::time::Instant;

use super::delivery::InFlight;
use crate::link::Session;
use crate::message::{Message, QueueChoice, now_ms};
use crate::raw::milliseconds;
use crate::trace::{DEFAULT_PRODUCER_GROUP, Tracer};

/// What a message is to those who read traces.
pub(super) fn kind_of(message: &Message) -> MessageKind {
    let extras = message.extras.as_ref();
    let waits = extras.is_some_and(|extras| extras.delay_level > 0 || extras.deliver_at_ms != 0);
    match message.choice {
        _ if waits => MessageKind::Delayed,
        QueueChoice::Key(_) => MessageKind::Ordered,
        _ => MessageKind::Normal,
    }
}

/// The address that RocketMQ's tools show for a broker: the one in message ids.
fn host_of(session: &Session) -> String {
    let host = session.store_host.map(|host| host.to_string());
    host.unwrap_or_else(|| session.address().as_ref().to_owned())
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

/// An attempt to send a message, and what is known of its end.
pub(super) struct Attempt<'a> {
    pub(super) group: &'a str,
    pub(super) message: &'a Message,
    pub(super) kind: MessageKind,
    pub(super) session: Option<&'a Session>,
    pub(super) began: Instant,
    /// Where it is stored, if it is and that is known.
    pub(super) stored: Option<MessageId>,
    pub(super) is_success: bool,
}

impl Attempt<'_> {
    /// Records it, unless the message has no id at all.
    pub(super) fn record(&self, tracer: &Tracer) {
        let stored_id = self.stored.map(|id| id.to_string());
        let unique_id = owned(self.message.property(keys::UNIQ_KEY));
        let Some(message_id) = unique_id.or_else(|| stored_id.clone()) else {
            return;
        };
        let cost_ms = milliseconds(self.began.elapsed());
        tracer.record(TraceRecord::Produced(Produced {
            timestamp_ms: now_ms().saturating_sub(cost_ms.into()),
            region: DEFAULT_REGION.to_owned(),
            group: self.group.to_owned(),
            topic: self.message.topic().to_owned(),
            message_id,
            tag: owned(self.message.property(keys::TAGS)),
            keys: owned(self.message.property(keys::KEYS)),
            store_host: self.session.map(host_of),
            body_bytes: u32::try_from(self.message.body.len()).unwrap_or(u32::MAX),
            cost_ms,
            kind: self.kind,
            stored_id,
            is_success: self.is_success,
            client_host: None,
        }));
    }
}

impl InFlight {
    pub(super) fn trace_stored(&self, place: &Sent, is_exact: bool) {
        let (target, began) = self.last_attempt();
        let id = target.as_ref().and_then(|target| {
            let session = &target.session;
            session.message_id(place.physical_offset)
        });
        self.trace(target, began, id.filter(|_| is_exact), true);
    }

    pub(super) fn trace_failed(&self) {
        let (target, began) = self.last_attempt();
        self.trace(target, began, None, false);
    }

    fn trace(
        &self,
        target: Option<Arc<super::ready::Target>>,
        began: Instant,
        stored: Option<MessageId>,
        is_success: bool,
    ) {
        let attempt = Attempt {
            group: DEFAULT_PRODUCER_GROUP,
            message: &self.message,
            kind: kind_of(&self.message),
            session: target.as_ref().map(|target| &*target.session),
            began,
            stored,
            is_success,
        };
        attempt.record(self.lane.tracer());
    }
}

/// A transaction whose end is recorded.
#[derive(Debug)]
pub(super) struct TracedTransaction {
    tracer: Arc<Tracer>,
    ended: TransactionEnded,
}

impl TracedTransaction {
    /// `property` tells the message's properties.
    pub(super) fn new<'a>(
        tracer: &Arc<Tracer>,
        group: &str,
        topic: &str,
        session: &Session,
        property: impl Fn(&str) -> Option<&'a str>,
    ) -> Option<Box<Self>> {
        if !tracer.wants(topic) {
            return None;
        }
        let id = property(keys::UNIQ_KEY)?;
        Some(Box::new(Self {
            tracer: tracer.clone(),
            ended: TransactionEnded {
                timestamp_ms: 0,
                region: DEFAULT_REGION.to_owned(),
                group: group.to_owned(),
                topic: topic.to_owned(),
                message_id: id.to_owned(),
                tag: owned(property(keys::TAGS)),
                keys: owned(property(keys::KEYS)),
                store_host: Some(host_of(session)),
                kind: MessageKind::Committed,
                transaction_id: id.to_owned(),
                resolution: Resolution::Unknown,
                from_check: false,
            },
        }))
    }

    /// The producer says what becomes of it.
    pub(super) fn end(mut self: Box<Self>, resolution: Resolution, from_check: bool) {
        self.ended.timestamp_ms = now_ms();
        self.ended.resolution = resolution;
        self.ended.from_check = from_check;
        self.tracer
            .record(TraceRecord::TransactionEnded(self.ended));
    }
}
