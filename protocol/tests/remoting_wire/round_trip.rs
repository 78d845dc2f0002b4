//! Whatever is written is read, in both forms and in pieces.

use std::borrow::Cow;

use bytes::BytesMut;
use castmq_protocol::remoting::{Command, Fields, Frames, Language, Serialization};
use proptest::prelude::*;

use super::{encode, only_frame};

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\u{0}-\u{7f}]{0,20}"]
}

fn any_command() -> impl Strategy<Value = Command<'static>> {
    let pair = (any_text(), any_text());
    (
        (any::<i16>(), any::<i16>(), any::<i32>(), any::<i32>()),
        (0_u8..14, prop::option::of(any_text())),
        prop::collection::vec(pair, 0..20),
        any::<bool>(),
    )
        .prop_map(
            |((code, version, opaque, flag), (language, remark), pairs, binary)| {
                let mut fields = Fields::new();
                for (name, value) in pairs {
                    assert!(fields.push(name, value));
                }
                Command {
                    code: code.into(),
                    language: Language::from_code(language),
                    version: version.into(),
                    opaque,
                    flag,
                    remark: remark.filter(|text| !text.is_empty()).map(Cow::Owned),
                    fields,
                    serialization: match binary {
                        true => Serialization::Binary,
                        false => Serialization::Json,
                    },
                }
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_is_read(command in any_command(), body in prop::collection::vec(any::<u8>(), 0..50)) {
        let out = encode(&command, command.serialization, &body);
        let frame = only_frame(&out);
        prop_assert_eq!(frame.body, &body[..]);
        prop_assert_eq!(Command::decode(&frame), Ok(command));
    }

    #[test]
    fn a_json_header_is_the_same_to_others(command in any_command()) {
        let out = encode(&command, Serialization::Json, b"");
        let header: serde_json::Value = serde_json::from_slice(only_frame(&out).header).unwrap();
        prop_assert_eq!(&header["code"], command.code);
        prop_assert_eq!(header["remark"].as_str(), command.remark.as_deref());
        for (name, _) in command.fields.iter() {
            prop_assert_eq!(header["extFields"][name].as_str(), command.fields.get(name));
        }
    }

    #[test]
    fn a_header_that_others_wrote_is_read(command in any_command()) {
        let fields: serde_json::Map<_, _> = command.fields.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let header = serde_json::json!({
            "code": command.code.to_string(),
            "language": command.language.code(),
            "opaque": command.opaque,
            "extFields": fields,
            "serializeTypeCurrentRPC": "JSON",
            "unknown": [{"a": [1, 2.5, null, true]}],
        });
        let text = serde_json::to_string_pretty(&header).unwrap();
        let mut out = BytesMut::new();
        out.extend_from_slice(&(4 + text.len() as i32).to_be_bytes());
        out.extend_from_slice(&(text.len() as i32).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
        let frame = only_frame(&out);
        let read = Command::decode(&frame).unwrap();
        prop_assert_eq!((read.code, read.language, read.opaque), (command.code, command.language, command.opaque));
        prop_assert_eq!((read.version, read.flag, read.remark), (0, 0, None));
        for (name, _) in command.fields.iter() {
            prop_assert_eq!(read.fields.get(name), command.fields.get(name));
        }
    }

    #[test]
    fn frames_are_found_however_they_are_cut(commands in prop::collection::vec(any_command(), 1..5), cut in any::<prop::sample::Index>()) {
        let mut buffer = BytesMut::new();
        let mut ends = Vec::new();
        for command in &commands {
            buffer.extend_from_slice(&encode(command, command.serialization, b"body"));
            ends.push(buffer.len());
        }
        let cut = cut.index(buffer.len() + 1);
        let mut frames = Frames::new(&buffer[..cut], 1 << 20);
        let whole = ends.iter().filter(|end| **end <= cut).count();
        prop_assert_eq!(frames.by_ref().map(Result::unwrap).count(), whole);
        let consumed = whole.checked_sub(1).map_or(0, |last| ends[last]);
        prop_assert_eq!(frames.consumed(), consumed);
    }
}
