//! Bytes that no honest client sends, from many connections, against the real binary: it serves on, gives memory back, and
//! nothing panics.
//!
//! `CASTMQ_HOSTILE_FRAMES` and `CASTMQ_HOSTILE_CONNECTIONS` say how much; `tests/hostile.sh` sends a million frames over
//! fifty connections. `CASTMQ_HOSTILE_SEED` repeats the frames of an earlier run.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod support;

use std::rc::Rc;
use std::time::{Duration, Instant};

use castmq_client::raw::admin::{AdminRequest, AdminResponse};
use castmq_client::raw::{Payload, Request, Response, Role};

use support::attack::{KEPT_BYTES, SETTINGS, attack, bytes, mib, own_bytes};
use support::hostile::Stock;
use support::load::{Traffic, open};
use support::process::Process;
use support::{number, seed};

/// Keeps asking the name server where a topic is.
async fn keep_asking(traffic: Rc<Traffic>, address: String) -> u64 {
    let connection = open(&address, Role::Admin, "asker")
        .await
        .expect("a connection");
    let mut answers = 0;
    while !traffic.is_over() {
        let route = Request::Route {
            topic: traffic.topics[0].clone(),
        };
        let answer = connection.request(route, Payload::none()).await;
        answers += u64::from(answer.is_ok());
        assert!(
            answers == 0 || answer.is_ok(),
            "the route is gone: {answer:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    answers
}

/// Sessions in the broker's tree.
async fn sessions(broker: &Process) -> usize {
    let connection = open(&broker.broker, Role::Admin, "operator")
        .await
        .expect("a connection");
    let request = Request::Admin(AdminRequest::Actors);
    let reply = connection
        .request(request, Payload::none())
        .await
        .expect("the tree");
    let Response::Admin(AdminResponse::Json(json)) = reply.header.response else {
        panic!("no tree: {:?}", reply.header);
    };
    json.matches("hostile@").count()
}

#[test]
fn a_million_bent_frames_disturb_nobody() {
    let frames = number("CASTMQ_HOSTILE_FRAMES", 20_000);
    let connections = number("CASTMQ_HOSTILE_CONNECTIONS", 20);
    seed("CASTMQ_HOSTILE_SEED");
    let folder = tempfile::tempdir().expect("a folder");
    let mut broker = Process::spawn(&folder.path().join("data"), &SETTINGS);
    broker.ready();
    actix_rt::System::new().block_on(async {
        let traffic = Traffic::new(&["well-behaved-and-far-from-orders"]);
        traffic.set_slow(true);
        let (producing, consuming) = (traffic.clone(), traffic.clone());
        let (to, from) = (broker.broker.clone(), broker.broker.clone());
        let producer = actix_rt::spawn(async move { producing.produce(&to).await });
        let consumer = actix_rt::spawn(async move { consuming.consume(&from, "well-behaved").await });
        let asker = keep_asking(traffic.clone(), broker.name_server.clone());
        let asker = actix_rt::spawn(asker);
        traffic.reach(100).await;
        // Topics and groups up to their limits, and what the allocator keeps, are there after the first part.
        attack(Stock::default(), &broker, connections, frames / 10).await;
        let before = own_bytes(&broker);
        let started = Instant::now();
        attack(Stock::default(), &broker, connections, frames - frames / 10).await;
        let (peak, elapsed) = (bytes(&broker, |status| status.vmhwm), started.elapsed());
        let acknowledged = traffic.acknowledged();
        traffic.reach(acknowledged + 100).await;
        while sessions(&broker).await > 0 || own_bytes(&broker) > before + KEPT_BYTES {
            let waited = started.elapsed() - elapsed;
            let own = own_bytes(&broker);
            assert!(waited < Duration::from_secs(60), "{own} bytes are taken, {before} were");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        traffic.end();
        producer.await.expect("no panic").expect("the producer was served throughout");
        consumer.await.expect("no panic").expect("the consumer was served throughout");
        assert!(asker.await.expect("no panic") > 0);
        let figures = traffic.verify(&broker.broker).await;
        assert_eq!((figures.refused, figures.unknown), (0, 0), "{figures:?}");
        println!(
            "{frames} frames over {connections} connections, the last nine tenths in {:.1} s; own memory {:.1} MiB before, {:.1} MiB after, all of it with mapped files {:.1} MiB now and {:.1} MiB at most; {figures:?}",
            elapsed.as_secs_f64(),
            mib(before),
            mib(own_bytes(&broker)),
            mib(bytes(&broker, |status| status.vmrss)),
            mib(peak),
        );
    });
    assert_eq!(broker.panics(), Vec::<String>::new());
}
