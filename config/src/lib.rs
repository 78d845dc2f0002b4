//! What a CastMQ node is told: typed settings.
//!
//! # Layout
//!
//! - [`settings`]: the settings, one file per section. Each section is one list (`declare`) from which come the struct,
//!   its defaults, its checks, its mapping from RocketMQ and its documentation.
//! - `key`: what a line of such a list says about a key. `declare`: the macros that read the list.

mod declare;
mod key;
pub mod settings;

pub use key::{Adjust, Choice, Effect, KeyInfo, Kind, Range, Rule, Unit};
pub use settings::{
    BrokerSettings, Flush, LimitSettings, LogFormat, LogSettings, NameServerSettings,
    ReplicationSettings, RetentionSettings, Role, RuntimeSettings, Settings, StoreSettings,
    find_key, keys,
};

/// What the names of CastMQ's environment variables begin with.
pub const VARIABLE_PREFIX: &str = "CASTMQ_";
