//! What becomes of a message that a group could not process. Pure.

use castmq_protocol::model::{
    DelayLevels, MAX_PROPERTIES_BYTES, PhysicalOffset, keys, property_value, replace_properties,
};
use castmq_protocol::native::request::Another;
use castmq_protocol::record::{MessageId, RecordView};

use super::expiry::end_ms;

/// The delay level before the first retry: 10 s with RocketMQ's levels. Each further one waits a level longer.
const FIRST_RETRY_LEVEL: i32 = 3;

/// What a group has set.
#[derive(Debug, Clone)]
pub(crate) struct RetryRule {
    /// Retries after which a message is a dead letter.
    pub(crate) max_retries: u32,
    /// Queues of the retry topic.
    pub(crate) queues: u32,
    /// How long a message waits before each retry; `None` for the broker's delay levels.
    pub(crate) delays: Option<DelayLevels>,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// To the group's retry topic, after this delay level.
    Retry { level: u8 },
    /// To the group's retry topic, after this time.
    RetryAfter { delay_ms: u64 },
    /// To the group's dead letters.
    DeadLetter,
}

/// Decides about a message that was retried `reconsume_times` times.
pub(crate) fn decide(another: Another, rule: &RetryRule, reconsume_times: i32) -> Decision {
    let retries = u32::try_from(reconsume_times).unwrap_or(0);
    // RocketMQ compares with `≥` here: the last retry is the one that makes the count equal.
    if retries >= rule.max_retries {
        return Decision::DeadLetter;
    }
    let level = match (another, &rule.delays) {
        (Another::Never, _) => return Decision::DeadLetter,
        (Another::After(delay_ms), _) => return Decision::RetryAfter { delay_ms },
        (Another::Level(level @ 1..), _) => i32::from(level),
        (Another::Level(0), Some(delays)) => {
            let delay_ms = delays.of_queue(retries);
            return Decision::RetryAfter { delay_ms };
        }
        (Another::Level(0), None) => FIRST_RETRY_LEVEL.saturating_add(reconsume_times.max(0)),
    };
    Decision::Retry {
        level: u8::try_from(level).unwrap_or(u8::MAX),
    }
}

/// The properties of a message that is tried again: where it comes from, which message it was first, and when it expires,
/// which the topic that it comes from may say (0: it does not).
pub(crate) fn retry_properties(record: &RecordView<'_>, ttl_ms: u64) -> Vec<u8> {
    let topic = origin_topic(record);
    let id = origin_id(record);
    let origin = [
        (keys::RETRY_TOPIC, Some(topic)),
        (keys::ORIGIN_MESSAGE_ID, Some(id.as_str())),
    ];
    let properties = record.properties();
    match end_ms(record, ttl_ms).filter(|_| ttl_ms > 0) {
        None => replace_properties(properties, &origin),
        Some(end_ms) => {
            let end_ms = end_ms.to_string();
            let expires = [(keys::EXPIRES_AT, Some(end_ms.as_str()))];
            replace_properties(properties, &[&origin[..], &expires[..]].concat())
        }
    }
}

/// The properties of a dead letter, which does not expire; as they were when there is no room for more.
pub(crate) fn dead_letter_properties(record: &RecordView<'_>) -> Vec<u8> {
    let topic = origin_topic(record);
    let id = origin_id(record);
    let properties = replace_properties(
        &retry_properties(record, 0),
        &[
            (keys::DLQ_ORIGIN_TOPIC, Some(topic)),
            (keys::DLQ_ORIGIN_MESSAGE_ID, Some(&id)),
            (keys::DELAY, None),
            (keys::EXPIRES_AT, None),
        ],
    );
    match properties.len() <= MAX_PROPERTIES_BYTES {
        true => properties,
        false => record.properties().to_vec(),
    }
}

fn origin_topic<'a>(record: &RecordView<'a>) -> &'a str {
    property_value(record.properties(), keys::RETRY_TOPIC)
        .or_else(|| record.topic().ok())
        .unwrap_or_default()
}

fn origin_id(record: &RecordView<'_>) -> String {
    if let Some(id) = property_value(record.properties(), keys::ORIGIN_MESSAGE_ID) {
        return id.to_owned();
    }
    let offset = PhysicalOffset::from_i64(record.physical_offset()).unwrap_or_default();
    let id = MessageId {
        store_host: record.store_host(),
        physical_offset: offset,
    };
    id.to_string()
}

#[cfg(test)]
mod tests {
    use castmq_protocol::model::{QueueId, QueueOffset, expires_at_ms};
    use castmq_protocol::record::Record;

    use super::*;

    const RULE: RetryRule = RetryRule {
        max_retries: 16,
        queues: 1,
        delays: None,
    };

    #[test]
    fn each_retry_waits_a_level_longer_and_the_last_is_followed_by_the_dead_letters() {
        let later = Another::Level(0);
        for retries in 0..16 {
            let level = retries as u8 + 3;
            assert_eq!(decide(later, &RULE, retries), Decision::Retry { level });
        }
        assert_eq!(decide(later, &RULE, 16), Decision::DeadLetter);
        assert_eq!(decide(later, &RULE, i32::MAX), Decision::DeadLetter);
    }

    /// A message of the topic `t`, stored at 1,000, with some properties.
    fn stored(properties: &[u8]) -> Vec<u8> {
        let record = Record {
            topic: "t",
            queue: QueueId(0),
            queue_offset: QueueOffset(0),
            physical_offset: PhysicalOffset::ZERO,
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 0,
            born_host: ([127, 0, 0, 1], 1).into(),
            store_timestamp_ms: 1_000,
            store_host: ([127, 0, 0, 1], 2).into(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"",
            body_crc: None,
            properties,
        };
        let mut bytes = vec![0; record.encoded_bytes()];
        record.encode(&mut bytes);
        bytes
    }

    #[test]
    fn what_is_tried_again_expires_when_it_would_have_and_a_dead_letter_never() {
        let expires = |properties: &[u8], ttl_ms: u64| {
            let bytes = stored(properties);
            let record = RecordView::parse(&bytes).unwrap();
            let dead = dead_letter_properties(&record);
            assert_eq!(expires_at_ms(&dead), None);
            expires_at_ms(&retry_properties(&record, ttl_ms))
        };
        assert_eq!(expires(b"", 0), None);
        assert_eq!(expires(b"", 500), Some(1_500));
        assert_eq!(expires(b"EXPIRES_AT\x011200\x02", 0), Some(1_200));
        assert_eq!(expires(b"EXPIRES_AT\x011200\x02", 500), Some(1_200));
        assert_eq!(expires(b"EXPIRES_AT\x011700\x02", 500), Some(1_500));
        assert_eq!(expires(b"EXPIRES_AT\x01never\x02", 500), Some(1_500));
        assert_eq!(expires(b"", u64::MAX), Some(i64::MAX));
    }

    #[test]
    fn a_group_may_have_times_of_its_own_and_the_last_of_them_counts_for_all_that_follow() {
        let rule = RetryRule {
            delays: Some("100ms 2s".parse().unwrap()),
            ..RULE
        };
        let after = |retries| decide(Another::Level(0), &rule, retries);
        assert_eq!(after(0), Decision::RetryAfter { delay_ms: 100 });
        assert_eq!(after(1), Decision::RetryAfter { delay_ms: 2_000 });
        assert_eq!(after(15), Decision::RetryAfter { delay_ms: 2_000 });
        assert_eq!(after(16), Decision::DeadLetter);
        let by_level = decide(Another::Level(4), &rule, 0);
        assert_eq!(by_level, Decision::Retry { level: 4 });
    }

    #[test]
    fn a_consumer_may_say_when_or_that_it_is_no_use() {
        assert_eq!(
            decide(Another::Level(2), &RULE, 7),
            Decision::Retry { level: 2 }
        );
        assert_eq!(
            decide(Another::After(250), &RULE, 7),
            Decision::RetryAfter { delay_ms: 250 }
        );
        assert_eq!(decide(Another::After(250), &RULE, 16), Decision::DeadLetter);
        assert_eq!(decide(Another::Never, &RULE, 0), Decision::DeadLetter);
        assert_eq!(decide(Another::Level(2), &RULE, 16), Decision::DeadLetter);
        let none = RetryRule {
            max_retries: 0,
            ..RULE
        };
        assert_eq!(decide(Another::Level(0), &none, 0), Decision::DeadLetter);
    }
}
