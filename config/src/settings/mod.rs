//! The settings, one file per section. Each section's list is the single source of its keys.

mod broker;
mod limits;
mod log;
mod name_server;
mod replication;
mod retention;
mod store;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use broker::{BrokerSettings, Role};
pub use limits::LimitSettings;
pub use log::{LogFormat, LogSettings};
pub use name_server::NameServerSettings;
pub use replication::{ReplicationSettings, WithoutSlaves};
pub use retention::RetentionSettings;
pub use store::{Flush, StoreSettings};

use crate::KeyInfo;

/// Everything a node is told: one field per section, each with CastMQ's defaults.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Who this broker is and where it listens.
    pub broker: BrokerSettings,
    /// Where the name server listens and when it forgets brokers.
    pub name_server: NameServerSettings,
    /// Folders, file sizes and flushing.
    pub store: StoreSettings,
    /// When stored messages are deleted.
    pub retention: RetentionSettings,
    /// The bound of everything that grows.
    pub limits: LimitSettings,
    /// Masters and slaves.
    pub replication: ReplicationSettings,
    /// What is logged and how.
    pub log: LogSettings,
}

impl Settings {
    /// Brokers that must have a message before it is acknowledged: [`ReplicationSettings::in_sync_replicas`], which only
    /// counts in a sync_master.
    pub fn in_sync_replicas(&self, role: Role) -> u32 {
        match role {
            Role::SyncMaster => self.replication.in_sync_replicas.unwrap_or(2),
            Role::AsyncMaster | Role::Slave => 1,
        }
    }

    /// Where a master listens for slaves: [`ReplicationSettings::ha_listen_port`], or the port after the broker's.
    ///
    /// Port 0 (any free one) stays 0; `None` when the broker's port is the last there is.
    pub fn ha_listen(&self) -> Option<SocketAddr> {
        let mut address = self.broker.listen;
        let port = match (self.replication.ha_listen_port, address.port()) {
            (Some(port), _) => port,
            (None, 0) => 0,
            (None, port) => port.checked_add(1)?,
        };
        address.set_port(port);
        Some(address)
    }
}

/// A section's name, what it is about, and its keys.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) keys: &'static [KeyInfo],
}

pub(crate) static SECTIONS: [Section; 7] = [
    BrokerSettings::SECTION,
    NameServerSettings::SECTION,
    StoreSettings::SECTION,
    RetentionSettings::SECTION,
    LimitSettings::SECTION,
    ReplicationSettings::SECTION,
    LogSettings::SECTION,
];

/// Every key there is, section by section.
pub fn keys() -> impl Iterator<Item = &'static KeyInfo> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// The key of this name (`store.data_dir`), if there is one.
pub fn find_key(key: &str) -> Option<&'static KeyInfo> {
    keys().find(|info| info.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_within_its_own_range() {
        let defaults = Settings::default();
        for info in keys() {
            let value = info.value_in(&defaults);
            if let (Some(range), Ok(number)) = (info.rule.range, value.parse::<i64>()) {
                assert!(range.contains(number), "{} defaults to {value}", info.key);
            }
            if value == "unset" {
                assert!(info.rule.optional, "{} has no default", info.key);
            }
        }
    }

    #[test]
    fn the_ha_port_follows_the_brokers() {
        let mut settings = Settings::default();
        assert_eq!(settings.ha_listen(), "127.0.0.1:10912".parse().ok());
        settings.replication.ha_listen_port = Some(7);
        assert_eq!(settings.ha_listen(), "127.0.0.1:7".parse().ok());
        settings.replication.ha_listen_port = None;
        settings.broker.listen.set_port(0);
        assert_eq!(settings.ha_listen(), "127.0.0.1:0".parse().ok());
        settings.broker.listen.set_port(u16::MAX);
        assert_eq!(settings.ha_listen(), None);
    }
}
