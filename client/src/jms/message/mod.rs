//! Messages: headers, typed properties, and one of six kinds of body.
//!
//! - `headers`: what a message says about itself; `properties`: what its producer adds; `value`: their types.
//! - `body`: the kinds; `stream`: those that are read from their beginning; `encoding`: maps and streams as bytes.

mod body;
mod encoding;
mod headers;
mod properties;
mod stream;
mod value;

use std::sync::Arc;

use bytes::Bytes;
use castmq_protocol::model::jms_keys;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::body::Body;
pub use self::body::{BodyKind, MapBody};
pub use self::headers::DeliveryMode;
pub(super) use self::headers::Headers;
use self::properties::Properties;
pub use self::stream::{BytesBody, StreamBody};
pub use self::value::{FromValue, Value};
use super::Destination;
use super::delivery::Delivered;
use super::error::{Error, Result};
use crate::message::{QueueChoice, ReceivedMessage};

/// A message: headers, properties, and a body.
///
/// Sending sets its id, time, destination and the like. One that was received can be read only, until
/// [`clear_body`](Self::clear_body) and [`clear_properties`](Self::clear_properties); it can be sent on as it is.
///
/// # Examples
///
/// ```
/// use castmq_client::jms::Message;
///
/// # fn main() -> castmq_client::jms::Result<()> {
/// let mut message = Message::text("3 apples");
/// message.set_property("count", 3)?;
/// message.set_property("region", "eu")?;
/// message.set_correlation_id("order-17");
/// assert_eq!(message.property::<i64>("count")?, Some(3));
/// assert!(message.property::<i64>("region").is_err());
/// assert!(message.set_property("JMSXUserID", "me").is_err());
///
/// let object = Message::object(&("apples", 3))?;
/// let (fruit, count): (String, u32) = object.as_object()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Message {
    pub(super) headers: Headers,
    properties: Properties,
    body: Body,
    /// Until they are cleared.
    keeps_properties: bool,
    keeps_body: bool,
    delivered: Option<Arc<Delivered>>,
}

impl Default for Message {
    fn default() -> Self {
        Self::new()
    }
}

impl Message {
    /// A message without a body.
    pub fn new() -> Self {
        Self::with(Body::Plain)
    }

    /// A message with a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::with(Body::Text(text.into()))
    }

    /// A message with values by name; none yet.
    pub fn map() -> Self {
        Self::with(Body::empty(BodyKind::Map))
    }

    /// A message with values one behind the other; none yet.
    pub fn stream() -> Self {
        Self::with(Body::empty(BodyKind::Stream))
    }

    /// A message with bytes; none yet.
    pub fn bytes() -> Self {
        Self::with(Body::empty(BodyKind::Bytes))
    }

    /// A message with a value of a type of yours, as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::MessageFormat`] when JSON cannot say it: a map whose keys are no strings, for instance.
    pub fn object(value: &impl Serialize) -> Result<Self> {
        json(value).map(|json| Self::with(Body::Object(json)))
    }

    fn with(body: Body) -> Self {
        Self {
            headers: Headers::default(),
            properties: Properties::default(),
            body,
            keeps_properties: false,
            keeps_body: false,
            delivered: None,
        }
    }

    /// The kind of body.
    pub fn kind(&self) -> BodyKind {
        self.body.kind()
    }

    fn check_body(&self) -> Result<()> {
        match self.keeps_body {
            true => Err(Error::MessageNotWriteable {
                what: "body",
                instead: "clear_body()",
            }),
            false => Ok(()),
        }
    }

    /// The text.
    ///
    /// # Errors
    ///
    /// [`Error::MessageFormat`] when the body is of another kind, or was not UTF-8.
    pub fn as_text(&self) -> Result<&str> {
        match &self.body {
            Body::Text(text) => Ok(text),
            other => Err(other.not("text")),
        }
    }

    /// Replaces the text.
    ///
    /// # Errors
    ///
    /// [`Error::MessageNotWriteable`] when it was received, and as [`as_text`](Self::as_text).
    pub fn set_text(&mut self, text: impl Into<String>) -> Result<()> {
        self.check_body()?;
        match &mut self.body {
            Body::Text(old) => {
                *old = text.into();
                Ok(())
            }
            other => Err(other.not("text")),
        }
    }

    /// The values by name.
    ///
    /// # Errors
    ///
    /// [`Error::MessageFormat`] when the body is of another kind, or could not be read.
    pub fn as_map(&self) -> Result<&MapBody> {
        match &self.body {
            Body::Map(map) => Ok(map),
            other => Err(other.not("map")),
        }
    }

    /// The values by name, to set more.
    ///
    /// # Errors
    ///
    /// [`Error::MessageNotWriteable`] when it was received, and as [`as_map`](Self::as_map).
    pub fn map_mut(&mut self) -> Result<&mut MapBody> {
        self.check_body()?;
        match &mut self.body {
            Body::Map(map) => Ok(map),
            other => Err(other.not("map")),
        }
    }

    /// The stream of values, to be written or read.
    ///
    /// # Errors
    ///
    /// [`Error::MessageFormat`] when the body is of another kind, or could not be read.
    pub fn stream_mut(&mut self) -> Result<&mut StreamBody> {
        match &mut self.body {
            Body::Stream(stream) => Ok(stream),
            other => Err(other.not("stream")),
        }
    }

    /// The bytes, to be written or read. Messages of producers that know nothing of JMS have such a body.
    ///
    /// # Errors
    ///
    /// [`Error::MessageFormat`] when the body is of another kind, or could not be read.
    pub fn bytes_mut(&mut self) -> Result<&mut BytesBody> {
        match &mut self.body {
            Body::Bytes(bytes) => Ok(bytes),
            other => Err(other.not("bytes")),
        }
    }

    /// The value of a type of yours.
    ///
    /// # Errors
    ///
    /// [`Error::MessageFormat`] when the body is of another kind, or is no such value.
    pub fn as_object<T: DeserializeOwned>(&self) -> Result<T> {
        match &self.body {
            Body::Object(json) => serde_json::from_slice(json)
                .map_err(|error| Error::format(format!("the body is no such object: {error}"))),
            other => Err(other.not("object")),
        }
    }

    /// Replaces the value.
    ///
    /// # Errors
    ///
    /// [`Error::MessageNotWriteable`] when it was received, and as [`object`](Self::object).
    pub fn set_object(&mut self, value: &impl Serialize) -> Result<()> {
        self.check_body()?;
        match &mut self.body {
            Body::Object(old) => {
                *old = json(value)?;
                Ok(())
            }
            other => Err(other.not("object")),
        }
    }

    /// Empties the body, which can be written then.
    pub fn clear_body(&mut self) {
        self.body = Body::empty(self.kind());
        self.keeps_body = false;
    }

    /// Sets a property: a boolean, a number or a string.
    ///
    /// # Errors
    ///
    /// [`Error::MessageNotWriteable`] when it was received. [`Error::MessageFormat`] when the name is none that selectors
    /// could name or is reserved, and for values that no property can have.
    pub fn set_property(&mut self, name: &str, value: impl Into<Value>) -> Result<()> {
        if self.keeps_properties {
            return Err(Error::MessageNotWriteable {
                what: "properties",
                instead: "clear_properties()",
            });
        }
        self.properties.set(name, value.into())
    }

    /// A property, `None` when there is none of this name.
    ///
    /// # Errors
    ///
    /// [`Error::MessageFormat`] when it cannot be read as this type, see [`FromValue`].
    pub fn property<T: FromValue>(&self, name: &str) -> Result<Option<T>> {
        self.properties.get(name)
    }

    /// All properties, sorted by name.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.properties.iter()
    }

    /// Removes all properties; others can be set then.
    pub fn clear_properties(&mut self) {
        self.properties.clear();
        self.keeps_properties = false;
    }

    /// JMSDestination: where it was sent.
    pub fn destination(&self) -> Option<&Destination> {
        self.headers.destination.as_ref()
    }

    /// JMSDeliveryMode.
    pub fn delivery_mode(&self) -> DeliveryMode {
        self.headers.delivery_mode
    }

    /// JMSMessageID, which begins with `ID:`.
    pub fn message_id(&self) -> Option<&str> {
        self.headers.message_id.as_deref()
    }

    /// JMSTimestamp: when it was sent, in milliseconds since the epoch, by the producer's clock.
    pub fn timestamp_ms(&self) -> i64 {
        self.headers.timestamp_ms
    }

    /// JMSExpiration: when nobody wants it any more, in milliseconds since the epoch; 0 for never.
    pub fn expiration_ms(&self) -> i64 {
        self.headers.expiration_ms
    }

    /// JMSDeliveryTime: before which it is not delivered, in milliseconds since the epoch; 0 for at once. Known where it is
    /// sent.
    pub fn delivery_time_ms(&self) -> i64 {
        self.headers.delivery_time_ms
    }

    /// JMSPriority: 0 lowest, 4 normal, 9 highest.
    pub fn priority(&self) -> u8 {
        self.headers.priority
    }

    /// JMSRedelivered: it was delivered before.
    pub fn redelivered(&self) -> bool {
        self.headers.delivery_count > 1
    }

    /// JMSXDeliveryCount: how often it was delivered, this time included.
    pub fn delivery_count(&self) -> u32 {
        self.headers.delivery_count
    }

    /// JMSReplyTo: where an answer is awaited.
    pub fn reply_to(&self) -> Option<&Destination> {
        self.headers.reply_to.as_ref()
    }

    /// Says where an answer is awaited.
    pub fn set_reply_to(&mut self, destination: &Destination) {
        self.headers.reply_to = Some(destination.clone());
    }

    /// JMSCorrelationID: what it belongs to, for an answer the id of what it answers.
    pub fn correlation_id(&self) -> Option<&str> {
        self.headers.correlation_id.as_deref()
    }

    /// Says what it belongs to.
    pub fn set_correlation_id(&mut self, id: impl Into<String>) {
        self.headers.correlation_id = Some(id.into());
    }

    /// JMSType.
    pub fn message_type(&self) -> Option<&str> {
        self.headers.message_type.as_deref()
    }

    /// Sets JMSType.
    pub fn set_message_type(&mut self, name: impl Into<String>) {
        self.headers.message_type = Some(name.into());
    }

    /// JMSXGroupID: messages of one group are stored in one queue of the broker's, in order (`__SHARDINGKEY`).
    pub fn group_id(&self) -> Option<&str> {
        self.headers.group_id.as_deref()
    }

    /// JMSXGroupSeq: its place in the group.
    pub fn group_sequence(&self) -> Option<i32> {
        self.headers.group_sequence
    }

    /// Makes it one of a group.
    pub fn set_group(&mut self, id: impl Into<String>, sequence: i32) {
        self.headers.group_id = Some(id.into());
        self.headers.group_sequence = Some(sequence);
    }

    /// Acknowledges. With [`Acknowledge::Client`](super::Acknowledge::Client): all messages that its session has consumed;
    /// with [`Acknowledge::Individual`](super::Acknowledge::Individual): this one. Otherwise nothing happens: the session
    /// sees to it.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] when the session is closed. [`Error::Client`] when the broker does not know it as this
    /// session's any more: it comes again. Whatever the error, acknowledging again is harmless.
    pub async fn acknowledge(&self) -> Result<()> {
        match &self.delivered {
            Some(delivered) => delivered.acknowledge().await,
            None => Ok(()),
        }
    }

    /// The message to send. Those without a group go to the queue that `order` chooses.
    pub(super) fn to_send(&self, topic: Arc<str>, order: &Arc<str>) -> Result<crate::Message> {
        let mut message = crate::Message::new(topic, self.body.encode());
        let headers = &self.headers;
        let mut set = |name: &str, value: &str| Ok(message.set_property(name, value)?);
        if let Some(id) = &headers.message_id {
            let id = id.strip_prefix(jms_keys::MESSAGE_ID_PREFIX).unwrap_or(id);
            set(jms_keys::MESSAGE_ID, id)?;
        }
        set(jms_keys::KIND, self.kind().as_str())?;
        if headers.delivery_mode == DeliveryMode::NonPersistent {
            set(jms_keys::DELIVERY_MODE, headers.delivery_mode.as_str())?;
        }
        if headers.priority != jms_keys::DEFAULT_PRIORITY {
            set(jms_keys::PRIORITY, &headers.priority.to_string())?;
        }
        if headers.expiration_ms != 0 {
            set(jms_keys::EXPIRES_AT, &headers.expiration_ms.to_string())?;
        }
        if let Some(destination) = &headers.reply_to {
            set(jms_keys::REPLY_TO, &destination.to_string())?;
        }
        for (name, value) in [
            (jms_keys::CORRELATION_ID, &headers.correlation_id),
            (jms_keys::TYPE, &headers.message_type),
            (jms_keys::GROUP_ID, &headers.group_id),
        ] {
            if let Some(value) = value {
                set(name, value)?;
            }
        }
        if let Some(sequence) = headers.group_sequence {
            set(jms_keys::GROUP_SEQUENCE, &sequence.to_string())?;
        }
        self.properties.store(set)?;
        message.choice = QueueChoice::Key(match &headers.group_id {
            Some(group) => group.as_str().into(),
            None => order.clone(),
        });
        message.no_wait = headers.delivery_mode == DeliveryMode::NonPersistent;
        if headers.delivery_time_ms != 0 {
            message.extras.get_or_insert_default().deliver_at_ms = headers.delivery_time_ms;
        }
        Ok(message)
    }

    /// A message that was received, whatever is in it.
    pub(super) fn received(
        received: &ReceivedMessage,
        destination: &Destination,
        delivery_count: u32,
    ) -> Self {
        let property = |name: &str| received.property(name).map(str::to_owned);
        let message_id = property(jms_keys::MESSAGE_ID);
        let message_id = message_id.unwrap_or_else(|| received.id().to_string());
        let stored_kind = received.property(jms_keys::KIND);
        let body = match received.body_bytes() {
            Ok(stored) => Body::decode(stored_kind, stored),
            Err(error) => {
                let stored = received.stored_body();
                Body::damaged(BodyKind::Bytes, stored, &error.to_string())
            }
        };
        let is_persistent =
            received.property(jms_keys::DELIVERY_MODE) != Some(jms_keys::NON_PERSISTENT);
        let priority = received.property(jms_keys::PRIORITY);
        let priority = priority.and_then(|text| text.parse().ok());
        let reply_to = received.property(jms_keys::REPLY_TO);
        let sequence = received.property(jms_keys::GROUP_SEQUENCE);
        Self {
            headers: Headers {
                destination: Some(destination.clone()),
                delivery_mode: match is_persistent {
                    true => DeliveryMode::Persistent,
                    false => DeliveryMode::NonPersistent,
                },
                message_id: Some([jms_keys::MESSAGE_ID_PREFIX, &message_id].concat()),
                timestamp_ms: received.born_timestamp_ms(),
                expiration_ms: expires_at_ms(received).unwrap_or_default(),
                delivery_time_ms: 0,
                priority: priority.unwrap_or(jms_keys::DEFAULT_PRIORITY),
                delivery_count,
                reply_to: reply_to.and_then(|text| text.parse().ok()),
                correlation_id: property(jms_keys::CORRELATION_ID),
                message_type: property(jms_keys::TYPE),
                group_id: property(jms_keys::GROUP_ID),
                group_sequence: sequence.and_then(|text| text.parse().ok()),
            },
            properties: Properties::of(
                received.properties(),
                received.property(jms_keys::TYPES).unwrap_or_default(),
            ),
            body,
            keeps_properties: true,
            keeps_body: true,
            delivered: None,
        }
    }

    pub(super) fn delivered(mut self, delivered: Delivered) -> Self {
        self.delivered = Some(Arc::new(delivered));
        self
    }
}

/// When nobody wants a message any more, in milliseconds since the epoch.
pub(super) fn expires_at_ms(received: &ReceivedMessage) -> Option<i64> {
    received.property(jms_keys::EXPIRES_AT)?.parse().ok()
}

fn json(value: &impl Serialize) -> Result<Bytes> {
    let json = serde_json::to_vec(value)
        .map_err(|error| Error::format(format!("the object cannot be said in JSON: {error}")))?;
    Ok(json.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::stored_record;

    /// Sends a message and receives it.
    fn through_the_log(message: &Message) -> Message {
        let sent = message.to_send("orders".into(), &"s".into()).unwrap();
        let record = stored_record(5, &sent.body, sent.properties.as_bytes(), 0);
        let received = ReceivedMessage::from_record(record.into()).unwrap();
        Message::received(&received, &Destination::queue("orders").unwrap(), 2)
    }

    #[test]
    fn headers_and_properties_come_as_they_were_sent() {
        let mut message = Message::text("hello");
        message.headers.message_id = Some("ID:AB".into());
        message.headers.delivery_mode = DeliveryMode::NonPersistent;
        message.headers.priority = 9;
        message.headers.expiration_ms = 77;
        message.set_reply_to(&Destination::topic("answers").unwrap());
        message.set_correlation_id("17");
        message.set_message_type("order");
        message.set_group("g", -3);
        message.set_property("count", 5_i16).unwrap();
        let received = through_the_log(&message);
        let expected = Headers {
            destination: Some(Destination::queue("orders").unwrap()),
            timestamp_ms: received.timestamp_ms(),
            delivery_count: 2,
            ..message.headers.clone()
        };
        assert_eq!(received.headers, expected);
        assert!(received.timestamp_ms() > 0 && received.redelivered());
        let properties: Vec<_> = received.properties().collect();
        assert_eq!(properties, [("count", &Value::Short(5))]);
        assert_eq!(received.as_text().unwrap(), "hello");
    }

    #[test]
    fn messages_of_a_group_go_to_its_queue_and_others_to_their_sessions() {
        let mut message = Message::new();
        let sent = message.to_send("t".into(), &"session".into()).unwrap();
        assert_eq!(sent.choice, QueueChoice::Key("session".into()));
        message.set_group("g", 1);
        let sent = message.to_send("t".into(), &"session".into()).unwrap();
        assert_eq!(sent.choice, QueueChoice::Key("g".into()));
        assert_eq!(sent.property("__SHARDINGKEY"), Some("g"));
        message.set_correlation_id("a\u{1}");
        assert!(matches!(
            message.to_send("t".into(), &"s".into()),
            Err(Error::MessageFormat(_))
        ));
    }

    #[test]
    fn what_was_received_can_only_be_read_until_it_is_cleared() {
        let mut map = Message::map();
        map.map_mut().unwrap().set("a", 1).unwrap();
        map.set_property("a", 1).unwrap();
        let mut received = through_the_log(&map);
        assert!(matches!(
            received.map_mut(),
            Err(Error::MessageNotWriteable { .. })
        ));
        let refused = received.set_property("b", 1);
        assert!(matches!(refused, Err(Error::MessageNotWriteable { .. })));
        assert_eq!(received.as_map().unwrap().get::<i32>("a").unwrap(), Some(1));
        received.clear_body();
        received.clear_properties();
        received.map_mut().unwrap().set("b", 2).unwrap();
        received.set_property("b", 1).unwrap();
        assert_eq!(
            received.as_map().unwrap().names().collect::<Vec<_>>(),
            ["b"]
        );

        let mut text = through_the_log(&Message::text("a"));
        assert!(matches!(
            text.set_text("b"),
            Err(Error::MessageNotWriteable { .. })
        ));
        let mut stream = through_the_log(&Message::stream());
        let stream = stream.stream_mut().unwrap();
        assert!(matches!(
            stream.write(1),
            Err(Error::MessageNotWriteable { .. })
        ));
        assert!(matches!(stream.read::<i32>(), Err(Error::MessageEof)));
    }

    #[test]
    fn a_body_is_not_read_as_another_kind() {
        let mut text = Message::text("a");
        assert!(matches!(text.as_map(), Err(Error::MessageFormat(_))));
        assert!(matches!(text.bytes_mut(), Err(Error::MessageFormat(_))));
        assert!(
            text.as_object::<u8>()
                .unwrap_err()
                .to_string()
                .contains("kind text")
        );
        let object = Message::object(&[1, 2]).unwrap();
        assert_eq!(object.as_object::<Vec<u8>>().unwrap(), [1, 2]);
        assert!(object.as_object::<String>().is_err());
    }

    #[test]
    fn a_message_of_another_producer_has_bytes_and_strings() {
        let record = stored_record(
            5,
            b"raw",
            b"TAGS\x01a\x02region\x01eu\x02JMSReplyTo\x01nowhere\x02",
            0,
        );
        let received = ReceivedMessage::from_record(record.into()).unwrap();
        let mut message = Message::received(&received, &Destination::topic("orders").unwrap(), 1);
        assert_eq!(message.bytes_mut().unwrap().as_slice(), b"raw");
        assert_eq!(message.property::<String>("region").unwrap().unwrap(), "eu");
        assert_eq!(message.property::<String>("TAGS").unwrap(), None);
        assert_eq!(
            message.message_id(),
            Some(format!("ID:{}", received.id()).as_str())
        );
        assert_eq!((message.priority(), message.redelivered()), (4, false));
        assert_eq!(message.reply_to(), None);
    }
}
