//! Messages of a queue.

use castmq_protocol::filter::CompiledFilter;
use castmq_protocol::model::{QueueId, QueueOffset, TopicName};
use castmq_protocol::native::request::Filter;
use castmq_protocol::native::response::PullStatus;
use castmq_protocol::remoting::bodies::heartbeat::Subscription;
use castmq_protocol::remoting::headers::pull::{
    PullMessage, PullMessageResponse, forbidden, pull_flag,
};
use castmq_protocol::remoting::{ReadFields, response_code};
use tokio::time::Instant;

use super::*;
use crate::broker::topics::Topic;
use crate::delivery::fetch::{Fetch, Fetched, Patience, Wanted};
use crate::names::group_name;
use crate::network::remoting_session::offsets::known_topic;
use crate::supervision::{Lost, Receive, Reply};

/// With more than this waiting to be written messages are held back: a slow client costs little memory.
const MAX_HELD_BYTES: usize = 1024 * 1024;

/// Pulls of one connection that may wait.
const MAX_WAITING: usize = 65_536;

/// The most bytes of one answer, when the client says nothing (RocketMQ `maxTransferBytesOnMessageInMemory`).
const DEFAULT_BYTES: u32 = 256 * 1024;

/// A pull that is owed an answer.
#[derive(Debug, Clone)]
pub(super) struct WaitingPull {
    asker: Asker,
    key: (TopicName, QueueId),
    wanted: Wanted,
    patience: Patience,
    /// Whose subscription it is for, and which version of it, when the request does not say.
    subscribed: Option<(GroupName, i64)>,
}

/// A pull's fetch came back.
#[derive(Debug)]
pub(super) struct PullDone {
    pull: WaitingPull,
    fetched: Result<Fetched, Lost>,
}

/// What a subscription wants.
pub(super) fn understand(subscription: &Subscription) -> Result<Filter, Refused> {
    let expression = subscription.expression.trim();
    match subscription.expression_type.as_str() {
        "" | "TAG" => match expression {
            "" | "*" => Ok(Filter::All),
            tags => {
                let tags = tags
                    .split("||")
                    .map(str::trim)
                    .filter(|tag| !tag.is_empty());
                Ok(Filter::Tags(tags.map(str::to_owned).collect()))
            }
        },
        "SQL92" => Ok(Filter::Sql(expression.to_owned())),
        other => Err(Refused::new(
            response_code::SUBSCRIPTION_PARSE_FAILED,
            format!("filters of the type {other:?} are not known: it takes TAG or SQL92"),
        )),
    }
}

/// What a subscription lets through; `None` for everything.
pub(super) fn compile(subscription: &Subscription) -> Result<Option<Arc<CompiledFilter>>, Refused> {
    let filter = understand(subscription)?;
    let compiled = CompiledFilter::new(&filter).map_err(|error| {
        Refused::new(response_code::SUBSCRIPTION_PARSE_FAILED, error.to_string())
    })?;
    Ok((!compiled.is_all()).then(|| Arc::new(compiled)))
}

impl RemotingSession {
    pub(super) fn pull(
        &mut self,
        asked: &Asked<'_>,
        buffer: &Bytes,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let pull = PullMessage::from_fields(&asked.command.fields)?;
        if let Err(refusal) = self.context.check_reads() {
            let fields = PullMessageResponse {
                forbidden_type: Some(forbidden::BROKER),
                ..nowhere(pull.offset)
            };
            let said = (response_code::NO_PERMISSION, Some(refusal.message.as_str()));
            self.connection.respond_as(asked.asker, said, &fields, b"");
            return Ok(());
        }
        let group = group_name(pull.group)?;
        if self.context.groups.config(group.as_str()).is_none() {
            return self.again_with_group(asked, &group, buffer, ctx);
        }
        self.context.groups.consuming(&group)?;
        let topic = known_topic(&self.context, pull.topic)?;
        let queue = readable(&topic, pull.queue)?;
        let (filter, version) = self.filter(&pull)?;
        let key = (topic.name.clone(), queue);
        if let Some(offset) = self.context.client_groups.take_reset(&group, &key) {
            return self.moved(asked.asker, &topic, queue, offset, "OFFSET_RESET");
        }
        if pull.sys_flag & pull_flag::COMMIT_OFFSET != 0 {
            // A client that lies about it is told nothing: the pull is what counts.
            let _ = self.commit(&group, &topic, queue, pull.commit_offset);
        }
        if self.waiting_pulls >= MAX_WAITING {
            return Err(Refused::new(
                response_code::SYSTEM_BUSY,
                format!("{MAX_WAITING} pulls of this connection wait already: wait for some"),
            ));
        }
        let Ok(offset) = u64::try_from(pull.offset) else {
            let found = self.context.store.queues.find(topic.name.as_str(), queue);
            let first = found.map_or(QueueOffset::ZERO, |found| found.min_offset());
            return self.moved(asked.asker, &topic, queue, first, "OFFSET_TOO_SMALL");
        };
        let wait_ms = u64::try_from(pull.suspend_timeout_ms).unwrap_or_default();
        let waits = pull.sys_flag & pull_flag::SUSPEND != 0 && wait_ms > 0;
        let max_bytes = pull.max_bytes.and_then(|bytes| u32::try_from(bytes).ok());
        let waiting = WaitingPull {
            asker: asked.asker,
            key,
            subscribed: version.map(|version| (group, version)),
            wanted: Wanted {
                offset: QueueOffset(offset),
                max_messages: u32::try_from(pull.max_messages).unwrap_or(1),
                max_bytes: max_bytes
                    .filter(|bytes| *bytes > 0)
                    .unwrap_or(DEFAULT_BYTES)
                    .min(self.context.limits.max_frame_bytes / 2),
                filter,
                passes_expired: Some(topic),
            },
            patience: match waits {
                true => Patience::Until(Instant::now() + Duration::from_millis(wait_ms)),
                false => Patience::None,
            },
        };
        self.waiting_pulls += 1;
        self.fetch_for_pull(waiting, ctx);
        Ok(())
    }

    /// What the group lets through of the topic: as the request says, or the heartbeats of its members.
    fn filter(
        &mut self,
        pull: &PullMessage<'_>,
    ) -> Result<(Option<Arc<CompiledFilter>>, Option<i64>), Refused> {
        if pull.sys_flag & pull_flag::SUBSCRIPTION != 0 {
            let filter = compile(&Subscription {
                expression_type: pull.expression_type.unwrap_or("TAG").to_owned(),
                expression: pull.subscription.unwrap_or_default().to_owned(),
                ..Subscription::default()
            });
            return Ok((filter?, None));
        }
        let groups = &self.context.client_groups;
        let unknown = |what: &str| Refused::new(response_code::SUBSCRIPTION_NOT_EXIST, what);
        let subscribed = groups
            .subscribed(pull.group, pull.topic)
            .ok_or_else(|| unknown("the consumer's group info not exist: send a heartbeat first"))?
            .ok_or_else(|| unknown("the consumer's subscription not exist: the group's heartbeats do not name the topic"))?;
        if subscribed.told.version < pull.subscription_version {
            self.subscriptions_wanted = true;
            return Err(Refused::new(
                response_code::SUBSCRIPTION_NOT_LATEST,
                "the consumer's subscription not latest: send a heartbeat first",
            ));
        }
        Ok((subscribed.filter, Some(subscribed.told.version)))
    }

    /// The filter that counts by now for a pull that has waited, when it is another than it waited with.
    fn other_filter(&self, pull: &mut WaitingPull) -> bool {
        let Some((group, version)) = &mut pull.subscribed else {
            return false;
        };
        let groups = &self.context.client_groups;
        let known = groups.subscribed(group.as_str(), pull.key.0.as_str());
        let Some(subscribed) = known
            .flatten()
            .filter(|known| known.told.version != *version)
        else {
            return false;
        };
        *version = subscribed.told.version;
        pull.wanted.filter = subscribed.filter;
        true
    }

    fn fetch_for_pull(&mut self, pull: WaitingPull, ctx: &mut Ctx<'_, Self>) {
        let key = pull.key.clone();
        let fetch = Fetch {
            wanted: pull.wanted.clone(),
            patience: pull.patience,
            reply: Reply::to_mailbox(ctx.me().mailbox(), move |fetched| PullDone {
                pull,
                fetched,
            }),
        };
        let fetched = self.context.deliveries.fetch(&self.context, &key, fetch);
        if let Err(failure) = fetched {
            ctx.fail(failure);
        }
    }

    pub(super) fn go_on_pulling(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.connection.pending_bytes() < MAX_HELD_BYTES
            && let Some(pull) = self.held_pulls.pop_front()
        {
            self.fetch_for_pull(pull, ctx);
        }
    }

    /// Tells to go on elsewhere in the queue.
    fn moved(
        &mut self,
        asker: Asker,
        topic: &Topic,
        queue: QueueId,
        to: QueueOffset,
        why: &str,
    ) -> Handled {
        let found = self.context.store.queues.find(topic.name.as_str(), queue);
        let (min, max) = found.map_or((QueueOffset::ZERO, QueueOffset::ZERO), |found| {
            (found.min_offset(), found.max_offset())
        });
        let fields = PullMessageResponse {
            min_offset: min.0 as i64,
            max_offset: max.0 as i64,
            ..nowhere(to.0 as i64)
        };
        let said = (response_code::PULL_OFFSET_MOVED, Some(why));
        self.connection.respond_as(asker, said, &fields, b"");
        Ok(())
    }

    fn pulled(&mut self, asker: Asker, offset: QueueOffset, fetched: Fetched) {
        let said = match fetched.status {
            PullStatus::Found => (response_code::SUCCESS, "FOUND"),
            PullStatus::NoMatch => (response_code::PULL_RETRY_IMMEDIATELY, "NO_MATCHED_MESSAGE"),
            PullStatus::NoNewMessage => (response_code::PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE"),
            PullStatus::OffsetTooSmall if fetched.max_offset == QueueOffset::ZERO => {
                (response_code::PULL_NOT_FOUND, "NO_MESSAGE_IN_QUEUE")
            }
            PullStatus::OffsetTooSmall => (response_code::PULL_OFFSET_MOVED, "OFFSET_TOO_SMALL"),
            PullStatus::OffsetTooLarge => {
                (response_code::PULL_OFFSET_MOVED, "OFFSET_OVERFLOW_BADLY")
            }
        };
        debug_assert!(fetched.next_offset >= offset || fetched.messages == 0);
        self.delivered += u64::from(fetched.messages);
        self.context.meters.delivered(fetched.messages.into());
        self.context.meters.expired(fetched.expired.into());
        let suggested = self.context.better_read_at(fetched.behind_bytes);
        let fields = PullMessageResponse {
            suggested_broker_id: suggested as i64,
            next_offset: fetched.next_offset.0 as i64,
            min_offset: fetched.min_offset.0 as i64,
            max_offset: fetched.max_offset.0 as i64,
            ..nowhere(0)
        };
        let said = (said.0, Some(said.1));
        self.connection
            .respond_with_log(asker, said, &fields, fetched.records);
    }
}

/// An answer without messages.
fn nowhere(next_offset: i64) -> PullMessageResponse {
    PullMessageResponse {
        suggested_broker_id: 0,
        next_offset,
        min_offset: 0,
        max_offset: 0,
        offset_delta: Some(0),
        topic_sys_flag: Some(0),
        group_sys_flag: Some(0),
        forbidden_type: None,
    }
}

/// A queue of a topic that may be read.
pub(super) fn readable(topic: &Topic, queue: i32) -> Result<QueueId, Refused> {
    let id = u32::try_from(queue)
        .ok()
        .filter(|id| *id < topic.read_queues());
    let Some(id) = id.map(QueueId) else {
        return Err(Refused::new(
            response_code::INVALID_PARAMETER,
            format!(
                "queueId[{queue}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}]",
                topic.name,
                topic.read_queues()
            ),
        ));
    };
    topic.check_read(id)?;
    Ok(id)
}

impl Receive<PullDone> for RemotingSession {
    fn receive(&mut self, PullDone { mut pull, fetched }: PullDone, ctx: &mut Ctx<'_, Self>) {
        let is_full = self.connection.pending_bytes() >= MAX_HELD_BYTES;
        let has_messages = fetched.as_ref().is_ok_and(|fetched| fetched.messages > 0);
        if has_messages && self.other_filter(&mut pull) {
            pull.patience = Patience::None;
            self.fetch_for_pull(pull, ctx);
            return;
        }
        if is_full && has_messages {
            self.held_pulls.push_back(pull);
            return;
        }
        self.waiting_pulls -= 1;
        match fetched {
            Ok(fetched) => self.pulled(pull.asker, pull.wanted.offset, fetched),
            Err(Lost) => {
                let refused = Refused::new(
                    response_code::SYSTEM_BUSY,
                    "the queue was interrupted: pull again",
                );
                self.connection.refuse(pull.asker, &refused);
            }
        }
    }
}
