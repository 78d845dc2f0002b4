//! Settings of a running node as RocketMQ's tools see them: under its names and in its units, and what becomes of a value
//! that a tool would change.

use std::net::SocketAddr;

use thiserror::Error;

use super::syntax;
use super::{Treatment, treatment};
use crate::key::{KeyInfo, Kind};
use crate::load::Node;
use crate::nearest::nearest_rocketmq_name;
use crate::settings::{Settings, keys};

/// Longest text of changes: each line is looked up among all settings.
const MAX_TEXT_BYTES: usize = 65_536;

/// A longer name is none that was mistyped.
const MAX_NAME_BYTES: usize = 128;

/// Why a running node does not take a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeRefused {
    /// RocketMQ's servers change it for nobody (`configBlackList`).
    #[error("Can not update config in black list.")]
    Protected,
    /// It counts from the next start.
    #[error(
        "{name} counts from the next start on: set {key} in the configuration file, and start the node anew"
    )]
    Restart {
        /// As it was given.
        name: String,
        /// The setting that it stands for.
        key: &'static str,
    },
    /// There is nothing to set.
    #[error("{name} has no effect here: {reason}")]
    NoEffect {
        /// As it was given.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// There is nothing to set yet.
    #[error("{name} is not supported yet; it would {would}")]
    NotYet {
        /// As it was given.
        name: String,
        /// What it would do.
        would: &'static str,
    },
    /// Nobody knows it.
    #[error("{name} is not known and has no effect{nearest}")]
    Unknown {
        /// As it was given.
        name: String,
        /// What may have been meant.
        nearest: String,
    },
    /// There is more than all settings together could take.
    #[error(
        "the text has {bytes} bytes, and may have {MAX_TEXT_BYTES}: name only what is to be changed"
    )]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// The text is no `.properties`.
    #[error("line {line} cannot be read: {reason}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// Settings of a running node under the names that RocketMQ has for them, in its words and units. Those that are unset are
/// left out.
pub fn rocketmq_pairs(settings: &Settings, node: Node) -> Vec<(&'static str, String)> {
    let shown = keys().filter(|info| is_of(info, node));
    let pairs = shown.flat_map(|info| match info.rule.kind {
        Kind::Socket => address_pairs(info, settings),
        _ => {
            let name = info.rule.rocketmq_names.first();
            name.zip(value(info, settings))
                .map(|(name, value)| (*name, value))
                .into_iter()
                .collect()
        }
    });
    pairs.collect()
}

/// Whether a node would be as a tool wants it, who sends what is to be changed as `.properties`: nothing is changed while a
/// node runs, so that all of it has to be so already.
///
/// # Errors
///
/// Why the first value that differs is not taken.
pub fn check_changes(settings: &Settings, node: Node, text: &str) -> Result<(), ChangeRefused> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(ChangeRefused::TooLong { bytes: text.len() });
    }
    let mut pairs = Vec::new();
    for line in syntax::parse(text) {
        pairs.push(line.map_err(|broken| ChangeRefused::Syntax {
            line: broken.line,
            reason: broken.reason,
        })?);
    }
    let protected = match node {
        Node::NameServer => PROTECTED_IN_NAME_SERVER,
        Node::Broker | Node::Standalone => PROTECTED_IN_BROKER,
    };
    if pairs
        .iter()
        .any(|pair| protected.contains(&pair.key.as_str()))
    {
        return Err(ChangeRefused::Protected);
    }
    pairs
        .into_iter()
        .try_for_each(|pair| check_change(settings, pair.key, pair.value.trim()))
}

/// RocketMQ's `configBlackList` of each server.
const PROTECTED_IN_BROKER: &[&str] = &["configBlackList", "brokerConfigPath"];
const PROTECTED_IN_NAME_SERVER: &[&str] = &["configBlackList", "configStorePath", "kvConfigPath"];

fn check_change(settings: &Settings, name: String, wanted: &str) -> Result<(), ChangeRefused> {
    match treatment(&name) {
        Some(Treatment::Setting(info)) => {
            let is_ours = name == info.key;
            let has = match is_ours {
                true => Some((info.plain)(settings)),
                false => value(info, settings),
            };
            match has.is_some_and(|has| has == wanted) {
                true => Ok(()),
                false => Err(ChangeRefused::Restart {
                    name,
                    key: info.key,
                }),
            }
        }
        Some(Treatment::Listen) => Err(ChangeRefused::Restart {
            name,
            key: "the address that the node listens on",
        }),
        Some(Treatment::NeedsNone(reason)) => Err(ChangeRefused::NoEffect { name, reason }),
        Some(Treatment::NotYet(not_yet)) if wanted.eq_ignore_ascii_case(not_yet.default) => Ok(()),
        Some(Treatment::NotYet(not_yet)) => Err(ChangeRefused::NotYet {
            name,
            would: not_yet.would,
        }),
        Some(Treatment::Refused(_)) if !wanted.eq_ignore_ascii_case("true") => Ok(()),
        Some(Treatment::Refused(refused)) => Err(ChangeRefused::NoEffect {
            name,
            reason: refused.reason,
        }),
        None => {
            let nearest = match name.len() {
                ..=MAX_NAME_BYTES => nearest_rocketmq_name(&name),
                _ => None,
            };
            let nearest =
                nearest.map_or_else(String::new, |name| format!(": did you mean {name}?"));
            Err(ChangeRefused::Unknown { name, nearest })
        }
    }
}

/// Whether a setting is one of a server's.
fn is_of(info: &KeyInfo, node: Node) -> bool {
    let is_name_servers = info.key.starts_with("name_server.");
    match node {
        Node::Standalone => true,
        Node::Broker => !is_name_servers,
        Node::NameServer => is_name_servers,
    }
}

/// The value in RocketMQ's words and units; `None` when it is unset.
fn value(info: &KeyInfo, settings: &Settings) -> Option<String> {
    let plain = (info.plain)(settings);
    match info.rule.kind {
        _ if info.rule.optional && plain.is_empty() => None,
        Kind::Choice(choices) => {
            let choice = choices.iter().find(|choice| choice.value == plain);
            Some(choice?.rocketmq?.to_owned())
        }
        Kind::Integer(_) if info.rule.rocketmq_scale > 1 => {
            let number: i64 = plain.parse().ok()?;
            Some((number / info.rule.rocketmq_scale).to_string())
        }
        _ => Some(plain),
    }
}

fn address_pairs(info: &KeyInfo, settings: &Settings) -> Vec<(&'static str, String)> {
    let parts = (info.plain)(settings).parse::<SocketAddr>().ok();
    let parts = parts.map(|address| (address.ip().to_string(), address.port().to_string()));
    match (info.rule.rocketmq_names, parts) {
        (&[ip_name, port_name], Some((ip, port))) => vec![(ip_name, ip), (port_name, port)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let mut settings = Settings::default();
        settings.broker.name_servers = vec!["a:1".to_owned(), "b:2".to_owned()];
        settings
    }

    fn shown(node: Node, name: &str) -> Option<String> {
        let pairs = rocketmq_pairs(&settings(), node);
        pairs
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    #[test]
    fn settings_are_shown_in_rocketmqs_words_and_units() {
        for (name, value) in [
            ("namesrvAddr", "a:1;b:2"),
            ("flushDiskType", "ASYNC_FLUSH"),
            ("serverChannelMaxIdleTimeSeconds", "120"),
            ("listenPort", "10911"),
            ("autoCreateTopicEnable", "true"),
        ] {
            assert_eq!(shown(Node::Broker, name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(shown(Node::Broker, "brokerIP1"), None);
        let port = shown(Node::NameServer, "listenPort");
        assert_eq!(port.as_deref(), Some("9876"));
        assert_eq!(shown(Node::NameServer, "brokerName"), None);
    }

    #[test]
    fn what_holds_already_is_taken_and_everything_else_says_what_to_do() {
        let check = |node, text| check_changes(&settings(), node, text);
        let broker = |text| check(Node::Broker, text);
        assert_eq!(
            broker("flushConsumerOffsetInterval=5000\nflushDiskType=ASYNC_FLUSH\n"),
            Ok(())
        );
        assert_eq!(broker("traceOn=true\naclEnable=false"), Ok(()));
        let restart = broker("flushConsumerOffsetInterval=4000").unwrap_err();
        assert!(
            restart
                .to_string()
                .contains("store.offsets_flush_interval_ms")
        );
        assert_eq!(
            broker("traceOn=true\nbrokerConfigPath=x"),
            Err(ChangeRefused::Protected)
        );
        assert_eq!(
            check(Node::NameServer, "kvConfigPath=x"),
            Err(ChangeRefused::Protected)
        );
        let unknown = broker("brokerNam=x").unwrap_err();
        assert!(unknown.to_string().contains("did you mean brokerName?"));
        let none = broker("forceRegister=false").unwrap_err();
        assert!(matches!(none, ChangeRefused::NoEffect { .. }), "{none}");
        let not_yet = broker("traceOn=false").unwrap_err();
        assert!(matches!(not_yet, ChangeRefused::NotYet { .. }), "{not_yet}");
        let long = "k".repeat(MAX_TEXT_BYTES);
        let unknown = broker(&long).unwrap_err();
        assert!(matches!(unknown, ChangeRefused::Unknown { .. }));
        let longer = format!("{long}=1");
        let too_long = broker(&longer).unwrap_err();
        assert!(matches!(too_long, ChangeRefused::TooLong { .. }));
        assert!(matches!(
            broker("a=\\u12"),
            Err(ChangeRefused::Syntax { line: 1, .. })
        ));
    }
}
