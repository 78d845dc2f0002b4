//! What holds for every expression and every message.

use proptest::prelude::*;

use super::encoded;
use super::jms::Message;
use super::naive::{Evaluator, Naive, Properties, Thrown, truth};
use super::sketch::{NAMES, TEXTS, sketch};
use crate::filter::compare::Incomparable;
use crate::filter::sql::SqlFilter;
use crate::filter::{CompiledFilter, Dialect, Expression, PropertyValues, Selector, Value};
use crate::native::request::Filter;

const DIALECTS: [Dialect; 2] = [Dialect::RocketMq, Dialect::Jms];

fn strings() -> impl Strategy<Value = Properties> {
    let text = prop::sample::select(&TEXTS[..]).prop_map(|text| Naive::Text(text.to_owned()));
    let name = prop::sample::select(&NAMES[..]);
    prop::collection::btree_map(name, text, 0..=NAMES.len())
}

fn typed() -> impl Strategy<Value = Properties> {
    let value = prop_oneof![
        any::<bool>().prop_map(Naive::Bool),
        prop::sample::select(vec![0, 5, -7, i64::MIN, i64::MAX]).prop_map(Naive::Long),
        prop::sample::select(vec![0.0, -0.0, 5.0, f64::NAN, f64::INFINITY]).prop_map(Naive::Double),
        prop::sample::select(&TEXTS[..]).prop_map(|text| Naive::Text(text.to_owned())),
    ];
    let name = prop::sample::select(&NAMES[..]);
    prop::collection::btree_map(name, value, 0..=NAMES.len())
}

/// Words and marks in any order, which go further into the parser than text at random.
fn token_soup() -> impl Strategy<Value = String> {
    let tokens = vec![
        "a",
        "b",
        "$",
        "'x'",
        "''",
        "'",
        "5",
        "0",
        "5.5",
        "9223372036854775808",
        "0x1F",
        "1e",
        ".",
        "=",
        "<>",
        "<",
        "<=",
        ">",
        ">=",
        "(",
        ")",
        ",",
        "+",
        "-",
        "*",
        "/",
        "NOT",
        "AND",
        "OR",
        "BETWEEN",
        "IN",
        "TRUE",
        "NULL",
        "IS",
        "CONTAINS",
        "STARTSWITH",
        "LIKE",
        "ESCAPE",
        "--",
        "/*",
        "*/",
        "\n",
        "ö",
        "😀",
        "!",
    ];
    prop::collection::vec(prop::sample::select(tokens), 0..24).prop_map(|tokens| tokens.join(" "))
}

/// Properties that are mostly well formed, and bytes at random.
fn property_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop::sample::select(&b"\x01\x02\x01\x02ab$x5.-\xff\xc3\xb6\x00"[..]);
    prop_oneof![
        prop::collection::vec(byte, 0..64),
        prop::collection::vec(any::<u8>(), 0..64),
    ]
}

struct Nothing;

impl PropertyValues for Nothing {
    fn value(&self, _: &str) -> Option<Value<'_>> {
        None
    }
}

fn value(naive: &Naive) -> Value<'_> {
    match naive {
        Naive::Bool(truth) => Value::Bool(*truth),
        Naive::Long(number) => Value::Int(*number),
        Naive::Double(number) => Value::Float(*number),
        Naive::Text(text) => Value::Str(text),
        Naive::Null | Naive::Int(_) => unreachable!("no property has such a value"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_sql_filter_is_what_the_naive_evaluator_says(
        sketch in sketch(Dialect::RocketMq),
        properties in strings(),
    ) {
        let text = sketch.to_string();
        let evaluator = Evaluator { is_jms: false, properties: &properties };
        let expected = evaluator.value(&sketch).map(truth).map_err(|Thrown| Incomparable);
        let pairs: Vec<(&str, &str)> = properties
            .iter()
            .filter_map(|(name, value)| match value {
                Naive::Text(text) => Some((*name, text.as_str())),
                _ => None,
            })
            .collect();
        let filter = SqlFilter::new(&text).unwrap();
        prop_assert_eq!(filter.truth(&encoded(&pairs)), expected, "{}", text);
    }

    #[test]
    fn a_selector_is_what_the_naive_evaluator_says(
        sketch in sketch(Dialect::Jms),
        properties in typed(),
    ) {
        let text = sketch.to_string();
        let evaluator = Evaluator { is_jms: true, properties: &properties };
        let expected = evaluator.value(&sketch).map(truth).unwrap();
        let values = properties.iter().map(|(name, naive)| (*name, value(naive)));
        let message = Message(values.collect());
        prop_assert_eq!(Selector::new(&text).unwrap().truth(&message), expected, "{}", text);
    }

    #[test]
    fn a_printed_expression_parses_to_the_same_tree(
        sketches in (sketch(Dialect::RocketMq), sketch(Dialect::Jms)),
    ) {
        for (dialect, text) in DIALECTS.into_iter().zip([sketches.0.to_string(), sketches.1.to_string()]) {
            let expression = Expression::parse(&text, dialect).unwrap();
            let printed = expression.to_string();
            prop_assert_eq!(Expression::parse(&printed, dialect), Ok(expression), "{}", printed);
        }
    }

    #[test]
    fn any_text_is_understood_or_refused(text in ".{0,200}", soup in token_soup()) {
        for dialect in DIALECTS {
            for text in [&text, &soup] {
                match Expression::parse(text, dialect) {
                    Ok(expression) => {
                        let again = Expression::parse(&expression.to_string(), dialect);
                        prop_assert_eq!(again, Ok(expression));
                    }
                    Err(error) => {
                        let position = error.position().unwrap();
                        prop_assert!((1..=text.chars().count() + 1).contains(&position), "{}", error);
                    }
                }
            }
        }
    }

    #[test]
    fn any_bytes_can_be_looked_at(
        bytes in property_bytes(),
        sketch in sketch(Dialect::RocketMq),
        soup in token_soup(),
        tags in prop::collection::vec("[ab$x]{1,2}", 1..4),
        code in any::<i64>(),
    ) {
        let _ = Selector::new(&soup).map(|selector| selector.matches(&Nothing));
        for filter in [Filter::All, Filter::Tags(tags), Filter::Sql(sketch.to_string()), Filter::Sql(soup)] {
            if let Ok(filter) = CompiledFilter::new(&filter) {
                filter.may_match_code(code);
                filter.matches(&bytes);
            }
        }
    }

    #[test]
    fn a_message_that_matches_has_a_code_that_may(
        tags in prop::collection::vec(".{1,8}", 1..12),
        tag in "[^\x01\x02]{1,8}",
        pick in any::<prop::sample::Index>(),
        from_filter in any::<bool>(),
    ) {
        let tag = if from_filter { pick.get(&tags).clone() } else { tag };
        let filter = CompiledFilter::new(&Filter::Tags(tags)).unwrap();
        if filter.matches(&encoded(&[("TAGS", &tag)])) {
            prop_assert!(filter.may_match_code(crate::model::tags_code(Some(&tag))));
        }
    }
}
