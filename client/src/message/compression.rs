//! Compressed bodies, in the three forms that RocketMQ knows.

use std::io::{Read, Write};

use bytes::Bytes;
use castmq_protocol::record::sys_flag;

use crate::error::{Error, Result};

/// RocketMQ's level for zlib.
const ZLIB_LEVEL: u32 = 5;

/// Longest body that is decompressed: a few compressed bytes may claim to be gigabytes.
const MAX_BODY_BYTES: u64 = 64 * 1024 * 1024;

/// How bodies are compressed.
///
/// # Examples
///
/// ```no_run
/// # fn example(client: castmq_client::Client) {
/// use castmq_client::Compression;
///
/// let producer = client.producer().compression(Compression::Zstd).compress_above_bytes(1024).build();
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// zlib at level 5: RocketMQ's default, and readable by every RocketMQ client.
    #[default]
    Zlib,
    /// LZ4 frames: fast, readable by RocketMQ 5 clients.
    Lz4,
    /// Zstandard at its fastest level: readable by RocketMQ 5 clients.
    Zstd,
}

impl Compression {
    fn bits(self) -> i32 {
        match self {
            Self::None => 0,
            Self::Zlib => sys_flag::COMPRESSED | sys_flag::COMPRESSION_ZLIB,
            Self::Lz4 => sys_flag::COMPRESSED | sys_flag::COMPRESSION_LZ4,
            Self::Zstd => sys_flag::COMPRESSED | sys_flag::COMPRESSION_ZSTD,
        }
    }
}

/// Compresses a body and returns it with the bits that say how. `None` when it would not get shorter.
pub(crate) fn compress(body: &[u8], compression: Compression) -> Option<(Bytes, i32)> {
    let compressed = match compression {
        Compression::None => return None,
        Compression::Zlib => {
            let level = flate2::Compression::new(ZLIB_LEVEL);
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(body).ok()?;
            encoder.finish().ok()?
        }
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(body).ok()?;
            encoder.finish().ok()?
        }
        Compression::Zstd => {
            ruzstd::encoding::compress_to_vec(body, ruzstd::encoding::CompressionLevel::Fastest)
        }
    };
    (compressed.len() < body.len()).then(|| (compressed.into(), compression.bits()))
}

/// Undoes what a message's system flag says was done to its body.
pub(crate) fn decompress(body: &[u8], system_flag: i32) -> Result<Bytes> {
    let failed = |error: &dyn std::fmt::Display| Error::Compression {
        reason: error.to_string().into(),
    };
    match system_flag & sys_flag::COMPRESSION_MASK {
        // RocketMQ before 5 set no bits for the only form it had.
        0 | sys_flag::COMPRESSION_ZLIB => read(flate2::read::ZlibDecoder::new(body)),
        sys_flag::COMPRESSION_LZ4 => read(lz4_flex::frame::FrameDecoder::new(body)),
        sys_flag::COMPRESSION_ZSTD => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(body);
            read(decoder.map_err(|error| failed(&error))?)
        }
        other => Err(failed(&format!("form {other:#x} is not known"))),
    }
}

fn read(decoder: impl Read) -> Result<Bytes> {
    let failed = |reason: String| Error::Compression {
        reason: reason.into(),
    };
    let mut body = Vec::new();
    let mut bounded = decoder.take(MAX_BODY_BYTES + 1);
    let length = bounded
        .read_to_end(&mut body)
        .map_err(|error| failed(error.to_string()))?;
    if length as u64 > MAX_BODY_BYTES {
        return Err(failed(format!("it is longer than {MAX_BODY_BYTES} bytes")));
    }
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORMS: [Compression; 3] = [Compression::Zlib, Compression::Lz4, Compression::Zstd];

    #[test]
    fn zlib_is_marked_as_rocketmqs_producers_mark_it() {
        let (_, bits) = compress(&[0; 1000], Compression::Zlib).unwrap();
        assert_eq!(bits, 0x301);
    }

    #[test]
    fn the_form_of_rocketmq_4_is_zlib_without_bits() {
        let (body, _) = compress(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaa", Compression::Zlib).unwrap();
        let read = decompress(&body, sys_flag::COMPRESSED).unwrap();
        assert_eq!(read, &b"aaaaaaaaaaaaaaaaaaaaaaaaaaaa"[..]);
    }

    #[test]
    fn what_does_not_get_shorter_is_left_alone() {
        for form in FORMS {
            assert!(compress(b"ab", form).is_none());
        }
        assert!(compress(&[0; 1000], Compression::None).is_none());
    }

    #[test]
    fn a_bomb_and_garbage_are_errors() {
        let zeros = vec![0; MAX_BODY_BYTES as usize + 1];
        let (bomb, bits) = compress(&zeros, Compression::Lz4).unwrap();
        assert!(bomb.len() < 1024 * 1024);
        let error = decompress(&bomb, bits).unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
        for bits in [0x1, 0x101, 0x201, 0x301, 0x701] {
            assert!(decompress(b"not compressed at all", bits).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(seed in prop::collection::vec(any::<u8>(), 1..200), repeats in 1_usize..200) {
            let body = seed.repeat(repeats);
            for form in FORMS {
                if let Some((compressed, bits)) = compress(&body, form) {
                    prop_assert!(compressed.len() < body.len());
                    prop_assert_eq!(decompress(&compressed, bits).unwrap(), &body[..]);
                }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300), form in 0_i32..8) {
            let _ = decompress(&body, 1 | form << 8);
        }
    }
}
