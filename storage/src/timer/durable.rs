//! Making durable what was inserted and how far it came out.

use super::check::{Head, Own};
use super::entry::Survives;
use super::error::TimerError;
use super::state::Timer;

impl Timer {
    /// Writes entries that are in memory only, so that they survive the end of the process.
    ///
    /// # Errors
    ///
    /// I/O errors; it can be called again.
    pub fn flush(&mut self) -> Result<(), TimerError> {
        self.log.write()
    }

    /// Writes down how far the timer is, everything inserted included.
    ///
    /// `stored_before_ms` is a [`read_time_ms`](Self::read_time_ms) of before anything was taken out that is not stored
    /// yet where it is delivered to: after a stop entries come out again from there on, none before. What has to survive a
    /// power cut must have been stored so, and so must the log up to the last entry inserted.
    ///
    /// # Errors
    ///
    /// I/O errors; it can be called again. A sync that fails is final: see [`TimerError::Poisoned`].
    pub fn checkpoint(
        &mut self,
        now_ms: i64,
        stored_before_ms: i64,
        survives: Survives,
    ) -> Result<(), TimerError> {
        let read_ms = stored_before_ms
            .min(self.read_time_ms())
            .max(self.check.head.read_ms);
        self.log.write()?;
        match survives {
            Survives::Kill => self.note(read_ms),
            Survives::PowerCut => self.sync(now_ms, read_ms),
        }
    }

    pub(super) fn note(&self, read_ms: i64) -> Result<(), TimerError> {
        self.check.note(Own {
            read_ms,
            queue_offset: self.resume.as_i64(),
            log_end: self.log.end().cast_signed(),
        })
    }

    /// Makes everything durable: the units, then the slots that lead to them, then how far both are.
    pub(super) fn sync(&mut self, now_ms: i64, read_ms: i64) -> Result<(), TimerError> {
        if let Some(reason) = &self.poison {
            let reason = reason.clone();
            return Err(TimerError::Poisoned { reason });
        }
        let result = self.sync_in_order(now_ms, read_ms);
        if let Err(error) = &result
            && error.is_failed_sync()
        {
            self.poison = Some(error.to_string());
        }
        result
    }

    fn sync_in_order(&mut self, now_ms: i64, read_ms: i64) -> Result<(), TimerError> {
        if self.log.synced != self.log.written || self.log.has_unsynced_names {
            self.log.sync()?;
        }
        self.wheel.sync()?;
        let old = self.check.head;
        let head = Head {
            read_ms,
            log_flushed: self.log.synced.cast_signed(),
            queue_offset: self.resume.as_i64(),
            master_queue_offset: self.resume.as_i64(),
            ..old
        };
        if head == old {
            return Ok(());
        }
        self.check.save(Head {
            changed_ms: now_ms,
            counter: old.counter.wrapping_add(1),
            ..head
        })
    }
}
