//! Handing messages to a connection.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use castmq_protocol::model::QueueId;
use castmq_protocol::native::Request;
use castmq_protocol::native::request::{Send, SendBatch, SendExtras, send_flags};
use castmq_protocol::record::batch::Element;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::delivery::{BatchInFlight, InFlight};
use super::ready::Target;
use super::strand::Strand;
use crate::error::{Error, Result};
use crate::raw::Payload;

/// Whether the broker takes a message of this length.
pub(super) fn check_length(inflight: &InFlight, target: &Target) -> Result<()> {
    let limits = &target.session.connection.welcome().limits;
    let check = |what, bytes: usize, limit: u32| {
        let limit = limit as usize;
        if bytes <= limit {
            return Ok(());
        }
        Err(Error::TooLarge { what, bytes, limit })
    };
    let message = &inflight.message;
    check("body", message.body.len(), limits.max_message_bytes)?;
    check(
        "properties",
        message.properties.len(),
        limits.max_properties_bytes,
    )
}

/// Sends messages to a queue, in one request. Those that the connection does not take come back in `left`.
pub(super) fn send(
    target: &Arc<Target>,
    queue: QueueId,
    mut messages: Vec<Arc<InFlight>>,
    left: &mut Vec<Arc<InFlight>>,
) {
    if messages.len() > 1 {
        send_batch(target, queue, messages, left);
    } else if let Some(only) = messages.pop() {
        send_one(target, queue, only, left);
    }
}

/// Sends one message. It comes back in `left` when the connection does not take it.
pub(super) fn send_one(
    target: &Arc<Target>,
    queue: QueueId,
    inflight: Arc<InFlight>,
    left: &mut Vec<Arc<InFlight>>,
) {
    let request = single(target, queue, &inflight);
    let now = inflight.attempt_begins();
    inflight.begin_attempt(target, queue, now);
    let connection = &target.session.connection;
    if inflight.one_way {
        match connection.tell(request, payload(&inflight)) {
            Ok(()) => inflight.told(),
            Err(error) => left.extend(take_back(inflight, &error)),
        }
        return;
    }
    let timeout = inflight.deadline().saturating_duration_since(now);
    if let Err((error, inflight)) = connection.submit(request, inflight, payload, now, timeout) {
        left.extend(take_back(inflight, &error));
    }
}

fn single(target: &Target, queue: QueueId, inflight: &InFlight) -> Request {
    let message = &inflight.message;
    let mut flags = flags(message.no_wait);
    if inflight.one_way {
        flags |= send_flags::ONE_WAY;
    }
    Request::Send(Send {
        topic: target.alias,
        queue,
        flags,
        flag: message.flag,
        sys_flag: inflight.system_flag,
        born_timestamp_ms: inflight.born_timestamp_ms,
        properties_bytes: message.properties.len() as u32,
        extras: extras(inflight),
    })
}

/// What most messages do not have: what the sender asked for, and the number of one that has to be stored once.
fn extras(inflight: &InFlight) -> Option<Box<SendExtras>> {
    let mut extras = inflight.message.extras.clone();
    if let Some(number) = inflight.number() {
        let extras = extras.get_or_insert_default();
        extras.producer_id = number.producer_id;
        extras.producer_sequence = number.sequence;
        extras.settled_below = number.settled_below;
    }
    extras
}

fn payload(inflight: &InFlight) -> Payload<'_> {
    let message = &inflight.message;
    Payload::lent(message.properties.as_bytes(), &message.body)
}

fn batch_payload(batch: &BatchInFlight, encoded: Option<Bytes>) -> Payload<'_> {
    match (encoded, batch.members.first()) {
        (Some(encoded), _) => Payload::new(b"", encoded),
        (None, Some(only)) => payload(only),
        (None, None) => Payload::none(),
    }
}

fn send_batch(
    target: &Arc<Target>,
    queue: QueueId,
    members: Vec<Arc<InFlight>>,
    left: &mut Vec<Arc<InFlight>>,
) {
    let batch = BatchInFlight {
        target: target.clone(),
        members,
        strand: None,
    };
    submit(queue, batch, left);
}

/// Sends messages of an ordered queue, in one request. Returns whether there is an answer to wait for.
pub(super) fn send_in_order(
    target: &Arc<Target>,
    queue: QueueId,
    index: usize,
    strand: &Arc<Mutex<Strand>>,
    mut members: Vec<Arc<InFlight>>,
    left: &mut Vec<Arc<InFlight>>,
) -> bool {
    if let Some(lead) = members.first() {
        let followers = lead.take_followers();
        members.extend(followers);
    }
    match members.first() {
        None => false,
        Some(first) if first.one_way => {
            send(target, queue, members, left);
            false
        }
        Some(_) => {
            let batch = BatchInFlight {
                target: target.clone(),
                members,
                strand: Some((index, strand.clone())),
            };
            submit(queue, batch, left)
        }
    }
}

/// Whether the connection took it.
fn submit(queue: QueueId, batch: BatchInFlight, left: &mut Vec<Arc<InFlight>>) -> bool {
    let Some(first) = batch.members.first() else {
        return false;
    };
    let now = Instant::now();
    let timeout = first.deadline().saturating_duration_since(now);
    let connection = batch.target.session.connection.clone();
    let (request, encoded) = if batch.members.len() == 1 {
        (single(&batch.target, queue, first), None)
    } else {
        let request = Request::SendBatch(SendBatch {
            topic: batch.target.alias,
            queue,
            flags: flags(first.message.no_wait),
            sys_flag: first.system_flag,
            born_timestamp_ms: first.born_timestamp_ms,
            messages: batch.members.len() as u32,
            extras: extras(first),
        });
        (request, Some(encode(&batch.members)))
    };
    for member in &batch.members {
        member.begin_attempt(&batch.target, queue, now);
    }
    let batch = Arc::new(batch);
    let submitted = connection.submit(
        request,
        batch,
        |batch| batch_payload(batch, encoded),
        now,
        timeout,
    );
    match submitted {
        Ok(()) => true,
        Err((error, batch)) => {
            let members = batch.apart(&error).into_iter();
            left.extend(members.filter_map(|member| take_back(member, &error)));
            false
        }
    }
}

fn flags(no_wait: bool) -> u8 {
    if no_wait { send_flags::NO_WAIT } else { 0 }
}

/// Undoes an attempt that the connection did not take. `None` when there is no use in another.
fn take_back(inflight: Arc<InFlight>, error: &Error) -> Option<Arc<InFlight>> {
    inflight.undo_attempt();
    if error.is_retry_safe() {
        return Some(inflight);
    }
    inflight.fail(inflight.final_error(error.clone(), Instant::now()));
    None
}

fn encode(members: &[Arc<InFlight>]) -> Bytes {
    let elements = members.iter().map(|member| Element {
        flag: member.message.flag,
        body: &member.message.body,
        properties: member.message.properties.as_bytes(),
    });
    let bytes = elements
        .clone()
        .map(|element| element.encoded_bytes())
        .sum();
    let mut out = BytesMut::with_capacity(bytes);
    for element in elements {
        element.encode(&mut out);
    }
    out.freeze()
}
