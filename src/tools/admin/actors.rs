//! `castmq admin actors`: the live tree of each broker.

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::brokers::{Cluster, ask_each};
use crate::tools::print::{self, Table, excerpt, left, right};
use crate::tools::{ToolError, time};

/// Letters of a failure or a state that a row shows; `--json` shows all.
const SHOWN_LETTERS: usize = 100;

/// Whose tree, and how much of it.
#[derive(Debug, Clone, Args)]
pub(super) struct ActorsFlags {
    /// Only of this broker.
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
    /// Show what each actor tells of itself, too.
    #[arg(long)]
    details: bool,
}

/// An actor as its broker tells.
#[derive(Debug, Deserialize)]
struct Node {
    name: String,
    status: String,
    #[serde(default)]
    stage: String,
    mailbox_depth: u64,
    restarts: u32,
    last_failure: Option<LastFailure>,
    #[serde(default)]
    state: Value,
    note: Option<String>,
    #[serde(default)]
    children: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct LastFailure {
    cause: String,
    reason: String,
    when_ms: i64,
}

pub(super) async fn run(
    flags: &ActorsFlags,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    let brokers = cluster.masters(flags.broker.as_deref()).await?;
    let answers = ask_each(&brokers, async |broker| broker.at.actors().await).await;
    let (trees, end) = answers.settle();
    let unreadable = |error: serde_json::Error| {
        ToolError::Request(format!(
            "the tree of actors cannot be read ({error}): use a castmq of the broker's version"
        ))
    };
    let mut described = Vec::new();
    let mut text = Vec::new();
    for (broker, tree) in trees {
        let value: Value = serde_json::from_str(&tree).map_err(unreadable)?;
        let node = Node::deserialize(&value).map_err(unreadable)?;
        text.push(table(&node, &broker.name, flags.details).to_string());
        described.push(json!({ "broker": broker.name, "tree": value }));
    }
    print::either(as_json, &described, || text.join("\n"))?;
    end
}

fn table(root: &Node, broker: &str, has_details: bool) -> Table {
    let mut columns = vec![
        left("ACTOR"),
        left("STATUS"),
        left("THREAD"),
        right("MAILBOX"),
        right("RESTARTS"),
        left("LAST FAILURE"),
    ];
    if has_details {
        columns.push(left("STATE"));
    }
    let mut table = Table::new(columns);
    add(
        &mut table,
        root,
        &format!("{broker}: {}", root.name),
        0,
        has_details,
    );
    table
}

fn add(table: &mut Table, node: &Node, name: &str, depth: usize, has_details: bool) {
    let failure = node.last_failure.as_ref().map_or_else(String::new, |last| {
        let when = time::show(last.when_ms);
        let reason = excerpt(&last.reason, SHOWN_LETTERS);
        format!("{when} {}: {reason}", last.cause)
    });
    let mut cells = vec![
        format!("{}{name}", "  ".repeat(depth)),
        node.status.clone(),
        node.stage.clone(),
        node.mailbox_depth.to_string(),
        node.restarts.to_string(),
        failure,
    ];
    if has_details {
        let state = match (&node.note, &node.state) {
            (Some(note), _) => note.clone(),
            (None, Value::Null) => String::new(),
            (None, state) => excerpt(&state.to_string(), SHOWN_LETTERS),
        };
        cells.push(state);
    }
    table.row(cells);
    for child in &node.children {
        add(table, child, &child.name, depth + 1, has_details);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_stands_below_its_supervisor_with_what_became_of_it() {
        let tree = r#"{"name":"node","kind":"supervisor","status":"running","stage":"main","mailbox_depth":0,
            "restarts":0,"last_failure":null,"state":null,"children":[{"name":"log-writer","kind":"actor",
            "status":"restarting","stage":"data","mailbox_depth":7,"restarts":2,
            "last_failure":{"cause":"panic","reason":"oh\nno","when_ms":1769853600000},
            "state":{"batches":3},"children":[]}]}"#;
        let node: Node = serde_json::from_str(tree).unwrap();
        let text = table(&node, "broker-a", true).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].starts_with("broker-a: node  running"), "{text}");
        assert!(lines[2].starts_with("  log-writer"), "{text}");
        for part in [
            "restarting",
            " 7 ",
            " 2 ",
            "2026-01-31T10:00:00.000Z panic: oh\\nno",
            r#"{"batches":3}"#,
        ] {
            assert!(lines[2].contains(part), "{part} is missing in {text}");
        }
    }
}
