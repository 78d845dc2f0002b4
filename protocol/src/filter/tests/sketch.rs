//! Random expressions, as a tree of their own that shares nothing with the compiled one.

use std::fmt;

use proptest::prelude::*;

use crate::filter::Dialect;

/// Names that expressions are drawn from.
pub(super) const NAMES: [&str; 4] = ["a", "b", "$c", "d_1"];

/// Texts that values and literals are drawn from: few, so that they often meet.
pub(super) const TEXTS: [&str; 15] = [
    "x",
    "xyz",
    "xy5xxy5xyy",
    "yx%",
    "it's",
    "5",
    "05",
    "5.0",
    " 5",
    "-7",
    "3000000000",
    "true",
    "False",
    "NaN",
    "größe",
];

#[derive(Debug, Clone)]
pub(super) enum Sketch {
    Null,
    Bool(bool),
    Whole(i64),
    Fraction(f64),
    Text(&'static str),
    Property(&'static str),
    Negate(Box<Sketch>),
    Arithmetic(Box<Sketch>, char, Box<Sketch>),
    Not(Box<Sketch>),
    And(Vec<Sketch>),
    Or(Vec<Sketch>),
    Compare(Box<Sketch>, &'static str, Box<Sketch>),
    Between(Box<Sketch>, bool, Box<Sketch>, Box<Sketch>),
    In(&'static str, bool, Vec<&'static str>),
    IsNull(Box<Sketch>, bool),
    Test(Box<Sketch>, bool, &'static str, &'static str),
    Like(&'static str, bool, String),
}

/// With parentheses around every operand.
impl fmt::Display for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let not = |negated: &bool| if *negated { "NOT " } else { "" };
        let joined = |parts: &[Self], word: &str| {
            let parts: Vec<String> = parts.iter().map(|part| format!("({part})")).collect();
            parts.join(word)
        };
        match self {
            Self::Null => write!(f, "null"),
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::Whole(number) => write!(f, "{number}"),
            Self::Fraction(number) => write!(f, "{number:e}"),
            Self::Text(text) => write!(f, "{}", quoted(text)),
            Self::Property(name) => write!(f, "{name}"),
            Self::Negate(operand) => write!(f, "-({operand})"),
            Self::Arithmetic(left, operator, right) => write!(f, "({left}) {operator} ({right})"),
            Self::Not(operand) => write!(f, "not ({operand})"),
            Self::And(parts) => write!(f, "{}", joined(parts, " and ")),
            Self::Or(parts) => write!(f, "{}", joined(parts, " or ")),
            Self::Compare(left, operator, right) => write!(f, "({left}) {operator} ({right})"),
            Self::Between(value, negated, low, high) => {
                write!(f, "({value}) {}between ({low}) and ({high})", not(negated))
            }
            Self::In(name, negated, texts) => {
                let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                write!(f, "{name} {}in ({})", not(negated), texts.join(","))
            }
            Self::IsNull(operand, negated) => write!(f, "({operand}) is {}null", not(negated)),
            Self::Test(operand, negated, word, text) => {
                write!(f, "({operand}) {}{word} {}", not(negated), quoted(text))
            }
            Self::Like(name, negated, pattern) => {
                write!(
                    f,
                    "{name} {}like {} escape '!'",
                    not(negated),
                    quoted(pattern)
                )
            }
        }
    }
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn text() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&TEXTS[..])
}

fn property() -> impl Strategy<Value = Sketch> {
    name().prop_map(Sketch::Property)
}

/// Properties and numbers, signed and calculated with.
fn number(dialect: Dialect) -> BoxedStrategy<Sketch> {
    let leaf = prop_oneof![
        3 => property(),
        1 => prop::sample::select(vec![0, 5, 7, 3_000_000_000, i64::MAX]).prop_map(Sketch::Whole),
        1 => prop::sample::select(vec![0.5, 5.0, 1e300]).prop_map(Sketch::Fraction),
    ];
    let inner = leaf.prop_recursive(3, 8, 2, move |inner| {
        let negated = inner
            .clone()
            .prop_map(|operand| Sketch::Negate(operand.into()));
        let calculated = (
            inner.clone(),
            prop::sample::select(vec!['+', '-', '*', '/']),
            inner,
        )
            .prop_map(|(left, operator, right)| {
                Sketch::Arithmetic(left.into(), operator, right.into())
            });
        match dialect {
            Dialect::RocketMq => negated.boxed(),
            Dialect::Jms => prop_oneof![negated, calculated].boxed(),
        }
    });
    inner.boxed()
}

/// A comparison that the dialect accepts.
fn comparison(dialect: Dialect) -> BoxedStrategy<Sketch> {
    let any_value = || {
        prop_oneof![
            2 => number(dialect),
            2 => text().prop_map(Sketch::Text),
            1 => any::<bool>().prop_map(Sketch::Bool),
        ]
    };
    let equal = (
        any_value(),
        prop::sample::select(vec!["=", "<>"]),
        any_value(),
    )
        .prop_filter("a boolean left of another constant", |(left, _, right)| {
            let is_constant = matches!(
                right,
                Sketch::Whole(_) | Sketch::Fraction(_) | Sketch::Text(_)
            );
            !(matches!(left, Sketch::Bool(_)) && is_constant)
        });
    let ordered = prop::sample::select(vec!["<", "<=", ">", ">="]);
    let ordered = (number(dialect), ordered, number(dialect));
    let compared = prop_oneof![equal, ordered]
        .prop_map(|(left, operator, right)| Sketch::Compare(left.into(), operator, right.into()));
    let between = (number(dialect), any::<bool>(), number(dialect), property());
    let between = between.prop_map(|(value, negated, low, high)| {
        Sketch::Between(value.into(), negated, low.into(), high.into())
    });
    let is_in = (name(), any::<bool>(), prop::collection::vec(text(), 1..12))
        .prop_map(|(name, negated, texts)| Sketch::In(name, negated, texts));
    let is_null = match dialect {
        Dialect::RocketMq => any_value().boxed(),
        Dialect::Jms => property().boxed(),
    };
    let is_null = (is_null, any::<bool>())
        .prop_map(|(operand, negated)| Sketch::IsNull(operand.into(), negated));
    let like = (name(), any::<bool>(), "([xy5%_]|!%|!!){0,6}")
        .prop_map(|(name, negated, pattern)| Sketch::Like(name, negated, pattern));
    let words = prop::sample::select(vec!["contains", "startswith", "endswith"]);
    let needles = prop::sample::select(vec!["", "x", "5", "0", "x%", "xyz"]);
    let test =
        (any_value(), any::<bool>(), words, needles).prop_map(|(operand, negated, word, text)| {
            Sketch::Test(operand.into(), negated, word, text)
        });
    match dialect {
        Dialect::RocketMq => {
            prop_oneof![6 => compared, 2 => between, 1 => is_in, 1 => is_null, 2 => test].boxed()
        }
        Dialect::Jms => {
            prop_oneof![6 => compared, 2 => between, 1 => is_in, 1 => is_null, 2 => like].boxed()
        }
    }
}

/// A whole expression.
pub(super) fn sketch(dialect: Dialect) -> BoxedStrategy<Sketch> {
    let constant = any::<bool>().prop_map(Sketch::Bool);
    let constant = match dialect {
        Dialect::RocketMq => prop_oneof![constant, Just(Sketch::Null)].boxed(),
        Dialect::Jms => constant.boxed(),
    };
    let leaf = prop_oneof![8 => comparison(dialect), 1 => property(), 1 => constant];
    let whole = leaf.prop_recursive(4, 32, 4, |inner| {
        let several = || prop::collection::vec(inner.clone(), 2..4);
        let not_null = inner
            .clone()
            .prop_filter("NULL beside =", |side| !matches!(side, Sketch::Null));
        let equal = (
            not_null.clone(),
            prop::sample::select(vec!["=", "<>"]),
            not_null,
        );
        prop_oneof![
            several().prop_map(Sketch::And),
            several().prop_map(Sketch::Or),
            inner
                .clone()
                .prop_map(|operand| Sketch::Not(operand.into())),
            equal.prop_map(|(left, operator, right)| Sketch::Compare(
                left.into(),
                operator,
                right.into()
            )),
        ]
    });
    whole.boxed()
}
