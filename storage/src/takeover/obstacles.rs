//! What of RocketMQ's cannot be taken over. It is looked for before anything changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::TakeoverError;
use super::files::{ConfigFiles, FOLDER, TOPICS, read_json};
use crate::disk::{Disk, Entry};
use crate::store::StoreOptions;

/// The prefix of RocketMQ's light queues.
const LIGHT_QUEUE: &str = "%LMQ%";

/// Folders of RocketMQ's other stores below its own, by how their names begin.
const OTHER_STORES: [(&str, &str); 3] = [
    (
        "dledger-",
        "its log is DLedger's, which has a format of its own; copy the messages with a consumer and a producer",
    ),
    (
        "batchconsumequeue",
        "it has queues of the type BatchCQ, whose records hold several messages each; copy their topics to others with a consumer and a producer, and delete them",
    ),
    (
        "consumequeue_ext",
        "it has extended consume queues; remove consumequeue and consumequeue_ext, and CastMQ builds the queues anew from the log",
    ),
];

/// Folders below `config` that RocketMQ has whatever it keeps its settings in: they are about users.
const USERS: [&str; 2] = ["users", "acls"];

/// `topicQueueMapping.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Mappings {
    #[serde(rename = "topicQueueMappingInfoMap")]
    topics: BTreeMap<String, IgnoredAny>,
}

/// Refuses a store that holds what cannot be taken over.
pub(super) fn check(
    disk: &dyn Disk,
    options: &StoreOptions,
    files: Option<&ConfigFiles>,
) -> Result<(), TakeoverError> {
    let root = &options.root;
    let list = |folder: &Path| {
        let listed = disk.list(folder);
        listed.map_err(TakeoverError::io("list", folder))
    };
    for entry in list(root)?.iter().filter(|entry| entry.is_directory) {
        let other = OTHER_STORES
            .iter()
            .find(|(name, _)| entry.name.starts_with(name));
        if let Some((_, what)) = other {
            let path = root.join(&entry.name);
            if !list(&path)?.is_empty() {
                return Err(TakeoverError::Obstacle { path, what });
            }
        }
    }
    let config = root.join(FOLDER);
    if files.is_none_or(|files| files.topics.topics.is_empty()) {
        for entry in list(&config)?.iter().filter(|entry| entry.is_directory) {
            let path = config.join(&entry.name);
            let is_database = list(&path)?.iter().any(|file| file.name == "CURRENT");
            if is_database && !USERS.contains(&entry.name.as_str()) {
                return Err(TakeoverError::Obstacle {
                    path,
                    what: "topics, groups and offsets are in RocksDB; write them to .json files with `mqadmin rocksDBConfigToJson` first",
                });
            }
        }
    }
    if let Some(light) = list(&options.consume_queues)?
        .iter()
        .find(|entry| is_light(entry))
    {
        return Err(TakeoverError::Obstacle {
            path: options.consume_queues.join(&light.name),
            what: "it is a light queue, whose messages lie in other topics; CastMQ has none",
        });
    }
    let mapping = config.join("topicQueueMapping.json");
    if let Some((_, Mappings { topics })) = read_json(disk, &mapping)?
        && let Some((topic, _)) = topics.into_iter().next()
    {
        return Err(topic_error(
            mapping,
            &topic,
            "it is a static topic, whose queues are mapped to brokers; CastMQ has none",
        ));
    }
    files.map_or(Ok(()), check_topics)
}

fn is_light(entry: &Entry) -> bool {
    entry.is_directory && entry.name.starts_with(LIGHT_QUEUE)
}

fn check_topics(files: &ConfigFiles) -> Result<(), TakeoverError> {
    for (name, entry) in &files.topics.topics {
        let is = |attribute: &str, value: &str| {
            let found = entry.attributes.get(attribute);
            found.is_some_and(|found| found.eq_ignore_ascii_case(value))
        };
        let what = if is("cleanup.policy", "COMPACTION") {
            "it is compacted, and its messages lie in a log of its own; copy them to another topic with a consumer and a producer, and delete it"
        } else if is("queue.type", "BatchCQ") {
            "its queues are of the type BatchCQ, whose records hold several messages each; copy them to another topic with a consumer and a producer, and delete it"
        } else {
            continue;
        };
        return Err(topic_error(files.folder.join(TOPICS), name, what));
    }
    Ok(())
}

fn topic_error(path: PathBuf, topic: &str, what: &'static str) -> TakeoverError {
    TakeoverError::Topic {
        path,
        topic: topic.to_owned(),
        what,
    }
}
