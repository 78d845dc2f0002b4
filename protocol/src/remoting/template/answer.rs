//! Answers to sends that were stored.

use bytes::{BufMut, BytesMut};

use super::super::encode::{Head, end_header, put_frame, put_length_behind};
use super::super::frame::{LENGTH_BYTES, MARK_BYTES};
use super::super::headers::send::SendMessageResponse;
use super::super::json::put_escaped;
use super::super::response_code;
use super::{BINARY_LENGTH_BYTES, BINARY_OPAQUE, FIXED_BYTES, Pieces, Serialization};
use crate::model::is_unique_id;
use crate::record::MessageId;

/// What differs between the answers to sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Opaque,
    MessageId,
    Queue,
    QueueOffset,
    UniqueId,
    /// In a binary header: how long all fields are.
    FieldsLength,
}

/// The answer to a send that was stored, kept to write those that are like it.
#[derive(Debug)]
pub struct SentTemplate {
    pieces: Pieces<Told>,
    /// Bytes of the pieces, and of all numbers.
    room: usize,
    serialization: Serialization,
}

/// What an answer tells that differs from those that are like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent<'a> {
    /// See [`Command::opaque`](super::super::Command::opaque).
    pub opaque: i32,
    /// See [`SendMessageResponse`].
    pub message_id: MessageId,
    /// See [`SendMessageResponse`].
    pub queue: i32,
    /// See [`SendMessageResponse`].
    pub queue_offset: i64,
    /// The id that the message has among its properties, which is UTF-8.
    pub unique_id: &'a [u8],
}

/// What an answer tells, as it is written, but for its number in a binary header.
struct Texts<'a> {
    opaque: &'a [u8],
    message_id: &'a [u8],
    queue: &'a [u8],
    queue_offset: &'a [u8],
    unique_id: &'a [u8],
}

/// The answer that was written last by the templates of one region: one that is as long in all its parts is written over a
/// copy of it.
#[derive(Debug, Default)]
pub struct LastSent {
    /// Its form; `None` for none that may be copied.
    form: Option<Serialization>,
    frame: Vec<u8>,
    /// Where its values stand, and how long they are.
    opaque: Place,
    message_id: Place,
    queue: Place,
    queue_offset: Place,
    unique_id: Place,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    at: usize,
    bytes: usize,
}

impl Place {
    #[inline]
    fn fits(self, text: &[u8]) -> bool {
        self.bytes == text.len()
    }

    #[inline]
    fn write(self, text: &[u8], frame: &mut [u8]) {
        if let Some(place) = frame.get_mut(self.at..self.at + text.len()) {
            place.copy_from_slice(text);
        }
    }
}

impl SentTemplate {
    /// Of answers in this form, which say that clients trace what becomes of their messages in this region.
    pub fn new(serialization: Serialization, region: &str) -> Self {
        // Numbers that stand nowhere else.
        const OPAQUE: i32 = 1_234_567_891;
        const QUEUE: i32 = 1_345_678_912;
        const QUEUE_OFFSET: i64 = 1_456_789_123;
        const MESSAGE_ID: &str = "<message id>";
        const UNIQUE_ID: &str = "<unique id>";
        let mut frame = BytesMut::new();
        let fields = SendMessageResponse {
            message_id: MESSAGE_ID,
            queue: QUEUE,
            queue_offset: QUEUE_OFFSET,
            transaction_id: Some(UNIQUE_ID),
            batch_unique_id: None,
            recall_handle: None,
            region: Some(region),
            trace_on: Some(true),
        };
        let head = Head::response(response_code::SUCCESS, OPAQUE, serialization);
        put_frame(&head, &fields, b"", &mut frame);
        let texts = [
            (MESSAGE_ID.to_owned(), Told::MessageId),
            (QUEUE.to_string(), Told::Queue),
            (QUEUE_OFFSET.to_string(), Told::QueueOffset),
            (UNIQUE_ID.to_owned(), Told::UniqueId),
        ];
        let is_json = serialization == Serialization::Json;
        let place_of = |text: &str| {
            let at = memchr::memmem::find(&frame, text.as_bytes()).unwrap_or_default();
            // Where there is a length before it, that differs too.
            let before = if is_json { 0 } else { BINARY_LENGTH_BYTES };
            at - before..at + text.len()
        };
        let places = texts.iter().map(|(text, told)| (place_of(text), *told));
        let mut places: Vec<_> = places.collect();
        if is_json {
            places.push((place_of(&OPAQUE.to_string()), Told::Opaque));
        } else {
            let header = LENGTH_BYTES + MARK_BYTES;
            let opaque = header + BINARY_OPAQUE.start..header + BINARY_OPAQUE.end;
            places.push((opaque, Told::Opaque));
            // There is no remark.
            let fields = header + FIXED_BYTES + BINARY_LENGTH_BYTES;
            places.push((fields..fields + BINARY_LENGTH_BYTES, Told::FieldsLength));
        }
        const NUMBERS: usize = 64;
        let pieces = Pieces::new(&frame, places);
        Self {
            room: pieces.bytes() + NUMBERS,
            pieces,
            serialization,
        }
    }

    /// Appends the frame of an answer. `last` is what was given here before, or a new one.
    #[inline]
    pub fn put(&self, sent: &Sent<'_>, last: &mut LastSent, out: &mut BytesMut) {
        let mut digits = [
            itoa::Buffer::new(),
            itoa::Buffer::new(),
            itoa::Buffer::new(),
        ];
        let [opaque, queue, queue_offset] = &mut digits;
        let mut message_id = [0; MessageId::MAX_TEXT_BYTES];
        let binary = sent.opaque.to_be_bytes();
        let texts = Texts {
            opaque: match self.serialization {
                Serialization::Json => opaque.format(sent.opaque).as_bytes(),
                Serialization::Binary => &binary,
            },
            message_id: sent.message_id.write_to(&mut message_id),
            queue: queue.format(sent.queue).as_bytes(),
            queue_offset: queue_offset.format(sent.queue_offset).as_bytes(),
            unique_id: sent.unique_id,
        };
        if last.form == Some(self.serialization) && last.fits(&texts) {
            last.write(&texts, out);
        } else {
            self.put_anew(&texts, last, out);
        }
    }

    fn put_anew(&self, texts: &Texts<'_>, last: &mut LastSent, out: &mut BytesMut) {
        let start = out.len();
        out.reserve(self.room + texts.message_id.len() + texts.unique_id.len());
        let mut fields = None;
        for (before, told) in &self.pieces.before {
            out.put_slice(before);
            let (text, place) = match told {
                Told::Opaque => (texts.opaque, &mut last.opaque),
                Told::MessageId => (texts.message_id, &mut last.message_id),
                Told::Queue => (texts.queue, &mut last.queue),
                Told::QueueOffset => (texts.queue_offset, &mut last.queue_offset),
                Told::UniqueId => (texts.unique_id, &mut last.unique_id),
                Told::FieldsLength => {
                    fields = Some(out.len());
                    out.put_i32(0);
                    continue;
                }
            };
            let has_length = self.serialization == Serialization::Binary && *told != Told::Opaque;
            if has_length {
                out.put_u32(text.len() as u32);
            }
            *place = Place {
                at: out.len() - start,
                bytes: text.len(),
            };
            match self.serialization {
                Serialization::Json => put_escaped(text, out),
                Serialization::Binary => out.put_slice(text),
            }
        }
        out.put_slice(&self.pieces.behind);
        if let Some(fields) = fields {
            put_length_behind(fields, out);
        }
        end_header(start, self.serialization, 0, out);
        // With any other id there may be escapes.
        last.form = is_unique_id(texts.unique_id).then_some(self.serialization);
        last.frame.clear();
        last.frame
            .extend_from_slice(out.get(start..).unwrap_or_default());
    }
}

impl LastSent {
    #[inline]
    fn fits(&self, texts: &Texts<'_>) -> bool {
        is_unique_id(texts.unique_id)
            && self.opaque.fits(texts.opaque)
            && self.message_id.fits(texts.message_id)
            && self.queue.fits(texts.queue)
            && self.queue_offset.fits(texts.queue_offset)
    }

    #[inline]
    fn write(&self, texts: &Texts<'_>, out: &mut BytesMut) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let frame = out.get_mut(start..).unwrap_or_default();
        self.opaque.write(texts.opaque, frame);
        self.message_id.write(texts.message_id, frame);
        self.queue.write(texts.queue, frame);
        self.queue_offset.write(texts.queue_offset, frame);
        self.unique_id.write(texts.unique_id, frame);
    }
}
