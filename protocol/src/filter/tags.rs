//! Filtering by tags.

use super::{FilterError, MAX_EXPRESSION_BYTES, MAX_TAGS};
use crate::model::{TagsCode, java_string_hash, keys, property_pairs};

/// Sets larger than this are searched by halves.
const SMALL_SET: usize = 8;

/// Tags of which a message has to have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TagSet {
    /// Sorted, each once.
    tags: Box<[Box<str>]>,
    /// Their hashes, sorted, each once.
    codes: Box<[i32]>,
}

impl TagSet {
    pub(super) fn new<'t>(tags: impl Iterator<Item = &'t str>) -> Result<Self, FilterError> {
        let mut tags: Vec<Box<str>> = tags.map(Into::into).collect();
        if let Some(place) = tags.iter().position(|tag| tag.is_empty()) {
            return Err(FilterError::EmptyTag { place: place + 1 });
        }
        tags.sort_unstable();
        tags.dedup();
        if tags.is_empty() {
            return Err(FilterError::NoTags);
        }
        if tags.len() > MAX_TAGS {
            return Err(FilterError::TooManyTags { count: tags.len() });
        }
        let mut codes: Vec<i32> = tags.iter().map(|tag| java_string_hash(tag)).collect();
        codes.sort_unstable();
        codes.dedup();
        Ok(Self {
            tags: tags.into(),
            codes: codes.into(),
        })
    }

    /// Reads RocketMQ's text form; `None` stands for all messages.
    pub(super) fn from_text(text: &str) -> Result<Option<Self>, FilterError> {
        if text.len() > MAX_EXPRESSION_BYTES {
            return Err(FilterError::TooLong { length: text.len() });
        }
        let text = trim(text);
        if text.is_empty() || text == "*" {
            return Ok(None);
        }
        Self::new(tags_of(text)).map(Some)
    }

    /// Whether a message with this code can have one of the tags. RocketMQ looks at the lower 32 bits alone.
    pub(super) fn may_match_code(&self, code: TagsCode) -> bool {
        let code = code as i32;
        if self.codes.len() > SMALL_SET {
            return self.codes.binary_search(&code).is_ok();
        }
        self.codes.contains(&code)
    }

    /// Whether a message with these properties has one of the tags. Its `TAGS` are one tag, whatever they contain.
    pub(super) fn matches(&self, encoded_properties: &[u8]) -> bool {
        let tag = property_pairs(encoded_properties)
            .filter(|(name, _)| *name == keys::TAGS.as_bytes())
            .last();
        let Some((_, tag)) = tag else {
            return false;
        };
        if self.tags.len() > SMALL_SET {
            let found = self
                .tags
                .binary_search_by(|other| other.as_bytes().cmp(tag));
            return found.is_ok();
        }
        self.tags.iter().any(|other| other.as_bytes() == tag)
    }
}

/// The tags of RocketMQ's text form, `new || paid`.
pub fn tags_of(text: &str) -> impl Iterator<Item = &str> {
    text.split("||").map(trim).filter(|tag| !tag.is_empty())
}

/// Java's `trim`.
fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}
