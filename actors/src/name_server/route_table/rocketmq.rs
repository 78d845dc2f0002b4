//! Brokers of RocketMQ in the table.
//!
//! A registration of theirs has all topics, or only those that are new, and does not say which. So it adds to what is known, as in
//! RocketMQ, and topics go when whoever deletes them says so to the name servers. Between registrations a broker only says that
//! it is alive, or asks whether its topics are known as they are. Its state version is the epoch of its master.

use castmq_protocol::native::ErrorCode;

use super::*;
use crate::names::shortened;

/// Letters of a name that errors show.
const SHOWN_LETTERS: usize = 64;

/// The state that is known of a broker's topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownState {
    pub(crate) version: DataVersion,
    /// RocketMQ's state version.
    pub(crate) epoch: u32,
}

impl RouteTable {
    /// Takes note of a broker of RocketMQ's.
    pub(crate) fn register_rocketmq(
        &mut self,
        mut register: RegisterBroker,
        connection: ConnectionId,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        registration::check_rocketmq(&register)?;
        let known = self.member_at(&register.broker, &register.address);
        let known = known.filter(|((_, id), _)| *id == register.broker_id);
        match known {
            Some((_, known)) => register.topics.since = Some(known.version),
            None if register.topics.changed.len() == 1 => return Err(one_topic(&register)),
            None => {}
        }
        let (id, epoch) = (register.broker_id, register.epoch);
        let (name, address) = (register.broker.clone(), register.address.clone());
        let outcome = self.register_as(Kind::Rocketmq, register, connection, now)?;
        match id == 0 && outcome.registered.master_epoch > epoch {
            false => Ok(outcome),
            true => Err(outdated(&name, (&address, epoch), &outcome.registered)),
        }
    }

    /// A broker that registered over this connection is alive.
    pub(crate) fn heard(
        &mut self,
        broker: &str,
        address: &str,
        connection: ConnectionId,
        now: Instant,
    ) {
        let member = self.member_at(broker, address);
        let key = member
            .filter(|(_, member)| member.connection == Some(connection))
            .map(|(key, _)| key.clone());
        if let Some(member) = key.and_then(|key| self.brokers.get_mut(&key)) {
            member.last_heard = now;
        }
    }

    /// What is known of the topics of the broker there.
    pub(crate) fn known_state(&self, broker: &str, address: &str) -> Option<KnownState> {
        let (_, member) = self.member_at(broker, address)?;
        Some(KnownState {
            version: member.version,
            epoch: member.epoch,
        })
    }

    /// A topic's queues on a set of RocketMQ's, as one of its brokers says between two registrations.
    pub(crate) fn put_topic(&mut self, broker: &str, queues: TopicQueues) -> Result<(), Refusal> {
        registration::check_topic(&queues)?;
        let first = self.here(broker).next();
        let first = first.filter(|(_, member)| member.kind == Kind::Rocketmq);
        let Some(key) = first.map(|(key, _)| key.clone()) else {
            return Err(Refusal::safe(
                ErrorCode::NotSupported,
                format!(
                    "no broker of RocketMQ with the name {} is registered: those of CastMQ tell by themselves which topics they have",
                    shortened(broker, SHOWN_LETTERS)
                ),
            ));
        };
        let max_topics = self.limits.max_topics;
        if let Some(member) = self.brokers.get_mut(&key) {
            if member.topics_with(std::slice::from_ref(&queues)) > max_topics {
                return Err(too_many(max_topics));
            }
            self.topics.add(&queues.topic, &key);
            member.topics.insert(queues.topic.clone(), queues);
        }
        Ok(())
    }

    /// A topic is deleted, in one cluster or in all: brokers of RocketMQ do not say so themselves.
    pub(crate) fn forget_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let brokers = self.brokers.iter_mut();
        let having = brokers.filter(|(_, broker)| {
            broker.kind == Kind::Rocketmq && cluster.is_none_or(|cluster| cluster == broker.cluster)
        });
        for (key, broker) in having {
            if broker.topics.remove(topic).is_some() {
                self.topics.remove(topic, key);
            }
        }
    }

    /// The broker of a set that is there, at an address.
    fn member_at(&self, set: &str, address: &str) -> Option<(&BrokerKey, &Broker)> {
        self.here(set).find(|(_, member)| member.address == address)
    }
}

/// RocketMQ's name servers refuse it, too: it is news from a broker which does not know yet that it is forgotten.
fn one_topic(register: &RegisterBroker) -> Refusal {
    Refusal::safe(
        ErrorCode::InvalidRequest,
        format!(
            "the broker {} at {} is not registered, and tells of one topic only: register with all of them",
            register.broker, register.address
        ),
    )
}

fn outdated(broker: &str, (address, epoch): (&str, u32), registered: &Registered) -> Refusal {
    let known = registered.master_epoch;
    let master = match registered.master_address.as_str() {
        "" => "which is not there at the moment",
        address => address,
    };
    Refusal::safe(
        ErrorCode::Conflict,
        format!(
            "the master of {broker} is that of epoch {known}, {master}: the one at {address}, whose state version is {epoch}, is not the master any more"
        ),
    )
}
