//! Reading records where they lie.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use thiserror::Error;

use super::body_crc;
use super::layout::{
    BLANK_BYTES, BLANK_MAGIC, FIXED_V1_BYTES, HOST_V4_BYTES, HOST_V6_BYTES, Version, at, sys_flag,
};
use crate::model::{PhysicalOffset, QueueId, QueueOffset, property_value};

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Neither a record nor a filler begins here.
    #[error("magic number {magic:#010x} is none of a record's")]
    Magic {
        /// The four bytes found.
        magic: u32,
    },
    /// The record says it is longer than what is there, or shorter than any record.
    #[error("record length {length} does not fit the {available} bytes there are")]
    Length {
        /// Length that the record claims, in bytes.
        length: i64,
        /// Bytes there are.
        available: usize,
    },
    /// The lengths of body, topic and properties do not add up to the record's.
    #[error("a record of {total} bytes has parts of {parts} bytes")]
    Parts {
        /// Length that the record claims, in bytes.
        total: usize,
        /// Sum of its parts, in bytes.
        parts: usize,
    },
    /// The body is not what was written.
    #[error("body check sum is {found:#010x}, the record says {expected:#010x}")]
    BodyCrc {
        /// What the record says.
        expected: u32,
        /// What the body has.
        found: u32,
    },
    /// A record that belongs elsewhere in the log.
    #[error("record says it lies at {claimed}, but it lies at {actual}")]
    Place {
        /// The physical offset in the record.
        claimed: i64,
        /// Where it was found.
        actual: u64,
    },
    /// The topic is not UTF-8, or an offset is negative.
    #[error("field {field} is not valid")]
    Field {
        /// Name of the field.
        field: &'static str,
    },
}

/// What stands at a place in the log.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// A record.
    Record(RecordView<'a>),
    /// The filler that ends a segment.
    Blank,
    /// Zeros: nothing was written here yet.
    Unwritten,
}

fn be_i16(bytes: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be_i32(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be_i64(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Looks at what stands at the front of `bytes`, the rest of a segment from some place on. Does not read bodies.
pub fn step(bytes: &[u8]) -> Result<Step<'_>, RecordError> {
    let available = bytes.len();
    let (Some(total), Some(magic)) = (be_i32(bytes, at::TOTAL_SIZE), be_i32(bytes, at::MAGIC))
    else {
        return Err(RecordError::Length {
            length: BLANK_BYTES as i64,
            available,
        });
    };
    let magic = magic.cast_unsigned();
    if magic == BLANK_MAGIC {
        return Ok(Step::Blank);
    }
    if magic == 0 && total == 0 {
        return Ok(Step::Unwritten);
    }
    RecordView::parse(bytes).map(Step::Record)
}

/// A record in the log, read in place. Its lengths have been checked; its body only by [`RecordView::verify_body`].
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    bytes: &'a [u8],
    /// Where the body's length stands, right behind the hosts.
    body_length_at: usize,
    body_bytes: usize,
    topic_at: usize,
    topic_bytes: usize,
}

impl<'a> RecordView<'a> {
    /// Reads the record at the front of `bytes`; what follows it is left alone.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let available = bytes.len();
        let claimed = be_i32(bytes, at::TOTAL_SIZE).unwrap_or_default();
        let length_error = RecordError::Length {
            length: claimed.into(),
            available,
        };
        let total = usize::try_from(claimed).map_err(|_| length_error)?;
        if available < FIXED_V1_BYTES {
            return Err(length_error);
        }
        let magic = be_i32(bytes, at::MAGIC).unwrap_or_default().cast_unsigned();
        let version = Version::from_magic(magic).ok_or(RecordError::Magic { magic })?;
        if total < FIXED_V1_BYTES || total > available {
            return Err(length_error);
        }
        Self::split(&bytes[..total], version).ok_or(length_error)?
    }

    /// Finds the parts. `None` when one begins beyond the record.
    fn split(bytes: &'a [u8], version: Version) -> Option<Result<Self, RecordError>> {
        let total = bytes.len();
        let flags = be_i32(bytes, at::SYS_FLAG)?;
        let host = |bit| {
            if flags & bit == 0 {
                HOST_V4_BYTES
            } else {
                HOST_V6_BYTES
            }
        };
        let hosts = host(sys_flag::BORN_HOST_V6) + host(sys_flag::STORE_HOST_V6);
        // Behind the hosts: the store timestamp stands between them, reconsume times and prepared offset follow.
        let body_length_at = at::BORN_HOST + hosts + 8 + 4 + 8;
        let body_bytes = usize::try_from(be_i32(bytes, body_length_at)?).ok()?;
        let topic_length_at = (body_length_at + 4).checked_add(body_bytes)?;
        let topic_bytes = match version {
            Version::V1 => usize::from(*bytes.get(topic_length_at)?),
            Version::V2 => usize::try_from(be_i16(bytes, topic_length_at)?).ok()?,
        };
        let topic_at = topic_length_at + version.topic_length_bytes();
        let properties_length_at = topic_at + topic_bytes;
        let properties_bytes = usize::try_from(be_i16(bytes, properties_length_at)?).ok()?;
        let parts = properties_length_at + 2 + properties_bytes;
        if parts != total {
            return Some(Err(RecordError::Parts { total, parts }));
        }
        Some(Ok(Self {
            bytes,
            body_length_at,
            body_bytes,
            topic_at,
            topic_bytes,
        }))
    }

    /// Where in the record its body stands.
    pub fn body_range(&self) -> Range<usize> {
        let start = self.body_length_at + 4;
        start..start + self.body_bytes
    }

    /// Where in the record the reconsume times stand, as 32 bits, big endian: a broker that tells another number than is stored
    /// writes it there.
    pub fn reconsume_times_at(&self) -> usize {
        // The prepared offset lies between them and the body's length.
        self.body_length_at - 8 - 4
    }

    /// The whole record.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of the whole record.
    pub fn total_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it is a record of this topic. Costs less than looking at [`RecordView::topic`].
    pub fn is_of(&self, topic: &str) -> bool {
        self.topic_bytes() == topic.as_bytes()
    }

    fn i32_at(&self, at: usize) -> i32 {
        be_i32(self.bytes, at).unwrap_or_default()
    }

    fn i64_at(&self, at: usize) -> i64 {
        be_i64(self.bytes, at).unwrap_or_default()
    }

    /// The queue; an error when the field is negative.
    pub fn queue(&self) -> Result<QueueId, RecordError> {
        QueueId::from_i32(self.i32_at(at::QUEUE_ID))
            .map_err(|_| RecordError::Field { field: "queue id" })
    }

    /// The message's place in its queue; an error when the field is negative.
    pub fn queue_offset(&self) -> Result<QueueOffset, RecordError> {
        QueueOffset::from_i64(self.i64_at(at::QUEUE_OFFSET)).map_err(|_| RecordError::Field {
            field: "queue offset",
        })
    }

    /// Where the record says it lies.
    pub fn physical_offset(&self) -> i64 {
        self.i64_at(at::PHYSICAL_OFFSET)
    }

    /// The producer's own flag.
    pub fn flag(&self) -> i32 {
        self.i32_at(at::FLAG)
    }

    /// Bits of [`sys_flag`].
    pub fn sys_flag(&self) -> i32 {
        self.i32_at(at::SYS_FLAG)
    }

    /// When the producer made it, in milliseconds since the epoch.
    pub fn born_timestamp_ms(&self) -> i64 {
        self.i64_at(at::BORN_TIMESTAMP)
    }

    fn born_host_bytes(&self) -> usize {
        if self.sys_flag() & sys_flag::BORN_HOST_V6 == 0 {
            HOST_V4_BYTES
        } else {
            HOST_V6_BYTES
        }
    }

    /// Where the producer was.
    pub fn born_host(&self) -> SocketAddr {
        read_host(&self.bytes[at::BORN_HOST..at::BORN_HOST + self.born_host_bytes()])
    }

    /// When the broker appended it, in milliseconds since the epoch.
    pub fn store_timestamp_ms(&self) -> i64 {
        self.i64_at(at::BORN_HOST + self.born_host_bytes())
    }

    /// The broker's address at the time.
    pub fn store_host(&self) -> SocketAddr {
        // Reconsume times and prepared offset stand between the store host and the body's length.
        let end = self.body_length_at - 12;
        read_host(&self.bytes[at::BORN_HOST + self.born_host_bytes() + 8..end])
    }

    /// How often it was delivered and failed.
    pub fn reconsume_times(&self) -> i32 {
        self.i32_at(self.body_length_at - 12)
    }

    /// The log position of the half message that a commit or rollback settles.
    pub fn prepared_transaction_offset(&self) -> i64 {
        self.i64_at(self.body_length_at - 8)
    }

    /// The body as the producer sent it.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.body_range()]
    }

    /// The check sum that was written with the body.
    pub fn body_crc(&self) -> u32 {
        self.i32_at(at::BODY_CRC).cast_unsigned()
    }

    /// The topic's name; an error when it is not UTF-8.
    pub fn topic(&self) -> Result<&'a str, RecordError> {
        std::str::from_utf8(self.topic_bytes()).map_err(|_| RecordError::Field { field: "topic" })
    }

    /// The topic's name as bytes.
    pub fn topic_bytes(&self) -> &'a [u8] {
        &self.bytes[self.topic_at..self.topic_at + self.topic_bytes]
    }

    /// Properties in their text form.
    pub fn properties(&self) -> &'a [u8] {
        &self.bytes[self.topic_at + self.topic_bytes + 2..]
    }

    /// One property.
    pub fn property(&self, name: &str) -> Option<&'a str> {
        property_value(self.properties(), name)
    }

    /// Reads the body and compares it with its check sum.
    pub fn verify_body(&self) -> Result<(), RecordError> {
        let (expected, found) = (self.body_crc(), body_crc(self.body()));
        if expected != found {
            return Err(RecordError::BodyCrc { expected, found });
        }
        Ok(())
    }

    /// Compares where the record says it lies with where it was found.
    pub fn verify_place(&self, actual: PhysicalOffset) -> Result<(), RecordError> {
        let claimed = self.physical_offset();
        if claimed != actual.as_i64() {
            return Err(RecordError::Place {
                claimed,
                actual: actual.0,
            });
        }
        Ok(())
    }
}

fn read_host(bytes: &[u8]) -> SocketAddr {
    let (ip, port) = bytes.split_at(bytes.len() - 4);
    let ip = match <[u8; 4]>::try_from(ip) {
        Ok(octets) => IpAddr::V4(Ipv4Addr::from(octets)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).unwrap_or_default())),
    };
    // A port beyond 65535 was never written by a broker; its low half is as good as any.
    SocketAddr::new(ip, be_i32(port, 0).unwrap_or_default() as u16)
}
