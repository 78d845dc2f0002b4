//! The six kinds of body.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::encoding::{decode_map, decode_stream, encode_map, encode_stream};
use super::stream::{BytesBody, StreamBody};
use super::value::{FromValue, Value};
use crate::jms::error::{Error, Result};

/// The kind of a message's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// None: a message of headers and properties.
    Plain,
    /// A text.
    Text,
    /// Values by name.
    Map,
    /// Values one behind the other.
    Stream,
    /// A value of a type of yours, through serde.
    Object,
    /// Bytes.
    Bytes,
}

impl BodyKind {
    /// As it is stored.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Text => "text",
            Self::Map => "map",
            Self::Stream => "stream",
            Self::Object => "object",
            Self::Bytes => "bytes",
        }
    }

    /// Messages of other producers, and of kinds that are not known, have bytes.
    fn of(stored: Option<&str>) -> Self {
        let kinds = [
            Self::Plain,
            Self::Text,
            Self::Map,
            Self::Stream,
            Self::Object,
        ];
        let mut kinds = kinds.into_iter();
        kinds
            .find(|kind| stored == Some(kind.as_str()))
            .unwrap_or(Self::Bytes)
    }
}

/// Values by name.
///
/// # Examples
///
/// ```
/// use castmq_client::jms::Message;
///
/// # fn main() -> castmq_client::jms::Result<()> {
/// let mut message = Message::map();
/// message.map_mut()?.set("count", 3)?;
/// assert_eq!(message.as_map()?.get::<i64>("count")?, Some(3));
/// assert_eq!(message.as_map()?.get::<i64>("other")?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MapBody(BTreeMap<String, Value>);

impl MapBody {
    /// Sets a value.
    ///
    /// # Errors
    ///
    /// [`Error::MessageFormat`] when the name is empty.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) -> Result<()> {
        if name.is_empty() {
            return Err(Error::format("a value of a map has no name: give it one"));
        }
        self.0.insert(name.to_owned(), value.into());
        Ok(())
    }

    /// A value, `None` when there is none of this name.
    ///
    /// # Errors
    ///
    /// [`Error::MessageFormat`] when it cannot be read as this type.
    pub fn get<T: FromValue>(&self, name: &str) -> Result<Option<T>> {
        self.0.get(name).map(T::from_value).transpose()
    }

    /// The names, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// A body.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Body {
    Plain,
    Text(String),
    Map(MapBody),
    Stream(StreamBody),
    Bytes(BytesBody),
    /// As JSON.
    Object(Bytes),
    /// What was received is not what it says.
    Damaged {
        kind: BodyKind,
        stored: Bytes,
        reason: Arc<str>,
    },
}

impl Body {
    pub(super) fn kind(&self) -> BodyKind {
        match self {
            Self::Plain => BodyKind::Plain,
            Self::Text(_) => BodyKind::Text,
            Self::Map(_) => BodyKind::Map,
            Self::Stream(_) => BodyKind::Stream,
            Self::Bytes(_) => BodyKind::Bytes,
            Self::Object(_) => BodyKind::Object,
            Self::Damaged { kind, .. } => *kind,
        }
    }

    /// What is left when the body is cleared.
    pub(super) fn empty(kind: BodyKind) -> Self {
        match kind {
            BodyKind::Plain => Self::Plain,
            BodyKind::Text => Self::Text(String::new()),
            BodyKind::Map => Self::Map(MapBody::default()),
            BodyKind::Stream => Self::Stream(StreamBody::default()),
            BodyKind::Bytes => Self::Bytes(BytesBody::default()),
            BodyKind::Object => Self::Object(Bytes::from_static(b"null")),
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        match self {
            Self::Plain => Bytes::new(),
            Self::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Self::Map(map) => encode_map(&map.0),
            Self::Stream(stream) => encode_stream(stream.values()),
            Self::Bytes(bytes) => bytes.to_bytes(),
            Self::Object(json) => json.clone(),
            Self::Damaged { stored, .. } => stored.clone(),
        }
    }

    /// Reads a stored body of a kind. One that is not of its kind is a body all the same, which says so when it is read:
    /// its message can still be acknowledged.
    pub(super) fn decode(stored_kind: Option<&str>, stored: Bytes) -> Self {
        let kind = BodyKind::of(stored_kind);
        let decoded = match kind {
            BodyKind::Plain => Ok(Self::Plain),
            BodyKind::Text => text(&stored).map(Self::Text),
            BodyKind::Map => decode_map(stored.clone()).map(|map| Self::Map(MapBody(map))),
            BodyKind::Stream => decode_stream(stored.clone())
                .map(|values| Self::Stream(StreamBody::received(values))),
            BodyKind::Bytes => Ok(Self::Bytes(BytesBody::received(stored.clone()))),
            BodyKind::Object => Ok(Self::Object(stored.clone())),
        };
        decoded.unwrap_or_else(|error| Self::damaged(kind, stored, &error.to_string()))
    }

    pub(super) fn damaged(kind: BodyKind, stored: Bytes, reason: &str) -> Self {
        Self::Damaged {
            kind,
            stored,
            reason: reason.into(),
        }
    }

    /// Why it is not read as `wanted`.
    pub(super) fn not(&self, wanted: &str) -> Error {
        match self {
            Self::Damaged { reason, .. } => Error::MessageFormat(reason.clone()),
            other => Error::format(format!(
                "the body is of kind {} and cannot be read as {wanted}",
                other.kind().as_str()
            )),
        }
    }
}

fn text(stored: &[u8]) -> Result<String> {
    std::str::from_utf8(stored)
        .map(str::to_owned)
        .map_err(|_| Error::format("the body says that it is a text, and is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_kind_is_read_as_it_was_stored() {
        let mut map = MapBody::default();
        map.set("a", 1).unwrap();
        assert!(map.set("", 1).is_err());
        let bodies = [
            Body::Plain,
            Body::Text("größe".into()),
            Body::Text(String::new()),
            Body::Map(map),
            Body::Stream(StreamBody::received(vec![1.into()])),
            Body::Bytes(BytesBody::received(Bytes::from_static(b"\x00\xFF"))),
            Body::Object(Bytes::from_static(b"[1]")),
        ];
        for body in bodies {
            let again = Body::decode(Some(body.kind().as_str()), body.encode());
            assert_eq!(again, body);
        }
    }

    #[test]
    fn a_body_that_is_not_what_it_says_is_an_error_when_it_is_read_and_is_kept() {
        for kind in ["text", "map", "stream"] {
            let stored = Bytes::from_static(b"\xFF\xFE");
            let body = Body::decode(Some(kind), stored.clone());
            assert!(matches!(body, Body::Damaged { .. }), "{kind}");
            assert_eq!(body.kind().as_str(), kind);
            assert_eq!(body.encode(), stored);
            assert!(matches!(body.not("x"), Error::MessageFormat(_)));
        }
    }

    #[test]
    fn messages_of_other_producers_have_bytes() {
        let body = Body::decode(None, Bytes::from_static(b"plain"));
        assert_eq!(body.kind(), BodyKind::Bytes);
    }

    proptest! {
        #[test]
        fn whatever_is_stored_is_some_body(kind in "plain|text|map|stream|object|bytes|other", stored in prop::collection::vec(any::<u8>(), 0..60)) {
            let body = Body::decode(Some(&kind), stored.into());
            let _ = body.encode();
        }
    }
}
