//! A condition over properties: parsed, checked, printable.

use std::fmt;

use super::node::Node;
use super::print::Printed;
use super::{Dialect, FilterError, parse};

/// A condition over properties.
///
/// Its text, from [`Display`](fmt::Display), has parentheses wherever one of the dialects needs them and parses to an
/// equal expression in its own dialect.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    pub(super) dialect: Dialect,
    pub(super) root: Node,
    /// Each once, in the order in which they were named; a property's slot is its place here.
    pub(super) names: Box<[Box<str>]>,
}

impl Expression {
    /// Parses an expression.
    ///
    /// # Errors
    ///
    /// Whatever is not an expression of the dialect or exceeds a limit, with the character at which it was seen.
    pub fn parse(text: &str, dialect: Dialect) -> Result<Self, FilterError> {
        parse::expression(text, dialect)
    }

    /// The language it is written in.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The properties it names, each once.
    pub fn property_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printed = Printed {
            node: &self.root,
            names: &self.names,
        };
        printed.fmt(f)
    }
}
