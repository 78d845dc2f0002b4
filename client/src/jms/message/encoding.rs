//! Bodies of maps and streams as bytes: a byte for the version, then the values, a map's with their names.
//!
//! A value is a byte for its type and its content, numbers with the highest byte first; strings, bytes and names have their
//! length in four bytes before them.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::value::Value;
use crate::jms::error::{Error, Result};

const VERSION: u8 = 1;

mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const SHORT: u8 = 4;
    pub(super) const CHAR: u8 = 5;
    pub(super) const INT: u8 = 6;
    pub(super) const LONG: u8 = 7;
    pub(super) const FLOAT: u8 = 8;
    pub(super) const DOUBLE: u8 = 9;
    pub(super) const TEXT: u8 = 10;
    pub(super) const BYTES: u8 = 11;
}

pub(super) fn encode_map(values: &BTreeMap<String, Value>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(VERSION);
    for (name, value) in values {
        put_bytes(name.as_bytes(), &mut out);
        put_value(value, &mut out);
    }
    out.freeze()
}

pub(super) fn encode_stream(values: &[Value]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(VERSION);
    values.iter().for_each(|value| put_value(value, &mut out));
    out.freeze()
}

pub(super) fn decode_map(mut body: Bytes) -> Result<BTreeMap<String, Value>> {
    take_version(&mut body)?;
    let mut values = BTreeMap::new();
    while body.has_remaining() {
        let name = take_text(&mut body)?;
        values.insert(name, take_value(&mut body)?);
    }
    Ok(values)
}

pub(super) fn decode_stream(mut body: Bytes) -> Result<Vec<Value>> {
    take_version(&mut body)?;
    let mut values = Vec::new();
    while body.has_remaining() {
        values.push(take_value(&mut body)?);
    }
    Ok(values)
}

/// A message body has less than 4 GiB, so lengths have 32 bits.
fn put_bytes(bytes: &[u8], out: &mut BytesMut) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

fn put_value(value: &Value, out: &mut BytesMut) {
    match value {
        Value::Null => out.put_u8(tag::NULL),
        Value::Bool(false) => out.put_u8(tag::FALSE),
        Value::Bool(true) => out.put_u8(tag::TRUE),
        Value::Byte(number) => {
            out.put_u8(tag::BYTE);
            out.put_i8(*number);
        }
        Value::Short(number) => {
            out.put_u8(tag::SHORT);
            out.put_i16(*number);
        }
        Value::Char(character) => {
            out.put_u8(tag::CHAR);
            out.put_u32((*character).into());
        }
        Value::Int(number) => {
            out.put_u8(tag::INT);
            out.put_i32(*number);
        }
        Value::Long(number) => {
            out.put_u8(tag::LONG);
            out.put_i64(*number);
        }
        Value::Float(number) => {
            out.put_u8(tag::FLOAT);
            out.put_f32(*number);
        }
        Value::Double(number) => {
            out.put_u8(tag::DOUBLE);
            out.put_f64(*number);
        }
        Value::Text(text) => {
            out.put_u8(tag::TEXT);
            put_bytes(text.as_bytes(), out);
        }
        Value::Bytes(bytes) => {
            out.put_u8(tag::BYTES);
            put_bytes(bytes, out);
        }
    }
}

fn damaged(what: &str) -> Error {
    Error::format(format!(
        "the body cannot be read as a map or stream: {what}"
    ))
}

fn short<T>(taken: Result<T, bytes::TryGetError>) -> Result<T> {
    taken.map_err(|_| damaged("it ends within a value"))
}

fn take_version(body: &mut Bytes) -> Result<()> {
    match short(body.try_get_u8())? {
        VERSION => Ok(()),
        other => Err(damaged(&format!("its version is {other}, not {VERSION}"))),
    }
}

fn take_bytes(body: &mut Bytes) -> Result<Bytes> {
    let length = short(body.try_get_u32())? as usize;
    if length > body.remaining() {
        return Err(damaged("a length goes beyond its end"));
    }
    Ok(body.split_to(length))
}

fn take_text(body: &mut Bytes) -> Result<String> {
    let bytes = take_bytes(body)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged("a string is not UTF-8"))?;
    Ok(text.to_owned())
}

fn take_value(body: &mut Bytes) -> Result<Value> {
    Ok(match short(body.try_get_u8())? {
        tag::NULL => Value::Null,
        tag::FALSE => Value::Bool(false),
        tag::TRUE => Value::Bool(true),
        tag::BYTE => Value::Byte(short(body.try_get_i8())?),
        tag::SHORT => Value::Short(short(body.try_get_i16())?),
        tag::CHAR => {
            let code = short(body.try_get_u32())?;
            let character = char::from_u32(code);
            Value::Char(character.ok_or_else(|| damaged("a char is none"))?)
        }
        tag::INT => Value::Int(short(body.try_get_i32())?),
        tag::LONG => Value::Long(short(body.try_get_i64())?),
        tag::FLOAT => Value::Float(short(body.try_get_f32())?),
        tag::DOUBLE => Value::Double(short(body.try_get_f64())?),
        tag::TEXT => Value::Text(take_text(body)?),
        tag::BYTES => Value::Bytes(take_bytes(body)?),
        other => return Err(damaged(&format!("there is no type {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all() -> Vec<Value> {
        vec![
            Value::Null,
            true.into(),
            false.into(),
            i8::MIN.into(),
            i16::MIN.into(),
            'ß'.into(),
            i32::MIN.into(),
            i64::MIN.into(),
            1.5_f32.into(),
            (-2.5_f64).into(),
            "text\u{1}\u{2}".into(),
            "".into(),
            vec![0_u8, 255].into(),
        ]
    }

    #[test]
    fn maps_and_streams_are_read_as_they_were_written() {
        assert_eq!(decode_stream(encode_stream(&all())).unwrap(), all());
        let map: BTreeMap<_, _> = (0..).map(|n: i32| n.to_string()).zip(all()).collect();
        assert_eq!(decode_map(encode_map(&map)).unwrap(), map);
        assert_eq!(
            decode_map(encode_map(&BTreeMap::new())).unwrap(),
            BTreeMap::new()
        );
    }

    #[test]
    fn a_body_that_is_cut_is_an_error_or_shorter_and_never_a_panic() {
        let whole = encode_stream(&all());
        for end in 0..whole.len() {
            match decode_stream(whole.slice(..end)) {
                Ok(values) => assert_eq!(values, all()[..values.len()]),
                Err(error) => assert!(matches!(error, Error::MessageFormat(_)), "{error}"),
            }
        }
    }

    #[test]
    fn a_length_that_lies_reserves_nothing() {
        let body = Bytes::from_static(&[VERSION, tag::TEXT, 0xFF, 0xFF, 0xFF, 0xFF, b'x']);
        let error = decode_stream(body).unwrap_err();
        assert!(error.to_string().contains("goes beyond its end"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut body in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode_map(body.clone().into());
            let _ = decode_stream(body.clone().into());
            body.insert(0, VERSION);
            let _ = decode_map(body.clone().into());
            let _ = decode_stream(body.into());
        }
    }
}
