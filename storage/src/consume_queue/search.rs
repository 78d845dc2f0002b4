//! Offsets by time.

use castmq_protocol::model::QueueOffset;

use super::error::ConsumeQueueError;
use super::queue::ConsumeQueue;
use super::unit::{ConsumeUnit, Stored};

/// Which of the messages around a point in time is meant (RocketMQ `BoundaryType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boundary {
    /// The first message at that time or later; the next offset when there is none.
    #[default]
    Lower,
    /// The last message at that time or earlier; the first message when there is none.
    Upper,
}

impl ConsumeQueue {
    /// The offset that stands for a time. `store_timestamp_ms` looks up when a message was stored.
    ///
    /// As RocketMQ has it, the bounds cross where no message has the time: between messages of 10 and 30, `Lower` of 20
    /// is the second and `Upper` the first.
    ///
    /// # Errors
    ///
    /// Those of reading the queue, and those of `store_timestamp_ms`.
    pub fn search<E: From<ConsumeQueueError>>(
        &self,
        timestamp_ms: i64,
        boundary: Boundary,
        mut store_timestamp_ms: impl FnMut(ConsumeUnit) -> Result<i64, E>,
    ) -> Result<QueueOffset, E> {
        let (min, max) = self.bounds();
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            let is_before = match self.unit_at(middle) {
                // Retention went on meanwhile: such a message is older than all that are left.
                _ if middle < self.bounds().0 => true,
                Err(error) => return Err(error.into()),
                Ok(Stored::Filler | Stored::Nothing) => return Err(self.damaged(middle).into()),
                Ok(Stored::Unit(unit)) => {
                    let stored_ms = store_timestamp_ms(unit)?;
                    match boundary {
                        Boundary::Lower => stored_ms < timestamp_ms,
                        Boundary::Upper => stored_ms <= timestamp_ms,
                    }
                }
            };
            match is_before {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let (min, max) = self.bounds();
        let offset = match boundary {
            Boundary::Lower => low,
            Boundary::Upper => low.saturating_sub(1),
        };
        Ok(QueueOffset(offset.clamp(min, max)))
    }

    fn bounds(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.min, state.max())
    }
}
