//! What a broker looks at among a message's properties, found in one go, and what it adds to them.

use std::ops::Range;

use castmq_config::Settings;
use castmq_protocol::model::{
    AroundUniqueId, UNIQUE_ID_BYTES, keys, property_pairs, write_properties,
};
use castmq_protocol::remoting::headers::send::SendMessage;

use super::sending::REGION;
use crate::delivery::redirect::check_length;

/// The region that the message is stored in.
const MSG_REGION: &str = "MSG_REGION";
/// Whether what becomes of it is traced, where clients trace.
const TRACE_ON: &str = "TRACE_ON";
/// What a consumer that popped the message was given with it.
const POP_CK: &str = "POP_CK";

/// In seconds from now; of the three the first counts.
const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
/// In milliseconds from now.
const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
/// In milliseconds since the epoch.
const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";

/// Of those that are named twice, the first counts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known<'a> {
    pub(super) unique_id: Option<&'a str>,
    pub(super) wait: Option<&'a str>,
    pub(super) delay: Option<&'a str>,
    pub(super) timer_delay_sec: Option<&'a str>,
    pub(super) timer_delay_ms: Option<&'a str>,
    pub(super) timer_deliver_ms: Option<&'a str>,
    pub(super) prepared: Option<&'a str>,
    /// Whether nothing among them is one of the broker's own, and none is left out when they are written again.
    is_plain: bool,
}

impl<'a> Known<'a> {
    /// Whether the producer waits until the message is safe.
    pub(super) fn waits(&self) -> bool {
        self.wait != Some("false")
    }

    /// Whether the message is to be stored at once, where it is sent to.
    fn wants_nothing(&self) -> bool {
        // Every field is named, so that none that comes is passed over.
        let Self {
            unique_id: _,
            wait: _,
            delay,
            timer_delay_sec,
            timer_delay_ms,
            timer_deliver_ms,
            prepared,
            is_plain: _,
        } = self;
        let times = [timer_delay_sec, timer_delay_ms, timer_deliver_ms];
        delay.is_none() && prepared.is_none() && times.iter().all(|time| time.is_none())
    }

    pub(super) fn of(properties: &'a str) -> Self {
        let mut known = Self::default();
        let mut is_foreign = true;
        let mut written_bytes = 0;
        for (name, value) in property_pairs(properties.as_bytes()) {
            written_bytes += name.len() + value.len() + 2;
            let place = match std::str::from_utf8(name).unwrap_or_default() {
                keys::UNIQ_KEY => &mut known.unique_id,
                keys::WAIT => &mut known.wait,
                keys::DELAY => &mut known.delay,
                TIMER_DELAY_SEC => &mut known.timer_delay_sec,
                TIMER_DELAY_MS => &mut known.timer_delay_ms,
                TIMER_DELIVER_MS => &mut known.timer_deliver_ms,
                keys::TRANSACTION_PREPARED => &mut known.prepared,
                MSG_REGION | TRACE_ON | keys::CLUSTER | POP_CK => {
                    is_foreign = false;
                    continue;
                }
                _ => continue,
            };
            if place.is_none() {
                *place = std::str::from_utf8(value).ok();
            }
        }
        let is_open = !properties.is_empty() && !properties.ends_with('\u{2}');
        known.is_plain = is_foreign && written_bytes == properties.len() + usize::from(is_open);
        known
    }
}

/// What RocketMQ's brokers add to each message's properties: its clients look at it.
#[derive(Debug)]
pub(super) struct Stamp {
    cluster: String,
    encoded: Vec<u8>,
}

impl Stamp {
    pub(super) fn of(settings: &Settings) -> Self {
        let cluster = settings.broker.cluster_name.clone();
        let mut encoded = Vec::new();
        write_properties(b"", &changes(&cluster), &mut encoded);
        Self { cluster, encoded }
    }

    /// Writes properties with it, and with `unique_id` where they have none.
    pub(super) fn write(
        &self,
        properties: &str,
        known: &Known<'_>,
        unique_id: &[u8],
        out: &mut Vec<u8>,
    ) {
        if known.is_plain {
            out.extend_from_slice(properties.as_bytes());
            if !properties.is_empty() && !properties.ends_with('\u{2}') {
                out.push(b'\x02');
            }
            out.extend_from_slice(&self.encoded);
        } else {
            write_properties(properties.as_bytes(), &changes(&self.cluster), out);
        }
        if known.unique_id.is_none() {
            out.extend_from_slice(keys::UNIQ_KEY.as_bytes());
            out.push(b'\x01');
            out.extend_from_slice(unique_id);
            out.push(b'\x02');
        }
    }
}

/// Properties of a message that wants nothing but to be stored, with the stamp, and room for an id.
#[derive(Debug)]
pub(super) struct Stamped {
    /// As they came.
    pub(super) told: String,
    /// Whether the producer waits until the message is safe.
    pub(super) waits: bool,
    /// Whether they have an id; the broker makes one else.
    pub(super) has_id: bool,
    bytes: Vec<u8>,
    /// Where the id stands in them.
    id: Range<usize>,
}

impl Stamped {
    /// `None` where the message wants more, or has an id that is not as clients make them. Where it has none, it gets one of
    /// `made_bytes`.
    pub(super) fn of(stamp: &Stamp, header: &SendMessage<'_>, made_bytes: usize) -> Option<Self> {
        let told = header.properties.unwrap_or_default();
        let known = Known::of(told);
        let is_retry = header.reconsume_times.is_some_and(|times| times != 0);
        if is_retry || !known.wants_nothing() {
            return None;
        }
        let mut bytes = Vec::new();
        let id = match known.unique_id {
            Some(id) => {
                stamp.write(told, &known, b"", &mut bytes);
                let at = AroundUniqueId::of(&bytes, id.as_bytes())?.before().len();
                at..at + UNIQUE_ID_BYTES
            }
            None => {
                stamp.write(told, &known, &vec![b'0'; made_bytes], &mut bytes);
                // The last but for what ends it.
                let end = bytes.len() - 1;
                end - made_bytes..end
            }
        };
        check_length(&bytes).ok()?;
        Some(Self {
            told: told.to_owned(),
            waits: known.waits(),
            has_id: known.unique_id.is_some(),
            id,
            bytes,
        })
    }

    /// Writes them with an id that is as long as theirs.
    #[inline]
    pub(super) fn write(&self, unique_id: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        if let Some(place) = out.get_mut(start + self.id.start..start + self.id.end) {
            place.copy_from_slice(unique_id);
        }
    }
}

fn changes(cluster: &str) -> [(&str, Option<&str>); 4] {
    [
        (MSG_REGION, Some(REGION)),
        (TRACE_ON, Some("true")),
        (keys::CLUSTER, Some(cluster)),
        (POP_CK, None),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use castmq_protocol::model::{property_value, replace_properties};

    #[test]
    fn what_is_looked_at_is_found_and_the_first_of_two_counts() {
        let known = Known::of("WAIT\u{1}true\u{2}A\u{1}b\u{2}WAIT\u{1}false\u{2}DELAY\u{1}3");
        assert_eq!(known.wait, Some("true"));
        assert_eq!(known.delay, Some("3"));
        assert_eq!(known.unique_id, None);
        assert!(known.is_plain);
    }

    #[test]
    fn stamped_properties_are_those_that_replacing_makes() {
        let stamp = Stamp::of(&Settings::default());
        let texts = [
            "",
            "A\u{1}b",
            "A\u{1}b\u{2}",
            "A\u{1}b\u{2}\u{2}",
            "nothing\u{2}A\u{1}b\u{2}",
            "A\u{1}\u{2}\u{1}b\u{2}C\u{1}d\u{2}",
            "UNIQ_KEY\u{1}own\u{2}A\u{1}b\u{2}",
            "POP_CK\u{1}x\u{2}TRACE_ON\u{1}false\u{2}K\u{1}v\u{2}",
        ];
        for text in texts {
            let (mut stamped, known) = (Vec::new(), Known::of(text));
            stamp.write(text, &known, b"made", &mut stamped);
            let mut expected = changes(&stamp.cluster).to_vec();
            if known.unique_id.is_none() {
                expected.push((keys::UNIQ_KEY, Some("made")));
            }
            let replaced = replace_properties(text.as_bytes(), &expected);
            assert_eq!(stamped, replaced, "{text:?}");
            assert_eq!(property_value(&stamped, TRACE_ON), Some("true"));
            let id = known.unique_id.unwrap_or("made");
            assert_eq!(property_value(&stamped, keys::UNIQ_KEY), Some(id));
        }
    }

    fn header(properties: &str, reconsume_times: i32) -> SendMessage<'_> {
        SendMessage {
            properties: Some(properties),
            reconsume_times: Some(reconsume_times),
            ..SendMessage::default()
        }
    }

    #[test]
    fn properties_with_another_id_are_those_that_stamping_makes() {
        let stamp = Stamp::of(&Settings::default());
        let ids = ["0".repeat(32), "7F".repeat(16)];
        for around in [
            ("", ""),
            ("", "\u{2}"),
            ("A\u{1}b\u{2}", "\u{2}WAIT\u{1}false\u{2}"),
            ("POP_CK\u{1}x\u{2}", "\u{2}TRACE_ON\u{1}false"),
        ] {
            let text = |id: &str| format!("{}UNIQ_KEY\u{1}{id}{}", around.0, around.1);
            let [first, next] = [text(&ids[0]), text(&ids[1])];
            let stamped = Stamped::of(&stamp, &header(&first, 0), 32).unwrap();
            let (mut same, mut expected) = (Vec::new(), Vec::new());
            stamped.write(ids[1].as_bytes(), &mut same);
            stamp.write(&next, &Known::of(&next), b"", &mut expected);
            assert_eq!(same, expected, "{first:?}");
            assert!(stamped.has_id);
            assert_eq!(stamped.waits, !first.contains("WAIT"));
        }
    }

    #[test]
    fn properties_without_an_id_get_one_as_stamping_gives_it() {
        let stamp = Stamp::of(&Settings::default());
        for told in [
            "",
            "A\u{1}b",
            "A\u{1}b\u{2}",
            "POP_CK\u{1}x\u{2}WAIT\u{1}false\u{2}",
        ] {
            for made_bytes in [32, 56] {
                let made = "7".repeat(made_bytes);
                let stamped = Stamped::of(&stamp, &header(told, 0), made_bytes).unwrap();
                let (mut same, mut expected) = (Vec::new(), Vec::new());
                stamped.write(made.as_bytes(), &mut same);
                stamp.write(told, &Known::of(told), made.as_bytes(), &mut expected);
                assert_eq!(same, expected, "{told:?}");
                assert!(!stamped.has_id);
                assert_eq!(stamped.waits, !told.contains("WAIT"));
            }
        }
    }

    #[test]
    fn messages_that_want_more_than_to_be_stored_are_looked_at_one_by_one() {
        let stamp = Stamp::of(&Settings::default());
        let id = format!("UNIQ_KEY\u{1}{}\u{2}", "A".repeat(32));
        let is_looked_at = |properties: &str, reconsume_times| {
            Stamped::of(&stamp, &header(properties, reconsume_times), 32).is_none()
        };
        assert!(!is_looked_at(&id, 0));
        assert!(is_looked_at(&id, 1));
        assert!(is_looked_at("UNIQ_KEY\u{1}short\u{2}", 0));
        for name in [
            keys::DELAY,
            TIMER_DELAY_SEC,
            TIMER_DELAY_MS,
            TIMER_DELIVER_MS,
            keys::TRANSACTION_PREPARED,
        ] {
            assert!(is_looked_at(&format!("{id}{name}\u{1}1\u{2}"), 0), "{name}");
        }
    }
}
