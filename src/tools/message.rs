//! Messages as tools print them.

use castmq_client::ReceivedMessage;
use serde::Serialize;
use serde_json::{Map, Value};

use super::ToolError;
use super::print::{Table, excerpt, harmless, left, right};
use super::time;

/// Letters of a body that a row shows.
const EXCERPT_LETTERS: usize = 60;

/// A message as one JSON object.
#[derive(Debug, Serialize)]
pub(super) struct MessageJson<'a> {
    id: String,
    topic: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    broker: &'a str,
    queue: u32,
    offset: u64,
    physical_offset: u64,
    born_timestamp_ms: i64,
    store_timestamp_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    born_host: Option<String>,
    properties: Map<String, Value>,
    /// Bytes of the body, which a body that is no UTF-8 does not show.
    body_bytes: usize,
    body: String,
}

impl<'a> MessageJson<'a> {
    pub(super) fn new(message: &'a ReceivedMessage) -> Result<Self, ToolError> {
        let body = message.body()?;
        let properties = message.properties();
        Ok(Self {
            id: message.id().to_string(),
            topic: message.topic(),
            broker: message.broker(),
            queue: message.queue_id().0,
            offset: message.offset().0,
            physical_offset: message.id().physical_offset.0,
            born_timestamp_ms: message.born_timestamp_ms(),
            store_timestamp_ms: message.store_timestamp_ms(),
            tag: message.tag(),
            keys: message.keys().collect(),
            born_host: message.born_host().map(|host| host.to_string()),
            properties: properties
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect(),
            body_bytes: body.len(),
            body: String::from_utf8_lossy(body).into_owned(),
        })
    }

    /// The same, found on a broker that the message itself does not name.
    pub(super) fn on(self, broker: &'a str) -> Self {
        Self { broker, ..self }
    }

    /// The line that `store dump` prints.
    pub(super) fn line(&self) -> String {
        let mut line = format!(
            "{} {} {}/{}#{} {} bytes",
            self.physical_offset,
            time::show(self.store_timestamp_ms),
            self.topic,
            self.queue,
            self.offset,
            self.body_bytes,
        );
        if let Some(tag) = self.tag {
            line.extend([" tag=", tag]);
        }
        if !self.keys.is_empty() {
            line.extend([" keys=", &self.keys.join(",")]);
        }
        line.extend([" ", &excerpt(&self.body, EXCERPT_LETTERS)]);
        harmless(&line)
    }
}

/// All that is known of a message, one thing on a line, and its body below.
pub(super) fn block(message: &MessageJson<'_>) -> String {
    let none = || "-".to_owned();
    let mut lines = vec![
        ("id", message.id.clone()),
        ("topic", message.topic.to_owned()),
        ("queue", message.queue.to_string()),
        ("offset", message.offset.to_string()),
        ("log position", message.physical_offset.to_string()),
        ("born", time::show(message.born_timestamp_ms)),
        ("born at", message.born_host.clone().unwrap_or_else(none)),
        ("stored", time::show(message.store_timestamp_ms)),
        ("tag", message.tag.map_or_else(none, harmless)),
        ("keys", harmless(&message.keys.join(" "))),
    ];
    for (name, value) in &message.properties {
        let text = value.as_str().unwrap_or_default();
        lines.push(("property", harmless(&format!("{name}={text}"))));
    }
    lines.push(("body", format!("{} bytes", message.body_bytes)));
    let lines = lines
        .iter()
        .map(|(name, value)| format!("{name:<13} {value}\n"));
    let head: String = lines.collect();
    format!("{head}\n{}\n", message.body)
}

/// A row for each message.
pub(super) fn overview(messages: &[MessageJson<'_>]) -> Table {
    let mut table = Table::new([
        left("STORED"),
        left("BROKER"),
        right("QUEUE"),
        right("OFFSET"),
        left("ID"),
        left("TAG"),
        left("KEYS"),
        left("BODY"),
    ]);
    for message in messages {
        table.row([
            time::show(message.store_timestamp_ms),
            message.broker.to_owned(),
            message.queue.to_string(),
            message.offset.to_string(),
            message.id.clone(),
            message.tag.unwrap_or_default().to_owned(),
            message.keys.join(" "),
            excerpt(&message.body, EXCERPT_LETTERS),
        ]);
    }
    table
}
