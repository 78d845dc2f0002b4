//! How the queues of a topic are shared among the members of a group.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A rule by which members get queues, the same for the whole group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Assignment {
    /// Fair shares, and as few queues move as possible: members keep what they have up to their share.
    #[default]
    Sticky,
    /// Each member gets a run of neighbouring queues; members in the order of their client ids.
    Average,
    /// Queues go around the members one by one.
    Circle,
    /// By a hash ring of the members: a member that comes or goes moves only queues of its own, and shares are not equal.
    ConsistentHash,
    /// Each member says which queues it has.
    Config,
    /// A broker's queues go to the members in its machine room, and to all where it has none there; shared as with
    /// [`Assignment::Sticky`].
    MachineRoom,
}

/// The text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{text:?} is no way to assign queues: use sticky, average, circle, consistent_hash, config or machine_room"
)]
pub struct AssignmentError {
    text: String,
}

impl Assignment {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sticky => "sticky",
            Self::Average => "average",
            Self::Circle => "circle",
            Self::ConsistentHash => "consistent_hash",
            Self::Config => "config",
            Self::MachineRoom => "machine_room",
        }
    }
}

impl fmt::Display for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Assignment {
    type Err = AssignmentError;

    /// Takes RocketMQ's names, too.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sticky" => Ok(Self::Sticky),
            "average" | "AVG" => Ok(Self::Average),
            "circle" | "AVG_BY_CIRCLE" => Ok(Self::Circle),
            "consistent_hash" | "CONSISTENT_HASH" => Ok(Self::ConsistentHash),
            "config" | "CONFIG" => Ok(Self::Config),
            "machine_room" | "MACHINE_ROOM" | "MACHINE_ROOM_NEARBY" => Ok(Self::MachineRoom),
            _ => Err(AssignmentError {
                text: text.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_refused() {
        for rule in [
            Assignment::Sticky,
            Assignment::Average,
            Assignment::Circle,
            Assignment::ConsistentHash,
            Assignment::Config,
            Assignment::MachineRoom,
        ] {
            assert_eq!(rule.name().parse(), Ok(rule));
        }
        assert_eq!("AVG_BY_CIRCLE".parse(), Ok(Assignment::Circle));
        let refused = "stick".parse::<Assignment>().unwrap_err();
        assert!(refused.to_string().contains("\"stick\""), "{refused}");
    }
}
