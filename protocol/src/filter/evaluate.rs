//! From a tree and values to true, false or unknown.

use super::Dialect;
use super::compare::{self, Incomparable, Operand};
use super::node::{Comparison, Literal, Node, TextTest};

/// Lists longer than this are searched by halves.
const SHORT_LIST: usize = 8;

/// Values of the properties that an expression names.
pub(super) trait Slots<'v> {
    /// The value in a slot, `Null` where the message has none.
    fn operand(&self, slot: usize) -> Operand<'v>;
}

/// One message beside one expression.
pub(super) struct Evaluation<'s, S> {
    pub(super) dialect: Dialect,
    pub(super) slots: &'s S,
}

impl<'v, S: Slots<'v>> Evaluation<'_, S> {
    /// Whether a condition is true, false, or unknown (`None`).
    ///
    /// Where RocketMQ throws, the whole expression ends: `AND` and `OR` have to stop as early as they do there, or would
    /// run into what it never looks at.
    pub(super) fn truth(&self, node: &'v Node) -> Result<Option<bool>, Incomparable> {
        match node {
            Node::All(conditions) => self.first(conditions, false),
            Node::Any(conditions) => self.first(conditions, true),
            Node::Not(condition) => Ok(self.truth(condition)?.map(|truth| !truth)),
            Node::Compare {
                operator,
                left,
                right,
            } => self.compare(*operator, left, right),
            Node::Between {
                value,
                low,
                high,
                negated,
            } => self.between(value, low, high, *negated),
            Node::In {
                slot,
                texts,
                negated,
            } => Ok(self.text_in(*slot, *negated, |text| is_among(texts, text))),
            Node::Like {
                slot,
                pattern,
                negated,
            } => Ok(self.text_in(*slot, *negated, |text| pattern.matches(text))),
            Node::IsNull { operand, negated } => {
                let is_null = self.operand(operand)? == Operand::Null;
                Ok(Some(is_null != *negated))
            }
            Node::Text {
                test,
                operand,
                text,
                negated,
            } => self.text_test(*test, operand, text, *negated),
            Node::Literal(_) | Node::Property(_) | Node::Negate(_) | Node::Arithmetic { .. } => {
                Ok(match self.operand(node)? {
                    Operand::Bool(truth) => Some(truth),
                    Operand::Null => None,
                    // A string, also one that says `true`, and a number.
                    _ => Some(false),
                })
            }
        }
    }

    fn operand(&self, node: &'v Node) -> Result<Operand<'v>, Incomparable> {
        Ok(match node {
            Node::Property(slot) => self.slots.operand(*slot),
            Node::Literal(literal) => literal.operand(),
            Node::Negate(operand) => compare::negated(self.operand(operand)?),
            Node::Arithmetic {
                operator,
                left,
                right,
            } => compare::arithmetic(*operator, self.operand(left)?, self.operand(right)?),
            condition => self.truth(condition)?.map_or(Operand::Null, Operand::Bool),
        })
    }

    /// `deciding` when one condition is that, unknown when one is unknown, the opposite otherwise.
    fn first(&self, conditions: &'v [Node], deciding: bool) -> Result<Option<bool>, Incomparable> {
        let mut result = Some(!deciding);
        for condition in conditions {
            match self.truth(condition)? {
                Some(truth) if truth == deciding => return Ok(Some(deciding)),
                Some(_) => {}
                None => result = None,
            }
        }
        Ok(result)
    }

    fn compare(
        &self,
        operator: Comparison,
        left: &'v Node,
        right: &'v Node,
    ) -> Result<Option<bool>, Incomparable> {
        let left = self.operand(left)?;
        let is_equality = matches!(operator, Comparison::Equal | Comparison::NotEqual);
        if left == Operand::Null && !is_equality {
            return Ok(None);
        }
        let right = self.operand(right)?;
        match self.dialect {
            Dialect::RocketMq => compare::rocketmq(operator, left, right),
            Dialect::Jms => Ok(compare::jms(operator, left, right)),
        }
    }

    /// `value >= low AND value <= high`, or `value < low OR value > high`.
    fn between(
        &self,
        value: &'v Node,
        low: &'v Node,
        high: &'v Node,
        negated: bool,
    ) -> Result<Option<bool>, Incomparable> {
        let (beside_low, beside_high) = if negated {
            (Comparison::Less, Comparison::Greater)
        } else {
            (Comparison::GreaterOrEqual, Comparison::LessOrEqual)
        };
        let first = self.compare(beside_low, value, low)?;
        if first == Some(negated) {
            return Ok(first);
        }
        let second = self.compare(beside_high, value, high)?;
        if second == Some(negated) {
            return Ok(second);
        }
        Ok(first.and(second))
    }

    /// `IN` and `LIKE`: unknown without a value, false for what is not a string, negated or not.
    fn text_in(&self, slot: usize, negated: bool, test: impl Fn(&str) -> bool) -> Option<bool> {
        match self.slots.operand(slot) {
            Operand::Null => None,
            Operand::Text(text) => Some(test(text) != negated),
            _ => Some(false),
        }
    }

    /// RocketMQ's tests are false, negated or not, for an empty text and for what is not a string.
    fn text_test(
        &self,
        test: TextTest,
        operand: &'v Node,
        text: &str,
        negated: bool,
    ) -> Result<Option<bool>, Incomparable> {
        if text.is_empty() {
            return Ok(Some(false));
        }
        let Operand::Text(value) = self.operand(operand)? else {
            return Ok(Some(false));
        };
        let holds = match test {
            TextTest::Contains => value.contains(text),
            TextTest::StartsWith => value.starts_with(text),
            TextTest::EndsWith => value.ends_with(text),
        };
        Ok(Some(holds != negated))
    }
}

impl Literal {
    fn operand(&self) -> Operand<'_> {
        match self {
            Self::Null => Operand::Null,
            Self::Bool(truth) => Operand::Bool(*truth),
            Self::Integer(number) => Operand::Integer(*number),
            Self::Long(number) => Operand::Long(*number),
            Self::Double(number) => Operand::Double(*number),
            Self::Text(text) => Operand::Text(text),
        }
    }
}

/// Whether a text is one of a sorted list's.
fn is_among(texts: &[Box<str>], text: &str) -> bool {
    if texts.len() > SHORT_LIST {
        return texts.binary_search_by(|other| (**other).cmp(text)).is_ok();
    }
    texts.iter().any(|other| **other == *text)
}
