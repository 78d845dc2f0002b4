//! RocketMQ's SQL92 filter over properties as a record holds them.

use super::compare::{Incomparable, Operand};
use super::evaluate::{Evaluation, Slots};
use super::{Dialect, Expression, FilterError, MAX_NAMED_PROPERTIES};
use crate::model::property_pairs;

/// Expressions that name at most so many properties get along with a short array.
const FEW: usize = 8;

/// Stands for a value that is not UTF-8, in which RocketMQ reads this character for every such byte: it is there, and is
/// neither a number nor what an expression would compare with.
const NOT_UTF8: &str = "\u{FFFD}";

/// An SQL92 expression, ready to look at messages.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SqlFilter {
    expression: Expression,
    /// Bit n is set when a property of n bytes, or of n + 64 and so on, is named: most others are passed over by it.
    name_lengths: u64,
}

impl SqlFilter {
    pub(super) fn new(text: &str) -> Result<Self, FilterError> {
        let expression = Expression::parse(text, Dialect::RocketMq)?;
        let bits = expression.names.iter().map(|name| length_bit(name.len()));
        let name_lengths = bits.fold(0, |all, bit| all | bit);
        Ok(Self {
            expression,
            name_lengths,
        })
    }

    pub(super) fn expression(&self) -> &Expression {
        &self.expression
    }

    /// Whether the expression is true of a message with these properties. Unknown is not, and neither is a comparison that
    /// fails.
    pub(super) fn matches(&self, encoded_properties: &[u8]) -> bool {
        self.truth(encoded_properties) == Ok(Some(true))
    }

    pub(super) fn truth(&self, encoded_properties: &[u8]) -> Result<Option<bool>, Incomparable> {
        if self.expression.names.len() <= FEW {
            self.truth_of(&self.collect::<FEW>(encoded_properties))
        } else {
            self.truth_of(&self.collect::<MAX_NAMED_PROPERTIES>(encoded_properties))
        }
    }

    fn truth_of<const SLOTS: usize>(
        &self,
        values: &Values<'_, SLOTS>,
    ) -> Result<Option<bool>, Incomparable> {
        let evaluation = Evaluation {
            dialect: Dialect::RocketMq,
            slots: values,
        };
        evaluation.truth(&self.expression.root)
    }

    /// The values of the named properties, in one pass. Of several with one name the last one counts, as in RocketMQ.
    fn collect<'p, const SLOTS: usize>(&self, encoded_properties: &'p [u8]) -> Values<'p, SLOTS> {
        let mut values = Values([None; SLOTS]);
        for (name, value) in property_pairs(encoded_properties) {
            if self.name_lengths & length_bit(name.len()) == 0 {
                continue;
            }
            let mut slots = self.expression.names.iter().zip(&mut values.0);
            if let Some((_, slot)) = slots.find(|(wanted, _)| wanted.as_bytes() == name) {
                *slot = Some(std::str::from_utf8(value).unwrap_or(NOT_UTF8));
            }
        }
        values
    }
}

fn length_bit(length: usize) -> u64 {
    1 << (length % 64)
}

struct Values<'p, const SLOTS: usize>([Option<&'p str>; SLOTS]);

impl<'p, const SLOTS: usize> Slots<'p> for Values<'p, SLOTS> {
    fn operand(&self, slot: usize) -> Operand<'p> {
        match self.0.get(slot) {
            Some(Some(text)) => Operand::Text(text),
            _ => Operand::Null,
        }
    }
}
