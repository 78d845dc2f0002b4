//! The text with which a producer takes a message back that is not due yet.

use thiserror::Error;

use super::base64::{URL, decode, encode};

/// What names a message that can be taken back (RocketMQ `RecallMessageHandle`).
///
/// Its text is `v1` and its parts with spaces between them, in the Base64 of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecallHandle {
    /// The topic.
    pub topic: String,
    /// The broker that has the message.
    pub broker_name: String,
    /// When the message is due, in milliseconds since the epoch.
    pub due_ms: i64,
    /// The id that the client gave it.
    pub message_id: String,
}

/// A text that is no handle.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("recall handle is invalid: {text:?}")]
pub struct RecallHandleError {
    text: String,
}

impl RecallHandle {
    /// Reads the text.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, RecallHandleError> {
        Self::read(text).ok_or_else(|| RecallHandleError {
            text: text.chars().take(200).collect(),
        })
    }

    fn read(text: &str) -> Option<Self> {
        let plain = String::from_utf8(decode(text)?).ok()?;
        let mut parts = plain.strip_prefix("v1 ")?.split(' ');
        let handle = Self {
            topic: parts.next()?.to_owned(),
            broker_name: parts.next()?.to_owned(),
            due_ms: parts.next()?.parse().ok()?,
            message_id: parts.next()?.to_owned(),
        };
        parts.next().is_none().then_some(handle)
    }

    /// The text.
    pub fn text(&self) -> String {
        let Self {
            topic,
            broker_name,
            due_ms,
            message_id,
        } = self;
        let plain = format!("v1 {topic} {broker_name} {due_ms} {message_id}");
        encode(URL, plain.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_its_parts_in_base64() {
        let handle = RecallHandle {
            topic: "T".into(),
            broker_name: "broker-a".into(),
            due_ms: 1_700_000_000_000,
            message_id: "7F00".into(),
        };
        assert_eq!(
            handle.text(),
            "djEgVCBicm9rZXItYSAxNzAwMDAwMDAwMDAwIDdGMDA="
        );
        assert_eq!(RecallHandle::parse(&handle.text()), Ok(handle));
        for text in ["", "*", "djEgVA==", "djIgVCBiIDEgMQ==", "djEgVCBiIHggMQ=="] {
            assert!(RecallHandle::parse(text).is_err(), "{text}");
        }
    }
}
