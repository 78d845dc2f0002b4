//! What a responder sends back.

use std::sync::Arc;

use bytes::Bytes;
use castmq_protocol::model::keys;

use super::{Message, ReceivedMessage};
use crate::error::{Error, Result};

/// A reply to a request, for [`Producer::send_reply`](crate::Producer::send_reply).
///
/// # Examples
///
/// ```no_run
/// # async fn example(
/// #     producer: castmq_client::Producer,
/// #     request: castmq_client::ReceivedMessage,
/// # ) -> castmq_client::Result<()> {
/// use castmq_client::Reply;
///
/// let reply = Reply::to(&request, "12 pieces")?.property("warehouse", "north")?;
/// producer.send_reply(reply).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Reply {
    pub(crate) message: Message,
    /// The name of the broker on which the request lies, and where its requester waits.
    pub(crate) broker: Arc<str>,
}

impl Reply {
    /// A reply to a message that was sent with [`Producer::request`](crate::Producer::request), or by RocketMQ's.
    ///
    /// # Errors
    ///
    /// [`Error::NotARequest`] when nobody waits for a reply to the message.
    pub fn to(request: &ReceivedMessage, body: impl Into<Bytes>) -> Result<Self> {
        let named = |name| {
            request.property(name).ok_or_else(|| Error::NotARequest {
                topic: request.topic().into(),
                property: name,
            })
        };
        let mut message = Message::new(request.topic(), body);
        for name in [keys::CORRELATION_ID, keys::REPLY_TO_CLIENT] {
            message.set_property(name, named(name)?)?;
        }
        if let Some(ttl) = request.property(keys::TTL) {
            message.set_property(keys::TTL, ttl)?;
        }
        message.set_property(keys::MESSAGE_TYPE, keys::MESSAGE_TYPE_REPLY)?;
        Ok(Self {
            message,
            broker: request.broker().into(),
        })
    }

    /// A property of your own. A second value for a name replaces the first.
    ///
    /// # Errors
    ///
    /// When it breaks the rules for properties.
    pub fn property(mut self, name: &str, value: &str) -> Result<Self> {
        self.message.set_property(name, value)?;
        Ok(self)
    }

    /// Your own flag, passed on and not interpreted.
    pub fn flag(mut self, flag: i32) -> Self {
        self.message.flag = flag;
        self
    }

    /// The request's topic.
    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.message.topic
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::stored_record;

    fn received(properties: &[u8]) -> ReceivedMessage {
        let record = stored_record(0, b"how many?", properties, 0);
        ReceivedMessage::from_record(record.into()).unwrap()
    }

    #[test]
    fn a_reply_says_to_whom_it_goes_and_which_request_it_is_for() {
        let request =
            b"KEYS\x01k\x02CORRELATION_ID\x01c1\x02REPLY_TO_CLIENT\x01a@1\x02TTL\x013000\x02";
        let reply = Reply::to(&received(request), "12").unwrap();
        let reply = reply.property("warehouse", "north").unwrap();
        assert_eq!(
            reply.message.properties().collect::<Vec<_>>(),
            [
                ("CORRELATION_ID", "c1"),
                ("REPLY_TO_CLIENT", "a@1"),
                ("TTL", "3000"),
                ("MSG_TYPE", "reply"),
                ("warehouse", "north"),
            ]
        );
    }

    #[test]
    fn there_is_no_reply_to_what_is_no_request() {
        let error = Reply::to(&received(b"CORRELATION_ID\x01c1\x02"), "12").unwrap_err();
        assert!(matches!(error, Error::NotARequest { .. }), "{error}");
        assert!(error.to_string().contains("REPLY_TO_CLIENT"), "{error}");
    }
}
