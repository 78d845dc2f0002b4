//! The deployments in this folder load, and say the same as the RocketMQ files they come from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use castmq_config::{Flush, LoadError, Loaded, Loader, Node, Role, Settings};

const CLUSTER: [&str; 4] = ["broker-a", "broker-a-s", "broker-b", "broker-b-s"];

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// One of RocketMQ's files, with its home at `home`.
fn rocketmq(name: &str, home: &str) -> Result<Loaded, LoadError> {
    Loader::new(Node::Broker)
        .file(here(&format!(
            "tests/fixtures/2m-2s-sync/{name}.properties"
        )))
        .environment([("ROCKETMQ_HOME", home)])
        .load()
}

/// One of our files for a broker: `2m-2s-sync/broker-a`.
fn toml(name: &str) -> Result<Loaded, LoadError> {
    let path = here(&format!("{name}.toml"));
    Loader::new(Node::Broker).file(path).load()
}

fn texts(loaded: &Loaded) -> Vec<String> {
    let warnings = loaded.warnings.iter();
    warnings.map(|warning| warning.text.clone()).collect()
}

#[test]
fn the_standalone_file_says_what_castmq_does_without_it() {
    let path = here("standalone/broker.toml");
    let loaded = Loader::new(Node::Standalone).file(path).load().unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn rocketmqs_cluster_files_load_as_they_are() {
    for name in CLUSTER {
        let is_slave = name.ends_with("-s");
        let loaded = rocketmq(name, "/opt/rocketmq").unwrap();
        let Settings {
            broker,
            store,
            retention,
            limits,
            ..
        } = &loaded.settings;

        assert_eq!(broker.cluster_name, "rocketmq-cluster");
        assert_eq!(broker.name, name.trim_end_matches("-s"));
        assert_eq!(broker.id, u32::from(is_slave));
        let role = if is_slave {
            Role::Slave
        } else {
            Role::SyncMaster
        };
        assert_eq!(broker.role, role);
        let port = if is_slave { 10921 } else { 10911 };
        assert_eq!(broker.listen.to_string(), format!("0.0.0.0:{port}"));
        assert_eq!(
            broker.name_servers,
            ["192.168.9.230:9876", "192.168.9.231:9876"]
        );
        assert_eq!(broker.default_topic_queues, 4);
        assert!(broker.auto_create_topics && broker.auto_create_groups);

        let slave = if is_slave { "/slave" } else { "" };
        let root = PathBuf::from(format!("/opt/rocketmq/data/store{slave}"));
        assert_eq!(store.data_dir, root);
        assert_eq!(store.commit_log_path(), root.join("commitlog"));
        assert_eq!(store.consume_queue_path(), root.join("consumequeue"));
        assert_eq!(store.index_path(), root.join("index"));
        assert_eq!(store.commit_log_segment_bytes, 1_073_741_824);
        assert_eq!(store.consume_queue_file_bytes, 3_000_000);
        assert_eq!(store.flush, Flush::Async);
        assert_eq!(store.flush_least_pages, 4);
        assert_eq!(store.flush_thorough_interval_ms, 10_000);
        assert_eq!(store.consume_queue_flush_thorough_interval_ms, 60_000);

        assert_eq!(retention.delete_hours, [4]);
        assert_eq!(retention.keep_hours, 120);
        assert_eq!(retention.disk_max_used_percent, 88);
        assert_eq!(limits.max_message_bytes, 65_536);
    }
}

/// Keys of a file that set nothing here.
const WITHOUT_EFFECT: [&str; 7] = [
    "checkTransactionMessageEnable",
    "destoryMaoedFileIntervalForcibly",
    "flushConsumeQueueLeastPages",
    "pullMessageThreadPoolNums",
    "redeleteHangedFileInterval",
    "sendMessageThreadPoolNums",
    "storeCheckpoint",
];

#[test]
fn every_key_of_rocketmqs_cluster_files_is_accounted_for() {
    for name in CLUSTER {
        let path = here(&format!("tests/fixtures/2m-2s-sync/{name}.properties"));
        let content = std::fs::read_to_string(path).unwrap();
        let lines = content.lines().enumerate();
        let given: Vec<_> = lines
            .filter(|(_, line)| !line.starts_with('#') && !line.is_empty())
            .map(|(index, line)| (index + 1, line.split_once('=').unwrap().0))
            .collect();
        assert!(given.len() > 25, "{name} has {} keys", given.len());

        let loaded = rocketmq(name, "/opt/rocketmq").unwrap();
        let kept: Vec<_> = loaded
            .without_effect
            .iter()
            .map(|kept| kept.key.as_str())
            .collect();
        assert_eq!(BTreeSet::from_iter(kept), BTreeSet::from(WITHOUT_EFFECT));
        for (number, key) in given {
            let at = format!("{name}.properties:{number}");
            let sets = loaded
                .origins
                .values()
                .any(|origin| origin.to_string().ends_with(&at));
            assert!(sets != WITHOUT_EFFECT.contains(&key), "{key} at {at}");
        }
        let warned: Vec<_> = loaded
            .warnings
            .iter()
            .map(|warning| warning.key.as_str())
            .collect();
        assert_eq!(warned, ["retention.disk_max_used_percent"], "{name}");
    }
}

#[test]
fn rocketmqs_cluster_files_without_their_home_name_every_place_that_needs_it() {
    let path = here("tests/fixtures/2m-2s-sync/broker-a.properties");
    let error = Loader::new(Node::Broker).file(path).load().unwrap_err();
    assert_eq!(error.problems.len(), 4);
    for problem in &error.problems {
        let text = problem.to_string();
        assert!(
            text.contains("the variable ROCKETMQ_HOME, which is not set"),
            "{text}"
        );
    }
}

#[test]
fn our_cluster_files_say_the_same_as_rocketmqs() {
    for name in CLUSTER {
        let ours = toml(&format!("2m-2s-sync/{name}")).unwrap();
        let theirs = rocketmq(name, ".").unwrap();
        assert_eq!(ours.settings, theirs.settings, "{name}");
        assert_eq!(texts(&ours), texts(&theirs), "{name}");
    }
}

#[test]
fn the_asynchronous_cluster_differs_from_the_synchronous_in_the_role_alone() {
    for name in CLUSTER {
        let sync = toml(&format!("2m-2s-sync/{name}")).unwrap();
        let mut other = toml(&format!("2m-2s-async/{name}")).unwrap();
        assert_eq!(texts(&other), texts(&sync), "{name}");
        if !name.ends_with("-s") {
            assert_eq!(other.settings.broker.role, Role::AsyncMaster, "{name}");
            other.settings.broker.role = Role::SyncMaster;
        }
        assert_eq!(other.settings, sync.settings, "{name}");
    }
}

#[test]
fn two_masters_without_slaves_are_those_of_the_asynchronous_cluster() {
    for name in ["broker-a", "broker-b"] {
        let loaded = toml(&format!("2m-noslave/{name}")).unwrap();
        assert_eq!(loaded.warnings, [], "{name}");
        let mut expected = toml(&format!("2m-2s-async/{name}")).unwrap().settings;
        // RocketMQ's files, which that cluster's come from, have a percentage that makes a warning.
        expected.retention.disk_max_used_percent = 75;
        assert_eq!(loaded.settings, expected, "{name}");
    }
}
