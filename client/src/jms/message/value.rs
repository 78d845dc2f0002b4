//! Typed values, and which may be read as what (JMS 2.0 §3.5.4 and §3.11.3).

use std::str::FromStr;

use bytes::Bytes;
use castmq_protocol::filter::fraction;

use crate::jms::error::{Error, Result};

/// A value in a property, a map or a stream.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// JMS's byte.
    Byte(i8),
    /// JMS's short.
    Short(i16),
    /// JMS's char.
    Char(char),
    /// JMS's int.
    Int(i32),
    /// JMS's long.
    Long(i64),
    /// JMS's float.
    Float(f32),
    /// JMS's double.
    Double(f64),
    /// A string.
    Text(String),
    /// JMS's byte array.
    Bytes(Bytes),
}

impl Value {
    /// The type's name in JMS.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Byte(_) => "byte",
            Self::Short(_) => "short",
            Self::Char(_) => "char",
            Self::Int(_) => "int",
            Self::Long(_) => "long",
            Self::Float(_) => "float",
            Self::Double(_) => "double",
            Self::Text(_) => "String",
            Self::Bytes(_) => "byte[]",
        }
    }

    fn not(&self, wanted: &str) -> Error {
        Error::format(format!("a {} cannot be read as {wanted}", self.type_name()))
    }
}

macro_rules! into_value {
    ($($type:ty => $variant:ident),* $(,)?) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

into_value! {
    bool => Bool, i8 => Byte, i16 => Short, char => Char, i32 => Int, i64 => Long, f32 => Float, f64 => Double,
    &str => Text, String => Text, Bytes => Bytes, Vec<u8> => Bytes,
}

/// A type as which values can be read.
///
/// | read as | from |
/// |---|---|
/// | `bool` | boolean, String |
/// | `i8` | byte, String |
/// | `i16` | byte, short, String |
/// | `char` | char |
/// | `i32` | byte, short, int, String |
/// | `i64` | byte, short, int, long, String |
/// | `f32` | float, String |
/// | `f64` | float, double, String |
/// | `String` | all but byte[] |
/// | `Bytes` | byte[] |
pub trait FromValue: Sized {
    /// Reads a value as this type.
    ///
    /// # Errors
    ///
    /// [`Error::MessageFormat`] when the table does not have it, or a string is not the text of such a value.
    fn from_value(value: &Value) -> Result<Self>;
}

/// A string as the text of a value.
fn parsed<T: FromStr>(text: &str, wanted: &str) -> Result<T> {
    text.parse().map_err(|_| no_text(text, wanted))
}

fn parsed_fraction<T: FromStr>(text: &str, wanted: &str) -> Result<T> {
    fraction(text).ok_or_else(|| no_text(text, wanted))
}

fn no_text(text: &str, wanted: &str) -> Error {
    Error::format(format!("the string {text:?} is no {wanted}"))
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Result<Self> {
        match value {
            Value::Bool(truth) => Ok(*truth),
            // Java's Boolean.valueOf, which null is false for.
            Value::Text(text) => Ok(text.eq_ignore_ascii_case("true")),
            Value::Null => Ok(false),
            other => Err(other.not("boolean")),
        }
    }
}

macro_rules! from_numbers {
    ($($type:ty, $name:literal, $parse:ident, $($variant:ident)|+;)*) => {$(
        impl FromValue for $type {
            fn from_value(value: &Value) -> Result<Self> {
                match value {
                    $(Value::$variant(number) => Ok((*number).into()),)+
                    Value::Text(text) => $parse(text, $name),
                    other => Err(other.not($name)),
                }
            }
        }
    )*};
}

from_numbers! {
    i8, "byte", parsed, Byte;
    i16, "short", parsed, Byte | Short;
    i32, "int", parsed, Byte | Short | Int;
    i64, "long", parsed, Byte | Short | Int | Long;
    f32, "float", parsed_fraction, Float;
    f64, "double", parsed_fraction, Float | Double;
}

impl FromValue for char {
    fn from_value(value: &Value) -> Result<Self> {
        match value {
            Value::Char(character) => Ok(*character),
            other => Err(other.not("char")),
        }
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Result<Self> {
        Ok(match value {
            Value::Text(text) => text.clone(),
            Value::Bool(truth) => truth.to_string(),
            Value::Byte(number) => number.to_string(),
            Value::Short(number) => number.to_string(),
            Value::Char(character) => character.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Long(number) => number.to_string(),
            Value::Float(number) => float_text(*number),
            Value::Double(number) => double_text(*number),
            Value::Null | Value::Bytes(_) => return Err(value.not("String")),
        })
    }
}

impl FromValue for Bytes {
    fn from_value(value: &Value) -> Result<Self> {
        match value {
            Value::Bytes(bytes) => Ok(bytes.clone()),
            other => Err(other.not("byte[]")),
        }
    }
}

/// `None` for nothing.
impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Result<Self> {
        match value {
            Value::Null => Ok(None),
            other => T::from_value(other).map(Some),
        }
    }
}

impl FromValue for Value {
    fn from_value(value: &Value) -> Result<Self> {
        Ok(value.clone())
    }
}

/// The shortest text that reads as the same number.
pub(super) fn float_text(number: f32) -> String {
    java_text(number.is_nan(), number.is_infinite(), number < 0.0).unwrap_or(format!("{number:?}"))
}

/// The shortest text that reads as the same number.
pub(super) fn double_text(number: f64) -> String {
    java_text(number.is_nan(), number.is_infinite(), number < 0.0).unwrap_or(format!("{number:?}"))
}

/// How Java writes what is no finite number.
fn java_text(is_nan: bool, is_infinite: bool, is_negative: bool) -> Option<String> {
    match (is_nan, is_infinite, is_negative) {
        (true, ..) => Some("NaN".to_owned()),
        (_, true, true) => Some("-Infinity".to_owned()),
        (_, true, false) => Some("Infinity".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the types as which a value can be read.
    fn readable(value: &Value) -> Vec<&'static str> {
        let reads = [
            ("boolean", bool::from_value(value).is_ok()),
            ("byte", i8::from_value(value).is_ok()),
            ("short", i16::from_value(value).is_ok()),
            ("char", char::from_value(value).is_ok()),
            ("int", i32::from_value(value).is_ok()),
            ("long", i64::from_value(value).is_ok()),
            ("float", f32::from_value(value).is_ok()),
            ("double", f64::from_value(value).is_ok()),
            ("String", String::from_value(value).is_ok()),
            ("byte[]", Bytes::from_value(value).is_ok()),
        ];
        let reads = reads.into_iter().filter(|(_, reads)| *reads);
        reads.map(|(name, _)| name).collect()
    }

    #[test]
    fn values_are_read_as_the_table_of_jms_says() {
        for (value, types) in [
            (Value::from(true), "boolean String"),
            (Value::from(1_i8), "byte short int long String"),
            (Value::from(1_i16), "short int long String"),
            (Value::from('x'), "char String"),
            (Value::from(1_i32), "int long String"),
            (Value::from(1_i64), "long String"),
            (Value::from(1.5_f32), "float double String"),
            (Value::from(1.5_f64), "double String"),
            (
                Value::from("1"),
                "boolean byte short int long float double String",
            ),
            (Value::from(vec![1_u8]), "byte[]"),
            (Value::Null, "boolean"),
        ] {
            assert_eq!(readable(&value).join(" "), types, "{value:?}");
        }
    }

    #[test]
    fn strings_are_read_as_java_reads_them() {
        let text = |text: &str| Value::from(text);
        assert!(bool::from_value(&text("TRUE")).unwrap());
        assert!(!bool::from_value(&text("yes")).unwrap());
        assert_eq!(i8::from_value(&text("-128")).unwrap(), i8::MIN);
        assert_eq!(f64::from_value(&text(" 1e3 ")).unwrap(), 1000.0);
        assert_eq!(f64::from_value(&text("1.5d")).unwrap(), 1.5);
        assert_eq!(f32::from_value(&text("0.1f")).unwrap(), 0.1);
        assert_eq!(
            f64::from_value(&text("-Infinity")).unwrap(),
            f64::NEG_INFINITY
        );
        for wrong in ["128", "1.0", "", "x"] {
            let error = i8::from_value(&text(wrong)).unwrap_err();
            assert!(matches!(error, Error::MessageFormat(_)));
            assert!(
                error.to_string().contains(&format!("{wrong:?} is no byte")),
                "{error}"
            );
        }
        for wrong in ["inf", "nan", "", "e3", "1.5\u{a0}"] {
            assert!(f32::from_value(&text(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fractions_are_written_so_that_they_are_read_again() {
        for number in [
            0.1,
            -0.0,
            1e300,
            f64::MIN_POSITIVE,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ] {
            let text = Value::from(double_text(number));
            assert_eq!(f64::from_value(&text).unwrap().to_bits(), number.to_bits());
        }
        assert!(
            f32::from_value(&Value::from(float_text(f32::NAN)))
                .unwrap()
                .is_nan()
        );
        assert_eq!(float_text(0.1), "0.1");
    }
}
