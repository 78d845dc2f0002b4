//! Topics that a slave was not told of: their master made them, took messages for them, and went. Their messages are in the log,
//! and would be read by nobody.

use std::collections::{BTreeMap, HashSet};

use castmq_protocol::model::{TopicConfig, TopicName, system_topics};
use castmq_storage::epochs::Leadership;
use castmq_storage::store::{Store, StoreError};

/// Makes them when this broker was promoted, with the queues that have messages. Blocks.
pub(crate) fn make_unheard_topics(store: &Store) -> Result<(), StoreError> {
    let metadata = &store.metadata;
    if !matches!(Leadership::load(metadata)?, Some(Leadership::Master { .. })) {
        return Ok(());
    }
    let known = metadata.topics()?.into_iter().map(|(name, _)| name);
    let known: HashSet<_> = known.collect();
    let mut unheard = BTreeMap::<TopicName, u32>::new();
    for queue in store.queues.iter() {
        let topic = queue.topic();
        let is_known = known.contains(topic) || system_topics::is_system(topic.as_str());
        if !is_known && queue.min_offset() < queue.max_offset() {
            let queues = unheard.entry(topic.clone()).or_default();
            *queues = (*queues).max(queue.id().0 + 1);
        }
    }
    for (topic, queues) in &unheard {
        tracing::warn!(%topic, queues, "the master of before made a topic that it told nobody of: it is made here with default settings");
        metadata.put_topic(topic, &TopicConfig::with_queues(*queues))?;
    }
    Ok(metadata.flush()?)
}
