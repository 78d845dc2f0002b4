//! The bytes of journal entries.
//!
//! A record: version byte, number of entries, entries. An entry: kind byte, fields. Numbers are LEB128, signed ones
//! zigzag; keys and attempt ids, which are hashes, are 8 bytes, big-endian. Offsets stay below 2^63, as everywhere.

use castmq_protocol::model::QueueOffset;
use thiserror::Error;

use super::journal::Entry;
use super::window::Delivery;

/// The version that is written, and the only one there is.
const VERSION: u8 = 1;

/// Most bytes of the entries that describe one offset: [`Entry::Keyed`] and [`Entry::HandedOut`], all numbers at their
/// longest.
pub(super) const MAX_OFFSET_BYTES: usize = (1 + 10 + 10 + 8) + (1 + 10 + 10 + 5 + 10 + 5 + 10);

const START: u8 = 1;
const HANDED_OUT: u8 = 2;
const KEYED: u8 = 3;
const SETTLED: u8 = 4;
const ATTEMPT_ID: u8 = 5;
const CLOCK_BACK: u8 = 6;

/// Bytes that are not a record of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum DecodeError {
    /// Written by something newer, or not a journal.
    #[error(
        "acknowledgement journal has version {found}, this broker reads {VERSION}: run the one that wrote it"
    )]
    Version {
        /// The version byte.
        found: u8,
    },
    /// It ends too early.
    #[error(
        "a record of the acknowledgement journal ends within its {field}: replay without it and what follows"
    )]
    Truncated {
        /// What was being read.
        field: &'static str,
    },
    /// A value that is never written.
    #[error(
        "a record of the acknowledgement journal has {value} as {field}: replay without it and what follows"
    )]
    Value {
        /// What was being read.
        field: &'static str,
        /// What there is.
        value: u64,
    },
    /// More than it says.
    #[error(
        "a record of the acknowledgement journal goes on for {length} bytes after its last entry: replay without it and \
         what follows"
    )]
    TrailingBytes {
        /// How many.
        length: usize,
    },
}

/// The bytes of entries: one record.
pub(crate) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + 24 * entries.len());
    bytes.push(VERSION);
    put(&mut bytes, entries.len() as u64);
    for entry in entries {
        put_entry(&mut bytes, entry);
    }
    bytes
}

fn put_entry(bytes: &mut Vec<u8>, entry: &Entry) {
    match entry {
        Entry::Start {
            floor,
            latest_ms,
            ahead_ms,
            attempt_id,
        } => {
            bytes.push(START);
            put(bytes, floor.0);
            put_signed(bytes, *latest_ms);
            put_signed(bytes, *ahead_ms);
            put_optional(bytes, *attempt_id);
        }
        Entry::HandedOut {
            first,
            count,
            delivery,
        } => {
            bytes.push(HANDED_OUT);
            put(bytes, first.0);
            put(bytes, *count);
            put(bytes, delivery.attempt.into());
            put_signed(bytes, delivery.popped_at_ms);
            put(bytes, delivery.invisible_ms.into());
            put_signed(bytes, delivery.ahead_ms);
        }
        Entry::Keyed { first, keys } => {
            bytes.push(KEYED);
            put(bytes, first.0);
            put(bytes, keys.len() as u64);
            for key in keys {
                bytes.extend_from_slice(&key.to_be_bytes());
            }
        }
        Entry::Settled { first, count } => {
            bytes.push(SETTLED);
            put(bytes, first.0);
            put(bytes, *count);
        }
        Entry::AttemptId(id) => {
            bytes.push(ATTEMPT_ID);
            put_optional(bytes, *id);
        }
        Entry::ClockBack {
            latest_ms,
            ahead_ms,
        } => {
            bytes.push(CLOCK_BACK);
            put_signed(bytes, *latest_ms);
            put_signed(bytes, *ahead_ms);
        }
    }
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn put_signed(bytes: &mut Vec<u8>, value: i64) {
    put(bytes, ((value << 1) ^ (value >> 63)) as u64);
}

fn put_optional(bytes: &mut Vec<u8>, value: Option<u64>) {
    bytes.push(value.is_some().into());
    if let Some(value) = value {
        bytes.extend_from_slice(&value.to_be_bytes());
    }
}

/// Reads a record.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Entry>, DecodeError> {
    let mut reader = Reader(bytes);
    let version = reader.byte("version")?;
    if version != VERSION {
        return Err(DecodeError::Version { found: version });
    }
    let count = reader.number("number of entries")?;
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(reader.entry()?);
    }
    match reader.0.len() {
        0 => Ok(entries),
        length => Err(DecodeError::TrailingBytes { length }),
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn entry(&mut self) -> Result<Entry, DecodeError> {
        Ok(match self.byte("kind of entry")? {
            START => Entry::Start {
                floor: self.offset()?,
                latest_ms: self.signed("time")?,
                ahead_ms: self.signed("clock difference")?,
                attempt_id: self.optional("attempt id")?,
            },
            HANDED_OUT => {
                let (first, count) = self.run()?;
                Entry::HandedOut {
                    first,
                    count,
                    delivery: self.delivery()?,
                }
            }
            KEYED => {
                let (first, count) = self.run()?;
                Entry::Keyed {
                    first,
                    keys: self.hashes(count)?,
                }
            }
            SETTLED => {
                let (first, count) = self.run()?;
                Entry::Settled { first, count }
            }
            ATTEMPT_ID => Entry::AttemptId(self.optional("attempt id")?),
            CLOCK_BACK => Entry::ClockBack {
                latest_ms: self.signed("time")?,
                ahead_ms: self.signed("clock difference")?,
            },
            kind => {
                return Err(DecodeError::Value {
                    field: "kind of entry",
                    value: kind.into(),
                });
            }
        })
    }

    fn delivery(&mut self) -> Result<Delivery, DecodeError> {
        let attempt = self.small("attempt")?;
        if attempt == 0 {
            return Err(DecodeError::Value {
                field: "attempt",
                value: 0,
            });
        }
        Ok(Delivery {
            attempt,
            popped_at_ms: self.signed("pop time")?,
            invisible_ms: self.small("invisible time")?,
            ahead_ms: self.signed("clock difference")?,
        })
    }

    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self
            .0
            .split_first_chunk()
            .ok_or(DecodeError::Truncated { field })?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        let [byte] = self.take(field)?;
        Ok(byte)
    }

    fn number(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(field)?;
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte <= 0x7f {
                return Ok(value);
            }
        }
        Err(DecodeError::Value { field, value })
    }

    fn signed(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        let value = self.number(field)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn small(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let value = self.number(field)?;
        u32::try_from(value).map_err(|_| DecodeError::Value { field, value })
    }

    fn offset(&mut self) -> Result<QueueOffset, DecodeError> {
        let value = self.number("offset")?;
        match i64::try_from(value) {
            Ok(_) => Ok(QueueOffset(value)),
            Err(_) => Err(DecodeError::Value {
                field: "offset",
                value,
            }),
        }
    }

    /// First offset and length of a run that ends below 2^63.
    fn run(&mut self) -> Result<(QueueOffset, u64), DecodeError> {
        let first = self.offset()?;
        let count = self.number("number of offsets")?;
        if count > i64::MAX as u64 - first.0 {
            return Err(DecodeError::Value {
                field: "number of offsets",
                value: count,
            });
        }
        Ok((first, count))
    }

    fn optional(&mut self, field: &'static str) -> Result<Option<u64>, DecodeError> {
        match self.byte(field)? {
            0 => Ok(None),
            1 => self.take(field).map(u64::from_be_bytes).map(Some),
            byte => Err(DecodeError::Value {
                field,
                value: byte.into(),
            }),
        }
    }

    /// Hashes, after a look at whether there can be that many.
    fn hashes(&mut self, count: u64) -> Result<Vec<u64>, DecodeError> {
        const FIELD: &str = "keys";
        if count > self.0.len() as u64 / 8 {
            return Err(DecodeError::Truncated { field: FIELD });
        }
        (0..count)
            .map(|_| self.take(FIELD).map(u64::from_be_bytes))
            .collect()
    }
}
