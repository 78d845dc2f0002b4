//! JMS message selectors.

use super::compare::Operand;
use super::evaluate::{Evaluation, Slots};
use super::{Dialect, Expression, FilterError};

/// The value of a property or header of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A string.
    Str(&'a str),
}

/// What a selector asks about a message.
pub trait PropertyValues {
    /// The value of a property or header, whose names are case-sensitive; `None` where the message has none.
    fn value(&self, name: &str) -> Option<Value<'_>>;
}

/// A JMS message selector, compiled once and asked about every message.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector(Option<Expression>);

impl Selector {
    /// Compiles a selector. A text without anything but blanks selects all messages.
    ///
    /// # Errors
    ///
    /// Whatever is not a selector or exceeds a limit, with the character at which it was seen.
    pub fn new(text: &str) -> Result<Self, FilterError> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        Expression::parse(text, Dialect::Jms).map(|expression| Self(Some(expression)))
    }

    /// Whether the selector is true of a message. False and unknown are not told apart.
    pub fn matches(&self, message: &impl PropertyValues) -> bool {
        self.truth(message) == Some(true)
    }

    pub(super) fn truth(&self, message: &impl PropertyValues) -> Option<bool> {
        let Some(expression) = &self.0 else {
            return Some(true);
        };
        let slots = Message {
            names: &expression.names,
            values: message,
        };
        let evaluation = Evaluation {
            dialect: Dialect::Jms,
            slots: &slots,
        };
        // Only RocketMQ's conversions fail.
        evaluation.truth(&expression.root).unwrap_or_default()
    }

    /// The expression; `None` when all messages are selected.
    pub fn expression(&self) -> Option<&Expression> {
        self.0.as_ref()
    }
}

struct Message<'v, V> {
    names: &'v [Box<str>],
    values: &'v V,
}

impl<'v, V: PropertyValues> Slots<'v> for Message<'v, V> {
    fn operand(&self, slot: usize) -> Operand<'v> {
        let name = self.names.get(slot);
        match name.and_then(|name| self.values.value(name)) {
            None => Operand::Null,
            Some(Value::Bool(truth)) => Operand::Bool(truth),
            Some(Value::Int(number)) => Operand::Long(number),
            Some(Value::Float(number)) => Operand::Double(number),
            Some(Value::Str(text)) => Operand::Text(text),
        }
    }
}
