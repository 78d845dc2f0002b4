//! metadata: the only writer of topics, groups and offsets.
//!
//! A change is made in memory, where everybody reads, only after it is durable. Offsets are gathered and written every
//! few seconds and at the end.

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{GroupConfig, GroupName, TopicConfig, TopicName, system_topics};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_storage::store::StoreError;
use serde::Serialize;

use crate::broker::context::BrokerContext;
use crate::broker::topics::Topic;
use crate::delivery::consumer_group::{GroupDeleted, SettingsChanged};
use crate::delivery::popper::ForgetGroup;
use crate::metadata::job::{Adopted, Job, work};
use crate::names::{group_name, topic_name};
use crate::supervision::{Answer, Cast, Ctx, Failure, Hold, Lost, Receive, Reply};
use crate::worker::Worker;

/// Asks for a topic, which is created when it is missing and that is allowed.
#[derive(Debug)]
pub(crate) struct EnsureTopic {
    pub(crate) topic: String,
    /// The client that needs it, for the log.
    pub(crate) by: String,
}

/// Asks for the retry or dead-letter topic of a group, which is created when it is missing.
#[derive(Debug)]
pub(crate) struct EnsureDerivedTopic {
    pub(crate) name: TopicName,
    pub(crate) queues: u32,
}

/// Asks for a group, which is created when it is missing and that is allowed.
#[derive(Debug)]
pub(crate) struct EnsureGroup {
    pub(crate) group: String,
    /// The client that needs it, for the log.
    pub(crate) by: String,
}

/// Creates or changes a topic.
#[derive(Debug)]
pub(crate) struct PutTopic {
    pub(crate) topic: String,
    pub(crate) config: TopicConfig,
    pub(crate) only_new: bool,
}

/// Deletes a topic.
#[derive(Debug)]
pub(crate) struct DeleteTopic {
    pub(crate) topic: String,
}

/// Creates or changes a group.
#[derive(Debug)]
pub(crate) struct PutGroup {
    pub(crate) group: String,
    pub(crate) config: GroupConfig,
}

/// Deletes a group with its offsets. That it has no members is known.
#[derive(Debug)]
pub(crate) struct DeleteGroup {
    pub(crate) group: GroupName,
}

/// Takes over what the master has.
#[derive(Debug)]
pub(crate) struct Adopt(pub(crate) Vec<Adopted>);

struct Work {
    job: Job,
    reply: Reply<(Job, Result<(), StoreError>)>,
}

/// What the thread has done, and what to do then.
struct Done {
    result: Result<(Job, Result<(), StoreError>), Lost>,
    then: Then,
}

/// Who waits for a change.
enum Then {
    Topic(Reply<Result<Arc<Topic>, Refusal>>),
    Deleted(Reply<Result<(), Refusal>>),
    Group(Reply<Result<GroupName, Refusal>>),
    Offsets,
}

/// See the module.
pub(crate) struct Metadata {
    context: Arc<BrokerContext>,
    thread: Option<Worker<Work>>,
    writes_offsets: bool,
    /// Keeps the actor until the last offsets are written.
    stopping: Option<Hold>,
    last_error: Option<String>,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct MetadataState {
    topics: usize,
    groups: usize,
    last_error: Option<String>,
}

impl Metadata {
    pub(crate) fn new(context: Arc<BrokerContext>) -> Self {
        Self {
            context,
            thread: None,
            writes_offsets: false,
            stopping: None,
            last_error: None,
        }
    }

    fn submit(&mut self, job: Job, then: Then, ctx: &mut Ctx<'_, Self>) {
        let reply = Reply::to_mailbox(ctx.me().mailbox(), move |result| Done { result, then });
        if let Some(Err(failure)) = self
            .thread
            .as_ref()
            .map(|thread| thread.submit(Work { job, reply }))
        {
            ctx.fail(failure);
        }
    }

    fn write_offsets(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.writes_offsets {
            return;
        }
        let changed = self.context.offsets.take_changed();
        if changed.is_empty() {
            self.stopping = None;
            return;
        }
        self.writes_offsets = true;
        self.submit(Job::Offsets(changed), Then::Offsets, ctx);
    }

    fn new_topic(&self, name: &TopicName, by: &str) -> Result<TopicConfig, Refusal> {
        self.context.standing.check_master()?;
        let broker = &self.context.settings.broker;
        if !broker.auto_create_topics {
            return Err(Refusal::never(
                ErrorCode::TopicNotFound,
                format!(
                    "topic {name} does not exist, and topics are not created automatically here: create it with `castmq admin topic create {name}`"
                ),
            ));
        }
        self.check_topic_count()?;
        tracing::info!(topic = %name, by, queues = broker.default_topic_queues, "creating a topic");
        Ok(TopicConfig::with_queues(broker.default_topic_queues))
    }

    fn check_topic_count(&self) -> Result<(), Refusal> {
        let limit = self.context.settings.limits.max_topics;
        if self.context.topics.len() >= limit as usize {
            return Err(Refusal::never(
                ErrorCode::LimitReached,
                format!(
                    "the broker has its {limit} topics: delete some, or raise limits.max_topics"
                ),
            ));
        }
        Ok(())
    }

    fn check_put(&self, name: &TopicName, put: &PutTopic) -> Result<(), Refusal> {
        self.context.standing.check_master()?;
        let limit = self.context.settings.limits.max_queues_per_topic;
        let queues = put.config.queues();
        if queues == 0 || queues > limit {
            return Err(Refusal::never(
                ErrorCode::InvalidRequest,
                format!("a topic has 1 to {limit} queues, not {queues}"),
            ));
        }
        let checked = put.config.check();
        checked.map_err(|error| {
            Refusal::never(ErrorCode::InvalidRequest, format!("topic {name}: {error}"))
        })?;
        if system_topics::is_system(name.as_str()) {
            return Err(system_topic(name));
        }
        match self.context.topics.find(name.as_str()) {
            Some(_) if put.only_new => Err(Refusal::never(
                ErrorCode::TopicExists,
                format!("topic {name} exists already"),
            )),
            Some(_) => Ok(()),
            None => self.check_topic_count(),
        }
    }

    fn new_group(&self, group: &GroupName, by: &str) -> Result<(), Refusal> {
        self.context.standing.check_master()?;
        if !self.context.settings.broker.auto_create_groups {
            return Err(Refusal::never(
                ErrorCode::GroupNotFound,
                format!(
                    "group {group} does not exist, and groups are not created automatically here: create it with `castmq admin group create {group}`"
                ),
            ));
        }
        let limit = self.context.settings.limits.max_groups;
        if self.context.groups.len() >= limit as usize {
            return Err(Refusal::never(
                ErrorCode::LimitReached,
                format!(
                    "the broker has its {limit} groups: delete some, or raise limits.max_groups"
                ),
            ));
        }
        tracing::info!(%group, by, "creating a consumer group");
        Ok(())
    }

    fn topics_changed(&self) {
        for group in self.context.groups.awake() {
            group.tell(SettingsChanged);
        }
        if let Some(registrars) = self.context.registrars.get() {
            for registrar in registrars {
                registrar.tell(crate::network::registrar::RegisterNow);
            }
        }
    }

    /// Told before the answer, so that whoever uses the name again finds nothing of it.
    fn group_deleted(&self, name: GroupName) {
        if let Some(group) = self.context.groups.find(&name) {
            group.tell(GroupDeleted);
        }
        if let Ok(actors) = self.context.actors() {
            actors.popper.tell(ForgetGroup { group: name });
        }
    }

    fn done(&mut self, job: Job, then: Then) {
        match (job, then) {
            (Job::PutTopic(name, config), Then::Topic(reply)) => {
                let topic = self.context.topics.put(&name, config);
                reply.send(Ok(topic));
                self.topics_changed();
            }
            (Job::DeleteTopic(name, _), Then::Deleted(reply)) => {
                self.context.topics.remove(&name);
                self.context.offsets.forget_topic(&name);
                reply.send(Ok(()));
                self.topics_changed();
            }
            (Job::PutGroup(name, config), Then::Group(reply)) => {
                self.context.groups.put(&name, config);
                if let Some(group) = self.context.groups.find(&name) {
                    group.tell(SettingsChanged);
                }
                reply.send(Ok(name));
            }
            (Job::DeleteGroup(name), Then::Deleted(reply)) => {
                self.context.groups.remove(&name);
                self.context.offsets.forget_group(&name);
                self.group_deleted(name);
                reply.send(Ok(()));
            }
            (Job::Adopt(adopted), Then::Deleted(reply)) => {
                for adopted in adopted {
                    self.adopted(adopted);
                }
                reply.send(Ok(()));
                self.topics_changed();
            }
            (Job::Offsets(changed), Then::Offsets) => self.context.offsets.written(&changed),
            // A job comes back with what was waiting for it.
            _ => {}
        }
    }

    fn adopted(&self, adopted: Adopted) {
        let context = &self.context;
        match adopted {
            Adopted::Topic(name, config) => drop(context.topics.put(&name, config)),
            Adopted::TopicDeleted(name, _, true) => {
                context.topics.remove(&name);
                context.offsets.forget_topic(&name);
            }
            Adopted::TopicDeleted(_, _, false) => {}
            Adopted::Group(name, config) => {
                context.groups.put(&name, config);
                if let Some(group) = context.groups.find(&name) {
                    group.tell(SettingsChanged);
                }
            }
            Adopted::GroupGone(name) => {
                context.groups.remove(&name);
                context.offsets.forget_group(&name);
                self.group_deleted(name);
            }
        }
    }

    fn failed(&mut self, then: Then, error: &StoreError) {
        tracing::error!(%error, "metadata cannot be written");
        self.last_error = Some(error.to_string());
        let refusal = Refusal::unknown(ErrorCode::StorageFailed, error.to_string());
        match then {
            Then::Topic(reply) => reply.send(Err(refusal)),
            Then::Deleted(reply) => reply.send(Err(refusal)),
            Then::Group(reply) => reply.send(Err(refusal)),
            // They are taken again with the next ones, but a stop does not wait for that.
            Then::Offsets => self.stopping = None,
        }
    }
}

fn system_topic(name: &TopicName) -> Refusal {
    Refusal::never(
        ErrorCode::NotWritable,
        format!("topic {name} belongs to the broker: it can be neither changed nor deleted"),
    )
}

impl Cast for Metadata {
    type State = MetadataState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        let store = self.context.store.clone();
        self.thread = Some(Worker::start("metadata", move |Work { job, reply }| {
            let result = work(&store, &job);
            reply.send((job, result));
        })?);
        let interval = self.context.settings.store.offsets_flush_interval_ms.max(1);
        ctx.every(Duration::from_millis(interval), |metadata, ctx| {
            metadata.write_offsets(ctx);
        });
        Ok(())
    }

    fn stopping(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.stopping = Some(ctx.hold());
        self.write_offsets(ctx);
    }

    fn observe(&self) -> MetadataState {
        MetadataState {
            topics: self.context.topics.len(),
            groups: self.context.groups.len(),
            last_error: self.last_error.clone(),
        }
    }
}

impl Answer<EnsureTopic> for Metadata {
    type Reply = Result<Arc<Topic>, Refusal>;

    fn answer(
        &mut self,
        question: EnsureTopic,
        reply: Reply<Self::Reply>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        if let Some(topic) = self.context.topics.find(&question.topic) {
            return reply.send(Ok(topic));
        }
        let created = topic_name(&question.topic).and_then(|name| {
            let config = self.new_topic(&name, &question.by)?;
            Ok((name, config))
        });
        match created {
            Ok((name, config)) => self.submit(Job::PutTopic(name, config), Then::Topic(reply), ctx),
            Err(refusal) => reply.send(Err(refusal)),
        }
    }
}

impl Answer<EnsureDerivedTopic> for Metadata {
    type Reply = Result<Arc<Topic>, Refusal>;

    fn answer(
        &mut self,
        question: EnsureDerivedTopic,
        reply: Reply<Self::Reply>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        let EnsureDerivedTopic { name, queues } = question;
        if let Some(topic) = self.context.topics.find(name.as_str()) {
            return reply.send(Ok(topic));
        }
        if let Err(refusal) = self.context.standing.check_master() {
            return reply.send(Err(refusal));
        }
        tracing::info!(topic = %name, queues, "creating a topic");
        let config = TopicConfig::with_queues(queues);
        self.submit(Job::PutTopic(name, config), Then::Topic(reply), ctx);
    }
}

impl Answer<EnsureGroup> for Metadata {
    type Reply = Result<GroupName, Refusal>;

    fn answer(
        &mut self,
        question: EnsureGroup,
        reply: Reply<Self::Reply>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        let created = group_name(&question.group).and_then(|name| {
            let is_known = self.context.groups.config(name.as_str()).is_some();
            if !is_known {
                self.new_group(&name, &question.by)?;
            }
            Ok((name, is_known))
        });
        match created {
            Ok((name, true)) => reply.send(Ok(name)),
            Ok((name, false)) => {
                let job = Job::PutGroup(name, GroupConfig::default());
                self.submit(job, Then::Group(reply), ctx);
            }
            Err(refusal) => reply.send(Err(refusal)),
        }
    }
}

impl Answer<Adopt> for Metadata {
    type Reply = Result<(), Refusal>;

    fn answer(
        &mut self,
        Adopt(adopted): Adopt,
        reply: Reply<Self::Reply>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        self.submit(Job::Adopt(adopted), Then::Deleted(reply), ctx);
    }
}

impl Answer<PutTopic> for Metadata {
    type Reply = Result<Arc<Topic>, Refusal>;

    fn answer(&mut self, put: PutTopic, reply: Reply<Self::Reply>, ctx: &mut Ctx<'_, Self>) {
        let checked = topic_name(&put.topic).and_then(|name| {
            self.check_put(&name, &put)?;
            Ok(name)
        });
        match checked {
            Ok(name) => self.submit(Job::PutTopic(name, put.config), Then::Topic(reply), ctx),
            Err(refusal) => reply.send(Err(refusal)),
        }
    }
}

impl Answer<DeleteTopic> for Metadata {
    type Reply = Result<(), Refusal>;

    fn answer(&mut self, delete: DeleteTopic, reply: Reply<Self::Reply>, ctx: &mut Ctx<'_, Self>) {
        let checked = topic_name(&delete.topic).and_then(|name| {
            self.context.standing.check_master()?;
            if system_topics::is_system(name.as_str()) {
                return Err(system_topic(&name));
            }
            match self.context.topics.find(name.as_str()) {
                Some(_) => Ok(name),
                None => Err(Refusal::never(
                    ErrorCode::TopicNotFound,
                    format!("topic {name} does not exist"),
                )),
            }
        });
        match checked {
            Ok(name) => {
                let dispatched = self.context.positions.dispatched();
                let job = Job::DeleteTopic(name, dispatched);
                self.submit(job, Then::Deleted(reply), ctx);
            }
            Err(refusal) => reply.send(Err(refusal)),
        }
    }
}

impl Answer<PutGroup> for Metadata {
    type Reply = Result<GroupName, Refusal>;

    fn answer(&mut self, put: PutGroup, reply: Reply<Self::Reply>, ctx: &mut Ctx<'_, Self>) {
        let checked = group_name(&put.group).and_then(|name| {
            self.context.standing.check_master()?;
            let checked = put.config.check();
            checked.map_err(|e| Refusal::never(ErrorCode::InvalidRequest, e.to_string()))?;
            Ok(name)
        });
        match checked {
            Ok(name) => self.submit(Job::PutGroup(name, put.config), Then::Group(reply), ctx),
            Err(refusal) => reply.send(Err(refusal)),
        }
    }
}

impl Answer<DeleteGroup> for Metadata {
    type Reply = Result<(), Refusal>;

    fn answer(&mut self, delete: DeleteGroup, reply: Reply<Self::Reply>, ctx: &mut Ctx<'_, Self>) {
        match self.context.standing.check_master() {
            Ok(()) => self.submit(Job::DeleteGroup(delete.group), Then::Deleted(reply), ctx),
            Err(refusal) => reply.send(Err(refusal)),
        }
    }
}

impl Receive<Done> for Metadata {
    fn receive(&mut self, Done { result, then }: Done, ctx: &mut Ctx<'_, Self>) {
        let are_offsets = matches!(then, Then::Offsets);
        if are_offsets {
            self.writes_offsets = false;
        }
        match result {
            Ok((job, Ok(()))) => self.done(job, then),
            Ok((_, Err(error))) => self.failed(then, &error),
            // Dropping what waits tells it.
            Err(Lost) => ctx.fail(Failure::new("the metadata thread died")),
        }
        if are_offsets && self.stopping.is_some() {
            // What changed while these were written.
            self.write_offsets(ctx);
        }
    }
}
