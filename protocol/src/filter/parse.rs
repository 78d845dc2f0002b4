//! From tokens to a tree, by recursive descent.
//!
//! From weakest to strongest, RocketMQ: `OR`; `AND`; `=`, `<>`, `IS NULL`; the other comparisons; signs and `NOT`. JMS has
//! `NOT` between `AND` and `=`, and sums and products below the comparisons.

use super::error::{FilterError, shortened};
use super::node::{Arithmetic, Comparison, Literal, Node};
use super::number::Number;
use super::operands::{Parsed, check_equality};
use super::reader::Reader;
use super::token::{Keyword, Symbol, Token, TokenKind, tokens};
use super::{
    Dialect, Expression, MAX_DEPTH, MAX_EXPRESSION_BYTES, MAX_NAMED_PROPERTIES, MAX_NESTING,
};

/// Parses a whole text.
pub(super) fn expression(text: &str, dialect: Dialect) -> Result<Expression, FilterError> {
    if text.len() > MAX_EXPRESSION_BYTES {
        return Err(FilterError::TooLong { length: text.len() });
    }
    let mut parser = Parser {
        dialect,
        reader: Reader::new(tokens(text, dialect)?),
        nesting: 0,
        names: Vec::new(),
    };
    let parsed = parser.any()?.condition(&parser.names)?;
    if parser.reader.peek().kind != TokenKind::End {
        return Err(parser.reader.unexpected("an operator or the end"));
    }
    Ok(Expression {
        dialect,
        root: parsed.node,
        names: parser.names.into(),
    })
}

pub(super) struct Parser<'t> {
    pub(super) dialect: Dialect,
    pub(super) reader: Reader<'t>,
    /// Parentheses, signs and `NOT`s that the parser is inside of, each with frames on its stack.
    nesting: usize,
    pub(super) names: Vec<Box<str>>,
}

impl Parser<'_> {
    /// Conditions joined by `OR`.
    fn any(&mut self) -> Result<Parsed, FilterError> {
        self.joined(Keyword::Or, Self::all, Node::Any)
    }

    /// Conditions joined by `AND`.
    fn all(&mut self) -> Result<Parsed, FilterError> {
        match self.dialect {
            Dialect::RocketMq => self.joined(Keyword::And, Self::equality, Node::All),
            Dialect::Jms => self.joined(Keyword::And, Self::negation, Node::All),
        }
    }

    fn joined(
        &mut self,
        word: Keyword,
        part: fn(&mut Self) -> Result<Parsed, FilterError>,
        node: fn(Box<[Node]>) -> Node,
    ) -> Result<Parsed, FilterError> {
        let first = part(self)?;
        if !self.reader.is_at_keyword(word) {
            return Ok(first);
        }
        let (position, mut depth) = (first.position, first.depth);
        let mut conditions = vec![first.condition(&self.names)?.node];
        while self.reader.take_keyword(word) {
            let next = part(self)?.condition(&self.names)?;
            depth = depth.max(next.depth);
            conditions.push(next.node);
        }
        above(node(conditions.into()), position, depth)
    }

    /// JMS: `NOT` before a comparison.
    fn negation(&mut self) -> Result<Parsed, FilterError> {
        if self.reader.is_at_keyword(Keyword::Not) {
            return self.not(Self::negation);
        }
        self.equality()
    }

    fn not(
        &mut self,
        operand: fn(&mut Self) -> Result<Parsed, FilterError>,
    ) -> Result<Parsed, FilterError> {
        let position = self.enter()?;
        let operand = operand(self)?.condition(&self.names)?;
        self.nesting -= 1;
        let depth = operand.depth;
        above(Node::Not(operand.node.into()), position, depth)
    }

    /// `=`, `<>`, `IS NULL`, `IS NOT NULL`.
    fn equality(&mut self) -> Result<Parsed, FilterError> {
        let mut left = self.comparison()?;
        loop {
            left = if self.reader.take_symbol(Symbol::Equal) {
                self.equality_with(left, Comparison::Equal)?
            } else if self.reader.take_symbol(Symbol::NotEqual) {
                self.equality_with(left, Comparison::NotEqual)?
            } else if self.reader.take_keyword(Keyword::Is) {
                self.is_null(left)?
            } else {
                return Ok(left);
            };
        }
    }

    fn equality_with(&mut self, left: Parsed, operator: Comparison) -> Result<Parsed, FilterError> {
        let right = self.comparison()?;
        check_equality(&left, &right, self.dialect, &self.names)?;
        compared(left, operator, right)
    }

    fn is_null(&mut self, left: Parsed) -> Result<Parsed, FilterError> {
        let negated = self.reader.take_keyword(Keyword::Not);
        if !self.reader.take_keyword(Keyword::Null) {
            return Err(self
                .reader
                .unexpected(if negated { "NULL" } else { "NULL or NOT NULL" }));
        }
        let (position, depth) = (left.position, left.depth);
        let operand = match self.dialect {
            Dialect::RocketMq => left.node,
            Dialect::Jms => Node::Property(left.property(&self.names)?),
        };
        let operand = operand.into();
        above(Node::IsNull { operand, negated }, position, depth)
    }

    /// `<` and its like, and the comparisons that are words.
    fn comparison(&mut self) -> Result<Parsed, FilterError> {
        let mut left = self.operand()?;
        loop {
            let ordering = match self.reader.peek().kind {
                TokenKind::Symbol(Symbol::Less) => Some(Comparison::Less),
                TokenKind::Symbol(Symbol::LessOrEqual) => Some(Comparison::LessOrEqual),
                TokenKind::Symbol(Symbol::Greater) => Some(Comparison::Greater),
                TokenKind::Symbol(Symbol::GreaterOrEqual) => Some(Comparison::GreaterOrEqual),
                _ => None,
            };
            left = if let Some(operator) = ordering {
                self.reader.next();
                let left = left.number(&self.names)?;
                let right = self.operand()?.number(&self.names)?;
                compared(left, operator, right)?
            } else {
                let negated = self.reader.take_keyword(Keyword::Not);
                match self.take_predicate() {
                    Some(keyword) => self.predicate(left, keyword, negated)?,
                    None if negated => return Err(self.reader.unexpected(self.predicates())),
                    None => return Ok(left),
                }
            };
        }
    }

    /// What can stand beside a comparison.
    pub(super) fn operand(&mut self) -> Result<Parsed, FilterError> {
        match self.dialect {
            Dialect::RocketMq => self.unary(),
            Dialect::Jms => self.sum(),
        }
    }

    fn sum(&mut self) -> Result<Parsed, FilterError> {
        let operators = [
            (Symbol::Plus, Arithmetic::Add),
            (Symbol::Minus, Arithmetic::Subtract),
        ];
        self.arithmetic(operators, Self::product)
    }

    fn product(&mut self) -> Result<Parsed, FilterError> {
        let operators = [
            (Symbol::Star, Arithmetic::Multiply),
            (Symbol::Slash, Arithmetic::Divide),
        ];
        self.arithmetic(operators, Self::unary)
    }

    fn arithmetic(
        &mut self,
        operators: [(Symbol, Arithmetic); 2],
        part: fn(&mut Self) -> Result<Parsed, FilterError>,
    ) -> Result<Parsed, FilterError> {
        let mut left = part(self)?;
        while let Some((_, operator)) = operators
            .iter()
            .find(|(symbol, _)| self.reader.take_symbol(*symbol))
        {
            left = left.number(&self.names)?;
            let right = part(self)?.number(&self.names)?;
            let depth = left.depth.max(right.depth);
            let node = Node::Arithmetic {
                operator: *operator,
                left: left.node.into(),
                right: right.node.into(),
            };
            left = above(node, left.position, depth)?;
        }
        Ok(left)
    }

    /// Signs, and RocketMQ's `NOT`.
    fn unary(&mut self) -> Result<Parsed, FilterError> {
        if self.reader.is_at_symbol(Symbol::Plus) {
            self.enter()?;
            let operand = self.signed()?;
            self.nesting -= 1;
            return Ok(operand);
        }
        if self.reader.is_at_symbol(Symbol::Minus) {
            return self.negative();
        }
        if self.dialect == Dialect::RocketMq && self.reader.is_at_keyword(Keyword::Not) {
            return self.not(Self::unary);
        }
        self.primary()
    }

    fn negative(&mut self) -> Result<Parsed, FilterError> {
        let position = self.enter()?;
        // The one number that is a literal only together with its sign.
        let smallest = TokenKind::Number(Number::Whole(i64::MIN.unsigned_abs()));
        let operand = if self
            .reader
            .next_if(|token| token.kind == smallest)
            .is_some()
        {
            self.nesting -= 1;
            return above(Node::Literal(Literal::Long(i64::MIN)), position, 0);
        } else {
            self.signed()?
        };
        self.nesting -= 1;
        let depth = operand.depth;
        above(Node::Negate(operand.node.into()), position, depth)
    }

    /// The operand of a sign. To RocketMQ that is anything; what is not a number turns out unknown.
    fn signed(&mut self) -> Result<Parsed, FilterError> {
        let operand = self.unary()?;
        match self.dialect {
            Dialect::RocketMq => Ok(operand),
            Dialect::Jms => operand.number(&self.names),
        }
    }

    /// A literal, a property, or anything in parentheses.
    fn primary(&mut self) -> Result<Parsed, FilterError> {
        if self.reader.is_at_symbol(Symbol::Open) {
            let position = self.enter()?;
            let mut inside = self.any()?;
            if !self.reader.take_symbol(Symbol::Close) {
                return Err(self.reader.unexpected("an operator or )"));
            }
            self.nesting -= 1;
            inside.position = position;
            return Ok(inside);
        }
        let begins_operand = match &self.reader.peek().kind {
            TokenKind::Name(_) | TokenKind::Text(_) | TokenKind::Number(_) => true,
            TokenKind::Keyword(Keyword::True | Keyword::False) => true,
            TokenKind::Keyword(Keyword::Null) => self.dialect == Dialect::RocketMq,
            _ => false,
        };
        if !begins_operand {
            return Err(self.reader.unexpected("a property, a literal or ("));
        }
        let token = self.reader.next();
        let position = token.position;
        let node = match token.kind {
            TokenKind::Name(name) => Node::Property(self.slot(name, position)?),
            TokenKind::Text(text) => Node::Literal(Literal::Text(text.into())),
            TokenKind::Number(number) => Node::Literal(self.number(number, &token)?),
            TokenKind::Keyword(Keyword::True) => Node::Literal(Literal::Bool(true)),
            TokenKind::Keyword(Keyword::False) => Node::Literal(Literal::Bool(false)),
            _ => Node::Literal(Literal::Null),
        };
        above(node, position, 0)
    }

    fn number(&self, number: Number, token: &Token<'_>) -> Result<Literal, FilterError> {
        match number {
            Number::Fractional(number) => Ok(Literal::Double(number)),
            Number::Whole(number) => match (i64::try_from(number), i32::try_from(number)) {
                (Ok(_), Ok(number)) if self.dialect == Dialect::RocketMq => {
                    Ok(Literal::Integer(number))
                }
                (Ok(number), _) => Ok(Literal::Long(number)),
                (Err(_), _) => Err(FilterError::NumberOutOfRange {
                    position: token.position,
                    found: token.found(),
                    expected: "a minus before this number, or a smaller one",
                }),
            },
        }
    }

    fn slot(&mut self, name: &str, position: usize) -> Result<usize, FilterError> {
        if let Some(slot) = self.names.iter().position(|known| **known == *name) {
            return Ok(slot);
        }
        if self.names.len() == MAX_NAMED_PROPERTIES {
            return Err(FilterError::TooManyProperties {
                position,
                name: shortened(name),
            });
        }
        self.names.push(name.into());
        Ok(self.names.len() - 1)
    }

    /// Takes a token that nests; its position.
    fn enter(&mut self) -> Result<usize, FilterError> {
        let position = self.reader.next().position;
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(FilterError::TooDeep { position });
        }
        Ok(position)
    }
}

fn compared(left: Parsed, operator: Comparison, right: Parsed) -> Result<Parsed, FilterError> {
    let depth = left.depth.max(right.depth);
    let node = Node::Compare {
        operator,
        left: left.node.into(),
        right: right.node.into(),
    };
    above(node, left.position, depth)
}

/// A node above others that are `depth` levels deep.
pub(super) fn above(node: Node, position: usize, depth: usize) -> Result<Parsed, FilterError> {
    if depth >= MAX_DEPTH {
        return Err(FilterError::TooDeep { position });
    }
    Ok(Parsed {
        node,
        position,
        depth: depth + 1,
    })
}
