//! Consumers that want a part of a topic's messages: the broker passes over the others.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::time::Duration;

use castmq_client::{Client, ErrorCode, Filter, Message, PushConsumer, SeekTo, StartFrom};
use tokio::sync::mpsc;

use support::{run, settings, started, stop};

/// One message in a hundred is red, and each has its number.
async fn produce(client: &Client, count: u32) {
    let producer = client.producer().build();
    let messages = (0..count).map(|n| {
        let tag = if n % 100 == 7 { "red" } else { "blue" };
        let message = Message::builder("colours", n.to_string()).tag(tag);
        let message = message.property("number", &n.to_string());
        message.build().expect("a message")
    });
    let receipts = producer.send_all(messages).await;
    assert!(receipts.iter().all(Result::is_ok));
    producer.close().await;
}

fn number(body: &[u8]) -> u32 {
    let text = std::str::from_utf8(body).expect("text");
    text.parse().expect("a number")
}

async fn subscribe(
    client: &Client,
    group: &str,
    filter: Filter,
) -> castmq_client::Result<(PushConsumer, mpsc::UnboundedReceiver<u32>)> {
    let (sender, numbers) = mpsc::unbounded_channel();
    let consumer = client
        .push_consumer(group)
        .subscribe("colours", filter)
        .from(StartFrom::Earliest)
        .commit_every(Duration::from_millis(10))
        .handler(move |message| {
            let _ = sender.send(number(message.body().expect("a body")));
            async {}
        })
        .start()
        .await?;
    Ok((consumer, numbers))
}

async fn take(numbers: &mut mpsc::UnboundedReceiver<u32>, count: usize) -> Vec<u32> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(numbers.recv().await.expect("the consumer lives"));
    }
    taken.sort_unstable();
    taken
}

#[test]
fn a_consumer_gets_the_messages_with_its_tags_and_its_group_passes_over_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        produce(&client, 20_000).await;
        let red = || Filter::Tags(vec!["red".into(), "green".into()]);
        let (consumer, mut numbers) = subscribe(&client, "reds", red()).await.expect("a consumer");
        let expected: Vec<_> = (0..20_000).filter(|n| n % 100 == 7).collect();
        assert_eq!(take(&mut numbers, 200).await, expected);
        consumer.shutdown().await.expect("a shutdown");
        assert!(numbers.recv().await.is_none(), "no other");
        // What comes next is all that the group gets.
        produce(&client, 100).await;
        let (consumer, mut numbers) = subscribe(&client, "reds", red()).await.expect("a consumer");
        assert_eq!(take(&mut numbers, 1).await, [7]);
        consumer.shutdown().await.expect("a shutdown");
        assert!(numbers.recv().await.is_none(), "no other");
        stop(node).await;
    });
}

#[test]
fn a_consumer_gets_the_messages_whose_properties_satisfy_its_expression() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        produce(&client, 5_000).await;
        let sql =
            Filter::Sql("(number BETWEEN 1000 AND 1999 AND TAGS = 'red') OR number > 4997".into());
        let (consumer, mut numbers) = subscribe(&client, "some", sql).await.expect("a consumer");
        let expected: Vec<_> = (0..5_000)
            .filter(|n| ((1000..2000).contains(n) && n % 100 == 7) || *n > 4997)
            .collect();
        assert_eq!(take(&mut numbers, expected.len()).await, expected);
        consumer.shutdown().await.expect("a shutdown");
        assert!(numbers.recv().await.is_none(), "no other");
        stop(node).await;
    });
}

#[test]
fn a_pull_consumer_filters_too() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        produce(&client, 2_000).await;
        let filter = Filter::Sql("number = 1234".into());
        let mut consumer = client
            .pull_consumer("audit")
            .filter(filter)
            .build()
            .expect("a consumer");
        let queues = consumer.queues("colours").await.expect("queues");
        consumer.assign(queues.clone()).await.expect("assigned");
        for queue in &queues {
            consumer
                .seek(queue, SeekTo::Earliest)
                .await
                .expect("sought");
        }
        let found = loop {
            let messages = consumer.poll(Duration::from_secs(5)).await.expect("a poll");
            if let Some(message) = messages.into_iter().next() {
                break number(message.body().expect("a body"));
            }
        };
        assert_eq!(found, 1234);
        stop(node).await;
    });
}

#[test]
fn a_bad_expression_is_refused_with_its_place_and_so_are_members_that_disagree() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        produce(&client, 1).await;
        let bad = Filter::Sql("number > > 3".into());
        let error = subscribe(&client, "bad", bad)
            .await
            .expect_err("it is none");
        assert_eq!(error.code(), Some(ErrorCode::InvalidFilter));
        assert!(error.to_string().contains("10"), "{error}");
        let reds = Filter::Tags(vec!["red".into()]);
        let (first, _numbers) = subscribe(&client, "mixed", reds).await.expect("a consumer");
        let error = subscribe(&client, "mixed", Filter::All)
            .await
            .expect_err("they disagree");
        assert_eq!(error.code(), Some(ErrorCode::Conflict));
        assert!(
            error.to_string().contains("colours with tags red"),
            "{error}"
        );
        first.shutdown().await.expect("a shutdown");
        stop(node).await;
    });
}
