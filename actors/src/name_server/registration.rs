//! What a name server takes as a registration. Pure.

use std::net::SocketAddr;

use castmq_protocol::model::TopicName;
use castmq_protocol::native::route::RegisterBroker;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};

use crate::names::shortened;

/// Longest name of a cluster or a broker, as in the settings.
const MAX_NAME_BYTES: usize = 127;

/// Letters of what came from outside that errors show.
const SHOWN_LETTERS: usize = 64;

/// Refuses garbage: whatever is taken is given to clients, who trust it.
pub(super) fn check(register: &RegisterBroker) -> Result<(), Refusal> {
    check_name("cluster", &register.cluster)?;
    check_name("broker", &register.broker)?;
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

fn check_name(of: &str, name: &str) -> Result<(), Refusal> {
    let is_name = (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic());
    match is_name {
        true => Ok(()),
        false => Err(Refusal::never(
            ErrorCode::InvalidName,
            format!(
                "{:?} is no name of a {of}: give it 1 to {MAX_NAME_BYTES} visible ASCII characters",
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
