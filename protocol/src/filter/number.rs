//! Numeric literals.

use super::Dialect;

/// The value of a numeric literal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    /// Without a fraction; at most 2⁶³, which only a minus makes a 64-bit integer of.
    Whole(u64),
    /// With a fraction or an exponent; finite.
    Fractional(f64),
}

/// Where a numeric literal ends and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumberLiteral {
    /// In bytes.
    pub(super) length: usize,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Decimal,
    Octal,
    Hexadecimal,
    Fractional,
}

const WHOLE_RANGE: &str = "a whole number from -9223372036854775808 to 9223372036854775807";
const ROCKETMQ_WHOLE_RANGE: &str = "a whole number up to 9223372036854775807";
const OCTAL_RANGE: &str = "after the 0 only digits from 0 to 7, up to 0777777777777777777777";
const FRACTIONAL_RANGE: &str = "a number up to 1.7976931348623157e308";
const ROCKETMQ_FRACTIONAL_RANGE: &str =
    "a number from 5e-324 to 1.7976931348623157e308 (zero is written 0)";

/// The longest numeric literal that the text begins with.
///
/// RocketMQ knows decimal numbers without leading zeros and with an optional `L`, which cannot follow `0`, and numbers
/// with a fraction or an exponent. JMS takes Java's literals: octal, hexadecimal, and the suffixes `L`, `F` and `D` as
/// well.
pub(super) fn at_start(text: &str, dialect: Dialect) -> Option<NumberLiteral> {
    let bytes = text.as_bytes();
    let byte_at = |at: usize| {
        bytes
            .get(at)
            .copied()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    let run = |from: usize, belongs: fn(&u8) -> bool| {
        let rest = bytes.get(from..).unwrap_or_default();
        rest.iter().take_while(|byte| belongs(byte)).count()
    };
    let suffixed =
        |length: usize, suffixes: &[u8]| length + usize::from(suffixes.contains(&byte_at(length)));
    let is_jms = dialect == Dialect::Jms;

    if is_jms && byte_at(0) == b'0' && byte_at(1) == b'x' {
        let digits = run(2, u8::is_ascii_hexdigit);
        if digits > 0 {
            return Some(NumberLiteral {
                length: suffixed(2 + digits, b"l"),
                form: Form::Hexadecimal,
            });
        }
    }
    let digits = run(0, u8::is_ascii_digit);
    let mut length = digits;
    let mut is_fractional = false;
    if byte_at(length) == b'.' {
        let fraction = run(length + 1, u8::is_ascii_digit);
        if digits + fraction > 0 {
            length += 1 + fraction;
            is_fractional = true;
        }
    }
    if length == 0 {
        return None;
    }
    if byte_at(length) == b'e' {
        let sign = usize::from(matches!(byte_at(length + 1), b'+' | b'-'));
        let exponent = run(length + 1 + sign, u8::is_ascii_digit);
        if exponent > 0 {
            length += 1 + sign + exponent;
            is_fractional = true;
        }
    }
    if is_jms && matches!(byte_at(length), b'f' | b'd') {
        length += 1;
        is_fractional = true;
    }
    let (length, form) = match (is_fractional, byte_at(0) == b'0') {
        (true, _) => (length, Form::Fractional),
        (false, false) => (suffixed(length, b"l"), Form::Decimal),
        (false, true) if !is_jms => (1, Form::Decimal),
        (false, true) if digits == 1 => (suffixed(length, b"l"), Form::Decimal),
        (false, true) => (suffixed(length, b"l"), Form::Octal),
    };
    Some(NumberLiteral { length, form })
}

impl NumberLiteral {
    /// The value of the literal, or the range that it is outside of.
    pub(super) fn value(self, text: &str, dialect: Dialect) -> Result<Number, &'static str> {
        let whole = |digits: &str, radix: u32, limit: u64, range: &'static str| {
            let digits = digits.trim_end_matches(['l', 'L']);
            match u64::from_str_radix(digits, radix) {
                Ok(value) if value <= limit => Ok(Number::Whole(value)),
                _ => Err(range),
            }
        };
        let is_jms = dialect == Dialect::Jms;
        match self.form {
            Form::Decimal if is_jms => whole(text, 10, i64::MIN.unsigned_abs(), WHOLE_RANGE),
            Form::Decimal => whole(text, 10, i64::MAX.unsigned_abs(), ROCKETMQ_WHOLE_RANGE),
            Form::Octal => whole(text, 8, i64::MAX.unsigned_abs(), OCTAL_RANGE),
            Form::Hexadecimal => {
                let digits = text.get(2..).unwrap_or_default();
                whole(digits, 16, i64::MAX.unsigned_abs(), WHOLE_RANGE)
            }
            Form::Fractional => {
                let digits = text.trim_end_matches(['f', 'F', 'd', 'D']);
                match digits.parse::<f64>() {
                    Ok(value) if value.is_finite() && (is_jms || value > 0.0) => {
                        Ok(Number::Fractional(value))
                    }
                    _ if is_jms => Err(FRACTIONAL_RANGE),
                    _ => Err(ROCKETMQ_FRACTIONAL_RANGE),
                }
            }
        }
    }
}
