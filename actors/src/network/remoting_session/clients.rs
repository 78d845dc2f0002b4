//! Heartbeats, members of groups, and locks.

use castmq_protocol::model::TopicName;
use castmq_protocol::remoting::bodies::ConsumerIds;
use castmq_protocol::remoting::bodies::heartbeat::{
    CheckClientConfig, Consumer, Heartbeat, MessageModel,
};
use castmq_protocol::remoting::bodies::lock::{LockQueues, LockedQueues};
use castmq_protocol::remoting::headers::membership::{
    ConsumerList, HeartbeatResponse, NotifyConsumersChanged, UnregisterClient,
};
use castmq_protocol::remoting::json::from_slice;
use castmq_protocol::remoting::{Head, ReadFields, response_code};

use super::pulling::compile;
use super::*;
use crate::delivery::client_groups::{ClientMember, ClientWishes, MembersChanged, Subscribed};
use crate::metadata::actor::EnsureDerivedTopic;
use crate::names::{group_name, topic_name};
use crate::network::announce::ensure_group;
use crate::network::remoting::json;
use crate::supervision::Receive;

/// Groups that one connection may be a member of.
const MAX_GROUPS: usize = 4096;

/// The longest client id.
const MAX_CLIENT_ID_BYTES: usize = 1024;

impl RemotingSession {
    pub(super) fn heartbeat(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let heartbeat: Heartbeat = from_slice(asked.body.bytes)?;
        self.name_client(&heartbeat.client_id)?;
        let groups = heartbeat.consumers.len() + heartbeat.producers.len();
        if groups > MAX_GROUPS {
            return Err(Refused::new(
                response_code::SYSTEM_ERROR,
                format!("a client may be in {MAX_GROUPS} groups: use several"),
            ));
        }
        if self.takes_replies.is_none() {
            let client_id = self.client.client_id.clone();
            let id = self
                .context
                .requesters
                .add(client_id.clone(), ctx.me().mailbox());
            self.takes_replies = Some((client_id, id));
        }
        for producer in &heartbeat.producers {
            let group = group_name(&producer.group_name)?;
            let member = self.member(ctx);
            self.context.client_groups.produces(&group, self.id, member);
            let producers = &self.context.producers;
            let mailbox = ctx.me().mailbox();
            let entry = self.produces.entry(group);
            entry.or_insert_with_key(|group| producers.add(group.clone(), mailbox));
        }
        if heartbeat.without_sub {
            return self.renew(asked.asker, &heartbeat);
        }
        let mut joining = Vec::new();
        for consumer in heartbeat.consumers {
            let (group, wishes) = understood(consumer)?;
            let ensured = ensure_group(&self.context, group.to_string(), &self.client)?;
            joining.push((group, wishes, ensured));
        }
        let metadata = self.context.metadata()?.clone();
        let context = self.context.clone();
        // Groups and their retry topics are there before anybody hears that somebody joins.
        let ensured = async move {
            let mut ready = Vec::new();
            for (group, wishes, ensured) in joining {
                let made = match ensured.await {
                    Ok(name) if wishes.model == MessageModel::Clustering => {
                        let queues = context.groups.config(name.as_str());
                        let retry = EnsureDerivedTopic {
                            name: TopicName::retry_of(&name),
                            queues: queues.map_or(1, |config| config.retry_queues.max(1)),
                        };
                        metadata.ask(retry).await?.map(drop)
                    }
                    other => other.map(drop),
                };
                ready.push((group, wishes, made));
            }
            Ok(ready)
        };
        let asker = asked.asker;
        let join = move |session: &mut Self, ready: Vec<_>, ctx: &mut Ctx<'_, Self>| {
            session.subscriptions_wanted = false;
            for (group, wishes, made) in ready {
                let made: Result<(), Refusal> = made;
                made?;
                session.join(group, wishes, ctx)?;
            }
            session.respond(asker, &heartbeat_answer(false))
        };
        self.then(asker, ensured, join, ctx);
        Ok(())
    }

    /// The client says who it is.
    fn name_client(&mut self, client_id: &str) -> Result<(), Refused> {
        if client_id.is_empty() || client_id.len() > MAX_CLIENT_ID_BYTES {
            return Err(Refused::new(
                response_code::SYSTEM_ERROR,
                format!("a client id has 1 to {MAX_CLIENT_ID_BYTES} bytes"),
            ));
        }
        if self.client.client_id != client_id {
            client_id.clone_into(&mut self.client.client_id);
        }
        Ok(())
    }

    fn member(&self, ctx: &Ctx<'_, Self>) -> ClientMember {
        ClientMember {
            client_id: self.client.client_id.clone(),
            address: self.client.peer.to_string(),
            language: self.language,
            version: self.version,
            changes: ctx.me().mailbox(),
            relays: ctx.me().mailbox(),
        }
    }

    fn join(
        &mut self,
        group: GroupName,
        wishes: ClientWishes,
        ctx: &Ctx<'_, Self>,
    ) -> Result<(), Refused> {
        let member = self.member(ctx);
        let groups = &self.context.client_groups;
        groups.heartbeat(&group, self.id, member, wishes)?;
        if !self.consumes.contains(&group) {
            self.consumes.push(group);
        }
        Ok(())
    }

    /// A heartbeat that leaves out what it said before. Whoever is not known says it again, and so does whoever pulls by a later
    /// subscription: RocketMQ's Java client, which should tell of one at once, leaves it out for good when another heartbeat of
    /// its own is under way at that moment.
    fn renew(&mut self, asker: Asker, heartbeat: &Heartbeat) -> Handled {
        let mut is_known = !self.subscriptions_wanted;
        for consumer in &heartbeat.consumers {
            let group = group_name(&consumer.group_name)?;
            is_known &= self.context.client_groups.renew(&group, self.id);
        }
        self.respond(asker, &heartbeat_answer(!is_known))
    }

    pub(super) fn unregister(&mut self, asked: &Asked<'_>) -> Handled {
        let header = UnregisterClient::from_fields(&asked.command.fields)?;
        if let Some(group) = header.consumer_group.filter(|name| !name.is_empty()) {
            let group = group_name(group)?;
            self.consumes.retain(|known| *known != group);
            self.context.client_groups.leave(&group, self.id);
        }
        if let Some(group) = header.producer_group.filter(|name| !name.is_empty()) {
            let group = group_name(group)?;
            if let Some(id) = self.produces.remove(&group) {
                self.context.producers.remove(&group, id);
                self.context.client_groups.ends_producing(&group, self.id);
            }
        }
        self.respond(asked.asker, &())
    }

    /// Says whether a filter can be understood.
    pub(super) fn check_client(&mut self, asked: &Asked<'_>) -> Handled {
        let check: CheckClientConfig = from_slice(asked.body.bytes)?;
        compile(&check.subscription)?;
        self.respond(asked.asker, &())
    }

    pub(super) fn consumer_list(&mut self, asked: &Asked<'_>) -> Handled {
        let ConsumerList { group } = ConsumerList::from_fields(&asked.command.fields)?;
        let ids = self
            .context
            .client_groups
            .client_ids(group)
            .ok_or_else(|| {
                Refused::new(
                    response_code::SYSTEM_ERROR,
                    format!(
                        "no consumer for this group, {}",
                        crate::names::shortened(group, 128)
                    ),
                )
            })?;
        let body = json(&ConsumerIds { ids });
        self.connection.respond(asked.asker, &(), &body);
        Ok(())
    }

    pub(super) fn lock(&mut self, asked: &Asked<'_>) -> Handled {
        let lock: LockQueues = from_slice(asked.body.bytes)?;
        // Nobody knows whether somebody else has the queues at the master.
        self.context.standing.check_master()?;
        let group = group_name(&lock.consumer_group)?;
        let groups = &self.context.client_groups;
        let queues = groups.lock(&group, &lock.client_id, lock.queues);
        let body = json(&LockedQueues { queues });
        self.connection.respond(asked.asker, &(), &body);
        Ok(())
    }

    pub(super) fn unlock(&mut self, asked: &Asked<'_>) -> Handled {
        let lock: LockQueues = from_slice(asked.body.bytes)?;
        let group = group_name(&lock.consumer_group)?;
        let groups = &self.context.client_groups;
        groups.unlock(&group, &lock.client_id, &lock.queues);
        self.respond(asked.asker, &())
    }

    /// A client that holds its connection and says nothing of its groups is a member no more.
    pub(super) fn forget_when_silent(&mut self) {
        let groups = &self.context.client_groups;
        let id = self.id;
        self.consumes.retain(|group| {
            let is_silent = groups.is_silent(group, id);
            if is_silent {
                groups.leave(group, id);
            }
            !is_silent
        });
    }

    pub(super) fn leave_all(&mut self) {
        if let Some((client_id, id)) = self.takes_replies.take() {
            self.context.requesters.remove(client_id.as_str(), id);
        }
        for group in std::mem::take(&mut self.consumes) {
            self.context.client_groups.leave(&group, self.id);
        }
        for (group, id) in std::mem::take(&mut self.produces) {
            self.context.producers.remove(&group, id);
            self.context.client_groups.ends_producing(&group, self.id);
        }
    }
}

fn heartbeat_answer(wants_subscriptions: bool) -> HeartbeatResponse {
    HeartbeatResponse {
        knows_fingerprints: Some(true),
        subscriptions_wanted: Some(wants_subscriptions),
    }
}

/// What a heartbeat says of a group.
fn understood(consumer: Consumer) -> Result<(GroupName, ClientWishes), Refused> {
    let group = group_name(&consumer.group_name)?;
    let mut subscriptions = BTreeMap::new();
    for told in consumer.subscriptions {
        let filter = compile(&told)?;
        let topic = topic_name(&told.topic)?;
        subscriptions.insert(topic, Subscribed { told, filter });
    }
    let wishes = ClientWishes {
        consume_type: consumer.consume_type,
        model: consumer.message_model,
        from: consumer.consume_from_where,
        subscriptions,
    };
    Ok((group, wishes))
}

impl Receive<MembersChanged> for RemotingSession {
    fn receive(&mut self, MembersChanged(group): MembersChanged, _ctx: &mut Ctx<'_, Self>) {
        let opaque = self.opaque();
        let head = Head::one_way(request_code::NOTIFY_CONSUMER_IDS_CHANGED, opaque);
        let group = group.as_str();
        self.connection
            .push(&head, &NotifyConsumersChanged { group }, b"");
    }
}
