//! A subscription's filter, ready to look at messages.

use super::jms_message::JmsMessage;
use super::sql::SqlFilter;
use super::tags::TagSet;
use super::{Expression, FilterError, Selector};
use crate::model::TagsCode;
use crate::native::request::Filter;
use crate::record::RecordView;

/// A subscription's filter, compiled once and asked about every message.
///
/// No question fails or panics, whatever the bytes, or allocates, but for a selector that names JMSMessageID.
#[derive(Debug, Clone, PartialEq)]
pub struct CompiledFilter(Kind);

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    All,
    Tags(TagSet),
    Sql(SqlFilter),
    Selector(Selector),
}

impl CompiledFilter {
    /// Lets every message through.
    pub const ALL: Self = Self(Kind::All);

    /// Compiles a filter as it comes over the native wire, whose tags are taken as they are.
    ///
    /// # Errors
    ///
    /// No tags, an empty tag, too many of them, or an expression that is refused.
    pub fn new(filter: &Filter) -> Result<Self, FilterError> {
        Ok(Self(match filter {
            Filter::All => Kind::All,
            Filter::Tags(tags) => Kind::Tags(TagSet::new(tags.iter().map(String::as_str))?),
            Filter::Sql(expression) => Kind::Sql(SqlFilter::new(expression)?),
            Filter::Selector(text) => match Selector::new(text)? {
                selector if selector.expression().is_none() => Kind::All,
                selector => Kind::Selector(selector),
            },
        }))
    }

    /// Compiles tags in RocketMQ's text form: `TagA || TagB`, with any blanks; `*` or nothing for all messages.
    ///
    /// Empty places between the bars are passed over. RocketMQ takes `*` with blanks around it, and a text of blanks, for
    /// filters that nothing matches; here both are all messages.
    ///
    /// # Errors
    ///
    /// Only bars and blanks, too many tags, or a text over the limit.
    pub fn from_tags_text(text: &str) -> Result<Self, FilterError> {
        Ok(Self(TagSet::from_text(text)?.map_or(Kind::All, Kind::Tags)))
    }

    /// The cheap first look: whether a message with this code in the consume queue can match. Only then are its properties
    /// worth reading. In the schedule topic codes are times: there it says nothing.
    pub fn may_match_code(&self, tags_code: TagsCode) -> bool {
        match &self.0 {
            Kind::Tags(tags) => tags.may_match_code(tags_code),
            Kind::All | Kind::Sql(_) | Kind::Selector(_) => true,
        }
    }

    /// Whether a message with these properties, in RocketMQ's text form, is wanted.
    ///
    /// Of several properties with one name the last one counts, as in RocketMQ.
    pub fn matches(&self, encoded_properties: &[u8]) -> bool {
        match &self.0 {
            Kind::All => true,
            Kind::Tags(tags) => tags.matches(encoded_properties),
            Kind::Sql(filter) => filter.matches(encoded_properties),
            Kind::Selector(selector) => selector.matches(&JmsMessage::new(encoded_properties)),
        }
    }

    /// Whether a stored message is wanted: by its properties, and by when it was made, which selectors can ask too.
    pub fn matches_record(&self, record: &RecordView<'_>) -> bool {
        match &self.0 {
            Kind::Selector(selector) => selector.matches(&JmsMessage::of(record)),
            _ => self.matches(record.properties()),
        }
    }

    /// Whether every message is wanted.
    pub fn is_all(&self) -> bool {
        self.0 == Kind::All
    }

    /// The expression of an SQL filter or a selector.
    pub fn expression(&self) -> Option<&Expression> {
        match &self.0 {
            Kind::Sql(filter) => Some(filter.expression()),
            Kind::Selector(selector) => selector.expression(),
            Kind::All | Kind::Tags(_) => None,
        }
    }
}
