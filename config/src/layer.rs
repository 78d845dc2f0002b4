//! One layer of the configuration: checked values with their origins, and what was wrong on the way.

use config::{ConfigError, Map, Source, Value, ValueKind};

use crate::value::{Raw, check};
use crate::{KeyInfo, Origin, Problem, Warning, WithoutEffect};

/// A value that has passed its own checks.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) info: &'static KeyInfo,
    pub(crate) value: ValueKind,
    pub(crate) origin: Origin,
}

/// What one file, the environment or the flags say.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    pub(crate) entries: Vec<Entry>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) without_effect: Vec<WithoutEffect>,
}

impl Layer {
    /// Takes a value for `info`, given under `name`, if it passes the check.
    pub(crate) fn set(&mut self, info: &'static KeyInfo, name: &str, raw: &Raw, origin: Origin) {
        let name = shown_name(name, info);
        match check(&info.rule, raw) {
            Ok(value) => {
                self.entries.push(Entry {
                    info,
                    value,
                    origin,
                });
            }
            Err(allowed) => self.problems.push(Problem::Value {
                name,
                value: raw.to_string(),
                allowed,
                origin,
            }),
        }
    }

    /// Notes something to look at.
    pub(crate) fn warn(&mut self, key: &str, text: String, origin: &Origin) {
        self.warnings.push(Warning {
            key: key.to_owned(),
            text,
            origin: origin.clone(),
        });
    }

    /// The values as the `config` crate takes them.
    pub(crate) fn source(&self) -> LayerSource {
        let value =
            |entry: &Entry| Value::new(Some(&entry.origin.to_string()), entry.value.clone());
        LayerSource(
            self.entries
                .iter()
                .map(|entry| (entry.info.key.to_owned(), value(entry)))
                .collect(),
        )
    }
}

/// `fileReservedTime (retention.keep_hours)` for a key given under another name.
pub(crate) fn shown_name(given: &str, info: &KeyInfo) -> String {
    if given == info.key {
        given.to_owned()
    } else {
        format!("{given} ({})", info.key)
    }
}

/// The values of a layer on their way into the `config` crate.
#[derive(Debug, Clone)]
pub(crate) struct LayerSource(Map<String, Value>);

impl Source for LayerSource {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}
