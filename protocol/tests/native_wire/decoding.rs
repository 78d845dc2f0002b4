//! What comes back of bytes: of whole frames, of pieces, and of what no honest peer sends.

use bytes::BytesMut;
use castmq_protocol::native::frame::{
    CodecError, FrameCodec, Frames, LENGTH_BYTES, decode_header, encode_frame,
};
use castmq_protocol::native::{ClientHeader, FrameError, ServerHeader};
use proptest::prelude::*;
use tokio_util::codec::{Decoder, Encoder};

use super::frames::{client_frames, server_frames};

#[test]
fn every_frame_decodes_to_what_was_encoded() {
    let mut codec = FrameCodec::<ClientHeader, ClientHeader>::new(1 << 20);
    let mut buffer = BytesMut::new();
    for frame in client_frames() {
        codec.encode(frame, &mut buffer).unwrap();
    }
    for frame in client_frames() {
        assert_eq!(codec.decode(&mut buffer).unwrap(), Some(frame));
    }
    let mut codec = FrameCodec::<ServerHeader, ServerHeader>::new(1 << 20);
    for frame in server_frames() {
        codec.encode(frame, &mut buffer).unwrap();
    }
    for frame in server_frames() {
        assert_eq!(codec.decode(&mut buffer).unwrap(), Some(frame));
    }
    assert!(buffer.is_empty());
}

#[test]
fn all_complete_frames_of_a_buffer_are_found_and_no_more() {
    let mut buffer = BytesMut::new();
    for frame in client_frames() {
        encode_frame(&frame.header, &[&frame.payload], &mut buffer);
    }
    let whole = buffer.len();
    buffer.truncate(whole - 1);
    let mut frames = Frames::new(&buffer, 1 << 20);
    assert_eq!(frames.by_ref().count(), client_frames().len() - 1);
    assert!(frames.consumed() < whole - 1);
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_arrives() {
    let mut buffer = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
    let refused = Frames::new(&buffer, 100).next().unwrap().unwrap_err();
    assert_eq!(
        refused,
        FrameError::TooLong {
            length: u32::MAX as usize,
            limit: 100
        }
    );
    let mut codec = FrameCodec::<ClientHeader, ClientHeader>::new(100);
    assert!(matches!(
        codec.decode(&mut buffer),
        Err(CodecError::Frame(FrameError::TooLong { .. }))
    ));
}

#[test]
fn lengths_that_lie_inside_a_header_allocate_nothing() {
    // AnnounceTopic with a name that claims 2^40 bytes.
    let mut frame = Vec::new();
    frame.extend(1_u64.to_le_bytes());
    frame.extend(2_u32.to_le_bytes());
    frame.extend(1_u32.to_le_bytes());
    frame.extend((1_u64 << 40).to_le_bytes());
    assert!(matches!(
        decode_header::<ClientHeader>(&frame),
        Err(FrameError::Header { .. })
    ));
    // CommitOffsets with 2^32 entries.
    let mut frame = Vec::new();
    frame.extend(1_u64.to_le_bytes());
    frame.extend(10_u32.to_le_bytes());
    frame.extend(1_u32.to_le_bytes());
    frame.extend((1_u64 << 32).to_le_bytes());
    assert!(decode_header::<ClientHeader>(&frame).is_err());
}

#[test]
fn an_unknown_request_is_an_error() {
    let mut frame = Vec::new();
    frame.extend(1_u64.to_le_bytes());
    frame.extend(9999_u32.to_le_bytes());
    assert!(decode_header::<ClientHeader>(&frame).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn arbitrary_headers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_header::<ClientHeader>(&bytes);
        let _ = decode_header::<ServerHeader>(&bytes);
    }

    #[test]
    fn damaged_headers_never_panic(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let frames = client_frames();
        let mut out = BytesMut::new();
        let frame = which.get(&frames);
        encode_frame(&frame.header, &[&frame.payload], &mut out);
        let mut header = out.split_off(LENGTH_BYTES);
        let position = at.index(header.len());
        header[position] = byte;
        header.truncate(cut.index(header.len()) + 1);
        let _ = decode_header::<ClientHeader>(&header);
    }

    #[test]
    fn frames_survive_any_fragmentation(cuts in prop::collection::vec(1_usize..40, 1..200)) {
        let mut whole = BytesMut::new();
        for frame in client_frames() {
            encode_frame(&frame.header, &[&frame.payload], &mut whole);
        }
        let mut codec = FrameCodec::<ClientHeader, ClientHeader>::new(1 << 20);
        let mut buffer = BytesMut::new();
        let mut decoded = Vec::new();
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let piece = whole.split_to(cut.min(whole.len()));
            buffer.extend_from_slice(&piece);
            while let Some(frame) = codec.decode(&mut buffer).unwrap() {
                decoded.push(frame);
            }
        }
        prop_assert_eq!(decoded, client_frames());
    }
}
