//! Sends that are like the one before, and their answers.
//!
//! What a producer says differs from one send to the next in little: its number, the queue, when the message was made, and its
//! properties. So do the answers. Headers are long where messages are short, and to take each apart and to write each anew
//! costs several times what the message does: here only what differs is read and written.
//!
//! Where such values stand is found once, in a header that was decoded or encoded as any other.

use std::ops::Range;

use bytes::Buf;

pub use self::answer::{LastSent, Sent, SentTemplate};
use super::command::{Command, CommandError, FIXED_BYTES, take_length, take_long, take_short};
use super::frame::{Frame, Serialization};
use super::headers::send::names;
use super::json::{JsonError, Kind, Scanner, string_end, unescape};
use crate::model::{AroundUniqueId, keys, property_value};

mod answer;

/// Where the number stands in a binary header.
const BINARY_OPAQUE: Range<usize> = 5..9;

/// Bytes of a length in a binary header.
const BINARY_LENGTH_BYTES: usize = 4;

/// The longest that is kept of a header, in bytes, besides values that differ.
const MAX_KEPT_BYTES: usize = 2048;

/// The longest that is kept of properties, in bytes: a session keeps several sends, and properties in several forms.
const MAX_SAME_BYTES: usize = 512;

/// Bytes with places in them where values stand that differ.
#[derive(Debug)]
struct Pieces<V> {
    /// What stands before each value, in their order, and which that is.
    before: Vec<(Box<[u8]>, V)>,
    /// What stands behind the last one.
    behind: Box<[u8]>,
}

impl<V> Pieces<V> {
    /// Of bytes in which these values have their places, which do not overlap.
    fn new(bytes: &[u8], mut places: Vec<(Range<usize>, V)>) -> Self {
        places.sort_by_key(|(place, _)| place.start);
        let mut at = 0;
        let before = places.into_iter().map(|(place, value)| {
            let before = bytes.get(at..place.start).unwrap_or_default();
            at = place.end;
            (before.into(), value)
        });
        Self {
            before: before.collect(),
            behind: bytes.get(at..).unwrap_or_default().into(),
        }
    }

    fn bytes(&self) -> usize {
        let before: usize = self.before.iter().map(|(before, _)| before.len()).sum();
        before + self.behind.len()
    }
}

/// What differs between the headers of sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Opaque,
    Queue,
    BornTimestamp,
    Properties,
    /// In a binary header: how long all fields are.
    FieldsLength,
}

/// The header of a send, kept to read those that are like it.
#[derive(Debug)]
pub struct SendTemplate {
    pieces: Pieces<Said>,
    /// Its properties but for the id, where they are kept.
    same: Option<AroundUniqueId>,
    serialization: Serialization,
}

/// What properties with an id as clients make them have in common with those of many sends, as they stand in headers.
fn around_id(text: RawText<'_>) -> Option<AroundUniqueId> {
    let mut scratch = Vec::new();
    let properties = text.read(&mut scratch)?.as_bytes();
    let id = property_value(properties, keys::UNIQ_KEY)?.as_bytes();
    let around = AroundUniqueId::of(text.bytes, id)?;
    // Wherever escapes stand, they are none of the id's.
    let plain = |bytes| {
        let raw = RawText { bytes, ..text };
        Some(raw.read(&mut Vec::new())?.as_bytes().to_vec())
    };
    let parts = (plain(around.before())?, plain(around.behind())?);
    let whole = AroundUniqueId::of(properties, id)?;
    let is_whole = parts.0 == whole.before() && parts.1 == whole.behind();
    is_whole.then_some(around)
}

/// What a send says that differs from those that are like it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Varying<'a> {
    /// See [`Command::opaque`].
    pub opaque: i32,
    /// See [`SendMessage::queue`](super::headers::send::SendMessage::queue).
    pub queue: i32,
    /// See [`SendMessage::born_timestamp_ms`](super::headers::send::SendMessage::born_timestamp_ms).
    pub born_timestamp_ms: i64,
    /// See [`SendMessage::properties`](super::headers::send::SendMessage::properties).
    pub properties: Option<VaryingProperties<'a>>,
}

/// Properties of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VaryingProperties<'a> {
    /// Those of the send that is kept, with this id in the place of its own; ASCII.
    Same {
        /// What clients tell messages apart by.
        unique_id: &'a [u8],
    },
    /// Any.
    Other(RawText<'a>),
}

/// A text as it stands in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawText<'a> {
    bytes: &'a [u8],
    has_escapes: bool,
}

impl<'a> RawText<'a> {
    /// The text, which is written to `scratch` when it does not stand there as it is. `None` when the header has to be decoded.
    #[inline]
    pub fn read<'t>(self, scratch: &'t mut Vec<u8>) -> Option<&'t str>
    where
        'a: 't,
    {
        let mut bytes = self.bytes;
        if self.has_escapes {
            scratch.clear();
            unescape(bytes, scratch)?;
            bytes = scratch;
        }
        std::str::from_utf8(bytes).ok()
    }
}

impl SendTemplate {
    /// Of the header of a send that was decoded to `command`. `None` when it is not written as clients write them, or is too long to be
    /// kept. Its properties are kept, too, unless they are long, where the caller is able to do with an id what
    /// [`VaryingProperties::Same`] says.
    pub fn of(frame: &Frame<'_>, command: &Command<'_>, keeps_properties: bool) -> Option<Self> {
        let places = match frame.serialization {
            Serialization::Json => places_in_json(frame.header, command.code),
            Serialization::Binary => places_in_binary(frame.header, command.code),
        };
        let places = places.ok()?;
        for said in [Said::Opaque, Said::Queue, Said::BornTimestamp] {
            places.iter().find(|(_, known)| *known == said)?;
        }
        let same = places.iter().find(|(_, said)| *said == Said::Properties);
        let same = same.filter(|_| keeps_properties).and_then(|(place, _)| {
            let text = match frame.serialization {
                Serialization::Json => place.clone(),
                Serialization::Binary => place.start + BINARY_LENGTH_BYTES..place.end,
            };
            let text = frame.header.get(text)?;
            (text.len() <= MAX_SAME_BYTES).then_some(())?;
            around_id(RawText {
                bytes: text,
                has_escapes: frame.serialization == Serialization::Json,
            })
        });
        let pieces = Pieces::new(frame.header, places);
        (pieces.bytes() <= MAX_KEPT_BYTES).then_some(Self {
            pieces,
            same,
            serialization: frame.serialization,
        })
    }

    /// Whether [`VaryingProperties::Same`] can come of it.
    pub fn keeps_properties(&self) -> bool {
        self.same.is_some()
    }

    /// What a header says that differs in nothing else; `None` when it has to be decoded.
    #[inline]
    pub fn read<'a>(&self, frame: &Frame<'a>) -> Option<Varying<'a>> {
        if frame.serialization != self.serialization {
            return None;
        }
        let mut varying = Varying::default();
        let mut rest = frame.header;
        for (before, said) in &self.pieces.before {
            rest = rest.strip_prefix(&**before)?;
            match said {
                Said::Opaque => varying.opaque = self.take_opaque(&mut rest)?,
                Said::Queue => varying.queue = self.take_number(&mut rest)?.try_into().ok()?,
                Said::BornTimestamp => varying.born_timestamp_ms = self.take_number(&mut rest)?,
                Said::Properties => varying.properties = Some(self.take_properties(&mut rest)?),
                Said::FieldsLength => {
                    let length = take_length(&mut rest, "fields").ok()?;
                    (length == rest.len()).then_some(())?;
                }
            }
        }
        (rest == &*self.pieces.behind).then_some(varying)
    }

    fn take_opaque(&self, rest: &mut &[u8]) -> Option<i32> {
        match self.serialization {
            Serialization::Json => take_digits(rest)?.try_into().ok(),
            Serialization::Binary => rest.try_get_i32().ok(),
        }
    }

    fn take_number(&self, rest: &mut &[u8]) -> Option<i64> {
        match self.serialization {
            Serialization::Json => take_digits(rest),
            Serialization::Binary => {
                let mut text = take_long(rest, "field value").ok()?;
                let number = take_digits(&mut text)?;
                text.is_empty().then_some(number)
            }
        }
    }

    fn take_properties<'a>(&self, rest: &mut &'a [u8]) -> Option<VaryingProperties<'a>> {
        let same = self.same.as_ref();
        if let Some(unique_id) = same.and_then(|same| self.take_same(same, rest)) {
            return Some(VaryingProperties::Same { unique_id });
        }
        Some(VaryingProperties::Other(self.take_text(rest)?))
    }

    fn take_same<'a>(&self, same: &AroundUniqueId, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let mut behind = *rest;
        let unique_id = match self.serialization {
            Serialization::Json => {
                let (unique_id, after) = same.split(behind)?;
                behind = after;
                (after.first() == Some(&b'"')).then_some(unique_id)
            }
            Serialization::Binary => {
                let text = take_long(&mut behind, "field value").ok()?;
                let (unique_id, after) = same.split(text)?;
                after.is_empty().then_some(unique_id)
            }
        }?;
        *rest = behind;
        Some(unique_id)
    }

    fn take_text<'a>(&self, rest: &mut &'a [u8]) -> Option<RawText<'a>> {
        if self.serialization == Serialization::Binary {
            return Some(RawText {
                bytes: take_long(rest, "field value").ok()?,
                has_escapes: false,
            });
        }
        let (length, has_escapes) = string_end(rest)?;
        let (bytes, behind) = rest.split_at_checked(length)?;
        *rest = behind;
        Some(RawText { bytes, has_escapes })
    }
}

/// The number at the front, if it is one that surely fits.
#[inline]
fn take_digits(rest: &mut &[u8]) -> Option<i64> {
    const MAX_DIGITS: usize = 18;
    let (is_negative, text) = match rest.split_first()? {
        (b'-', text) => (true, text),
        _ => (false, *rest),
    };
    let (mut number, mut digits) = (0_i64, 0);
    if let Some(eight) = text.first_chunk().and_then(eight_digits) {
        (number, digits) = (eight, 8);
    }
    for byte in text.iter().take(MAX_DIGITS + 1).skip(digits) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        number = number.wrapping_mul(10).wrapping_add(digit.into());
        digits += 1;
    }
    *rest = text.get(digits..)?;
    (1..=MAX_DIGITS)
        .contains(&digits)
        .then_some(if is_negative { -number } else { number })
}

/// The number that eight digits are, all of them looked at at once.
#[inline]
fn eight_digits(text: &[u8; 8]) -> Option<i64> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let digits = u64::from_le_bytes(*text) ^ (EACH * u64::from(b'0'));
    // A byte above 9 has one of the four upper bits, or gets one when 6 is added.
    if (digits | digits.wrapping_add(EACH * 6)) & (EACH * 0xF0) != 0 {
        return None;
    }
    // Digits to pairs, pairs to fours, and those to the number; the first digit is the lowest byte.
    let pairs = (digits * 10 + (digits >> 8)) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_FFFF_0000_FFFF;
    let number = (fours * 10_000 + (fours >> 32)) & 0xFFFF_FFFF;
    Some(number.cast_signed())
}

type Places = Vec<(Range<usize>, Said)>;

/// Which of a send's fields that differ has this name.
fn said_of(name: &str, code: i32) -> Option<Said> {
    let names = names(code);
    let known = [
        (names.queue, Said::Queue),
        (names.born_timestamp_ms, Said::BornTimestamp),
        (names.properties, Said::Properties),
    ];
    let (_, said) = known.into_iter().find(|(known, _)| *known == name)?;
    Some(said)
}

fn places_in_json(header: &[u8], code: i32) -> Result<Places, NoTemplate> {
    let mut places = Places::new();
    let mut scanner = Scanner::new(header);
    scanner.each_member(|scanner, name| match name {
        "opaque" => add(&mut places, place_of_number(scanner)?, Said::Opaque),
        "extFields" => scanner.each_member(|scanner, name| {
            let Some(said) = said_of(name, code) else {
                return Ok(scanner.skip(1)?);
            };
            let place = match said {
                Said::Properties => scanner.raw_string()?.0,
                _ => place_of_number(scanner)?,
            };
            add(&mut places, place, said)
        }),
        _ => Ok(scanner.skip(1)?),
    })?;
    Ok(places)
}

/// Where the digits of a number stand, whether there are quotes around them or not.
fn place_of_number(scanner: &mut Scanner<'_>) -> Result<Range<usize>, NoTemplate> {
    match scanner.kind()? {
        Kind::String => Ok(scanner.raw_string()?.0),
        Kind::Bare => {
            let start = scanner.at();
            scanner.bare()?;
            Ok(start..scanner.at())
        }
        Kind::Object | Kind::Array => Err(NoTemplate),
    }
}

fn places_in_binary(header: &[u8], code: i32) -> Result<Places, NoTemplate> {
    let mut places = vec![(BINARY_OPAQUE, Said::Opaque)];
    let mut rest = header.get(FIXED_BYTES..).ok_or(NoTemplate)?;
    take_long(&mut rest, "remark")?;
    let at = |rest: &[u8]| header.len() - rest.len();
    let fields = at(rest);
    add(
        &mut places,
        fields..fields + BINARY_LENGTH_BYTES,
        Said::FieldsLength,
    )?;
    if take_length(&mut rest, "fields")? != rest.len() {
        return Err(NoTemplate);
    }
    while !rest.is_empty() {
        let name = take_short(&mut rest, "field name")?;
        let start = at(rest);
        take_long(&mut rest, "field value")?;
        let name = std::str::from_utf8(name).map_err(|_| NoTemplate)?;
        if let Some(said) = said_of(name, code) {
            add(&mut places, start..at(rest), said)?;
        }
    }
    Ok(places)
}

/// Others cannot be read by a header: something comes twice in it, or is of another kind.
struct NoTemplate;

impl From<JsonError> for NoTemplate {
    fn from(_: JsonError) -> Self {
        Self
    }
}

impl From<CommandError> for NoTemplate {
    fn from(_: CommandError) -> Self {
        Self
    }
}

fn add(places: &mut Places, place: Range<usize>, said: Said) -> Result<(), NoTemplate> {
    if places.iter().any(|(_, known)| *known == said) {
        return Err(NoTemplate);
    }
    places.push((place, said));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_digits_are_read_at_once_and_nothing_else_is() {
        for text in [
            b"00000000",
            b"12345678",
            b"98765432",
            b"99999999",
            b"00000001",
            b"10000000",
        ] {
            let number = std::str::from_utf8(text).unwrap().parse().unwrap();
            assert_eq!(eight_digits(text), Some(number));
        }
        for at in 0..8 {
            for byte in 0..=u8::MAX {
                let mut text = *b"12345678";
                text[at] = byte;
                let parsed = std::str::from_utf8(&text).ok();
                let parsed = parsed.and_then(|text| text.parse().ok());
                let is_digit = byte.is_ascii_digit();
                assert_eq!(eight_digits(&text), parsed.filter(|_| is_digit), "{text:?}");
            }
        }
    }
}
