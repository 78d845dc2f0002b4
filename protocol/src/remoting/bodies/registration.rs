//! What brokers tell name servers of their topics (RocketMQ `RegisterBrokerBody`).
//!
//! Besides JSON there is a compressed form. Unpacked, it is
//!
//! ```text
//! i32 length, DataVersion as JSON
//! i32 topics, for each: i32 length, "name read write perm filterType attributes", the last as JSON
//! i32 length, filter servers as a JSON array
//! i32 mappings, for each: i32 length, mapping as JSON        only from 5.0.0 on
//! ```

use std::io::{Read, Write};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::DataVersion;
use super::topic::{FilterType, MappedTopicTable, TopicEntry};
use crate::remoting::json::{self, JsonError};

/// Why a compressed registration cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistrationError {
    /// It is not zlib, or not all of it.
    #[error("registration cannot be unpacked")]
    Compression,
    /// Unpacked, it is longer than the receiver takes.
    #[error("registration is longer than the limit of {limit} bytes: register fewer topics")]
    TooLong {
        /// The receiver's limit, in bytes.
        limit: usize,
    },
    /// A length or number in it is wrong.
    #[error("registration ends inside its {part}")]
    Ends {
        /// What is cut off.
        part: &'static str,
    },
    /// A topic in it is none.
    #[error("registration has a topic that cannot be read: {text:?}")]
    Topic {
        /// The beginning of its text.
        text: String,
    },
    /// A part of it is not JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
}

/// A broker's topics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Registration {
    /// Nothing: no release that is still in use has such servers.
    #[serde(rename = "filterServerList")]
    pub filter_servers: Vec<String>,
    /// The topics.
    #[serde(rename = "topicConfigSerializeWrapper")]
    pub topics: MappedTopicTable,
}

impl Registration {
    /// Reads the compressed form, of which at most `max_bytes` are unpacked.
    ///
    /// # Errors
    ///
    /// When it is none, or longer than that.
    pub fn from_compressed(body: &[u8], max_bytes: usize) -> Result<Self, RegistrationError> {
        let unpacked = unpack(body, max_bytes)?;
        let mut rest = unpacked.as_slice();
        let mut registration = Self::default();
        let data_version = part(&mut rest, "data version")?;
        registration.topics.data_version = json::from_slice::<DataVersion>(data_version)?;
        for _ in 0..count(&mut rest, "topics")? {
            let topic = topic_from_text(&String::from_utf8_lossy(part(&mut rest, "topics")?))?;
            let topics = &mut registration.topics.topics;
            topics.insert(topic.topic_name.clone(), topic);
        }
        registration.filter_servers = json::from_slice(part(&mut rest, "filter servers")?)?;
        Ok(registration)
    }

    /// Writes the compressed form. Attributes with spaces are left out, as RocketMQ could not read them.
    pub fn to_compressed(&self) -> Bytes {
        let mut plain = BytesMut::new();
        put_part(&json::to_bytes(&self.topics.data_version), &mut plain);
        plain.put_u32(self.topics.topics.len() as u32);
        for topic in self.topics.topics.values() {
            put_part(topic_text(topic).as_bytes(), &mut plain);
        }
        put_part(&json::to_bytes(&self.filter_servers), &mut plain);
        plain.put_u32(0);
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        let packed = encoder.write_all(&plain).and_then(|()| encoder.finish());
        debug_assert!(packed.is_ok(), "memory can be written: {packed:?}");
        packed.unwrap_or_default().into()
    }
}

/// The check sum of a registration's body: CRC-32 without its top bit.
pub fn check_sum(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7FFF_FFFF) as i32
}

fn unpack(body: &[u8], max_bytes: usize) -> Result<Vec<u8>, RegistrationError> {
    let mut unpacked = Vec::new();
    let read = ZlibDecoder::new(body)
        .take(max_bytes as u64 + 1)
        .read_to_end(&mut unpacked);
    match read {
        Ok(bytes) if bytes > max_bytes => Err(RegistrationError::TooLong { limit: max_bytes }),
        Ok(_) => Ok(unpacked),
        Err(_) => Err(RegistrationError::Compression),
    }
}

fn count(rest: &mut &[u8], part: &'static str) -> Result<usize, RegistrationError> {
    let count = rest.try_get_i32().ok();
    count
        .and_then(|count| usize::try_from(count).ok())
        .ok_or(RegistrationError::Ends { part })
}

fn part<'a>(rest: &mut &'a [u8], part: &'static str) -> Result<&'a [u8], RegistrationError> {
    let bytes = count(rest, part)?;
    let (taken, left) = rest
        .split_at_checked(bytes)
        .ok_or(RegistrationError::Ends { part })?;
    *rest = left;
    Ok(taken)
}

fn put_part(part: &[u8], out: &mut BytesMut) {
    out.put_u32(part.len() as u32);
    out.put_slice(part);
}

fn topic_text(topic: &TopicEntry) -> String {
    let mut attributes = topic.attributes.clone();
    attributes.retain(|name, value| !name.contains(' ') && !value.contains(' '));
    let attributes = json::to_bytes(&attributes);
    format!(
        "{} {} {} {} {} {}",
        topic.topic_name,
        topic.read_queues,
        topic.write_queues,
        topic.permission,
        topic.filter_type.name(),
        String::from_utf8_lossy(&attributes)
    )
}

/// Order and system flag are not in the text: a name server has no use for the former and takes the latter for 0.
fn topic_from_text(text: &str) -> Result<TopicEntry, RegistrationError> {
    let read = || {
        let mut parts = text.splitn(6, ' ');
        Some(TopicEntry {
            topic_name: parts.next()?.to_owned(),
            read_queues: parts.next()?.parse().ok()?,
            write_queues: parts.next()?.parse().ok()?,
            permission: parts.next()?.parse().ok()?,
            filter_type: FilterType::from_text(parts.next()?)?,
            attributes: match parts.next() {
                Some(attributes) => json::from_slice(attributes.as_bytes()).unwrap_or_default(),
                None => Default::default(),
            },
            ..TopicEntry::default()
        })
    };
    read().ok_or_else(|| RegistrationError::Topic {
        text: text.chars().take(200).collect(),
    })
}
