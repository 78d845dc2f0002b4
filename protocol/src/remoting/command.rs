//! Decoded headers (RocketMQ `RemotingCommand`).
//!
//! ```text
//! binary header:
//! i16 code, u8 language, i16 version, i32 opaque, i32 flag
//! i32 length of remark, remark          no remark when 0
//! i32 length of fields                  of all that follows
//!     { i16 length of name, name, i32 length of value, value } …
//! ```
//!
//! The JSON header is an object with the same parts: `code`, `language`, `version`, `opaque`, `flag`, `remark` and
//! `extFields`. Whatever is not there is 0 or empty, and whatever else is there is passed over.

use std::borrow::Cow;

use bytes::Buf;
use thiserror::Error;

use super::codes::Language;
use super::fields::{Fields, MAX_FIELDS, MAX_NAME_BYTES};
use super::frame::{Frame, Serialization};
use super::json::{JsonError, Scanner, text_of};

/// Bits of [`Command::flag`].
pub mod flag {
    /// It is a response.
    pub const RESPONSE: i32 = 1;
    /// It is a request that is not answered.
    pub const ONE_WAY: i32 = 2;
}

/// Why a header cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommandError {
    /// The JSON header is not JSON.
    #[error("header cannot be read: {0}")]
    Json(#[from] JsonError),
    /// A number of the JSON header is none.
    #[error("header has {value:?} as its {part}, where a whole number of 32 bits belongs")]
    Number {
        /// Its name.
        part: &'static str,
        /// The beginning of what stands there.
        value: String,
    },
    /// The binary header ends before what its lengths tell.
    #[error("header ends inside its {part}")]
    Ends {
        /// What is cut off.
        part: &'static str,
    },
    /// There are more fields than [`MAX_FIELDS`], or one with a name that is too long.
    #[error(
        "header has more than {MAX_FIELDS} fields, or one whose name is longer than {MAX_NAME_BYTES} bytes"
    )]
    TooManyFields,
}

/// A request or a response without its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command<'a> {
    /// What is asked, or what came of it: a [`request_code`](super::codes::request_code) or a
    /// [`response_code`](super::codes::response_code).
    pub code: i32,
    /// What the sender is written in.
    pub language: Language,
    /// The sender's [`version`](super::codes::version).
    pub version: i32,
    /// What ties a response to its request; chosen by whoever asks.
    pub opaque: i32,
    /// Bits of [`flag`].
    pub flag: i32,
    /// What happened, for people.
    pub remark: Option<Cow<'a, str>>,
    /// Everything else.
    pub fields: Fields<'a>,
    /// The form in which it came.
    pub serialization: Serialization,
}

impl<'a> Command<'a> {
    /// Decodes a frame's header.
    ///
    /// # Errors
    ///
    /// When it is none. Other frames of the connection can still be read.
    #[inline]
    pub fn decode(frame: &Frame<'a>) -> Result<Self, CommandError> {
        match frame.serialization {
            Serialization::Json => decode_json(frame.header),
            Serialization::Binary => decode_binary(frame.header),
        }
    }

    /// The same without what it borrows, to be kept.
    pub fn into_owned(self) -> Command<'static> {
        Command {
            code: self.code,
            language: self.language,
            version: self.version,
            opaque: self.opaque,
            flag: self.flag,
            remark: self.remark.map(|remark| Cow::Owned(remark.into_owned())),
            fields: self.fields.into_owned(),
            serialization: self.serialization,
        }
    }

    /// Whether it answers a request.
    pub fn is_response(&self) -> bool {
        self.flag & flag::RESPONSE != 0
    }

    /// Whether nobody waits for an answer.
    pub fn is_one_way(&self) -> bool {
        self.flag & flag::ONE_WAY != 0
    }
}

fn decode_json(header: &[u8]) -> Result<Command<'_>, CommandError> {
    let mut command = Command::default();
    let mut scanner = Scanner::new(header);
    scanner.each_member(|scanner, name| {
        match name {
            "code" => command.code = number(scanner, "code")?,
            "language" => {
                let text = scanner.value_as_text()?;
                command.language = Language::from_text(&text.unwrap_or_default());
            }
            "version" => command.version = number(scanner, "version")?,
            "opaque" => command.opaque = number(scanner, "opaque")?,
            "flag" => command.flag = number(scanner, "flag")?,
            "remark" => command.remark = scanner.value_as_text()?.filter(|text| !text.is_empty()),
            "extFields" => command.fields = json_fields(scanner)?,
            _ => scanner.skip(1)?,
        }
        Ok::<_, CommandError>(())
    })?;
    scanner.end()?;
    Ok(command)
}

fn number(scanner: &mut Scanner<'_>, part: &'static str) -> Result<i32, CommandError> {
    match scanner.value_as_text()?.as_deref() {
        None | Some("") => Ok(0),
        Some(text) => text.parse().map_err(|_| CommandError::Number {
            part,
            value: text.chars().take(64).collect(),
        }),
    }
}

fn json_fields<'a>(scanner: &mut Scanner<'a>) -> Result<Fields<'a>, CommandError> {
    if scanner.peek() != Some(b'{') {
        return match scanner.value_as_text()? {
            None => Ok(Fields::new()),
            Some(_) => Err(scanner.unexpected("an object of fields").into()),
        };
    }
    let mut fields = Fields::with_room();
    scanner.expect(b'{', "an object")?;
    let mut first = true;
    while scanner.next_member(first, b'}')? {
        first = false;
        if let Some((name, value)) = scanner.plain_member() {
            if !fields.push(name, value) {
                return Err(CommandError::TooManyFields);
            }
            continue;
        }
        let name = scanner.string()?;
        scanner.expect(b':', "a colon")?;
        if let Some(value) = scanner.value_as_text()?
            && !fields.push(name, value)
        {
            return Err(CommandError::TooManyFields);
        }
    }
    Ok(fields)
}

/// Bytes of a binary header before its remark: code, language, version, opaque and flag.
pub(super) const FIXED_BYTES: usize = 2 + 1 + 2 + 4 + 4;

fn decode_binary(header: &[u8]) -> Result<Command<'_>, CommandError> {
    if header.len() < FIXED_BYTES {
        return Err(CommandError::Ends {
            part: "fixed fields",
        });
    }
    let mut rest = header;
    let mut command = Command {
        code: rest.get_i16().into(),
        language: Language::from_code(rest.get_u8()),
        version: rest.get_i16().into(),
        opaque: rest.get_i32(),
        flag: rest.get_i32(),
        serialization: Serialization::Binary,
        ..Command::default()
    };
    let remark = long_text(&mut rest, "remark")?;
    command.remark = Some(remark).filter(|remark| !remark.is_empty());
    // Nothing behind the remark is as good as no fields.
    let fields_bytes = match rest.is_empty() {
        true => 0,
        false => take_length(&mut rest, "fields")?,
    };
    let mut pairs = take(&mut rest, fields_bytes, "fields")?;
    if !pairs.is_empty() {
        command.fields = Fields::with_room();
    }
    while !pairs.is_empty() {
        let name = text_of(take_short(&mut pairs, "field name")?);
        let value = long_text(&mut pairs, "field value")?;
        if !command.fields.push(name, value) {
            return Err(CommandError::TooManyFields);
        }
    }
    Ok(command)
}

/// A length that was read, which is an error when it was not there or is negative.
fn length(read: Option<i64>, part: &'static str) -> Result<usize, CommandError> {
    read.and_then(|length| usize::try_from(length).ok())
        .ok_or(CommandError::Ends { part })
}

/// A 32-bit length.
#[inline]
pub(super) fn take_length(rest: &mut &[u8], part: &'static str) -> Result<usize, CommandError> {
    length(rest.try_get_i32().map(i64::from).ok(), part)
}

/// The bytes behind their 32-bit length.
#[inline]
pub(super) fn take_long<'a>(
    rest: &mut &'a [u8],
    part: &'static str,
) -> Result<&'a [u8], CommandError> {
    let bytes = take_length(rest, part)?;
    take(rest, bytes, part)
}

/// The same as text.
fn long_text<'a>(rest: &mut &'a [u8], part: &'static str) -> Result<Cow<'a, str>, CommandError> {
    take_long(rest, part).map(text_of)
}

/// The bytes behind their 16-bit length.
pub(super) fn take_short<'a>(
    rest: &mut &'a [u8],
    part: &'static str,
) -> Result<&'a [u8], CommandError> {
    let bytes = length(rest.try_get_i16().map(i64::from).ok(), part)?;
    take(rest, bytes, part)
}

fn take<'a>(
    rest: &mut &'a [u8],
    bytes: usize,
    part: &'static str,
) -> Result<&'a [u8], CommandError> {
    let (taken, left) = rest
        .split_at_checked(bytes)
        .ok_or(CommandError::Ends { part })?;
    *rest = left;
    Ok(taken)
}
