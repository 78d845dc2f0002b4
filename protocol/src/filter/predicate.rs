//! Comparisons that are words: `BETWEEN`, `IN`, `LIKE`, and RocketMQ's `CONTAINS` and its like.

use super::error::{FilterError, shortened};
use super::node::{Node, TextTest};
use super::operands::{Parsed, check_between};
use super::parse::{Parser, above};
use super::pattern::Pattern;
use super::token::{Keyword, Symbol, TokenKind};
use super::{Dialect, MAX_PATTERN_CHARS};

impl Parser<'_> {
    pub(super) fn take_predicate(&mut self) -> Option<Keyword> {
        let token = self.reader.next_if(|token| {
            matches!(
                token.kind,
                TokenKind::Keyword(
                    Keyword::Between
                        | Keyword::In
                        | Keyword::Contains
                        | Keyword::StartsWith
                        | Keyword::EndsWith
                        | Keyword::Like
                )
            )
        });
        match token?.kind {
            TokenKind::Keyword(keyword) => Some(keyword),
            _ => None,
        }
    }

    pub(super) fn predicates(&self) -> &'static str {
        match self.dialect {
            Dialect::RocketMq => "BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH after this NOT",
            Dialect::Jms => "BETWEEN, IN or LIKE after this NOT",
        }
    }

    pub(super) fn predicate(
        &mut self,
        left: Parsed,
        keyword: Keyword,
        negated: bool,
    ) -> Result<Parsed, FilterError> {
        let test = match keyword {
            Keyword::Between => return self.between(left, negated),
            Keyword::In => return self.in_list(left, negated),
            Keyword::Like => return self.like(left, negated),
            Keyword::StartsWith => TextTest::StartsWith,
            Keyword::EndsWith => TextTest::EndsWith,
            _ => TextTest::Contains,
        };
        let (_, text) = self.reader.text()?;
        let node = Node::Text {
            test,
            operand: left.node.into(),
            text,
            negated,
        };
        above(node, left.position, left.depth)
    }

    fn between(&mut self, value: Parsed, negated: bool) -> Result<Parsed, FilterError> {
        let value = value.number(&self.names)?;
        let low = self.operand()?.number(&self.names)?;
        if !self.reader.take_keyword(Keyword::And) {
            return Err(self.reader.unexpected("AND and the upper bound of BETWEEN"));
        }
        let high = self.operand()?.number(&self.names)?;
        if self.dialect == Dialect::RocketMq && !negated {
            check_between(&low, &high, &self.names)?;
        }
        let depth = value.depth.max(low.depth).max(high.depth);
        let node = Node::Between {
            value: value.node.into(),
            low: low.node.into(),
            high: high.node.into(),
            negated,
        };
        above(node, value.position, depth)
    }

    fn in_list(&mut self, left: Parsed, negated: bool) -> Result<Parsed, FilterError> {
        let position = left.position;
        let slot = left.property(&self.names)?;
        if !self.reader.take_symbol(Symbol::Open) {
            return Err(self.reader.unexpected("( and a list of strings after IN"));
        }
        let mut texts = vec![self.reader.text()?.1];
        while self.reader.take_symbol(Symbol::Comma) {
            texts.push(self.reader.text()?.1);
        }
        if !self.reader.take_symbol(Symbol::Close) {
            return Err(self.reader.unexpected(", or ) in the list of strings"));
        }
        texts.sort_unstable();
        texts.dedup();
        let node = Node::In {
            slot,
            texts: texts.into(),
            negated,
        };
        above(node, position, 1)
    }

    fn like(&mut self, left: Parsed, negated: bool) -> Result<Parsed, FilterError> {
        let start = left.position;
        let slot = left.property(&self.names)?;
        let (position, text) = self.reader.text()?;
        let length = text.chars().count();
        if length > MAX_PATTERN_CHARS {
            return Err(FilterError::PatternTooLong { position, length });
        }
        let escape = self.escape()?;
        let Some(pattern) = Pattern::new(&text, escape) else {
            return Err(FilterError::Syntax {
                position,
                found: "a pattern that ends in its escape".to_owned(),
                expected: "a character after every escape",
            });
        };
        let node = Node::Like {
            slot,
            pattern: pattern.into(),
            negated,
        };
        above(node, start, 1)
    }

    fn escape(&mut self) -> Result<Option<char>, FilterError> {
        if !self.reader.take_keyword(Keyword::Escape) {
            return Ok(None);
        }
        let (position, text) = self.reader.text()?;
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (Some(escape), None) => Ok(Some(escape)),
            _ => Err(FilterError::Syntax {
                position,
                found: shortened(&format!("'{text}'")),
                expected: "one character in quotes after ESCAPE",
            }),
        }
    }
}
