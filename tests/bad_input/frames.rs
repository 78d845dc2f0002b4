//! What cannot be read.

use castmq_client::raw::{ErrorCode, Request, Response, Role};
use castmq_config::Settings;

use super::asking::{
    address, announce, as_it_is, assert_says, assert_stored, producer, send, with_node,
    with_payload,
};
use super::support::hostile::frame;
use super::support::wire::Wire;

#[test]
fn a_wrong_preface_is_told_what_is_spoken_here() {
    with_node(as_it_is, async |node| {
        for port in [address(node), node.name_server_address().expect("one")] {
            for (preface, hint) in [
                (&b"GET / HTTP/1.1\r\n\r\n"[..], "RocketMQ's"),
                (b"\x16\x03\x01\x02\x00", "tls.enable=false"),
                (b"CMQ2", "max_frame_bytes"),
            ] {
                let mut wire = Wire::silent(port).await;
                wire.say(preface).await;
                assert_says(
                    &wire.closed().await,
                    ErrorCode::UnsupportedVersion,
                    &["CMQ1", hint],
                );
            }
        }
    });
}

#[test]
fn who_says_no_hello_is_told_to() {
    let in_a_hurry = |settings: &mut Settings| settings.limits.handshake_timeout_ms = 50;
    with_node(in_a_hurry, async |node| {
        let mut other = Wire::silent(address(node)).await;
        other.say(b"CMQ1").await;
        assert_says(
            &other.refused(Request::Heartbeat).await,
            ErrorCode::InvalidRequest,
            &["hello"],
        );
        let mut silent = Wire::silent(address(node)).await;
        silent.say(b"CMQ1\x10").await;
        assert_says(
            &silent.closed().await,
            ErrorCode::InvalidRequest,
            &["handshake_timeout_ms"],
        );
        let mut long = Wire::silent(address(node)).await;
        long.say(b"CMQ1\xFF\xFF\xFF\x7F").await;
        assert_says(
            &long.closed().await,
            ErrorCode::InvalidRequest,
            &["longer than the limit of 65536"],
        );
    });
}

#[test]
fn a_frame_beyond_the_limit_closes_its_connection_and_costs_nothing_before_it() {
    with_node(as_it_is, async |node| {
        let mut wire = producer(node).await;
        let mut bytes = with_payload(send(0, 0), b"before");
        bytes.extend((16_777_217_u32).to_le_bytes());
        // More than sockets hold: what is not read must not take the answer away.
        bytes.extend(std::iter::repeat_n(7, 3 << 20));
        wire.say(&bytes).await;
        assert!(matches!(wire.answer().await, Response::Sent(_)));
        let words = ["16777217", "limit of 16777216", "smaller"];
        assert_says(&wire.closed().await, ErrorCode::InvalidRequest, &words);
        assert_stored(node, 1).await;
        let mut asker = Wire::open(node.name_server_address().expect("one"), Role::Admin).await;
        asker.say(&u32::MAX.to_le_bytes()).await;
        assert_says(
            &asker.closed().await,
            ErrorCode::InvalidRequest,
            &["limit of 16777216"],
        );
    });
}

#[test]
fn a_frame_cut_short_costs_nothing_before_it() {
    with_node(as_it_is, async |node| {
        let mut wire = producer(node).await;
        let whole = with_payload(send(0, 0), b"whole");
        let half = with_payload(send(0, 0), b"and a half");
        wire.say(&[&whole[..], &half[..half.len() - 3]].concat())
            .await;
        wire.finish().await;
        assert!(matches!(wire.answer().await, Response::Sent(_)));
        assert_eq!(wire.next().await, None);
        assert_stored(node, 1).await;
    });
}

#[test]
fn a_header_that_lies_or_is_unknown_closes_its_connection_and_costs_nothing_before_it() {
    with_node(as_it_is, async |node| {
        let mut lying = frame(announce("orders"));
        let name_length = lying.len() - "orders".len() - 8;
        lying[name_length..name_length + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        let mut unknown = frame(Request::Heartbeat);
        unknown[12..16].copy_from_slice(&9999_u32.to_le_bytes());
        let mut empty = frame(Request::Heartbeat);
        empty.truncate(4);
        empty.fill(0);
        for (stored, bad) in (1..).zip([lying, unknown, empty]) {
            let mut wire = producer(node).await;
            wire.say(&[with_payload(send(0, 0), b"before"), bad].concat())
                .await;
            assert!(matches!(wire.answer().await, Response::Sent(_)));
            let reason = wire.closed().await;
            assert_says(
                &reason,
                ErrorCode::InvalidRequest,
                &["header cannot be read"],
            );
            assert_stored(node, stored).await;
        }
    });
}
