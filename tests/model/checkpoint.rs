//! Checkpoints when nothing comes any more: recovery begins where the log ended, though the last message became durable
//! after the first checkpoint behind it.

use castmq_client::Message;
use castmq_config::Flush;

use super::world::{Ending, Life, World};

/// Later than the first checkpoint, which is made after ten seconds.
const FLUSHED_AFTER_MS: u64 = 15_000;

async fn number(life: &Life, actor: &str, figure: &str) -> Option<u64> {
    let tree = life.node.tree().snapshot().await;
    tree.find(actor).expect("it is there").state[figure].as_u64()
}

#[test]
fn a_checkpoint_that_was_ahead_of_what_is_durable_is_made_again() {
    let mut world = World::new(1, |settings| {
        settings.store.flush = Flush::Async;
        settings.store.flush_thorough_interval_ms = FLUSHED_AFTER_MS;
    });
    world.live(Ending::Stop, async |life, dice| {
        let producer = life.client.producer().build();
        let sent = producer.send(Message::new("orders", "the last")).await;
        sent.expect("it is stored");
        life.time.pass(12_000, 50, dice).await;
        let point = async || number(life, "broker/storage/checkpointer", "recovery_point").await;
        assert_eq!(point().await, Some(0), "nothing is durable");
        life.time.pass(10_000, 50, dice).await;
        let flushed = number(life, "broker/storage/flush-service", "flushed").await;
        assert!(flushed > Some(0), "it is durable");
        assert_eq!(point().await, flushed);
    });
}
