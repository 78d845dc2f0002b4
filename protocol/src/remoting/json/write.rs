//! Writing values as JSON, by serde.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use serde::ser::{self, Error as _, Serialize, Serializer};

use super::JsonError;
use crate::hexadecimal::hexadecimal;

/// Writes a string with its quotes.
pub(crate) fn put_string(text: &str, out: &mut BytesMut) {
    out.put_u8(b'"');
    put_escaped(text.as_bytes(), out);
    out.put_u8(b'"');
}

/// Writes what stands between a string's quotes.
#[inline]
pub(crate) fn put_escaped(text: &[u8], out: &mut BytesMut) {
    let mut rest = text;
    // Looked at without stopping, so that many bytes are looked at at once.
    let has_escapes = rest
        .iter()
        .fold(false, |has, byte| has | needs_escape(*byte));
    while has_escapes && let Some(plain) = rest.iter().position(|byte| needs_escape(*byte)) {
        let (before, escaped) = rest.split_at(plain);
        out.put_slice(before);
        let Some((byte, after)) = escaped.split_first() else {
            break;
        };
        put_escape(*byte, out);
        rest = after;
    }
    out.put_slice(rest);
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn put_escape(byte: u8, out: &mut BytesMut) {
    match byte {
        b'"' => out.put_slice(b"\\\""),
        b'\\' => out.put_slice(b"\\\\"),
        0x08 => out.put_slice(b"\\b"),
        0x0C => out.put_slice(b"\\f"),
        b'\n' => out.put_slice(b"\\n"),
        b'\r' => out.put_slice(b"\\r"),
        b'\t' => out.put_slice(b"\\t"),
        _ => {
            let [.., a, b, c, d] = hexadecimal(byte.into());
            out.put_slice(&[b'\\', b'u', a, b, c, d]);
        }
    }
}

/// Writes JSON at the end of a buffer.
pub(super) struct Writer<'a> {
    out: &'a mut BytesMut,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut BytesMut) -> Self {
        Self { out }
    }

    fn integer(&mut self, number: impl itoa::Integer) {
        let mut digits = itoa::Buffer::new();
        self.out.put_slice(digits.format(number).as_bytes());
    }
}

macro_rules! integers {
    ($($method:ident $type:ty)*) => {
        $(fn $method(self, number: $type) -> Result<(), JsonError> {
            self.integer(number);
            Ok(())
        })*
    };
}

type Never = ser::Impossible<(), JsonError>;

fn unsupported<T>() -> Result<T, JsonError> {
    Err(JsonError::custom("bodies hold no values of this kind"))
}

impl<'w, 'a> Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = JsonError;
    type SerializeSeq = Members<'w, 'a>;
    type SerializeTuple = Members<'w, 'a>;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Members<'w, 'a>;
    type SerializeStruct = Members<'w, 'a>;
    type SerializeStructVariant = Never;

    integers! {
        serialize_i8 i8 serialize_i16 i16 serialize_i32 i32 serialize_i64 i64
        serialize_u8 u8 serialize_u16 u16 serialize_u32 u32 serialize_u64 u64
    }

    fn serialize_bool(self, value: bool) -> Result<(), JsonError> {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.out.put_slice(text);
        Ok(())
    }

    fn serialize_f32(self, number: f32) -> Result<(), JsonError> {
        self.serialize_f64(number.into())
    }

    fn serialize_f64(self, number: f64) -> Result<(), JsonError> {
        match number.is_finite() {
            true => write!(self.out, "{number:?}").map_err(JsonError::custom),
            false => self.serialize_unit(),
        }
    }

    fn serialize_char(self, character: char) -> Result<(), JsonError> {
        self.serialize_str(character.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<(), JsonError> {
        put_string(text, self.out);
        Ok(())
    }

    fn serialize_bytes(self, _bytes: &[u8]) -> Result<(), JsonError> {
        unsupported()
    }

    fn serialize_none(self) -> Result<(), JsonError> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), JsonError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), JsonError> {
        self.out.put_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), JsonError> {
        self.out.put_slice(b"{}");
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), JsonError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), JsonError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), JsonError> {
        unsupported()
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<Members<'w, 'a>, JsonError> {
        Ok(Members::open(self, b'[', b']'))
    }

    fn serialize_tuple(self, _length: usize) -> Result<Members<'w, 'a>, JsonError> {
        Ok(Members::open(self, b'[', b']'))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _length: usize,
    ) -> Result<Never, JsonError> {
        unsupported()
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Never, JsonError> {
        unsupported()
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Members<'w, 'a>, JsonError> {
        Ok(Members::open(self, b'{', b'}'))
    }

    fn serialize_struct(
        self,
        _name: &'static str,
        _length: usize,
    ) -> Result<Members<'w, 'a>, JsonError> {
        Ok(Members::open(self, b'{', b'}'))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Never, JsonError> {
        unsupported()
    }
}

/// An object or array that is being written.
pub(super) struct Members<'w, 'a> {
    writer: &'w mut Writer<'a>,
    close: u8,
    first: bool,
}

impl<'w, 'a> Members<'w, 'a> {
    fn open(writer: &'w mut Writer<'a>, open: u8, close: u8) -> Self {
        writer.out.put_u8(open);
        Self {
            writer,
            close,
            first: true,
        }
    }

    fn next<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        if !self.first {
            self.writer.out.put_u8(b',');
        }
        self.first = false;
        value.serialize(&mut *self.writer)
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.writer.out.put_u8(b':');
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), JsonError> {
        self.writer.out.put_u8(self.close);
        Ok(())
    }
}

impl ser::SerializeSeq for Members<'_, '_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.next(value)
    }

    fn end(self) -> Result<(), JsonError> {
        self.end()
    }
}

impl ser::SerializeTuple for Members<'_, '_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.next(value)
    }

    fn end(self) -> Result<(), JsonError> {
        self.end()
    }
}

impl ser::SerializeMap for Members<'_, '_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), JsonError> {
        self.next(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.value(value)
    }

    fn end(self) -> Result<(), JsonError> {
        self.end()
    }
}

impl ser::SerializeStruct for Members<'_, '_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), JsonError> {
        self.next(name)?;
        self.value(value)
    }

    fn end(self) -> Result<(), JsonError> {
        self.end()
    }
}
