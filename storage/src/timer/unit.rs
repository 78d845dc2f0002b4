//! A unit of the timer log: 52 bytes about one message that waits. All numbers big endian.

use super::entry::Kind;

/// Size of a unit in bytes (RocketMQ `TimerLog.UNIT_SIZE`).
pub(super) const UNIT_BYTES: usize = 52;

/// Size of what stands behind the last unit of a file, and the room that every file keeps for it (RocketMQ
/// `TimerLog.MIN_BLANK_LEN`).
pub(super) const FILLER_BYTES: usize = 16;

/// Tells the filler from a unit (RocketMQ `TimerLog.BLANK_MAGIC_CODE`).
const FILLER_MAGIC: u32 = 0xCBD4_3194;

/// No time of a message is later: about the year 10000, in milliseconds since the epoch.
pub(super) const MAX_TIME_MS: i64 = 253_402_300_800_000;

const MAGIC_DEFAULT: i32 = 1;
const MAGIC_ROLL: i32 = 2;
const MAGIC_DELETE: i32 = 4;

/// What the log knows of a message that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    /// Where the unit before it in its slot starts.
    pub(super) previous: Option<u64>,
    pub(super) kind: Kind,
    /// Whether the message is not due when it comes out, but has to be stored anew.
    pub(super) rolls: bool,
    /// The start of the slot that the clock was in.
    pub(super) written_ms: i64,
    /// From `written_ms` to when it comes out.
    pub(super) delayed_ms: i32,
    pub(super) physical: u64,
    pub(super) size_bytes: u32,
    /// Java's hash of the topic that the message is for.
    pub(super) topic_hash: i32,
}

impl Unit {
    /// When the message comes out, in milliseconds since the epoch.
    pub(super) fn deliver_at_ms(&self) -> i64 {
        self.written_ms.saturating_add(i64::from(self.delayed_ms))
    }

    /// What it adds to the number in its slot (RocketMQ counts a message and its cancelling as none).
    pub(super) fn counts(&self) -> i32 {
        match self.kind {
            Kind::Message => 1,
            Kind::DeleteMarker => -1,
        }
    }

    pub(super) fn to_bytes(self) -> [u8; UNIT_BYTES] {
        let mut magic = MAGIC_DEFAULT;
        if self.rolls {
            magic |= MAGIC_ROLL;
        }
        if self.kind == Kind::DeleteMarker {
            magic |= MAGIC_DELETE;
        }
        let previous = self.previous.map_or(-1, u64::cast_signed);
        let fields: [&[u8]; 9] = [
            &(UNIT_BYTES as i32).to_be_bytes(),
            &previous.to_be_bytes(),
            &magic.to_be_bytes(),
            &self.written_ms.to_be_bytes(),
            &self.delayed_ms.to_be_bytes(),
            &self.physical.to_be_bytes(),
            &self.size_bytes.to_be_bytes(),
            &self.topic_hash.to_be_bytes(),
            &[0; 8],
        ];
        let mut bytes = [0; UNIT_BYTES];
        let mut rest = bytes.as_mut_slice();
        for field in fields {
            let Some((place, behind)) = rest.split_at_mut_checked(field.len()) else {
                break;
            };
            place.copy_from_slice(field);
            rest = behind;
        }
        bytes
    }

    /// `None` when the bytes are no unit.
    ///
    /// There is no check sum. A power cut tears a unit at a border of sectors, which lies between two fields or within one
    /// of those before the size: what follows reads as zeros, and no message has the size 0. Only the hash can be lost
    /// unseen, which nothing but statistics use.
    pub(super) fn from_bytes(bytes: &[u8; UNIT_BYTES]) -> Option<Self> {
        let magic = i32_at(bytes, 12);
        let previous = i64_at(bytes, 4);
        let unit = Self {
            previous: u64::try_from(previous).ok(),
            kind: match magic & MAGIC_DELETE {
                0 => Kind::Message,
                _ => Kind::DeleteMarker,
            },
            rolls: magic & MAGIC_ROLL != 0,
            written_ms: i64_at(bytes, 16),
            delayed_ms: i32_at(bytes, 24),
            physical: i64_at(bytes, 28).try_into().ok()?,
            size_bytes: i32_at(bytes, 36).try_into().ok()?,
            topic_hash: i32_at(bytes, 40),
        };
        let times = 0..=MAX_TIME_MS;
        let is_sound = i32_at(bytes, 0) == UNIT_BYTES as i32
            && magic & !(MAGIC_ROLL | MAGIC_DELETE) == MAGIC_DEFAULT
            && previous >= -1
            && times.contains(&unit.written_ms)
            && times.contains(&unit.deliver_at_ms())
            && unit.size_bytes > 0;
        is_sound.then_some(unit)
    }
}

/// What stands between the last unit of a file and its end.
pub(super) fn filler(rest_bytes: u64) -> [u8; FILLER_BYTES] {
    let mut bytes = [0; FILLER_BYTES];
    let (rest, magic) = bytes.split_at_mut(12);
    if let Some(place) = rest.first_chunk_mut() {
        *place = (rest_bytes as u32).to_be_bytes();
    }
    magic.copy_from_slice(&FILLER_MAGIC.to_be_bytes());
    bytes
}

/// Eight bytes of a fixed layout.
pub(super) fn i64_at(bytes: &[u8], at: usize) -> i64 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| i64::from_be_bytes(*field))
}

/// Four bytes of a fixed layout.
pub(super) fn i32_at(bytes: &[u8], at: usize) -> i32 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| i32::from_be_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: Unit = Unit {
        previous: Some(0x0102_0304),
        kind: Kind::Message,
        rolls: false,
        written_ms: 1_700_000_000_000,
        delayed_ms: 90_500,
        physical: 0x0A0B_0C0D_0E0F,
        size_bytes: 321,
        topic_hash: -2,
    };

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_unit_is_rocketmqs_byte_for_byte() {
        let expected = [
            "00000034",         // size
            "0000000001020304", // position of the unit before
            "00000001",         // magic
            "0000018bcfe56800", // write time
            "00016184",         // delay
            "00000a0b0c0d0e0f", // position of the message
            "00000141",         // its size
            "fffffffe",         // hash of its topic
            "0000000000000000", // reserved
        ];
        assert_eq!(hex(&UNIT.to_bytes()), expected.concat());
        assert_eq!(Unit::from_bytes(&UNIT.to_bytes()), Some(UNIT));
    }

    #[test]
    fn the_magic_is_made_of_bits_and_the_first_of_a_slot_follows_minus_one() {
        for (kind, rolls, magic) in [
            (Kind::Message, false, 1),
            (Kind::Message, true, 3),
            (Kind::DeleteMarker, false, 5),
            (Kind::DeleteMarker, true, 7),
        ] {
            let unit = Unit {
                kind,
                rolls,
                previous: None,
                ..UNIT
            };
            let bytes = unit.to_bytes();
            assert_eq!(hex(&bytes[4..16]), format!("ffffffffffffffff{magic:08x}"));
            assert_eq!(Unit::from_bytes(&bytes), Some(unit));
        }
    }

    #[test]
    fn the_filler_is_rocketmqs_byte_for_byte() {
        assert_eq!(hex(&filler(60)), "0000003c0000000000000000cbd43194");
    }

    #[test]
    fn a_unit_torn_at_any_word_before_its_hash_is_none() {
        let whole = UNIT.to_bytes();
        for kept in (0..40).step_by(4) {
            let mut torn = [0; UNIT_BYTES];
            torn[..kept].copy_from_slice(&whole[..kept]);
            assert_eq!(Unit::from_bytes(&torn), None, "{kept} bytes kept");
            let mut torn = whole;
            torn[..kept + 4].fill(0);
            assert_eq!(Unit::from_bytes(&torn), None, "{kept} bytes lost");
        }
    }

    #[test]
    fn times_beyond_all_calendars_are_none() {
        for (written_ms, delayed_ms) in [(-1, 5), (i64::MAX, i32::MAX), (0, -1), (MAX_TIME_MS, 1)] {
            let unit = Unit {
                written_ms,
                delayed_ms,
                ..UNIT
            };
            assert_eq!(Unit::from_bytes(&unit.to_bytes()), None);
        }
    }
}
