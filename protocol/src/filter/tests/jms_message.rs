//! What a selector sees of a message as it is stored.

use super::encoded;
use crate::filter::{CompiledFilter, FilterError};
use crate::model::{PhysicalOffset, QueueId, QueueOffset};
use crate::native::request::Filter;
use crate::record::{Record, RecordView};
use proptest::prelude::*;

const MADE_AT_MS: i64 = 1_700_000_000_001;

fn compiled(selector: &str) -> CompiledFilter {
    let filter = Filter::Selector(selector.into());
    CompiledFilter::new(&filter).unwrap_or_else(|error| panic!("{selector}: {error}"))
}

/// Whether a stored message with these properties is taken.
fn takes(selector: &str, properties: &[u8]) -> bool {
    let record = Record {
        topic: "orders",
        queue: QueueId(0),
        queue_offset: QueueOffset(1),
        physical_offset: PhysicalOffset(1),
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: MADE_AT_MS,
        born_host: "10.0.0.5:5000".parse().unwrap(),
        store_timestamp_ms: 5,
        store_host: "10.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"",
        body_crc: None,
        properties,
    };
    let mut bytes = vec![0; record.encoded_bytes()];
    record.encode(&mut bytes);
    compiled(selector).matches_record(&RecordView::parse(&bytes).unwrap())
}

#[test]
fn properties_have_the_types_that_their_producer_noted() {
    let stored = encoded(&[
        ("count", "5"),
        ("price", "1.5"),
        ("ready", "true"),
        ("text", "5"),
        ("JMS_CastMQ_Types", "count=i,price=d,ready=b,empty=e"),
    ]);
    for selector in [
        "count = 5",
        "count > 4.5",
        "price < 2",
        "ready",
        "ready = TRUE",
        "text = '5'",
        "empty = ''",
        "count + price = 6.5",
        "other IS NULL",
    ] {
        assert!(takes(selector, &stored), "{selector}");
    }
    for selector in ["text = 5", "count = '5'", "NOT ready", "other = 1"] {
        assert!(!takes(selector, &stored), "{selector}");
    }
}

#[test]
fn headers_are_there_by_their_jms_names() {
    let stored = encoded(&[
        ("UNIQ_KEY", "AB12"),
        ("JMSType", "car"),
        ("JMSCorrelationID", "17"),
        ("JMSReplyTo", "queue:q"),
        ("JMSDeliveryMode", "NON_PERSISTENT"),
        ("_SYS_MSG_PRIORITY_", "9"),
        ("__SHARDINGKEY", "g"),
        ("JMSXGroupSeq", "3"),
    ]);
    for selector in [
        "JMSMessageID = 'ID:AB12'",
        "JMSMessageID IN ('x', 'ID:AB12') AND JMSMessageID LIKE 'ID:%'",
        "JMSType = 'car'",
        "JMSCorrelationID = '17'",
        "JMSTimestamp = 1700000000001",
        "JMSTimestamp BETWEEN 1700000000000 AND 1700000000001",
        "JMSDeliveryMode = 'NON_PERSISTENT'",
        "JMSPriority > 8",
        "JMSXGroupID = 'g' AND JMSXGroupSeq = 3",
        "JMSReplyTo IS NULL",
    ] {
        assert!(takes(selector, &stored), "{selector}");
    }
    let of_others = "JMSMessageID IS NULL AND JMSDeliveryMode = 'PERSISTENT' AND JMSPriority = 4";
    assert!(takes(of_others, b""));
    assert!(!takes(of_others, &stored));
}

#[test]
fn nothing_but_blanks_takes_all_and_what_is_no_selector_is_refused_with_its_place() {
    assert!(compiled("  ").is_all());
    let wrong = CompiledFilter::new(&Filter::Selector("count = ".into()));
    assert!(matches!(
        wrong,
        Err(FilterError::Syntax { position: 9, .. })
    ));
}

proptest! {
    #[test]
    fn whatever_is_stored_is_looked_at(properties in prop::collection::vec(any::<u8>(), 0..200)) {
        let selector = compiled("JMSMessageID = 'a' OR a > 1 OR JMSPriority = 1 OR b LIKE '%x' OR JMSXGroupSeq = 1");
        selector.matches(&properties);
    }

    #[test]
    fn whatever_types_are_noted_are_looked_at(types in "[a-c=,bysilfde]{0,20}", value in "[^\x01\x02]{1,9}") {
        let stored = encoded(&[("a", &value), ("JMS_CastMQ_Types", &types)]);
        takes("a = 1 OR a = 'x' OR a = TRUE", &stored);
    }
}
