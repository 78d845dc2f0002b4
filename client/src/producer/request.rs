//! Handing messages to a connection.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use castmq_protocol::model::QueueId;
use castmq_protocol::native::Request;
use castmq_protocol::native::request::{Send, SendBatch, send_flags};
use castmq_protocol::record::batch::Element;
use tokio::time::Instant;

use super::delivery::{BatchInFlight, InFlight};
use super::ready::Target;
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
    let message = &inflight.message;
    let mut flags = flags(message.no_wait);
    if inflight.one_way {
        flags |= send_flags::ONE_WAY;
    }
    let request = Request::Send(Send {
        topic: target.alias,
        queue,
        flags,
        flag: message.flag,
        sys_flag: inflight.system_flag,
        born_timestamp_ms: inflight.born_timestamp_ms,
        properties_bytes: message.properties.len() as u32,
        extras: message.extras.clone(),
    });
    inflight.begin_attempt(target);
    let connection = &target.session.connection;
    if inflight.one_way {
        match connection.tell(request, payload(&inflight)) {
            Ok(()) => inflight.told(),
            Err(error) => left.extend(take_back(inflight, &error)),
        }
        return;
    }
    let now = inflight.attempt_begins();
    let timeout = inflight.deadline().saturating_duration_since(now);
    if let Err((error, inflight)) = connection.submit(request, inflight, payload, now, timeout) {
        left.extend(take_back(inflight, &error));
    }
}

fn payload(inflight: &InFlight) -> Payload<'_> {
    let message = &inflight.message;
    Payload::lent(message.properties.as_bytes(), &message.body)
}

fn send_batch(
    target: &Arc<Target>,
    queue: QueueId,
    members: Vec<Arc<InFlight>>,
    left: &mut Vec<Arc<InFlight>>,
) {
    let Some(first) = members.first() else {
        return;
    };
    let now = Instant::now();
    let request = Request::SendBatch(SendBatch {
        topic: target.alias,
        queue,
        flags: flags(first.message.no_wait),
        sys_flag: first.system_flag,
        born_timestamp_ms: first.born_timestamp_ms,
        messages: members.len() as u32,
        extras: None,
    });
    let timeout = first.deadline().saturating_duration_since(now);
    let encoded = encode(&members);
    for member in &members {
        member.begin_attempt(target);
    }
    let batch = Arc::new(BatchInFlight {
        target: target.clone(),
        members,
    });
    let connection = &target.session.connection;
    let submitted = connection.submit(request, batch, |_| Payload::new(b"", encoded), now, timeout);
    if let Err((error, batch)) = submitted {
        let members = batch.members.iter().cloned();
        left.extend(members.filter_map(|member| take_back(member, &error)));
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
