//! What is read by the template of another send is what decoding says, and answers by template are those that encoding writes.

use std::net::SocketAddr;

use bytes::BytesMut;
use castmq_protocol::model::{PhysicalOffset, keys, property_value};
use castmq_protocol::record::MessageId;
use castmq_protocol::remoting::headers::send::{SendMessage, SendMessageResponse};
use castmq_protocol::remoting::template::{
    LastSent, SendTemplate, Sent, SentTemplate, VaryingProperties,
};
use castmq_protocol::remoting::{
    Command, Frame, Head, Serialization, put_frame, request_code, response_code,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{BOTH, only_frame};

const CODES: [i32; 2] = [request_code::SEND_MESSAGE, request_code::SEND_MESSAGE_V2];

/// A send in one of the forms and under one of the codes.
#[derive(Debug, Clone)]
struct Form {
    code: i32,
    serialization: Serialization,
    topic: String,
    has_properties: bool,
}

fn any_form() -> impl Strategy<Value = Form> {
    let any_of = (0_usize..2, 0_usize..2);
    (any_of, "[a-z\"\\\\]{1,10}", any::<bool>()).prop_map(
        |((code, form), topic, has_properties)| Form {
            code: CODES[code],
            serialization: BOTH[form],
            topic,
            has_properties,
        },
    )
}

/// What differs between sends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Varying {
    opaque: i32,
    queue: i32,
    born_timestamp_ms: i64,
    properties: Option<String>,
}

/// What is read of a header by the template of a send with these properties.
fn read(template: &SendTemplate, kept: &Option<String>, frame: &Frame<'_>) -> Option<Varying> {
    let read = template.read(frame)?;
    let properties = match read.properties {
        Some(VaryingProperties::Other(text)) => Some(text.read(&mut Vec::new())?.to_owned()),
        Some(VaryingProperties::Same { unique_id }) => {
            let kept = kept.as_deref().unwrap();
            let own = property_value(kept.as_bytes(), keys::UNIQ_KEY).unwrap();
            Some(kept.replace(own, str::from_utf8(unique_id).unwrap()))
        }
        None => None,
    };
    Some(Varying {
        opaque: read.opaque,
        queue: read.queue,
        born_timestamp_ms: read.born_timestamp_ms,
        properties,
    })
}

fn any_varying() -> impl Strategy<Value = Varying> {
    let properties = prop_oneof![
        any::<String>(),
        "[a-z\u{1}\u{2}\"\\\\]{0,40}",
        "(A\u{1}[a\"\\\\é]\u{2}){0,1}UNIQ_KEY\u{1}[0-9A-F]{31,33}\u{2}(B\u{1}[a\"]\u{2}){0,1}",
    ];
    let numbers = (any::<i32>(), any::<i32>(), -1_i64..100_000_000_000_000_000);
    (numbers, properties).prop_map(|((opaque, queue, born_timestamp_ms), properties)| Varying {
        opaque,
        queue,
        born_timestamp_ms,
        properties: Some(properties),
    })
}

fn written(form: &Form, varying: &Varying) -> BytesMut {
    let send = SendMessage {
        producer_group: "group",
        topic: &form.topic,
        default_topic: "TBW102",
        default_topic_queues: 4,
        queue: varying.queue,
        born_timestamp_ms: varying.born_timestamp_ms,
        properties: varying
            .properties
            .as_deref()
            .filter(|_| form.has_properties),
        broker_name: Some("broker"),
        ..SendMessage::default()
    };
    let head = Head {
        serialization: form.serialization,
        ..Head::request(form.code, varying.opaque)
    };
    let mut out = BytesMut::new();
    put_frame(&head, &send.for_code(form.code), b"body", &mut out);
    out
}

fn template(frame: &Frame<'_>) -> Option<SendTemplate> {
    SendTemplate::of(frame, &Command::decode(frame).unwrap(), true)
}

/// What decoding says of a header, and that besides which differs.
fn decoded(header: Frame<'_>) -> Option<(String, Varying)> {
    let command = Command::decode(&header).ok()?;
    let send = SendMessage::from_fields(command.code, &command.fields).ok()?;
    let varying = Varying {
        opaque: command.opaque,
        queue: send.queue,
        born_timestamp_ms: send.born_timestamp_ms,
        properties: send.properties.map(str::to_owned),
    };
    let same = SendMessage {
        queue: 0,
        born_timestamp_ms: 0,
        properties: None,
        ..send
    };
    let head = (
        command.code,
        command.flag,
        command.language,
        command.version,
    );
    let remark = &command.remark;
    Some((
        format!("{head:?} {remark:?} {same:?} {:?}", command.fields.len()),
        varying,
    ))
}

type Answer = (usize, (i32, i32, i64), (SocketAddr, u64), String);

/// What answers tell: mostly ids as clients make them and numbers of few lengths, so that many are as long as the one before.
fn answer() -> impl Strategy<Value = Answer> {
    let host = |text: &str| Just(text.parse::<SocketAddr>().unwrap());
    (
        prop_oneof![9 => Just(0_usize), 1 => Just(1)],
        (
            prop_oneof![0..20_i32, any::<i32>()],
            prop_oneof![0..12_i32, any::<i32>()],
            prop_oneof![0..20_i64, any::<i64>()],
        ),
        (
            prop_oneof![9 => host("10.0.0.1:10911"), 1 => host("[::1]:10911")],
            0..1_u64 << 62,
        ),
        prop_oneof![6 => "[0-9A-F]{32}", 1 => "[\"a]{32}", 1 => any::<String>()],
    )
}

proptest! {
    #[test]
    fn sends_that_are_alike_are_read(form in any_form(), first in any_varying(), next in any_varying()) {
        let kept = first.properties.clone();
        let (first, out) = (written(&form, &first), written(&form, &next));
        let template = template(&only_frame(&first)).unwrap();
        let frame = only_frame(&out);
        let read = read(&template, &kept, &frame);
        prop_assert_eq!(read, decoded(frame).map(|(_, varying)| varying));
    }

    #[test]
    fn others_are_not(form in any_form(), other in any_form(), varying in any_varying()) {
        let (first, out) = (written(&form, &varying), written(&other, &varying));
        let (first, other) = (only_frame(&first), only_frame(&out));
        let read = read(&template(&first).unwrap(), &varying.properties, &other);
        let are_alike = decoded(first) == decoded(other) && first.serialization == other.serialization;
        prop_assert_eq!(read.is_some(), are_alike);
    }

    #[test]
    fn what_was_bent_is_read_as_decoding_reads_it(
        form in any_form(),
        varying in any_varying(),
        bends in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..4),
    ) {
        let out = written(&form, &varying);
        let frame = only_frame(&out);
        let template = template(&frame).unwrap();
        let mut header = frame.header.to_vec();
        for (at, byte, is_inserted) in bends {
            let at = at.index(header.len());
            match is_inserted {
                true => header.insert(at, byte),
                false => header[at] = byte,
            }
        }
        let bent = Frame { header: &header, ..frame };
        if let Some(read) = read(&template, &varying.properties, &bent) {
            let (same, varying) = decoded(bent).unwrap();
            prop_assert_eq!(read, varying);
            prop_assert_eq!(same, decoded(frame).unwrap().0);
        }
    }

    #[test]
    fn answers_are_those_that_encoding_writes(
        answers in vec(answer(), 1..8),
    ) {
        let templates = BOTH.map(|form| SentTemplate::new(form, "Region"));
        let mut last = LastSent::default();
        let (mut by_template, mut encoded) = (BytesMut::from("before"), BytesMut::from("before"));
        for (form, numbers, (store_host, physical_offset), unique_id) in answers {
            let (opaque, queue, queue_offset) = numbers;
            let message_id = MessageId {
                store_host,
                physical_offset: PhysicalOffset(physical_offset),
            };
            let sent = Sent {
                opaque,
                message_id,
                queue,
                queue_offset,
                unique_id: unique_id.as_bytes(),
            };
            templates[form].put(&sent, &mut last, &mut by_template);
            let fields = SendMessageResponse {
                message_id: &message_id.to_string(),
                queue,
                queue_offset,
                transaction_id: Some(&unique_id),
                batch_unique_id: None,
                recall_handle: None,
                region: Some("Region"),
                trace_on: Some(true),
            };
            let head = Head::response(response_code::SUCCESS, opaque, BOTH[form]);
            put_frame(&head, &fields, b"", &mut encoded);
            prop_assert_eq!(&by_template, &encoded);
        }
    }
}

fn json_frame(header: &str) -> Frame<'_> {
    Frame {
        serialization: Serialization::Json,
        header: header.as_bytes(),
        body: b"",
    }
}

#[test]
fn numbers_without_quotes_and_any_order_are_read() {
    let header = |opaque: i32, queue: i32| {
        format!(
            r#"{{"opaque":{opaque},"code":310, "extFields":{{"a":"g","b":"t","c":"d","d":4,"i":"x\u0001{queue}","e":{queue},"f":0,"g":17,"h":0}},"flag":0}}"#
        )
    };
    let (first, next) = (header(1, 2), header(20_000, 11));
    let (first, next) = (json_frame(&first), json_frame(&next));
    let read = read(&template(&first).unwrap(), &None, &next).unwrap();
    assert_eq!(
        read,
        Varying {
            opaque: 20_000,
            queue: 11,
            born_timestamp_ms: 17,
            properties: Some("x\u{1}11".into()),
        }
    );
}

#[test]
fn headers_that_say_something_twice_are_no_templates() {
    let twice = [
        r#"{"opaque":1,"code":310,"opaque":2,"extFields":{"e":"1","g":"1"}}"#,
        r#"{"opaque":1,"code":310,"extFields":{"e":"1","g":"1","\u0065":"2"}}"#,
        r#"{"opaque":1,"code":310,"extFields":{"e":"1","g":"1"},"extFields":{"e":"2","g":"1"}}"#,
        r#"{"opaque":1,"code":310,"extFields":{"e":"1","g":"1","i":null}}"#,
        r#"{"opaque":1,"code":310,"extFields":{"e":"1"}}"#,
        r#"{"code":310,"extFields":{"e":"1","g":"1"}}"#,
    ];
    for header in twice {
        assert!(template(&json_frame(header)).is_none(), "{header}");
    }
}

#[test]
fn only_short_headers_are_kept_however_long_their_values() {
    let header = |group: usize, properties: usize| {
        let (group, properties) = ("g".repeat(group), "p".repeat(properties));
        format!(
            r#"{{"opaque":1,"code":310,"extFields":{{"a":"{group}","e":"1","g":"1","i":"{properties}"}}}}"#
        )
    };
    assert!(template(&json_frame(&header(10, 100_000))).is_some());
    assert!(template(&json_frame(&header(3_000, 1))).is_none());
}

#[test]
fn properties_that_differ_in_their_id_alone_are_told_by_it() {
    let header = |properties: &str| {
        format!(
            r#"{{"opaque":1,"code":310,"extFields":{{"a":"g","b":"t","e":"1","g":"1","i":"{properties}"}}}}"#
        )
    };
    let id = |digit: &str| digit.repeat(32);
    let like = |digit| {
        format!(
            r#"A\u0001\"\u0002UNIQ_KEY\u0001{}\u0002WAIT\u0001true"#,
            id(digit)
        )
    };
    let kept = header(&like("0"));
    let template = template(&json_frame(&kept)).unwrap();
    let said = |properties: &str| {
        let header = header(properties);
        let read = template.read(&json_frame(&header)).unwrap();
        match read.properties.unwrap() {
            VaryingProperties::Same { unique_id } => Some(unique_id.to_vec()),
            VaryingProperties::Other(_) => None,
        }
    };
    assert_eq!(said(&like("B")), Some(id("B").into_bytes()));
    let others = [
        like("0").replace("true", "false"),
        like("0") + "\\u0002",
        like("0").replace("00000000", "0000000"),
        like("0").replace("UNIQ_KEY", "KEYS"),
        like("0").replace("\\u000100000000", "\\u0001000000\\n"),
        like("0").replace("\\u000100", "\\u0001\\\""),
    ];
    for other in others {
        assert_eq!(said(&other), None, "{other}");
    }
}

#[test]
fn no_id_is_looked_for_where_it_stands_twice_or_is_not_as_clients_make_them() {
    let twice = format!("KEYS\u{1}{0}\u{2}UNIQ_KEY\u{1}{0}\u{2}", "A".repeat(32));
    let short = format!("UNIQ_KEY\u{1}{}\u{2}", "A".repeat(31));
    let form = Form {
        code: request_code::SEND_MESSAGE_V2,
        serialization: Serialization::Binary,
        topic: "t".to_owned(),
        has_properties: true,
    };
    for properties in [twice, short] {
        let varying = Varying {
            opaque: 1,
            queue: 0,
            born_timestamp_ms: 0,
            properties: Some(properties),
        };
        let out = written(&form, &varying);
        assert!(!template(&only_frame(&out)).unwrap().keeps_properties());
    }
}
