//! A set of brokers, and the name server that knows them, in the test's own process.

use std::path::Path;
use std::time::Duration;

use castmq_actors::{Node, NodeError, Parts};
use castmq_client::{BrokerAdmin, Client, Message, SendReceipt};
use castmq_config::{Role, Settings};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support;

/// A node that runs, and may start anew as something else meanwhile.
pub(crate) struct Running {
    pub(crate) address: String,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<Vec<String>, NodeError>>,
}

impl Running {
    pub(crate) async fn start(settings: &Settings, parts: Parts) -> Self {
        let node = Node::start(settings, parts).await.expect("it starts");
        let addresses = [node.broker_address(), node.name_server_address()];
        let address = addresses.into_iter().flatten().next();
        let (stop, stopped) = oneshot::channel();
        let ended = actix_rt::spawn(async {
            let run = node.run(async {
                // Dropped with the test, it stops too.
                let _ = stopped.await;
            });
            // Others of the test may wait for it for ever.
            run.await
                .inspect_err(|error| eprintln!("a node has ended: {error}"))
        });
        Self {
            address: address.expect("an address").to_string(),
            stop,
            ended,
        }
    }

    pub(crate) async fn stop(self) {
        drop(self.stop);
        let ended = self.ended.await.expect("no panic");
        assert_eq!(ended.expect("a clean stop"), Vec::<String>::new());
    }
}

/// Settings of a broker of a set.
pub(crate) fn broker(folder: &Path, id: u32, role: Role, name_servers: &[&Running]) -> Settings {
    let mut settings = support::settings(&folder.join(format!("broker-{id}")));
    settings.broker.id = id;
    settings.broker.role = role;
    settings.broker.register_interval_ms = 1_000;
    settings.broker.name_servers = name_servers.iter().map(|ns| ns.address.clone()).collect();
    settings.replication.heartbeat_interval_ms = 200;
    settings.replication.slave_timeout_ms = 2_000;
    settings
}

/// A name server.
pub(crate) async fn name_server(folder: &Path) -> Running {
    Running::start(&support::settings(folder), Parts::NameServer).await
}

pub(crate) async fn client(name_server: &Running) -> Client {
    let client = Client::connect(&name_server.address).await;
    client.expect("the client connects")
}

/// What an operator asks a broker.
pub(crate) fn admin(client: &Client, address: &str) -> BrokerAdmin {
    client.admin().at(address)
}

/// Sends numbered messages; all are stored.
pub(crate) async fn send(
    client: &Client,
    topic: &str,
    numbers: std::ops::Range<u64>,
) -> Vec<SendReceipt> {
    let producer = client.producer().build();
    let messages = numbers.map(|n| Message::new(topic, format!("message {n}")));
    let receipts = producer.send_all(messages).await;
    let stored: Result<Vec<_>, _> = receipts.into_iter().collect();
    producer.close().await;
    stored.expect("all are stored")
}

/// Waits until a broker's log ends where another's does.
pub(crate) async fn in_step(one: &BrokerAdmin, other: &BrokerAdmin) {
    support::until(async || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let ends = (one.show_broker().await, other.show_broker().await);
        let (Ok(one), Ok(other)) = ends else {
            return false;
        };
        one.log_appended == other.log_appended && one.log_committed == other.log_committed
    })
    .await;
}
