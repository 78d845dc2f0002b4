//! From text to words, literals and operators.

use std::borrow::Cow;

use super::Dialect;
use super::error::{FilterError, shortened};
use super::number::{self, Number};

/// A reserved word of one of the dialects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Not,
    And,
    Or,
    Between,
    In,
    True,
    False,
    Null,
    Is,
    Contains,
    StartsWith,
    EndsWith,
    Like,
    Escape,
}

const KEYWORDS: [(&str, Keyword); 14] = [
    ("NOT", Keyword::Not),
    ("AND", Keyword::And),
    ("OR", Keyword::Or),
    ("BETWEEN", Keyword::Between),
    ("IN", Keyword::In),
    ("TRUE", Keyword::True),
    ("FALSE", Keyword::False),
    ("NULL", Keyword::Null),
    ("IS", Keyword::Is),
    ("CONTAINS", Keyword::Contains),
    ("STARTSWITH", Keyword::StartsWith),
    ("ENDSWITH", Keyword::EndsWith),
    ("LIKE", Keyword::Like),
    ("ESCAPE", Keyword::Escape),
];

/// An operator or a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbol {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Open,
    Close,
    Comma,
    Plus,
    Minus,
    Star,
    Slash,
}

/// Longer ones first.
const SYMBOLS: [(&str, Symbol); 13] = [
    ("<>", Symbol::NotEqual),
    ("<=", Symbol::LessOrEqual),
    (">=", Symbol::GreaterOrEqual),
    ("=", Symbol::Equal),
    ("<", Symbol::Less),
    (">", Symbol::Greater),
    ("(", Symbol::Open),
    (")", Symbol::Close),
    (",", Symbol::Comma),
    ("+", Symbol::Plus),
    ("-", Symbol::Minus),
    ("*", Symbol::Star),
    ("/", Symbol::Slash),
];

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind<'t> {
    Keyword(Keyword),
    Name(&'t str),
    Text(Cow<'t, str>),
    Number(Number),
    Symbol(Symbol),
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) kind: TokenKind<'t>,
    /// The first character, counted from 1.
    pub(super) position: usize,
    text: &'t str,
}

impl Token<'_> {
    pub(super) fn end(position: usize) -> Self {
        Self {
            kind: TokenKind::End,
            position,
            text: "",
        }
    }

    /// What to call it in an error.
    pub(super) fn found(&self) -> String {
        match self.kind {
            TokenKind::End => "the end".to_owned(),
            _ => shortened(self.text),
        }
    }
}

/// All tokens of an expression. The last one is the only [`TokenKind::End`].
pub(super) fn tokens(text: &str, dialect: Dialect) -> Result<Vec<Token<'_>>, FilterError> {
    let mut cursor = Cursor {
        rest: text,
        position: 1,
        dialect,
    };
    let mut tokens = Vec::new();
    loop {
        cursor.skip_blanks_and_comments()?;
        let token = cursor.token()?;
        let is_last = token.kind == TokenKind::End;
        tokens.push(token);
        if is_last {
            return Ok(tokens);
        }
    }
}

struct Cursor<'t> {
    rest: &'t str,
    /// Of the first character of `rest`, counted from 1.
    position: usize,
    dialect: Dialect,
}

impl<'t> Cursor<'t> {
    /// Takes bytes off the rest.
    fn take(&mut self, length: usize) -> &'t str {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .unwrap_or((self.rest, ""));
        self.rest = rest;
        self.position += taken.chars().count();
        taken
    }

    fn skip_blanks_and_comments(&mut self) -> Result<(), FilterError> {
        loop {
            let is_blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c');
            let blanks = self.rest.len() - self.rest.trim_start_matches(is_blank).len();
            self.take(blanks);
            if !self.dialect.has_comments() {
                return Ok(());
            }
            if self.rest.starts_with("--") {
                // RocketMQ wants the line's end after the comment; without it, it ignores the rest of the text.
                let end = self.rest.find(['\n', '\r']);
                self.take(end.unwrap_or(self.rest.len()));
            } else if let Some(comment) = self.rest.strip_prefix("/*") {
                let Some(inside) = comment.find("*/") else {
                    return Err(FilterError::Unterminated {
                        position: self.position,
                        expected: "*/ after the comment",
                    });
                };
                self.take(inside + "/**/".len());
            } else {
                return Ok(());
            }
        }
    }

    fn token(&mut self) -> Result<Token<'t>, FilterError> {
        let position = self.position;
        let whole = self.rest;
        let kind = self.kind()?;
        let text = whole
            .get(..whole.len() - self.rest.len())
            .unwrap_or_default();
        Ok(Token {
            kind,
            position,
            text,
        })
    }

    fn kind(&mut self) -> Result<TokenKind<'t>, FilterError> {
        let Some(first) = self.rest.chars().next() else {
            return Ok(TokenKind::End);
        };
        if first == '\'' {
            return self.text();
        }
        if self.dialect.begins_name(first) {
            return Ok(self.word());
        }
        if let Some(literal) = number::at_start(self.rest, self.dialect) {
            let position = self.position;
            let text = self.take(literal.length);
            let number = literal.value(text, self.dialect);
            return number.map(TokenKind::Number).map_err(|expected| {
                FilterError::NumberOutOfRange {
                    position,
                    found: shortened(text),
                    expected,
                }
            });
        }
        self.symbol(first)
    }

    fn word(&mut self) -> TokenKind<'t> {
        let continues = |c: char| self.dialect.continues_name(c);
        let length = self.rest.len() - self.rest.trim_start_matches(continues).len();
        let word = self.take(length);
        let keyword = KEYWORDS
            .iter()
            .find(|(text, keyword)| {
                text.eq_ignore_ascii_case(word) && self.dialect.reserves(*keyword)
            })
            .map(|(_, keyword)| TokenKind::Keyword(*keyword));
        keyword.unwrap_or(TokenKind::Name(word))
    }

    /// A string in single quotes; two of them inside stand for one.
    fn text(&mut self) -> Result<TokenKind<'t>, FilterError> {
        let position = self.position;
        let mut length = 1;
        let mut has_quotes = false;
        loop {
            let inside = self.rest.get(length..).unwrap_or_default();
            let Some(quote) = inside.find('\'') else {
                return Err(FilterError::Unterminated {
                    position,
                    expected: "a single quote after the string",
                });
            };
            length += quote + 1;
            if !inside
                .get(quote + 1..)
                .unwrap_or_default()
                .starts_with('\'')
            {
                break;
            }
            has_quotes = true;
            length += 1;
        }
        let quoted = self.take(length);
        let text = quoted.get(1..length - 1).unwrap_or_default();
        Ok(TokenKind::Text(if has_quotes {
            text.replace("''", "'").into()
        } else {
            text.into()
        }))
    }

    fn symbol(&mut self, first: char) -> Result<TokenKind<'t>, FilterError> {
        let found = SYMBOLS
            .iter()
            .find(|(text, _)| self.rest.starts_with(text))
            .filter(|(_, symbol)| {
                self.dialect.has_arithmetic() || !matches!(symbol, Symbol::Star | Symbol::Slash)
            });
        let Some((text, symbol)) = found else {
            return Err(FilterError::UnknownCharacter {
                position: self.position,
                found: first,
            });
        };
        self.take(text.len());
        Ok(TokenKind::Symbol(*symbol))
    }
}
