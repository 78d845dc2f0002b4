//! What a broker with many topics costs.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use castmq_actors::{Node, store_options};
use castmq_client::model::{TopicConfig, TopicName};
use castmq_client::{BrokerAdmin, Client};
use castmq_config::Settings;
use castmq_storage::disk::os::OsDisk;
use castmq_storage::store::Store;

use crate::cluster::{address, any_port, broker, broker_settings, name_server, registrar, route};
use crate::support::{run, until};
use crate::toll::Toll;

/// Heartbeats that are measured.
const HEARTBEATS: usize = 20;

/// Of the longest names that users may choose.
fn topic(number: usize) -> String {
    format!("{number:0>127}")
}

/// Puts topics into the store before a broker opens it: its operators take as long as a sync for each.
fn prepare(settings: &Settings, topics: usize) {
    let (store, _) = Store::open(Arc::new(OsDisk), store_options(settings)).expect("a store");
    for number in 0..topics {
        let name = TopicName::new(&topic(number)).expect("a name");
        let put = store
            .metadata
            .put_topic(&name, &TopicConfig::with_queues(4));
        put.expect("a topic");
    }
    store.metadata.sync().expect("metadata");
    store.close(store.log.appended()).expect("a clean end");
}

/// Bytes between a broker and one name server.
struct Figures {
    first_registration: usize,
    heartbeat: usize,
    heartbeats_answer: usize,
    new_topic: usize,
    lost_connection: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "first registration {}, heartbeat {}, its answer {}, a heartbeat with a new topic {}, a lost connection {}",
            self.first_registration,
            self.heartbeat,
            self.heartbeats_answer,
            self.new_topic,
            self.lost_connection
        )
    }
}

fn greatest(pieces: &[usize]) -> usize {
    pieces.iter().copied().max().expect("something was said")
}

async fn is_registered(broker: &Node, toll: &Toll) -> bool {
    registrar(broker, toll.address).await["is_registered"] == true
}

/// A broker that begins with so many topics, and what it says to each of two name servers.
async fn measured(topics: usize) -> [Figures; 2] {
    let servers = [name_server(any_port()).await, name_server(any_port()).await];
    let servers_at = [address(&servers[0]), address(&servers[1])];
    let tolls = [
        Toll::before(servers_at[0]).await,
        Toll::before(servers_at[1]).await,
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = broker_settings(folder.path(), &[tolls[0].address, tolls[1].address]);
    settings.broker.register_interval_ms = 100;
    prepare(&settings, topics);
    let broker = broker(&settings).await;
    let mut figures = Vec::new();
    for (toll, server) in tolls.iter().zip(servers_at) {
        until(async || is_registered(&broker, toll).await).await;
        let first_registration = toll.said().iter().sum();
        toll.reset();
        until(async || toll.said().len() > HEARTBEATS).await;
        let (heartbeat, heartbeats_answer) = (greatest(&toll.said()), greatest(&toll.answered()));
        toll.reset();
        let new = format!("new-{server}").replace([':', '.'], "-");
        create(&servers_at, &new).await;
        until(async || route(server, &new).await.is_some()).await;
        let new_topic = greatest(&toll.said());
        toll.reset();
        toll.cut();
        until(async || !is_registered(&broker, toll).await).await;
        until(async || is_registered(&broker, toll).await).await;
        let lost_connection = toll.said().iter().sum();
        figures.push(Figures {
            first_registration,
            heartbeat,
            heartbeats_answer,
            new_topic,
            lost_connection,
        });
    }
    for server in servers_at {
        assert_routes(server, &broker, topics).await;
    }
    broker.stop().await.expect("a clean stop");
    for server in servers {
        server.stop().await.expect("a clean stop");
    }
    figures.try_into().ok().expect("two name servers")
}

async fn create(name_servers: &[SocketAddr], topic: &str) {
    let broker = any_master(name_servers).await;
    let created = broker.create_topic(topic, TopicConfig::with_queues(1));
    created.await.expect("a topic");
}

async fn any_master(name_servers: &[SocketAddr]) -> BrokerAdmin {
    let client = Client::builder().name_servers(name_servers.iter().map(SocketAddr::to_string));
    let client = client.build().await.expect("a client");
    let masters = client.admin().masters().await.expect("brokers");
    masters.into_iter().next().expect("a broker")
}

/// A name server knows all topics, and where they are.
async fn assert_routes(name_server: SocketAddr, broker: &Node, topics: usize) {
    let client = Client::connect(&name_server.to_string()).await;
    let client = client.expect("a client");
    let known = client.admin().topics().await.expect("topics");
    let ours = known.iter().filter(|name| name.len() == 127).count();
    assert_eq!(ours, topics);
    let broker = broker.broker_address().expect("a broker").to_string();
    for number in [0, topics / 2, topics - 1] {
        let route = client.admin().route(&topic(number)).await.expect("a route");
        assert_eq!(route.queues.len(), 1);
        assert_eq!(route.queues[0].write_queues, 4);
        assert_eq!(route.brokers[0].addresses, [(0, broker.clone())]);
    }
}

#[test]
fn many_topics_cost_no_more_than_few_once_they_are_known() {
    run(async {
        let few = measured(10).await;
        let many = measured(50_000).await;
        println!("bytes, with 10 topics: {}", few[0]);
        println!("bytes, with 50,000 topics: {}", many[0]);
        println!("bytes, at the second name server: {}", many[1]);
        for (many, few) in many.iter().zip(&few) {
            assert!(many.first_registration > 50_000 * 127);
            assert_eq!(many.heartbeat, few.heartbeat);
            assert_eq!(many.heartbeats_answer, few.heartbeats_answer);
            assert!(many.heartbeat < 256, "{many}");
            assert!(many.new_topic < many.heartbeat + 64, "{many}");
            assert!(many.lost_connection < 1024, "{many}");
        }
    });
}

#[test]
fn topics_that_do_not_fit_a_frame_come_in_parts() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let mut narrow = crate::support::settings(folder.path());
        narrow.limits.max_frame_bytes = 4096;
        let server = Node::start(&narrow, castmq_actors::Parts::NameServer).await;
        let server = server.expect("a name server");
        let data = tempfile::tempdir().expect("a folder");
        let settings = broker_settings(data.path(), &[address(&server)]);
        prepare(&settings, 1000);
        let broker = broker(&settings).await;
        until(async || route(address(&server), &topic(0)).await.is_some()).await;
        for number in 0..1000 {
            if number % 100 == 0 {
                let found = route(address(&server), &topic(number)).await;
                assert!(found.is_some(), "{number}");
            }
        }
        broker.stop().await.expect("a clean stop");
        server.stop().await.expect("a clean stop");
    });
}
