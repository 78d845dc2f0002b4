//! How fast a consumer that is far behind may go while producers send.
//!
//! Old messages can be delivered faster than anything else happens here, and whoever sends meanwhile would wait behind
//! them at every step. So a consumer that is far behind takes short turns and rests while the log grows: the more it
//! grows, the more it may take, so that it catches up whatever the rate. While nobody sends it goes as fast as it can.

use std::time::Duration;

use castmq_protocol::model::PhysicalOffset;

/// Messages further than this from the end of the log are old, in bytes.
const FAR_BEHIND_BYTES: u64 = 64 * 1024 * 1024;

/// What it may take between two rests at the least, in bytes.
const BURST_BYTES: u64 = 256 * 1024;

/// And how many times what came meanwhile.
const CATCH_UP: u64 = 4;

/// After so many of them in which the log did not grow nobody counts as sending. One alone is over before a producer of thousands a
/// second sends again.
const QUIET_BURSTS: u32 = 16;

/// How long it rests.
pub(super) const REST: Duration = Duration::from_millis(1);

/// What a session delivered of old messages since it last rested, or looked whether it should.
#[derive(Debug)]
pub(super) struct Pace {
    taken_bytes: u64,
    log_end: PhysicalOffset,
    /// Bursts in a row in which the log did not grow.
    quiet_bursts: u32,
    /// Whether others were sending, little enough that there is time for short turns.
    is_careful: bool,
}

impl Pace {
    /// Begins with a log that ends there.
    pub(super) fn new(log_end: PhysicalOffset) -> Self {
        Self {
            taken_bytes: 0,
            log_end,
            quiet_bursts: QUIET_BURSTS,
            is_careful: false,
        }
    }

    /// Whether to take short turns.
    pub(super) fn is_careful(&self) -> bool {
        self.is_careful
    }

    /// To be told what was delivered. Says whether it is time to rest.
    pub(super) fn rests_after(
        &mut self,
        delivered_bytes: u64,
        behind_bytes: u64,
        log_end: PhysicalOffset,
    ) -> bool {
        if behind_bytes < FAR_BEHIND_BYTES {
            *self = Self::new(log_end);
            return false;
        }
        self.taken_bytes += delivered_bytes;
        let grown_bytes = log_end.distance_from(self.log_end);
        if self.taken_bytes < BURST_BYTES.max(CATCH_UP * grown_bytes) {
            // So much comes that it has to hurry.
            self.is_careful &= CATCH_UP * grown_bytes <= 2 * BURST_BYTES;
            return false;
        }
        self.taken_bytes = 0;
        self.log_end = log_end;
        self.quiet_bursts = match grown_bytes {
            0 => self.quiet_bursts.saturating_add(1),
            _ => 0,
        };
        self.is_careful = self.quiet_bursts < QUIET_BURSTS;
        self.is_careful
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: u64 = 128 * 1024;

    /// Delivers until it rests, at most so many turns, while the log grows by so much with each.
    fn turns_before_rest(pace: &mut Pace, end: &mut u64, growth: u64, most: u64) -> u64 {
        for turn in 1..=most {
            *end += growth;
            if pace.rests_after(TURN, FAR_BEHIND_BYTES, PhysicalOffset(*end)) {
                return turn;
            }
        }
        most
    }

    #[test]
    fn it_rests_only_while_the_log_grows() {
        let (mut pace, mut end) = (Pace::new(PhysicalOffset(1 << 40)), 1 << 40);
        assert_eq!(turns_before_rest(&mut pace, &mut end, 0, 100), 100);
        assert!(!pace.is_careful());
        assert_eq!(
            turns_before_rest(&mut pace, &mut end, 10, 100),
            BURST_BYTES / TURN
        );
        assert!(pace.is_careful());
    }

    #[test]
    fn it_goes_on_resting_for_a_while_when_nothing_comes() {
        let (mut pace, mut end) = (Pace::new(PhysicalOffset(1 << 40)), 1 << 40);
        turns_before_rest(&mut pace, &mut end, 10, 100);
        for _ in 1..QUIET_BURSTS {
            assert_eq!(
                turns_before_rest(&mut pace, &mut end, 0, 100),
                BURST_BYTES / TURN
            );
            assert!(pace.is_careful());
        }
        assert_eq!(turns_before_rest(&mut pace, &mut end, 0, 100), 100);
        assert!(!pace.is_careful());
    }

    #[test]
    fn it_catches_up_with_any_rate() {
        let (mut pace, mut end) = (Pace::new(PhysicalOffset(1 << 40)), 1 << 40);
        turns_before_rest(&mut pace, &mut end, 10, 100);
        for growth in [1_000, 30_000, TURN / 5] {
            let before = end;
            let turns = turns_before_rest(&mut pace, &mut end, growth, 1_000_000);
            assert!(turns * TURN >= CATCH_UP * (end - before));
        }
        // Where it would fall behind it does not rest at all, and takes long turns.
        assert_eq!(turns_before_rest(&mut pace, &mut end, TURN, 1000), 1000);
        assert!(!pace.is_careful());
    }

    #[test]
    fn near_the_end_it_never_rests() {
        let end = PhysicalOffset(1 << 40);
        let mut pace = Pace::new(end);
        assert!(!pace.rests_after(u64::MAX / 2, FAR_BEHIND_BYTES - 1, end));
    }
}
