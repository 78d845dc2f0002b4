//! Consumer groups: who has which queue, and for how long; where groups go on.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::collections::BTreeSet;

use castmq_actors::Node;
use castmq_client::model::{GroupConfig, QueueId, QueueOffset, group_attributes};
use castmq_client::raw::request::{
    GroupMode, JoinGroup, QueuePosition, Subscribe, TopicQueue, TopicSubscription,
};
use castmq_client::raw::response::AssignmentChanged;
use castmq_client::raw::{Request, Response, Role};
use castmq_client::{
    BrokerAdmin, Client, ErrorCode, Filter, Message, PushConsumer, PushConsumerBuilder, Queue,
    StartFrom,
};
use castmq_config::Settings;
use tokio::sync::mpsc::unbounded_channel;

use support::hostile::frame;
use support::wire::Wire;
use support::{admin, run, settings, started, stop, until};

const TOPIC: &str = "orders";
const GROUP: &str = "billing";

fn with_lease(data: &std::path::Path, ms: u64) -> Settings {
    let mut settings = settings(data);
    settings.broker.member_lease_ms = ms;
    settings
}

/// Makes the topic, with four queues.
async fn make_topic(client: &Client) {
    let producer = client.producer().build();
    let sent = producer.send(Message::new(TOPIC, "first")).await;
    sent.expect("it is stored");
    producer.close().await;
}

fn join(ordered: bool, reclaims: &[u32]) -> JoinGroup {
    let queue = |queue: &u32| TopicQueue {
        topic: TOPIC.into(),
        queue: QueueId(*queue),
    };
    JoinGroup {
        group: 1,
        mode: GroupMode::Clustering,
        from: StartFrom::Earliest,
        subscriptions: vec![TopicSubscription {
            topic: TOPIC.into(),
            filter: Filter::All,
        }],
        ordered,
        reclaims: reclaims.iter().map(queue).collect(),
        room: None,
        claims: Vec::new(),
    }
}

/// A member that does only what a test says.
async fn member(node: &Node, client_id: &str) -> Wire {
    let address = node.broker_address().expect("a broker");
    let mut wire = Wire::open_as(client_id, address, Role::Consumer).await;
    let group = Request::AnnounceGroup {
        alias: 1,
        group: GROUP.into(),
    };
    assert!(matches!(
        wire.ask(group).await,
        Response::GroupAnnounced { .. }
    ));
    let topic = Request::AnnounceTopic {
        alias: 1,
        topic: TOPIC.into(),
    };
    assert!(matches!(
        wire.ask(topic).await,
        Response::TopicAnnounced { .. }
    ));
    wire
}

async fn joined(wire: &mut Wire, join: JoinGroup) {
    let answer = wire.ask(Request::JoinGroup(join)).await;
    assert!(matches!(answer, Response::Joined(_)), "{answer:?}");
}

async fn changed(wire: &mut Wire) -> AssignmentChanged {
    match wire.answer().await {
        Response::AssignmentChanged(change) => change,
        other => panic!("no change: {other:?}"),
    }
}

/// Queues of the topic among those.
fn of_topic<'a>(queues: impl IntoIterator<Item = &'a TopicQueue>) -> BTreeSet<u32> {
    let of_topic = queues.into_iter().filter(|queue| queue.topic == TOPIC);
    of_topic.map(|queue| queue.queue.0).collect()
}

fn assigned(change: &AssignmentChanged) -> BTreeSet<u32> {
    of_topic(change.assigned.iter().map(|assigned| &assigned.queue))
}

async fn release(wire: &mut Wire, queues: Vec<TopicQueue>) {
    let answer = wire.ask(Request::ReleaseQueues { group: 1, queues }).await;
    assert_eq!(answer, Response::Done);
}

#[test]
fn a_member_that_is_silent_loses_its_queues_and_its_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_lease(folder.path(), 200)).await;
        make_topic(&client).await;
        let mut silent = member(&node, "silent").await;
        joined(&mut silent, join(false, &[])).await;
        assert_eq!(assigned(&changed(&mut silent).await).len(), 4);
        match silent.answer().await {
            Response::Closing { reason } => {
                assert_eq!(reason.code, ErrorCode::NotOwner);
                assert!(reason.message.contains("nothing was heard"), "{reason:?}");
            }
            other => panic!("not told why: {other:?}"),
        }
        assert!(silent.next().await.is_none());
        let mut next = member(&node, "next").await;
        joined(&mut next, join(false, &[])).await;
        assert_eq!(assigned(&changed(&mut next).await).len(), 4);
        stop(node).await;
    });
}

#[test]
fn what_a_member_keeps_nobody_else_gets_until_it_is_released() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        make_topic(&client).await;
        let mut first = member(&node, "first").await;
        joined(&mut first, join(false, &[])).await;
        assert_eq!(assigned(&changed(&mut first).await).len(), 4);
        let mut second = member(&node, "second").await;
        joined(&mut second, join(false, &[])).await;
        let asked = changed(&mut first).await;
        let revoked = of_topic(&asked.revoked);
        // It has not been given any: it may not read them either.
        let subscribe = Subscribe {
            subscription: 1,
            group: 1,
            topic: 1,
            queue: QueueId(*revoked.first().expect("a queue")),
            offset: QueueOffset(0),
            filter: Filter::All,
            credit_messages: 1,
            credit_bytes: 1,
        };
        let refused = second.refused(Request::Subscribe(subscribe)).await;
        assert_eq!(refused.code, ErrorCode::NotOwner);
        release(&mut first, asked.revoked).await;
        assert_eq!(assigned(&changed(&mut second).await), revoked);
        stop(node).await;
    });
}

#[test]
fn an_ordered_member_whose_connection_was_lost_has_its_queues_kept_and_gets_them_again() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        make_topic(&client).await;
        let mut lost = member(&node, "lost").await;
        joined(&mut lost, join(true, &[])).await;
        assert_eq!(
            assigned(&changed(&mut lost).await),
            BTreeSet::from([0, 1, 2, 3])
        );
        drop(lost);
        let admin = admin(&client).await;
        let members = async || admin.show_group(GROUP).await.expect("the group").members;
        until(async || members().await.is_empty()).await;
        let mut other = member(&node, "other").await;
        joined(&mut other, join(true, &[])).await;
        let shown = admin.show_group(GROUP).await.expect("the group");
        let owners = shown.progress.iter().filter(|p| p.queue.topic == TOPIC);
        let owners: BTreeSet<_> = owners.filter_map(|p| p.owner.as_deref()).collect();
        assert_eq!(owners, BTreeSet::from(["lost"]));
        // Back again it gets what it asks for, and what it does not ask for is free.
        let mut back = member(&node, "lost").await;
        joined(&mut back, join(true, &[0, 1, 2])).await;
        assert_eq!(
            assigned(&changed(&mut back).await),
            BTreeSet::from([0, 1, 2])
        );
        assert_eq!(assigned(&changed(&mut other).await), BTreeSet::from([3]));
        stop(node).await;
    });
}

#[test]
fn members_that_consume_in_order_and_members_that_do_not_are_no_group() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        make_topic(&client).await;
        let mut first = member(&node, "first").await;
        joined(&mut first, join(true, &[])).await;
        let mut second = member(&node, "second").await;
        let refused = second.refused(Request::JoinGroup(join(false, &[]))).await;
        assert_eq!(refused.code, ErrorCode::Conflict);
        assert!(
            refused.message.contains("first is Clustering in order"),
            "{refused:?}"
        );
        stop(node).await;
    });
}

fn plain(client: &Client) -> PushConsumerBuilder {
    client
        .push_consumer(GROUP)
        .subscribe(TOPIC, Filter::All)
        .from(StartFrom::Earliest)
}

async fn consumer(client: &Client, claims: Vec<Queue>, room: Option<&str>) -> PushConsumer {
    let mut builder = plain(client).claim(claims);
    if let Some(room) = room {
        builder = builder.machine_room(room);
    }
    let consumer = builder.handler(|_| async {}).start();
    consumer.await.expect("a consumer")
}

fn queues_of(consumer: &PushConsumer) -> BTreeSet<u32> {
    let queues = consumer.assignment().into_iter();
    let of_topic = queues.filter(|queue| &*queue.topic == TOPIC);
    of_topic.map(|queue| queue.id.0).collect()
}

/// Waits until two consumers have these queues.
async fn have(one: &PushConsumer, first: &[u32], two: &PushConsumer, second: &[u32]) {
    let (first, second) = (first.iter().copied(), second.iter().copied());
    let (first, second): (BTreeSet<_>, BTreeSet<_>) = (first.collect(), second.collect());
    until(async || queues_of(one) == first && queues_of(two) == second).await;
}

async fn set(admin: &BrokerAdmin, attribute: &str, value: &str) {
    let mut config = GroupConfig::default();
    config.attributes.insert(attribute.into(), value.into());
    admin.put_group(GROUP, config).await.expect("it is set");
}

#[test]
fn a_group_shares_queues_by_the_rule_it_is_set_to_and_a_new_rule_counts_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        make_topic(&client).await;
        let admin = admin(&client).await;
        set(&admin, group_attributes::ASSIGNMENT, "circle").await;
        let one = consumer(&client, Vec::new(), None).await;
        have(&one, &[0, 1, 2, 3], &one, &[0, 1, 2, 3]).await;
        let two = consumer(&client, Vec::new(), None).await;
        until(async || queues_of(&two).len() >= 2 && queues_of(&one).len() <= 2).await;
        let (even, odd) = (BTreeSet::from([0, 2]), BTreeSet::from([1, 3]));
        let (first, second) = (queues_of(&one), queues_of(&two));
        assert!([&first, &second].contains(&&even) && [&first, &second].contains(&&odd));
        set(&admin, group_attributes::ASSIGNMENT, "average").await;
        let (low, high) = (BTreeSet::from([0, 1]), BTreeSet::from([2, 3]));
        let has_either = |one: &PushConsumer| [&low, &high].contains(&&queues_of(one));
        until(async || has_either(&one) && has_either(&two)).await;
        let mut config = GroupConfig::default();
        let attribute = group_attributes::ASSIGNMENT.to_owned();
        config.attributes.insert(attribute, "by chance".to_owned());
        let refused = admin.put_group(GROUP, config).await.expect_err("no rule");
        assert!(refused.to_string().contains("consistent_hash"), "{refused}");
        stop(node).await;
    });
}

#[test]
fn members_may_name_their_queues_and_no_two_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let settings = settings(folder.path());
        let name = settings.broker.name.clone();
        let (node, client) = started(&settings).await;
        make_topic(&client).await;
        let admin = admin(&client).await;
        set(&admin, group_attributes::ASSIGNMENT, "config").await;
        let queue = |id| Queue::new(TOPIC, name.as_str(), id);
        let one = consumer(&client, vec![queue(0), queue(3)], None).await;
        let two = consumer(&client, vec![queue(2)], None).await;
        have(&one, &[0, 3], &two, &[2]).await;
        let three = client.push_consumer(GROUP).subscribe(TOPIC, Filter::All);
        let three = three.claim([queue(3)]).handler(|_| async {}).start().await;
        let refused = three.expect_err("it is claimed");
        assert!(
            refused
                .to_string()
                .contains("queue 3 of topic orders is claimed"),
            "{refused}"
        );
        stop(node).await;
    });
}

#[test]
fn members_in_the_brokers_machine_room_come_before_others() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        settings.broker.machine_room = Some("east".to_owned());
        let (node, client) = started(&settings).await;
        make_topic(&client).await;
        let admin = admin(&client).await;
        set(&admin, group_attributes::ASSIGNMENT, "machine_room").await;
        let far = consumer(&client, Vec::new(), Some("west")).await;
        have(&far, &[0, 1, 2, 3], &far, &[0, 1, 2, 3]).await;
        let near = consumer(&client, Vec::new(), Some("east")).await;
        have(&far, &[], &near, &[0, 1, 2, 3]).await;
        near.shutdown().await.expect("a shutdown");
        have(&far, &[0, 1, 2, 3], &far, &[0, 1, 2, 3]).await;
        stop(node).await;
    });
}

#[test]
fn a_group_takes_over_where_another_is_and_one_without_members_is_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        make_topic(&client).await;
        let admin = admin(&client).await;
        let (handled, mut first) = unbounded_channel();
        let handler = move |_| {
            let handled = handled.clone();
            async move { handled.send(()).expect("the test waits") }
        };
        let one = plain(&client).handler(handler).start().await;
        let one = one.expect("a consumer");
        have(&one, &[0, 1, 2, 3], &one, &[0, 1, 2, 3]).await;
        first.recv().await.expect("the message");
        let refused = admin
            .delete_group(GROUP, false)
            .await
            .expect_err("a member");
        assert!(refused.to_string().contains("has 1 members"), "{refused}");
        one.shutdown().await.expect("a shutdown");
        let offsets = async |group: &str| {
            let shown = admin.show_group(group).await.expect("the group");
            let progress = shown
                .progress
                .into_iter()
                .filter(|p| p.queue.topic == TOPIC);
            progress.map(|p| p.committed).collect::<Vec<_>>()
        };
        let at = offsets(GROUP).await;
        assert_eq!(at.iter().flatten().map(|offset| offset.0).sum::<u64>(), 1);
        let new = GroupConfig::default();
        admin.put_group("shipping", new).await.expect("it is made");
        let refused = admin.clone_offsets("billing", "shipping", None).await;
        let refused = refused.expect_err("it has none");
        assert!(refused.to_string().contains("no offsets"), "{refused}");
        admin
            .clone_offsets("shipping", GROUP, None)
            .await
            .expect("taken over");
        assert_eq!(offsets("shipping").await, at);
        admin
            .delete_group(GROUP, true)
            .await
            .expect("it is deleted");
        let gone = admin.show_group(GROUP).await.expect_err("it is gone");
        assert_eq!(gone.code(), Some(ErrorCode::GroupNotFound));
        let groups = admin.list_groups().await.expect("groups");
        assert!(!groups.contains(&GROUP.into()));
        stop(node).await;
    });
    // Neither it nor its progress comes back.
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        let admin = admin(&client).await;
        let gone = admin.show_group(GROUP).await.expect_err("it is gone");
        assert_eq!(gone.code(), Some(ErrorCode::GroupNotFound));
        assert_is_new_when_made_again(&admin).await;
        stop(node).await;
    });
}

async fn assert_is_new_when_made_again(admin: &BrokerAdmin) {
    let new = GroupConfig::default();
    admin.put_group(GROUP, new).await.expect("it is made anew");
    let shown = admin.show_group(GROUP).await.expect("the group");
    assert_eq!(shown.progress, []);
}

#[test]
fn what_is_committed_for_a_deleted_group_is_refused_and_not_there_when_it_is_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        make_topic(&client).await;
        let admin = admin(&client).await;
        // It announces the group and is no member.
        let mut puller = member(&node, "puller").await;
        let commit = || Request::CommitOffsets {
            group: 1,
            offsets: vec![QueuePosition {
                topic: 1,
                queue: QueueId(0),
                offset: QueueOffset(0),
            }],
        };
        assert_eq!(puller.ask(commit()).await, Response::Done);
        admin
            .delete_group(GROUP, false)
            .await
            .expect("it is deleted");
        let refused = puller.refused(commit()).await;
        assert_eq!(refused.code, ErrorCode::GroupNotFound);
        assert_is_new_when_made_again(&admin).await;
        stop(node).await;
    });
}

#[test]
fn who_goes_while_its_first_offsets_are_looked_up_is_no_member() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        make_topic(&client).await;
        let admin = admin(&client).await;
        for _ in 0..50 {
            let mut passer = member(&node, "passer").await;
            let from_a_time = JoinGroup {
                mode: GroupMode::Broadcasting,
                from: StartFrom::Timestamp(1),
                ..join(false, &[])
            };
            passer.say(&frame(Request::JoinGroup(from_a_time))).await;
        }
        // Whoever never leaves would be shown for ever.
        let group = async || admin.show_group(GROUP).await.expect("the group");
        until(async || group().await.members.is_empty()).await;
        let deleted = admin.delete_group(GROUP, false).await;
        deleted.expect("nobody is a member");
        stop(node).await;
    });
}
