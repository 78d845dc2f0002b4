//! shadow: keeps what a slave knows besides the log in step with its master: topics, groups, offsets, how far messages that
//! wait have come out.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{GroupName, TopicName, system_topics};
use castmq_protocol::native::replication::{
    GroupOffset, MetadataChange, MetadataChanges, SyncMetadata, TimerMark,
};
use castmq_protocol::native::{Request, Response};
use castmq_storage::deletion::Deletion;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use super::complaints::Complaints;
use super::wire::{MAX_ANSWER_BYTES, Wire, unexpected};
use crate::broker::context::BrokerContext;
use crate::broker::offsets::{QueueKey, Tap};
use crate::metadata::actor::{Adopt, Metadata};
use crate::metadata::job::Adopted;
use crate::supervision::{ActorRef, Cast, Ctx, Failure};
use crate::worker::apart;

/// Time between two questions.
const INTERVAL: Duration = Duration::from_secs(1);

/// Time a master has for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Offsets told at once, some hundred bytes each.
const MAX_SAID: usize = 2048;

/// Marks that wait for their part of the log.
const MAX_MARKS: usize = 64;

/// See the module.
pub(crate) struct Shadow {
    context: Arc<BrokerContext>,
    /// What consumers commit here, for the master.
    tap: Arc<Tap>,
    last_error: Option<String>,
    complaints: Complaints,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct ShadowState {
    last_error: Option<String>,
}

impl Shadow {
    pub(crate) fn new(context: Arc<BrokerContext>) -> Self {
        Self {
            tap: context.following.tap(&context.offsets),
            context,
            last_error: None,
            complaints: Complaints::default(),
        }
    }

    fn go_on(&self, ctx: &mut Ctx<'_, Self>) {
        let (context, tap) = (self.context.clone(), self.tap.clone());
        let shadowing = async move {
            let metadata = context
                .actors()
                .map_err(|failure| io::Error::other(failure.to_string()))?;
            let copy = Copy {
                metadata: metadata.metadata.clone(),
                context: context.clone(),
                tap,
                full: None,
                marks: VecDeque::new(),
            };
            copy.run().await
        };
        ctx.then(shadowing, |shadow, result: io::Result<()>, ctx| {
            if let Err(error) = result {
                let error = error.to_string();
                let about = "the master";
                if shadow.complaints.is_news(about, &error, Instant::now()) {
                    tracing::warn!(error, "what the master keeps besides the log is not copied");
                }
                shadow.last_error = Some(error);
            }
            ctx.after(INTERVAL, |shadow, ctx| shadow.go_on(ctx));
        });
    }
}

impl Cast for Shadow {
    type State = ShadowState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        self.go_on(ctx);
        Ok(())
    }

    fn observe(&self) -> ShadowState {
        let is_following = self.context.following.master().is_some();
        ShadowState {
            last_error: self.last_error.clone().filter(|_| !is_following),
        }
    }
}

/// What comes over one connection.
struct Copy {
    context: Arc<BrokerContext>,
    metadata: ActorRef<Metadata>,
    tap: Arc<Tap>,
    /// What has come since everything began to.
    full: Option<Seen>,
    /// Oldest first.
    marks: VecDeque<TimerMark>,
}

#[derive(Default)]
struct Seen {
    topics: HashSet<TopicName>,
    groups: HashSet<GroupName>,
    offsets: HashSet<(GroupName, QueueKey)>,
}

impl Copy {
    async fn run(mut self) -> io::Result<()> {
        let address = self.context.following.some_master().await;
        let broker_id = self.context.standing.id;
        let client_id = format!("{}:{broker_id}", self.context.settings.broker.name);
        let connecting = Wire::connect(&address, client_id, MAX_ANSWER_BYTES);
        let (mut wire, _) = timeout(ANSWER_WITHIN, connecting).await??;
        let following = &self.context.clone().following;
        loop {
            following.add_unsaid(self.tap.take());
            let (said, is_all) = following.some_unsaid(MAX_SAID);
            let offsets = said.iter().map(|((group, (topic, queue)), offset)| {
                let offset = *offset;
                let (group, topic) = (group.to_string(), topic.to_string());
                let queue = *queue;
                GroupOffset {
                    group,
                    topic,
                    queue,
                    offset,
                }
            });
            let offsets = offsets.collect();
            let asked = wire.ask(Request::SyncMetadata(SyncMetadata { broker_id, offsets }));
            let Response::Metadata(changes) = timeout(ANSWER_WITHIN, asked).await?? else {
                return Err(unexpected());
            };
            following.said(&said);
            if is_all {
                following.told();
            }
            let more = changes.more || !is_all;
            self.take_over(changes).await?;
            self.pass_marks().await?;
            if !more {
                sleep(INTERVAL).await;
            }
        }
    }

    async fn take_over(&mut self, changes: MetadataChanges) -> io::Result<()> {
        let mut adopted = Vec::new();
        for change in changes.changes {
            self.one(change, &mut adopted);
        }
        if adopted.is_empty() {
            return Ok(());
        }
        let done = self.metadata.ask(Adopt(adopted)).await;
        done.map_err(io::Error::other)?
            .map_err(|refusal| io::Error::other(refusal.message))
    }

    fn one(&mut self, change: MetadataChange, adopted: &mut Vec<Adopted>) {
        match change {
            MetadataChange::Begin => self.full = Some(Seen::default()),
            MetadataChange::Complete => self.complete(adopted),
            MetadataChange::Topic { name, config } => {
                let Ok(name) = TopicName::new(&name) else {
                    return;
                };
                if let Some(seen) = &mut self.full {
                    seen.topics.insert(name.clone());
                }
                let known = self.context.topics.find(name.as_str());
                if known.is_none_or(|known| known.config() != config) {
                    adopted.push(Adopted::Topic(name, config));
                }
            }
            MetadataChange::TopicDeleted {
                name,
                below,
                next,
                is_gone,
            } => {
                let next = next.into_iter().collect();
                let kept = Deletion { below, next };
                if let Ok(name) = TopicName::new(&name) {
                    self.deleted(name, kept, is_gone, adopted);
                }
            }
            MetadataChange::Group { name, config } => {
                let Ok(name) = GroupName::new(&name) else {
                    return;
                };
                if let Some(seen) = &mut self.full {
                    seen.groups.insert(name.clone());
                }
                if self.context.groups.config(name.as_str()).as_ref() != Some(&config) {
                    adopted.push(Adopted::Group(name, config));
                }
            }
            MetadataChange::GroupGone { name } => {
                adopted.extend(GroupName::new(&name).map(Adopted::GroupGone));
            }
            MetadataChange::Offset(told) => self.offset(told),
            MetadataChange::Timer(mark) => {
                self.marks.push_back(mark);
                if self.marks.len() > MAX_MARKS {
                    // Any of them does; the first is reached soonest.
                    self.marks.remove(MAX_MARKS / 2);
                }
            }
            MetadataChange::Needed(from) => self.context.set_needed_from(from),
        }
    }

    fn deleted(&self, name: TopicName, kept: Deletion, is_gone: bool, adopted: &mut Vec<Adopted>) {
        let known = self.context.store.queues.deletion(&name);
        let is_there = self.context.topics.find(name.as_str()).is_some();
        if known.as_ref() != Some(&kept) || (is_gone && is_there) {
            adopted.push(Adopted::TopicDeleted(name, kept, is_gone));
        }
    }

    fn offset(&mut self, told: GroupOffset) {
        let names = (GroupName::new(&told.group), TopicName::new(&told.topic));
        let (Ok(group), Ok(topic)) = names else {
            return;
        };
        let key = (topic, told.queue);
        if let Some(seen) = &mut self.full {
            seen.offsets.insert((group.clone(), key.clone()));
        }
        self.context.offsets.copy(&group, key, told.offset);
    }

    /// What did not come is gone.
    fn complete(&mut self, adopted: &mut Vec<Adopted>) {
        let Some(seen) = self.full.take() else {
            return;
        };
        let context = &self.context;
        for topic in context.topics.all() {
            let name = &topic.name;
            if !seen.topics.contains(name) && !system_topics::is_system(name.as_str()) {
                let kept = context.store.queues.deletion(name).unwrap_or_default();
                adopted.push(Adopted::TopicDeleted(name.clone(), kept, true));
            }
        }
        let gone = context.groups.names().into_iter();
        let gone = gone.filter(|name| !seen.groups.contains(name));
        adopted.extend(gone.map(Adopted::GroupGone));
        for (group, key, _) in context.offsets.all() {
            if !seen.offsets.contains(&(group.clone(), key.clone())) {
                context.offsets.copy(&group, key, None);
            }
        }
    }

    /// Notes how far messages that wait have come out, as far as the log is here that they came out to.
    async fn pass_marks(&mut self) -> io::Result<()> {
        let dispatched = self.context.positions.dispatched();
        let mut reached = None;
        while let Some(mark) = self.marks.pop_front_if(|mark| mark.log <= dispatched) {
            reached = Some(mark);
        }
        let Some(mark) = reached else {
            return Ok(());
        };
        let store = self.context.store.clone();
        let noting = apart(move || crate::delivery::timer::note_masters(&store.metadata, mark));
        noting.await?.map_err(io::Error::other)
    }
}
