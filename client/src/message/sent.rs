//! What a producer sends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use castmq_protocol::model::{
    MAX_PRIORITY, MAX_PROPERTIES_BYTES, Properties, PropertiesError, TopicName, expires_at_ms,
    keys, property_pairs, property_value,
};
use castmq_protocol::native::request::SendExtras;

use super::now_ms;
use super::queue::QueueChoice;
use crate::error::{Error, Result};

/// A message to send.
///
/// # Examples
///
/// ```
/// use castmq_client::Message;
///
/// # fn main() -> castmq_client::Result<()> {
/// let plain = Message::new("orders", "just a body");
/// let full = Message::builder("orders", vec![1, 2, 3])
///     .tag("created")
///     .key("order-17")
///     .property("region", "eu")
///     .ordering_key("customer-4")
///     .build()?;
/// assert_eq!(plain.topic(), full.topic());
/// assert_eq!(full.property("TAGS"), Some("created"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Message {
    pub(crate) topic: Arc<str>,
    pub(crate) body: Bytes,
    /// In the text form in which they are sent and stored.
    pub(crate) properties: String,
    pub(crate) choice: QueueChoice,
    pub(crate) flag: i32,
    pub(crate) no_wait: bool,
    pub(crate) extras: Option<Box<SendExtras>>,
}

impl Message {
    /// A topic and a body, nothing else. The topic's name is checked when the message is sent.
    ///
    /// An `Arc<str>` as topic saves the copy that a `&str` costs.
    pub fn new(topic: impl Into<Arc<str>>, body: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            body: body.into(),
            properties: String::new(),
            choice: QueueChoice::Any,
            flag: 0,
            no_wait: false,
            extras: None,
        }
    }

    /// A message with more than a topic and a body.
    pub fn builder(topic: impl Into<Arc<str>>, body: impl Into<Bytes>) -> MessageBuilder {
        MessageBuilder {
            message: Self::new(topic, body),
            keys: String::new(),
            error: None,
        }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The body as it was given.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&str> {
        property_value(self.properties.as_bytes(), name)
    }

    /// All properties.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        property_pairs(self.properties.as_bytes()).filter_map(|(name, value)| {
            Some((
                std::str::from_utf8(name).ok()?,
                std::str::from_utf8(value).ok()?,
            ))
        })
    }

    /// Which queue it goes to.
    pub fn choice(&self) -> &QueueChoice {
        &self.choice
    }

    /// Whether its broker chooses the queue: by its priority, or in turn.
    pub(crate) fn leaves_choice(&self) -> bool {
        self.choice == QueueChoice::Any
            && self.extras.is_some()
            && self.property(keys::PRIORITY).is_some()
    }

    /// Bytes that it holds in memory, roughly.
    pub(crate) fn weight_bytes(&self) -> usize {
        // What the producer keeps for a message besides its content.
        const OVERHEAD_BYTES: usize = 256;
        self.body.len() + self.properties.len() + OVERHEAD_BYTES
    }

    /// Adds or replaces a property.
    pub(crate) fn set_property(&mut self, name: &str, value: &str) -> Result<(), PropertiesError> {
        let plain =
            |text: &str| !text.is_empty() && !text.bytes().any(|byte| matches!(byte, 1 | 2));
        let length = self.properties.len() + name.len() + value.len() + 2;
        if !plain(name) || !plain(value) || self.property(name).is_some() {
            // The long way, which replaces, and says exactly what is wrong.
            let mut properties = Properties::from_encoded(self.properties.as_bytes())?;
            properties.set(name, value)?;
            self.properties = String::from_utf8_lossy(properties.as_bytes()).into_owned();
            return Ok(());
        }
        if length > MAX_PROPERTIES_BYTES {
            return Err(PropertiesError::TooLong { length });
        }
        for part in [name, "\x01", value, "\x02"] {
            self.properties.push_str(part);
        }
        Ok(())
    }
}

/// Builds a [`Message`].
///
/// # Examples
///
/// ```
/// use castmq_client::Message;
///
/// let separators = Message::builder("orders", "body").property("bad\u{1}name", "x").build();
/// assert!(separators.is_err());
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct MessageBuilder {
    message: Message,
    keys: String,
    error: Option<PropertiesError>,
}

impl MessageBuilder {
    /// The tag, by which consumers can filter.
    pub fn tag(self, tag: &str) -> Self {
        self.property(keys::TAGS, tag)
    }

    /// A business key, by which the message can be found later. May be called several times; a key has no spaces.
    pub fn key(mut self, key: &str) -> Self {
        if !self.keys.is_empty() {
            self.keys.push(' ');
        }
        self.keys.push_str(key);
        self
    }

    /// A property of your own. A second value for a name replaces the first. Names that brokers use for what they say of a
    /// message ([`OF_BROKERS`](crate::model::keys::OF_BROKERS)) are refused.
    pub fn property(mut self, name: &str, value: &str) -> Self {
        if keys::OF_BROKERS.contains(&name) {
            let name = name.to_owned();
            self.error.get_or_insert(PropertiesError::Reserved { name });
        }
        if let Err(error) = self.message.set_property(name, value) {
            self.error.get_or_insert(error);
        }
        self
    }

    /// The queue: its number, or a [`Queue`](crate::Queue) with the broker.
    pub fn queue(mut self, choice: impl Into<QueueChoice>) -> Self {
        self.message.choice = choice.into();
        self
    }

    /// Messages with one ordering key go to one queue, and are stored in the order in which they are given to the producer,
    /// whatever has to be sent again.
    ///
    /// Of one queue's ordered messages one request is under way at a time; those that come meanwhile go together in the
    /// next. A message that is given up does not hold up those behind it: whoever must not have the gap awaits each send.
    /// One that was stored twice stands behind others the second time.
    pub fn ordering_key(mut self, key: &str) -> Self {
        self.message.choice = QueueChoice::Key(key.into());
        self.property(keys::SHARDING_KEY, key)
    }

    /// Your own flag, stored and not interpreted.
    pub fn flag(mut self, flag: i32) -> Self {
        self.message.flag = flag;
        self
    }

    /// Do not wait for flush or replicas, whatever the broker's policy (RocketMQ's `WAIT=false`).
    pub fn no_wait(mut self) -> Self {
        self.message.no_wait = true;
        self
    }

    /// Nobody gets the message from then on, in milliseconds since the epoch by the broker's clock; it counts as consumed,
    /// whoever had it before, and never becomes a dead letter. One that is past makes a message for nobody. Takes a time
    /// after the epoch.
    pub fn expires_at_ms(self, timestamp_ms: i64) -> Self {
        self.property(keys::EXPIRES_AT, &timestamp_ms.to_string())
    }

    /// Like [`expires_at_ms`](Self::expires_at_ms), so long after this call by the clock of this machine.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use castmq_client::Message;
    ///
    /// # fn main() -> castmq_client::Result<()> {
    /// let quote = Message::builder("quotes", "17.30")
    ///     .expires_after(Duration::from_secs(5))
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn expires_after(self, time: Duration) -> Self {
        let time_ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.expires_at_ms(now_ms().saturating_add(time_ms))
    }

    /// RocketMQ's delay level, 1-based: consumers get the message after the time that the broker has for that level.
    pub fn delay_level(mut self, level: u8) -> Self {
        self.extras().delay_level = level;
        self
    }

    /// When to deliver, in milliseconds since the epoch: consumers do not get the message before.
    pub fn deliver_at_ms(mut self, timestamp_ms: i64) -> Self {
        self.extras().deliver_at_ms = timestamp_ms;
        self
    }

    /// What is no time would be taken for none.
    fn check_expiration(&self) -> Result<()> {
        let encoded = self.message.properties.as_bytes();
        match property_value(encoded, keys::EXPIRES_AT) {
            Some(text) if expires_at_ms(encoded).is_none_or(|at_ms| at_ms == 0) => {
                Err(Error::setting(format!(
                    "a message cannot expire at {text}: it takes milliseconds since the epoch, 1 or more"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The message's priority, 0 (lowest) to 9.
    ///
    /// In a topic of the type `PRIORITY` it chooses the queue, unless the message names one or has an ordering key: poppers
    /// get messages of higher queues first, and so do handlers of what their consumer has received. Other topics store it,
    /// and that is all.
    pub fn priority(mut self, priority: u8) -> Self {
        self.extras().priority = priority;
        self.property(keys::PRIORITY, &priority.to_string())
    }

    fn check_priority(&self) -> Result<()> {
        match self.message.extras.as_deref() {
            Some(SendExtras { priority, .. }) if *priority > MAX_PRIORITY => Err(Error::setting(
                format!("a message cannot have priority {priority}: it takes 0 to {MAX_PRIORITY}"),
            )),
            _ => Ok(()),
        }
    }

    fn extras(&mut self) -> &mut SendExtras {
        self.message.extras.get_or_insert_default()
    }

    /// The message.
    ///
    /// # Errors
    ///
    /// When the topic's name, a property or a time breaks the rules.
    pub fn build(mut self) -> Result<Message> {
        TopicName::new(&self.message.topic)?;
        self.check_expiration()?;
        self.check_priority()?;
        if !self.keys.is_empty() {
            let keys = std::mem::take(&mut self.keys);
            self = self.property(keys::KEYS, &keys);
        }
        match self.error {
            Some(error) => Err(error.into()),
            None => Ok(self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_that_brokers_use_is_refused() {
        let forged = Message::builder("t", "b")
            .property("REAL_TOPIC", "u")
            .build();
        let refused = forged.unwrap_err().to_string();
        assert!(
            refused.contains("property REAL_TOPIC is for brokers"),
            "{refused}"
        );
    }

    #[test]
    fn keys_are_joined_and_an_ordering_key_is_a_property_too() {
        let message = Message::builder("t", "b")
            .key("k1")
            .tag("a")
            .tag("b")
            .key("k2")
            .ordering_key("c4")
            .build()
            .unwrap();
        let pairs: Vec<_> = message.properties().collect();
        assert_eq!(
            pairs,
            [("TAGS", "b"), ("__SHARDINGKEY", "c4"), ("KEYS", "k1 k2")]
        );
        assert_eq!(message.choice(), &QueueChoice::Key("c4".into()));
    }

    #[test]
    fn a_bad_property_or_topic_is_reported_when_built() {
        assert!(
            Message::builder("t", "b")
                .property("a\x01", "x")
                .build()
                .is_err()
        );
        assert!(Message::builder("t", "b").tag("").build().is_err());
        assert!(Message::builder("a b", "b").build().is_err());
        let long = "x".repeat(20_000);
        let both = Message::builder("t", "b")
            .property("a", &long)
            .property("b", &long);
        assert!(
            both.build()
                .unwrap_err()
                .to_string()
                .contains("the limit is 32767")
        );
    }

    #[test]
    fn a_message_expires_at_a_time_that_can_be_one_or_is_not_built() {
        let at = |timestamp_ms| {
            Message::builder("t", "b")
                .expires_at_ms(timestamp_ms)
                .build()
        };
        assert_eq!(at(1).unwrap().property("EXPIRES_AT"), Some("1"));
        assert!(at(i64::MAX).is_ok());
        for timestamp_ms in [0, -1, i64::MIN] {
            let error = at(timestamp_ms).unwrap_err().to_string();
            assert!(
                error.contains(&format!("expire at {timestamp_ms}: it takes")),
                "{error}"
            );
        }
        let by_hand = Message::builder("t", "b").property("EXPIRES_AT", "soon");
        assert!(by_hand.build().is_err());
        let ever = Message::builder("t", "b")
            .expires_after(Duration::MAX)
            .build()
            .unwrap();
        assert_eq!(ever.property("EXPIRES_AT"), Some("9223372036854775807"));
        let soon = Message::builder("t", "b")
            .expires_after(Duration::from_secs(60))
            .build()
            .unwrap();
        let at_ms: i64 = soon.property("EXPIRES_AT").unwrap().parse().unwrap();
        assert!((59_000..=60_000).contains(&(at_ms - now_ms())), "{at_ms}");
    }

    #[test]
    fn a_priority_is_a_property_too_and_only_those_there_are_can_be_built() {
        for priority in [0, 9] {
            let message = Message::builder("t", "b")
                .priority(priority)
                .build()
                .unwrap();
            assert_eq!(
                message.property("_SYS_MSG_PRIORITY_"),
                Some(&*priority.to_string())
            );
            assert!(message.leaves_choice());
        }
        let named = Message::builder("t", "b")
            .priority(9)
            .queue(3)
            .build()
            .unwrap();
        assert!(!named.leaves_choice());
        assert!(!Message::new("t", "b").leaves_choice());
        let error = Message::builder("t", "b").priority(10).build().unwrap_err();
        assert!(
            error.to_string().contains("priority 10: it takes 0 to 9"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn properties_are_encoded_as_the_protocol_does(pairs in prop::collection::vec(("[a-d]{1,2}", "[^\x01\x02]{1,9}"), 0..12)) {
            let mut message = Message::new("t", "b");
            let mut expected = Properties::new();
            for (name, value) in &pairs {
                message.set_property(name, value).unwrap();
                expected.set(name, value).unwrap();
            }
            prop_assert_eq!(message.properties.as_bytes(), expected.as_bytes());
        }
    }
}
