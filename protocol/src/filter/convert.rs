//! Strings read as numbers and booleans the way Java reads them.

use std::cmp::Ordering;

/// Java's `Integer.valueOf` and `Long.valueOf`: an optional sign and digits, nothing around them. Digits of other scripts,
/// which Java takes as well, are not numbers here.
pub(super) fn whole<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// Java's `Float.valueOf` and `Double.valueOf`: blanks around are cut, `NaN` and `Infinity` are spelled so, one of `f`, `F`, `d`, `D` may
/// follow. Hexadecimal fractions, which Java takes as well, are not numbers here.
pub fn fraction<T: std::str::FromStr>(text: &str) -> Option<T> {
    let text = text.trim_matches(|c| c <= ' ');
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    match digits.as_bytes().first()? {
        b'0'..=b'9' | b'.' => {
            let plain = text.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(text);
            plain.parse().ok()
        }
        _ if matches!(digits, "NaN" | "Infinity") => text.parse().ok(),
        _ => None,
    }
}

/// Java's `Boolean.valueOf`: everything but `true`, in any case, is false.
pub(super) fn boolean(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

/// Java's `Double.compare`: NaN equals itself and is above all else, -0.0 is below 0.0.
pub(super) fn compare_doubles(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right)
        .filter(|ordering| ordering.is_ne())
        .unwrap_or_else(|| {
            // Java's one NaN is positive.
            let canonical = |number: f64| {
                if number.is_nan() {
                    f64::NAN.abs()
                } else {
                    number
                }
            };
            canonical(left).total_cmp(&canonical(right))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_as_java_reads_them() {
        for (text, expected) in [
            ("5", Some(5)),
            ("+5", Some(5)),
            ("-005", Some(-5)),
            ("2147483647", Some(i32::MAX)),
            ("-2147483648", Some(i32::MIN)),
            ("2147483648", None),
            ("5.0", None),
            (" 5", None),
            ("5L", None),
            ("-", None),
            ("", None),
            ("0x5", None),
        ] {
            assert_eq!(whole::<i32>(text), expected, "{text:?}");
        }
    }

    #[test]
    fn doubles_are_read_as_java_reads_them() {
        for (text, expected) in [
            ("5", Some(5.0)),
            ("5.", Some(5.0)),
            (".5", Some(0.5)),
            ("-1.5e3", Some(-1500.0)),
            (" \t5\n", Some(5.0)),
            ("5d", Some(5.0)),
            ("5.5F", Some(5.5)),
            ("Infinity", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("1e999", Some(f64::INFINITY)),
            ("inf", None),
            ("infinity", None),
            ("nan", None),
            ("NaNd", None),
            ("5dd", None),
            ("5 d", None),
            ("--5", None),
            (".", None),
            ("e5", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(fraction::<f64>(text), expected, "{text:?}");
        }
        assert!(fraction::<f64>("NaN").unwrap().is_nan());
        assert!(fraction::<f64>("-NaN").unwrap().is_nan());
    }

    #[test]
    fn doubles_are_ordered_as_java_orders_them() {
        use Ordering::{Equal, Greater, Less};
        for (left, right, expected) in [
            (1.0, 2.0, Less),
            (2.0, 1.0, Greater),
            (1.0, 1.0, Equal),
            (-0.0, 0.0, Less),
            (0.0, -0.0, Greater),
            (f64::NAN, f64::INFINITY, Greater),
            (f64::INFINITY, f64::NAN, Less),
            (-f64::NAN, f64::NAN, Equal),
        ] {
            assert_eq!(compare_doubles(left, right), expected, "{left} {right}");
        }
    }
}
