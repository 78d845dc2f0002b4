//! Who belongs to a cluster.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ClusterError;

/// Most masters: they are named by letters.
pub(super) const MAX_MASTERS: u8 = 26;
/// Most slaves of one master. More are no safer, and each is a process.
pub(super) const MAX_SLAVES_PER_MASTER: u8 = 8;
/// Most name servers. Each broker registers with all of them.
pub(super) const MAX_NAME_SERVERS: u8 = 9;

/// How many there are of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) name_servers: u8,
    pub(super) masters: u8,
    /// In all, spread over the masters.
    pub(super) slaves: u8,
}

/// What a member is in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Part {
    NameServer,
    /// Of the brokers of a set, the one with id 0 is the master when the cluster is made.
    Broker {
        set: String,
        id: u32,
    },
}

impl Part {
    /// Ports that it needs, one behind the other: a broker has another one for its slaves.
    pub(super) fn ports(&self) -> u16 {
        match self {
            Self::NameServer => 1,
            Self::Broker { .. } => 2,
        }
    }

    pub(super) fn is_name_server(&self) -> bool {
        *self == Self::NameServer
    }

    pub(super) fn is_master(&self) -> bool {
        matches!(self, Self::Broker { id: 0, .. })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameServer => "name server",
            Self::Broker { id: 0, .. } => "master",
            Self::Broker { .. } => "slave",
        })
    }
}

impl Shape {
    /// # Errors
    ///
    /// When there are more slaves than its masters may have.
    pub(super) fn check(self) -> Result<Self, ClusterError> {
        let most = u16::from(self.masters) * u16::from(MAX_SLAVES_PER_MASTER);
        match u16::from(self.slaves) <= most {
            true => Ok(self),
            false => Err(ClusterError::TooManySlaves {
                slaves: self.slaves,
                masters: self.masters,
                most,
            }),
        }
    }

    /// The members by name, in the order in which they are started: name servers, masters, slaves.
    pub(super) fn members(self) -> Vec<(String, Part)> {
        let name_servers =
            (1..=self.name_servers).map(|number| (format!("namesrv-{number}"), Part::NameServer));
        let masters = (0..self.masters).map(|index| {
            let set = set(index);
            (set.clone(), Part::Broker { set, id: 0 })
        });
        // One for each master, and then around again.
        let slaves = (0..self.slaves).map(|index| {
            let set = set(index % self.masters);
            let id = u32::from(index / self.masters) + 1;
            let name = match id {
                1 => format!("{set}-s"),
                id => format!("{set}-s{id}"),
            };
            (name, Part::Broker { set, id })
        });
        name_servers.chain(masters).chain(slaves).collect()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |count: u8, what| crate::tools::print::counted(count.into(), what);
        write!(
            f,
            "{}, {}, {}",
            counted(self.name_servers, "name server"),
            counted(self.masters, "master"),
            counted(self.slaves, "slave")
        )
    }
}

fn set(index: u8) -> String {
    format!("broker-{}", char::from(b'a' + index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(masters: u8, slaves: u8) -> Vec<String> {
        let shape = Shape {
            name_servers: 1,
            masters,
            slaves,
        };
        let members = shape.members().into_iter();
        members.map(|(name, _)| name).collect()
    }

    #[test]
    fn slaves_are_spread_over_the_masters() {
        assert_eq!(
            names(2, 2),
            [
                "namesrv-1",
                "broker-a",
                "broker-b",
                "broker-a-s",
                "broker-b-s"
            ]
        );
        assert_eq!(
            names(2, 1),
            ["namesrv-1", "broker-a", "broker-b", "broker-a-s"]
        );
        assert_eq!(
            names(1, 3),
            [
                "namesrv-1",
                "broker-a",
                "broker-a-s",
                "broker-a-s2",
                "broker-a-s3"
            ]
        );
        assert_eq!(names(26, 0).last().map(String::as_str), Some("broker-z"));
    }

    #[test]
    fn more_slaves_than_a_master_may_have_are_refused() {
        let shape = |slaves| Shape {
            name_servers: 1,
            masters: 2,
            slaves,
        };
        assert!(shape(16).check().is_ok());
        let error = shape(17).check().unwrap_err().to_string();
        assert!(error.contains("at most 16"), "{error}");
    }
}
