//! Frames: finding them in a buffer, decoding their headers, writing them.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::{Decode, Encode};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;
use tokio_util::codec::{Decoder, Encoder};

/// The first bytes of a native connection, sent by the client before its first frame.
pub const PREFACE: [u8; 4] = *b"CMQ1";

/// Bytes of a frame's length field.
pub const LENGTH_BYTES: usize = 4;

/// Longest frame that is accepted unless configured otherwise: 16 MiB, RocketMQ's limit.
pub const DEFAULT_MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// Why bytes on a connection are not frames. The connection cannot be used afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length is more than the receiver takes.
    #[error(
        "frame of {length} bytes is longer than the limit of {limit}: send smaller messages or batches"
    )]
    TooLong {
        /// Length that the frame announces, in bytes.
        length: usize,
        /// The receiver's limit, in bytes.
        limit: usize,
    },
    /// The header is not one, or it belongs to a version that this side does not know.
    #[error("frame header cannot be read: {reason}")]
    Header {
        /// What bincode said.
        reason: String,
    },
}

type Config<const LIMIT: usize> = Configuration<LittleEndian, Fixint, Limit<LIMIT>>;

/// The configuration of everything that bincode writes on this wire.
const fn config<const LIMIT: usize>() -> Config<LIMIT> {
    bincode::config::standard()
        .with_little_endian()
        .with_fixed_int_encoding()
        .with_limit::<LIMIT>()
}

/// Decodes a header at the front of `frame` and returns it with the number of bytes it took.
///
/// What decoding may allocate is bounded by what was received: the limit is a small multiple of the frame's length,
/// whatever lengths the header claims.
pub fn decode_header<T: Decode<()>>(frame: &[u8]) -> Result<(T, usize), FrameError> {
    const KIB: usize = 1024;
    let decoded = match frame.len() {
        0..=512 => bincode::decode_from_slice(frame, config::<{ 4 * KIB }>()),
        513..=0x3FFF => bincode::decode_from_slice(frame, config::<{ 128 * KIB }>()),
        0x4000..=0x7_FFFF => bincode::decode_from_slice(frame, config::<{ 4096 * KIB }>()),
        _ => bincode::decode_from_slice(frame, config::<{ 128 * 1024 * KIB }>()),
    };
    decoded.map_err(|error| FrameError::Header {
        reason: error.to_string(),
    })
}

/// Writes a frame of a header and a payload in pieces.
///
/// Encoding into memory cannot fail for the types of this wire.
pub fn encode_frame<T: Encode>(header: &T, payload: &[&[u8]], out: &mut BytesMut) {
    let start = begin_frame(header, payload.iter().map(|piece| piece.len()).sum(), out);
    for piece in payload {
        out.put_slice(piece);
    }
    debug_assert!(out.len() > start);
}

/// Writes a frame's length and header; the caller appends `payload_bytes` bytes behind them. Returns where the frame
/// began in `out`.
#[inline]
pub fn begin_frame<T: Encode>(header: &T, payload_bytes: usize, out: &mut BytesMut) -> usize {
    let start = out.len();
    out.put_u32_le(0);
    let encoded = bincode::encode_into_writer(
        header,
        BufferWriter(out),
        bincode::config::standard()
            .with_little_endian()
            .with_fixed_int_encoding(),
    );
    debug_assert!(encoded.is_ok(), "headers always encode: {encoded:?}");
    let length = out.len() - start - LENGTH_BYTES + payload_bytes;
    if let Some(field) = out.get_mut(start..start + LENGTH_BYTES) {
        field.copy_from_slice(&(length as u32).to_le_bytes());
    }
    start
}

struct BufferWriter<'a>(&'a mut BytesMut);

impl bincode::enc::write::Writer for BufferWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// The complete frames at the front of a buffer, without their length fields.
///
/// Ends at the first incomplete one; [`Frames::consumed`] tells how many bytes were whole frames. A frame that
/// announces more than the limit is an error as soon as its length is there.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    buffer: &'a [u8],
    consumed: usize,
    max_frame_bytes: usize,
}

impl<'a> Frames<'a> {
    /// Frames at the front of `buffer`.
    pub fn new(buffer: &'a [u8], max_frame_bytes: usize) -> Self {
        Self {
            buffer,
            consumed: 0,
            max_frame_bytes,
        }
    }

    /// Bytes of the frames that were returned, length fields included.
    pub fn consumed(&self) -> usize {
        self.consumed
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<&'a [u8], FrameError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.buffer.get(self.consumed..)?;
        let (length, rest) = rest.split_first_chunk::<LENGTH_BYTES>()?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > self.max_frame_bytes {
            return Some(Err(FrameError::TooLong {
                length,
                limit: self.max_frame_bytes,
            }));
        }
        let frame = rest.get(..length)?;
        self.consumed += LENGTH_BYTES + length;
        Some(Ok(frame))
    }
}

/// A decoded frame that owns its payload.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame<H> {
    /// What it is.
    pub header: H,
    /// The bytes behind the header.
    pub payload: Bytes,
}

/// The codec for sides that take frames one by one: `R` is the header that is read, `W` the one that is written.
#[derive(Debug)]
pub struct FrameCodec<R, W> {
    max_frame_bytes: usize,
    headers: std::marker::PhantomData<fn() -> (R, W)>,
}

impl<R, W> FrameCodec<R, W> {
    /// A codec that refuses longer frames.
    pub fn new(max_frame_bytes: usize) -> Self {
        Self {
            max_frame_bytes,
            headers: std::marker::PhantomData,
        }
    }
}

/// Why a framed connection ended.
#[derive(Debug, Error)]
pub enum CodecError {
    /// What came is not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl<R: Decode<()>, W> Decoder for FrameCodec<R, W> {
    type Item = Frame<R>;
    type Error = CodecError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame<R>>, CodecError> {
        let mut frames = Frames::new(buffer, self.max_frame_bytes);
        let Some(frame) = frames.next() else {
            return Ok(None);
        };
        let (header, header_bytes) = decode_header(frame?)?;
        let consumed = frames.consumed();
        let mut payload = buffer.split_to(consumed).freeze();
        payload.advance(LENGTH_BYTES + header_bytes);
        Ok(Some(Frame { header, payload }))
    }
}

impl<R, W: Encode> Encoder<Frame<W>> for FrameCodec<R, W> {
    type Error = CodecError;

    fn encode(&mut self, frame: Frame<W>, out: &mut BytesMut) -> Result<(), CodecError> {
        encode_frame(&frame.header, &[&frame.payload], out);
        Ok(())
    }
}
