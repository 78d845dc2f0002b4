//! When segments of the log are deleted, and when the disk is too full to take messages: decisions only.

use std::time::{Duration, SystemTime};

use castmq_protocol::model::PhysicalOffset;
use jiff::Zoned;
use jiff::tz::TimeZone;

use crate::disk::Space;

/// Looks for which a deletion asked for by hand lasts (RocketMQ `manualDeleteFileSeveralTimes`).
pub const MANUAL_LOOKS: u32 = 20;

/// How far the used part of the disk has to fall below the limit before messages are taken again, in percent points:
/// enough that the next messages do not cross it at once.
pub const RESUME_BELOW_PERCENT: f64 = 2.0;

const HOUR: u64 = 3600;

/// When to delete. Percentages are of the partition that holds the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRules {
    /// Hours of the day, local time, at which expired segments are deleted.
    pub delete_hours: Vec<u8>,
    /// A segment is expired when nothing was written to it for so many hours.
    pub keep_hours: u64,
    /// Above, expired segments are deleted at any hour.
    pub max_used_percent: u8,
    /// Above, the oldest segments are deleted whether expired or not.
    pub force_percent: u8,
    /// Above, messages are refused.
    pub refuse_percent: u8,
    /// Whether segments may be deleted before they expire.
    pub force_enabled: bool,
    /// Segments deleted at one look at the most.
    pub batch_max: usize,
}

/// A segment of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentAge {
    /// The position of its first byte.
    pub base: PhysicalOffset,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was last written.
    pub modified: SystemTime,
    /// Whether somebody reads it.
    pub in_use: bool,
}

/// What is to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// The time.
    pub now: SystemTime,
    /// The hour of the day where the broker is: see [`local_hour`].
    pub local_hour: u8,
    /// All segments that hold something, the oldest first. The last is never deleted.
    pub segments: &'a [SegmentAge],
    /// The disk.
    pub space: Space,
    /// Whether somebody asked for a deletion within the last [`MANUAL_LOOKS`] looks.
    pub is_manual: bool,
    /// Whether the last look refused messages.
    pub was_refusing: bool,
    /// Segments stay from the one on in which this lies, however full the disk is.
    pub needed_from: PhysicalOffset,
    /// Bytes that have to be free so that the log can grow.
    pub next_segment_bytes: u64,
}

/// How full the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskLevel {
    /// Full enough for nothing.
    Ok,
    /// Expired segments do not wait for their hour.
    Warn,
    /// Segments do not wait until they expire.
    ForceDelete,
    /// So full that messages are refused.
    RefuseWrites,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Segments to delete, the oldest first.
    pub delete: Vec<PhysicalOffset>,
    /// Whether more would be deleted if it were not [needed](Look::needed_from).
    pub is_held: bool,
    /// How full the disk is.
    pub level: DiskLevel,
    /// Why, for the log and for whoever is refused: how much is used, the limit, what is deleted.
    pub reason: String,
}

/// The hour of the day at a time, in the time zone of the machine.
pub fn local_hour(now: SystemTime) -> u8 {
    let now = Zoned::try_from(now).unwrap_or_default();
    u8::try_from(now.with_time_zone(TimeZone::system()).hour()).unwrap_or(0)
}

/// Decides.
///
/// RocketMQ's rules (`CleanCommitLogService`), but for three things: what is [needed](Look::needed_from) stays; segments that
/// are not expired go only until the disk is below [`RetentionRules::force_percent`], not a whole batch at a time; and
/// messages refused are taken again only [`RESUME_BELOW_PERCENT`] below the limit.
pub fn decide(rules: &RetentionRules, look: &Look<'_>) -> Decision {
    let level = level(rules, look);
    let is_due =
        look.is_manual || level >= DiskLevel::Warn || rules.delete_hours.contains(&look.local_hour);
    let is_forced = rules.force_enabled && level >= DiskLevel::ForceDelete;
    let mut delete = Vec::new();
    let mut early = 0;
    let mut freed_bytes = 0;
    let mut held_from = None;
    let candidates = look.segments.split_last().map_or(&[][..], |(_, rest)| rest);
    for segment in candidates.iter().take(rules.batch_max) {
        let is_expired = is_expired(rules, look, segment);
        let makes_room = is_forced && is_short(rules, look, freed_bytes);
        // In order and without a gap, so the first that has to stay keeps all behind it.
        if !(is_due && is_expired && (!segment.in_use || is_forced)) && !makes_room {
            break;
        }
        let next = segment.base.0.saturating_add(segment.bytes);
        if look.needed_from.0 < next {
            held_from = Some(segment.base);
            break;
        }
        delete.push(segment.base);
        early += usize::from(!is_expired);
        freed_bytes += segment.bytes;
    }
    let mut reason = reason(rules, look, level, &delete, early);
    if let Some(base) = held_from {
        reason.push_str(&format!(
            "; the segment at {base} stays, since messages wait in it for their time or their end"
        ));
    }
    Decision {
        delete,
        is_held: held_from.is_some(),
        level,
        reason,
    }
}

/// The used part of the disk after so many bytes are freed.
fn used_percent(space: Space, freed_bytes: u64) -> f64 {
    let available_bytes = space.available_bytes.saturating_add(freed_bytes);
    let after = Space {
        available_bytes: available_bytes.min(space.total_bytes),
        ..space
    };
    after.used_ratio() * 100.0
}

fn level(rules: &RetentionRules, look: &Look<'_>) -> DiskLevel {
    let used = used_percent(look.space, 0);
    let refuse = f64::from(rules.refuse_percent);
    let resume = refuse - RESUME_BELOW_PERCENT;
    if used > refuse || (look.was_refusing && used > resume) {
        DiskLevel::RefuseWrites
    } else if is_short(rules, look, 0) {
        DiskLevel::ForceDelete
    } else if used > f64::from(rules.max_used_percent) {
        DiskLevel::Warn
    } else {
        DiskLevel::Ok
    }
}

/// Whether the oldest segments have to make room, after so many bytes are freed.
fn is_short(rules: &RetentionRules, look: &Look<'_>, freed_bytes: u64) -> bool {
    let is_full = used_percent(look.space, freed_bytes) > rules.force_percent.into();
    let free_bytes = look.space.available_bytes.saturating_add(freed_bytes);
    is_full || free_bytes < look.next_segment_bytes
}

fn is_expired(rules: &RetentionRules, look: &Look<'_>, segment: &SegmentAge) -> bool {
    let keep = Duration::from_secs(rules.keep_hours.saturating_mul(HOUR));
    // Written after now: the clock went back, so its age is unknown.
    let age = look
        .now
        .duration_since(segment.modified)
        .unwrap_or_default();
    age >= keep
}

fn reason(
    rules: &RetentionRules,
    look: &Look<'_>,
    level: DiskLevel,
    delete: &[PhysicalOffset],
    early: usize,
) -> String {
    let used = used_percent(look.space, 0);
    let limit = match level {
        DiskLevel::Ok => format!("below the limit of {}%", rules.max_used_percent),
        DiskLevel::Warn => format!(
            "above {}%, so expired segments are deleted at any hour",
            rules.max_used_percent
        ),
        DiskLevel::ForceDelete => {
            let (force, next) = (rules.force_percent, look.next_segment_bytes);
            let limit = match used > f64::from(force) {
                true => format!("above {force}%"),
                false => {
                    format!("and less is free than the {next} bytes that another segment needs")
                }
            };
            match rules.force_enabled {
                true => format!("{limit}, so the oldest segments are deleted before they expire"),
                false => format!("{limit}, but segments are not to be deleted before they expire"),
            }
        }
        DiskLevel::RefuseWrites => format!(
            "messages are refused above {}% until {}% is reached",
            rules.refuse_percent,
            f64::from(rules.refuse_percent) - RESUME_BELOW_PERCENT
        ),
    };
    let deleted = match (delete.first(), delete.last()) {
        (Some(first), Some(last)) => {
            let early = match early {
                0 => String::new(),
                early => format!(", {early} of them not expired"),
            };
            let segments = look.segments.len();
            format!(
                "deleting {} of {segments} segments, from {first} to {last}{early}",
                delete.len()
            )
        }
        _ if level == DiskLevel::Ok => "nothing to delete".to_owned(),
        _ => {
            let keep_hours = rules.keep_hours;
            format!("no segment can be deleted (kept for {keep_hours} h): free space on the disk")
        }
    };
    format!("{used:.1}% of the disk is used, {limit}; {deleted}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn rules() -> RetentionRules {
        RetentionRules {
            delete_hours: vec![4],
            keep_hours: 72,
            max_used_percent: 75,
            force_percent: 85,
            refuse_percent: 90,
            force_enabled: true,
            batch_max: 10,
        }
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    /// Segments of 1 GiB, last written so many hours ago.
    fn segments(ages_hours: &[u64]) -> Vec<SegmentAge> {
        let segment = |(number, age): (usize, &u64)| SegmentAge {
            base: PhysicalOffset(number as u64 * GIB),
            bytes: GIB,
            modified: now() - Duration::from_secs(age * HOUR),
            in_use: false,
        };
        ages_hours.iter().enumerate().map(segment).collect()
    }

    /// A look at a disk of 100 GiB at noon.
    fn look(segments: &[SegmentAge], used_percent: u64) -> Look<'_> {
        Look {
            now: now(),
            local_hour: 12,
            segments,
            space: Space {
                total_bytes: 100 * GIB,
                available_bytes: (100 - used_percent) * GIB,
            },
            is_manual: false,
            was_refusing: false,
            needed_from: PhysicalOffset(u64::MAX),
            next_segment_bytes: 0,
        }
    }

    fn deleted(decision: &Decision) -> Vec<u64> {
        decision.delete.iter().map(|base| base.0 / GIB).collect()
    }

    #[test]
    fn expired_segments_go_at_their_hour() {
        let segments = segments(&[100, 72, 71, 0]);
        let mut look = look(&segments, 50);
        let noon = decide(&rules(), &look);
        assert_eq!(deleted(&noon), []);
        assert_eq!(noon.level, DiskLevel::Ok);
        assert_eq!(
            noon.reason,
            "50.0% of the disk is used, below the limit of 75%; nothing to delete"
        );
        look.local_hour = 4;
        assert_eq!(deleted(&decide(&rules(), &look)), [0, 1]);
    }

    #[test]
    fn expired_segments_go_when_somebody_asks() {
        let segments = segments(&[100, 72, 71, 0]);
        let mut look = look(&segments, 50);
        look.is_manual = true;
        assert_eq!(deleted(&decide(&rules(), &look)), [0, 1]);
    }

    #[test]
    fn a_fuller_disk_does_not_wait_for_the_hour() {
        let segments = segments(&[100, 72, 71, 0]);
        assert_eq!(deleted(&decide(&rules(), &look(&segments, 75))), []);
        let decision = decide(&rules(), &look(&segments, 76));
        assert_eq!(deleted(&decision), [0, 1]);
        assert_eq!(decision.level, DiskLevel::Warn);
        assert_eq!(
            decision.reason,
            "76.0% of the disk is used, above 75%, so expired segments are deleted at any hour; \
             deleting 2 of 4 segments, from 0 to 1073741824"
        );
    }

    #[test]
    fn unexpired_segments_go_until_there_is_room_again() {
        let segments = segments(&[100, 50, 40, 30, 20, 0]);
        let decision = decide(&rules(), &look(&segments, 88));
        assert_eq!(decision.level, DiskLevel::ForceDelete);
        assert_eq!(deleted(&decision), [0, 1, 2]);
        assert!(
            decision
                .reason
                .contains("88.0% of the disk is used, above 85%")
        );
        assert!(
            decision.reason.ends_with("2 of them not expired"),
            "{}",
            decision.reason
        );
        let mut rules = rules();
        rules.force_enabled = false;
        assert_eq!(deleted(&decide(&rules, &look(&segments, 88))), [0]);
    }

    #[test]
    fn on_a_disk_so_small_that_no_segment_fits_below_the_limit_the_oldest_make_room_for_one() {
        let segments = segments(&[50, 40, 30, 0]);
        let mut look = look(&segments, 80);
        look.next_segment_bytes = 21 * GIB + GIB / 2;
        let decision = decide(&rules(), &look);
        assert_eq!(decision.level, DiskLevel::ForceDelete);
        assert_eq!(deleted(&decision), [0, 1]);
        let reason = &decision.reason;
        assert!(reason.contains("another segment needs"), "{reason}");
    }

    #[test]
    fn a_batch_is_the_most_and_the_last_segment_stays() {
        let old = [100; 30];
        let segments = segments(&old);
        assert_eq!(deleted(&decide(&rules(), &look(&segments, 80))).len(), 10);
        assert_eq!(deleted(&decide(&rules(), &look(&segments, 99))).len(), 10);
        let one = decide(&rules(), &look(&segments[..1], 99));
        assert_eq!(deleted(&one), []);
        assert!(
            one.reason.ends_with("free space on the disk"),
            "{}",
            one.reason
        );
        assert_eq!(deleted(&decide(&rules(), &look(&[], 99))), []);
    }

    #[test]
    fn a_segment_in_use_keeps_all_behind_it_unless_room_is_needed() {
        let mut segments = segments(&[100, 100, 100, 0]);
        segments[1].in_use = true;
        assert_eq!(deleted(&decide(&rules(), &look(&segments, 80))), [0]);
        assert_eq!(deleted(&decide(&rules(), &look(&segments, 95))), [0, 1, 2]);
    }

    #[test]
    fn what_is_needed_stays_though_it_is_expired_or_the_disk_is_full() {
        let segments = segments(&[100, 100, 100, 0]);
        for used in [80, 88, 99] {
            let mut look = look(&segments, used);
            look.needed_from = PhysicalOffset(2 * GIB);
            let decision = decide(&rules(), &look);
            assert_eq!(deleted(&decision), [0, 1], "at {used}%");
            assert!(decision.is_held);
            look.needed_from = PhysicalOffset(2 * GIB - 1);
            let decision = decide(&rules(), &look);
            assert_eq!(deleted(&decision), [0], "at {used}%");
            let reason = decision.reason;
            assert!(
                reason.contains("the segment at 1073741824 stays"),
                "{reason}"
            );
            look.needed_from = PhysicalOffset(0);
            let decision = decide(&rules(), &look);
            assert_eq!(deleted(&decision), [], "at {used}%");
        }
    }

    #[test]
    fn refused_messages_are_taken_again_well_below_the_limit() {
        let segments = segments(&[0]);
        let level = |used, was_refusing| {
            let mut look = look(&segments, used);
            look.was_refusing = was_refusing;
            decide(&rules(), &look).level
        };
        assert_eq!(level(90, false), DiskLevel::ForceDelete);
        assert_eq!(level(91, false), DiskLevel::RefuseWrites);
        assert_eq!(level(89, true), DiskLevel::RefuseWrites);
        assert_eq!(level(88, true), DiskLevel::ForceDelete);
        assert_eq!(level(89, false), DiskLevel::ForceDelete);
    }

    #[test]
    fn a_clock_that_went_back_expires_nothing() {
        let mut segments = segments(&[100, 0]);
        segments[0].modified = now() + Duration::from_secs(1_000_000);
        assert_eq!(deleted(&decide(&rules(), &look(&segments, 80))), []);
    }

    #[test]
    fn the_local_hour_is_one() {
        assert!(local_hour(now()) < 24);
    }

    proptest! {
        #[test]
        fn decisions_are_bounded_prefixes(
            ages in prop::collection::vec(0..200_u64, 0..30),
            used in 0..=100_u64,
            local_hour in 0..24_u8,
            was_refusing in any::<bool>(),
            batch_max in 0..12_usize,
        ) {
            let segments = segments(&ages);
            let mut look = look(&segments, used);
            look.local_hour = local_hour;
            look.was_refusing = was_refusing;
            let rules = RetentionRules { batch_max, ..rules() };
            let decision = decide(&rules, &look);
            let count = decision.delete.len();
            prop_assert!(count <= batch_max && (count == 0 || count < segments.len()));
            let oldest: Vec<_> = segments.iter().take(count).map(|segment| segment.base).collect();
            prop_assert_eq!(&decision.delete, &oldest);
            if used <= 85 {
                prop_assert!(ages[..count].iter().all(|age| *age >= 72));
            }
            prop_assert_eq!(decision.level == DiskLevel::RefuseWrites, used > 90 || (was_refusing && used > 88));
        }
    }
}
