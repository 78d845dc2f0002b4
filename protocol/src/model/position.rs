//! Where things are: queue numbers, offsets in a queue, offsets in the log.

use std::fmt;
use std::ops::{Add, Sub};

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An offset read from a file or a socket that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{what} {value} is negative")]
pub struct PositionError {
    what: &'static str,
    value: i64,
}

macro_rules! offset_type {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default,
            Serialize, Deserialize, Encode, Decode,
        )]
        #[serde(transparent)]
        pub struct $type(pub u64);

        impl $type {
            /// The first position there is.
            pub const ZERO: Self = Self(0);

            /// Reads the signed 64-bit form that RocketMQ stores and sends.
            pub fn from_i64(value: i64) -> Result<Self, PositionError> {
                u64::try_from(value).map(Self).map_err(|_| PositionError { what: $what, value })
            }

            /// The signed 64-bit form that RocketMQ stores and sends.
            pub fn as_i64(self) -> i64 {
                i64::try_from(self.0).unwrap_or(i64::MAX)
            }

            /// How far `self` lies beyond `earlier`; zero when it does not.
            pub fn distance_from(self, earlier: Self) -> u64 {
                self.0.saturating_sub(earlier.0)
            }
        }

        impl Add<u64> for $type {
            type Output = Self;
            fn add(self, distance: u64) -> Self {
                Self(self.0 + distance)
            }
        }

        impl Sub<u64> for $type {
            type Output = Self;
            fn sub(self, distance: u64) -> Self {
                Self(self.0 - distance)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

offset_type!(
    /// A byte position in the commit log, counted from the first byte ever written.
    PhysicalOffset, "physical offset"
);
offset_type!(
    /// A message's place in its queue: 0, 1, 2 …, without gaps.
    QueueOffset, "queue offset"
);

/// The number of a queue inside its topic on one broker.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    Encode,
    Decode,
)]
#[serde(transparent)]
pub struct QueueId(pub u32);

impl QueueId {
    /// Reads the signed 32-bit form that RocketMQ stores and sends.
    pub fn from_i32(value: i32) -> Result<Self, PositionError> {
        u32::try_from(value).map(Self).map_err(|_| PositionError {
            what: "queue id",
            value: value.into(),
        })
    }

    /// The signed 32-bit form that RocketMQ stores and sends.
    pub fn as_i32(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_positions_are_refused_by_name() {
        assert_eq!(
            QueueOffset::from_i64(-1).unwrap_err().to_string(),
            "queue offset -1 is negative"
        );
        assert!(QueueId::from_i32(-1).is_err());
        assert_eq!(PhysicalOffset::from_i64(7), Ok(PhysicalOffset(7)));
    }
}
