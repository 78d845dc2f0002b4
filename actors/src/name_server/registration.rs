//! What a name server takes as a registration. Pure.

use std::net::{IpAddr, SocketAddr};

use castmq_protocol::model::TopicName;
use castmq_protocol::native::route::{RegisterBroker, TopicQueues};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};

use crate::names::shortened;

/// Longest name of a cluster or a broker, as in the settings.
const MAX_NAME_BYTES: usize = 127;

/// Longest name of a topic of RocketMQ's brokers. Besides names that are topics' here too, they have those of clusters and hosts.
const MAX_TOPIC_BYTES: usize = 255;

/// Most queues of a topic of RocketMQ's brokers, as of those here: clients make something of each.
const MAX_QUEUES: u32 = 65_536;

/// Longest name of a host (RFC 1035).
const MAX_HOST_BYTES: usize = 253;

/// Letters of what came from outside that errors show.
const SHOWN_LETTERS: usize = 64;

/// Refuses garbage: whatever is taken is given to clients, who trust it.
pub(super) fn check(register: &RegisterBroker) -> Result<(), Refusal> {
    check_names(register)?;
    check_address("address", &register.address)?;
    if !register.ha_address.is_empty() {
        check_address("replication address", &register.ha_address)?;
    }
    for queues in &register.topics.changed {
        TopicName::new(&queues.topic)
            .map_err(|error| Refusal::never(ErrorCode::InvalidName, error.to_string()))?;
    }
    Ok(())
}

/// The same of what brokers of RocketMQ say, who may be reached by the name of a host.
pub(super) fn check_rocketmq(register: &RegisterBroker) -> Result<(), Refusal> {
    check_names(register)?;
    check_host("brokerAddr", &register.address)?;
    if !register.ha_address.is_empty() {
        check_host("haServerAddr", &register.ha_address)?;
    }
    register.topics.changed.iter().try_for_each(check_topic)
}

/// Refuses a topic that is none of RocketMQ's.
pub(super) fn check_topic(queues: &TopicQueues) -> Result<(), Refusal> {
    check_visible("topic", &queues.topic, MAX_TOPIC_BYTES)?;
    match queues.read_queues.max(queues.write_queues) {
        ..=MAX_QUEUES => Ok(()),
        many => Err(Refusal::never(
            ErrorCode::InvalidRequest,
            format!(
                "topic {} has {many} queues: a name server takes up to {MAX_QUEUES}",
                shortened(&queues.topic, SHOWN_LETTERS)
            ),
        )),
    }
}

fn check_names(register: &RegisterBroker) -> Result<(), Refusal> {
    check_visible("cluster", &register.cluster, MAX_NAME_BYTES)?;
    check_visible("broker", &register.broker, MAX_NAME_BYTES)
}

fn check_visible(of: &str, name: &str, max_bytes: usize) -> Result<(), Refusal> {
    let is_name =
        (1..=max_bytes).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    match is_name {
        true => Ok(()),
        false => Err(Refusal::never(
            ErrorCode::InvalidName,
            format!(
                "{:?} is no name of a {of}: give it 1 to {max_bytes} visible ASCII characters",
                shortened(name, SHOWN_LETTERS)
            ),
        )),
    }
}

fn check_address(what: &str, address: &str) -> Result<(), Refusal> {
    let parsed = address.parse::<SocketAddr>();
    let is_reachable =
        parsed.is_ok_and(|address| address.port() != 0 && !address.ip().is_unspecified());
    match is_reachable {
        true => Ok(()),
        false => Err(Refusal::never(
            ErrorCode::InvalidRequest,
            format!(
                "{:?} is no {what} that others can reach: say IP:PORT, neither of them 0",
                shortened(address, SHOWN_LETTERS)
            ),
        )),
    }
}

fn check_host(what: &str, address: &str) -> Result<(), Refusal> {
    let is_reachable = address.rsplit_once(':').is_some_and(|(host, port)| {
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let is_host = match ip {
            Ok(ip) => !ip.is_unspecified(),
            Err(_) => is_host_name(host),
        };
        is_host && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    match is_reachable {
        true => Ok(()),
        false => Err(Refusal::never(
            ErrorCode::InvalidRequest,
            format!(
                "{:?} is no {what} that others can reach: say HOST:PORT, neither of them 0",
                shortened(address, SHOWN_LETTERS)
            ),
        )),
    }
}

fn is_host_name(host: &str) -> bool {
    let may_be_in = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=MAX_HOST_BYTES).contains(&host.len()) && host.bytes().all(may_be_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_of_rocketmq_are_reached_by_addresses_or_names_of_hosts() {
        for address in ["10.0.0.1:10911", "broker-a.mq_1:1", "[::1]:10911"] {
            assert_eq!(check_host("brokerAddr", address), Ok(()));
        }
        for address in [
            "",
            "host",
            "host:0",
            ":1",
            "0.0.0.0:1",
            "h:70000",
            "a b:1",
            "ä:1",
        ] {
            let refusal = check_host("brokerAddr", address).unwrap_err();
            assert!(refusal.message.contains("HOST:PORT"), "{address}");
        }
        assert!(check_host("brokerAddr", &format!("{}:1", "h".repeat(254))).is_err());
    }
}
