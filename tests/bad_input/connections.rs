//! Connections that are too many or silent, and a port that is taken.

use std::net::SocketAddr;
use std::time::Duration;

use castmq_actors::{Node, NodeError, Parts};
use castmq_client::raw::{ErrorCode, Response, Retry, Role};
use castmq_config::Settings;

use super::asking::{
    address, as_it_is, assert_says, consumer, producer, pull, send, session, with_node,
    with_payload,
};
use super::support::hostile::{any_role, frame, opening};
use super::support::wire::Wire;
use super::support::{settings, start, stop};

#[test]
fn a_port_in_use_is_named_before_anything_starts() {
    with_node(as_it_is, async |node| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut second = settings(folder.path());
        second.broker.listen = address(node);
        let refused = Node::start(&second, Parts::Standalone).await.err();
        let Some(error @ NodeError::Bind { .. }) = refused else {
            panic!("{refused:?}");
        };
        let text = error.to_string();
        assert!(text.contains(&address(node).to_string()), "{text}");
        assert!(text.contains("choose another"), "{text}");
        // Nothing of the second one is left that would be in the way.
        second.broker.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        stop(start(&second).await).await;
    });
}

#[test]
fn one_connection_too_many_is_told_so_and_fits_when_another_has_gone() {
    let few = |settings: &mut Settings| settings.limits.max_connections = 1;
    with_node(few, async |node| {
        let first = Wire::open(address(node), Role::Admin).await;
        let mut second = Wire::silent(address(node)).await;
        second.say(&opening(any_role())).await;
        let Response::Failed(failure) = second.answer().await else {
            panic!("a second connection is welcome");
        };
        assert_says(
            &failure,
            ErrorCode::LimitReached,
            &["1 connections", "limits.max_connections"],
        );
        assert_eq!(failure.retry, Retry::Safe);
        drop((first, second));
        loop {
            let mut third = Wire::silent(address(node)).await;
            third.say(&opening(Role::Admin)).await;
            if matches!(third.answer().await, Response::Welcome(_)) {
                break;
            }
        }
    });
}

#[test]
fn a_flood_of_connections_beyond_the_limit_takes_a_bounded_number_of_places() {
    let few = |settings: &mut Settings| {
        settings.limits.max_connections = 1;
        settings.limits.handshake_timeout_ms = 60_000;
    };
    with_node(few, async |node| {
        let first = Wire::open(address(node), Role::Admin).await;
        let mut waiting = Vec::new();
        for _ in 0..256 {
            waiting.push(Wire::silent(address(node)).await);
        }
        let mut beyond = Wire::silent(address(node)).await;
        assert_eq!(beyond.next().await, None);
        // Places come back with those who had them.
        drop((waiting, first));
        loop {
            let mut again = Wire::silent(address(node)).await;
            again.say(&opening(Role::Admin)).await;
            if let Some((Response::Welcome(_), _)) = again.next().await {
                break;
            }
        }
    });
}

#[test]
fn a_silent_connection_is_told_that_it_was_and_one_that_never_reads_goes_too() {
    let impatient = |settings: &mut Settings| settings.limits.idle_timeout_ms = 1000;
    with_node(impatient, async |node| {
        let mut sender = producer(node).await;
        let body = vec![b'x'; 1 << 20];
        for _ in 0..16 {
            sender.say(&with_payload(send(0, 0), &body)).await;
            assert!(matches!(sender.answer().await, Response::Sent(_)));
        }
        let mut deaf = consumer(node).await;
        for offset in 0..16 {
            deaf.say(&frame(pull(0, offset))).await;
        }
        assert_says(
            &sender.closed().await,
            ErrorCode::InvalidRequest,
            &["1s", "limits.idle_timeout_ms"],
        );
        while session(node, "Consumer").await.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(deaf);
    });
}
