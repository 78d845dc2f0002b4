//! The fields of a header (RocketMQ `extFields`): what came, read by name and type, and how they are written.
//!
//! Fields are a list of texts. Clients in other languages than Java write numbers and truth values as such into JSON;
//! here they are texts by then.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use thiserror::Error;

use super::frame::Serialization;
use super::json::put_string;

/// The most fields that a header may have. RocketMQ's own have less than thirty.
pub const MAX_FIELDS: usize = 1024;

/// The longest name of a field, in bytes: the most that a binary header can carry.
pub const MAX_NAME_BYTES: usize = i16::MAX as usize;

/// Why a request's fields cannot be used. The text is meant for the response's remark.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FieldError {
    /// A field that has to be there is not. Clients know the sentence: it is RocketMQ's.
    #[error("the custom field <{name}> is null")]
    Missing {
        /// The field.
        name: &'static str,
    },
    /// A field holds something else than it should.
    #[error("the custom field <{name}> is {value:?}: it takes {expected}")]
    Wrong {
        /// The field.
        name: &'static str,
        /// The beginning of what it holds.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
}

impl FieldError {
    /// The field `name` holds `value`, and takes `expected`.
    pub fn wrong(name: &'static str, value: &str, expected: &'static str) -> Self {
        Self::Wrong {
            name,
            value: value.chars().take(64).collect(),
            expected,
        }
    }
}

/// Fields that came with a header, in their order.
///
/// A name that comes twice has its last value, as in RocketMQ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Fields<'a> {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// No fields yet, and room for as many as requests have.
    pub(super) fn with_room() -> Self {
        Self {
            pairs: Vec::with_capacity(16),
        }
    }

    /// Adds a field; `false` when there are too many or the name is too long, which leaves it out.
    #[inline]
    pub fn push(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> bool {
        let name = name.into();
        let fits = self.pairs.len() < MAX_FIELDS && name.len() <= MAX_NAME_BYTES;
        if fits {
            self.pairs.push((name, value.into()));
        }
        fits
    }

    /// A field's text.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&str> {
        let (length, last) = (name.len(), name.as_bytes().last());
        let mut newest_first = self.pairs.iter().rev();
        // Names differ in their last letters more often than in their first, and many are one letter long.
        let (_, value) = newest_first.find(|(known, _)| {
            known.len() == length && known.as_bytes().last() == last && known == name
        })?;
        Some(value)
    }

    /// Names and values in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// The same without what it borrows, to be kept.
    pub fn into_owned(self) -> Fields<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let pairs = self.pairs.into_iter();
        Fields {
            pairs: pairs.map(|(name, value)| (own(name), own(value))).collect(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// A field as a value of a type. `Option`s are for fields that may be missing.
    ///
    /// # Errors
    ///
    /// When it is missing and may not, or holds something else.
    #[inline]
    pub fn read<'f, T: FieldValue<'f>>(&'f self, name: &'static str) -> Result<T, FieldError> {
        T::read(self.get(name), name)
    }

    /// A field as a value of a type, or `default` when it is missing.
    ///
    /// # Errors
    ///
    /// When it holds something else.
    #[inline]
    pub fn read_or<'f, T>(&'f self, name: &'static str, default: T) -> Result<T, FieldError>
    where
        Option<T>: FieldValue<'f>,
    {
        Ok(self.read::<Option<T>>(name)?.unwrap_or(default))
    }
}

/// Types of fields.
pub trait FieldValue<'f>: Sized {
    /// Reads the text of the field `name`.
    ///
    /// # Errors
    ///
    /// When it is missing and may not, or holds something else.
    fn read(text: Option<&'f str>, name: &'static str) -> Result<Self, FieldError>;

    /// Writes the field `name`.
    fn write(&self, name: &'static str, out: &mut FieldWriter<'_>);
}

impl<'f> FieldValue<'f> for Option<&'f str> {
    #[inline]
    fn read(text: Option<&'f str>, _name: &'static str) -> Result<Self, FieldError> {
        Ok(text)
    }

    fn write(&self, name: &'static str, out: &mut FieldWriter<'_>) {
        if let Some(text) = self {
            out.text(name, text);
        }
    }
}

impl<'f> FieldValue<'f> for Option<bool> {
    /// Anything but `true` is false, as in RocketMQ; the C++ client sends `0` and `1`.
    #[inline]
    fn read(text: Option<&'f str>, _name: &'static str) -> Result<Self, FieldError> {
        Ok(text.map(|text| text.eq_ignore_ascii_case("true")))
    }

    fn write(&self, name: &'static str, out: &mut FieldWriter<'_>) {
        if let Some(value) = self {
            out.plain(name, if *value { "true" } else { "false" });
        }
    }
}

macro_rules! number_fields {
    ($($type:ty, $expected:literal;)*) => {
        $(impl<'f> FieldValue<'f> for Option<$type> {
            /// The empty text counts as missing.
            #[inline]
            fn read(text: Option<&'f str>, name: &'static str) -> Result<Self, FieldError> {
                match text {
                    None | Some("") => Ok(None),
                    Some(text) => match text.parse() {
                        Ok(number) => Ok(Some(number)),
                        Err(_) => Err(FieldError::wrong(name, text, $expected)),
                    },
                }
            }

            fn write(&self, name: &'static str, out: &mut FieldWriter<'_>) {
                if let Some(number) = self {
                    out.text(name, itoa::Buffer::new().format(*number));
                }
            }
        })*
    };
}

number_fields! {
    i32, "a whole number of 32 bits";
    i64, "a whole number of 64 bits";
    u32, "a whole number of 32 bits that is not negative";
    u64, "a whole number of 64 bits that is not negative";
}

macro_rules! mandatory_fields {
    ($($type:ty)*) => {
        $(impl<'f> FieldValue<'f> for $type {
            #[inline]
            fn read(text: Option<&'f str>, name: &'static str) -> Result<Self, FieldError> {
                <Option<Self> as FieldValue>::read(text, name)?.ok_or(FieldError::Missing { name })
            }

            fn write(&self, name: &'static str, out: &mut FieldWriter<'_>) {
                FieldValue::write(&Some(*self), name, out);
            }
        })*
    };
}

mandatory_fields!(&'f str bool i32 i64 u32 u64);

/// Writes fields into a header.
#[derive(Debug)]
pub struct FieldWriter<'a> {
    out: &'a mut BytesMut,
    serialization: Serialization,
    is_first: bool,
}

impl<'a> FieldWriter<'a> {
    pub(super) fn new(serialization: Serialization, out: &'a mut BytesMut) -> Self {
        Self {
            out,
            serialization,
            is_first: true,
        }
    }

    /// Writes a field. The name has at most [`MAX_NAME_BYTES`]; one that has more is left out.
    #[inline]
    pub fn text(&mut self, name: &str, value: &str) {
        match self.serialization {
            Serialization::Json => {
                if !self.is_first {
                    self.out.put_u8(b',');
                }
                put_string(name, self.out);
                self.out.put_u8(b':');
                put_string(value, self.out);
                self.is_first = false;
            }
            Serialization::Binary => self.binary(name, value),
        }
    }

    /// The same for a name and a value in which nothing has to be escaped.
    #[inline]
    fn plain(&mut self, name: &'static str, value: &str) {
        match self.serialization {
            Serialization::Json => {
                self.out.reserve(name.len() + value.len() + 6);
                self.out
                    .put_slice(if self.is_first { b"\"" } else { b",\"" });
                self.out.put_slice(name.as_bytes());
                self.out.put_slice(b"\":\"");
                self.out.put_slice(value.as_bytes());
                self.out.put_u8(b'"');
                self.is_first = false;
            }
            Serialization::Binary => self.binary(name, value),
        }
    }

    fn binary(&mut self, name: &str, value: &str) {
        let (Ok(name_bytes), Ok(value_bytes)) =
            (i16::try_from(name.len()), i32::try_from(value.len()))
        else {
            return;
        };
        self.out.reserve(6 + name.len() + value.len());
        self.out.put_i16(name_bytes);
        self.out.put_slice(name.as_bytes());
        self.out.put_i32(value_bytes);
        self.out.put_slice(value.as_bytes());
    }

    /// Writes a field of any type.
    #[inline]
    pub fn value<'f>(&mut self, name: &'static str, value: &impl FieldValue<'f>) {
        value.write(name, self);
    }
}

/// Whatever is written as fields: headers, fields that are passed on, several of them.
pub trait WriteFields {
    /// Writes all fields.
    fn write_fields(&self, out: &mut FieldWriter<'_>);
}

impl WriteFields for () {
    fn write_fields(&self, _out: &mut FieldWriter<'_>) {}
}

impl<T: WriteFields + ?Sized> WriteFields for &T {
    fn write_fields(&self, out: &mut FieldWriter<'_>) {
        (*self).write_fields(out);
    }
}

impl<T: WriteFields> WriteFields for Option<T> {
    fn write_fields(&self, out: &mut FieldWriter<'_>) {
        if let Some(fields) = self {
            fields.write_fields(out);
        }
    }
}

impl<A: WriteFields, B: WriteFields> WriteFields for (A, B) {
    fn write_fields(&self, out: &mut FieldWriter<'_>) {
        self.0.write_fields(out);
        self.1.write_fields(out);
    }
}

impl WriteFields for [(&str, &str)] {
    fn write_fields(&self, out: &mut FieldWriter<'_>) {
        for (name, value) in self {
            out.text(name, value);
        }
    }
}

impl<const N: usize> WriteFields for [(&str, &str); N] {
    fn write_fields(&self, out: &mut FieldWriter<'_>) {
        self[..].write_fields(out);
    }
}

impl WriteFields for Fields<'_> {
    fn write_fields(&self, out: &mut FieldWriter<'_>) {
        for (name, value) in self.iter() {
            out.text(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields<'static> {
        let mut fields = Fields::new();
        for (name, value) in [("n", "1"), ("empty", ""), ("word", "abc"), ("n", "-7")] {
            assert!(fields.push(name, value));
        }
        fields
    }

    #[test]
    fn the_last_of_two_values_counts() {
        assert_eq!(fields().read("n"), Ok(-7_i64));
        assert_eq!(fields().len(), 4);
    }

    #[test]
    fn a_missing_field_is_named_as_rocketmq_does() {
        let fields = fields();
        let missing = fields.read::<i32>("queueId").unwrap_err();
        assert_eq!(missing.to_string(), "the custom field <queueId> is null");
        assert!(fields.read::<i64>("empty").is_err());
        assert_eq!(fields.read("empty"), Ok(None::<i64>));
        assert_eq!(fields.read("empty"), Ok(""));
        assert_eq!(fields.read_or("queueId", -1), Ok(-1));
    }

    #[test]
    fn a_field_of_the_wrong_kind_is_told_with_its_beginning() {
        let fields = fields();
        let wrong = fields.read::<Option<i32>>("word").unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "the custom field <word> is \"abc\": it takes a whole number of 32 bits"
        );
        let long = "x".repeat(1000);
        assert!(FieldError::wrong("n", &long, "less").to_string().len() < 120);
    }

    #[test]
    fn fields_that_no_header_can_carry_are_refused() {
        let mut fields = Fields::new();
        assert!(!fields.push("n".repeat(MAX_NAME_BYTES + 1), ""));
        for _ in 0..MAX_FIELDS {
            assert!(fields.push("n", ""));
        }
        assert!(!fields.push("n", ""));
    }
}
