//! Frames that no honest peer sends, made of those of real clients.

use std::fs;
use std::path::Path;

use crate::messages::{broker, message, node, send};
use crate::support::{number, run, seed, stop};
use crate::wire::Wire;

/// Frames of real clients, whole.
fn captured() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol/tests/fixtures/remoting");
    let mut frames = Vec::new();
    for file in fs::read_dir(folder).expect("captures") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("text");
        let lines = text
            .lines()
            .filter_map(|line| line.split_whitespace().last());
        frames.extend(lines.filter_map(bytes));
    }
    assert!(frames.len() > 20, "{}", frames.len());
    frames
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    bytes
        .collect::<Option<Vec<u8>>>()
        .filter(|bytes| bytes.len() > 8)
}

fn mutated(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for _ in 0..fastrand::usize(1..6) {
        let at = fastrand::usize(..frame.len());
        match fastrand::u8(..4) {
            0 => frame[at] = fastrand::u8(..),
            1 => frame[at] ^= 1 << fastrand::u8(..8),
            2 => drop(frame.splice(at..at, std::iter::repeat_n(fastrand::u8(..), 5))),
            _ => frame.truncate(at.max(8)),
        }
    }
    // Most lengths are right, so that what is behind them is looked at.
    if fastrand::u8(..8) > 0 {
        let length = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
    }
    frame
}

#[test]
fn neither_broker_nor_name_server_minds_mutated_frames_of_real_clients() {
    seed("CASTMQ_REMOTING_SEED");
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        let names = node
            .name_server_address()
            .expect("a name server")
            .to_string();
        let (broker, frames) = (broker(&node), captured());
        let mut connections = [Wire::open(&broker).await, Wire::open(&names).await];
        for round in 0..number("CASTMQ_REMOTING_FRAMES", 4_000) as usize {
            let frame = mutated(&frames[fastrand::usize(..frames.len())]);
            let connection = &mut connections[round % 2];
            if !connection.say(&frame).await || fastrand::u8(..16) == 0 {
                *connection = Wire::open([&broker, &names][round % 2]).await;
            }
        }
        // Both go on.
        send(&mut wire, message("orders"), "after").await;
        let mut names = Wire::open(&names).await;
        assert_eq!(names.ask(106, &(), b"").await.code, 0);
        stop(node).await;
    });
}
