//! What is said when something is wrong.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::Origin;

/// One thing that keeps a configuration from being used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file cannot be read.
    #[error(
        "file {}: cannot be read ({source}): check the path and its permissions",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is longer than any configuration.
    #[error("file {}: is longer than {limit} bytes, the limit for a configuration file", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// [`crate::MAX_FILE_BYTES`].
        limit: usize,
    },
    /// The extension tells no format.
    #[error(
        "file {}: the name must end in .toml (CastMQ) or .properties (RocketMQ): rename or link it, \
         RocketMQ's own broker.conf and namesrv.conf to .properties",
        path.display()
    )]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// The file does not follow its format.
    #[error("{origin}: {reason}")]
    Syntax {
        /// What is wrong there.
        reason: String,
        /// Where.
        origin: Origin,
    },
    /// Nothing is called that.
    #[error("{origin}: unknown key {key}{}", Suggestion(nearest.as_deref()))]
    UnknownKey {
        /// The key as it was given.
        key: String,
        /// The known key most like it.
        nearest: Option<String>,
        /// Where it was given.
        origin: Origin,
    },
    /// The value is not one that the key takes.
    #[error("{origin}: {name} is {value}, allowed is: {allowed}")]
    Value {
        /// The key, with the RocketMQ name that was given for it.
        name: String,
        /// The value as it was given.
        value: String,
        /// The values the key takes.
        allowed: String,
        /// Where it was given.
        origin: Origin,
    },
    /// A variable named in a value is not set.
    #[error(
        "{origin}: {name} names the variable {variable}, which is not set: set it, or write $${{ for a literal ${{"
    )]
    Variable {
        /// The variable.
        variable: String,
        /// The key, with the RocketMQ name that was given for it.
        name: String,
        /// Where it was given.
        origin: Origin,
    },
    /// RocketMQ would protect the broker here and CastMQ cannot yet.
    #[error("{origin}: {name} is {value}, but {reason}")]
    Refused {
        /// RocketMQ's key.
        name: String,
        /// The value as it was given.
        value: String,
        /// Why it cannot be passed over, and what to do.
        reason: &'static str,
        /// Where it was given.
        origin: Origin,
    },
    /// Two values that do not go together.
    #[error("{} and {}: {rule}", values[0], values[1])]
    Conflict {
        /// Both, each with its key and where it comes from.
        values: [String; 2],
        /// What must hold, and what to change.
        rule: String,
    },
    /// The settings could not be put together from values that had passed every check: a defect of CastMQ.
    #[error(
        "the settings cannot be put together ({0}): this is a defect of castmq, please report it"
    )]
    Assembly(#[from] config::ConfigError),
}

struct Suggestion<'a>(Option<&'a str>);

impl fmt::Display for Suggestion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => write!(f, ": did you mean {key}?"),
            None => f.write_str(": docs/configuration.md lists all keys"),
        }
    }
}

/// Everything that keeps a configuration from being used, as far as it could be told at once.
#[derive(Debug, Error)]
#[error("{}", Lines(problems))]
pub struct LoadError {
    /// At least one.
    pub problems: Vec<Problem>,
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [only] => write!(f, "{only}"),
            many => {
                write!(f, "{} problems in the configuration", many.len())?;
                many.iter()
                    .try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

/// Something to look at that does not keep the configuration from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The key as it was given.
    pub key: String,
    /// What to know about it; begins with the key.
    pub text: String,
    /// Where it was given.
    pub origin: Origin,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.text)
    }
}

/// A RocketMQ key that was read and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithoutEffect {
    /// RocketMQ's key.
    pub key: String,
    /// Why it changes nothing.
    pub reason: &'static str,
    /// Where it was given.
    pub origin: Origin,
}

impl fmt::Display for WithoutEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} has no effect: {}",
            self.origin, self.key, self.reason
        )
    }
}
