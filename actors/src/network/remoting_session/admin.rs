//! What operators ask: each request becomes one of [`AdminRequest`], or is answered from what the broker's actors share, in a
//! body of RocketMQ's.
//!
//! - `topics`, `groups`: settings, and who is there. `offsets`: setting offsets. `progress`: how far groups are.
//!   `statistics`: what became of that lately.
//! - `broker`: configuration, figures, the set; `lacking`: what there is no counterpart for.

mod broker;
mod groups;
mod lacking;
mod offsets;
mod progress;
mod statistics;
mod topics;

pub(crate) use self::broker::{change_refused, escaped};
use castmq_protocol::native::admin::{AdminRequest, AdminResponse};
use castmq_protocol::remoting::bodies::group::{GroupEntry, PutGroups};
use castmq_protocol::remoting::bodies::topic::PutTopics;
use castmq_protocol::remoting::headers::group_admin::DeleteGroup;
use castmq_protocol::remoting::headers::topic_admin::{
    DeleteTopic, PutTopic, TopicConfigOf, TopicConsumers,
};
use castmq_protocol::remoting::json::from_slice;
use castmq_protocol::remoting::{ReadFields, response_code};

use super::*;
use crate::network::admin_session::answer;
use crate::network::remoting::json;
use crate::worker::apart;

/// Carries requests out, one after the other, up to the first that is refused. Returns the answer to the last.
async fn carried_out(
    context: Arc<BrokerContext>,
    requests: Vec<AdminRequest>,
) -> Result<Option<AdminResponse>, Refusal> {
    let mut last = None;
    for request in requests {
        if let Some(answered) = answer(context.clone(), request).await {
            last = Some(answered?.0);
        }
    }
    Ok(last)
}

/// Nothing but that it is done.
fn done(_: &BrokerContext, _: AdminResponse) -> Result<Bytes, Refused> {
    Ok(Bytes::new())
}

fn bytes(body: impl Serialize) -> Bytes {
    json(&body).freeze()
}

impl RemotingSession {
    pub(super) fn administer(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let fields = &asked.command.fields;
        match asked.command.code {
            request_code::UPDATE_AND_CREATE_TOPIC => {
                let put = topics::put(&self.context, &PutTopic::from_fields(fields)?)?;
                self.change_topics(asked, vec![put], ctx)
            }
            request_code::UPDATE_AND_CREATE_TOPIC_LIST => {
                let put: PutTopics = from_slice(asked.body.bytes)?;
                let puts = put.topics.into_iter().map(|entry| AdminRequest::PutTopic {
                    config: entry.config(),
                    topic: entry.topic_name,
                    only_new: false,
                });
                self.change_topics(asked, puts.collect(), ctx)
            }
            request_code::DELETE_TOPIC_IN_BROKER => {
                let delete = topics::delete(&self.context, &DeleteTopic::from_fields(fields)?)?;
                self.change_topics(asked, delete.into_iter().collect(), ctx)
            }
            request_code::GET_TOPIC_STATS_INFO => self.topic_stats(asked, ctx),
            request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => {
                let entry: GroupEntry = from_slice(asked.body.bytes)?;
                self.carry_out(asked, vec![groups::put(entry)], done, ctx)
            }
            request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => {
                let put: PutGroups = from_slice(asked.body.bytes)?;
                let puts = put.groups.into_iter().map(groups::put);
                self.carry_out(asked, puts.collect(), done, ctx)
            }
            request_code::DELETE_SUBSCRIPTIONGROUP => {
                let group = DeleteGroup::from_fields(fields)?.group.to_owned();
                let with_topics = false;
                let delete = AdminRequest::DeleteGroup { group, with_topics };
                self.carry_out(asked, vec![delete], done, ctx)
            }
            request_code::GET_CONSUME_STATS => self.consume_stats(asked, ctx),
            request_code::GET_BROKER_CONSUME_STATS => self.all_consume_stats(asked, ctx),
            request_code::QUERY_CONSUME_TIME_SPAN => self.time_spans(asked, ctx),
            request_code::GET_ALL_CONSUMER_OFFSET => {
                let read = |context: &BrokerContext| Ok(bytes(offsets::of_all_groups(context)));
                self.read_apart(asked, read, ctx)
            }
            request_code::QUERY_CORRECTION_OFFSET => self.correction(asked, ctx),
            request_code::INVOKE_BROKER_TO_RESET_OFFSET => self.reset_offsets(asked, ctx),
            request_code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => self.consumer_status(asked, ctx),
            request_code::CLONE_GROUP_OFFSET => self.clone_offsets(asked, ctx),
            request_code::CLEAN_EXPIRED_CONSUMEQUEUE => self.clean(asked, false, ctx),
            request_code::DELETE_EXPIRED_COMMITLOG => self.clean(asked, true, ctx),
            request_code::GET_BROKER_CONFIG => self.broker_config(asked),
            request_code::GET_BROKER_RUNTIME_INFO => {
                // When the oldest message was stored is where nobody may have read for long.
                let read = |context: &BrokerContext| Ok(bytes(broker::runtime_info(context)));
                self.read_apart(asked, read, ctx)
            }
            _ => {
                let body = self.shown(asked)?;
                self.connection.respond(asked.asker, &(), &body);
                Ok(())
            }
        }
    }

    /// What is answered at once, from what the broker's actors share.
    fn shown(&self, asked: &Asked<'_>) -> Result<Bytes, Refused> {
        let (context, fields) = (&self.context, &asked.command.fields);
        Ok(match asked.command.code {
            request_code::GET_TOPIC_CONFIG => bytes(topics::config(
                context,
                &TopicConfigOf::from_fields(fields)?,
            )?),
            request_code::GET_ALL_TOPIC_CONFIG => bytes(topics::all(context)),
            request_code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => bytes(topics::of_system(context)),
            request_code::QUERY_TOPIC_CONSUME_BY_WHO => {
                let topic = TopicConsumers::from_fields(fields)?.topic;
                bytes(topics::consumers(context, topic))
            }
            request_code::GET_SUBSCRIPTIONGROUP_CONFIG => bytes(groups::config(context, fields)?),
            request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => bytes(groups::all(context)),
            request_code::GET_CONSUMER_CONNECTION_LIST => {
                bytes(groups::connections(context, fields)?)
            }
            request_code::GET_PRODUCER_CONNECTION_LIST => {
                bytes(groups::producer_connections(context, fields)?)
            }
            request_code::GET_ALL_PRODUCER_INFO => bytes(groups::producers(context)),
            request_code::QUERY_TOPICS_BY_CONSUMER => bytes(groups::topics(context, fields)?),
            request_code::QUERY_SUBSCRIPTION_BY_CONSUMER => {
                bytes(groups::subscription(context, fields)?)
            }
            request_code::UPDATE_AND_GET_GROUP_FORBIDDEN => {
                bytes(groups::readable(context, fields)?)
            }
            request_code::GET_ALL_MESSAGE_REQUEST_MODE => bytes(groups::request_modes(context)),
            request_code::GET_ALL_DELAY_OFFSET => bytes(offsets::of_delays(context)),
            request_code::UPDATE_BROKER_CONFIG => broker::check_changes(context, asked.body.bytes)?,
            request_code::VIEW_BROKER_STATS_DATA => bytes(statistics::view(context, fields)?),
            request_code::GET_BROKER_HA_STATUS => bytes(broker::ha_status(context)),
            request_code::RESET_MASTER_FLUSH_OFFSET => broker::reset_flush_offset(context)?,
            // Queues go with their topics, and there is one form of what is noted of pops: nothing is left to be done.
            request_code::CLEAN_UNUSED_TOPIC | request_code::POP_ROLLBACK => Bytes::new(),
            code => return Err(lacking::refusal(code)),
        })
    }

    /// Carries requests out that change topics, and answers when name servers know: RocketMQ's tools look there next.
    fn change_topics(
        &mut self,
        asked: &Asked<'_>,
        requests: Vec<AdminRequest>,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let context = self.context.clone();
        let changed = async move {
            let changed = carried_out(context.clone(), requests).await;
            context.told.until(context.topics.version()).await;
            Ok(changed)
        };
        let asker = asked.asker;
        let respond =
            move |session: &mut Self, changed: Result<_, Refusal>, _: &mut Ctx<'_, Self>| {
                changed?;
                session.respond(asker, &())
            };
        self.then(asker, changed, respond, ctx);
        Ok(())
    }

    /// Carries requests out, one after the other, and answers with what comes of the last.
    fn carry_out(
        &mut self,
        asked: &Asked<'_>,
        requests: Vec<AdminRequest>,
        body: impl FnOnce(&BrokerContext, AdminResponse) -> Result<Bytes, Refused> + 'static,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let context = self.context.clone();
        let carried_out = async move { Ok(carried_out(context, requests).await) };
        let asker = asked.asker;
        let respond = move |session: &mut Self,
                            carried_out: Result<Option<AdminResponse>, Refusal>,
                            _: &mut Ctx<'_, Self>| {
            let body = match carried_out? {
                Some(response) => body(&session.context, response)?,
                None => Bytes::new(),
            };
            session.connection.respond(asker, &(), &body);
            Ok(())
        };
        self.then(asker, carried_out, respond, ctx);
        Ok(())
    }

    /// Answers with what takes long, such as reading from the disk, which is waited for on another thread.
    pub(super) fn read_apart(
        &mut self,
        asked: &Asked<'_>,
        read: impl FnOnce(&BrokerContext) -> Result<Bytes, Refused> + Send + 'static,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let context = self.context.clone();
        let read = async move { Ok(apart(move || read(&context)).await) };
        let asker = asked.asker;
        let respond = move |session: &mut Self,
                            body: std::io::Result<Result<Bytes, Refused>>,
                            _: &mut Ctx<'_, Self>| {
            let body = body.map_err(|error| session.context.internal(error))??;
            session.connection.respond(asker, &(), &body);
            Ok(())
        };
        self.then(asker, read, respond, ctx);
        Ok(())
    }
}
