//! Queues that a broker shares out among the members of a group.

use std::collections::BTreeSet;
use std::time::Duration;

use castmq_actors::{Node, Parts};
use castmq_protocol::remoting::bodies::assignment::{
    Assignments, QueryAssignment, RequestMode, SetRequestMode,
};
use castmq_protocol::remoting::bodies::heartbeat::MessageModel;
use castmq_protocol::remoting::{json, request_code, response_code};

use crate::genuine_broker::{master, name_server, register, topics};
use crate::messages::{broker, message, send};
use crate::support::{run, stop, with_queues};
use crate::wire::Wire;

async fn assigned(wire: &mut Wire, client_id: &str) -> Option<BTreeSet<(String, i32)>> {
    let query = QueryAssignment {
        client_id: client_id.to_owned(),
        consumer_group: "g".to_owned(),
        message_model: MessageModel::Clustering,
        strategy_name: "AVG".to_owned(),
        topic: "t".to_owned(),
    };
    let code = request_code::QUERY_ASSIGNMENT;
    let came = wire.ask(code, &(), &json::to_bytes(&query)).await;
    assert_eq!(came.code, response_code::SUCCESS, "{}", came.remark);
    let queues = came.read::<Assignments>().queues?.into_iter();
    let queues = queues.map(|of| (of.queue.broker_name, of.queue.queue_id));
    Some(queues.collect())
}

/// Asks until the answer is this one: registrations take a moment.
async fn until_assigned(wire: &mut Wire, queues: &BTreeSet<(String, i32)>) {
    while assigned(wire, "one").await.as_ref() != Some(queues) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn all(queues: &[(&str, i32)]) -> BTreeSet<(String, i32)> {
    let queues = queues.iter().map(|(name, id)| ((*name).to_owned(), *id));
    queues.collect()
}

#[test]
fn members_share_the_queues_of_all_brokers_also_of_rocketmqs() {
    run(async {
        let (names, address) = name_server().await;
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = with_queues(folder.path(), 2);
        settings.broker.name = "b".to_owned();
        settings.broker.name_servers = vec![address.clone()];
        let node = Node::start(&settings, Parts::Broker)
            .await
            .expect("a broker");
        // Its topic `t` has 3 queues.
        let mut other = Wire::open(&address).await;
        register(
            &mut other,
            &master("a", "10.0.0.1:1"),
            &topics(1, &["t", "u"]),
        )
        .await;
        let mut wire = Wire::open(&broker(&node)).await;
        assert_eq!(assigned(&mut wire, "one").await, None);
        wire.heartbeat("one", "g", "t").await;
        let theirs = all(&[("a", 0), ("a", 1), ("a", 2)]);
        until_assigned(&mut wire, &theirs).await;
        send(&mut wire, message("t"), "made").await;
        let both = all(&[("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)]);
        assert_eq!(assigned(&mut wire, "one").await, Some(both.clone()));
        let mut second = Wire::open(&broker(&node)).await;
        second.heartbeat("two", "g", "t").await;
        let first = assigned(&mut wire, "one").await.expect("queues");
        let last = assigned(&mut second, "two").await.expect("queues");
        assert_eq!((first.len(), last.len()), (3, 2));
        assert_eq!(first.union(&last).cloned().collect::<BTreeSet<_>>(), both);
        let set = SetRequestMode {
            consumer_group: "g".to_owned(),
            mode: RequestMode::Pop,
            pop_share_queues: -1,
            topic: "t".to_owned(),
        };
        let code = request_code::SET_MESSAGE_REQUEST_MODE;
        wire.ask(code, &(), &json::to_bytes(&set)).await;
        let popped = all(&[("a", -1), ("b", -1)]);
        assert_eq!(assigned(&mut wire, "two").await, Some(popped.clone()));
        // What was known is used on while no name server is there.
        stop(names).await;
        assert_eq!(assigned(&mut wire, "two").await, Some(popped));
        stop(node).await;
    });
}

#[test]
fn a_broker_that_has_gone_is_left_out() {
    run(async {
        let (names, address) = name_server().await;
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = with_queues(folder.path(), 1);
        settings.broker.name = "b".to_owned();
        settings.broker.name_servers = vec![address.clone()];
        let node = Node::start(&settings, Parts::Broker)
            .await
            .expect("a broker");
        let mut other = Wire::open(&address).await;
        register(
            &mut other,
            &master("a", "10.0.0.1:1"),
            &topics(1, &["t", "u"]),
        )
        .await;
        let mut wire = Wire::open(&broker(&node)).await;
        wire.heartbeat("one", "g", "t").await;
        send(&mut wire, message("t"), "made").await;
        let both = all(&[("a", 0), ("a", 1), ("a", 2), ("b", 0)]);
        until_assigned(&mut wire, &both).await;
        drop(other);
        until_assigned(&mut wire, &all(&[("b", 0)])).await;
        stop(node).await;
        stop(names).await;
    });
}
