//! Messages that actors of the broker store.

use std::net::SocketAddr;

use castmq_protocol::model::QueueId;
use castmq_protocol::record::{RecordView, sys_flag};

use super::append::{AppendBatch, AppendExtras, AppendMessage, AppendRequest, Appended};
use super::log_writer::LogWriter;
use crate::broker::topics::TopicId;
use crate::supervision::{ActorRef, Mailbox};

/// Memory for more requests than this is given back.
const MAX_KEPT_REQUESTS: usize = 4096;

/// A message to be stored.
#[derive(Debug)]
pub(crate) struct Put<'a> {
    pub(crate) topic: TopicId,
    /// `None` leaves the choice to the log-writer.
    pub(crate) queue: Option<QueueId>,
    pub(crate) flag: i32,
    pub(crate) sys_flag: i32,
    pub(crate) born_timestamp_ms: i64,
    pub(crate) born_host: SocketAddr,
    pub(crate) reconsume_times: i32,
    /// See [`Origin`](castmq_protocol::record::Origin).
    pub(crate) prepared_transaction_offset: i64,
    pub(crate) properties: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl<'a> Put<'a> {
    /// The message of a record, to be stored in a topic once more. Its transaction is over, and it has no origin.
    pub(crate) fn again(record: &RecordView<'a>, topic: TopicId) -> Self {
        Self {
            topic,
            queue: None,
            flag: record.flag(),
            sys_flag: record.sys_flag() & !sys_flag::TRANSACTION_MASK,
            born_timestamp_ms: record.born_timestamp_ms(),
            born_host: record.born_host(),
            reconsume_times: record.reconsume_times(),
            prepared_transaction_offset: 0,
            properties: record.properties(),
            body: record.body(),
        }
    }
}

/// Messages to be stored in one go. They come back in this order as [`Appended`].
#[derive(Debug, Default)]
pub(crate) struct PutBatch {
    buffer: Vec<u8>,
    requests: Vec<AppendRequest>,
    messages: Vec<AppendMessage>,
    extras: Vec<AppendExtras>,
}

impl PutBatch {
    /// An empty one in the memory of a batch that came back, unless that was a large one.
    pub(crate) fn after(appended: Appended) -> Self {
        let (mut requests, mut messages) = (appended.requests, appended.messages);
        if requests.capacity() > MAX_KEPT_REQUESTS {
            return Self::default();
        }
        requests.clear();
        messages.clear();
        Self {
            requests,
            messages,
            ..Self::default()
        }
    }

    /// Adds a message, which is known by its number when it comes back.
    pub(crate) fn add(&mut self, correlation: u64, put: &Put<'_>) {
        self.add_with(correlation, put, None);
    }

    /// Like [`PutBatch::add`], with a check sum of the body that is known: that of a record it was read from, so that
    /// damage to that stays damage.
    pub(crate) fn add_checked(&mut self, correlation: u64, put: &Put<'_>, body_crc: u32) {
        self.add_with(correlation, put, Some(body_crc));
    }

    fn add_with(&mut self, correlation: u64, put: &Put<'_>, body_crc: Option<u32>) {
        let start = self.buffer.len() as u32;
        self.buffer.extend_from_slice(put.properties);
        let middle = self.buffer.len() as u32;
        self.buffer.extend_from_slice(put.body);
        let end = self.buffer.len() as u32;
        self.messages.push(AppendMessage {
            flag: put.flag,
            properties: start..middle,
            body: middle..end,
            body_crc,
        });
        self.requests.push(AppendRequest {
            sys_flag: put.sys_flag,
            born_timestamp_ms: put.born_timestamp_ms,
            reconsume_times: put.reconsume_times,
            extras: Some(self.extras.len() as u32),
            ..AppendRequest::new(correlation, put.topic, put.queue)
        });
        self.extras.push(AppendExtras {
            born_host: put.born_host,
            prepared_transaction_offset: put.prepared_transaction_offset,
            number: None,
        });
    }

    /// Messages in it.
    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Bytes of their properties and bodies.
    pub(crate) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Hands it to the log-writer. An empty one comes back when everything that was handed over before is in the log.
    pub(crate) fn send(self, writer: &ActorRef<LogWriter>, session: Mailbox<Appended>) {
        writer.tell(AppendBatch {
            buffer: self.buffer.into(),
            rewritten: Vec::new(),
            extras: self.extras,
            requests: self.requests,
            messages: self.messages,
            // Each says its own.
            born_host: SocketAddr::from(([0, 0, 0, 0], 0)),
            in_flight_bytes: 0,
            session,
            is_published: false,
        });
    }
}
