//! Evaluation without any thought of speed, of a [`Sketch`] over a map.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::sketch::Sketch;

/// A value, as Java's classes have it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Naive {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(String),
}

/// Where RocketMQ throws.
#[derive(Debug, PartialEq)]
pub(super) struct Thrown;

pub(super) type Properties = BTreeMap<&'static str, Naive>;

/// The truth of a condition: a boolean, unknown, or for anything else false.
pub(super) fn truth(value: Naive) -> Option<bool> {
    match value {
        Naive::Null => None,
        Naive::Bool(truth) => Some(truth),
        _ => Some(false),
    }
}

fn from_truth(truth: Option<bool>) -> Naive {
    truth.map_or(Naive::Null, Naive::Bool)
}

fn and(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(true), Some(true)) => Some(true),
        (Some(false), _) | (_, Some(false)) => Some(false),
        _ => None,
    }
}

fn not(truth: Option<bool>) -> Option<bool> {
    truth.map(|truth| !truth)
}

pub(super) struct Evaluator<'p> {
    pub(super) is_jms: bool,
    pub(super) properties: &'p Properties,
}

impl Evaluator<'_> {
    pub(super) fn value(&self, sketch: &Sketch) -> Result<Naive, Thrown> {
        Ok(match sketch {
            Sketch::Null => Naive::Null,
            Sketch::Bool(truth) => Naive::Bool(*truth),
            Sketch::Whole(number) => match i32::try_from(*number) {
                Ok(number) if !self.is_jms => Naive::Int(number),
                _ => Naive::Long(*number),
            },
            Sketch::Fraction(number) => Naive::Double(*number),
            Sketch::Text(text) => Naive::Text((*text).to_owned()),
            Sketch::Property(name) => self.property(name),
            Sketch::Negate(operand) => match self.value(operand)? {
                Naive::Int(number) => Naive::Int(number.wrapping_neg()),
                Naive::Long(number) => Naive::Long(number.wrapping_neg()),
                Naive::Double(number) => Naive::Double(-number),
                _ => Naive::Null,
            },
            Sketch::Arithmetic(left, operator, right) => {
                calculate(self.value(left)?, *operator, self.value(right)?)
            }
            Sketch::Not(operand) => from_truth(not(truth(self.value(operand)?))),
            Sketch::And(parts) => self.and(parts, false)?,
            // a OR b is NOT (NOT a AND NOT b).
            Sketch::Or(parts) => from_truth(not(truth(self.and(parts, true)?))),
            Sketch::Compare(left, operator, right) => self.compare(left, operator, right)?,
            Sketch::Between(value, false, low, high) => {
                let low = Sketch::Compare(value.clone(), ">=", low.clone());
                let high = Sketch::Compare(value.clone(), "<=", high.clone());
                self.value(&Sketch::And(vec![low, high]))?
            }
            Sketch::Between(value, true, low, high) => {
                let low = Sketch::Compare(value.clone(), "<", low.clone());
                let high = Sketch::Compare(value.clone(), ">", high.clone());
                self.value(&Sketch::Or(vec![low, high]))?
            }
            Sketch::In(name, negated, texts) => match self.property(name) {
                Naive::Null => Naive::Null,
                Naive::Text(text) => Naive::Bool(texts.contains(&text.as_str()) != *negated),
                _ => Naive::Bool(false),
            },
            Sketch::IsNull(operand, negated) => {
                Naive::Bool((self.value(operand)? == Naive::Null) != *negated)
            }
            Sketch::Test(operand, negated, word, text) => match self.value(operand)? {
                Naive::Text(value) if !text.is_empty() => {
                    let holds = match *word {
                        "contains" => value.contains(text),
                        "startswith" => value.starts_with(text),
                        _ => value.ends_with(text),
                    };
                    Naive::Bool(holds != *negated)
                }
                _ => Naive::Bool(false),
            },
            Sketch::Like(name, negated, pattern) => match self.property(name) {
                Naive::Null => Naive::Null,
                Naive::Text(text) => {
                    let (pattern, text): (Vec<char>, Vec<char>) =
                        (pattern.chars().collect(), text.chars().collect());
                    Naive::Bool(is_like(&text, &pattern) != *negated)
                }
                _ => Naive::Bool(false),
            },
        })
    }

    fn property(&self, name: &str) -> Naive {
        self.properties.get(name).cloned().unwrap_or(Naive::Null)
    }

    fn and(&self, parts: &[Sketch], negate_parts: bool) -> Result<Naive, Thrown> {
        let mut all = Some(true);
        for part in parts {
            let part = truth(self.value(part)?);
            all = and(all, if negate_parts { not(part) } else { part });
            if all == Some(false) {
                break;
            }
        }
        Ok(from_truth(all))
    }

    fn compare(&self, left: &Sketch, operator: &str, right: &Sketch) -> Result<Naive, Thrown> {
        let (left, right) = (self.value(left)?, self.value(right)?);
        if self.is_jms {
            return Ok(from_truth(compare_jms(&left, operator, &right)));
        }
        if operator == "<>" {
            return Ok(from_truth(not(equal(&left, &right)?)));
        }
        if operator == "=" {
            return Ok(from_truth(equal(&left, &right)?));
        }
        if left == Naive::Null || right == Naive::Null {
            return Ok(Naive::Null);
        }
        let (left, right) = match (&left, &right) {
            (Naive::Text(a), Naive::Text(b)) => {
                (Naive::Double(parse(a)?), Naive::Double(parse(b)?))
            }
            _ => (left, right),
        };
        let sign = order(&left, &right)?;
        Ok(Naive::Bool(match operator {
            "<" => sign < 0,
            "<=" => sign <= 0,
            ">" => sign > 0,
            _ => sign >= 0,
        }))
    }
}

fn equal(left: &Naive, right: &Naive) -> Result<Option<bool>, Thrown> {
    Ok(match (left, right) {
        (Naive::Null, Naive::Null) => Some(true),
        (Naive::Null, _) => None,
        (_, Naive::Null) => Some(false),
        _ => Some(order(left, right)? == 0),
    })
}

/// The sign of Java's `compareTo` after RocketMQ's conversions.
fn order(left: &Naive, right: &Naive) -> Result<i32, Thrown> {
    let ordering = match (left, right) {
        (Naive::Bool(a), Naive::Bool(b)) => a.cmp(b),
        (Naive::Bool(_), Naive::Text(_)) => return Err(Thrown),
        (Naive::Text(a), Naive::Bool(b)) => (a.to_lowercase() == "true").cmp(b),
        (Naive::Bool(_), _) | (_, Naive::Bool(_)) => return Ok(-1),
        (Naive::Text(a), Naive::Text(b)) => a.cmp(b),
        (Naive::Text(a), Naive::Int(b)) => a.parse::<i32>().map_err(|_| Thrown)?.cmp(b),
        (Naive::Text(a), Naive::Long(b)) => a.parse::<i64>().map_err(|_| Thrown)?.cmp(b),
        (Naive::Text(a), Naive::Double(b)) => java(parse(a)?, *b),
        (Naive::Int(a), Naive::Text(b)) => a.cmp(&b.parse::<i32>().map_err(|_| Thrown)?),
        (Naive::Long(a), Naive::Text(b)) => a.cmp(&b.parse::<i64>().map_err(|_| Thrown)?),
        (Naive::Double(a), Naive::Text(b)) => java(*a, parse(b)?),
        _ => match (whole(left), whole(right)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => java(rounded(left), rounded(right)),
        },
    };
    Ok(ordering as i32)
}

/// Enough of Java's reading for the texts that sketches are made of.
fn parse(text: &str) -> Result<f64, Thrown> {
    text.trim().parse().map_err(|_| Thrown)
}

fn java(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right)
        .unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
}

fn whole(value: &Naive) -> Option<i64> {
    match value {
        Naive::Int(number) => Some((*number).into()),
        Naive::Long(number) => Some(*number),
        _ => None,
    }
}

fn rounded(value: &Naive) -> f64 {
    match value {
        Naive::Double(number) => *number,
        _ => whole(value).unwrap() as f64,
    }
}

fn is_number(value: &Naive) -> bool {
    matches!(value, Naive::Int(_) | Naive::Long(_) | Naive::Double(_))
}

fn compare_jms(left: &Naive, operator: &str, right: &Naive) -> Option<bool> {
    if *left == Naive::Null || *right == Naive::Null {
        return None;
    }
    let ordering = match (whole(left), whole(right)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ if is_number(left) && is_number(right) => rounded(left).partial_cmp(&rounded(right)),
        _ => {
            let is_equal = left == right;
            let is_one_kind = std::mem::discriminant(left) == std::mem::discriminant(right);
            return Some(match operator {
                "=" => is_one_kind && is_equal,
                "<>" => is_one_kind && !is_equal,
                _ => false,
            });
        }
    };
    Some(match operator {
        "=" => ordering == Some(Ordering::Equal),
        "<>" => ordering != Some(Ordering::Equal),
        "<" => ordering == Some(Ordering::Less),
        "<=" => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
        ">" => ordering == Some(Ordering::Greater),
        _ => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
    })
}

fn calculate(left: Naive, operator: char, right: Naive) -> Naive {
    if !is_number(&left) || !is_number(&right) {
        return Naive::Null;
    }
    if let (Some(a), Some(b)) = (whole(&left), whole(&right)) {
        // 128 bits hold every result; the lower 64 of them are what wraps around.
        let (a, b) = (i128::from(a), i128::from(b));
        return match operator {
            '+' => Naive::Long((a + b) as i64),
            '-' => Naive::Long((a - b) as i64),
            '*' => Naive::Long((a * b) as i64),
            _ if b == 0 => Naive::Null,
            _ => Naive::Long((a / b) as i64),
        };
    }
    let (a, b) = (rounded(&left), rounded(&right));
    Naive::Double(match operator {
        '+' => a + b,
        '-' => a - b,
        '*' => a * b,
        _ => a / b,
    })
}

fn is_like(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['!', escaped, rest @ ..] => text.first() == Some(escaped) && is_like(&text[1..], rest),
        ['%', rest @ ..] => (0..=text.len()).any(|from| is_like(&text[from..], rest)),
        ['_', rest @ ..] => !text.is_empty() && is_like(&text[1..], rest),
        [this, rest @ ..] => text.first() == Some(this) && is_like(&text[1..], rest),
    }
}
