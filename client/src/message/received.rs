//! What a consumer gets.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes};
use castmq_protocol::model::{
    DEAD_LETTER_PREFIX, PhysicalOffset, QueueId, QueueOffset, RETRY_PREFIX, expires_at_ms, keys,
    property_pairs, property_value,
};
use castmq_protocol::record::{MessageId, RecordError, RecordView, sys_flag};

use super::decompress;
use super::queue::Queue;
use crate::error::{Error, Result};

/// Where messages come from; one for all messages of a queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) topic: Arc<str>,
    pub(crate) broker: Arc<str>,
}

/// A message from a queue.
///
/// It keeps the stored record as it came; nothing is copied. A clone is cheap. The bytes of messages that came together
/// lie in one block, so a message kept for long keeps the block: copy what you keep.
///
/// # Examples
///
/// ```no_run
/// # fn example(message: &castmq_client::ReceivedMessage) -> castmq_client::Result<()> {
/// let body = message.body()?;
/// println!("{} #{}: {} bytes", message.topic(), message.offset(), body.len());
/// if let Some(tag) = message.tag() {
///     println!("tagged {tag}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ReceivedMessage {
    record: Bytes,
    origin: Arc<Origin>,
    queue: QueueId,
    offset: QueueOffset,
    system_flag: i32,
    body: Part,
    properties: Part,
    attempts: u32,
    /// The body, once it has been decompressed. Apart, since few are compressed: messages pass through many hands, and
    /// short ones pass faster.
    decompressed: OnceLock<Box<Bytes>>,
}

/// A part of a record. Records are shorter than 4 GiB: their own length has 32 bits.
#[derive(Debug, Clone, Copy)]
struct Part {
    start: u32,
    length: u32,
}

impl Part {
    fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.length as usize
    }
}

impl ReceivedMessage {
    /// Reads the record at the front of `bytes` and moves behind it. Its own topic counts when there is no origin.
    pub(crate) fn take(bytes: &mut Bytes, origin: Option<&Arc<Origin>>) -> Result<Self> {
        let view = RecordView::parse(bytes)?;
        let field = |field| Error::Record(RecordError::Field { field });
        PhysicalOffset::from_i64(view.physical_offset()).map_err(|_| field("physical offset"))?;
        let part = |part: &[u8]| Part {
            start: (part.as_ptr().addr() - bytes.as_ptr().addr()) as u32,
            length: part.len() as u32,
        };
        let origin = match origin {
            Some(origin) => origin.clone(),
            None => Arc::new(Origin {
                topic: view.topic()?.into(),
                broker: "".into(),
            }),
        };
        let mut message = Self {
            origin,
            queue: view.queue()?,
            offset: view.queue_offset()?,
            system_flag: view.sys_flag(),
            body: part(view.body()),
            properties: part(view.properties()),
            attempts: u32::try_from(view.reconsume_times())
                .unwrap_or(0)
                .saturating_add(1),
            decompressed: OnceLock::new(),
            record: Bytes::new(),
        };
        message.record = bytes.split_to(view.total_bytes());
        Ok(message)
    }

    /// Reads a stored record, as it lies in a commit log, for tools that read one themselves.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] when it cannot be read.
    pub fn from_record(mut record: Bytes) -> Result<Self> {
        Self::take(&mut record, None)
    }

    /// The same message with another origin.
    pub(crate) fn of(mut self, origin: Arc<Origin>) -> Self {
        self.origin = origin;
        self
    }

    fn view(&self) -> Option<RecordView<'_>> {
        // It could be read when the message was made.
        RecordView::parse(&self.record).ok()
    }

    /// The topic; of a message that is tried again, or that is a dead letter, the one it was sent to.
    pub fn topic(&self) -> &str {
        let stored = &self.origin.topic;
        if stored.starts_with(RETRY_PREFIX) || stored.starts_with(DEAD_LETTER_PREFIX) {
            return self.property(keys::RETRY_TOPIC).unwrap_or(stored);
        }
        stored
    }

    /// The name of the broker that stores it; empty when it was not read from a queue.
    pub fn broker(&self) -> &str {
        &self.origin.broker
    }

    /// The queue's number.
    pub fn queue_id(&self) -> QueueId {
        self.queue
    }

    /// The queue that it was read from.
    pub fn queue(&self) -> Queue {
        Queue {
            topic: self.origin.topic.clone(),
            broker: self.origin.broker.clone(),
            id: self.queue,
        }
    }

    /// Its place in the queue.
    pub fn offset(&self) -> QueueOffset {
        self.offset
    }

    /// The body as the producer gave it. The first call decompresses it when it was compressed.
    ///
    /// # Errors
    ///
    /// [`Error::Compression`] when it was compressed and cannot be read; never otherwise.
    pub fn body(&self) -> Result<&[u8]> {
        if self.system_flag & sys_flag::COMPRESSED == 0 {
            return Ok(self.stored_slice());
        }
        if let Some(body) = self.decompressed.get() {
            return Ok(body);
        }
        let body = decompress(self.stored_slice(), self.system_flag)?;
        Ok(self.decompressed.get_or_init(|| Box::new(body)))
    }

    /// Like [`ReceivedMessage::body`], as a handle that can be kept and sent on without copying.
    pub fn body_bytes(&self) -> Result<Bytes> {
        if self.system_flag & sys_flag::COMPRESSED == 0 {
            return Ok(self.stored_body());
        }
        self.body()?;
        let body = self.decompressed.get();
        Ok(body.map_or_else(Bytes::new, |body| (**body).clone()))
    }

    /// The body as it is stored, compressed or not.
    pub fn stored_body(&self) -> Bytes {
        self.record.slice(self.body.range())
    }

    fn stored_slice(&self) -> &[u8] {
        self.record.get(self.body.range()).unwrap_or_default()
    }

    /// Compares the stored body with its check sum.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] when they differ.
    pub fn verify(&self) -> Result<()> {
        Ok(RecordView::parse(&self.record)?.verify_body()?)
    }

    fn encoded_properties(&self) -> &[u8] {
        self.record.get(self.properties.range()).unwrap_or_default()
    }

    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&str> {
        property_value(self.encoded_properties(), name)
    }

    /// All properties that are UTF-8.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        property_pairs(self.encoded_properties()).filter_map(|(name, value)| {
            Some((
                std::str::from_utf8(name).ok()?,
                std::str::from_utf8(value).ok()?,
            ))
        })
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.property(keys::TAGS)
    }

    /// The business keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.property(keys::KEYS)
            .unwrap_or_default()
            .split_whitespace()
    }

    /// The id that the producer gave it, the same in every copy of a message that was sent again.
    pub fn unique_id(&self) -> Option<&str> {
        self.property(keys::UNIQ_KEY)
    }

    /// The id that says where it is stored.
    pub fn id(&self) -> MessageId {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        self.view().map_or(
            MessageId {
                store_host: nowhere,
                physical_offset: PhysicalOffset::ZERO,
            },
            |view| MessageId {
                store_host: view.store_host(),
                physical_offset: PhysicalOffset::from_i64(view.physical_offset())
                    .unwrap_or_default(),
            },
        )
    }

    /// The producer's own flag.
    pub fn flag(&self) -> i32 {
        self.view().map_or(0, |view| view.flag())
    }

    /// When the producer made it, in milliseconds since the epoch, by its clock.
    pub fn born_timestamp_ms(&self) -> i64 {
        self.view().map_or(0, |view| view.born_timestamp_ms())
    }

    /// When the broker stored it, in milliseconds since the epoch.
    pub fn store_timestamp_ms(&self) -> i64 {
        self.view().map_or(0, |view| view.store_timestamp_ms())
    }

    /// The producer's address.
    pub fn born_host(&self) -> Option<SocketAddr> {
        self.view().map(|view| view.born_host())
    }

    /// How often the broker delivered it before, as far as it counts.
    pub fn reconsume_times(&self) -> i32 {
        self.view().map_or(0, |view| view.reconsume_times())
    }

    /// Which try of the group this is, from 1, as far as is known: those of an ordered queue are counted by the consumer
    /// that has it.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// When it expires by its own property, in milliseconds since the epoch by the broker's clock. Its topic may have it
    /// expire earlier.
    pub fn expires_at_ms(&self) -> Option<i64> {
        expires_at_ms(self.encoded_properties())
    }

    /// Whether it has expired, in a topic whose messages do so many milliseconds after they were stored; 0 for none.
    pub(crate) fn is_over(&self, ttl_ms: u64, now_ms: i64) -> bool {
        let of_topic = || self.store_timestamp_ms().saturating_add_unsigned(ttl_ms);
        (ttl_ms > 0 && of_topic() <= now_ms)
            || self.expires_at_ms().is_some_and(|at_ms| at_ms <= now_ms)
    }

    pub(crate) fn next_attempt(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    pub(crate) fn set_attempts(&mut self, attempts: u32) {
        self.attempts = attempts;
    }

    /// Length of its record, in bytes.
    pub fn record_bytes(&self) -> usize {
        self.record.len()
    }
}

impl fmt::Debug for ReceivedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedMessage")
            .field("topic", &self.origin.topic)
            .field("broker", &self.origin.broker)
            .field("queue", &self.queue)
            .field("offset", &self.offset)
            .field("body_bytes", &self.body.length)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// Reads records that lie one behind the other.
pub(crate) fn read_records(
    mut bytes: Bytes,
    origin: Option<&Arc<Origin>>,
    messages: u32,
) -> Result<Vec<ReceivedMessage>> {
    // A count that lies must not reserve memory; no record is shorter than this.
    const SHORTEST_RECORD_BYTES: usize = 91;
    let most = bytes.len() / SHORTEST_RECORD_BYTES;
    let mut read = Vec::with_capacity(most.min(messages as usize));
    while bytes.has_remaining() {
        read.push(ReceivedMessage::take(&mut bytes, origin)?);
    }
    Ok(read)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::{Compression, compress};
    use super::*;
    use castmq_protocol::record::Record;

    /// A stored record.
    pub(crate) fn record(offset: u64, body: &[u8], properties: &[u8], system_flag: i32) -> Vec<u8> {
        let record = Record {
            topic: "orders",
            queue: QueueId(2),
            queue_offset: QueueOffset(offset),
            physical_offset: PhysicalOffset(offset * 1000),
            flag: 7,
            sys_flag: system_flag,
            born_timestamp_ms: 1_700_000_000_001,
            born_host: "10.0.0.5:5000".parse().unwrap(),
            store_timestamp_ms: 1_700_000_000_002,
            store_host: "10.0.0.1:10911".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            body_crc: None,
            properties,
        };
        let mut out = vec![0; record.encoded_bytes()];
        record.encode(&mut out);
        out
    }

    fn origin() -> Arc<Origin> {
        Arc::new(Origin {
            topic: "orders".into(),
            broker: "a".into(),
        })
    }

    #[test]
    fn a_record_is_read_where_it_lies() {
        let properties = b"TAGS\x01created\x02KEYS\x01k1 k2\x02x\x01y\x02";
        let bytes = [record(5, b"hello", properties, 0), record(6, b"", b"", 0)].concat();
        let read = read_records(bytes.into(), Some(&origin()), 2).unwrap();
        let [first, second] = &read[..] else {
            panic!("two records are two messages")
        };
        assert_eq!(first.body().unwrap(), b"hello");
        assert_eq!(first.body_bytes().unwrap(), "hello");
        assert_eq!(first.queue().to_string(), "orders@a/2");
        assert_eq!(first.offset(), QueueOffset(5));
        assert_eq!(first.tag(), Some("created"));
        assert_eq!(first.keys().collect::<Vec<_>>(), ["k1", "k2"]);
        assert_eq!(first.property("x"), Some("y"));
        assert_eq!(first.id().physical_offset, PhysicalOffset(5000));
        assert_eq!(first.id().store_host.port(), 10911);
        assert_eq!(first.born_timestamp_ms(), 1_700_000_000_001);
        assert_eq!(
            (first.flag(), first.reconsume_times(), first.attempts()),
            (7, 0, 1)
        );
        first.verify().unwrap();
        assert_eq!(second.body().unwrap(), b"");
        assert_eq!(second.keys().count(), 0);
    }

    #[test]
    fn a_message_that_is_tried_again_is_of_the_topic_it_was_sent_to() {
        let origin = |topic: &str| {
            Arc::new(Origin {
                topic: topic.into(),
                broker: "a".into(),
            })
        };
        let take = |topic| {
            let mut bytes = Bytes::from(record(0, b"x", b"RETRY_TOPIC\x01orders\x02", 0));
            ReceivedMessage::take(&mut bytes, Some(&origin(topic))).unwrap()
        };
        for topic in ["%RETRY%billing", "%DLQ%billing"] {
            assert_eq!(take(topic).topic(), "orders");
            assert_eq!(&*take(topic).queue().topic, topic);
        }
        assert_eq!(take("other").topic(), "other");
    }

    #[test]
    fn a_compressed_body_is_given_as_it_was_sent() {
        let body = b"again and ".repeat(100);
        for form in [Compression::Zlib, Compression::Lz4, Compression::Zstd] {
            let (stored, bits) = compress(&body, form).unwrap();
            let mut bytes = Bytes::from(record(0, &stored, b"", bits));
            let message = ReceivedMessage::take(&mut bytes, None).unwrap();
            assert_eq!(message.body().unwrap(), &body[..]);
            assert_eq!(message.body_bytes().unwrap(), &body[..]);
            assert_eq!(message.stored_body(), stored);
        }
    }

    #[test]
    fn messages_stay_short() {
        assert!(size_of::<ReceivedMessage>() <= 96);
    }

    #[test]
    fn a_record_alone_names_its_topic_itself() {
        let message = ReceivedMessage::from_record(record(5, b"hello", b"", 0).into()).unwrap();
        assert_eq!((message.topic(), message.broker()), ("orders", ""));
        assert_eq!(message.body().unwrap(), b"hello");
        assert!(ReceivedMessage::from_record(Bytes::from_static(b"no record")).is_err());
    }

    #[test]
    fn damaged_records_are_errors() {
        let mut bytes = record(5, b"hello", b"", 0);
        assert!(read_records(Bytes::from(bytes[..50].to_vec()), None, 1).is_err());
        bytes[4] = 0;
        assert!(read_records(bytes.into(), None, 1).is_err());
    }
}
