//! Transactions, and messages that wait for a time.

use std::any::Any;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rocketmq_client_rust::{LocalTransactionState, TransactionListener, TransactionMQProducer};
use rocketmq_model::common::message::message_ext::MessageExt;
use rocketmq_model::common::message::message_single::Message;
use rocketmq_model::common::message::MessageTrait;

use crate::scene::Scene;
use crate::{tagged, Outcome};

/// Says one thing at the sending, and another when asked.
struct Decider {
    at_send: LocalTransactionState,
    at_check: LocalTransactionState,
    checks: Arc<AtomicUsize>,
}

impl TransactionListener for Decider {
    fn execute_local_transaction(
        &self,
        _: &dyn MessageTrait,
        _: Option<&(dyn Any + Send + Sync)>,
    ) -> LocalTransactionState {
        self.at_send
    }

    fn check_local_transaction(&self, _: &MessageExt) -> LocalTransactionState {
        self.checks.fetch_add(1, Ordering::Relaxed);
        self.at_check
    }
}

async fn send_in_transaction(
    scene: &mut Scene,
    topic: &str,
    body: &str,
    decider: Decider,
) -> Result<TransactionMQProducer, Box<dyn Error + Send + Sync>> {
    let mut producer = TransactionMQProducer::builder(scene.runtime())
        .client_options(scene.options())
        .producer_group(scene.fresh("transactions"))
        .topics(vec![topic.to_string()])
        .transaction_listener(decider)
        .build();
    producer.start().await?;
    producer
        .send_message_in_transaction::<(), _>(tagged(topic, "tag", body), None)
        .await?;
    Ok(producer)
}

pub async fn transactions(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let checks = Arc::new(AtomicUsize::new(0));
    let states = [
        LocalTransactionState::CommitMessage,
        LocalTransactionState::RollbackMessage,
    ];
    for (body, at_send) in ["committed", "rolled back"].iter().zip(states) {
        let decider = Decider {
            at_send,
            at_check: LocalTransactionState::Unknown,
            checks: checks.clone(),
        };
        send_in_transaction(scene, &topic, body, decider)
            .await?
            .shutdown()
            .await;
    }
    scene
        .receive(&topic)
        .await?
        .exactly(&["committed".into()])
        .await
}

pub async fn checked_transaction(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let checks = Arc::new(AtomicUsize::new(0));
    let decider = Decider {
        at_send: LocalTransactionState::Unknown,
        at_check: LocalTransactionState::CommitMessage,
        checks: checks.clone(),
    };
    let mut producer = send_in_transaction(scene, &topic, "decided later", decider).await?;
    let outcome = scene
        .receive(&topic)
        .await?
        .exactly(&["decided later".into()])
        .await;
    producer.shutdown().await;
    expect!(checks.load(Ordering::Relaxed) > 0, "nobody asked");
    outcome
}

async fn delayed(scene: &mut Scene, topic: &str, later: Message, least: Duration) -> Outcome {
    let received = scene.receive(topic).await?;
    received.exactly(&["first".into()]).await?;
    let sent_at = Instant::now();
    scene.producer().await?.send(later).await?;
    received.at_least(2).await?;
    let took = sent_at.elapsed();
    expect!(
        took >= least && took < least + Duration::from_secs(6),
        "it came after {took:?}"
    );
    Ok(())
}

pub async fn delay_level(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    scene.send(&topic, "first").await?;
    let later = Message::builder()
        .topic(&*topic)
        .delay_level(2)
        .body_slice(b"later")
        .build_unchecked();
    delayed(scene, &topic, later, Duration::from_millis(1_900)).await
}

pub async fn delay_time(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    scene.send(&topic, "first").await?;
    let later = Message::builder()
        .topic(&*topic)
        .delay_millis(3_000)
        .body_slice(b"later")
        .build_unchecked();
    delayed(scene, &topic, later, Duration::from_millis(1_500)).await
}
