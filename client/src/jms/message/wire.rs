//! Messages as the client sends and receives them: headers and properties in properties of strings.

use std::sync::Arc;

use castmq_protocol::model::jms_keys;

use super::Message;
use super::body::{Body, BodyKind};
use super::headers::{DeliveryMode, Headers};
use super::properties::Properties;
use crate::jms::Destination;
use crate::jms::error::Result;
use crate::message::{QueueChoice, ReceivedMessage};

impl Message {
    /// The message to send. Those without a group go to the queue that `order` chooses.
    pub(in crate::jms) fn to_send(
        &self,
        topic: Arc<str>,
        order: &Arc<str>,
    ) -> Result<crate::Message> {
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
    pub(in crate::jms) fn received(
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
                expiration_ms: received.expires_at_ms().unwrap_or_default(),
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
}

#[cfg(test)]
mod tests {
    use super::super::Value;
    use super::*;
    use crate::jms::error::Error;
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
