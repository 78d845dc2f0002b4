//! The syntax of Java's `.properties`: comments, separators, continued lines, escapes. What the keys mean is not known here.

use std::iter::Peekable;
use std::str::{Chars, Lines};

/// A key with its value, escapes resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) value: String,
    /// Line on which the key begins, counted from 1.
    pub(super) line: usize,
}

/// A pair that Java would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) reason: String,
    pub(super) line: usize,
}

/// Reads the pairs of a file in their order.
pub(super) fn parse(text: &str) -> Vec<Result<Pair, Broken>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // A lone carriage return ends a line too.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = LogicalLines {
        lines: text.lines(),
        number: 0,
    };
    let mut pairs = Vec::new();
    while let Some((text, line)) = lines.next() {
        let pair = split(&text)
            .map(|(key, value)| Pair { key, value, line })
            .map_err(|reason| Broken { reason, line });
        pairs.push(pair);
    }
    pairs
}

/// Lines that say something, with the lines that continue them.
struct LogicalLines<'a> {
    lines: Lines<'a>,
    number: usize,
}

impl LogicalLines<'_> {
    fn next(&mut self) -> Option<(String, usize)> {
        let first = loop {
            let line = self.physical()?;
            // Comments do not continue, and cannot stand inside a continued line.
            if !line.is_empty() && !line.starts_with(['#', '!']) {
                break line;
            }
        };
        let begins = self.number;
        let mut text = first.to_owned();
        while is_continued(&text) {
            text.pop();
            match self.physical() {
                Some(more) => text.push_str(more),
                None => break,
            }
        }
        Some((text, begins))
    }
}

impl<'a> LogicalLines<'a> {
    fn physical(&mut self) -> Option<&'a str> {
        let line = self.lines.next()?;
        self.number += 1;
        Some(line.trim_start_matches(is_blank))
    }
}

/// Whether an odd number of backslashes ends the line: pairs of them are literal ones.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Splits at the first `=`, `:` or run of blanks that is not escaped.
fn split(line: &str) -> Result<(String, String), String> {
    let mut escaped = false;
    let ends_key = |c: char| {
        let ends = !escaped && (is_blank(c) || matches!(c, '=' | ':'));
        escaped = !escaped && c == '\\';
        ends
    };
    let (key, rest) = line.split_at(line.find(ends_key).unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    Ok((
        unescape(key)?,
        unescape(value.trim_start_matches(is_blank))?,
    ))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => plain.push(unicode(&mut chars)?),
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Ok(plain)
}

/// The character of `XXXX`, or of `XXXX\uXXXX` when UTF-16 needs two.
fn unicode(chars: &mut Peekable<Chars<'_>>) -> Result<char, String> {
    let first = unit(chars)?;
    let mut units = vec![first];
    if (0xD800..0xDC00).contains(&first) {
        if chars.next() != Some('\\') || chars.next() != Some('u') {
            return Err(half_a_pair());
        }
        units.push(unit(chars)?);
    }
    match char::decode_utf16(units)
        .collect::<Result<Vec<_>, _>>()
        .as_deref()
    {
        Ok([c]) => Ok(*c),
        _ => Err(half_a_pair()),
    }
}

fn half_a_pair() -> String {
    "\\u names half of a surrogate pair: write the other half after it".to_owned()
}

fn unit(chars: &mut Peekable<Chars<'_>>) -> Result<u16, String> {
    let mut value = 0;
    for _ in 0..4 {
        let digit = chars.next_if(char::is_ascii_hexdigit);
        let digit = digit.and_then(|c| c.to_digit(16));
        let digit = digit.ok_or("\\u must be followed by 4 hexadecimal digits")?;
        value = value << 4 | digit;
    }
    u16::try_from(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        let pairs = parse(text).into_iter();
        pairs
            .map(|pair| pair.unwrap())
            .map(|p| (p.key, p.value, p.line))
            .collect()
    }

    fn one(text: &str) -> (String, String) {
        let (key, value, _) = pairs(text).remove(0);
        (key, value)
    }

    fn expect(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn keys_and_values_part_at_equals_colon_or_blanks() {
        for line in ["a=b", "a:b", "a b", " a = b", "a\t:\t b", "a  b"] {
            assert_eq!(one(line), expect("a", "b"), "{line:?}");
        }
        assert_eq!(one("a==b"), expect("a", "=b"));
        assert_eq!(one("a = = b "), expect("a", "= b "));
        assert_eq!(one("a"), expect("a", ""));
        assert_eq!(one("namesrvAddr=h:1;h:2"), expect("namesrvAddr", "h:1;h:2"));
        assert_eq!(one(r"a\ b\=c\:d = e"), expect("a b=c:d", "e"));
        assert_eq!(one(r"a\\=b"), expect(r"a\", "b"));
    }

    #[test]
    fn comments_and_empty_lines_say_nothing_but_count() {
        let text = "# a=1\n\n  ! b=2 \\\nc=3\r\n\r#d\rf=4";
        assert_eq!(
            pairs(text),
            [("c".into(), "3".into(), 4), ("f".into(), "4".into(), 7)]
        );
    }

    #[test]
    fn a_backslash_at_the_end_continues_the_line() {
        assert_eq!(one("a=b,\\\n   c,\\\n\td"), expect("a", "b,c,d"));
        assert_eq!(one("a=b\\\n#c"), expect("a", "b#c"));
        assert_eq!(one("a=b\\\\\nc=d"), expect("a", "b\\"));
        assert_eq!(one("a=b\\"), expect("a", "b"));
        let after = pairs("a=\\\nb\nc=d");
        assert_eq!(after[1].2, 3);
    }

    #[test]
    fn escapes_are_javas() {
        assert_eq!(one(r"a=\u4e2d\t\x\n"), expect("a", "中\tx\n"));
        assert_eq!(one(r"a=\uD83D\uDE00"), expect("a", "😀"));
        assert_eq!(one("a=中"), expect("a", "中"));
    }

    #[test]
    fn wrong_escapes_are_told_with_their_line() {
        for text in [
            "\na=\\u12",
            "\na=\\u12g4",
            "\na=\\uD83D",
            "\na=\\uD83D\\u0041",
            "\na=\\uDE00",
        ] {
            let found = parse(text);
            assert!(
                matches!(&found[..], [Err(broken)] if broken.line == 2),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_key() {
        assert_eq!(one("\u{feff}a=b"), expect("a", "b"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(?s).*") {
            let _ = parse(&text);
        }

        #[test]
        fn escaped_pairs_come_back(key in "(?s).{1,20}", value in "(?s).{0,20}") {
            let escape = |text: &str| -> String {
                text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
            };
            let line = format!("{}={}", escape(&key), escape(&value));
            prop_assert_eq!(one(&line), (key, value));
        }
    }
}
