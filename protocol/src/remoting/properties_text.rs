//! Configuration as text: a line `key=value` for each (Java `Properties`).

use std::fmt::Write as _;

/// The keys and values of a text, in their order.
///
/// Lines that are empty or begin with `#` or `!` say nothing. A colon may stand for the equals sign, spaces around it do
/// not count, and a backslash takes the character behind it as it is, but for `\t`, `\n`, `\r` and `\f`. A line without
/// either is a key with nothing. What Java has besides, lines that go on in the next and characters by number, tools do
/// not write.
pub fn read_properties(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim_start);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '!']))
        .map(read_line)
        .collect()
}

fn read_line(line: &str) -> (String, String) {
    let mut is_escaped = false;
    let separator = line.find(|character| {
        let is_separator = !is_escaped && matches!(character, '=' | ':');
        is_escaped = !is_escaped && character == '\\';
        is_separator
    });
    let (key, value) = match separator {
        Some(at) => line.split_at(at),
        None => (line, ""),
    };
    let value = value.get(1..).unwrap_or_default();
    (unescape(key.trim_end()), unescape(value.trim_start()))
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let next = match character {
            '\\' => characters.next().map(|escaped| match escaped {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                'f' => '\u{c}',
                other => other,
            }),
            other => Some(other),
        };
        plain.extend(next);
    }
    plain
}

/// The text of keys and values, without escapes as RocketMQ writes it; line breaks become spaces.
pub fn write_properties<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        let value = value.replace(['\r', '\n'], " ");
        let written = writeln!(text, "{key}={value}");
        debug_assert!(written.is_ok(), "strings can be written");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        read_properties(text)
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn lines_are_keys_and_values() {
        let text = "# comment\n\na=1\r\n  b = two words \n!x\nc:\\\\d\\=\ne\n\\=k=v=w\n";
        let expected = [
            pair("a", "1"),
            pair("b", "two words "),
            pair("c", "\\d="),
            pair("e", ""),
            pair("=k", "v=w"),
        ];
        assert_eq!(read(text), expected);
        assert_eq!(read("a=\\"), [pair("a", "")]);
    }

    #[test]
    fn what_is_written_is_read() {
        let text = write_properties([("brokerName", "broker-a"), ("namesrvAddr", "a:1\nb:2")]);
        assert_eq!(text, "brokerName=broker-a\nnamesrvAddr=a:1 b:2\n");
        assert_eq!(
            read(&text),
            [
                pair("brokerName", "broker-a"),
                pair("namesrvAddr", "a:1 b:2")
            ]
        );
    }
}
