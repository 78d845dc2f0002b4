//! The two layers from outside: environment variables and flags.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use crate::layer::Layer;
use crate::load::{Flag, Node};
use crate::nearest::nearest_key;
use crate::settings::find_key;
use crate::value::Raw;
use crate::{Origin, Problem, VARIABLE_PREFIX};

/// RocketMQ's variable for the addresses of name servers.
const NAME_SERVERS_VARIABLE: &str = "NAMESRV_ADDR";

/// Variables by name, as the process was given them.
pub(crate) type Environment = BTreeMap<OsString, OsString>;

/// Reads `CASTMQ_SECTION__KEY` variables, and below them RocketMQ's `NAMESRV_ADDR`.
pub(crate) fn read_environment(node: Node, environment: &Environment) -> Layer {
    let mut layer = Layer::default();
    read_name_servers(&mut layer, node, environment);
    for (variable, value) in environment {
        let Some(variable) = variable.to_str() else {
            continue;
        };
        // Without `__` it is no setting: Kubernetes itself sets CASTMQ_PORT beside a service called castmq.
        let name = variable.strip_prefix(VARIABLE_PREFIX);
        let Some((section, key)) = name.and_then(|name| name.split_once("__")) else {
            continue;
        };
        let key = format!("{section}.{key}").to_ascii_lowercase();
        set(&mut layer, &key, variable, value);
    }
    layer
}

fn read_name_servers(layer: &mut Layer, node: Node, environment: &Environment) {
    let Some(value) = environment.get(OsStr::new(NAME_SERVERS_VARIABLE)) else {
        return;
    };
    let key = "broker.name_servers";
    if node == Node::Broker {
        set(layer, key, NAME_SERVERS_VARIABLE, value);
    } else if node == Node::Standalone {
        // RocketMQ's clients use the variable too: it must not make a broker tried out at a desk join their cluster.
        let text = format!(
            "{NAME_SERVERS_VARIABLE} is not used: a standalone node has its own name server; \
             give {key} to register with others as well"
        );
        let variable = NAME_SERVERS_VARIABLE.to_owned();
        layer.warn(
            NAME_SERVERS_VARIABLE,
            text,
            &Origin::Environment { variable },
        );
    }
}

fn set(layer: &mut Layer, key: &str, variable: &str, value: &OsStr) {
    let origin = Origin::Environment {
        variable: variable.to_owned(),
    };
    match (find_key(key), value.to_str()) {
        (None, _) => layer.problems.push(Problem::UnknownKey {
            key: key.to_owned(),
            nearest: nearest_key(key),
            origin,
        }),
        (Some(_), None) => layer.problems.push(Problem::Syntax {
            reason: "the value is not UTF-8".to_owned(),
            origin,
        }),
        (Some(info), Some(value)) => {
            layer.set(info, key, &Raw::Untyped(value.to_owned()), origin);
        }
    }
}

/// Reads flags; of two for the same key the later counts.
pub(crate) fn read_flags(flags: &[Flag]) -> Layer {
    let mut layer = Layer::default();
    for flag in flags {
        let origin = Origin::Flag {
            name: flag.name.clone(),
        };
        match find_key(&flag.key) {
            Some(info) => {
                let raw = Raw::Untyped(flag.value.clone());
                layer.set(info, &flag.key, &raw, origin);
            }
            None => layer.problems.push(Problem::UnknownKey {
                key: flag.key.clone(),
                nearest: nearest_key(&flag.key),
                origin,
            }),
        }
    }
    layer
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::ValueKind;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let os = |text: &str| OsString::from(text);
        variables.iter().map(|(k, v)| (os(k), os(v))).collect()
    }

    #[test]
    fn a_variable_sets_the_key_it_spells() {
        let layer = read_environment(
            Node::Broker,
            &environment(&[
                ("CASTMQ_STORE__DATA_DIR", "/x"),
                ("CASTMQ_PORT", "tcp://1"),
                ("PATH", ""),
            ]),
        );
        assert!(layer.problems.is_empty());
        assert_eq!(layer.entries.len(), 1);
        assert_eq!(layer.entries[0].info.key, "store.data_dir");
        assert_eq!(
            layer.entries[0].origin.to_string(),
            "environment CASTMQ_STORE__DATA_DIR"
        );
    }

    #[test]
    fn a_misspelled_variable_is_an_error() {
        let layer = read_environment(
            Node::Broker,
            &environment(&[("CASTMQ_STORE__DATADIR", "/x")]),
        );
        assert_eq!(
            layer.problems[0].to_string(),
            "environment CASTMQ_STORE__DATADIR: unknown key store.datadir: did you mean store.data_dir?"
        );
    }

    #[test]
    fn every_key_has_a_variable_that_reaches_it() {
        for info in crate::keys() {
            let layer = read_environment(Node::Broker, &environment(&[(&info.variable(), "\0")]));
            let known = |problem: &Problem| !matches!(problem, Problem::UnknownKey { .. });
            assert!(layer.problems.iter().all(known), "{}", info.key);
        }
    }

    #[test]
    fn rocketmqs_name_server_variable_yields_to_ours() {
        let both = [
            ("NAMESRV_ADDR", "a:1;b:2"),
            ("CASTMQ_BROKER__NAME_SERVERS", "c:3"),
        ];
        let layer = read_environment(Node::Broker, &environment(&both));
        let last = layer.entries.last().expect("both set the key");
        assert!(matches!(&last.value, ValueKind::Array(items) if items.len() == 1));
    }

    #[test]
    fn a_standalone_node_leaves_rocketmqs_variable_alone_and_says_so() {
        let layer = read_environment(
            Node::Standalone,
            &environment(&[("NAMESRV_ADDR", "prod:9876")]),
        );
        assert!(layer.entries.is_empty());
        assert!(
            layer.warnings[0]
                .to_string()
                .contains("NAMESRV_ADDR is not used")
        );
    }

    #[test]
    fn a_wrong_flag_names_the_flag() {
        let layer = read_flags(&[
            Flag::new("limits.max_connections", "0", "--connections"),
            Flag::new("stor.data_dir", "x", "--set"),
        ]);
        let found: Vec<_> = layer.problems.iter().map(Problem::to_string).collect();
        assert_eq!(
            found,
            [
                "flag --connections: limits.max_connections is \"0\", allowed is: 1 to 1000000",
                "flag --set: unknown key stor.data_dir: did you mean store.data_dir?",
            ]
        );
    }
}
