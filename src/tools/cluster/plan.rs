//! What a cluster is made of, as its folder remembers it.

use std::net::{Ipv4Addr, SocketAddr};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::ClusterError;
use super::ports::Ports;
use super::shape::{Part, Shape};

/// When a master answers to a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Replication {
    /// When a slave has the message, too.
    Sync,
    /// When it has stored the message itself.
    Async,
}

/// What a cluster is made of, and with which settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    pub(super) replication: Replication,
    /// Further settings, key and value, as they were given.
    pub(super) settings: Vec<(String, String)>,
    #[serde(rename = "member")]
    pub(super) members: Vec<Member>,
}

/// A server of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) part: Part,
    pub(super) port: u16,
}

impl Member {
    /// Where clients reach it.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }
}

impl Plan {
    /// A new one, with ports that are free now. They are kept for it as long as `ports` is.
    pub(super) fn new(
        shape: Shape,
        replication: Replication,
        settings: Vec<(String, String)>,
        ports: &mut Ports,
    ) -> Result<Self, ClusterError> {
        let mut members = Vec::new();
        for (name, part) in shape.members() {
            let port = ports.find(part.ports()).map_err(ClusterError::Ports)?;
            members.push(Member { name, part, port });
        }
        Ok(Self {
            replication,
            settings,
            members,
        })
    }

    pub(super) fn shape(&self) -> Shape {
        let count = |is_one: fn(&Part) -> bool| {
            let those = self.members.iter().filter(|member| is_one(&member.part));
            u8::try_from(those.count()).unwrap_or(u8::MAX)
        };
        Shape {
            name_servers: count(Part::is_name_server),
            masters: count(Part::is_master),
            slaves: count(|part| !part.is_name_server() && !part.is_master()),
        }
    }

    /// All name servers, separated by commas, as flags take them.
    pub(super) fn name_servers(&self) -> String {
        let those = self
            .members
            .iter()
            .filter(|member| member.part.is_name_server());
        let addresses: Vec<_> = those.map(|member| member.address().to_string()).collect();
        addresses.join(",")
    }

    /// Whether a master has slaves when the cluster is made.
    pub(super) fn has_slaves(&self, set: &str) -> bool {
        self.members.iter().any(
            |member| matches!(&member.part, Part::Broker { set: its, id } if its == set && *id > 0),
        )
    }
}
