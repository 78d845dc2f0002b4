//! The layers, laid over each other: defaults < file < environment < flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::Config;

use crate::checks::Checks;
use crate::layer::Layer;
use crate::origin::FileFormat;
use crate::outside::{Environment, read_environment, read_flags};
use crate::settings::{Settings, keys};
use crate::{LoadError, Origin, Problem, Warning, WithoutEffect, rocketmq, toml_file};

/// Longest configuration file that is read.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// What the process is going to be. RocketMQ uses the same key, `listenPort`, in the files of both servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// Name server and broker in one process.
    Standalone,
    /// A broker alone.
    Broker,
    /// A name server alone.
    NameServer,
}

/// A setting from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The key it sets: `store.data_dir`.
    pub key: String,
    /// Its value as text.
    pub value: String,
    /// What the user typed, for messages: `--data`.
    pub name: String,
}

impl Flag {
    /// The flag `name`, which sets `key` to `value`.
    pub fn new(key: impl Into<String>, value: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            name: name.into(),
        }
    }
}

/// Gathers the layers and loads them.
#[derive(Debug, Clone)]
pub struct Loader {
    node: Node,
    file: Option<PathBuf>,
    environment: Environment,
    flags: Vec<Flag>,
}

impl Loader {
    /// Nothing but defaults.
    pub fn new(node: Node) -> Self {
        Self {
            node,
            file: None,
            environment: Environment::new(),
            flags: Vec::new(),
        }
    }

    /// The file to read: `.toml` for CastMQ's format, `.properties` for RocketMQ's.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// The environment: settings from `CASTMQ_…` and `NAMESRV_ADDR`, all of it for `${VAR}` in a RocketMQ file.
    /// Pass [`std::env::vars_os`].
    pub fn environment<K: Into<OsString>, V: Into<OsString>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let variables = variables.into_iter();
        self.environment
            .extend(variables.map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Settings from the command line; of two for one key the later counts.
    pub fn flags(mut self, flags: impl IntoIterator<Item = Flag>) -> Self {
        self.flags.extend(flags);
        self
    }

    /// Reads the file and puts the settings together.
    ///
    /// # Errors
    ///
    /// Everything that is wrong in any layer. Only when the layers are right one by one are they held against each other.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        let file = match &self.file {
            None => Layer::default(),
            Some(path) => match self.read_file(path) {
                Ok(layer) => layer,
                Err(problem) => Layer {
                    problems: vec![problem],
                    ..Layer::default()
                },
            },
        };
        self.assemble(file)
    }

    fn read_file(&self, path: &Path) -> Result<Layer, Problem> {
        let extension = || Problem::Extension {
            path: path.to_owned(),
        };
        let format = FileFormat::of(path).ok_or_else(extension)?;
        let content = read_bounded(path).map_err(|source| Problem::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        if content.len() > MAX_FILE_BYTES {
            return Err(Problem::TooLong {
                path: path.to_owned(),
                limit: MAX_FILE_BYTES,
            });
        }
        Ok(self.read_content(format, &Arc::from(path), &content))
    }

    fn read_content(&self, format: FileFormat, path: &Arc<Path>, content: &[u8]) -> Layer {
        match format {
            FileFormat::Toml => toml_file::read(path, content),
            FileFormat::Properties => rocketmq::read(path, content, self.node, &self.environment),
        }
    }

    fn assemble(&self, file: Layer) -> Result<Loaded, LoadError> {
        let environment = read_environment(self.node, &self.environment);
        let mut layers = [file, environment, read_flags(&self.flags)];
        let problems = layers.iter_mut().flat_map(|layer| layer.problems.drain(..));
        reject(problems.collect())?;

        let mut settings = merge(&layers).map_err(|error| LoadError {
            problems: vec![error.into()],
        })?;
        let origins = origins(&layers);
        let data_dirs = data_dirs(&layers);
        let mut warnings = Vec::new();
        let mut without_effect = Vec::new();
        warnings.extend(overridden_name_servers(&layers, &origins));
        for layer in layers {
            warnings.extend(layer.warnings);
            without_effect.extend(layer.without_effect);
        }
        warnings.extend(self.default_data_dir(&settings, &origins));
        let mut checks = Checks::new(&mut settings, &origins);
        checks.run(self.node);
        checks.store_is_one(&data_dirs);
        warnings.append(&mut checks.warnings);
        reject(checks.problems)?;
        Ok(Loaded {
            settings,
            origins,
            warnings,
            without_effect,
        })
    }

    /// RocketMQ would look for the store at `$HOME/store` when its file names no folder.
    fn default_data_dir(
        &self,
        settings: &Settings,
        origins: &BTreeMap<&'static str, Origin>,
    ) -> Option<Warning> {
        let path = self.file.as_deref()?;
        let is_rocketmq = FileFormat::of(path) == Some(FileFormat::Properties);
        if !is_rocketmq || self.node == Node::NameServer || origins.contains_key("store.data_dir") {
            return None;
        }
        let data_dir = settings.store.data_dir.display();
        Some(Warning {
            key: "storePathRootDir".to_owned(),
            text: format!(
                "storePathRootDir is not given: messages are kept in {data_dir}, where RocketMQ would take $HOME/store"
            ),
            origin: Origin::File {
                path: Arc::from(path),
                line: None,
            },
        })
    }
}

fn reject(problems: Vec<Problem>) -> Result<(), LoadError> {
    if problems.is_empty() {
        Ok(())
    } else {
        Err(LoadError { problems })
    }
}

/// Reads a file up to one byte past the limit.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let limit = MAX_FILE_BYTES as u64 + 1;
    File::open(path)?.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

/// Lays the layers over the defaults.
fn merge(layers: &[Layer]) -> Result<Settings, config::ConfigError> {
    let builder = Config::builder();
    let builder = layers
        .iter()
        .fold(builder, |builder, layer| builder.add_source(layer.source()));
    builder.build()?.try_deserialize()
}

/// Who has the last word on each key that anybody gave.
fn origins(layers: &[Layer]) -> BTreeMap<&'static str, Origin> {
    let entries = layers.iter().flat_map(|layer| &layer.entries);
    entries
        .map(|entry| (entry.info.key, entry.origin.clone()))
        .collect()
}

/// Every folder of the store that anybody named, and who.
fn data_dirs(layers: &[Layer]) -> Vec<(PathBuf, Origin)> {
    let entries = layers.iter().flat_map(|layer| &layer.entries);
    let named = entries.filter(|entry| entry.info.key == "store.data_dir");
    named
        .map(|entry| (entry.value.to_string().into(), entry.origin.clone()))
        .collect()
}

/// RocketMQ lets its file win over NAMESRV_ADDR; here the environment wins over any file.
fn overridden_name_servers(
    layers: &[Layer],
    origins: &BTreeMap<&'static str, Origin>,
) -> Option<Warning> {
    let key = "broker.name_servers";
    let [file, ..] = layers else { return None };
    let in_file = file.entries.iter().rfind(|entry| entry.info.key == key)?;
    let origin = origins.get(key)?;
    let from_variable = matches!(origin, Origin::Environment { variable } if !variable.starts_with(crate::VARIABLE_PREFIX));
    (from_variable && in_file.origin.is_rocketmq_file()).then(|| Warning {
        key: key.to_owned(),
        text: format!(
            "{key} takes the place of {}; RocketMQ would use the file's",
            in_file.origin
        ),
        origin: origin.clone(),
    })
}

/// Settings, and how they came about.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings, checked.
    pub settings: Settings,
    /// Where each key that was given comes from; the others are at their defaults. See [`Loaded::origin_of`].
    pub origins: BTreeMap<&'static str, Origin>,
    /// What the operator should look at.
    pub warnings: Vec<Warning>,
    /// RocketMQ's keys that were read and change nothing.
    pub without_effect: Vec<WithoutEffect>,
}

/// A line of `castmq config show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Section and name: `store.data_dir`.
    pub key: &'static str,
    /// The value in force as TOML would have it, or `unset`.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

impl Loaded {
    /// Where the value of `key` comes from.
    pub fn origin_of(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Every key with its value and origin, section by section.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        keys().map(|info| Row {
            key: info.key,
            value: info.value_in(&self.settings),
            origin: self.origin_of(info.key),
        })
    }
}

#[cfg(test)]
mod tests;
