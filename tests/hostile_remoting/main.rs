//! Bytes on RocketMQ's wire that no honest client sends, from many connections, against the real binary: a client like the Java
//! client is served throughout, memory is given back, and nothing panics.
//!
//! `CASTMQ_HOSTILE_FRAMES` and `CASTMQ_HOSTILE_CONNECTIONS` say how much; `tests/hostile.sh` sends a million frames over
//! fifty connections. `CASTMQ_HOSTILE_SEED` repeats the frames of an earlier run.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod client;
mod stock;
#[path = "../support/mod.rs"]
mod support;
#[path = "../remoting/wire.rs"]
#[allow(dead_code)] // A part of it is used here.
mod wire;

use std::rc::Rc;
use std::time::{Duration, Instant};

use castmq_client::raw::admin::{AdminRequest, AdminResponse};
use castmq_client::raw::{Payload, Request, Response, Role};

use client::{Progress, consume, look_up, produce};
use stock::Stock;
use support::attack::{Bent, KEPT_BYTES, SETTINGS, attack, bytes, mib, own_bytes};
use support::load::open;
use support::process::Process;
use support::{number, seed};

impl Bent for Stock {
    fn any_opening(&self) -> Vec<u8> {
        self.opening()
    }

    fn any_frame(&self) -> Vec<u8> {
        self.bent()
    }
}

/// Sessions on RocketMQ's wire, those of the name server too.
async fn sessions(broker: &Process) -> usize {
    let connection = open(&broker.broker, Role::Admin, "operator")
        .await
        .expect("a connection");
    let reply = connection
        .request(Request::Admin(AdminRequest::Actors), Payload::none())
        .await
        .expect("the tree");
    let Response::Admin(AdminResponse::Json(json)) = reply.header.response else {
        panic!("no tree: {:?}", reply.header);
    };
    json.matches("remoting(").count()
}

#[test]
fn a_million_bent_frames_of_rocketmqs_disturb_nobody() {
    let frames = number("CASTMQ_HOSTILE_FRAMES", 20_000);
    let connections = number("CASTMQ_HOSTILE_CONNECTIONS", 20);
    seed("CASTMQ_HOSTILE_SEED");
    let folder = tempfile::tempdir().expect("a folder");
    let mut broker = Process::spawn(&folder.path().join("data"), &SETTINGS);
    broker.ready();
    actix_rt::System::new().block_on(async {
        let progress = Rc::new(Progress::default());
        let (to, from) = (broker.broker.clone(), broker.broker.clone());
        let clients = [
            actix_rt::spawn(produce(progress.clone(), to)),
            actix_rt::spawn(consume(progress.clone(), from)),
            actix_rt::spawn(look_up(progress.clone(), broker.name_server.clone())),
        ];
        progress.reach(100).await;
        // Topics and groups up to their limits, and what the allocator keeps, are there after the first part.
        attack(Stock::default(), &broker, connections, frames / 10).await;
        let before = own_bytes(&broker);
        let started = Instant::now();
        attack(Stock::default(), &broker, connections, frames - frames / 10).await;
        let (peak, elapsed) = (bytes(&broker, |status| status.vmhwm), started.elapsed());
        progress.reach(progress.sent.get() + 100).await;
        // The client's own three are there.
        while sessions(&broker).await != 3 || own_bytes(&broker) > before + KEPT_BYTES {
            let waited = started.elapsed() - elapsed;
            let (own, open) = (own_bytes(&broker), sessions(&broker).await);
            assert!(
                waited < Duration::from_secs(60),
                "{own} bytes are taken, {before} were; {open} connections"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        progress.end();
        for client in clients {
            client.await.expect("it was served throughout");
        }
        assert_eq!(progress.received.get(), progress.sent.get());
        println!(
            "{frames} frames over {connections} connections, the last nine tenths in {:.1} s; own memory {:.1} MiB before, {:.1} MiB after, all of it with mapped files {:.1} MiB now and {:.1} MiB at most; {} messages of an honest client, each answered within {:.1} ms, and {} routes",
            elapsed.as_secs_f64(),
            mib(before),
            mib(own_bytes(&broker)),
            mib(bytes(&broker, |status| status.vmrss)),
            mib(peak),
            progress.received.get(),
            progress.slowest.borrow().as_secs_f64() * 1000.0,
            progress.routes.get(),
        );
    });
    assert_eq!(broker.panics(), Vec::<String>::new());
}
