//! Reading values from JSON, by serde.

use std::borrow::Cow;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::scan::{Kind, Scanner};
use super::{ALLOWANCE_BYTES, JsonError, MAX_BYTES_PER_BYTE, MAX_DEPTH};

pub(super) fn from_slice<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, JsonError> {
    let mut reader = Reader::new(text);
    let value = T::deserialize(&mut reader)?;
    reader.scanner.end()?;
    Ok(value)
}

struct Reader<'a> {
    scanner: Scanner<'a>,
    depth: usize,
    /// Bytes that values may still take.
    budget: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a [u8]) -> Self {
        let scanner = Scanner::new(text);
        let budget = scanner.text_bytes() * MAX_BYTES_PER_BYTE + ALLOWANCE_BYTES;
        Self {
            scanner,
            depth: 0,
            budget,
        }
    }

    /// Whether `null` is next, which is stepped over then.
    fn take_null(&mut self) -> bool {
        if self.scanner.peek() != Some(b'n') {
            return false;
        }
        let mut ahead = self.scanner.clone();
        let is_null = matches!(ahead.bare(), Ok("null"));
        if is_null {
            self.scanner = ahead;
        }
        is_null
    }

    /// A number or truth value, whether or not it stands in quotes.
    fn scalar(&mut self) -> Result<Cow<'a, str>, JsonError> {
        match self.scanner.kind()? {
            Kind::String => self.scanner.string(),
            _ => self.scanner.bare().map(Cow::Borrowed),
        }
    }

    fn integer<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, JsonError> {
        let at = self.scanner.at();
        let text = self.scalar()?;
        match text.parse::<i64>() {
            Ok(number) => visitor.visit_i64(number),
            Err(_) => match text.parse::<u64>() {
                Ok(number) => visitor.visit_u64(number),
                Err(_) if matches!(&*text, "" | "null") => visitor.visit_i64(0),
                Err(_) => match text.parse::<f64>() {
                    // Some languages write whole numbers so; every whole number up to here is exact.
                    Ok(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                        visitor.visit_i64(number as i64)
                    }
                    _ => Err(JsonError::Unexpected {
                        at,
                        expected: "a whole number",
                    }),
                },
            },
        }
    }

    /// A number of whichever kind it is.
    fn number<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, JsonError> {
        let whole = self.scanner.clone().bare().map(str::parse::<i64>);
        match whole {
            Ok(Ok(_)) => self.integer(visitor),
            _ => Deserializer::deserialize_f64(self, visitor),
        }
    }

    /// Counts a value that is about to be read against the memory that all may take.
    fn charge<T>(&mut self) -> Result<(), JsonError> {
        let too_many = JsonError::TooMany {
            at: self.scanner.at(),
        };
        let left = self.budget.checked_sub(size_of::<T>()).ok_or(too_many)?;
        self.budget = left;
        Ok(())
    }

    /// Enters an object or array, has it read, and leaves it.
    fn nested<T>(
        &mut self,
        open: u8,
        expected: &'static str,
        read: impl FnOnce(&mut Members<'_, 'a>) -> Result<T, JsonError>,
    ) -> Result<T, JsonError> {
        self.scanner.expect(open, expected)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(JsonError::TooDeep {
                at: self.scanner.at(),
            });
        }
        let mut members = Members {
            close: if open == b'{' { b'}' } else { b']' },
            reader: self,
            first: true,
            ended: false,
        };
        let value = read(&mut members)?;
        let ended = members.ended || !members.next()?;
        self.depth -= 1;
        match ended {
            true => Ok(value),
            false => Err(self.scanner.unexpected("the end of an array")),
        }
    }
}

macro_rules! integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
            self.integer(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = JsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.scanner.kind()? {
            Kind::Object => self.deserialize_map(visitor),
            Kind::Array => self.deserialize_seq(visitor),
            Kind::String => self.deserialize_str(visitor),
            Kind::Bare => match self.scanner.peek() {
                Some(b'n') if self.take_null() => visitor.visit_unit(),
                Some(b't' | b'f') => self.deserialize_bool(visitor),
                _ => self.number(visitor),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        let at = self.scanner.at();
        match &*self.scalar()? {
            "1" => visitor.visit_bool(true),
            "0" | "" | "null" => visitor.visit_bool(false),
            text if text.eq_ignore_ascii_case("true") => visitor.visit_bool(true),
            text if text.eq_ignore_ascii_case("false") => visitor.visit_bool(false),
            _ => Err(JsonError::Unexpected {
                at,
                expected: "true or false",
            }),
        }
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        let at = self.scanner.at();
        match &*self.scalar()? {
            "" | "null" => visitor.visit_f64(0.0),
            text => match text.parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(JsonError::Unexpected {
                    at,
                    expected: "a number",
                }),
            },
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.scanner.value_as_text()? {
            None => visitor.visit_borrowed_str(""),
            Some(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Some(Cow::Owned(text)) => visitor.visit_string(text),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.take_null() {
            true => visitor.visit_none(),
            false => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        if self.take_null() {
            let nothing = std::iter::empty::<&str>();
            return visitor.visit_seq(SeqDeserializer::new(nothing));
        }
        self.nested(b'[', "an array", |members| visitor.visit_seq(members))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        if self.take_null() {
            let nothing = std::iter::empty::<(&str, &str)>();
            return visitor.visit_map(MapDeserializer::new(nothing));
        }
        self.nested(b'{', "an object", |members| visitor.visit_map(members))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        let name = self.scanner.value_as_text()?.unwrap_or_default();
        visitor.visit_enum(IntoDeserializer::<JsonError>::into_deserializer(&*name))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.scanner.skip(self.depth)?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple tuple_struct
    }
}

/// What stands in an object or array.
struct Members<'r, 'a> {
    reader: &'r mut Reader<'a>,
    close: u8,
    first: bool,
    ended: bool,
}

impl Members<'_, '_> {
    fn next(&mut self) -> Result<bool, JsonError> {
        let more = self.reader.scanner.next_member(self.first, self.close)?;
        self.first = false;
        self.ended = !more;
        Ok(more)
    }
}

impl<'de> SeqAccess<'de> for &mut Members<'_, 'de> {
    type Error = JsonError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, JsonError> {
        if !self.next()? {
            return Ok(None);
        }
        self.reader.charge::<T::Value>()?;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> MapAccess<'de> for &mut Members<'_, 'de> {
    type Error = JsonError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, JsonError> {
        if !self.next()? {
            return Ok(None);
        }
        self.reader.charge::<K::Value>()?;
        if self.reader.scanner.kind()? == Kind::Array {
            return Err(JsonError::custom("an array is no key"));
        }
        let key = seed.deserialize(&mut *self.reader)?;
        self.reader.scanner.expect(b':', "a colon")?;
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, JsonError> {
        self.reader.charge::<V::Value>()?;
        seed.deserialize(&mut *self.reader)
    }
}
