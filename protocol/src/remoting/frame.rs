//! Frames: finding them in a buffer.
//!
//! ```text
//! i32 length         of everything behind it, big endian
//! i32 header mark    serialization in the top byte, length of the header in the others
//!     header
//!     body           to the frame's end
//! ```

use thiserror::Error;

/// Bytes of a frame's length field.
pub const LENGTH_BYTES: usize = 4;

/// Bytes of the mark that tells the header's form and length.
pub const MARK_BYTES: usize = 4;

/// Longest frame that is accepted unless configured otherwise: 16 MiB (RocketMQ `com.rocketmq.remoting.frameMaxLength`).
pub const DEFAULT_MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// The longest header that the mark can tell, in bytes.
pub const MAX_HEADER_BYTES: usize = 0x00FF_FFFF;

/// Why bytes on a connection are not frames. The connection cannot be used afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
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
    /// The length is negative, or leaves no room for the mark.
    #[error("frame of {length} bytes cannot be one: it takes at least 4")]
    TooShort {
        /// Length that the frame announces, in bytes.
        length: i32,
    },
    /// The header would end behind the frame.
    #[error("header of {header} bytes does not fit in a frame of {frame}")]
    HeaderTooLong {
        /// Length that the mark announces, in bytes.
        header: usize,
        /// Length that the frame announces, in bytes.
        frame: usize,
    },
    /// The header is in a form that does not exist.
    #[error("serialization {kind} is not known: it takes 0 for JSON or 1 for RocketMQ's own")]
    Serialization {
        /// The mark's top byte.
        kind: u8,
    },
}

/// The form of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Serialization {
    /// A JSON object.
    #[default]
    Json,
    /// RocketMQ's binary form. It cannot carry codes beyond 16 bits.
    Binary,
}

impl Serialization {
    /// The form that stands in the top byte of a frame's mark.
    pub fn from_kind(kind: u8) -> Option<Self> {
        match kind {
            0 => Some(Self::Json),
            1 => Some(Self::Binary),
            _ => None,
        }
    }

    /// As it stands in the top byte of a frame's mark.
    pub fn kind(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::Binary => 1,
        }
    }
}

/// A frame that lies in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The header's form.
    pub serialization: Serialization,
    /// The header, undecoded.
    pub header: &'a [u8],
    /// The bytes behind the header.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame whose length field was `length`, from the bytes behind that.
    fn split(length: usize, frame: &'a [u8]) -> Result<Self, FrameError> {
        let short = FrameError::TooShort {
            length: length as i32,
        };
        let (mark, rest) = frame.split_first_chunk::<MARK_BYTES>().ok_or(short)?;
        let [kind, header @ ..] = *mark;
        let serialization =
            Serialization::from_kind(kind).ok_or(FrameError::Serialization { kind })?;
        let [high, middle, low] = header;
        let header_bytes = u32::from_be_bytes([0, high, middle, low]) as usize;
        let (header, body) =
            rest.split_at_checked(header_bytes)
                .ok_or(FrameError::HeaderTooLong {
                    header: header_bytes,
                    frame: length,
                })?;
        Ok(Self {
            serialization,
            header,
            body,
        })
    }
}

/// The complete frames at the front of a buffer.
///
/// Ends at the first incomplete one; [`Frames::consumed`] tells how many bytes were whole frames. A length that cannot
/// be is an error as soon as it is there.
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
    type Item = Result<Frame<'a>, FrameError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.buffer.get(self.consumed..)?;
        let (length, rest) = rest.split_first_chunk::<LENGTH_BYTES>()?;
        let length = i32::from_be_bytes(*length);
        let frame_bytes = match usize::try_from(length) {
            Ok(bytes) if bytes >= MARK_BYTES => bytes,
            _ => return Some(Err(FrameError::TooShort { length })),
        };
        if frame_bytes > self.max_frame_bytes {
            return Some(Err(FrameError::TooLong {
                length: frame_bytes,
                limit: self.max_frame_bytes,
            }));
        }
        let frame = Frame::split(frame_bytes, rest.get(..frame_bytes)?);
        if frame.is_ok() {
            self.consumed += LENGTH_BYTES + frame_bytes;
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8]) -> Option<Result<Frame<'_>, FrameError>> {
        Frames::new(bytes, 100).next()
    }

    #[test]
    fn a_frame_is_split_into_header_and_body() {
        let bytes = [0, 0, 0, 7, 1, 0, 0, 2, b'h', b'e', b'b', 0, 0];
        let mut frames = Frames::new(&bytes, 7);
        let frame = frames.next().unwrap().unwrap();
        assert_eq!(frame.serialization, Serialization::Binary);
        assert_eq!((frame.header, frame.body), (&b"he"[..], &b"b"[..]));
        assert_eq!(frames.next(), None);
        assert_eq!(frames.consumed(), 11);
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_before_the_frame_is_there() {
        let refused = |length: i32| first(&length.to_be_bytes()).unwrap().unwrap_err();
        assert_eq!(refused(-1), FrameError::TooShort { length: -1 });
        assert_eq!(refused(3), FrameError::TooShort { length: 3 });
        let too_long = FrameError::TooLong {
            length: 101,
            limit: 100,
        };
        assert_eq!(refused(101), too_long);
        assert_eq!(first(&[0, 0, 0]), None);
        assert_eq!(first(&[0, 0, 0, 4, 0]), None);
    }

    #[test]
    fn a_header_that_ends_behind_its_frame_is_refused() {
        let refused = first(&[0, 0, 0, 5, 0, 0, 0, 2, 1]);
        let error = FrameError::HeaderTooLong {
            header: 2,
            frame: 5,
        };
        assert_eq!(refused, Some(Err(error)));
    }

    #[test]
    fn an_unknown_serialization_is_refused() {
        let refused = first(&[0, 0, 0, 4, 2, 0, 0, 0]);
        assert_eq!(refused, Some(Err(FrameError::Serialization { kind: 2 })));
    }
}
