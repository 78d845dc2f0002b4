//! Two values beside each other.

use std::cmp::Ordering;

use super::convert::{boolean, compare_doubles, fraction, whole};
use super::node::{Arithmetic, Comparison};

/// A value while an expression is evaluated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Operand<'a> {
    /// Missing or unknown.
    Null,
    Bool(bool),
    /// RocketMQ only: a number that strings beside it have to fit as 32 bits.
    Integer(i32),
    Long(i64),
    Double(f64),
    Text(&'a str),
}

/// RocketMQ could not make one value comparable with the other. Nothing is true of the message, whatever is negated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incomparable;

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }

    fn is_equality(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual)
    }
}

/// RocketMQ's comparison.
///
/// A missing value left of `=` makes it unknown, right of it false, and on both sides true. Beside an ordering it is
/// unknown on either side.
pub(super) fn rocketmq(
    operator: Comparison,
    left: Operand<'_>,
    right: Operand<'_>,
) -> Result<Option<bool>, Incomparable> {
    let ordering = match (left, right) {
        (Operand::Null, Operand::Null) if operator.is_equality() => Ordering::Equal,
        (Operand::Null, _) => return Ok(None),
        (_, Operand::Null) if operator.is_equality() => Ordering::Less,
        (_, Operand::Null) => return Ok(None),
        (Operand::Text(left), Operand::Text(right)) if !operator.is_equality() => {
            let left = fraction(left).ok_or(Incomparable)?;
            compare_doubles(left, fraction(right).ok_or(Incomparable)?)
        }
        (left, right) => rocketmq_order(left, right)?,
    };
    Ok(Some(operator.holds(ordering)))
}

/// The order of two values, of which a string becomes what the other one is.
fn rocketmq_order(left: Operand<'_>, right: Operand<'_>) -> Result<Ordering, Incomparable> {
    Ok(match (left, right) {
        (Operand::Text(left), Operand::Text(right)) => left.cmp(right),
        (Operand::Bool(left), Operand::Bool(right)) => left.cmp(&right),
        (Operand::Text(left), Operand::Bool(right)) => boolean(left).cmp(&right),
        // RocketMQ means to convert here as well, and fails by casting the wrong side.
        (Operand::Bool(_), Operand::Text(_)) => return Err(Incomparable),
        (Operand::Text(left), Operand::Integer(right)) => {
            whole::<i32>(left).ok_or(Incomparable)?.cmp(&right)
        }
        (Operand::Text(left), Operand::Long(right)) => {
            whole::<i64>(left).ok_or(Incomparable)?.cmp(&right)
        }
        (Operand::Text(left), Operand::Double(right)) => {
            compare_doubles(fraction(left).ok_or(Incomparable)?, right)
        }
        (_, Operand::Text(_)) => rocketmq_order(right, left)?.reverse(),
        (left, right) => match (number(left), number(right)) {
            (Some(left), Some(right)) => left.order(right),
            // A boolean beside a number is below it, on either side.
            _ => Ordering::Less,
        },
    })
}

/// JMS's comparison: a missing value makes it unknown, values of different kinds make it false, and strings and booleans
/// have no order.
pub(super) fn jms(operator: Comparison, left: Operand<'_>, right: Operand<'_>) -> Option<bool> {
    if left == Operand::Null || right == Operand::Null {
        return None;
    }
    if let (Some(left), Some(right)) = (number(left), number(right)) {
        let is_unequal = operator == Comparison::NotEqual;
        // NaN is unequal to everything and has no order.
        return Some(
            left.partial(right)
                .map_or(is_unequal, |ordering| operator.holds(ordering)),
        );
    }
    let is_equal = match (left, right) {
        (Operand::Text(left), Operand::Text(right)) => left == right,
        (Operand::Bool(left), Operand::Bool(right)) => left == right,
        _ => return Some(false),
    };
    Some(match operator {
        Comparison::Equal => is_equal,
        Comparison::NotEqual => !is_equal,
        _ => false,
    })
}

/// `left operator right` with Java's promotion of numbers: whole numbers wrap and lose the remainder. What is not a number
/// and a division of whole numbers by zero are unknown.
pub(super) fn arithmetic<'a>(
    operator: Arithmetic,
    left: Operand<'_>,
    right: Operand<'_>,
) -> Operand<'a> {
    match (number(left), number(right)) {
        (Some(Number::Whole(left)), Some(Number::Whole(right))) => {
            let result = match operator {
                Arithmetic::Add => Some(left.wrapping_add(right)),
                Arithmetic::Subtract => Some(left.wrapping_sub(right)),
                Arithmetic::Multiply => Some(left.wrapping_mul(right)),
                Arithmetic::Divide if right == 0 => None,
                Arithmetic::Divide => Some(left.wrapping_div(right)),
            };
            result.map_or(Operand::Null, Operand::Long)
        }
        (Some(left), Some(right)) => {
            let (left, right) = (left.promoted(), right.promoted());
            Operand::Double(match operator {
                Arithmetic::Add => left + right,
                Arithmetic::Subtract => left - right,
                Arithmetic::Multiply => left * right,
                Arithmetic::Divide => left / right,
            })
        }
        _ => Operand::Null,
    }
}

/// Unary minus. What is not a number is unknown: RocketMQ does not convert here, so the minus of a property always is.
pub(super) fn negated<'a>(operand: Operand<'_>) -> Operand<'a> {
    match operand {
        Operand::Integer(number) => Operand::Integer(number.wrapping_neg()),
        Operand::Long(number) => Operand::Long(number.wrapping_neg()),
        Operand::Double(number) => Operand::Double(-number),
        Operand::Null | Operand::Bool(_) | Operand::Text(_) => Operand::Null,
    }
}

#[derive(Clone, Copy)]
enum Number {
    Whole(i64),
    Fractional(f64),
}

fn number(operand: Operand<'_>) -> Option<Number> {
    match operand {
        Operand::Integer(number) => Some(Number::Whole(number.into())),
        Operand::Long(number) => Some(Number::Whole(number)),
        Operand::Double(number) => Some(Number::Fractional(number)),
        Operand::Null | Operand::Bool(_) | Operand::Text(_) => None,
    }
}

impl Number {
    fn promoted(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Fractional(number) => number,
        }
    }

    fn order(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Whole(left), Self::Whole(right)) => left.cmp(&right),
            _ => compare_doubles(self.promoted(), other.promoted()),
        }
    }

    fn partial(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(left), Self::Whole(right)) => Some(left.cmp(&right)),
            _ => self.promoted().partial_cmp(&other.promoted()),
        }
    }
}
