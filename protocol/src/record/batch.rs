//! Many messages in one request: RocketMQ's classic batch body (`MessageDecoder.encodeMessages`).
//!
//! Each element is `total size i32, magic i32, body CRC i32, flag i32, body length i32, body, properties length i16,
//! properties`. Magic and CRC are written as 0 and not read.

use bytes::{BufMut, BytesMut};
use thiserror::Error;

/// Bytes of an element without body and properties.
pub const ELEMENT_BYTES: usize = 22;

/// Where an element's body begins in it.
pub const BODY_AT: usize = 20;

/// Bytes between an element's body and its properties: their length.
pub const PROPERTIES_LENGTH_BYTES: usize = 2;

/// Why a batch was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BatchError {
    /// An element's lengths do not fit what is there.
    #[error("element {index} of the batch says it has {length} bytes, {available} are left")]
    Length {
        /// Which element, from 0.
        index: usize,
        /// Bytes it claims.
        length: i64,
        /// Bytes there are.
        available: usize,
    },
    /// A batch without messages.
    #[error("the batch is empty")]
    Empty,
}

/// One message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// The producer's own flag.
    pub flag: i32,
    /// The body.
    pub body: &'a [u8],
    /// Properties in their text form.
    pub properties: &'a [u8],
}

impl Element<'_> {
    /// Bytes that the element takes.
    pub fn encoded_bytes(&self) -> usize {
        ELEMENT_BYTES + self.body.len() + self.properties.len()
    }

    /// Appends the element to a batch. Properties are at most 32767 bytes, which is the caller's to keep.
    pub fn encode(&self, out: &mut BytesMut) {
        out.reserve(self.encoded_bytes());
        out.put_i32(self.encoded_bytes() as i32);
        out.put_i32(0);
        out.put_i32(0);
        out.put_i32(self.flag);
        out.put_i32(self.body.len() as i32);
        out.put_slice(self.body);
        out.put_i16(self.properties.len() as i16);
        out.put_slice(self.properties);
    }
}

/// The elements of a batch, one after the other; ends after the first that is damaged.
pub fn elements(batch: &[u8]) -> Elements<'_> {
    Elements {
        rest: batch,
        index: 0,
    }
}

/// Iterator of [`elements`].
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
    index: usize,
}

impl<'a> Elements<'a> {
    fn split(&mut self) -> Option<Element<'a>> {
        let be_i32 =
            |bytes: &[u8], at: usize| Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let total = usize::try_from(be_i32(self.rest, 0)?).ok()?;
        let (element, rest) = self.rest.split_at_checked(total)?;
        let flag = be_i32(element, 12)?;
        let body_bytes = usize::try_from(be_i32(element, 16)?).ok()?;
        let (body, tail) = element.get(BODY_AT..)?.split_at_checked(body_bytes)?;
        let properties_bytes = i16::from_be_bytes(*tail.first_chunk()?);
        let properties = tail.get(PROPERTIES_LENGTH_BYTES..)?;
        if usize::try_from(properties_bytes).ok()? != properties.len() {
            return None;
        }
        self.rest = rest;
        Some(Element {
            flag,
            body,
            properties,
        })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (index, available) = (self.index, self.rest.len());
        self.index += 1;
        match self.split() {
            Some(element) => Some(Ok(element)),
            None => {
                let length = self
                    .rest
                    .first_chunk()
                    .map_or(0, |b| i32::from_be_bytes(*b));
                self.rest = &[];
                Some(Err(BatchError::Length {
                    index,
                    length: length.into(),
                    available,
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_rocketmqs() {
        let mut out = BytesMut::new();
        Element {
            flag: 9,
            body: b"ab",
            properties: b"k\x01v\x02",
        }
        .encode(&mut out);
        let expected = [
            0, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2, b'a', b'b', 0, 4, b'k', 1,
            b'v', 2,
        ];
        assert_eq!(&out[..], expected);
    }

    #[test]
    fn a_length_that_lies_is_an_error_and_ends_the_batch() {
        let mut out = BytesMut::new();
        let element = Element {
            flag: 0,
            body: b"body",
            properties: b"",
        };
        element.encode(&mut out);
        element.encode(&mut out);
        out[26 + 19] = 200;
        let read: Vec<_> = elements(&out).collect();
        assert_eq!(read[0], Ok(element));
        assert!(matches!(read[1], Err(BatchError::Length { index: 1, .. })));
        assert_eq!(read.len(), 2);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(messages in prop::collection::vec((any::<i32>(), prop::collection::vec(any::<u8>(), 0..50), prop::collection::vec(any::<u8>(), 0..50)), 0..20)) {
            let mut out = BytesMut::new();
            for (flag, body, properties) in &messages {
                Element { flag: *flag, body, properties }.encode(&mut out);
            }
            let read: Vec<_> = elements(&out).map(|e| e.unwrap()).map(|e| (e.flag, e.body.to_vec(), e.properties.to_vec())).collect();
            prop_assert_eq!(read, messages);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = elements(&bytes).count();
        }
    }
}
