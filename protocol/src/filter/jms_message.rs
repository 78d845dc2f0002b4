//! What a selector sees of a stored message.

use std::cell::OnceCell;

use super::convert::{boolean, fraction, whole};
use super::{PropertyValues, Value};
use crate::model::jms_keys::{self, type_code, type_of};
use crate::model::property_value;
use crate::record::RecordView;

/// A stored message. Its properties have the types that its producer noted; those of other producers are strings.
pub(super) struct JmsMessage<'p> {
    properties: &'p [u8],
    /// When it was made, in milliseconds since the epoch.
    timestamp_ms: Option<i64>,
    types: OnceCell<&'p str>,
    /// JMSMessageID, which is stored without its prefix.
    message_id: OnceCell<Option<String>>,
}

impl<'p> JmsMessage<'p> {
    /// By its properties alone.
    pub(super) fn new(properties: &'p [u8]) -> Self {
        Self {
            properties,
            timestamp_ms: None,
            types: OnceCell::new(),
            message_id: OnceCell::new(),
        }
    }

    pub(super) fn of(record: &RecordView<'p>) -> Self {
        Self {
            timestamp_ms: Some(record.born_timestamp_ms()),
            ..Self::new(record.properties())
        }
    }

    fn stored(&self, name: &str) -> Option<&'p str> {
        property_value(self.properties, name)
    }

    fn message_id(&self) -> Option<&str> {
        let id = self.message_id.get_or_init(|| {
            let id = self.stored(jms_keys::MESSAGE_ID)?;
            Some([jms_keys::MESSAGE_ID_PREFIX, id].concat())
        });
        id.as_deref()
    }

    /// A property of the producer's own, with its type.
    fn typed(&self, name: &str) -> Option<Value<'p>> {
        let types = || self.stored(jms_keys::TYPES).unwrap_or_default();
        let code = type_of(self.types.get_or_init(types), name);
        if code == Some(type_code::EMPTY) {
            return Some(Value::Str(""));
        }
        let text = self.stored(name)?;
        match code {
            None => Some(Value::Str(text)),
            Some(type_code::BOOL) => Some(Value::Bool(boolean(text))),
            Some(type_code::FLOAT | type_code::DOUBLE) => fraction(text).map(Value::Float),
            Some(_) => whole(text).map(Value::Int),
        }
    }
}

impl PropertyValues for JmsMessage<'_> {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "JMSMessageID" => self.message_id().map(Value::Str),
            "JMSTimestamp" => self.timestamp_ms.map(Value::Int),
            "JMSPriority" => match self.stored(jms_keys::PRIORITY) {
                None => Some(Value::Int(jms_keys::DEFAULT_PRIORITY.into())),
                Some(text) => whole(text).map(Value::Int),
            },
            jms_keys::DELIVERY_MODE => {
                let mode = self.stored(jms_keys::DELIVERY_MODE);
                Some(Value::Str(mode.unwrap_or(jms_keys::PERSISTENT)))
            }
            jms_keys::TYPE | jms_keys::CORRELATION_ID => self.stored(name).map(Value::Str),
            "JMSXGroupID" => self.stored(jms_keys::GROUP_ID).map(Value::Str),
            jms_keys::GROUP_SEQUENCE => self.stored(name).and_then(whole).map(Value::Int),
            // Other headers are nothing that a selector can ask about.
            _ if name.starts_with("JMS") => None,
            _ => self.typed(name),
        }
    }
}
