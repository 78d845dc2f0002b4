//! The text of a tree. Parsed again in the same dialect, it gives the same tree.

use std::fmt::{self, Display, Formatter};

use super::node::{Arithmetic, Comparison, Literal, Node, TextTest};

/// A node beside the names of its properties.
pub(super) struct Printed<'a> {
    pub(super) node: &'a Node,
    pub(super) names: &'a [Box<str>],
}

impl Display for Printed<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.node {
            Node::Literal(literal) => literal.fmt(f),
            Node::Property(slot) => f.write_str(self.name(*slot)),
            Node::Negate(operand) => write!(f, "-{}", self.operand(operand)),
            Node::Not(operand) => write!(f, "NOT {}", self.operand(operand)),
            Node::Arithmetic {
                operator,
                left,
                right,
            } => write!(
                f,
                "{} {} {}",
                self.operand(left),
                operator.symbol(),
                self.operand(right)
            ),
            Node::Compare {
                operator,
                left,
                right,
            } => write!(
                f,
                "{} {} {}",
                self.operand(left),
                operator.symbol(),
                self.operand(right)
            ),
            Node::All(conditions) => self.joined(f, conditions, "AND"),
            Node::Any(conditions) => self.joined(f, conditions, "OR"),
            Node::Between {
                value,
                low,
                high,
                negated,
            } => write!(
                f,
                "{}{} BETWEEN {} AND {}",
                self.operand(value),
                not(*negated),
                self.operand(low),
                self.operand(high)
            ),
            Node::In {
                slot,
                texts,
                negated,
            } => {
                write!(f, "{}{} IN (", self.name(*slot), not(*negated))?;
                for (place, text) in texts.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", Quoted(text))?;
                }
                f.write_str(")")
            }
            Node::IsNull { operand, negated } => {
                write!(f, "{} IS{} NULL", self.operand(operand), not(*negated))
            }
            Node::Text {
                test,
                operand,
                text,
                negated,
            } => write!(
                f,
                "{}{} {} {}",
                self.operand(operand),
                not(*negated),
                test.word(),
                Quoted(text)
            ),
            Node::Like {
                slot,
                pattern,
                negated,
            } => {
                let (name, not) = (self.name(*slot), not(*negated));
                write!(f, "{name}{not} LIKE {}", Quoted(pattern.text()))?;
                match pattern.escape() {
                    Some('\'') => f.write_str(" ESCAPE ''''"),
                    Some(escape) => write!(f, " ESCAPE '{escape}'"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl<'a> Printed<'a> {
    fn name(&self, slot: usize) -> &'a str {
        self.names.get(slot).map_or("?", |name| name)
    }

    fn operand(&self, node: &'a Node) -> Operand<'a> {
        Operand {
            node,
            names: self.names,
            is_joined: false,
        }
    }

    fn joined(&self, f: &mut Formatter<'_>, conditions: &'a [Node], word: &str) -> fmt::Result {
        for (place, node) in conditions.iter().enumerate() {
            if place > 0 {
                write!(f, " {word} ")?;
            }
            let names = self.names;
            let operand = Operand {
                node,
                names,
                is_joined: true,
            };
            operand.fmt(f)?;
        }
        Ok(())
    }
}

/// A node beside an operator, in parentheses where it needs them in one of the dialects.
struct Operand<'a> {
    node: &'a Node,
    names: &'a [Box<str>],
    /// By `AND` or `OR`, which bind weakest.
    is_joined: bool,
}

impl Display for Operand<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let printed = Printed {
            node: self.node,
            names: self.names,
        };
        let is_bare = match self.node {
            Node::Literal(Literal::Long(number)) => *number >= 0,
            Node::Literal(_) | Node::Property(_) => true,
            Node::All(_) | Node::Any(_) => false,
            _ => self.is_joined,
        };
        if is_bare {
            printed.fmt(f)
        } else {
            write!(f, "({printed})")
        }
    }
}

struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.replace('\'', "''"))
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Bool(true) => f.write_str("TRUE"),
            Self::Bool(false) => f.write_str("FALSE"),
            Self::Integer(number) => number.fmt(f),
            Self::Long(number) => number.fmt(f),
            // Keeps a fraction or an exponent, without which it would be a whole number.
            Self::Double(number) => write!(f, "{number:?}"),
            Self::Text(text) => Quoted(text).fmt(f),
        }
    }
}

fn not(negated: bool) -> &'static str {
    if negated { " NOT" } else { "" }
}

impl Arithmetic {
    fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
        }
    }
}

impl Comparison {
    fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl TextTest {
    fn word(self) -> &'static str {
        match self {
            Self::Contains => "CONTAINS",
            Self::StartsWith => "STARTSWITH",
            Self::EndsWith => "ENDSWITH",
        }
    }
}
