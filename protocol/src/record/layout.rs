//! Sizes, places and magic numbers of a record (RocketMQ `CommitLog`, `MessageExtEncoder`). All integers are big endian.

/// Where the fixed fields before the first host stand.
pub(super) mod at {
    pub(crate) const TOTAL_SIZE: usize = 0;
    pub(crate) const MAGIC: usize = 4;
    pub(crate) const BODY_CRC: usize = 8;
    pub(crate) const QUEUE_ID: usize = 12;
    pub(crate) const FLAG: usize = 16;
    pub(crate) const QUEUE_OFFSET: usize = 20;
    pub(crate) const PHYSICAL_OFFSET: usize = 28;
    pub(crate) const SYS_FLAG: usize = 36;
    pub(crate) const BORN_TIMESTAMP: usize = 40;
    pub(crate) const BORN_HOST: usize = 48;
}

/// Bits of a record's system flag (RocketMQ `MessageSysFlag`).
pub mod sys_flag {
    /// The body is compressed.
    pub const COMPRESSED: i32 = 0x1;
    /// The two bits of the transaction phase.
    pub const TRANSACTION_MASK: i32 = 0xC;
    /// A half message.
    pub const TRANSACTION_PREPARED: i32 = 0x4;
    /// A message whose transaction committed.
    pub const TRANSACTION_COMMIT: i32 = 0x8;
    /// A message whose transaction rolled back.
    pub const TRANSACTION_ROLLBACK: i32 = 0xC;
    /// The producer's address is IPv6.
    pub const BORN_HOST_V6: i32 = 0x10;
    /// The broker's address is IPv6.
    pub const STORE_HOST_V6: i32 = 0x20;
    /// The two bits and one more that name the compression.
    pub const COMPRESSION_MASK: i32 = 0x700;
    /// LZ4 frames.
    pub const COMPRESSION_LZ4: i32 = 0x100;
    /// Zstandard.
    pub const COMPRESSION_ZSTD: i32 = 0x200;
    /// zlib.
    pub const COMPRESSION_ZLIB: i32 = 0x300;
}

/// Bytes of an address with its port.
pub(super) const HOST_V4_BYTES: usize = 8;
pub(super) const HOST_V6_BYTES: usize = 20;

/// Bytes of a V1 record with two IPv4 hosts, without body, topic and properties.
pub(super) const FIXED_V1_BYTES: usize = 91;
const _: () = assert!(
    at::BORN_HOST + HOST_V4_BYTES + 8 + HOST_V4_BYTES + 4 + 8 + 4 + 1 + 2 == FIXED_V1_BYTES,
    "RocketMQ's fixed part is 91 bytes"
);

/// Magic of the filler at a segment's end.
pub(super) const BLANK_MAGIC: u32 = 0xCBD4_3194;

/// Bytes that every segment keeps free at its end for the filler's head.
pub const BLANK_BYTES: usize = 8;

/// How the topic's length is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// In one byte: topics of up to 127 bytes.
    V1,
    /// In two bytes.
    V2,
}

impl Version {
    pub(super) fn for_topic(topic: &str) -> Self {
        if topic.len() > i8::MAX as usize {
            Self::V2
        } else {
            Self::V1
        }
    }

    pub(super) fn magic(self) -> u32 {
        match self {
            Self::V1 => 0xDAA3_20A7,
            Self::V2 => 0xDAA3_20AB,
        }
    }

    pub(super) fn from_magic(magic: u32) -> Option<Self> {
        [Self::V1, Self::V2]
            .into_iter()
            .find(|version| version.magic() == magic)
    }

    pub(super) fn topic_length_bytes(self) -> usize {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

/// Fills the end of a segment: the head of a blank record that spans all of `rest`.
///
/// `rest` is what is left of the segment, at least [`BLANK_BYTES`] long.
pub fn encode_blank(rest: &mut [u8]) {
    let bytes = u32::try_from(rest.len()).unwrap_or(u32::MAX);
    let (head, _) = rest.split_at_mut(BLANK_BYTES);
    head[..4].copy_from_slice(&bytes.to_be_bytes());
    head[4..].copy_from_slice(&BLANK_MAGIC.to_be_bytes());
}
