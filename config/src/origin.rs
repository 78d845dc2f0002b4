//! Where a value comes from.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave it: CastMQ's own default.
    Default,
    /// A TOML or RocketMQ file.
    File {
        /// The file, as it was named to the loader.
        path: Arc<Path>,
        /// Line, counted from 1; `None` for what the file says by leaving it out.
        line: Option<usize>,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A flag on the command line.
    Flag {
        /// Its name, dashes included.
        name: String,
    },
}

impl Origin {
    pub(crate) fn line(path: &Arc<Path>, line: usize) -> Self {
        Self::File {
            path: Arc::clone(path),
            line: Some(line),
        }
    }

    /// Whether it is a RocketMQ file, where RocketMQ's ways with odd values are followed.
    pub fn is_rocketmq_file(&self) -> bool {
        match self {
            Self::File { path, .. } => FileFormat::of(path) == Some(FileFormat::Properties),
            _ => false,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => {
                write!(f, "file {}", path.display())?;
                line.map_or(Ok(()), |line| write!(f, ":{line}"))
            }
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Flag { name } => write!(f, "flag {name}"),
        }
    }
}

/// The two kinds of configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileFormat {
    Toml,
    Properties,
}

impl FileFormat {
    /// The format that the extension of `path` stands for.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        if extension.eq_ignore_ascii_case("toml") {
            Some(Self::Toml)
        } else if extension.eq_ignore_ascii_case("properties") {
            Some(Self::Properties)
        } else {
            None
        }
    }
}

/// The file of a test.
#[cfg(test)]
pub(crate) fn test_path(path: &str) -> Arc<Path> {
    Arc::from(Path::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_named_as_the_operator_knows_them() {
        let path = test_path("conf/a.properties");
        assert_eq!(Origin::Default.to_string(), "default");
        let line = Origin::line(&path, 12);
        assert_eq!(line.to_string(), "file conf/a.properties:12");
        assert!(line.is_rocketmq_file());
        let whole = Origin::File { path, line: None };
        assert_eq!(whole.to_string(), "file conf/a.properties");
    }
}
