//! Name servers and brokers of a test, each a node with a folder of its own.

use std::net::SocketAddr;
use std::path::Path;

use castmq_actors::{Node, Parts};
use castmq_client::Client;
use castmq_client::raw::route::{RegisterBroker, TopicQueues, TopicRoute, TopicsReport};
use castmq_config::Settings;

use crate::support::settings;

/// Starts a name server at an address; port 0 is any.
pub(crate) async fn name_server(at: SocketAddr) -> Node {
    name_server_with(at, |_| ()).await
}

/// The same, with a change of its settings.
pub(crate) async fn name_server_with(at: SocketAddr, change: impl FnOnce(&mut Settings)) -> Node {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = settings(folder.path());
    settings.name_server.listen = at;
    change(&mut settings);
    let node = Node::start(&settings, Parts::NameServer).await;
    node.expect("a name server")
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn address(name_server: &Node) -> SocketAddr {
    name_server.name_server_address().expect("a name server")
}

/// Settings of a broker that registers with these.
pub(crate) fn broker_settings(data: &Path, name_servers: &[SocketAddr]) -> Settings {
    let mut settings = settings(data);
    settings.broker.name_servers = name_servers.iter().map(SocketAddr::to_string).collect();
    settings
}

pub(crate) async fn broker(settings: &Settings) -> Node {
    let node = Node::start(settings, Parts::Broker).await;
    node.expect("a broker")
}

/// Where a topic is, as one name server says.
pub(crate) async fn route(name_server: SocketAddr, topic: &str) -> Option<TopicRoute> {
    let client = Client::connect(&name_server.to_string()).await.ok()?;
    client.admin().route(topic).await.ok()
}

/// The addresses of a topic's brokers, by what one name server says.
pub(crate) async fn addresses(name_server: SocketAddr, topic: &str) -> Vec<String> {
    let route = route(name_server, topic).await.unwrap_or_default();
    let brokers = route.brokers.into_iter().flat_map(|set| set.addresses);
    brokers.map(|(_, address)| address).collect()
}

/// What the tree of a broker shows of its registrar with a name server.
pub(crate) async fn registrar(broker: &Node, name_server: SocketAddr) -> serde_json::Value {
    let tree = broker.tree().snapshot().await;
    let registrar = tree.find(&format!("broker/network/registrar({name_server})"));
    registrar.expect("a registrar").state.clone()
}

/// Why a broker is not registered.
pub(crate) async fn last_error(broker: &Node, name_server: SocketAddr) -> String {
    let state = registrar(broker, name_server).await;
    state["last_error"].as_str().unwrap_or_default().to_owned()
}

/// What a broker with the topic `t` says, at an address where nobody is.
pub(crate) fn registration(set: &str, id: u64, epoch: u32, address: &str) -> RegisterBroker {
    let queues = TopicQueues {
        topic: "t".into(),
        read_queues: 1,
        write_queues: 1,
        permission: 6,
        system_flag: 0,
        is_traced: false,
    };
    RegisterBroker {
        cluster: "DefaultCluster".into(),
        broker: set.into(),
        broker_id: id,
        configured_id: id,
        epoch,
        address: address.into(),
        ha_address: String::new(),
        expiry_ms: 120_000,
        version: Default::default(),
        topics: TopicsReport {
            changed: vec![queues],
            ..TopicsReport::default()
        },
    }
}
