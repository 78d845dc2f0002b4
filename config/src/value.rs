//! A value as somebody wrote it, held against the rule of its key.

use std::fmt;
use std::net::SocketAddr;

use config::{Value, ValueKind};

use crate::declare::Literal;
use crate::key::{Choice, Kind, Range, Rule};

/// Longest name of a cluster or broker: both become names of topics (RocketMQ `TopicValidator`).
const MAX_NAME_BYTES: usize = 127;

/// A value as somebody wrote it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Raw {
    /// Text that may stand for anything: environment, flags, RocketMQ files.
    Untyped(String),
    /// A TOML string.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML boolean.
    Switch(bool),
    /// A TOML array.
    List(Vec<Raw>),
    /// What no key takes: a float, a date, a table, an integer beyond 64 bits.
    Other(String),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Untyped(text) | Raw::Text(text) => f.write_str(&text.literal()),
            Raw::Integer(number) => write!(f, "{number}"),
            Raw::Switch(switch) => write!(f, "{switch}"),
            Raw::Other(shown) => f.write_str(shown),
            Raw::List(items) => {
                let items: Vec<_> = items.iter().map(Raw::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
        }
    }
}

impl Raw {
    fn text(&self) -> Option<&str> {
        match self {
            Raw::Untyped(text) => Some(text.trim()),
            Raw::Text(text) => Some(text),
            _ => None,
        }
    }

    fn integer(&self) -> Option<i64> {
        match self {
            Raw::Untyped(text) => text.trim().parse().ok(),
            Raw::Integer(number) => Some(*number),
            _ => None,
        }
    }

    fn switch(&self) -> Option<bool> {
        match self {
            Raw::Untyped(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
            Raw::Untyped(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
            Raw::Switch(switch) => Some(*switch),
            _ => None,
        }
    }

    /// The items of a TOML array, or of text that separates them by `;` or `,`. Blank text is the empty list.
    fn items(&self) -> Option<Vec<Raw>> {
        match self {
            Raw::List(items) => Some(items.clone()),
            Raw::Untyped(text) => {
                let items = text.split([';', ',']).map(str::trim);
                let items = items.filter(|item| !item.is_empty());
                Some(items.map(|item| Raw::Untyped(item.to_owned())).collect())
            }
            _ => None,
        }
    }
}

/// Holds `raw` against `rule`. The error is the values that are allowed.
pub(crate) fn check(rule: &Rule, raw: &Raw) -> Result<ValueKind, String> {
    if rule.optional && raw.text() == Some("") {
        return Ok(ValueKind::Nil);
    }
    accepted(rule, raw).ok_or_else(|| rule.allowed())
}

fn accepted(rule: &Rule, raw: &Raw) -> Option<ValueKind> {
    match rule.kind {
        Kind::Switch => raw.switch().map(ValueKind::Boolean),
        Kind::Integer(_) => integer(rule.range, raw),
        Kind::Integers => list(raw, |item| integer(rule.range, item)),
        Kind::Name => text(raw, is_name),
        Kind::Text => text(raw, |text| !text.trim().is_empty()),
        Kind::Path => text(raw, |path| !path.is_empty() && !path.contains('\0')),
        Kind::Host => text(raw, is_host),
        Kind::Socket => text(raw, |address| address.parse::<SocketAddr>().is_ok()),
        Kind::HostPorts => list(raw, |item| text(item, |item| host_and_port(item).is_some())),
        Kind::Choice(choices) => text(raw, |word| is_choice(choices, word)),
    }
}

fn integer(range: Option<Range>, raw: &Raw) -> Option<ValueKind> {
    let number = raw.integer()?;
    let fits = range.is_none_or(|range| range.contains(number));
    fits.then_some(ValueKind::I64(number))
}

fn text(raw: &Raw, allowed: impl Fn(&str) -> bool) -> Option<ValueKind> {
    let text = raw.text().filter(|text| allowed(text))?;
    Some(ValueKind::String(text.to_owned()))
}

fn list(raw: &Raw, item: impl Fn(&Raw) -> Option<ValueKind>) -> Option<ValueKind> {
    let items: Option<Vec<Value>> = raw
        .items()?
        .iter()
        .map(|raw| item(raw).map(|kind| Value::new(None, kind)))
        .collect();
    items.map(ValueKind::Array)
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_choice(choices: &[Choice], word: &str) -> bool {
    choices.iter().any(|choice| choice.value == word)
}

/// `host`, `host:port`, `1.2.3.4`, `::1` or `[::1]:port`.
fn is_host(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok() || is_host_name(text) || host_and_port(text).is_some()
}

/// Splits `host:port` or `[v6]:port`; the port is 1 to 65535.
fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
    let is_v6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    (is_v6 || is_host_name(host)).then_some((host, port))
}

/// Whether every character may stand in a host name; `_` is in use although no standard allows it.
fn is_host_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=253).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Unit;

    fn untyped(text: &str) -> Raw {
        Raw::Untyped(text.to_owned())
    }

    #[test]
    fn toml_types_are_not_bent() {
        let number = Rule::integer(Unit::Count, 0, 9);
        assert!(check(&number, &Raw::Integer(9)).is_ok());
        assert!(check(&number, &Raw::Text("9".to_owned())).is_err());
        assert!(check(&number, &Raw::Switch(true)).is_err());
        assert!(check(&Rule::switch(), &Raw::Integer(1)).is_err());
        assert!(check(&Rule::integers(0, 23), &Raw::Integer(4)).is_err());
    }

    #[test]
    fn text_from_outside_is_read_as_what_the_key_takes() {
        let number = Rule::integer(Unit::Count, 0, 9);
        assert_eq!(check(&number, &untyped(" 7 ")), Ok(ValueKind::I64(7)));
        assert_eq!(check(&number, &untyped("10")), Err("0 to 9".to_owned()));
        assert_eq!(
            check(&Rule::switch(), &untyped("TRUE")),
            Ok(ValueKind::Boolean(true))
        );
        assert!(check(&Rule::switch(), &untyped("yes")).is_err());
        let Ok(ValueKind::Array(hours)) = check(&Rule::integers(0, 23), &untyped("04;16")) else {
            panic!("04;16 are two hours");
        };
        assert_eq!(hours.len(), 2);
        assert!(check(&Rule::integers(0, 23), &untyped("4;24")).is_err());
    }

    #[test]
    fn empty_text_takes_an_optional_value_away() {
        assert_eq!(
            check(&Rule::path().optional(), &untyped("")),
            Ok(ValueKind::Nil)
        );
        assert!(check(&Rule::path(), &untyped("")).is_err());
    }

    #[test]
    fn addresses_are_checked_by_form() {
        for good in ["a:1", "10.0.0.1:9876", "[::1]:9876", "name_server.lan:1"] {
            assert!(host_and_port(good).is_some(), "{good}");
        }
        for bad in [
            "a",
            "a:0",
            "a:65536",
            ":1",
            "::1:1",
            "[x]:1",
            "a b:1",
            "http://a:1",
        ] {
            assert!(host_and_port(bad).is_none(), "{bad}");
        }
        for good in ["a", "::1", "10.0.0.1", "10.0.0.1:7", "[::1]:7"] {
            assert!(is_host(good), "{good}");
        }
        assert!(!is_host("a b"));
    }
}
