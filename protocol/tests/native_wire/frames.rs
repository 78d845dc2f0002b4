//! Frames of all requests and responses, and what those share.

use bytes::Bytes;
use castmq_protocol::model::{QueueId, QueueOffset};
use castmq_protocol::native::frame::Frame;
use castmq_protocol::native::request::{PopReceipt, TopicQueue};
use castmq_protocol::native::response::PUSH;
use castmq_protocol::native::{ClientHeader, ServerHeader};

use super::requests::requests;
use super::responses::responses;

pub(crate) fn queue(topic: &str, queue: u32) -> TopicQueue {
    TopicQueue {
        topic: topic.into(),
        queue: QueueId(queue),
    }
}

pub(crate) const POP_RECEIPT: PopReceipt = PopReceipt {
    queue: QueueId(3),
    offset: QueueOffset(4),
    popped_at_ms: 1_700_000_000_000,
    invisible_ms: 60_000,
    attempt: 2,
};

pub(crate) fn client_frames() -> Vec<Frame<ClientHeader>> {
    let header = |(index, request)| ClientHeader {
        correlation: index as u64 + 1,
        request,
    };
    let frame = |header| Frame {
        header,
        payload: Bytes::from_static(b"pay"),
    };
    requests()
        .into_iter()
        .enumerate()
        .map(header)
        .map(frame)
        .collect()
}

pub(crate) fn server_frames() -> Vec<Frame<ServerHeader>> {
    let header = |response| ServerHeader {
        correlation: PUSH,
        response,
    };
    let frame = |header| Frame {
        header,
        payload: Bytes::new(),
    };
    responses().into_iter().map(header).map(frame).collect()
}
