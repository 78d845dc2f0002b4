//! Changes of a topic's or group's attributes, as tools write them: `+name=value,-name` (RocketMQ `AttributeParser`).

use thiserror::Error;

/// A change of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeChange<'a> {
    /// It has this value from now on.
    Set {
        /// The attribute.
        name: &'a str,
        /// The value.
        value: &'a str,
    },
    /// It is not set any more.
    Remove {
        /// The attribute.
        name: &'a str,
    },
}

impl<'a> AttributeChange<'a> {
    /// The attribute.
    pub fn name(&self) -> &'a str {
        match self {
            Self::Set { name, .. } | Self::Remove { name } => name,
        }
    }
}

/// A text that says no changes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AttributeChangesError {
    /// A part of it is none.
    #[error("attribute change {text:?} is wrong: write +name=value to set, -name to remove")]
    Form {
        /// The part.
        text: String,
    },
    /// An attribute is there twice.
    #[error("attribute {name:?} is changed twice")]
    Twice {
        /// The attribute.
        name: String,
    },
}

/// The changes that a text says.
///
/// # Errors
///
/// When a part of it is none, or an attribute is there twice.
pub fn attribute_changes(text: &str) -> Result<Vec<AttributeChange<'_>>, AttributeChangesError> {
    let mut changes = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        changes.push(change(part).ok_or_else(|| AttributeChangesError::Form {
            text: part.chars().take(200).collect(),
        })?);
    }
    let mut names: Vec<_> = changes.iter().map(AttributeChange::name).collect();
    names.sort_unstable();
    let twice = names.iter().zip(names.iter().skip(1)).find(|(a, b)| a == b);
    match twice {
        None => Ok(changes),
        Some((name, _)) => Err(AttributeChangesError::Twice {
            name: name.chars().take(200).collect(),
        }),
    }
}

fn change(part: &str) -> Option<AttributeChange<'_>> {
    let change = match part.split_once('=') {
        Some((name, value)) => AttributeChange::Set {
            name: name.strip_prefix('+')?,
            value,
        },
        None => AttributeChange::Remove {
            name: part.strip_prefix('-')?,
        },
    };
    Some(change).filter(|change| !change.name().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_set_or_removed() {
        let changes = attribute_changes("+message.type=FIFO, -reserve.time").unwrap();
        let set = AttributeChange::Set {
            name: "message.type",
            value: "FIFO",
        };
        let remove = AttributeChange::Remove {
            name: "reserve.time",
        };
        assert_eq!(changes, [set, remove]);
        assert_eq!(attribute_changes(""), Ok(Vec::new()));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["a=b", "a", "+a", "-a=b", "+=b", "-", "+a=1,b"] {
            let refused = attribute_changes(text);
            assert!(
                matches!(refused, Err(AttributeChangesError::Form { .. })),
                "{text}"
            );
        }
        let twice = attribute_changes("+a=1,-a").unwrap_err();
        assert_eq!(twice.to_string(), "attribute \"a\" is changed twice");
    }
}
