//! Tokens, taken one after another.

use super::error::FilterError;
use super::token::{Keyword, Symbol, Token, TokenKind};

/// The tokens that are left. Behind the last one it stays at the end.
pub(super) struct Reader<'t> {
    next: Token<'t>,
    rest: std::vec::IntoIter<Token<'t>>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(tokens: Vec<Token<'t>>) -> Self {
        let mut rest = tokens.into_iter();
        let next = rest.next().unwrap_or_else(|| Token::end(1));
        Self { next, rest }
    }

    pub(super) fn peek(&self) -> &Token<'t> {
        &self.next
    }

    pub(super) fn next(&mut self) -> Token<'t> {
        let end = Token::end(self.next.position);
        std::mem::replace(&mut self.next, self.rest.next().unwrap_or(end))
    }

    pub(super) fn next_if(&mut self, is_wanted: impl Fn(&Token<'t>) -> bool) -> Option<Token<'t>> {
        is_wanted(&self.next).then(|| self.next())
    }

    pub(super) fn is_at_keyword(&self, keyword: Keyword) -> bool {
        self.next.kind == TokenKind::Keyword(keyword)
    }

    pub(super) fn is_at_symbol(&self, symbol: Symbol) -> bool {
        self.next.kind == TokenKind::Symbol(symbol)
    }

    pub(super) fn take_keyword(&mut self, keyword: Keyword) -> bool {
        let is_there = self.is_at_keyword(keyword);
        if is_there {
            self.next();
        }
        is_there
    }

    pub(super) fn take_symbol(&mut self, symbol: Symbol) -> bool {
        let is_there = self.is_at_symbol(symbol);
        if is_there {
            self.next();
        }
        is_there
    }

    /// A string literal and its position.
    pub(super) fn text(&mut self) -> Result<(usize, Box<str>), FilterError> {
        match self.next_if(|token| matches!(token.kind, TokenKind::Text(_))) {
            Some(Token {
                kind: TokenKind::Text(text),
                position,
                ..
            }) => Ok((position, text.into())),
            _ => Err(self.unexpected("a string in single quotes")),
        }
    }

    /// The error about the token that is next.
    pub(super) fn unexpected(&self, expected: &'static str) -> FilterError {
        FilterError::Syntax {
            position: self.next.position,
            found: self.next.found(),
            expected,
        }
    }
}
