use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::settings::{Flush, Role};
use crate::{KeyInfo, Kind, find_key};

/// A folder with one file in it; gone when dropped.
struct Written {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

fn written(name: &str, content: &str) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    Written {
        path,
        _folder: folder,
    }
}

fn from_file(node: Node, name: &str, content: &str) -> Result<Loaded, LoadError> {
    Loader::new(node).file(&written(name, content).path).load()
}

fn lines(error: &LoadError) -> Vec<String> {
    error.problems.iter().map(Problem::to_string).collect()
}

#[test]
fn nothing_given_means_defaults_and_says_so() {
    let loaded = Loader::new(Node::Standalone).load().unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert!(loaded.warnings.is_empty() && loaded.without_effect.is_empty());
    assert!(loaded.rows().all(|row| row.origin == Origin::Default));
    assert_eq!(loaded.rows().count(), keys().count());
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file = written(
        "b.toml",
        "[store]\ndata_dir = 'file'\nflush = 'sync'\nflush_interval_ms = 1\nflush_least_pages = 1\n",
    );
    let loaded = Loader::new(Node::Broker)
        .file(&file.path)
        .environment([
            ("CASTMQ_STORE__DATA_DIR", "environment"),
            ("CASTMQ_STORE__FLUSH_INTERVAL_MS", "2"),
        ])
        .flags([Flag::new("store.data_dir", "flag", "--data")])
        .load()
        .unwrap();
    let store = &loaded.settings.store;
    assert_eq!(store.data_dir, PathBuf::from("flag"));
    assert_eq!(store.flush_interval_ms, 2);
    assert_eq!(store.flush, Flush::Sync);
    assert_eq!(store.flush_thorough_interval_ms, 10_000);
    let origin = |key: &str| loaded.origin_of(key).to_string();
    assert_eq!(origin("store.data_dir"), "flag --data");
    assert_eq!(
        origin("store.flush_interval_ms"),
        "environment CASTMQ_STORE__FLUSH_INTERVAL_MS"
    );
    assert_eq!(
        origin("store.flush"),
        format!("file {}:3", file.path.display())
    );
    assert_eq!(origin("store.flush_thorough_interval_ms"), "default");
}

#[test]
fn a_store_is_not_moved_without_the_folders_that_its_file_names_in_it() {
    let file = written(
        "b.properties",
        "storePathRootDir=/old/store\nstorePathCommitLog=/old/store/commitlog\nstorePathIndex=/fast/index\n",
    );
    let moved_to = |data: &str| {
        let loader = Loader::new(Node::Broker).file(&file.path);
        let flag = Flag::new("store.data_dir", data, "--data");
        loader
            .flags([flag])
            .load()
            .map_err(|error| error.to_string())
    };
    let error = moved_to("/new/store").unwrap_err();
    let path = file.path.display();
    assert_eq!(
        error,
        format!(
            "store.data_dir is \"/new/store\" (flag --data) and store.commit_log_dir is \"/old/store/commitlog\" (file {path}:2): that is a \
             folder of another store, /old/store (file {path}:1): change or remove it, so that two stores are not mixed"
        )
    );
    // The same one, and one around it.
    assert!(moved_to("/old/store").is_ok());
    assert!(moved_to("/old").is_ok());
    let unmoved = Loader::new(Node::Broker).file(&file.path).load();
    assert!(unmoved.is_ok());
}

#[test]
fn the_origin_shown_is_that_of_the_value_in_force() {
    let loader = Loader::new(Node::Broker)
        .environment([("NAMESRV_ADDR", "a:1"), ("CASTMQ_BROKER__NAME", "b")])
        .flags([
            Flag::new("broker.name", "c", "--name"),
            Flag::new("log.filter", "debug", "-v"),
            Flag::new("log.filter", "trace", "-vv"),
        ]);
    let layers = [
        Layer::default(),
        read_environment(loader.node, &loader.environment),
        read_flags(&loader.flags),
    ];
    let builder = layers.iter().fold(Config::builder(), |builder, layer| {
        builder.add_source(layer.source())
    });
    let merged = builder.build().unwrap();
    let origins = origins(&layers);
    assert_eq!(origins.len(), 3);
    for (key, origin) in origins {
        let section = merged.get_table(key.split_once('.').unwrap().0).unwrap();
        let value = &section[key.split_once('.').unwrap().1];
        assert_eq!(value.origin(), Some(origin.to_string().as_str()), "{key}");
    }
}

#[test]
fn rows_show_values_as_toml_has_them() {
    let loaded = Loader::new(Node::Standalone).load().unwrap();
    let rows: BTreeMap<_, _> = loaded.rows().map(|row| (row.key, row.value)).collect();
    assert_eq!(rows["store.data_dir"], "\"./castmq-data\"");
    assert_eq!(rows["retention.delete_hours"], "[4]");
    assert_eq!(rows["store.commit_log_dir"], "unset");
    assert_eq!(rows["broker.role"], "\"async_master\"");
}

#[test]
fn problems_of_all_layers_come_at_once() {
    let file = written("b.toml", "[store]\nflush = 'never'\n");
    let error = Loader::new(Node::Broker)
        .file(&file.path)
        .environment([("CASTMQ_BROKER__ID", "-1")])
        .flags([Flag::new("limits.max_connections", "x", "--connections")])
        .load()
        .unwrap_err();
    let found = lines(&error);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].ends_with("b.toml:2: store.flush is \"never\", allowed is: async, sync"));
    assert!(found[1].starts_with("environment CASTMQ_BROKER__ID: broker.id is \"-1\""));
    assert!(found[2].starts_with("flag --connections: "));
    assert!(
        error
            .to_string()
            .starts_with("3 problems in the configuration\n  file ")
    );
}

#[test]
fn a_file_that_is_no_configuration_is_told_from_one_that_is_not_there() {
    let conf = from_file(Node::Broker, "broker.conf", "brokerName=a").unwrap_err();
    assert!(
        conf.to_string()
            .contains(".toml (CastMQ) or .properties (RocketMQ)"),
        "{conf}"
    );
    let missing = Loader::new(Node::Broker)
        .file("no/such/file.toml")
        .load()
        .unwrap_err();
    assert!(
        missing
            .to_string()
            .starts_with("file no/such/file.toml: cannot be read"),
        "{missing}"
    );
    let long = "#".repeat(MAX_FILE_BYTES + 1);
    let long = from_file(Node::Broker, "b.toml", &long).unwrap_err();
    assert!(
        long.to_string().contains("is longer than 1048576 bytes"),
        "{long}"
    );
    assert!(from_file(Node::Broker, "B.TOML", "").is_ok());
}

#[test]
fn a_rocketmq_file_brings_its_warnings_along() {
    let content = "brokerName=a\nbrokerId=3\nbrokerRoel=SLAVE\n";
    let loaded = from_file(Node::Broker, "b.properties", content).unwrap();
    assert_eq!(loaded.settings.broker.id, 0);
    assert_eq!(loaded.settings.broker.role, Role::AsyncMaster);
    let texts: Vec<_> = loaded
        .warnings
        .iter()
        .map(|warning| &warning.text)
        .collect();
    assert_eq!(
        texts,
        [
            "brokerRoel is not known and has no effect: did you mean brokerRole?",
            "storePathRootDir is not given: messages are kept in ./castmq-data, where RocketMQ would take $HOME/store",
            "broker.id is 3; RocketMQ makes a master's 0, and so does CastMQ",
        ]
    );
    let in_toml = from_file(Node::Broker, "b.toml", "broker.id = 3").unwrap_err();
    assert!(
        in_toml.to_string().contains("a master's id must be 0"),
        "{in_toml}"
    );
}

#[test]
fn the_environment_wins_over_a_rocketmq_file_and_says_where_rocketmq_differs() {
    let file = written("b.properties", "namesrvAddr=a:1\nstorePathRootDir=s\n");
    let loader = Loader::new(Node::Broker)
        .file(&file.path)
        .environment([("NAMESRV_ADDR", "b:2;c:3")]);
    let loaded = loader.load().unwrap();
    assert_eq!(loaded.settings.broker.name_servers, ["b:2", "c:3"]);
    assert!(
        loaded.warnings[0]
            .text
            .ends_with("RocketMQ would use the file's")
    );
    let ours = loader.environment([("CASTMQ_BROKER__NAME_SERVERS", "d:4")]);
    let loaded = ours.load().unwrap();
    assert_eq!(loaded.settings.broker.name_servers, ["d:4"]);
    assert!(loaded.warnings.is_empty());
}

#[test]
fn an_empty_variable_takes_an_optional_value_back() {
    let file = written("b.toml", "[store]\nindex_dir = 'fast'\n");
    let loader = Loader::new(Node::Broker).file(&file.path);
    let index = |loaded: Loaded| loaded.settings.store.index_dir;
    assert_eq!(index(loader.load().unwrap()), Some(PathBuf::from("fast")));
    let emptied = loader.environment([("CASTMQ_STORE__INDEX_DIR", "")]);
    assert_eq!(index(emptied.load().unwrap()), None);
}

#[test]
fn a_sync_master_waits_for_a_slave_unless_it_is_told_otherwise() {
    let told = |text: &str| {
        let settings = from_file(Node::Broker, "b.toml", text).unwrap().settings;
        settings.in_sync_replicas(settings.broker.role)
    };
    assert_eq!(told("broker.role = 'sync_master'"), 2);
    assert_eq!(told("replication.in_sync_replicas = 3"), 1);
    let both = "broker.role = 'sync_master'\nreplication.in_sync_replicas = 3";
    assert_eq!(told(both), 3);
}

/// Values at the ends of what `info` takes.
fn samples(info: &KeyInfo) -> Vec<String> {
    match (info.rule.kind, info.rule.range) {
        (Kind::Switch, _) => vec!["true".into(), "false".into()],
        (Kind::Integer(_) | Kind::Integers, Some(range)) => {
            vec![range.min.to_string(), range.max.to_string()]
        }
        (Kind::Choice(choices), _) => choices.iter().map(|choice| choice.value.into()).collect(),
        (Kind::Socket, _) => vec!["[::1]:0".into(), "127.0.0.1:65535".into()],
        (Kind::HostPorts, _) => vec!["a:1;b:2".into(), String::new()],
        _ => vec!["x".into()],
    }
}

#[test]
fn every_key_takes_both_ends_of_its_range_and_shows_them_again() {
    for info in keys() {
        for sample in samples(info) {
            let flags = [Flag::new(info.key, sample.as_str(), "--set")];
            let layers = [read_flags(&flags)];
            assert!(layers[0].problems.is_empty(), "{} = {sample}", info.key);
            let settings = merge(&layers).unwrap();
            let shown = info.value_in(&settings);
            let plain = shown.replace(['"', '[', ']', ' '], "").replace(',', ";");
            let expected = sample.replace(['[', ']'], "");
            assert_eq!(plain, expected, "{} = {sample}", info.key);
        }
    }
}

#[test]
fn every_key_shows_toml_that_reads_back() {
    let loaded = Loader::new(Node::Broker).load().unwrap();
    let given = loaded.rows().filter(|row| row.value != "unset");
    let document: Vec<_> = given
        .map(|row| format!("{} = {}", row.key, row.value))
        .collect();
    let again = from_file(Node::Broker, "b.toml", &document.join("\n")).unwrap();
    assert_eq!(again.settings, loaded.settings);
    assert_eq!(again.origins.len(), document.len());
}

#[test]
fn a_listener_can_be_at_any_free_port() {
    let flag = Flag::new("broker.listen", "127.0.0.1:0", "--listen");
    let loaded = Loader::new(Node::Standalone).flags([flag]).load().unwrap();
    assert_eq!(
        loaded.settings.broker.listen,
        SocketAddr::from(([127, 0, 0, 1], 0))
    );
}

fn load_content(format: FileFormat, content: &[u8]) -> Result<Loaded, LoadError> {
    let name = match format {
        FileFormat::Toml => "b.toml",
        FileFormat::Properties => "b.properties",
    };
    let loader = Loader::new(Node::Standalone);
    let layer = loader.read_content(format, &crate::origin::test_path(name), content);
    loader.assemble(layer)
}

proptest! {
    #[test]
    fn any_bytes_load_or_are_refused_in_either_format(
        content in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        for format in [FileFormat::Toml, FileFormat::Properties] {
            let _ = load_content(format, &content).map_err(|error| error.to_string());
        }
    }

    #[test]
    fn any_document_of_known_keys_loads_or_is_refused(
        pairs in prop::collection::vec(
            (
                prop::sample::select(keys().map(|info| info.key).collect::<Vec<_>>()),
                "-?[0-9]{1,20}|'[a-z0-9:;/. ]{0,12}'|true|\\[[0-9, ]{0,9}\\]|[0-9]\\.5|\\{\\}",
            ),
            0..6,
        ),
    ) {
        let lines: Vec<_> = pairs.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        let content = lines.join("\n");
        if let Ok(loaded) = load_content(FileFormat::Toml, content.as_bytes()) {
            for (key, _) in pairs {
                prop_assert!(find_key(key).is_some());
                prop_assert!(loaded.origins.contains_key(key));
            }
        }
        let _ = load_content(FileFormat::Properties, content.as_bytes());
    }
}
