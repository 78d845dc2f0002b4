//! Traces are RocketMQ's, letter by letter, and whatever else stands in a body is an error.

use proptest::prelude::*;

use super::*;

fn produced() -> Produced {
    Produced {
        timestamp_ms: 1_700_000_000_001,
        region: DEFAULT_REGION.into(),
        group: "payments".into(),
        topic: "orders".into(),
        message_id: "0A0000010002".into(),
        tag: Some("red".into()),
        keys: Some("k1 k2".into()),
        store_host: Some("10.0.0.1:10911".into()),
        body_bytes: 5,
        cost_ms: 3,
        kind: MessageKind::Ordered,
        stored_id: Some("0A00000100002A9F0000000000000000".into()),
        is_success: true,
        client_host: None,
    }
}

fn records() -> Vec<TraceRecord> {
    vec![
        TraceRecord::Produced(produced()),
        TraceRecord::Produced(Produced {
            tag: None,
            keys: None,
            store_host: None,
            stored_id: None,
            is_success: false,
            client_host: Some("10.0.0.5".into()),
            ..produced()
        }),
        TraceRecord::Delivered(Delivered {
            timestamp_ms: 2,
            region: DEFAULT_REGION.into(),
            group: "billing".into(),
            request_id: "r1".into(),
            message_id: "m1".into(),
            retries: 2,
            keys: None,
        }),
        TraceRecord::Acknowledged(Acknowledged {
            request_id: "r1".into(),
            message_id: "m1".into(),
            cost_ms: 4,
            is_success: false,
            keys: Some("k".into()),
            outcome: Consumed::Failed,
            timestamp_ms: 5,
            group: "billing".into(),
        }),
        TraceRecord::TransactionEnded(TransactionEnded {
            timestamp_ms: 6,
            region: DEFAULT_REGION.into(),
            group: "payments".into(),
            topic: "paid".into(),
            message_id: "m2".into(),
            tag: None,
            keys: Some("k".into()),
            store_host: Some("10.0.0.1:10911".into()),
            kind: MessageKind::Committed,
            transaction_id: "t2".into(),
            resolution: Resolution::Rollback,
            from_check: true,
        }),
    ]
}

const BODY: &str = "Pub\x011700000000001\x01DefaultRegion\x01payments\x01orders\x010A0000010002\x01red\x01k1 k2\x01\
    10.0.0.1:10911\x015\x013\x014\x010A00000100002A9F0000000000000000\x01true\x02\
    Pub\x011700000000001\x01DefaultRegion\x01payments\x01orders\x010A0000010002\x01null\x01null\x01null\x015\x013\x014\
    \x01null\x01false\x0110.0.0.5\x02\
    SubBefore\x012\x01DefaultRegion\x01billing\x01r1\x01m1\x012\x01null\x02\
    SubAfter\x01r1\x01m1\x014\x01false\x01k\x014\x015\x01billing\x02\
    EndTransaction\x016\x01DefaultRegion\x01payments\x01paid\x01m2\x01null\x01k\x0110.0.0.1:10911\x012\x01t2\x01\
    ROLLBACK_MESSAGE\x01true\x02";

#[test]
fn a_body_is_letter_by_letter_rocketmqs_and_is_read_as_it_was_written() {
    let mut body = String::new();
    for record in records() {
        encode(&record, &mut body);
    }
    assert_eq!(body, BODY);
    let read: Result<Vec<_>, _> = decode(BODY).collect();
    assert_eq!(read, Ok(records()));
}

#[test]
fn records_of_older_clients_are_read() {
    let body = "Pub\x011\x01R\x01g\x01t\x01m\x01\x01\x01h\x015\x013\x010\x01true\x02\
        SubAfter\x01r\x01m\x014\x01true\x01k\x02\
        SubAfter\x01r\x01m\x014\x01false\x01k\x012\x017\x02";
    let read: Result<Vec<_>, _> = decode(body).collect();
    let read = read.unwrap();
    let [
        TraceRecord::Produced(sent),
        TraceRecord::Acknowledged(first),
        TraceRecord::Acknowledged(second),
    ] = &read[..]
    else {
        panic!("{read:?}");
    };
    assert_eq!(
        (sent.is_success, &sent.stored_id, &sent.tag),
        (true, &None, &None)
    );
    assert_eq!((first.outcome, first.timestamp_ms), (Consumed::Success, 0));
    assert_eq!(
        (second.outcome, second.timestamp_ms),
        (Consumed::Exception, 7)
    );
    assert_eq!(second.group, "");
}

#[test]
fn a_record_that_cannot_be_read_is_an_error_and_those_behind_it_are_read() {
    let body = "Recall\x011\x02Pub\x01soon\x02\x02SubBefore\x012\x01R\x01g\x01r\x01m\x010\x01k\x02";
    let read: Vec<_> = decode(body).collect();
    assert_eq!(read.len(), 3);
    assert_eq!(
        read[0],
        Err(TraceError::Kind {
            kind: "Recall".into()
        })
    );
    let error = read[1].clone().unwrap_err();
    assert_eq!(
        error.to_string(),
        "field 1 of a trace record of kind Pub is missing or wrong: \"soon\""
    );
    assert!(read[2].is_ok());
}

proptest! {
    #[test]
    fn no_text_breaks_out_of_its_field(text in "[\\x00-\\x03a-z]{0,20}", key in "[\\x00-\\x03a-z]{1,20}") {
        let sent = Produced { message_id: text.clone(), keys: Some(key), ..produced() };
        let mut body = String::new();
        encode(&TraceRecord::Produced(sent), &mut body);
        encode(&records()[2], &mut body);
        let read: Result<Vec<_>, _> = decode(&body).collect();
        let read = read.unwrap();
        prop_assert_eq!(read.len(), 2);
        prop_assert_eq!(&read[1], &records()[2]);
    }

    #[test]
    fn whatever_a_body_holds_is_read_or_refused(body in "(Pub|SubBefore|SubAfter|EndTransaction|x)?[\\x01\\x02a-z0-9]{0,200}") {
        for record in decode(&body).flatten() {
            let mut again = String::new();
            encode(&record, &mut again);
            prop_assert!(decode(&again).all(|read| read.is_ok()));
        }
    }
}
