//! The tree of an expression.

use super::pattern::Pattern;

/// A part of an expression. Properties are slots: places in the expression's list of names.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Literal(Literal),
    Property(usize),
    /// Unary minus.
    Negate(Box<Node>),
    Arithmetic {
        operator: Arithmetic,
        left: Box<Node>,
        right: Box<Node>,
    },
    Not(Box<Node>),
    /// Conditions joined by `AND`, at least two.
    All(Box<[Node]>),
    /// Conditions joined by `OR`, at least two.
    Any(Box<[Node]>),
    Compare {
        operator: Comparison,
        left: Box<Node>,
        right: Box<Node>,
    },
    Between {
        value: Box<Node>,
        low: Box<Node>,
        high: Box<Node>,
        negated: bool,
    },
    In {
        slot: usize,
        /// Sorted, each once.
        texts: Box<[Box<str>]>,
        negated: bool,
    },
    IsNull {
        operand: Box<Node>,
        negated: bool,
    },
    /// `CONTAINS` and its like.
    Text {
        test: TextTest,
        operand: Box<Node>,
        text: Box<str>,
        negated: bool,
    },
    Like {
        slot: usize,
        pattern: Box<Pattern>,
        negated: bool,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    /// RocketMQ's literals that fit 32 bits: a string beside one has to fit them too.
    Integer(i32),
    Long(i64),
    Double(f64),
    Text(Box<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextTest {
    Contains,
    StartsWith,
    EndsWith,
}

impl Node {
    /// Whether it is true, false or unknown by its form, and never a number or a string.
    pub(super) fn is_condition(&self) -> bool {
        !matches!(
            self,
            Self::Property(_)
                | Self::Negate(_)
                | Self::Arithmetic { .. }
                | Self::Literal(
                    Literal::Integer(_) | Literal::Long(_) | Literal::Double(_) | Literal::Text(_)
                )
        )
    }
}
