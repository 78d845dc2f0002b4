//! The rules of JMS message selectors (JMS 2.0 §3.8.1).

use std::collections::BTreeMap;

use crate::filter::{Dialect, Expression, PropertyValues, Selector, Value};

const TRUE: Option<bool> = Some(true);
const FALSE: Option<bool> = Some(false);
const UNKNOWN: Option<bool> = None;

pub(super) struct Message<'a>(pub(super) BTreeMap<&'a str, Value<'a>>);

impl PropertyValues for Message<'_> {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        self.0.get(name).copied()
    }
}

fn message() -> Message<'static> {
    Message(BTreeMap::from([
        ("JMSType", Value::Str("car")),
        ("color", Value::Str("blue")),
        ("weight", Value::Int(2500)),
        ("price", Value::Float(99.5)),
        ("text", Value::Str("2")),
        ("new", Value::Bool(true)),
        ("nan", Value::Float(f64::NAN)),
        ("största", Value::Int(i64::MAX)),
        ("CONTAINS", Value::Str("word")),
        ("quoted", Value::Str("it's")),
        ("underscored", Value::Str("_foo")),
    ]))
}

fn check(expectations: &[(&str, Option<bool>)]) {
    let message = message();
    for (text, expected) in expectations {
        let selector = Selector::new(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(selector.truth(&message), *expected, "{text}");
        assert_eq!(selector.matches(&message), *expected == TRUE, "{text}");
    }
}

fn understood(text: &str) -> String {
    Expression::parse(text, Dialect::Jms)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .to_string()
}

#[test]
fn the_examples_of_the_specification_hold() {
    check(&[
        ("JMSType = 'car' AND color = 'blue' AND weight > 2499", TRUE),
        (
            "JMSType = 'car' AND color = 'blue' AND weight > 2500",
            FALSE,
        ),
        ("text > 1", FALSE),
        ("weight BETWEEN 15 AND 2500", TRUE),
        ("color IN ('UK', 'US', 'blue')", TRUE),
    ]);
}

#[test]
fn no_selector_selects_everything() {
    for text in ["", " \t\n"] {
        assert!(Selector::new(text).unwrap().matches(&message()));
        assert_eq!(Selector::new(text).unwrap().expression(), None);
    }
}

#[test]
fn names_have_case_and_any_script_and_keywords_have_no_case() {
    check(&[
        ("Color IS NULL", TRUE),
        ("color Is noT nULl aNd Not fAlSe", TRUE),
        ("största = 9223372036854775807", TRUE),
        ("größe٣ IS NULL", TRUE),
        // Not a word of this dialect.
        ("CONTAINS = 'word'", TRUE),
    ]);
}

#[test]
fn operators_bind_as_in_sql() {
    for (text, expected) in [
        ("NOT a = 1", "NOT (a = 1)"),
        (
            "NOT a = 1 AND b = 2 OR c = 3",
            "(NOT (a = 1) AND b = 2) OR c = 3",
        ),
        ("NOT NOT a", "NOT (NOT a)"),
        ("a + b * c = d", "(a + (b * c)) = d"),
        ("a - b - c / d / e > 0", "((a - b) - ((c / d) / e)) > 0"),
        ("-a * b > 0", "((-a) * b) > 0"),
        ("a - -1 > 0", "(a - (-1)) > 0"),
        ("a - --1 > 0", "(a - (-(-1))) > 0"),
        (
            "a BETWEEN b + 1 AND c * 2 AND d",
            "a BETWEEN (b + 1) AND (c * 2) AND d",
        ),
        (
            "a NOT LIKE '%''s' ESCAPE ''''",
            "a NOT LIKE '%''s' ESCAPE ''''",
        ),
        ("a > 1 = TRUE", "(a > 1) = TRUE"),
        ("-9223372036854775808 < a", "(-9223372036854775808) < a"),
        (
            "-9223372036854775808L + 1 < a",
            "((-9223372036854775808) + 1) < a",
        ),
    ] {
        assert_eq!(understood(text), expected);
    }
}

#[test]
fn numbers_are_written_as_in_java() {
    for (text, expected) in [
        ("a = 0x1F", "a = 31"),
        ("a = 0XffL", "a = 255"),
        ("a = 017", "a = 15"),
        ("a = 0L", "a = 0"),
        ("a = 57l", "a = 57"),
        ("a = 0.0", "a = 0.0"),
        ("a = 7.", "a = 7.0"),
        ("a = 7E3", "a = 7000.0"),
        ("a = 57.9e-2", "a = 0.579"),
        ("a = 6.25f", "a = 6.25"),
        ("a = 5D", "a = 5.0"),
        ("a = 09.5", "a = 9.5"),
    ] {
        assert_eq!(understood(text), expected);
    }
}

#[test]
fn different_kinds_compare_to_false_either_way() {
    check(&[
        ("text = 2", FALSE),
        ("text <> 2", FALSE),
        ("NOT (text = 2)", TRUE),
        ("new = 'true'", FALSE),
        ("new <> 1", FALSE),
        ("text < 3", FALSE),
        ("weight = 2500.0", TRUE),
        ("price > 99", TRUE),
        ("price <> 99", TRUE),
        ("new = TRUE", TRUE),
        ("new <> FALSE", TRUE),
        ("color = 'blue' AND color <> 'Blue'", TRUE),
        ("color < text", FALSE),
        ("nan = nan", FALSE),
        ("nan <> nan", TRUE),
        ("nan > 1", FALSE),
        ("0.0 = -0.0", TRUE),
    ]);
}

#[test]
fn what_is_missing_is_unknown_on_either_side() {
    check(&[
        ("gone = 1", UNKNOWN),
        ("1 <> gone", UNKNOWN),
        ("gone = missing", UNKNOWN),
        ("NOT (gone > 1)", UNKNOWN),
        ("gone + 1 = 1", UNKNOWN),
        ("-gone < 0", UNKNOWN),
        ("gone BETWEEN 1 AND 2", UNKNOWN),
        ("weight BETWEEN gone AND 1", FALSE),
        ("gone IN ('a')", UNKNOWN),
        ("gone NOT IN ('a')", UNKNOWN),
        ("gone LIKE '%'", UNKNOWN),
        ("gone NOT LIKE '%'", UNKNOWN),
        ("gone IS NULL", TRUE),
        ("gone IS NOT NULL", FALSE),
        ("weight IS NULL", FALSE),
        ("gone OR TRUE", TRUE),
        ("gone AND TRUE", UNKNOWN),
        ("gone AND FALSE", FALSE),
        ("NOT gone", UNKNOWN),
    ]);
}

#[test]
fn a_property_is_a_condition_when_it_is_a_boolean() {
    check(&[
        ("new", TRUE),
        ("NOT new", FALSE),
        ("color", FALSE),
        ("new AND weight = 2500", TRUE),
    ]);
}

#[test]
fn arithmetic_promotes_like_java() {
    check(&[
        ("weight + 1 = 2501", TRUE),
        ("weight * 2 - 1 = 4999", TRUE),
        ("7 / 2 = 3 AND -7 / 2 = -3", TRUE),
        ("7 / 2.0 = 3.5", TRUE),
        ("price * 2 = 199", TRUE),
        ("1 / 0 = 1", UNKNOWN),
        ("1 / 0.0 > 1e308", TRUE),
        ("största + 1 = -9223372036854775808", TRUE),
        ("-9223372036854775808 / -1 = -9223372036854775808", TRUE),
        ("color + 1 = 1", UNKNOWN),
        ("new * 1 = 1", UNKNOWN),
        ("+weight = - -2500", TRUE),
        ("weight BETWEEN 5 * 500 AND 5001 / 2", TRUE),
        ("weight NOT BETWEEN 2000 + 1 AND 3000 - 1", FALSE),
        ("weight BETWEEN 3000 AND 2000", FALSE),
    ]);
}

#[test]
fn in_and_like_are_about_strings() {
    check(&[
        ("color IN ('red')", FALSE),
        ("color NOT IN ('red')", TRUE),
        ("weight IN ('2500')", FALSE),
        ("weight NOT IN ('2500')", FALSE),
        (
            "color LIKE 'bl_e' AND color LIKE '%' AND color LIKE 'b%'",
            TRUE,
        ),
        ("color LIKE 'bl_'", FALSE),
        ("color NOT LIKE 'bl_'", TRUE),
        ("weight LIKE '%'", FALSE),
        ("quoted LIKE '%''s'", TRUE),
        (r"underscored LIKE '\_%' ESCAPE '\'", TRUE),
        (r"color LIKE '\_%' ESCAPE '\'", FALSE),
        ("quoted LIKE 'it''''s' ESCAPE ''''", TRUE),
    ]);
}
