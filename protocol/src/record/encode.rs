//! Laying out a record.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{Ordering, compiler_fence};

use super::check_sum::copy_body;
use super::layout::{self, FIXED_V1_BYTES, HOST_V4_BYTES, HOST_V6_BYTES, Version, sys_flag};
use crate::model::{PhysicalOffset, QueueId, QueueOffset};

/// A message as it is about to be written to the log.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The topic's name, at most 255 bytes.
    pub topic: &'a str,
    /// The queue of the topic.
    pub queue: QueueId,
    /// The message's place in its queue; 0 in RocketMQ's half and rollback records.
    pub queue_offset: QueueOffset,
    /// Where the record's first byte lies in the log.
    pub physical_offset: PhysicalOffset,
    /// The producer's own flag, not interpreted.
    pub flag: i32,
    /// Bits of [`sys_flag`]; those that tell the family of the hosts are set by [`Record::encode`].
    pub sys_flag: i32,
    /// When the producer made it, in milliseconds since the epoch, by its clock.
    pub born_timestamp_ms: i64,
    /// Where the producer is.
    pub born_host: SocketAddr,
    /// When the broker appended it, in milliseconds since the epoch; never decreases along the log.
    pub store_timestamp_ms: i64,
    /// The address under which clients reach the broker.
    pub store_host: SocketAddr,
    /// How often it was delivered and failed.
    pub reconsume_times: i32,
    /// The log position of the half message that a commit or rollback settles, else 0.
    pub prepared_transaction_offset: i64,
    /// The body as the producer sent it.
    pub body: &'a [u8],
    /// [`body_crc`](super::body_crc) of the body, where it is known; else it is made while the body is copied.
    pub body_crc: Option<u32>,
    /// Properties in their text form, at most 32767 bytes.
    pub properties: &'a [u8],
}

fn host_bytes(host: &SocketAddr) -> usize {
    match host {
        SocketAddr::V4(_) => HOST_V4_BYTES,
        SocketAddr::V6(_) => HOST_V6_BYTES,
    }
}

/// Writes field after field.
struct Fields<'a> {
    rest: &'a mut [u8],
}

impl<'a> Fields<'a> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let rest = std::mem::take(&mut self.rest);
        let (head, rest) = rest.split_at_mut(bytes.len());
        head.copy_from_slice(bytes);
        self.rest = rest;
    }

    #[inline]
    fn skip(&mut self, bytes: usize) {
        let rest = std::mem::take(&mut self.rest);
        self.rest = &mut rest[bytes..];
    }

    #[inline]
    fn put_i32(&mut self, value: i32) {
        self.put(&value.to_be_bytes());
    }

    #[inline]
    fn put_i64(&mut self, value: i64) {
        self.put(&value.to_be_bytes());
    }

    #[inline]
    fn put_host(&mut self, host: &SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => self.put(&ip.octets()),
            IpAddr::V6(ip) => self.put(&ip.octets()),
        }
        self.put_i32(host.port().into());
    }
}

impl Record<'_> {
    /// Bytes that the record takes in the log.
    #[inline]
    pub fn encoded_bytes(&self) -> usize {
        FIXED_V1_BYTES - 1
            + Version::for_topic(self.topic).topic_length_bytes()
            + host_bytes(&self.born_host)
            + host_bytes(&self.store_host)
            - 2 * HOST_V4_BYTES
            + self.body.len()
            + self.topic.len()
            + self.properties.len()
    }

    /// Where in the record its body stands.
    #[inline]
    pub fn body_range(&self) -> Range<usize> {
        let behind = Version::for_topic(self.topic).topic_length_bytes()
            + self.topic.len()
            + size_of::<i16>()
            + self.properties.len();
        let end = self.encoded_bytes() - behind;
        end - self.body.len()..end
    }

    /// Puts the body in its place, and returns its check sum.
    #[inline]
    fn put_body(&self, place: &mut [u8]) -> u32 {
        match self.body_crc {
            Some(known) => {
                place.copy_from_slice(self.body);
                known
            }
            None => copy_body(self.body, place),
        }
    }

    /// Writes the record to the front of `out`, which must have room for [`Record::encoded_bytes`], and returns how
    /// many bytes it took.
    ///
    /// The record's length is written last: where the process ends before, as nothing can prevent, no record begins. Parts of
    /// records have no check sum, so that one without its last properties could not be told from a whole one.
    ///
    /// The lengths of topic (255), properties (32767) and record (2 GiB) are the caller's to keep.
    #[inline]
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let version = Version::for_topic(self.topic);
        let total = self.encoded_bytes();
        let mut flags = self.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
        if self.born_host.is_ipv6() {
            flags |= sys_flag::BORN_HOST_V6;
        }
        if self.store_host.is_ipv6() {
            flags |= sys_flag::STORE_HOST_V6;
        }
        let body_crc = self.put_body(&mut out[self.body_range()]);
        let (length, rest) = out.split_at_mut(layout::at::MAGIC);
        let mut fields = Fields { rest };
        let mut head = [0_u8; layout::at::BORN_HOST - layout::at::MAGIC];
        {
            let mut fields = Fields { rest: &mut head };
            fields.put(&version.magic().to_be_bytes());
            fields.put_i32(body_crc as i32);
            fields.put_i32(self.queue.as_i32());
            fields.put_i32(self.flag);
            fields.put_i64(self.queue_offset.as_i64());
            fields.put_i64(self.physical_offset.as_i64());
            fields.put_i32(flags);
            fields.put_i64(self.born_timestamp_ms);
        }
        fields.put(&head);
        fields.put_host(&self.born_host);
        fields.put_i64(self.store_timestamp_ms);
        fields.put_host(&self.store_host);
        fields.put_i32(self.reconsume_times);
        fields.put_i64(self.prepared_transaction_offset);
        fields.put_i32(self.body.len() as i32);
        fields.skip(self.body.len());
        match version {
            Version::V1 => fields.put(&[self.topic.len() as u8]),
            Version::V2 => fields.put(&(self.topic.len() as i16).to_be_bytes()),
        }
        fields.put(self.topic.as_bytes());
        fields.put(&(self.properties.len() as i16).to_be_bytes());
        fields.put(self.properties);
        compiler_fence(Ordering::Release);
        length.copy_from_slice(&(total as i32).to_be_bytes());
        total
    }
}
