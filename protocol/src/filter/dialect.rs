//! The two languages of conditions.

use super::token::Keyword;

/// A language of conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// RocketMQ's SQL92 filter.
    RocketMq,
    /// JMS 2.0 message selectors (§3.8.1).
    Jms,
}

impl Dialect {
    /// Whether a name can begin with this character.
    pub(super) fn begins_name(self, character: char) -> bool {
        match self {
            Self::RocketMq => character.is_ascii_alphabetic() || matches!(character, '_' | '$'),
            Self::Jms => character.is_alphabetic() || matches!(character, '_' | '$'),
        }
    }

    /// Whether a name can go on with this character.
    pub(super) fn continues_name(self, character: char) -> bool {
        match self {
            Self::RocketMq => self.begins_name(character) || character.is_ascii_digit(),
            Self::Jms => self.begins_name(character) || character.is_numeric(),
        }
    }

    /// Whether this word is reserved. The other dialect's own words are ordinary names.
    pub(super) fn reserves(self, keyword: Keyword) -> bool {
        match keyword {
            Keyword::Contains | Keyword::StartsWith | Keyword::EndsWith => self == Self::RocketMq,
            Keyword::Like | Keyword::Escape => self == Self::Jms,
            _ => true,
        }
    }

    pub(super) fn has_comments(self) -> bool {
        self == Self::RocketMq
    }

    pub(super) fn has_arithmetic(self) -> bool {
        self == Self::Jms
    }
}
