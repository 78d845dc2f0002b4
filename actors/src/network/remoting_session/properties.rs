//! What a broker looks at among a message's properties, found in one go, and what it adds to them.

use castmq_config::Settings;
use castmq_protocol::model::{keys, property_pairs, write_properties};

use super::sending::REGION;

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
}
