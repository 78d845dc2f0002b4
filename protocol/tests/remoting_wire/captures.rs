//! The first request of each kind of clients in several languages, as they sent it.

use castmq_protocol::remoting::bodies::heartbeat::{
    ConsumeFrom, ConsumeType, Heartbeat, MessageModel,
};
use castmq_protocol::remoting::headers::membership::{ConsumerList, UnregisterClient};
use castmq_protocol::remoting::headers::name_server::RouteInfo;
use castmq_protocol::remoting::headers::offsets::{QueryOffset, UpdateOffset};
use castmq_protocol::remoting::headers::pull::PullMessage;
use castmq_protocol::remoting::headers::send::SendMessage;
use castmq_protocol::remoting::{Command, Language, ReadFields, Serialization, json, request_code};

use super::{BOTH, encode, only_frame};

const CAPTURES: [(&str, &str); 5] = [
    (
        "npm ali-ons 3.12.0",
        include_str!("../fixtures/remoting/npm-ali-ons-3.12.0.hex"),
    ),
    (
        "PyPI rocketmq 0.4.4",
        include_str!("../fixtures/remoting/py-native-0.4.4.hex"),
    ),
    (
        "PyPI rocketmq-client-python 2.0.0",
        include_str!("../fixtures/remoting/py-native-2.0.0.hex"),
    ),
    (
        "crate rocketmq-client-rust 1.0.0, consumer",
        include_str!("../fixtures/remoting/rs-remoting-cons-1.0.0.hex"),
    ),
    (
        "crate rocketmq-client-rust 1.0.0, producer",
        include_str!("../fixtures/remoting/rs-remoting-prod-1.0.0.hex"),
    ),
];

struct Captured {
    client: &'static str,
    /// As in `SEND_MESSAGE(10)`.
    request: &'static str,
    bytes: Vec<u8>,
}

/// A comment line that tells the request goes before each line of bytes.
fn captured() -> Vec<Captured> {
    let mut all = Vec::new();
    for (client, text) in CAPTURES {
        let mut lines = text.lines();
        while let (Some(comment), Some(digits)) = (lines.next(), lines.next()) {
            let bytes = (0..digits.len()).step_by(2);
            all.push(Captured {
                client,
                request: comment.rsplit(' ').next().unwrap(),
                bytes: bytes
                    .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                    .collect(),
            });
        }
    }
    all
}

#[test]
fn every_captured_frame_is_read() {
    assert_eq!(captured().len(), 34);
    for Captured {
        client,
        request,
        bytes,
    } in captured()
    {
        let command = Command::decode(&only_frame(&bytes)).unwrap();
        let name = request_code::name(command.code).unwrap();
        assert_eq!(format!("{name}({})", command.code), request, "{client}");
        assert!(!command.is_response());
        let languages = [Language::Java, Language::Cpp, Language::Rust];
        assert!(languages.contains(&command.language), "{client}");
        assert!(command.version > 0);
        assert_eq!(command.remark, None);
        assert_eq!(command.serialization, Serialization::Json);
    }
}

#[test]
fn every_captured_frame_survives_being_written_in_both_forms() {
    for Captured { request, bytes, .. } in captured() {
        let frame = only_frame(&bytes);
        let command = Command::decode(&frame).unwrap();
        for serialization in BOTH {
            let out = encode(&command, serialization, frame.body);
            let again = only_frame(&out);
            assert_eq!(again.serialization, serialization);
            assert_eq!(again.body, frame.body);
            let expected = Command {
                serialization,
                ..command.clone()
            };
            let read = Command::decode(&again).unwrap();
            assert_eq!(read, expected, "{request}");
            assert_eq!(read.into_owned(), expected);
        }
    }
}

/// Reads the fields by the header that belongs to the code.
fn read_header(command: &Command<'_>) {
    let fields = &command.fields;
    match command.code {
        request_code::GET_ROUTEINFO_BY_TOPIC => {
            let route = RouteInfo::from_fields(fields).unwrap();
            assert!(["TopicTest", "%RETRY%GID_rs"].contains(&route.topic));
        }
        request_code::SEND_MESSAGE | request_code::SEND_MESSAGE_V2 => {
            let send = SendMessage::from_fields(command.code, fields).unwrap();
            assert_eq!(send.topic, "TopicTest");
            assert_eq!(send.default_topic, "TBW102");
            assert!(send.born_timestamp_ms > 1_700_000_000_000);
            assert!(send.properties.unwrap().contains('\u{1}'));
            assert!(!send.batch && !send.unit_mode);
        }
        request_code::PULL_MESSAGE => {
            let pull = PullMessage::from_fields(fields).unwrap();
            assert_eq!((pull.max_messages, pull.suspend_timeout_ms), (32, 15_000));
        }
        request_code::QUERY_CONSUMER_OFFSET => {
            assert!(QueryOffset::from_fields(fields).unwrap().queue >= 0);
        }
        request_code::UPDATE_CONSUMER_OFFSET => {
            assert!(UpdateOffset::from_fields(fields).unwrap().offset >= 0);
        }
        request_code::GET_CONSUMER_LIST_BY_GROUP => {
            assert!(
                ConsumerList::from_fields(fields)
                    .unwrap()
                    .group
                    .starts_with("GID")
            );
        }
        request_code::UNREGISTER_CLIENT => {
            let client_id = UnregisterClient::from_fields(fields).unwrap().client_id;
            assert!(!client_id.is_empty());
        }
        request_code::HEART_BEAT => {}
        other => panic!("{other} was not captured"),
    }
}

#[test]
fn the_fields_of_every_captured_request_are_read() {
    for Captured { bytes, .. } in captured() {
        read_header(&Command::decode(&only_frame(&bytes)).unwrap());
    }
}

#[test]
fn only_fields_with_escapes_are_copied() {
    let mut copied = Vec::new();
    for Captured { bytes, .. } in captured() {
        let frame = only_frame(&bytes);
        let header = frame.header.as_ptr_range();
        let command = Command::decode(&frame).unwrap();
        for (name, value) in command.fields.iter() {
            assert!(header.contains(&name.as_ptr()));
            if !header.contains(&value.as_ptr()) {
                copied.push(name.to_owned());
            }
        }
    }
    assert_eq!(copied.len(), 4);
    assert!(
        copied
            .iter()
            .all(|name| ["i", "properties"].contains(&name.as_str()))
    );
}

#[test]
fn every_captured_heartbeat_is_read() {
    let mut consumers = 0;
    for Captured { client, bytes, .. } in captured() {
        let frame = only_frame(&bytes);
        if Command::decode(&frame).unwrap().code != request_code::HEART_BEAT {
            continue;
        }
        let heartbeat: Heartbeat = json::from_slice(frame.body).unwrap();
        assert!(!heartbeat.client_id.is_empty(), "{client}");
        assert!(!heartbeat.producers.is_empty(), "{client}");
        for consumer in &heartbeat.consumers {
            consumers += 1;
            assert_eq!(consumer.consume_type, ConsumeType::Passively, "{client}");
            assert_eq!(consumer.message_model, MessageModel::Clustering);
            assert_eq!(consumer.consume_from_where, ConsumeFrom::Last);
            for subscription in &consumer.subscriptions {
                assert_eq!(subscription.expression, "*");
                assert_eq!(subscription.expression_type, "TAG");
            }
        }
        let again: Heartbeat = json::from_slice(&json::to_bytes(&heartbeat)).unwrap();
        assert_eq!(again, heartbeat);
    }
    assert!(consumers >= 3);
}
