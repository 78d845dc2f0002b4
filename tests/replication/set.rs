//! A set of brokers, and the name server that knows them, in the test's own process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use castmq_actors::supervision::Tree;
use castmq_actors::{Node, NodeError, Parts, Surroundings};
use castmq_client::raw::admin::{BrokerDetails, ReplicationDetails, SlaveDetails};
use castmq_client::{BrokerAdmin, Client, Message, Producer, SendReceipt};
use castmq_config::{Role, Settings};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support;

/// A node that runs, and may start anew as something else meanwhile.
pub(crate) struct Running {
    pub(crate) address: String,
    /// Its actors, until it starts anew.
    pub(crate) tree: Tree,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<Vec<String>, NodeError>>,
}

impl Running {
    pub(crate) async fn start(settings: &Settings, parts: Parts) -> Self {
        Self::start_in(Surroundings::default(), settings, parts).await
    }

    pub(crate) async fn start_in(
        surroundings: Surroundings,
        settings: &Settings,
        parts: Parts,
    ) -> Self {
        let node = Node::start_in(surroundings, settings, parts).await;
        let node = node.expect("it starts");
        let addresses = [node.broker_address(), node.name_server_address()];
        let address = addresses.into_iter().flatten().next();
        let tree = node.tree().clone();
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
            tree,
            stop,
            ended,
        }
    }

    pub(crate) async fn stop(self) {
        drop((self.stop, self.tree));
        let ended = self.ended.await.expect("no panic");
        assert_eq!(ended.expect("a clean stop"), Vec::<String>::new());
    }
}

/// A master and its slave, and the name server that knows them.
pub(crate) struct Pair {
    pub(crate) folder: TempDir,
    pub(crate) name_server: Running,
    pub(crate) of_master: Settings,
    pub(crate) of_slave: Settings,
    pub(crate) master: Running,
    pub(crate) slave: Running,
    pub(crate) client: Client,
    pub(crate) at_master: BrokerAdmin,
    pub(crate) at_slave: BrokerAdmin,
}

impl Pair {
    /// Starts them with settings that are changed alike, and waits until the slave keeps up.
    pub(crate) async fn start(role: Role, change: impl Fn(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let name_server = name_server(folder.path()).await;
        let settings = |id, role| {
            let mut settings = broker(folder.path(), id, role, &[&name_server]);
            change(&mut settings);
            settings
        };
        let (of_master, of_slave) = (settings(0, role), settings(1, Role::Slave));
        let master = Running::start(&of_master, Parts::Broker).await;
        let slave = Running::start(&of_slave, Parts::Broker).await;
        let client = client(&name_server).await;
        let at_master = admin(&client, &master.address);
        let at_slave = admin(&client, &slave.address);
        step(&at_master, 1, true).await;
        Self {
            folder,
            name_server,
            of_master,
            of_slave,
            master,
            slave,
            client,
            at_master,
            at_slave,
        }
    }

    pub(crate) async fn stop(self) {
        self.slave.stop().await;
        self.master.stop().await;
        self.name_server.stop().await;
    }
}

/// Settings of a broker of a set.
pub(crate) fn broker(folder: &Path, id: u32, role: Role, name_servers: &[&Running]) -> Settings {
    let mut settings = support::settings(&folder.join(format!("broker-{id}")));
    settings.broker.id = id;
    settings.broker.role = role;
    settings.broker.listen = address();
    settings.broker.register_interval_ms = 1_000;
    settings.broker.name_servers = name_servers.iter().map(|ns| ns.address.clone()).collect();
    settings.replication.heartbeat_interval_ms = 200;
    settings.replication.slave_timeout_ms = 2_000;
    settings
}

/// An address whose port, and the one behind it, nobody has. It is none of those that the system gives to connections: a
/// broker that starts anew might find it taken.
fn address() -> SocketAddr {
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    loop {
        let port = fastrand::u16(12_000..32_000);
        if is_free(port) && is_free(port + 1) {
            return SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        }
    }
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

/// A producer for which the machine may be as busy as it likes.
pub(crate) fn patient(client: &Client) -> Producer {
    let producer = client.producer();
    producer.send_timeout(Duration::from_secs(60)).build()
}

/// Sends numbered messages; all are stored.
pub(crate) async fn send(
    client: &Client,
    topic: &str,
    numbers: std::ops::Range<u64>,
) -> Vec<SendReceipt> {
    let producer = patient(client);
    let messages = numbers.map(|n| Message::new(topic, format!("message {n}")));
    let receipts = producer.send_all(messages).await;
    let stored: Result<Vec<_>, _> = receipts.into_iter().collect();
    producer.close().await;
    stored.expect("all are stored")
}

/// Waits until a slave follows, and its log ends where its master's does.
pub(crate) async fn in_step(master: &BrokerAdmin, slave: &BrokerAdmin) {
    support::until(async || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let said = (master.show_broker().await, slave.show_broker().await);
        let (Ok(master), Ok(slave)) = said else {
            return false;
        };
        !slave.replication.following.is_empty()
            && master.log_appended == slave.log_appended
            && master.log_committed == slave.log_committed
    })
    .await;
}

/// What a broker says of itself.
pub(crate) async fn details(at: &BrokerAdmin) -> BrokerDetails {
    at.show_broker().await.expect("it answers")
}

/// How a broker stands to the others; like none while it does not answer.
pub(crate) async fn standing(at: &BrokerAdmin) -> ReplicationDetails {
    let details = at.show_broker().await;
    details.map_or_else(|_| ReplicationDetails::default(), |d| d.replication)
}

/// What a master says of a slave that follows it.
pub(crate) async fn slave(at: &BrokerAdmin, id: u64) -> Option<SlaveDetails> {
    let slaves = standing(at).await.slaves.into_iter();
    slaves.into_iter().find(|slave| slave.broker_id == id)
}

/// Waits until a slave keeps up with its master, or does not.
pub(crate) async fn step(at: &BrokerAdmin, id: u64, is_in_step: bool) {
    support::until(async || {
        let known = slave(at, id).await;
        known.is_some_and(|known| known.is_in_step == is_in_step)
    })
    .await;
}

/// Waits until a broker says that this is wrong with it.
pub(crate) async fn ails(at: &BrokerAdmin, words: &str) -> String {
    loop {
        let health = details(at).await.health;
        if health.contains(words) {
            return health;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Makes a slave whose master has gone the master, and waits until name servers know.
pub(crate) async fn promoted(client: &Client, at: &BrokerAdmin) {
    support::until(async || at.promote(false).await.is_ok()).await;
    support::until(async || standing(at).await.role.ends_with("master")).await;
    support::until(async || {
        let masters = client.admin().masters().await;
        masters.is_ok_and(|all| all.iter().any(|master| master.address() == at.address()))
    })
    .await;
}
