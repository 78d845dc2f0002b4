//! RocketMQ's wire: read as real clients write it, held still by golden bytes, and safe against anything a socket can
//! bring.
//!
//! - `captures`: the first request of each kind of clients in several languages, as they sent it.
//! - `genuine`: what its own servers and clients said to each other, request and answer.
//! - `golden`: the bytes of what this side sends. `headers`: the fields of each header.
//! - `bodies`: bodies and files as RocketMQ writes them.
//! - `round_trip`: whatever is written is read. `template`: sends that are like the one before. `hostile`: what no honest peer sends.
#![allow(clippy::unwrap_used)]

mod bodies;
mod captures;
mod genuine;
mod golden;
mod headers;
mod hostile;
mod round_trip;
mod template;

use bytes::BytesMut;
use castmq_protocol::remoting::{Command, Fields, Frame, Frames, Head, Serialization, put_frame};

const BOTH: [Serialization; 2] = [Serialization::Json, Serialization::Binary];

/// The only frame of a buffer.
fn only_frame(buffer: &[u8]) -> Frame<'_> {
    let mut frames = Frames::new(buffer, 1 << 24);
    let frame = frames.next().unwrap().unwrap();
    assert_eq!(frames.next(), None);
    assert_eq!(frames.consumed(), buffer.len());
    frame
}

/// The frame of a command in one of the forms.
fn encode(command: &Command<'_>, serialization: Serialization, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    let head = Head {
        serialization,
        ..Head::of(command)
    };
    put_frame(&head, &command.fields, body, &mut out);
    out
}

fn fields(pairs: &[(&'static str, &'static str)]) -> Fields<'static> {
    let mut fields = Fields::new();
    for (name, value) in pairs {
        assert!(fields.push(*name, *value));
    }
    fields
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
