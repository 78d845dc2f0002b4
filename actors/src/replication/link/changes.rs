//! What has changed besides the log, for a slave that asks again and again: all of it at first, then what is new.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use castmq_protocol::model::{GroupConfig, GroupName, PhysicalOffset, QueueOffset, TopicName};
use castmq_protocol::native::replication::{
    GroupOffset, MetadataChange, MetadataChanges, SyncMetadata, TimerMark,
};
use castmq_protocol::native::route::DataVersion;
use castmq_protocol::native::{Request, Response};
use castmq_storage::deletion::Deletion;
use tokio::time::timeout;

use super::super::wire::Wire;
use super::admission;
use crate::broker::context::BrokerContext;
use crate::broker::offsets::{QueueKey, Tap};
use crate::broker::topics::Topic;

/// Changes told at once, some hundred bytes each.
const MAX_TOLD: usize = 4096;

/// Answers a slave to the end of its connection.
pub(super) async fn serve(
    context: Arc<BrokerContext>,
    mut wire: Wire,
    peer: SocketAddr,
    mut correlation: u64,
    asked: SyncMetadata,
) -> io::Result<()> {
    let silence = context.link_silence();
    if let Err(refusal) = admission::check_known(&context, asked.broker_id, peer) {
        return wire.refuse(correlation, refusal).await;
    }
    // Before anything is told: a slave need not be told what it has said.
    take_over(&context, &asked.offsets);
    let mut news = News::new(&context);
    loop {
        let changes = news.next(&context);
        let answering = wire.answer(correlation, Response::Metadata(changes));
        timeout(silence, answering).await??;
        let header = timeout(silence, wire.request()).await??;
        correlation = header.correlation;
        let Request::SyncMetadata(asked) = header.request else {
            return Err(io::Error::other("the slave asks for something else"));
        };
        take_over(&context, &asked.offsets);
    }
}

/// What consumers committed at the slave while they could not reach the master.
fn take_over(context: &BrokerContext, offsets: &[GroupOffset]) {
    for told in offsets {
        let names = (GroupName::new(&told.group), TopicName::new(&told.topic));
        let (Ok(group), Ok(topic), Some(offset)) = (names.0, names.1, told.offset) else {
            continue;
        };
        let is_known = context.groups.config(group.as_str()).is_some();
        let end = context.store.queues.next_offset(&topic, told.queue);
        let key = (topic, told.queue);
        let known = context.offsets.get(&group, &key);
        if is_known && offset <= end && known.is_none_or(|known| known < offset) {
            context.offsets.set(&group, key, offset);
        }
    }
}

/// What a slave was not told yet.
struct News {
    tap: Arc<Tap>,
    topics: DataVersion,
    groups: u64,
    told_groups: HashMap<GroupName, GroupConfig>,
    timer: Option<TimerMark>,
    needed: PhysicalOffset,
    waiting: VecDeque<MetadataChange>,
}

impl News {
    fn new(context: &BrokerContext) -> Self {
        // First: what changes from here on is told, again perhaps.
        let tap = context.offsets.tap();
        let mut news = Self {
            tap,
            topics: context.topics.version(),
            groups: context.groups.version(),
            told_groups: context.groups.all(),
            timer: None,
            needed: PhysicalOffset::ZERO,
            waiting: VecDeque::from([MetadataChange::Begin]),
        };
        for (name, kept) in context.store.queues.deletions() {
            let is_gone = context.topics.find(name.as_str()).is_none();
            news.waiting.push_back(deleted(&name, kept, is_gone));
        }
        let topics = context.topics.all();
        news.waiting.extend(topics.iter().map(|known| topic(known)));
        let groups = news.told_groups.iter();
        let groups = groups.map(|(name, config)| group(name, config));
        news.waiting.extend(groups);
        for (group, key, offset) in context.offsets.all() {
            let change = changed_offset(group, key, Some(offset));
            news.waiting.push_back(change);
        }
        news.waiting.push_back(MetadataChange::Complete);
        news
    }

    fn next(&mut self, context: &BrokerContext) -> MetadataChanges {
        if self.waiting.is_empty() {
            self.look(context);
        }
        let told = self.waiting.len().min(MAX_TOLD);
        MetadataChanges {
            changes: self.waiting.drain(..told).collect(),
            more: !self.waiting.is_empty(),
        }
    }

    fn look(&mut self, context: &BrokerContext) {
        if context.topics.version() != self.topics {
            let (version, report) = context.topics.report(Some(self.topics));
            if report.since.is_none() {
                // So much has changed that all of it is shorter.
                *self = Self::new(context);
                return;
            }
            self.topics = version;
            for name in &report.removed {
                if let Ok(name) = TopicName::new(name) {
                    let kept = context.store.queues.deletion(&name);
                    let change = deleted(&name, kept.unwrap_or_default(), true);
                    self.waiting.push_back(change);
                }
            }
            for queues in &report.changed {
                if let Ok(name) = TopicName::new(&queues.topic)
                    && let Some(kept) = context.store.queues.deletion(&name)
                {
                    self.waiting.push_back(deleted(&name, kept, false));
                }
                let known = context.topics.find(&queues.topic);
                self.waiting.extend(known.as_deref().map(topic));
            }
        }
        let version = context.groups.version();
        if version != self.groups {
            self.groups = version;
            self.look_at_groups(context.groups.all());
        }
        for ((group, key), offset) in self.tap.take() {
            self.waiting.push_back(changed_offset(group, key, offset));
        }
        let timer = *context.timer_mark.lock();
        if timer != self.timer {
            self.timer = timer;
            self.waiting.extend(timer.map(MetadataChange::Timer));
        }
        let needed = context.needed_from();
        if needed > self.needed {
            self.needed = needed;
            self.waiting.push_back(MetadataChange::Needed(needed));
        }
    }

    fn look_at_groups(&mut self, now: HashMap<GroupName, GroupConfig>) {
        let gone = self
            .told_groups
            .keys()
            .filter(|name| !now.contains_key(*name));
        let gone = gone.map(|name| MetadataChange::GroupGone {
            name: name.to_string(),
        });
        self.waiting.extend(gone);
        for (name, config) in &now {
            if self.told_groups.get(name) != Some(config) {
                self.waiting.push_back(group(name, config));
            }
        }
        self.told_groups = now;
    }
}

fn topic(topic: &Topic) -> MetadataChange {
    MetadataChange::Topic {
        name: topic.name.to_string(),
        config: topic.config(),
    }
}

fn deleted(name: &TopicName, kept: Deletion, is_gone: bool) -> MetadataChange {
    MetadataChange::TopicDeleted {
        name: name.to_string(),
        below: kept.below,
        next: kept.next.into_iter().collect(),
        is_gone,
    }
}

fn group(name: &GroupName, config: &GroupConfig) -> MetadataChange {
    MetadataChange::Group {
        name: name.to_string(),
        config: config.clone(),
    }
}

fn changed_offset(
    group: GroupName,
    (topic, queue): QueueKey,
    offset: Option<QueueOffset>,
) -> MetadataChange {
    MetadataChange::Offset(GroupOffset {
        group: group.to_string(),
        topic: topic.to_string(),
        queue,
        offset,
    })
}
