//! What is not an expression, and what the error says.

use crate::filter::{
    Dialect, Expression, FilterError, MAX_DEPTH, MAX_EXPRESSION_BYTES, MAX_NAMED_PROPERTIES,
    MAX_NESTING, MAX_PATTERN_CHARS,
};

fn refused(text: &str, dialect: Dialect) -> FilterError {
    match Expression::parse(text, dialect) {
        Ok(expression) => panic!("{text} was understood as {expression}"),
        Err(error) => error,
    }
}

fn check(dialect: Dialect, expectations: &[(&str, usize, &str)]) {
    for (text, position, message) in expectations {
        let error = refused(text, dialect);
        assert_eq!(error.position(), Some(*position), "{text}: {error}");
        assert!(error.to_string().contains(message), "{text}: {error}");
    }
}

#[test]
fn a_message_names_the_place_what_is_there_and_what_could_be() {
    assert_eq!(
        refused("price > 5 AND", Dialect::RocketMq).to_string(),
        "character 14: found the end, expected a property, a literal or ("
    );
    assert_eq!(
        refused("größe = ?", Dialect::Jms).to_string(),
        "character 9: found '?', expected a name, a literal or an operator"
    );
    let long = format!("a = 1 '{}'", "x".repeat(100));
    assert_eq!(
        refused(&long, Dialect::Jms).to_string(),
        format!(
            "character 7: found '{}…, expected an operator or the end",
            "x".repeat(39)
        )
    );
}

#[test]
fn syntax_errors_of_both_dialects_are_seen_where_they_are() {
    for dialect in [Dialect::RocketMq, Dialect::Jms] {
        check(
            dialect,
            &[
                ("a =", 4, "the end"),
                ("= a", 1, "found ="),
                ("a = 1 b", 7, "found b, expected an operator or the end"),
                ("a = 1 AND OR b = 2", 11, "found OR"),
                ("a = 1)", 6, "found ), expected an operator or the end"),
                ("(a = 1", 7, "expected an operator or )"),
                ("()", 2, "found )"),
                ("a IS 5", 6, "expected NULL or NOT NULL"),
                ("a IS NOT 5", 10, "expected NULL"),
                ("a NOT = 5", 7, "after this NOT"),
                ("a BETWEEN 1 OR 2", 13, "expected AND and the upper bound"),
                ("a BETWEEN 1", 12, "expected AND"),
                ("a IN 'x'", 6, "expected ( and a list"),
                ("a IN ()", 7, "expected a string"),
                ("a IN ('x' 'y')", 11, "expected , or )"),
                ("a IN ('x', 5)", 12, "expected a string"),
                ("a IN (b)", 7, "expected a string"),
                ("a and between 2 and 10", 7, "found between"),
                ("a == 5", 4, "found ="),
                ("a = 'x", 5, "a single quote after the string"),
                ("a = 'x''", 5, "a single quote"),
                ("a != 5", 3, "found '!'"),
                ("a = 1;", 6, "found ';'"),
                ("a.b = 1", 2, "found '.'"),
                ("a = \u{a0}1", 5, "found"),
                ("a\0 = 1", 2, "found"),
            ],
        );
    }
}

#[test]
fn each_dialect_refuses_what_only_the_other_has() {
    check(
        Dialect::RocketMq,
        &[
            ("a LIKE 'x'", 3, "found LIKE"),
            ("a + 1 = 2", 3, "found +"),
            ("a * 2 = 2", 3, "found '*'"),
            ("größe = 1", 3, "found 'ö'"),
            ("a = 0x1F", 6, "found x1F"),
            ("a = 017", 6, "found 17"),
            ("a = 0L", 6, "found L"),
            ("a = 1.5f", 8, "found f"),
            ("a = 1 /* open", 7, "expected */ after the comment"),
            ("a CONTAINS b", 12, "found b, expected a string"),
            ("a STARTSWITH 5", 14, "found 5, expected a string"),
            ("a ENDSWITH", 11, "the end"),
            ("a = --5", 8, "the end"),
        ],
    );
    check(
        Dialect::Jms,
        &[
            ("a CONTAINS 'x'", 3, "found CONTAINS"),
            ("a = 1 -- b c", 12, "found c"),
            ("/* comment */ a = 1", 1, "found /"),
            ("a = NULL", 5, "found NULL"),
            ("NULL IS NULL", 1, "found NULL"),
            ("a = NOT b", 5, "found NOT"),
            ("a LIKE b", 8, "found b, expected a string"),
            ("a LIKE 'x' ESCAPE 'xy'", 19, "one character in quotes"),
            ("a LIKE 'x' ESCAPE ''", 19, "one character in quotes"),
            (
                "a LIKE 'x!' ESCAPE '!'",
                8,
                "a character after every escape",
            ),
        ],
    );
}

#[test]
fn numbers_outside_their_range_are_refused() {
    check(
        Dialect::RocketMq,
        &[
            ("a > 9223372036854775808", 5, "up to 9223372036854775807"),
            ("a > -9223372036854775808", 6, "up to 9223372036854775807"),
            (
                "a > 100000000000000000000000",
                5,
                "found 100000000000000000000000",
            ),
            ("a > 0.0", 5, "zero is written 0"),
            ("a > 1e-400", 5, "from 5e-324"),
            ("a > 1e400", 5, "from 5e-324"),
        ],
    );
    check(
        Dialect::Jms,
        &[
            ("a > 9223372036854775808", 5, "a minus before this number"),
            ("a > 9223372036854775809", 5, "a whole number from"),
            ("a > -9223372036854775809", 6, "a whole number from"),
            ("a > 0xFFFFFFFFFFFFFFFF", 5, "a whole number from"),
            ("a > 089", 5, "only digits from 0 to 7"),
            ("a > 1e400", 5, "up to 1.79"),
        ],
    );
}

#[test]
fn operands_that_cannot_be_compared_are_refused() {
    check(
        Dialect::RocketMq,
        &[
            ("a > 'x'", 5, "found 'x', expected a number or a property"),
            ("TRUE < a", 1, "found TRUE"),
            ("a >= NULL", 6, "found NULL"),
            ("a > 1 > 2", 1, "found a > 1"),
            ("a BETWEEN 'x' AND 'y'", 11, "found 'x'"),
            ("a BETWEEN 1 AND TRUE", 17, "found TRUE"),
            ("'x' BETWEEN 1 AND 2", 1, "found 'x'"),
            ("a NOT BETWEEN NULL AND 2", 15, "found NULL"),
            (
                "a BETWEEN 10 AND 0",
                11,
                "found BETWEEN 10 AND 0, expected the smaller number first",
            ),
            ("a BETWEEN 1.5 AND 1", 11, "swap them"),
            ("a = NULL", 5, "IS NULL as the operator"),
            ("NULL <> a", 1, "IS NULL as the operator"),
            ("TRUE = 5", 8, "found 5, expected TRUE, FALSE or a property"),
            ("FALSE <> 'x'", 10, "found 'x'"),
            ("5 IN ('x')", 1, "found 5, expected a property"),
            ("'x' NOT IN ('x')", 1, "expected a property"),
            ("(a = 1) IN ('x')", 1, "found a = 1, expected a property"),
            ("5", 1, "found 5, expected a condition"),
            ("'x' AND a", 1, "expected a condition"),
            ("a OR 1.5", 6, "expected a condition"),
            ("NOT 5", 5, "expected a condition"),
            ("NOT -a", 5, "found -a, expected a condition"),
            ("-a", 1, "expected a condition"),
        ],
    );
    check(
        Dialect::Jms,
        &[
            ("a > 'x'", 5, "found 'x', expected a number or a property"),
            ("a + 'x' = 1", 5, "found 'x'"),
            ("TRUE * 2 = 1", 1, "found TRUE"),
            ("-(a = 1) > 2", 2, "found a = 1"),
            ("+'x' = 'x'", 2, "found 'x'"),
            ("a BETWEEN 1 AND (b = 1)", 17, "found b = 1"),
            ("a + 1", 1, "found a + 1, expected a condition"),
            ("NOT 'x'", 5, "expected a condition"),
            ("'x' LIKE 'x'", 1, "expected a property"),
            ("1 IN ('x')", 1, "expected a property"),
            ("a + 1 IS NULL", 1, "found a + 1, expected a property"),
        ],
    );
}

#[test]
fn expressions_have_a_length() {
    let text = |length: usize| format!("a = '{}'", "x".repeat(length - 6));
    for dialect in [Dialect::RocketMq, Dialect::Jms] {
        assert!(Expression::parse(&text(MAX_EXPRESSION_BYTES), dialect).is_ok());
        let length = MAX_EXPRESSION_BYTES + 1;
        assert_eq!(
            refused(&text(length), dialect),
            FilterError::TooLong { length }
        );
    }
}

#[test]
fn expressions_name_so_many_properties() {
    let text = |count: usize| {
        let terms: Vec<String> = (0..count)
            .map(|n| format!("p{n} = 'x' OR p{n} = 'y'"))
            .collect();
        terms.join(" OR ")
    };
    for dialect in [Dialect::RocketMq, Dialect::Jms] {
        let expression = Expression::parse(&text(MAX_NAMED_PROPERTIES), dialect).unwrap();
        assert_eq!(expression.property_names().len(), MAX_NAMED_PROPERTIES);
        let error = refused(&text(MAX_NAMED_PROPERTIES + 1), dialect);
        assert!(matches!(error, FilterError::TooManyProperties { ref name, .. } if name == "p64"));
    }
}

#[test]
fn patterns_have_a_length() {
    let text = |length: usize| format!("a LIKE '{}'", "ö".repeat(length));
    assert!(Expression::parse(&text(MAX_PATTERN_CHARS), Dialect::Jms).is_ok());
    let length = MAX_PATTERN_CHARS + 1;
    let expected = FilterError::PatternTooLong {
        position: 8,
        length,
    };
    assert_eq!(refused(&text(length), Dialect::Jms), expected);
}

/// Every way to nest: the dialect, what stands before all levels, before and after each, and inside.
const NESTS: [(Dialect, &str, &str, &str, &str); 10] = [
    (Dialect::RocketMq, "", "(", "a", ")"),
    (Dialect::RocketMq, "", "NOT ", "a", ""),
    (Dialect::RocketMq, "a = ", "- ", "5", ""),
    (Dialect::RocketMq, "a = ", "+", "5", ""),
    (Dialect::RocketMq, "", "", "a", " = b"),
    (Dialect::RocketMq, "", "", "a", " IS NULL"),
    (Dialect::Jms, "", "(", "a", ")"),
    (Dialect::Jms, "", "NOT ", "a", ""),
    (Dialect::Jms, "a = ", "-", "b", ""),
    (Dialect::Jms, "a = b", "", "", " + 1"),
];

#[test]
fn nesting_without_end_is_refused_on_a_small_stack() {
    let checks = || {
        for (dialect, start, before, inside, after) in NESTS {
            let nested = |levels: usize| {
                let (before, after) = (before.repeat(levels), after.repeat(levels));
                format!("{start}{before}{inside}{after}")
            };
            for levels in [MAX_NESTING + 1, 2_000] {
                let error = refused(&nested(levels), dialect);
                assert!(matches!(error, FilterError::TooDeep { .. }), "{error}");
            }
            let text = nested(MAX_DEPTH - 2);
            let expression = Expression::parse(&text, dialect).unwrap();
            let again = Expression::parse(&expression.to_string(), dialect);
            assert_eq!(again, Ok(expression));
        }
    };
    let thread = std::thread::Builder::new().stack_size(1024 * 1024);
    thread.spawn(checks).unwrap().join().unwrap();
}

#[test]
fn the_deepest_tree_can_be_printed_and_parsed() {
    let levels = MAX_DEPTH / 2 - 1;
    let start = "NOT (b = ".repeat(levels);
    let text = format!("{start}(c > 5){}", ")".repeat(levels));
    // JMS wants the parentheses that RocketMQ can do without.
    let text = text.replace("= NOT", "= (NOT");
    let text = format!("{text}{}", ")".repeat(levels - 1));
    for dialect in [Dialect::RocketMq, Dialect::Jms] {
        let expression = Expression::parse(&text, dialect).unwrap();
        let again = Expression::parse(&expression.to_string(), dialect);
        assert_eq!(again.as_ref(), Ok(&expression));
        let error = refused(&format!("a AND ({text})"), dialect);
        assert!(matches!(error, FilterError::TooDeep { .. }), "{error}");
    }
}

#[test]
fn any_number_of_conditions_can_be_joined() {
    for word in [" AND ", " OR "] {
        let text = vec!["a=1"; 1_500].join(word);
        assert!(Expression::parse(&text, Dialect::RocketMq).is_ok());
    }
}
