//! Messages: headers, typed properties, and one of six kinds of body.
//!
//! - `headers`: what a message says about itself; `properties`: what its producer adds; `value`: their types.
//! - `wire`: messages as they are sent and received.
//! - `body`: the kinds; `stream`: those that are read from their beginning; `encoding`: maps and streams as bytes.

mod body;
mod encoding;
mod headers;
mod properties;
mod stream;
mod value;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
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
    /// [`Error::IllegalState`] when the session is closed. [`Error::Client`] when the broker does not know it, or one of those
    /// that its session has consumed, as this session's any more: that one comes again, the others are acknowledged, and the
    /// session's next acknowledgement is not about it. Whatever the error, acknowledging again is harmless.
    pub async fn acknowledge(&self) -> Result<()> {
        match &self.delivered {
            Some(delivered) => delivered.acknowledge().await,
            None => Ok(()),
        }
    }

    pub(super) fn delivered(mut self, delivered: Delivered) -> Self {
        self.delivered = Some(Arc::new(delivered));
        self
    }
}

fn json(value: &impl Serialize) -> Result<Bytes> {
    let json = serde_json::to_vec(value)
        .map_err(|error| Error::format(format!("the object cannot be said in JSON: {error}")))?;
    Ok(json.into())
}
