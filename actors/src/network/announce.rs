//! Making sure that a topic or group is there before a connection uses it.

use std::sync::Arc;

use castmq_protocol::model::GroupName;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};

use super::greeting::Client;
use crate::broker::context::BrokerContext;
use crate::broker::topics::Topic;
use crate::metadata::actor::{EnsureGroup, EnsureTopic};
use crate::supervision::AskError;

fn lost(error: &AskError) -> Refusal {
    Refusal::safe(ErrorCode::OutcomeUnknown, error.to_string())
}

/// Finds a topic, or has it created where that is allowed.
pub(crate) fn ensure_topic(
    context: &Arc<BrokerContext>,
    topic: String,
    client: &Client,
) -> Result<impl Future<Output = Result<Arc<Topic>, Refusal>> + use<>, Refusal> {
    let found = context.topics.find(&topic);
    let asked = match &found {
        Some(_) => None,
        None => Some(context.metadata()?.ask(EnsureTopic {
            topic,
            by: client.client_id.clone(),
        })),
    };
    Ok(async move {
        match (found, asked) {
            (Some(topic), _) => Ok(topic),
            (None, Some(asked)) => asked.await.map_err(|error| lost(&error))?,
            (None, None) => Err(Refusal::safe(ErrorCode::Internal, "nobody was asked")),
        }
    })
}

/// Finds a group, or has it created where that is allowed.
pub(crate) fn ensure_group(
    context: &Arc<BrokerContext>,
    group: String,
    client: &Client,
) -> Result<impl Future<Output = Result<GroupName, Refusal>> + use<>, Refusal> {
    let asked = context.metadata()?.ask(EnsureGroup {
        group,
        by: client.client_id.clone(),
    });
    Ok(async move { asked.await.map_err(|error| lost(&error))? })
}
