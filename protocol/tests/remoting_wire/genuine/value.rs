//! Bodies as values, so that two can be compared whatever order their tables have.

use std::collections::BTreeMap;

/// A value of fastjson's dialect: keys may be numbers and objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    /// A number, a truth value, or `null`.
    Plain(String),
    Text(String),
    List(Vec<Value>),
    /// A number as a key is as good as its text.
    Table(BTreeMap<Value, Value>),
}

impl Value {
    pub(super) fn of(text: &[u8]) -> Self {
        let mut rest = std::str::from_utf8(text).unwrap();
        let value = value(&mut rest);
        assert_eq!(rest, "");
        value
    }

    /// The same with all lists in one order.
    pub(super) fn sorted(self) -> Self {
        match self {
            Self::List(list) => {
                let mut list: Vec<_> = list.into_iter().map(Self::sorted).collect();
                list.sort();
                Self::List(list)
            }
            Self::Table(table) => {
                let members = table.into_iter();
                Self::Table(members.map(|(key, value)| (key, value.sorted())).collect())
            }
            other => other,
        }
    }
}

fn take(rest: &mut &str, wanted: char) -> bool {
    let found = rest.strip_prefix(wanted);
    *rest = found.unwrap_or(rest);
    found.is_some()
}

fn value(rest: &mut &str) -> Value {
    if take(rest, '"') {
        return Value::Text(string(rest));
    }
    if take(rest, '[') {
        let mut list = Vec::new();
        while !take(rest, ']') {
            list.push(value(rest));
            take(rest, ',');
        }
        return Value::List(list);
    }
    if take(rest, '{') {
        let mut table = BTreeMap::new();
        while !take(rest, '}') {
            let key = match value(rest) {
                Value::Plain(number) => Value::Text(number),
                key => key,
            };
            assert!(take(rest, ':'));
            assert_eq!(table.insert(key, value(rest)), None);
            take(rest, ',');
        }
        return Value::Table(table);
    }
    let end = rest.find([',', ':', ']', '}']).unwrap_or(rest.len());
    let plain = rest[..end].to_owned();
    assert!(!plain.is_empty(), "{rest}");
    *rest = &rest[end..];
    Value::Plain(plain)
}

/// Up to the closing quote. Escapes stay as they are.
fn string(rest: &mut &str) -> String {
    let mut is_escaped = false;
    let end = rest.find(|character| {
        let ends = !is_escaped && character == '"';
        is_escaped = !is_escaped && character == '\\';
        ends
    });
    let end = end.unwrap();
    let text = rest[..end].to_owned();
    *rest = &rest[end + 1..];
    text
}
