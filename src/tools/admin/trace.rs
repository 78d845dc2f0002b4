//! `castmq admin trace`: the way of one message.

use std::net::SocketAddr;

use castmq_client::model::system_topics;
use castmq_client::trace_format::{Consumed, MessageKind, TraceRecord, decode};
use castmq_client::{ErrorCode, MessageId, ReceivedMessage, Resolution};
use clap::Args;
use serde_json::{Value, json};

use super::brokers::{Broker, Cluster, ask_each};
use crate::tools::print::{self, Table, harmless, left, right};
use crate::tools::{ToolError, remark, time};

/// Whose way is shown.
#[derive(Debug, Clone, Args)]
pub(super) struct TraceFlags {
    /// The message's id: the one that its producer gave it, or the one that says where it is stored.
    id: String,
    /// At most this many messages with traces are looked at.
    #[arg(long, value_name = "N", default_value_t = 64)]
    max: u32,
    /// Traces stored at this time or later.
    #[arg(long, value_name = "TIME", value_parser = time::parse_time)]
    from: Option<i64>,
    /// Traces stored at this time or earlier.
    #[arg(long, value_name = "TIME", value_parser = time::parse_time)]
    to: Option<i64>,
}

/// Something that happened to the message.
#[derive(Debug, PartialEq)]
struct Step {
    record: TraceRecord,
    /// Where the client is that recorded it.
    client: Option<SocketAddr>,
}

pub(super) async fn run(
    flags: &TraceFlags,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    let brokers = cluster.masters(None).await?;
    let (mut steps, mut end) = find(&flags.id, flags, &brokers).await;
    if steps.is_empty()
        && end.is_ok()
        && let Some(unique_id) = unique_id(&flags.id, cluster, &brokers).await
    {
        (steps, end) = find(&unique_id, flags, &brokers).await;
    }
    end?;
    if steps.is_empty() {
        return Err(ToolError::NotTraced {
            id: flags.id.clone(),
        });
    }
    let described: Vec<_> = steps.iter().map(describe).collect();
    Ok(print::either(as_json, &described, || {
        table(&steps).to_string()
    })?)
}

/// The id that a message's producer gave it, when `id` says where the message is stored.
async fn unique_id(id: &str, cluster: &Cluster, brokers: &[Broker]) -> Option<String> {
    let parsed: MessageId = id.parse().ok()?;
    // Producers' own ids look the same: what they say about an address is nothing.
    let host = parsed.store_host.to_string();
    if !brokers.iter().any(|broker| broker.at.address() == host) {
        return None;
    }
    let message = cluster.admin.message(parsed).await.ok()?;
    message.unique_id().map(str::to_owned)
}

/// What is recorded of a message, in the order in which it happened.
async fn find(
    id: &str,
    flags: &TraceFlags,
    brokers: &[Broker],
) -> (Vec<Step>, Result<(), ToolError>) {
    let between = flags.from.unwrap_or(0)..=flags.to.unwrap_or(i64::MAX);
    let answers = ask_each(brokers, async |broker| {
        let traces = system_topics::TRACE;
        let found = broker
            .at
            .messages_by_key(traces, id, flags.max, between.clone());
        match found.await {
            Err(error) if error.code() == Some(ErrorCode::TopicNotFound) => Ok(Vec::new()),
            found => found,
        }
    })
    .await;
    let (found, end) = answers.settle();
    let mut steps: Vec<Step> = Vec::new();
    for message in found.iter().flat_map(|(_, messages)| messages) {
        for step in steps_in(message) {
            // One that was sent again may be stored twice.
            if step.record.message_id() == id && !steps.contains(&step) {
                steps.push(step);
            }
        }
    }
    steps.sort_by_key(|step| {
        let order = match &step.record {
            TraceRecord::Produced(_) => 0,
            TraceRecord::TransactionEnded(_) => 1,
            TraceRecord::Delivered(_) => 2,
            TraceRecord::Acknowledged(_) => 3,
        };
        (step.record.timestamp_ms(), order)
    });
    (steps, end)
}

/// What a message with traces tells. What cannot be read of it is said and passed over.
fn steps_in(message: &ReceivedMessage) -> Vec<Step> {
    let body = match message.body() {
        Ok(body) => String::from_utf8_lossy(body),
        Err(error) => {
            remark(&format!("castmq: trace {}: {error}", message.id()));
            return Vec::new();
        }
    };
    let records = decode(&body).filter_map(|record| match record {
        Ok(record) => Some(record),
        Err(error) => {
            let said = format!("castmq: trace {}: {error}", message.id());
            remark(&harmless(&said));
            None
        }
    });
    let client = message.born_host();
    records.map(|record| Step { record, client }).collect()
}

fn kind(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Normal => "normal",
        MessageKind::Half => "half",
        MessageKind::Committed => "committed",
        MessageKind::Delayed => "delayed",
        MessageKind::Ordered => "ordered",
    }
}

fn outcome(outcome: Consumed) -> &'static str {
    match outcome {
        Consumed::Success => "done",
        Consumed::TimedOut => "timed out",
        Consumed::Exception => "exception",
        Consumed::ReturnedNull => "returned null",
        Consumed::Failed => "failed",
    }
}

fn resolution(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::Commit => "commit",
        Resolution::Rollback => "rollback",
        Resolution::Unknown => "unknown",
    }
}

fn describe(step: &Step) -> Value {
    let client = step.client.map(|client| client.to_string());
    let timestamp_ms = step.record.timestamp_ms();
    match &step.record {
        TraceRecord::Produced(sent) => json!({
            "event": "produced",
            "timestamp_ms": timestamp_ms,
            "group": sent.group,
            "client": sent.client_host.clone().or(client),
            "topic": sent.topic,
            "message_id": sent.message_id,
            "stored_id": sent.stored_id,
            "broker": sent.store_host,
            "tag": sent.tag,
            "keys": sent.keys,
            "kind": kind(sent.kind),
            "body_bytes": sent.body_bytes,
            "cost_ms": sent.cost_ms,
            "success": sent.is_success,
        }),
        TraceRecord::Delivered(begun) => json!({
            "event": "delivered",
            "timestamp_ms": timestamp_ms,
            "group": begun.group,
            "client": client,
            "message_id": begun.message_id,
            "request_id": begun.request_id,
            "attempt": begun.retries.saturating_add(1),
            "keys": begun.keys,
        }),
        TraceRecord::Acknowledged(done) => json!({
            "event": "acknowledged",
            "timestamp_ms": timestamp_ms,
            "group": done.group,
            "client": client,
            "message_id": done.message_id,
            "request_id": done.request_id,
            "cost_ms": done.cost_ms,
            "success": done.is_success,
            "outcome": outcome(done.outcome),
            "keys": done.keys,
        }),
        TraceRecord::TransactionEnded(ended) => json!({
            "event": "transaction_ended",
            "timestamp_ms": timestamp_ms,
            "group": ended.group,
            "client": client,
            "topic": ended.topic,
            "message_id": ended.message_id,
            "transaction_id": ended.transaction_id,
            "broker": ended.store_host,
            "tag": ended.tag,
            "keys": ended.keys,
            "resolution": resolution(ended.resolution),
            "from_check": ended.from_check,
        }),
    }
}

fn table(steps: &[Step]) -> Table {
    let mut table = Table::new([
        left("TIME"),
        left("EVENT"),
        left("GROUP"),
        left("CLIENT"),
        right("ATTEMPT"),
        right("COST MS"),
        left("OUTCOME"),
        left("TOPIC"),
        left("BROKER"),
    ]);
    for step in steps {
        let client = step.client.map(|client| client.to_string());
        let none = || "-".to_owned();
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(none);
        let (event, group, attempt, cost, came, topic, broker) = match &step.record {
            TraceRecord::Produced(sent) => (
                match sent.kind {
                    MessageKind::Normal => "produced".to_owned(),
                    other => format!("produced ({})", kind(other)),
                },
                &sent.group,
                none(),
                sent.cost_ms.to_string(),
                if sent.is_success { "stored" } else { "failed" }.to_owned(),
                sent.topic.clone(),
                or_none(&sent.store_host),
            ),
            TraceRecord::Delivered(begun) => (
                "delivered".to_owned(),
                &begun.group,
                begun.retries.saturating_add(1).to_string(),
                none(),
                none(),
                none(),
                none(),
            ),
            TraceRecord::Acknowledged(done) => (
                "acknowledged".to_owned(),
                &done.group,
                attempt_of(steps, &done.request_id)
                    .map_or_else(none, |attempt| attempt.to_string()),
                done.cost_ms.to_string(),
                outcome(done.outcome).to_owned(),
                none(),
                none(),
            ),
            TraceRecord::TransactionEnded(ended) => (
                match ended.from_check {
                    true => "ended when asked".to_owned(),
                    false => "ended".to_owned(),
                },
                &ended.group,
                none(),
                none(),
                resolution(ended.resolution).to_owned(),
                ended.topic.clone(),
                or_none(&ended.store_host),
            ),
        };
        table.row([
            time::show(step.record.timestamp_ms()),
            event,
            harmless(group),
            client.unwrap_or_else(none),
            attempt,
            cost,
            came,
            harmless(&topic),
            harmless(&broker),
        ]);
    }
    table
}

/// Which attempt an acknowledgement belongs to.
fn attempt_of(steps: &[Step], request_id: &str) -> Option<u32> {
    steps.iter().find_map(|step| match &step.record {
        TraceRecord::Delivered(begun) if begun.request_id == request_id => {
            Some(begun.retries.saturating_add(1))
        }
        _ => None,
    })
}
