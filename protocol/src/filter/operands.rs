//! What an operator refuses to be applied to, before any message is seen.
//!
//! RocketMQ looks at constants and conditions only; what properties hold is seen when a message is.

use super::Dialect;
use super::error::{FilterError, shortened};
use super::node::{Literal, Node};
use super::print::Printed;

/// A piece of an expression and where it came from.
pub(super) struct Parsed {
    pub(super) node: Node,
    /// Its first character, counted from 1.
    pub(super) position: usize,
    /// Levels of nodes, itself included.
    pub(super) depth: usize,
}

impl Parsed {
    /// Refuses what is neither a condition nor a property, which could hold a boolean.
    pub(super) fn condition(self, names: &[Box<str>]) -> Result<Self, FilterError> {
        if self.node.is_condition() || matches!(self.node, Node::Property(_)) {
            return Ok(self);
        }
        Err(self.refused(names, "a condition, which is true or false"))
    }

    /// Refuses what has no order: strings, booleans, `NULL` and conditions.
    pub(super) fn number(self, names: &[Box<str>]) -> Result<Self, FilterError> {
        if self.node.is_condition() || matches!(self.node, Node::Literal(Literal::Text(_))) {
            return Err(self.refused(names, "a number or a property"));
        }
        Ok(self)
    }

    /// The slot of a property, which alone can stand left of some operators.
    pub(super) fn property(self, names: &[Box<str>]) -> Result<usize, FilterError> {
        match self.node {
            Node::Property(slot) => Ok(slot),
            _ => Err(self.refused(names, "a property left of this operator")),
        }
    }

    fn refused(&self, names: &[Box<str>], expected: &'static str) -> FilterError {
        FilterError::Operand {
            position: self.position,
            found: self.printed(names),
            expected,
        }
    }

    fn printed(&self, names: &[Box<str>]) -> String {
        let node = &self.node;
        shortened(&Printed { node, names }.to_string())
    }
}

/// Refuses `NULL` beside `=` and `<>`, and in RocketMQ's dialect a boolean left of another kind of constant.
pub(super) fn check_equality(
    left: &Parsed,
    right: &Parsed,
    dialect: Dialect,
    names: &[Box<str>],
) -> Result<(), FilterError> {
    for side in [left, right] {
        if side.node == Node::Literal(Literal::Null) {
            return Err(side.refused(names, "a value here, or IS NULL as the operator"));
        }
    }
    if let (Dialect::RocketMq, Node::Literal(Literal::Bool(_)), Node::Literal(constant)) =
        (dialect, &left.node, &right.node)
        && !matches!(constant, Literal::Bool(_))
    {
        return Err(right.refused(names, "TRUE, FALSE or a property beside a boolean"));
    }
    Ok(())
}

/// Refuses two constants of which the first is larger. RocketMQ compares neither signed numbers, which are expressions to
/// it, nor the constants of `NOT BETWEEN`.
pub(super) fn check_between(
    low: &Parsed,
    high: &Parsed,
    names: &[Box<str>],
) -> Result<(), FilterError> {
    let number = |node: &Node| match node {
        Node::Literal(Literal::Integer(number)) => Some(Constant::Whole((*number).into())),
        Node::Literal(Literal::Long(number)) => Some(Constant::Whole(*number)),
        Node::Literal(Literal::Double(number)) => Some(Constant::Fractional(*number)),
        _ => None,
    };
    let (Some(first), Some(second)) = (number(&low.node), number(&high.node)) else {
        return Ok(());
    };
    if first.is_above(second) {
        return Err(FilterError::BetweenOrder {
            position: low.position,
            low: low.printed(names),
            high: high.printed(names),
        });
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Constant {
    Whole(i64),
    Fractional(f64),
}

impl Constant {
    fn is_above(self, other: Self) -> bool {
        match (self, other) {
            (Self::Whole(left), Self::Whole(right)) => left > right,
            _ => self.rounded() > other.rounded(),
        }
    }

    fn rounded(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Fractional(number) => number,
        }
    }
}
