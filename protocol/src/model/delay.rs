//! Levels of delay: the fixed times that a message can wait.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// RocketMQ's levels, from 1 up.
pub const DEFAULT_DELAY_LEVELS: &str = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";

/// Levels at most: each has a queue, and an [`Origin`](crate::record::Origin) has room for as many.
pub const MAX_DELAY_LEVELS: usize = 64;

/// Why a list of levels was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DelayLevelsError {
    /// A level that is no time.
    #[error("{text:?} is no delay: write a number and ms, s, m, h or d, as in 30s")]
    Malformed {
        /// The level as it was written.
        text: String,
    },
    /// No levels, or too many.
    #[error("there are 1 to {MAX_DELAY_LEVELS} delay levels, not {count}")]
    Count {
        /// How many there were.
        count: usize,
    },
}

/// The times that a message can wait, by level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayLevels(Arc<[u64]>);

impl DelayLevels {
    /// How many there are.
    pub fn count(&self) -> u8 {
        self.0.len() as u8
    }

    /// The level that is used for this one: greater ones are the last. `None` for 0, which is none.
    pub fn clamp(&self, level: u8) -> Option<u8> {
        (level > 0).then(|| level.min(self.count()))
    }

    /// How long the messages in a queue of the schedule topic wait, in milliseconds. Queue 0 has those of level 1.
    pub fn of_queue(&self, queue: u32) -> u64 {
        let last = self.0.last().copied().unwrap_or_default();
        let level = usize::try_from(queue)
            .ok()
            .and_then(|queue| self.0.get(queue));
        level.copied().unwrap_or(last)
    }
}

impl FromStr for DelayLevels {
    type Err = DelayLevelsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let levels = text.split_whitespace().map(|level| {
            let malformed = || DelayLevelsError::Malformed {
                text: level.to_owned(),
            };
            let (number, unit_ms) = match level.as_bytes() {
                [number @ .., b'm', b's'] => (number, 1),
                [number @ .., b's'] => (number, 1_000),
                [number @ .., b'm'] => (number, 60_000),
                [number @ .., b'h'] => (number, 3_600_000),
                [number @ .., b'd'] => (number, 86_400_000),
                _ => return Err(malformed()),
            };
            let number = std::str::from_utf8(number).ok();
            let number = number.and_then(|number| number.parse::<u32>().ok());
            Ok(u64::from(number.ok_or_else(malformed)?) * unit_ms)
        });
        let levels = levels.collect::<Result<Arc<[_]>, _>>()?;
        match levels.len() {
            1..=MAX_DELAY_LEVELS => Ok(Self(levels)),
            count => Err(DelayLevelsError::Count { count }),
        }
    }
}

impl Default for DelayLevels {
    fn default() -> Self {
        const SECONDS: [u64; 18] = [
            1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200,
        ];
        Self(SECONDS.iter().map(|seconds| seconds * 1000).collect())
    }
}

impl fmt::Display for DelayLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ms) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            let units = [
                (86_400_000, "d"),
                (3_600_000, "h"),
                (60_000, "m"),
                (1_000, "s"),
            ];
            let fits = units
                .into_iter()
                .find(|(unit, _)| *ms > 0 && ms % unit == 0);
            let (unit, name) = fits.unwrap_or((1, "ms"));
            write!(f, "{gap}{}{name}", ms / unit)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_rocketmqs() {
        assert_eq!(DEFAULT_DELAY_LEVELS.parse(), Ok(DelayLevels::default()));
        assert_eq!(DelayLevels::default().to_string(), DEFAULT_DELAY_LEVELS);
    }

    #[test]
    fn levels_beyond_the_last_are_the_last() {
        let levels: DelayLevels = "90s 5ms".parse().unwrap();
        assert_eq!(levels.to_string(), "90s 5ms");
        let levels: DelayLevels = "1s 2d".parse().unwrap();
        assert_eq!(levels.clamp(0), None);
        assert_eq!(levels.clamp(1), Some(1));
        assert_eq!(levels.clamp(200), Some(2));
        assert_eq!(levels.of_queue(0), 1000);
        assert_eq!(levels.of_queue(1), 172_800_000);
        assert_eq!(levels.of_queue(7), 172_800_000);
    }

    #[test]
    fn what_is_no_list_of_times_is_refused() {
        for text in ["5", "s", "5x", "-1s", "1.5h", "99999999999s"] {
            let refused = text.parse::<DelayLevels>().unwrap_err();
            assert!(refused.to_string().contains(text), "{refused}");
        }
        assert!("".parse::<DelayLevels>().is_err());
        assert!("1s ".repeat(65).parse::<DelayLevels>().is_err());
    }
}
