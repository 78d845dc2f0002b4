//! The bytes of every frame, as they have been since it was first sent.

use bytes::BytesMut;
use castmq_protocol::native::frame::encode_frame;

use super::frames::{client_frames, server_frames};

const GOLDEN: &str = include_str!("../golden/native.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn name(debug: &str) -> &str {
    let end = debug
        .find([' ', '{'])
        .map(|at| debug[..at].rfind('(').map_or(at, |open| at.max(open)))
        .unwrap_or(debug.len());
    debug[..end].trim_end_matches(['(', ' '])
}

fn golden_lines() -> String {
    let mut text = String::new();
    for frame in client_frames() {
        let mut out = BytesMut::new();
        encode_frame(&frame.header, &[&frame.payload], &mut out);
        let request = format!("{:?}", frame.header.request);
        text += &format!("request {} {}\n", name(&request), hex(&out));
    }
    for frame in server_frames() {
        let mut out = BytesMut::new();
        encode_frame(&frame.header, &[&frame.payload], &mut out);
        let response = format!("{:?}", frame.header.response);
        text += &format!("response {} {}\n", name(&response), hex(&out));
    }
    text
}

/// Lines may be added to the golden file, never changed: `CASTMQ_WRITE_GOLDEN=1 cargo test -p castmq-protocol`
/// writes it anew, and the review of the change sees what moved.
#[test]
fn the_wire_is_byte_for_byte_what_it_was() {
    if std::env::var_os("CASTMQ_WRITE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/native.txt");
        std::fs::write(path, golden_lines()).unwrap();
        return;
    }
    let now = golden_lines();
    assert_eq!(now.lines().count(), GOLDEN.lines().count());
    for (now, golden) in now.lines().zip(GOLDEN.lines()) {
        assert_eq!(now, golden);
    }
}

#[test]
fn a_send_header_is_small() {
    let send = client_frames().swap_remove(4);
    let mut out = BytesMut::new();
    encode_frame(&send.header, &[], &mut out);
    assert_eq!(out.len(), 46);
}
