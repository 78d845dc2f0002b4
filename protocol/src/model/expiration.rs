//! When a message expires: after that nobody gets it any more.

use super::properties::{keys, property_value};

/// The topic attribute that has all messages of a topic expire so many milliseconds after they were stored.
pub const TTL_ATTRIBUTE: &str = "message.ttl";

/// When a message with these encoded properties expires, in milliseconds since the epoch. `None`: it does not; neither does
/// one whose property is no decimal number from 0 to 2^63-1.
pub fn expires_at_ms(properties: &[u8]) -> Option<i64> {
    number(property_value(properties, keys::EXPIRES_AT)?)
}

/// Reads the value of [`TTL_ATTRIBUTE`]: one millisecond or more.
pub fn parse_ttl_ms(text: &str) -> Option<u64> {
    let ttl_ms = number(text)?.unsigned_abs();
    (ttl_ms > 0).then_some(ttl_ms)
}

/// A decimal number without a sign, which Rust would take.
fn number(text: &str) -> Option<i64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_time_that_can_be_one_makes_a_message_expire() {
        let of =
            |value: &str| expires_at_ms(format!("a\x01b\x02EXPIRES_AT\x01{value}\x02").as_bytes());
        assert_eq!(of("0"), Some(0));
        assert_eq!(of("1700000000000"), Some(1_700_000_000_000));
        assert_eq!(of("9223372036854775807"), Some(i64::MAX));
        for value in [
            "9223372036854775808",
            "-1",
            "+1",
            "1.5",
            "soon",
            " 1",
            "1 ",
            "0x10",
            "\u{661}",
        ] {
            assert_eq!(of(value), None, "{value}");
        }
        assert_eq!(expires_at_ms(b"EXPIRES_AT\x01\x02"), None);
        assert_eq!(expires_at_ms(b""), None);
    }

    #[test]
    fn a_time_to_live_is_a_millisecond_or_more() {
        assert_eq!(parse_ttl_ms("1"), Some(1));
        assert_eq!(
            parse_ttl_ms("9223372036854775807"),
            Some(i64::MAX.unsigned_abs())
        );
        for text in ["0", "", "-1", "1h", "9223372036854775808"] {
            assert_eq!(parse_ttl_ms(text), None, "{text}");
        }
    }
}
