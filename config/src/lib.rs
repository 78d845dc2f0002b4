//! What a CastMQ node is told: typed settings, and the loaders that fill them.
//!
//! # Layout
//!
//! - [`settings`]: the settings, one file per section. Each section is one list (`declare`) from which come the struct,
//!   its defaults, its checks, its mapping from RocketMQ and its documentation.
//! - `key`: what a line of such a list says about a key. `declare`: the macros that read the list.
//! - `load`: the layers, from weak to strong: defaults, file, environment, flags. The `config` crate lays them over each other.
//! - `toml_file`, `rocketmq`, `outside`: one layer each (TOML, RocketMQ `.properties`, environment and flags). They only
//!   translate; `value` checks what they found.
//! - `checks`: rules between several keys. `problem`: what is said when something is wrong. `nearest`: what a misspelled
//!   key was meant to be.
//! - [`mod@reference`]: the generated parts of `docs/configuration.md`.
//!
//! ```
//! use castmq_config::{Flag, Loader, Node};
//!
//! let flag = Flag::new("store.data_dir", "/var/lib/castmq", "--data");
//! let loaded = Loader::new(Node::Standalone).flags([flag]).load()?;
//! assert_eq!(loaded.origin_of("store.data_dir").to_string(), "flag --data");
//! # Ok::<(), castmq_config::LoadError>(())
//! ```

mod checks;
mod declare;
mod key;
mod layer;
mod load;
mod nearest;
mod origin;
mod outside;
mod problem;
pub mod reference;
mod rocketmq;
pub mod settings;
mod toml_file;
mod value;

pub use key::{Adjust, Choice, Effect, KeyInfo, Kind, Range, Rule, Unit};
pub use load::{Flag, Loaded, Loader, MAX_FILE_BYTES, Node, Row};
pub use origin::Origin;
pub use problem::{LoadError, Problem, Warning, WithoutEffect};
pub use rocketmq::running::{ChangeRefused, check_changes, rocketmq_pairs};
pub use settings::{
    BrokerSettings, Flush, LimitSettings, LogFormat, LogSettings, NameServerSettings,
    ReplicationSettings, RetentionSettings, Role, Settings, StoreSettings, WithoutSlaves, find_key,
    keys,
};

/// What the names of CastMQ's environment variables begin with.
pub const VARIABLE_PREFIX: &str = "CASTMQ_";
