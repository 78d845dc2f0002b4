//! Where things begin and end in a JSON text.

use std::borrow::Cow;
use std::ops::Range;

use super::{JsonError, MAX_DEPTH};
use crate::search::{find_byte, find_either};

/// A place in a JSON text that moves forward over whole things.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    /// The same where all of it is UTF-8, so that no part of it has to be looked at again.
    utf8: Option<&'a str>,
    at: usize,
}

/// What kind of thing begins at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    /// A number, a truth value, or `null`.
    Bare,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            utf8: std::str::from_utf8(text).ok(),
            at: 0,
        }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// The next byte that is no white space, which is where the scanner stands then.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// The error of not finding `expected` here.
    pub(crate) fn unexpected(&self, expected: &'static str) -> JsonError {
        if self.at >= self.text.len() {
            return JsonError::Ends { expected };
        }
        JsonError::Unexpected {
            at: self.at,
            expected,
        }
    }

    /// Steps over `byte` if it is next.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Steps over `byte`, which has to be next.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, name: &'static str) -> Result<(), JsonError> {
        match self.take(byte) {
            true => Ok(()),
            false => Err(self.unexpected(name)),
        }
    }

    /// Only white space may follow.
    pub(crate) fn end(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end")),
        }
    }

    pub(crate) fn kind(&mut self) -> Result<Kind, JsonError> {
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(byte) if is_bare(byte) => Ok(Kind::Bare),
            _ => Err(self.unexpected("a value")),
        }
    }

    /// Moves to the next member of an object or element of an array; `false` at its end, which is stepped over.
    pub(crate) fn next_member(&mut self, first: bool, close: u8) -> Result<bool, JsonError> {
        if self.take(close) {
            return Ok(false);
        }
        if !first {
            self.expect(b',', "a comma or the end of an object or array")?;
        }
        Ok(true)
    }

    /// Goes through an object; `value` steps over the value of each member.
    pub(crate) fn each_member<E: From<JsonError>>(
        &mut self,
        mut value: impl FnMut(&mut Self, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'{', "an object")?;
        let mut is_first = true;
        while self.next_member(is_first, b'}')? {
            is_first = false;
            let name = self.string()?;
            self.expect(b':', "a colon")?;
            value(self, &name)?;
        }
        Ok(())
    }

    /// A string, borrowed unless something in it is escaped or not UTF-8.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let (raw, is_escaped) = self.raw_string()?;
        match is_escaped {
            false => Ok(self.part(raw)),
            true => {
                let mut text = Vec::with_capacity(raw.len());
                let unescaped = unescape(self.text.get(raw).unwrap_or_default(), &mut text);
                unescaped.ok_or(JsonError::Unexpected {
                    at: self.at,
                    expected: "a string of escapes that exist",
                })?;
                let text = String::from_utf8(text)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
                Ok(Cow::Owned(text))
            }
        }
    }

    /// The name and the value of a member, where both are strings without escapes, and nothing stands between them but the
    /// colon. Otherwise the scanner stays where it is.
    #[inline]
    pub(crate) fn plain_member(&mut self) -> Option<(&'a str, &'a str)> {
        let utf8 = self.utf8?;
        let name = self.plain_string(self.at)?;
        let colon = name.end + 1;
        if self.text.get(colon) != Some(&b':') {
            return None;
        }
        let value = self.plain_string(colon + 1)?;
        self.at = value.end + 1;
        Some((utf8.get(name)?, utf8.get(value)?))
    }

    /// What stands between the quotes of a string without escapes that begins there.
    #[inline]
    fn plain_string(&self, at: usize) -> Option<Range<usize>> {
        let (b'"', rest) = self.text.get(at..)?.split_first()? else {
            return None;
        };
        let length = find_either(b'"', b'\\', rest)?;
        (rest.get(length) == Some(&b'"')).then_some(at + 1..at + 1 + length)
    }

    /// A part of the text, with replacements where it is not UTF-8.
    #[inline]
    fn part(&self, range: Range<usize>) -> Cow<'a, str> {
        match self.utf8.and_then(|text| text.get(range.clone())) {
            Some(part) => Cow::Borrowed(part),
            None => text_of(self.text.get(range).unwrap_or_default()),
        }
    }

    /// Where that is which stands between quotes, and whether there is a backslash in it.
    #[inline]
    pub(crate) fn raw_string(&mut self) -> Result<(Range<usize>, bool), JsonError> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        match string_end(self.text.get(start..).unwrap_or_default()) {
            Some((length, is_escaped)) => {
                self.at = start + length + 1;
                Ok((start..start + length, is_escaped))
            }
            None => {
                self.at = self.text.len();
                Err(self.unexpected("the end of a string"))
            }
        }
    }

    /// A number, a truth value or `null`, as it stands there.
    pub(crate) fn bare(&mut self) -> Result<&'a str, JsonError> {
        self.peek();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| is_bare(**byte)).count();
        match self.part(self.at..self.at + length) {
            Cow::Borrowed(token) if !token.is_empty() => {
                self.at += length;
                Ok(token)
            }
            _ => Err(self.unexpected("a number, true, false or null")),
        }
    }

    /// Any value as text: what a string holds, or how anything else is written. `None` for `null`.
    pub(crate) fn value_as_text(&mut self) -> Result<Option<Cow<'a, str>>, JsonError> {
        match self.kind()? {
            Kind::String => self.string().map(Some),
            Kind::Bare => {
                let token = self.bare()?;
                Ok((token != "null").then_some(Cow::Borrowed(token)))
            }
            Kind::Object | Kind::Array => {
                let start = self.at;
                self.skip(0)?;
                Ok(Some(self.part(start..self.at)))
            }
        }
    }

    /// Steps over a value that lies `depth` deep already. What is in it is looked at only as far as that needs.
    pub(crate) fn skip(&mut self, depth: usize) -> Result<(), JsonError> {
        let mut open = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.raw_string()?;
                }
                Some(b'{' | b'[') => {
                    open += 1;
                    if depth + open > MAX_DEPTH {
                        return Err(JsonError::TooDeep { at: self.at });
                    }
                    self.at += 1;
                    continue;
                }
                Some(b'}' | b']' | b',' | b':') if open > 0 => {
                    open -= usize::from(self.take(b'}') || self.take(b']'));
                    if open > 0 {
                        let _ = self.take(b',') || self.take(b':');
                    }
                }
                Some(byte) if is_bare(byte) => {
                    self.bare()?;
                }
                _ => return Err(self.unexpected("a value")),
            }
            if open == 0 {
                return Ok(());
            }
        }
    }
}

/// Appends the text of what stands between quotes; `None` when there is an escape in it that does not exist.
pub(crate) fn unescape(raw: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let mut rest = raw;
    while let Some(length) = find_byte(b'\\', rest) {
        let (before, escape) = rest.split_at(length);
        text.extend_from_slice(before);
        let (letter, after) = escape.get(1..)?.split_first()?;
        rest = after;
        let plain = match letter {
            b'"' | b'\\' | b'/' => *letter,
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            // What separates properties, as Java writes it.
            b'u' if let [b'0', b'0', b'0', digit @ b'0'..=b'9', after @ ..] = after => {
                rest = after;
                digit - b'0'
            }
            b'u' => {
                let (character, after) = unicode(after)?;
                rest = after;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        };
        text.push(plain);
    }
    text.extend_from_slice(rest);
    Some(())
}

/// How long a string is that begins behind its quote, and whether there is a backslash in it.
#[inline]
pub(crate) fn string_end(text: &[u8]) -> Option<(usize, bool)> {
    let (mut at, mut is_escaped) = (0, false);
    loop {
        let rest = text.get(at..)?;
        let length = find_either(b'"', b'\\', rest)?;
        if rest.get(length) == Some(&b'"') {
            return Some((at + length, is_escaped));
        }
        is_escaped = true;
        at += length + 2;
    }
}

/// Bytes as text, with replacements where they are not UTF-8.
pub(crate) fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    // Looking for what to replace takes longer than finding that there is nothing.
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// Characters of numbers, truth values and `null`.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.' | b'_')
}

/// The character of the hexadecimal digits at the front, a pair of surrogates taken together, and what follows it.
///
/// A surrogate alone becomes the replacement character, as it does in RocketMQ when such a string is written out.
fn unicode(digits: &[u8]) -> Option<(char, &[u8])> {
    let (unit, rest) = code_unit(digits)?;
    let low = || {
        let (low, rest) = code_unit(rest.strip_prefix(b"\\u")?)?;
        (0xDC00..0xE000).contains(&low).then_some((low, rest))
    };
    let (code, rest) = match unit {
        0xD800..0xDC00 => match low() {
            Some((low, rest)) => (0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00), rest),
            None => (unit, rest),
        },
        _ => (unit, rest),
    };
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    Some((character, rest))
}

fn code_unit(digits: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = digits.split_first_chunk::<4>()?;
    let unit = digits.iter().try_fold(0, |unit, digit| {
        Some(unit * 16 + char::from(*digit).to_digit(16)?)
    })?;
    Some((unit, rest))
}
