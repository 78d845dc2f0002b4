//! Masters and slaves in memory: who is what is said by a test, and so is what a slave has.

use castmq_protocol::native::{ErrorCode, Failure, Request, Response};

use super::broker::Broker;
use super::cluster::FakeCluster;

/// What a slave does not do.
pub(super) fn needs_master(request: &Request, is_master_there: bool) -> bool {
    match request {
        Request::Send(_)
        | Request::SendBatch(_)
        | Request::SendBack(_)
        | Request::SendReply(_)
        | Request::Pop(_)
        | Request::Acknowledge(_)
        | Request::JoinProducers { .. }
        | Request::EndTransaction(_) => true,
        Request::JoinGroup(join) => join.ordered || is_master_there,
        _ => false,
    }
}

pub(super) fn not_master() -> Response {
    let reason = "the broker copies a master";
    Response::Failed(Failure::safe(ErrorCode::NotMaster, reason))
}

impl FakeCluster {
    /// Starts a slave of a master, with all that it has.
    pub(crate) fn start_slave(&self, node: &str, master: &str) {
        {
            let mut state = self.state.lock();
            let of_set = |broker: &&Broker| broker.name == master;
            let slave = Broker {
                node: node.into(),
                name: master.into(),
                id: state.brokers.iter().filter(of_set).count() as u64,
                address: format!("{node}:1"),
                ..Broker::default()
            };
            state.brokers.push(slave);
        }
        self.copy(master, node);
        self.start_broker(node);
    }

    /// A slave gets all that its master has, but not how far groups are.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        let (topics, physical) = self.with(from, |broker| (broker.topics.clone(), broker.physical));
        self.with(to, |broker| {
            broker.topics = topics;
            broker.physical = physical;
            broker.deliver();
        });
    }

    /// A broker learns how far a group is.
    pub(crate) fn with_offset(
        &self,
        group: &str,
        topic: &str,
        node: &str,
        queue: u32,
        offset: u64,
    ) {
        let key = (group.into(), topic.into(), node.into(), queue);
        self.state.lock().committed.insert(key, offset);
    }

    /// A broker that was a slave is the master of its set, and the one that was is a slave.
    pub(crate) fn promote(&self, node: &str) {
        let name = self.with(node, |broker| broker.name.clone());
        let mut state = self.state.lock();
        let brokers = state.brokers.iter_mut();
        for broker in brokers.filter(|broker| broker.name == name) {
            match broker.node == node {
                true => broker.id = 0,
                false => broker.id += 1,
            }
        }
    }

    /// Whether name servers tell of a broker.
    pub(crate) fn list(&self, node: &str, is_listed: bool) {
        self.with(node, |broker| broker.unlisted = !is_listed);
    }

    /// From now on the broker takes back what could not be processed.
    pub(crate) fn take_back(&self, node: &str) {
        self.with(node, |broker| broker.takes_back = true);
    }

    /// Offsets of messages that were given back to a broker.
    pub(crate) fn sent_back(&self, node: &str) -> Vec<u64> {
        self.with(node, |broker| broker.sent_back.clone())
    }

    /// Offsets of messages that were acknowledged at a broker.
    pub(crate) fn acknowledged(&self, node: &str) -> Vec<u64> {
        self.with(node, |broker| broker.acknowledged.clone())
    }
}
