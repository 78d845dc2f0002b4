//! A reply on its way from whoever answers a request to whoever asked, whichever wire each of them speaks.

use std::net::SocketAddr;
use std::ops::Range;

use castmq_protocol::model::{
    PhysicalOffset, QueueId, QueueOffset, keys, property_value, replace_properties, system_topics,
};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_protocol::record::{Record, sys_flag};

use super::sending::{Collected, Sending};
use crate::broker::context::BrokerContext;
use crate::delivery::requesters::PushReply;
use crate::names::shortened;
use crate::storage::append::{AppendMessage, AppendRequest};
use crate::supervision::Mailbox;

/// The only queue of the topic in which replies are stored.
const QUEUE: QueueId = QueueId(0);

/// Bits of a reply's flags that are not the broker's.
const SENT_FLAGS: i32 = sys_flag::COMPRESSED | sys_flag::COMPRESSION_MASK;

/// Letters of a client id, or a request's id, that errors show: longer than any that was made by a client.
const SHOWN_LETTERS: usize = 128;

/// What a responder sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replying<'a> {
    pub(crate) flag: i32,
    pub(crate) sys_flag: i32,
    pub(crate) born_timestamp_ms: i64,
    pub(crate) properties: &'a [u8],
    pub(crate) body: &'a [u8],
}

pub(crate) fn not_awaited(message: impl Into<String>) -> Refusal {
    Refusal::never(ErrorCode::ReplyNotAwaited, message)
}

impl Replying<'_> {
    /// The requester, and the reply as a record for it.
    pub(crate) fn for_requester(
        &self,
        context: &BrokerContext,
        born_host: SocketAddr,
        sending: &Sending,
    ) -> Result<(Mailbox<PushReply>, Vec<u8>), Refusal> {
        let now_ms = context.clock.now_ms();
        let pushed_at = now_ms.to_string();
        let pushed = replace_properties(
            self.properties,
            &[(keys::PUSH_REPLY_TIME, Some(&pushed_at))],
        );
        sending.check_sizes(&pushed, self.body)?;
        let request = self.named(keys::CORRELATION_ID)?;
        let client_id = self.named(keys::REPLY_TO_CLIENT)?;
        let requester = context.requesters.find(client_id).ok_or_else(|| {
            not_awaited(format!(
                "client {} is not connected to take the reply to request {}: it is gone, or never asked",
                shortened(client_id, SHOWN_LETTERS),
                shortened(request, SHOWN_LETTERS)
            ))
        })?;
        let record = Record {
            topic: &system_topics::replies(&context.settings.broker.cluster_name),
            queue: QUEUE,
            queue_offset: QueueOffset::ZERO,
            physical_offset: PhysicalOffset::ZERO,
            flag: self.flag,
            sys_flag: self.sys_flag & SENT_FLAGS,
            born_timestamp_ms: self.born_timestamp_ms,
            born_host,
            store_timestamp_ms: now_ms,
            store_host: context.store_host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: self.body,
            body_crc: None,
            properties: &pushed,
        };
        let mut encoded = vec![0; record.encoded_bytes()];
        record.encode(&mut encoded);
        Ok((requester, encoded))
    }

    /// Whether it says for whom it is.
    pub(crate) fn check(&self, sending: &Sending) -> Result<(), Refusal> {
        sending.check_sizes(self.properties, self.body)?;
        self.named(keys::CORRELATION_ID)?;
        self.named(keys::REPLY_TO_CLIENT).map(drop)
    }

    fn named(&self, name: &str) -> Result<&str, Refusal> {
        property_value(self.properties, name).ok_or_else(|| {
            Refusal::never(
                ErrorCode::InvalidRequest,
                format!("a reply needs the property {name}: copy it from the request"),
            )
        })
    }

    /// Adds it to a batch where replies are stored, whatever becomes of it: RocketMQ keeps those that nobody waits for, too. A
    /// requester gets its reply when the disk is full, too.
    pub(crate) fn store(
        &self,
        context: &BrokerContext,
        properties: Range<u32>,
        body: Range<u32>,
        batch: &mut Collected,
    ) {
        let is_stored = context.settings.broker.store_replies;
        let topic = system_topics::replies(&context.settings.broker.cluster_name);
        let topic = is_stored.then(|| context.topics.find(&topic)).flatten();
        let topic = topic.filter(|topic| topic.check_write(Some(QUEUE)).is_ok());
        let (Some(topic), Ok(())) = (topic, context.check_writes()) else {
            return;
        };
        batch.messages.push(AppendMessage {
            flag: self.flag,
            properties,
            body,
            body_crc: None,
        });
        batch.requests.push(AppendRequest {
            is_one_way: true,
            sys_flag: self.sys_flag & SENT_FLAGS,
            born_timestamp_ms: self.born_timestamp_ms,
            ..AppendRequest::new(0, topic.id, Some(QUEUE))
        });
    }
}
