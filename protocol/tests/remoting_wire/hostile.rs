//! What no honest peer sends: nothing panics, and nothing takes more than a small multiple of what came.

use bytes::BytesMut;
use castmq_protocol::remoting::bodies::ConsumerIds;
use castmq_protocol::remoting::bodies::group::{GroupEntry, GroupTable};
use castmq_protocol::remoting::bodies::heartbeat::Heartbeat;
use castmq_protocol::remoting::bodies::offset::{ConsumerOffsets, ResetOffsets};
use castmq_protocol::remoting::bodies::registration::Registration;
use castmq_protocol::remoting::command::CommandError;
use castmq_protocol::remoting::fields::MAX_FIELDS;
use castmq_protocol::remoting::json::{self, JsonError};
use castmq_protocol::remoting::pop::{MessageOffsets, OrderCounts, Receipt, StartOffsets};
use castmq_protocol::remoting::{Command, Fields, Frame, Frames, Head, Serialization, put_frame};
use proptest::prelude::*;

use super::{BOTH, fields, only_frame};

fn json_header(header: &str) -> Result<Command<'_>, CommandError> {
    Command::decode(&Frame {
        serialization: Serialization::Json,
        header: header.as_bytes(),
        body: b"",
    })
}

fn binary_header(header: &[u8]) -> Result<Command<'_>, CommandError> {
    Command::decode(&Frame {
        serialization: Serialization::Binary,
        header,
        body: b"",
    })
}

/// A binary header's parts up to its remark.
fn binary_start() -> Vec<u8> {
    vec![0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

#[test]
fn a_header_may_have_a_thousand_fields_but_not_a_hundred_thousand() {
    let header = |count: usize| {
        let fields: Vec<_> = (0..count).map(|n| format!("\"f{n}\":{n}")).collect();
        format!("{{\"code\":10,\"extFields\":{{{}}}}}", fields.join(","))
    };
    let fine = header(MAX_FIELDS);
    assert_eq!(json_header(&fine).unwrap().fields.len(), MAX_FIELDS);
    let many = header(100_000);
    assert_eq!(json_header(&many), Err(CommandError::TooManyFields));
    let mut many = binary_start();
    many.extend(0_i32.to_be_bytes());
    many.extend(600_000_i32.to_be_bytes());
    many.extend(vec![0; 600_000]);
    assert_eq!(binary_header(&many), Err(CommandError::TooManyFields));
}

#[test]
fn lengths_that_lie_inside_a_binary_header_are_refused() {
    let after = |parts: &[&[u8]]| {
        let mut header = binary_start();
        header.extend(parts.concat());
        header
    };
    assert!(binary_header(&after(&[&0_i32.to_be_bytes()])).is_ok());
    for lying in [
        after(&[]),
        after(&[&[0, 0]]),
        after(&[&1_i32.to_be_bytes()]),
        after(&[&(-1_i32).to_be_bytes()]),
        after(&[&i32::MAX.to_be_bytes(), b"remark"]),
        after(&[&0_i32.to_be_bytes(), &(-1_i32).to_be_bytes()]),
        after(&[&0_i32.to_be_bytes(), &i32::MAX.to_be_bytes()]),
        after(&[&[0; 4], &1_i32.to_be_bytes(), &[0]]),
        after(&[&[0; 4], &4_i32.to_be_bytes(), &[0xFF, 0xFF, 0, 0]]),
        after(&[&[0; 4], &4_i32.to_be_bytes(), &[0, 3, b'a', b'b']]),
        after(&[
            &[0; 4],
            &6_i32.to_be_bytes(),
            &[0, 0, 0xFF, 0xFF, 0xFF, 0xFF],
        ]),
        after(&[&[0; 4], &6_i32.to_be_bytes(), &[0, 0, 0, 0, 0, 1]]),
    ] {
        let refused = binary_header(&lying);
        assert!(
            matches!(refused, Err(CommandError::Ends { .. })),
            "{lying:?}"
        );
    }
}

#[test]
fn a_json_header_that_is_none_is_refused() {
    for broken in [
        "",
        "null",
        "[]",
        "{\"code\":\"x\"}",
        "{\"code\":1.5}",
        "{\"code\":99999999999}",
        "{\"code\":10",
        "{\"code\":10}x",
        "{\"extFields\":[]}",
        "{\"extFields\":\"x\"}",
        "{\"extFields\":{\"a\"}}",
        "{\"extFields\":{\"a\":\"x}}",
        "{\"extFields\":{{\"a\":1}:1}}",
        "{\"remark\":\"\\u00\"}",
    ] {
        assert!(json_header(broken).is_err(), "{broken}");
    }
    let number = "9".repeat(1_000_000);
    assert!(json_header(&format!("{{\"opaque\":{number}}}")).is_err());
    let deep = format!("{{\"extFields\":{{\"a\":{}", "[".repeat(1_000_000));
    assert!(matches!(
        json_header(&deep),
        Err(CommandError::Json(JsonError::TooDeep { .. }))
    ));
}

#[test]
fn a_json_header_may_be_loose() {
    let header = " { \"code\" : \"10\" , \"language\":9,\"version\":null,\"flag\":2,\"remark\":null,\
        \"extFields\":{\"n\":1.50,\"t\":true,\"o\":{\"a\":[1]},\"gone\":null,\"s\":\"x\"}, \"more\":[{}] }\n";
    let command = json_header(header).unwrap();
    assert_eq!((command.code, command.version), (10, 0));
    assert!(command.is_one_way() && !command.is_response());
    assert_eq!(command.language.name(), "GO");
    let expected = fields(&[
        ("n", "1.50"),
        ("t", "true"),
        ("o", "{\"a\":[1]}"),
        ("s", "x"),
    ]);
    assert_eq!(command.fields, expected);
    assert_eq!(
        json_header("{\"code\":5,\"extFields\":null}")
            .unwrap()
            .fields,
        Fields::new()
    );
}

#[test]
fn texts_that_are_not_utf_8_are_read_with_replacements() {
    let mut header = binary_start();
    header.extend(2_i32.to_be_bytes());
    header.extend(b"\xFFx");
    header.extend(8_i32.to_be_bytes());
    header.extend([0, 1, b'n', 0, 0, 0, 1, 0xC3]);
    let command = binary_header(&header).unwrap();
    assert_eq!(command.remark.as_deref(), Some("\u{FFFD}x"));
    assert_eq!(command.fields.get("n"), Some("\u{FFFD}"));
}

#[test]
fn bodies_of_countless_small_things_are_refused() {
    let is_refused = |read: Option<JsonError>| matches!(read, Some(JsonError::TooMany { .. }));
    let groups: Vec<_> = (0..100_000).map(|n| format!("{n}:{{}}")).collect();
    let bomb = format!("{{\"subscriptionGroupTable\":{{{}}}}}", groups.join(","));
    assert!(is_refused(
        json::from_slice::<GroupTable>(bomb.as_bytes()).err()
    ));
    let bomb = format!("{{\"consumerDataSet\":[{}{{}}]}}", "{},".repeat(100_000));
    assert!(is_refused(
        json::from_slice::<Heartbeat>(bomb.as_bytes()).err()
    ));
}

#[test]
fn bodies_of_countless_real_things_are_read() {
    let entry = GroupEntry::default();
    let groups = (0..5_000)
        .map(|n| (format!("g{n}"), entry.clone()))
        .collect();
    let table = GroupTable {
        groups,
        ..GroupTable::default()
    };
    assert_eq!(
        json::from_slice::<GroupTable>(&json::to_bytes(&table)),
        Ok(table)
    );
    let ids = (0..100_000).map(|n| (n % 10).to_string()).collect();
    let ids = ConsumerIds { ids };
    assert_eq!(
        json::from_slice::<ConsumerIds>(&json::to_bytes(&ids)),
        Ok(ids)
    );
    let queues = (0..100_000).map(|n| (n, 0)).collect();
    let offsets = ConsumerOffsets {
        offsets: [("T@G".to_owned(), queues)].into(),
        ..ConsumerOffsets::default()
    };
    assert_eq!(
        json::from_slice::<ConsumerOffsets>(&json::to_bytes(&offsets)),
        Ok(offsets)
    );
}

#[test]
fn keys_that_are_objects_are_no_way_down() {
    let nested = format!("{{\"offsetTable\":{}", "{".repeat(100_000));
    assert!(json::from_slice::<ResetOffsets>(nested.as_bytes()).is_err());
}

#[test]
fn registrations_that_unpack_to_much_are_refused() {
    let registration = Registration {
        filter_servers: vec!["x".repeat(20_000_000)],
        ..Registration::default()
    };
    let bomb = registration.to_compressed();
    assert!(bomb.len() < 50_000);
    assert!(Registration::from_compressed(&bomb, 1 << 20).is_err());
}

fn read_everything(buffer: &[u8]) {
    for frame in Frames::new(buffer, 1 << 20) {
        let Ok(frame) = frame else { break };
        let _ = Command::decode(&frame);
        let _ = json::from_slice::<Heartbeat>(frame.body);
    }
}

fn sample(serialization: Serialization) -> BytesMut {
    let head = Head {
        serialization,
        ..Head::request(34, 1)
    }
    .with_remark("remark");
    let fields = [("a", "P\u{1}"), ("topic", "T"), ("queueId", "3")];
    let body = br#"{"clientID":"c","consumerDataSet":[{"consumeType":1,"subscriptionDataSet":[{"codeSet":[1],"tagsSet":["a"]}]}]}"#;
    let mut out = BytesMut::new();
    put_frame(&head, &fields, body, &mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn bent_frames_never_panic(binary in any::<bool>(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>()) {
        let mut frame = sample(BOTH[usize::from(binary)]);
        for (at, byte) in changes {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        frame.truncate(cut.index(frame.len()) + 1);
        read_everything(&frame);
    }

    #[test]
    fn bent_headers_never_panic(binary in any::<bool>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let serialization = BOTH[usize::from(binary)];
        let out = sample(serialization);
        let mut header = only_frame(&out).header.to_vec();
        let at = at.index(header.len());
        header[at] = byte;
        header.truncate(cut.index(header.len()) + 1);
        let _ = Command::decode(&Frame { serialization, header: &header, body: b"" });
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), binary in any::<bool>()) {
        read_everything(&bytes);
        let serialization = BOTH[usize::from(binary)];
        let _ = Command::decode(&Frame { serialization, header: &bytes, body: b"" });
        let _ = Registration::from_compressed(&bytes, 1 << 16);
    }

    #[test]
    fn arbitrary_texts_of_poppers_never_panic(text in "[-0-9 ;,%qo]{0,60}") {
        if let Ok(receipt) = Receipt::parse(&text) {
            let written = receipt.to_string();
            prop_assert_eq!(Receipt::parse(&written), Ok(receipt));
        }
        if let Ok(list) = text.parse::<StartOffsets>() {
            prop_assert_eq!(list.to_string().parse(), Ok(list));
        }
        if let Ok(list) = text.parse::<MessageOffsets>() {
            prop_assert_eq!(list.to_string().parse(), Ok(list));
        }
        if let Ok(list) = text.parse::<OrderCounts>() {
            prop_assert_eq!(list.to_string().parse(), Ok(list));
        }
    }
}
