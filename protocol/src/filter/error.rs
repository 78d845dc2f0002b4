//! Why a filter was refused.

use thiserror::Error;

use super::{
    MAX_DEPTH, MAX_EXPRESSION_BYTES, MAX_NAMED_PROPERTIES, MAX_NESTING, MAX_PATTERN_CHARS, MAX_TAGS,
};

/// Characters of the expression that an error repeats at most.
const MAX_FOUND_CHARS: usize = 40;

/// Why a filter was refused. Positions count characters of the expression from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FilterError {
    /// The text is too long to be compiled.
    #[error(
        "filter is {length} bytes long, the limit is {MAX_EXPRESSION_BYTES}: shorten it, or filter in the consumer"
    )]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Operators or parentheses inside each other without end.
    #[error(
        "character {position}: nested deeper than {MAX_DEPTH} operators or {MAX_NESTING} parentheses inside each other: use fewer"
    )]
    TooDeep {
        /// Where the limit was crossed.
        position: usize,
    },
    /// Too many different properties.
    #[error(
        "character {position}: {name} is one property more than the {MAX_NAMED_PROPERTIES} that an expression can name: name fewer"
    )]
    TooManyProperties {
        /// Where the property is named first.
        position: usize,
        /// Its name.
        name: String,
    },
    /// A pattern that would take too long to match.
    #[error(
        "character {position}: the pattern has {length} characters, the limit is {MAX_PATTERN_CHARS}: shorten it"
    )]
    PatternTooLong {
        /// Where the pattern begins.
        position: usize,
        /// Its length in characters.
        length: usize,
    },
    /// Too many tags.
    #[error(
        "filter has {count} tags, the limit is {MAX_TAGS}: use fewer tags, or filter in the consumer"
    )]
    TooManyTags {
        /// How many there are.
        count: usize,
    },
    /// A tag filter that could never match.
    #[error(
        "found no tag, expected at least one: name a tag, or subscribe to all messages with \"*\""
    )]
    NoTags,
    /// A tag that no message can have.
    #[error("tag {place} of the filter is empty, which no message's tag is: remove it")]
    EmptyTag {
        /// Its place among the tags, from 1.
        place: usize,
    },
    /// A character that begins nothing.
    #[error("character {position}: found {found:?}, expected a name, a literal or an operator")]
    UnknownCharacter {
        /// Where it is.
        position: usize,
        /// The character.
        found: char,
    },
    /// A string or comment that never ends.
    #[error(
        "character {position}: found the end of the filter in what begins here, expected {expected}"
    )]
    Unterminated {
        /// Where it begins.
        position: usize,
        /// What closes it.
        expected: &'static str,
    },
    /// A number that is outside what can be compared.
    #[error("character {position}: found {found}, expected {expected}")]
    NumberOutOfRange {
        /// Where the number begins.
        position: usize,
        /// The number.
        found: String,
        /// The range.
        expected: &'static str,
    },
    /// A word, literal or operator where it cannot stand.
    #[error("character {position}: found {found}, expected {expected}")]
    Syntax {
        /// Where it is.
        position: usize,
        /// What is there.
        found: String,
        /// What could be there.
        expected: &'static str,
    },
    /// Something that an operator cannot be applied to.
    #[error("character {position}: found {found}, expected {expected}")]
    Operand {
        /// Where the operand begins.
        position: usize,
        /// The operand.
        found: String,
        /// What the operator takes.
        expected: &'static str,
    },
    /// `BETWEEN` with constants that nothing lies between.
    #[error(
        "character {position}: found BETWEEN {low} AND {high}, expected the smaller number first: swap them"
    )]
    BetweenOrder {
        /// Where the first constant begins.
        position: usize,
        /// The first constant.
        low: String,
        /// The second constant.
        high: String,
    },
}

impl FilterError {
    /// The character at which the error was seen, counted from 1, where there is one.
    pub fn position(&self) -> Option<usize> {
        match self {
            Self::TooDeep { position }
            | Self::TooManyProperties { position, .. }
            | Self::PatternTooLong { position, .. }
            | Self::UnknownCharacter { position, .. }
            | Self::Unterminated { position, .. }
            | Self::NumberOutOfRange { position, .. }
            | Self::Syntax { position, .. }
            | Self::Operand { position, .. }
            | Self::BetweenOrder { position, .. } => Some(*position),
            Self::TooLong { .. }
            | Self::TooManyTags { .. }
            | Self::NoTags
            | Self::EmptyTag { .. } => None,
        }
    }
}

/// A piece of the expression, short enough for a message.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_FOUND_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
