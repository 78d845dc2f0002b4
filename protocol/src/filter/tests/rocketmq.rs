//! The rules of RocketMQ's SQL92 filter, its surprises included.

use super::encoded;
use crate::filter::compare::Incomparable;
use crate::filter::sql::SqlFilter;
use crate::filter::{CompiledFilter, Dialect, Expression};
use crate::native::request::Filter;

const TRUE: Result<Option<bool>, Incomparable> = Ok(Some(true));
const FALSE: Result<Option<bool>, Incomparable> = Ok(Some(false));
const UNKNOWN: Result<Option<bool>, Incomparable> = Ok(None);
const FAILS: Result<Option<bool>, Incomparable> = Err(Incomparable);

type Truth = Result<Option<bool>, Incomparable>;

/// Looks at one message with each expression.
fn check(pairs: &[(&str, &str)], expectations: &[(&str, Truth)]) {
    let properties = encoded(pairs);
    for (text, expected) in expectations {
        let filter = SqlFilter::new(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.truth(&properties), *expected, "{text} of {pairs:?}");
        assert_eq!(filter.matches(&properties), *expected == TRUE, "{text}");
    }
}

/// How an expression was understood.
fn understood(text: &str) -> String {
    Expression::parse(text, Dialect::RocketMq)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .to_string()
}

#[test]
fn keywords_have_no_case_and_names_do() {
    check(
        &[("a", "x"), ("LIKE", "y"), ("escape", "z")],
        &[
            ("a = 'x' and Not (a Is nUlL) oR fAlSe", TRUE),
            ("a in ('x')", TRUE),
            (
                "a cONTAINS 'x' aND a startsWITH 'x' and a EndsWith 'x'",
                TRUE,
            ),
            ("A IS NULL", TRUE),
            // Not words of this dialect.
            ("LIKE = 'y' AND escape = 'z'", TRUE),
        ],
    );
}

#[test]
fn names_have_dollars_underscores_and_digits() {
    check(
        &[
            ("$a_1", "x"),
            ("_", "y"),
            ("__SHARDINGKEY", "z"),
            ("TAGS", "TagA"),
        ],
        &[
            ("$a_1 = 'x' AND _ = 'y' AND __SHARDINGKEY = 'z'", TRUE),
            ("TAGS = 'TagA'", TRUE),
            ("TAGS IN ('TagB', 'TagA')", TRUE),
        ],
    );
}

#[test]
fn comments_and_blanks_are_passed_over() {
    check(
        &[("a", "x")],
        &[
            (
                "-- first\na = -- second\r\n 'x' -- the last without a line's end",
                TRUE,
            ),
            ("/* one */a/**/=/* *** / ' -- \n */'x'/***/", TRUE),
            ("\t\n\r\x0c a='x'AND\na IN('x')", TRUE),
            ("a = '-- x' OR a = '/* x */'", FALSE),
        ],
    );
}

#[test]
fn numbers_are_written_as_rocketmq_writes_them() {
    for (text, expected) in [
        ("a = 0", "a = 0"),
        ("a = 5L", "a = 5"),
        ("a = 5l", "a = 5"),
        ("a = 2147483648", "a = 2147483648"),
        ("a = 9223372036854775807", "a = 9223372036854775807"),
        ("a = 1.5", "a = 1.5"),
        ("a = 5.", "a = 5.0"),
        ("a = .5", "a = 0.5"),
        ("a = 5e3", "a = 5000.0"),
        ("a = 5.E-3", "a = 0.005"),
        ("a = 00.5", "a = 0.5"),
        ("a = 1e300", "a = 1e300"),
        ("a = 5e-324", "a = 5e-324"),
        ("a=1and b=2", "a = 1 AND b = 2"),
        ("a = -5", "a = (-5)"),
        ("a = - + - 5", "a = (-(-5))"),
        ("a = 'it''s'", "a = 'it''s'"),
        ("a = ''''", "a = ''''"),
    ] {
        assert_eq!(understood(text), expected);
    }
}

#[test]
fn operators_bind_as_in_rocketmq() {
    for (text, expected) in [
        ("a = 1 OR b = 2 AND c = 3", "a = 1 OR (b = 2 AND c = 3)"),
        ("a = 1 AND b = 2 AND c = 3", "a = 1 AND b = 2 AND c = 3"),
        ("(a = 1 AND b = 2) AND c = 3", "(a = 1 AND b = 2) AND c = 3"),
        ("a = 1 OR b = 2 OR c = 3", "a = 1 OR b = 2 OR c = 3"),
        // NOT binds tighter than any comparison.
        ("NOT a = 'x'", "(NOT a) = 'x'"),
        ("NOT a IS NULL", "(NOT a) IS NULL"),
        ("NOT (a = 'x')", "NOT (a = 'x')"),
        ("NOT a AND b", "NOT a AND b"),
        ("NOT NOT a", "NOT (NOT a)"),
        // Comparisons bind tighter than equality, and both go on to the right.
        ("a = b > 1", "a = (b > 1)"),
        ("a > 1 = TRUE", "(a > 1) = TRUE"),
        ("a = b = c <> d", "((a = b) = c) <> d"),
        ("a = b IS NULL", "(a = b) IS NULL"),
        ("a IS NULL IS NOT NULL", "(a IS NULL) IS NOT NULL"),
        (
            "a CONTAINS 'x' CONTAINS 'y'",
            "(a CONTAINS 'x') CONTAINS 'y'",
        ),
        ("a BETWEEN 1 AND 2 AND b = 3", "a BETWEEN 1 AND 2 AND b = 3"),
        ("((a)) = ('x')", "a = 'x'"),
    ] {
        assert_eq!(understood(text), expected);
    }
}

#[test]
fn a_string_beside_a_number_becomes_one_or_nothing_matches() {
    check(
        &[
            ("i", "42"),
            ("signed", "+042"),
            ("f", "42.5"),
            ("big", "3000000000"),
            ("word", "x"),
            ("blank", " 42 "),
            ("nan", "NaN"),
        ],
        &[
            ("i = 42", TRUE),
            ("42 = i", TRUE),
            ("i <> 42", FALSE),
            ("i > 41 AND i >= 42 AND i < 43 AND i <= 42", TRUE),
            ("41 < i AND 43 > i", TRUE),
            ("signed = 42", TRUE),
            ("i = 42.0", TRUE),
            ("f > 42.0", TRUE),
            // The literal is a 32-bit integer, so the property has to be one.
            ("f > 42", FAILS),
            ("big > 42", FAILS),
            ("big > 2147483648", TRUE),
            ("big = 3000000000", TRUE),
            ("word = 42", FAILS),
            ("word > 42.0", FAILS),
            ("blank = 42", FAILS),
            ("blank = 42.0", TRUE),
            // NaN is above everything, as for Java's `compareTo`.
            ("nan > 1e300", TRUE),
            ("nan < 1e300", FALSE),
            ("i > -5", TRUE),
            ("i = -(-42)", TRUE),
        ],
    );
}

#[test]
fn a_failed_conversion_cannot_be_negated_away() {
    check(
        &[("word", "x"), ("i", "1")],
        &[
            ("NOT (word > 5)", FAILS),
            ("word <> 5", FAILS),
            ("(word > 5) IS NULL", FAILS),
            ("word > 5 OR i = 1", FAILS),
            ("i = 1 AND word > 5", FAILS),
            // It is not looked at once the result is known.
            ("i = 1 OR word > 5", TRUE),
            ("i = 2 AND word > 5", FALSE),
            ("missing > -(word > 5)", UNKNOWN),
            ("word NOT BETWEEN 1 AND 2", FAILS),
        ],
    );
}

#[test]
fn two_strings_are_equal_as_strings_and_ordered_as_numbers() {
    check(
        &[("a", "3.14"), ("b", "3.140"), ("c", "12"), ("word", "x")],
        &[
            ("a = b", FALSE),
            ("a <> b", TRUE),
            ("a = '3.14'", TRUE),
            ("a >= b AND a <= b", TRUE),
            ("c > a", TRUE),
            ("c < a", FALSE),
            ("word > a", FAILS),
            ("word = 'x' AND 'x' = word", TRUE),
            ("word <> 'y'", TRUE),
            ("c BETWEEN a AND c", TRUE),
        ],
    );
}

#[test]
fn booleans_are_read_right_of_equality_only() {
    check(
        &[("yes", "TrUe"), ("no", "false"), ("word", "x")],
        &[
            ("yes = TRUE", TRUE),
            ("yes = FALSE", FALSE),
            ("no = FALSE", TRUE),
            ("no <> TRUE", TRUE),
            // Everything that is not `true` is false.
            ("word = FALSE", TRUE),
            ("word = TRUE", FALSE),
            ("TRUE = yes", FAILS),
            ("FALSE <> no", FAILS),
            ("(word = 'x') = TRUE", TRUE),
            ("(word = 'x') = FALSE", FALSE),
            ("(word = 'x') = yes", FAILS),
            ("yes = (word = 'x')", TRUE),
            ("TRUE = TRUE", TRUE),
            ("5 = TRUE", FALSE),
            ("'true' = TRUE", TRUE),
            ("5 = 'x'", FAILS),
            ("5 = '5'", TRUE),
            ("'5' <> 5.0", FALSE),
        ],
    );
}

#[test]
fn a_property_as_a_condition_is_false_whatever_it_says() {
    check(
        &[("yes", "true"), ("word", "x")],
        &[
            ("yes", FALSE),
            ("word", FALSE),
            ("missing", UNKNOWN),
            ("NOT yes", TRUE),
            ("NOT missing", UNKNOWN),
            ("yes OR word", FALSE),
            // So this compares true with a string.
            ("NOT word = 'x'", FAILS),
            ("NOT word = TRUE", TRUE),
        ],
    );
}

#[test]
fn what_is_missing_is_unknown_left_of_a_comparison_and_not_right_of_equality() {
    check(
        &[("a", "x"), ("n", "5")],
        &[
            ("missing = 'x'", UNKNOWN),
            ("missing <> 'x'", UNKNOWN),
            ("NOT (missing = 'x')", UNKNOWN),
            ("'x' = missing", FALSE),
            ("'x' <> missing", TRUE),
            ("a = missing", FALSE),
            ("a <> missing", TRUE),
            ("missing = a", UNKNOWN),
            ("missing = gone", TRUE),
            ("missing <> gone", FALSE),
            ("missing > 5", UNKNOWN),
            ("5 > missing", UNKNOWN),
            ("n > missing", UNKNOWN),
            ("missing BETWEEN 1 AND 2", UNKNOWN),
            ("missing NOT BETWEEN 1 AND 2", UNKNOWN),
            ("n BETWEEN missing AND 4", FALSE),
            ("n BETWEEN missing AND 6", UNKNOWN),
            ("n NOT BETWEEN missing AND 4", TRUE),
            ("missing IN ('x')", UNKNOWN),
            ("missing NOT IN ('x')", UNKNOWN),
            ("missing IS NULL", TRUE),
            ("missing IS NOT NULL", FALSE),
            ("a IS NULL", FALSE),
            ("a IS NOT NULL", TRUE),
            ("(missing = 'x') IS NULL", TRUE),
            ("(a = 'x') IS NULL", FALSE),
        ],
    );
}

#[test]
fn and_or_and_not_have_three_values() {
    let operands = [
        ("(t = 't')", TRUE),
        ("(t = 'f')", FALSE),
        ("(u = 'u')", UNKNOWN),
    ];
    let (t, f, u) = (TRUE, FALSE, UNKNOWN);
    let and = [[t, f, u], [f, f, f], [u, f, u]];
    let or = [[t, t, t], [t, f, u], [t, u, u]];
    for (row, (left, _)) in operands.iter().enumerate() {
        for (column, (right, _)) in operands.iter().enumerate() {
            check(
                &[("t", "t")],
                &[(&format!("{left} AND {right}"), and[row][column])],
            );
            check(
                &[("t", "t")],
                &[(&format!("{left} OR {right}"), or[row][column])],
            );
        }
    }
    let properties = [("t", "t")];
    check(
        &properties,
        &[
            ("NOT (t = 't')", FALSE),
            ("NOT (t = 'f')", TRUE),
            ("NOT (u = 'u')", UNKNOWN),
        ],
    );
    check(
        &properties,
        &[("TRUE", TRUE), ("FALSE", FALSE), ("NULL", UNKNOWN)],
    );
    check(
        &properties,
        &[
            ("NOT NULL", UNKNOWN),
            ("NULL IS NULL", TRUE),
            ("NULL OR TRUE", TRUE),
        ],
    );
}

#[test]
fn in_takes_strings_as_they_are() {
    let many: Vec<String> = (0..100).map(|n| format!("'{n}'")).collect();
    let many = many.join(", ");
    check(
        &[("a", "5"), ("quoted", "it's")],
        &[
            ("a IN ('4', '5', '5')", TRUE),
            ("a IN ('05', '5.0')", FALSE),
            ("a NOT IN ('4')", TRUE),
            ("a NOT IN ('4', '5')", FALSE),
            ("quoted IN ('it''s')", TRUE),
            (&format!("a IN ({many})"), TRUE),
            (&format!("quoted IN ({many})"), FALSE),
        ],
    );
}

#[test]
fn between_includes_both_bounds() {
    check(
        &[("a", "10"), ("f", "2.5")],
        &[
            ("a BETWEEN 10 AND 20", TRUE),
            ("a BETWEEN 0 AND 10", TRUE),
            ("a BETWEEN 11 AND 20", FALSE),
            ("a NOT BETWEEN 10 AND 20", FALSE),
            ("a NOT BETWEEN 11 AND 20", TRUE),
            ("f BETWEEN 2.5 AND 3.0", TRUE),
            ("a BETWEEN 10 AND 10", TRUE),
            // Only plain constants of BETWEEN without NOT have to be in order.
            ("a BETWEEN 10 AND -10", FALSE),
            ("a NOT BETWEEN 20 AND 5", TRUE),
            ("a BETWEEN 5 AND f", FALSE),
        ],
    );
}

#[test]
fn contains_and_its_like_are_false_for_nothing_negated_or_not() {
    let mut expectations = Vec::new();
    for (word, fitting, other) in [
        ("CONTAINS", "xb", "bx"),
        ("STARTSWITH", "ax", "xb"),
        ("ENDSWITH", "xb", "ax"),
    ] {
        expectations.extend([
            (format!("a {word} '{fitting}'"), TRUE),
            (format!("a {word} '{other}'"), FALSE),
            (format!("a NOT {word} '{fitting}'"), FALSE),
            (format!("a NOT {word} '{other}'"), TRUE),
            (format!("a {word} ''"), FALSE),
            (format!("a NOT {word} ''"), FALSE),
            (format!("missing {word} 'x'"), FALSE),
            (format!("missing NOT {word} 'x'"), FALSE),
            (format!("NOT (missing {word} 'x')"), TRUE),
            (format!("'axb' {word} '{fitting}'"), TRUE),
            (format!("5 NOT {word} 'x'"), FALSE),
            (format!("(a = 'axb') {word} 'x'"), FALSE),
        ]);
    }
    expectations.push(("a STARTSWITH 'AX'".to_owned(), FALSE));
    let expectations: Vec<_> = expectations
        .iter()
        .map(|(text, truth)| (text.as_str(), *truth))
        .collect();
    check(&[("a", "axb")], &expectations);
}

#[test]
fn the_minus_of_a_property_is_unknown() {
    check(
        &[("a", "5")],
        &[
            ("-a = -5", UNKNOWN),
            ("a > -a", UNKNOWN),
            ("-a IS NULL", TRUE),
            ("+a = 5", TRUE),
            ("-'x' IS NULL", TRUE),
            ("-TRUE IS NULL", TRUE),
        ],
    );
}

#[test]
fn of_properties_with_one_name_the_last_counts() {
    check(
        &[("a", "x"), ("a", "y")],
        &[("a = 'y'", TRUE), ("a = 'x'", FALSE)],
    );
}

#[test]
fn properties_are_read_as_rocketmq_reads_them() {
    let sql = |text: &str| CompiledFilter::new(&Filter::Sql(text.to_owned())).unwrap();
    for (properties, text, expected) in [
        (&b"a\x01x"[..], "a = 'x'", true),
        (b"a\x01\x02", "a IS NULL", true),
        (b"a\x02x\x01", "a IS NULL", true),
        (b"\x01x\x02a\x01y\x02", "a = 'y'", true),
        (b"a\x01x\x01y\x02", "a ENDSWITH 'y'", true),
        (b"", "a IS NULL", true),
        // Not UTF-8: there, and equal to nothing.
        (b"a\x01\xff\x02", "a IS NOT NULL", true),
        (b"a\x01\xff\x02", "a <> 'x'", true),
        (b"a\x01\xff\x02", "a > 5", false),
    ] {
        assert_eq!(
            sql(text).matches(properties),
            expected,
            "{text} of {properties:?}"
        );
    }
}

#[test]
fn an_expression_can_name_many_properties() {
    let terms: Vec<String> = (0..64).map(|n| format!("p{n} = 'v{n}'")).collect();
    let values: Vec<(String, String)> = (0..64)
        .map(|n| (format!("p{n}"), format!("v{n}")))
        .collect();
    let mut pairs: Vec<(&str, &str)> = values
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let all = terms.join(" AND ");
    check(&pairs, &[(&all, TRUE)]);
    pairs[63].1 = "other";
    check(&pairs, &[(&all, FALSE)]);
}
