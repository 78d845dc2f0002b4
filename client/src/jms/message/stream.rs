//! Bodies that are written and then read from their beginning: streams of values, and bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::value::{FromValue, Value};
use crate::jms::error::{Error, Result};

fn not_writeable() -> Error {
    Error::MessageNotWriteable {
        what: "body",
        instead: "clear_body()",
    }
}

/// Values one behind the other. It is written first; after [`reset`](Self::reset), or received, it is read.
///
/// # Examples
///
/// ```
/// use castmq_client::jms::{Error, Message};
///
/// # fn main() -> castmq_client::jms::Result<()> {
/// let mut message = Message::stream();
/// let stream = message.stream_mut()?;
/// stream.write(7)?;
/// stream.write("apples")?;
/// assert!(matches!(stream.read::<i64>(), Err(Error::MessageNotReadable)));
/// stream.reset();
/// assert_eq!(stream.read::<i64>()?, 7);
/// assert_eq!(stream.read::<String>()?, "apples");
/// assert!(matches!(stream.read::<String>(), Err(Error::MessageEof)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamBody {
    values: Vec<Value>,
    /// The next value to read; `None` while it is written.
    next: Option<usize>,
}

impl StreamBody {
    pub(super) fn received(values: Vec<Value>) -> Self {
        Self {
            values,
            next: Some(0),
        }
    }

    pub(super) fn values(&self) -> &[Value] {
        &self.values
    }

    /// Adds a value.
    ///
    /// # Errors
    ///
    /// [`Error::MessageNotWriteable`] while it is read.
    pub fn write(&mut self, value: impl Into<Value>) -> Result<()> {
        if self.next.is_some() {
            return Err(not_writeable());
        }
        self.values.push(value.into());
        Ok(())
    }

    /// The next value.
    ///
    /// # Errors
    ///
    /// [`Error::MessageNotReadable`] while it is written, [`Error::MessageEof`] at its end. [`Error::MessageFormat`] when
    /// the value cannot be read as this type: it is still the next one then.
    pub fn read<T: FromValue>(&mut self) -> Result<T> {
        let next = self.next.as_mut().ok_or(Error::MessageNotReadable)?;
        let value = self.values.get(*next).ok_or(Error::MessageEof)?;
        let value = T::from_value(value)?;
        *next += 1;
        Ok(value)
    }

    /// Reads from the first value on.
    pub fn reset(&mut self) {
        self.next = Some(0);
    }
}

/// Bytes, with numbers as Java's `DataOutputStream` writes them: the highest byte first. It is written first; after
/// [`reset`](Self::reset), or received, it is read.
///
/// # Examples
///
/// ```
/// use castmq_client::jms::Message;
///
/// # fn main() -> castmq_client::jms::Result<()> {
/// let mut message = Message::bytes();
/// let bytes = message.bytes_mut()?;
/// bytes.write_i32(258)?;
/// bytes.write_bytes(b"raw")?;
/// assert_eq!(bytes.as_slice(), [0, 0, 1, 2, b'r', b'a', b'w']);
/// bytes.reset();
/// assert_eq!(bytes.read_i32()?, 258);
/// assert_eq!(bytes.read_to_end()?, "raw");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BytesBody {
    written: BytesMut,
    whole: Bytes,
    /// What is not read yet; `None` while it is written.
    rest: Option<Bytes>,
}

macro_rules! numbers {
    ($($type:ty: $write:ident $put:ident $read:ident $get:ident),* $(,)?) => {$(
        /// Adds a number.
        ///
        /// # Errors
        ///
        /// [`Error::MessageNotWriteable`] while the body is read.
        pub fn $write(&mut self, number: $type) -> Result<()> {
            self.writer()?.$put(number);
            Ok(())
        }

        /// Reads a number.
        ///
        /// # Errors
        ///
        /// [`Error::MessageNotReadable`] while the body is written, [`Error::MessageEof`] when it ends within the number,
        /// of which nothing is read then.
        pub fn $read(&mut self) -> Result<$type> {
            self.reader()?.$get().map_err(|_| Error::MessageEof)
        }
    )*};
}

impl BytesBody {
    pub(super) fn received(body: Bytes) -> Self {
        Self {
            written: BytesMut::new(),
            rest: Some(body.clone()),
            whole: body,
        }
    }

    fn writer(&mut self) -> Result<&mut BytesMut> {
        match self.rest {
            Some(_) => Err(not_writeable()),
            None => Ok(&mut self.written),
        }
    }

    fn reader(&mut self) -> Result<&mut Bytes> {
        self.rest.as_mut().ok_or(Error::MessageNotReadable)
    }

    numbers! {
        u8: write_u8 put_u8 read_u8 try_get_u8,
        i8: write_i8 put_i8 read_i8 try_get_i8,
        u16: write_u16 put_u16 read_u16 try_get_u16,
        i16: write_i16 put_i16 read_i16 try_get_i16,
        i32: write_i32 put_i32 read_i32 try_get_i32,
        i64: write_i64 put_i64 read_i64 try_get_i64,
        f32: write_f32 put_f32 read_f32 try_get_f32,
        f64: write_f64 put_f64 read_f64 try_get_f64,
    }

    /// Adds a boolean, a byte.
    ///
    /// # Errors
    ///
    /// As [`write_u8`](Self::write_u8).
    pub fn write_bool(&mut self, truth: bool) -> Result<()> {
        self.write_u8(truth.into())
    }

    /// Reads a boolean: whether the next byte is not zero.
    ///
    /// # Errors
    ///
    /// As [`read_u8`](Self::read_u8).
    pub fn read_bool(&mut self) -> Result<bool> {
        Ok(self.read_u8()? != 0)
    }

    /// Adds a string with its length in two bytes before it: Java's `writeUTF` for what has neither NUL nor characters
    /// beyond the first 65,536.
    ///
    /// # Errors
    ///
    /// [`Error::MessageFormat`] when it is longer than 65,535 bytes, and as [`write_u8`](Self::write_u8).
    pub fn write_utf(&mut self, text: &str) -> Result<()> {
        let length = u16::try_from(text.len()).map_err(|_| {
            Error::format(format!(
                "a string of {} bytes is longer than the limit of 65535: write it as bytes",
                text.len()
            ))
        })?;
        let writer = self.writer()?;
        writer.put_u16(length);
        writer.put_slice(text.as_bytes());
        Ok(())
    }

    /// Reads a string as [`write_utf`](Self::write_utf) writes it. Nothing is read when it fails.
    ///
    /// # Errors
    ///
    /// [`Error::MessageFormat`] when it is not UTF-8, and as [`read_u8`](Self::read_u8).
    pub fn read_utf(&mut self) -> Result<String> {
        let rest = self.reader()?;
        let mut ahead = rest.clone();
        let length = ahead.try_get_u16().map_err(|_| Error::MessageEof)?.into();
        let bytes = ahead.get(..length).ok_or(Error::MessageEof)?;
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Error::format("what comes next in the body is no UTF-8"))?
            .to_owned();
        ahead.advance(length);
        *rest = ahead;
        Ok(text)
    }

    /// Adds bytes as they are.
    ///
    /// # Errors
    ///
    /// As [`write_u8`](Self::write_u8).
    pub fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer()?.put_slice(bytes);
        Ok(())
    }

    /// The next bytes, `most` or as many as there are.
    ///
    /// # Errors
    ///
    /// [`Error::MessageNotReadable`] while the body is written.
    pub fn read_bytes(&mut self, most: usize) -> Result<Bytes> {
        let rest = self.reader()?;
        Ok(rest.split_to(most.min(rest.len())))
    }

    /// All that was not read yet.
    ///
    /// # Errors
    ///
    /// As [`read_bytes`](Self::read_bytes).
    pub fn read_to_end(&mut self) -> Result<Bytes> {
        self.read_bytes(usize::MAX)
    }

    /// Reads from the first byte on.
    pub fn reset(&mut self) {
        if self.rest.is_none() {
            self.whole = std::mem::take(&mut self.written).freeze();
        }
        self.rest = Some(self.whole.clone());
    }

    /// All bytes, read or not.
    pub fn as_slice(&self) -> &[u8] {
        match self.rest {
            Some(_) => &self.whole,
            None => &self.written,
        }
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        match self.rest {
            Some(_) => self.whole.clone(),
            None => Bytes::copy_from_slice(&self.written),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_cannot_be_read_stays_the_next_one() {
        let mut stream = StreamBody::received(vec!["x".into(), Value::Null]);
        assert!(matches!(stream.read::<i32>(), Err(Error::MessageFormat(_))));
        assert_eq!(stream.read::<String>().unwrap(), "x");
        assert_eq!(stream.read::<Option<i32>>().unwrap(), None);
        assert!(matches!(
            stream.write(1),
            Err(Error::MessageNotWriteable { .. })
        ));
        stream.reset();
        assert_eq!(stream.read::<String>().unwrap(), "x");
    }

    #[test]
    fn bytes_are_read_as_they_were_written() {
        let mut body = BytesBody::default();
        body.write_bool(true).unwrap();
        body.write_i8(-1).unwrap();
        body.write_u8(200).unwrap();
        body.write_i16(-2).unwrap();
        body.write_u16(60_000).unwrap();
        body.write_i32(-3).unwrap();
        body.write_i64(-4).unwrap();
        body.write_f32(1.5).unwrap();
        body.write_f64(-2.5).unwrap();
        body.write_utf("größe").unwrap();
        body.write_bytes(b"rest").unwrap();
        assert!(matches!(body.read_u8(), Err(Error::MessageNotReadable)));
        let mut body = BytesBody::received(body.to_bytes());
        for _ in 0..2 {
            assert!(body.read_bool().unwrap());
            assert_eq!(body.read_i8().unwrap(), -1);
            assert_eq!(body.read_u8().unwrap(), 200);
            assert_eq!(body.read_i16().unwrap(), -2);
            assert_eq!(body.read_u16().unwrap(), 60_000);
            assert_eq!(body.read_i32().unwrap(), -3);
            assert_eq!(body.read_i64().unwrap(), -4);
            assert_eq!(body.read_f32().unwrap(), 1.5);
            assert_eq!(body.read_f64().unwrap(), -2.5);
            assert_eq!(body.read_utf().unwrap(), "größe");
            assert_eq!(body.read_bytes(2).unwrap(), "re");
            assert!(matches!(body.read_i32(), Err(Error::MessageEof)));
            assert_eq!(body.read_to_end().unwrap(), "st");
            assert!(matches!(body.read_u8(), Err(Error::MessageEof)));
            assert!(matches!(
                body.write_u8(1),
                Err(Error::MessageNotWriteable { .. })
            ));
            body.reset();
        }
    }

    #[test]
    fn a_string_that_is_none_is_refused_and_stays() {
        let mut body = BytesBody::received(Bytes::from_static(&[0, 2, 0xFF, 0xFF]));
        assert!(matches!(body.read_utf(), Err(Error::MessageFormat(_))));
        assert_eq!(body.read_u16().unwrap(), 2);
        let mut body = BytesBody::received(Bytes::from_static(&[0, 9, b'x']));
        assert!(matches!(body.read_utf(), Err(Error::MessageEof)));
        assert!(BytesBody::default().write_utf(&"x".repeat(70_000)).is_err());
    }
}
