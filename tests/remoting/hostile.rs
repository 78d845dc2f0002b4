//! Frames that no honest peer sends.

use crate::messages::{broker, message, node, send};
use crate::stock::Stock;
use crate::support::{number, run, seed, stop};
use crate::wire::Wire;

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
        let (broker, stock) = (broker(&node), Stock::default());
        let mut connections = [Wire::open(&broker).await, Wire::open(&names).await];
        for round in 0..number("CASTMQ_REMOTING_FRAMES", 4_000) as usize {
            let frame = stock.bent();
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
