//! The JSON of RocketMQ's bodies and files, as its library fastjson writes it.
//!
//! It is JSON but for the keys of maps: numbers stand there without quotes, and queues as whole objects. When reading,
//! numbers and truth values may stand in quotes, unknown keys are passed over, `null` is the empty value, and bytes
//! that are not UTF-8 are replaced. Writing leaves no spaces (RocketMQ's Go client splits routes by hand) and keeps
//! the order of fields, which is alphabetical in all bodies.
//!
//! - `scan`: where things begin and end in the text.
//! - `read`, `write`: serde's two sides.
//!
//! Reading takes time in proportion to the text. All values together are at most [`MAX_BYTES_PER_BYTE`] times as long as
//! it, besides a fixed allowance, not counting what tables and growing lists keep free.

mod read;
mod scan;
mod write;

use std::fmt;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(crate) use scan::{Kind, Scanner, string_end, text_of, unescape};
pub(crate) use write::{put_escaped, put_string};

/// How deep arrays and objects may lie in each other.
pub const MAX_DEPTH: usize = 64;

/// Bytes that values may take for each byte of their text, besides [`ALLOWANCE_BYTES`].
///
/// Among what RocketMQ writes, lists of the shortest names come closest to it.
pub const MAX_BYTES_PER_BYTE: usize = 8;

/// Bytes that values may always take, however short their text.
pub const ALLOWANCE_BYTES: usize = 256 * 1024;

/// Why a text could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonError {
    /// The text ends too early.
    #[error("JSON ends where {expected} should be")]
    Ends {
        /// What is missing.
        expected: &'static str,
    },
    /// Something else stands there.
    #[error("JSON has something else at byte {at} where {expected} should be")]
    Unexpected {
        /// Where, in bytes.
        at: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// Arrays and objects lie too deep in each other.
    #[error("JSON is nested deeper than {MAX_DEPTH} at byte {at}")]
    TooDeep {
        /// Where, in bytes.
        at: usize,
    },
    /// The values would take far more memory than their text.
    #[error("JSON has too many small values up to byte {at}")]
    TooMany {
        /// Where, in bytes.
        at: usize,
    },
    /// A value is not of the kind that belongs there.
    #[error("JSON does not have the right shape: {reason}")]
    Shape {
        /// What is wrong.
        reason: String,
    },
}

impl serde::de::Error for JsonError {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::Shape {
            reason: reason.to_string(),
        }
    }
}

impl serde::ser::Error for JsonError {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        serde::de::Error::custom(reason)
    }
}

/// Reads a body.
///
/// # Errors
///
/// When the text is not JSON, not of the right shape, or would take too much memory.
pub fn from_slice<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, JsonError> {
    read::from_slice(text)
}

/// Writes a body at the end of `out`.
pub fn write<T: Serialize + ?Sized>(value: &T, out: &mut BytesMut) {
    let written = value.serialize(&mut write::Writer::new(out));
    debug_assert!(written.is_ok(), "bodies can be written: {written:?}");
}

/// A body's bytes.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Bytes {
    let mut out = BytesMut::new();
    write(value, &mut out);
    out.freeze()
}

#[cfg(test)]
mod tests;
