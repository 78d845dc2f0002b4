//! Writing frames.
//!
//! [`begin_frame`] writes everything before the body, and the caller appends that, so that messages are not copied on
//! their way. Where the body's length is not known before it is there, [`finish_frame`] corrects the frame's.

use bytes::{BufMut, BytesMut};

use super::codes::{Language, version};
use super::command::{Command, flag};
use super::fields::{FieldWriter, WriteFields};
use super::frame::{LENGTH_BYTES, MARK_BYTES, MAX_HEADER_BYTES, Serialization};
use super::json::put_string;

/// What a header says besides its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// What is asked, or what came of it.
    pub code: i32,
    /// What the sender is written in. Responses say Java, since old clients know few others.
    pub language: Language,
    /// The sender's version.
    pub version: i32,
    /// What ties a response to its request.
    pub opaque: i32,
    /// Bits of [`flag`].
    pub flag: i32,
    /// What happened, for people.
    pub remark: Option<&'a str>,
    /// The form to write. A code that the binary form cannot carry is written as JSON.
    pub serialization: Serialization,
}

impl<'a> Head<'a> {
    /// The head of a request. Answers will carry `opaque`.
    pub fn request(code: i32, opaque: i32) -> Self {
        Self {
            code,
            language: Language::Java,
            version: version::OURS,
            opaque,
            flag: 0,
            remark: None,
            serialization: Serialization::Json,
        }
    }

    /// The head of a request that is not answered.
    pub fn one_way(code: i32, opaque: i32) -> Self {
        Self {
            flag: flag::ONE_WAY,
            ..Self::request(code, opaque)
        }
    }

    /// The head of a response to the request with that number, in the form that the request had.
    pub fn response(code: i32, opaque: i32, serialization: Serialization) -> Self {
        Self {
            flag: flag::RESPONSE,
            serialization,
            ..Self::request(code, opaque)
        }
    }

    /// The head of a command that is passed on as it came.
    pub fn of(command: &'a Command<'_>) -> Self {
        Self {
            code: command.code,
            language: command.language,
            version: command.version,
            opaque: command.opaque,
            flag: command.flag,
            remark: command.remark.as_deref(),
            serialization: command.serialization,
        }
    }

    /// The same with a remark.
    pub fn with_remark(self, remark: &'a str) -> Self {
        Self {
            remark: Some(remark),
            ..self
        }
    }

    /// The form that can carry it.
    fn form(&self) -> Serialization {
        let fits = |number| i16::try_from(number).is_ok();
        match fits(self.code) && fits(self.version) {
            true => self.serialization,
            false => Serialization::Json,
        }
    }
}

/// Writes a frame up to its body; the caller appends `body_bytes` bytes behind it. Returns where the frame began in
/// `out`.
#[inline]
pub fn begin_frame(
    head: &Head<'_>,
    fields: &(impl WriteFields + ?Sized),
    body_bytes: usize,
    out: &mut BytesMut,
) -> usize {
    let start = out.len();
    out.put_u64(0);
    let form = head.form();
    match form {
        Serialization::Json => put_json(head, fields, out),
        Serialization::Binary => put_binary(head, fields, out),
    }
    end_header(start, form, body_bytes, out);
    start
}

/// Puts the length and the mark in place of a frame that began at `start` and whose header is written.
#[inline]
pub(super) fn end_header(start: usize, form: Serialization, body_bytes: usize, out: &mut BytesMut) {
    let header_bytes = out.len() - start - LENGTH_BYTES - MARK_BYTES;
    debug_assert!(
        header_bytes <= MAX_HEADER_BYTES,
        "headers fit in their mark"
    );
    let mark = u32::from(form.kind()) << 24 | header_bytes as u32;
    put_at(start + LENGTH_BYTES, mark.to_be_bytes(), out);
    put_length(start, MARK_BYTES + header_bytes + body_bytes, out);
}

/// Takes everything that was appended since [`begin_frame`] returned `start` as the body.
pub fn finish_frame(start: usize, out: &mut BytesMut) {
    put_length_behind(start, out);
}

/// Writes a whole frame.
pub fn put_frame(
    head: &Head<'_>,
    fields: &(impl WriteFields + ?Sized),
    body: &[u8],
    out: &mut BytesMut,
) {
    begin_frame(head, fields, body.len(), out);
    out.put_slice(body);
}

fn put_length(start: usize, length: usize, out: &mut BytesMut) {
    debug_assert!(i32::try_from(length).is_ok(), "frames fit in their length");
    put_at(start, (length as u32).to_be_bytes(), out);
}

fn put_at(at: usize, bytes: [u8; 4], out: &mut BytesMut) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(&bytes);
    }
}

/// Parts in alphabetical order, as RocketMQ writes them. The object of fields is always there: clients look into that
/// of a response without asking.
fn put_json(head: &Head<'_>, fields: &(impl WriteFields + ?Sized), out: &mut BytesMut) {
    let mut digits = itoa::Buffer::new();
    let mut put_number = |name: &[u8], number: i32, out: &mut BytesMut| {
        out.put_slice(name);
        out.put_slice(digits.format(number).as_bytes());
    };
    out.reserve(256);
    put_number(b"{\"code\":", head.code, out);
    out.put_slice(b",\"extFields\":{");
    fields.write_fields(&mut FieldWriter::new(Serialization::Json, out));
    put_number(b"},\"flag\":", head.flag, out);
    out.put_slice(b",\"language\":\"");
    out.put_slice(head.language.name().as_bytes());
    put_number(b"\",\"opaque\":", head.opaque, out);
    if let Some(remark) = head.remark {
        out.put_slice(b",\"remark\":");
        put_string(remark, out);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\"");
    put_number(b",\"version\":", head.version, out);
    out.put_u8(b'}');
}

fn put_binary(head: &Head<'_>, fields: &(impl WriteFields + ?Sized), out: &mut BytesMut) {
    let remark = head.remark.unwrap_or_default();
    out.reserve(128 + remark.len());
    out.put_i16(head.code as i16);
    out.put_u8(head.language.code());
    out.put_i16(head.version as i16);
    out.put_i32(head.opaque);
    out.put_i32(head.flag);
    out.put_u32(remark.len() as u32);
    out.put_slice(remark.as_bytes());
    let length_at = out.len();
    out.put_u32(0);
    fields.write_fields(&mut FieldWriter::new(Serialization::Binary, out));
    put_length_behind(length_at, out);
}

/// Puts at this place how many bytes stand behind it.
pub(super) fn put_length_behind(at: usize, out: &mut BytesMut) {
    put_length(at, out.len() - at - LENGTH_BYTES, out);
}
