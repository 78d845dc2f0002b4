//! What RocketMQ's own servers and clients said to each other (`tests/interop/record.sh`): read, and written again as it was.
//!
//! - `headers`: fields through the types of headers. `bodies`: bodies through theirs; `value`: two bodies that say the same.

mod bodies;
mod headers;
mod value;

use bytes::Bytes;
use castmq_protocol::remoting::{Command, Serialization};

use super::{encode, only_frame};

const FRAMES: &str = include_str!("../../../../tests/interop/fixtures/genuine/frames.hex");

/// A request and what it was answered.
struct Pair {
    /// As it stands in the file.
    about: &'static str,
    request: Vec<u8>,
    answer: Option<Vec<u8>>,
}

impl Pair {
    fn code(&self) -> i32 {
        Command::decode(&only_frame(&self.request)).unwrap().code
    }

    fn frames(&self) -> impl Iterator<Item = &[u8]> {
        let answer = self.answer.as_deref();
        std::iter::once(self.request.as_slice()).chain(answer)
    }
}

fn pairs() -> Vec<Pair> {
    let lines: Vec<_> = FRAMES.lines().collect();
    let pairs = lines.chunks_exact(3).map(|lines| Pair {
        about: lines[0].strip_prefix("# ").unwrap(),
        request: unhex(lines[1].strip_prefix("> ").unwrap()),
        answer: lines[2].strip_prefix("< ").map(unhex),
    });
    pairs.collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    let bytes = (0..digits.len()).step_by(2);
    bytes
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// RocketMQ's frames have the object of fields and the remark at times when they are empty, and leave them out at others. Ours
/// always have the one and never the other.
fn without_nothing(frame: &[u8]) -> (Bytes, Bytes) {
    let parts = only_frame(frame);
    let header = std::str::from_utf8(parts.header).unwrap();
    let header = header.replace("\"extFields\":{},", "");
    let header = header.replace("\"remark\":\"\",", "");
    (
        header.into_bytes().into(),
        Bytes::copy_from_slice(parts.body),
    )
}

#[test]
fn every_frame_is_written_as_it_came() {
    let (mut json, mut binary) = (0, 0);
    for pair in pairs() {
        for frame in pair.frames() {
            let parts = only_frame(frame);
            let command = Command::decode(&parts).unwrap();
            let written = encode(&command, command.serialization, parts.body);
            match parts.serialization {
                Serialization::Json => {
                    json += 1;
                    let same = without_nothing(frame) == without_nothing(&written);
                    assert!(same, "{}", pair.about);
                }
                Serialization::Binary => {
                    binary += 1;
                    assert_eq!(written, frame, "{}", pair.about);
                }
            }
        }
    }
    assert!(json > 240 && binary > 10, "{json}, {binary}");
}
