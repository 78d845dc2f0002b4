//! RocketMQ's file format: a `.properties` file as RocketMQ reads it, its keys mapped to ours.
//!
//! `syntax` reads Java's format, `expand` replaces `${VAR}`, `unmapped` and `not_yet` list the keys
//! that are no setting here. `running` shows the settings of a running node the other way round.

mod expand;
pub(crate) mod not_yet;
pub(crate) mod running;
mod syntax;
pub(crate) mod unmapped;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use self::expand::{ExpandError, expand};
use self::not_yet::{NOT_YET, NotYet};
use self::syntax::Pair;
use self::unmapped::{NEEDS_NONE, REFUSED, Refused};
use crate::key::{Adjust, KeyInfo, Kind, Range};
use crate::layer::{Layer, shown_name};
use crate::load::Node;
use crate::nearest::nearest_rocketmq_name;
use crate::outside::Environment;
use crate::settings::{find_key, keys};
use crate::value::Raw;
use crate::{Origin, Problem, WithoutEffect};

/// Each is half of the address the node listens on; other addresses are whole ones.
const LISTEN_NAMES: [&str; 2] = ["bindAddress", "listenPort"];

/// What becomes of a key.
pub(crate) enum Treatment {
    /// It is one of our settings.
    Setting(&'static KeyInfo),
    /// It is half of the address the node listens on.
    Listen,
    /// It is accepted without effect, for this reason.
    NeedsNone(&'static str),
    /// Its feature is not there yet.
    NotYet(&'static NotYet),
    /// It cannot be passed over when it is `true`.
    Refused(&'static Refused),
}

/// What becomes of a key of this name; `None` when RocketMQ and we know none.
pub(crate) fn treatment(name: &str) -> Option<Treatment> {
    if let Some(info) = keys().find(|info| info.rule.rocketmq_names.contains(&name)) {
        return Some(match info.rule.kind {
            Kind::Socket if LISTEN_NAMES.contains(&name) => Treatment::Listen,
            _ => Treatment::Setting(info),
        });
    }
    if let Some(group) = NEEDS_NONE.iter().find(|group| group.names.contains(&name)) {
        return Some(Treatment::NeedsNone(group.reason));
    }
    if let Some(not_yet) = NOT_YET.iter().find(|not_yet| not_yet.name == name) {
        return Some(Treatment::NotYet(not_yet));
    }
    if let Some(refused) = REFUSED.iter().find(|refused| refused.name == name) {
        return Some(Treatment::Refused(refused));
    }
    // Ours are read too, so that a moved file can set what RocketMQ has no key for.
    find_key(name).map(Treatment::Setting)
}

/// Every RocketMQ name that [`treatment`] knows.
pub(crate) fn known_names() -> impl Iterator<Item = &'static str> {
    let mapped = keys().flat_map(|info| info.rule.rocketmq_names);
    let without = NEEDS_NONE.iter().flat_map(|group| group.names);
    let not_yet = NOT_YET.iter().map(|not_yet| not_yet.name);
    let refused = REFUSED.iter().map(|refused| refused.name);
    mapped.chain(without).copied().chain(not_yet).chain(refused)
}

/// Reads a RocketMQ file. A key that nobody knows is a warning, as RocketMQ passes it over.
pub(crate) fn read(
    path: &Arc<Path>,
    content: &[u8],
    node: Node,
    environment: &Environment,
) -> Layer {
    // Comments may be in any encoding; keys and values are looked at one by one.
    let text = String::from_utf8_lossy(content);
    let mut reader = Reader {
        path,
        environment,
        is_damaged: matches!(text, Cow::Owned(_)),
        layer: Layer::default(),
        given: BTreeMap::new(),
        listen: Listen::default(),
    };
    for line in syntax::parse(&text) {
        match line {
            Ok(pair) => reader.pair(pair),
            Err(broken) => {
                let origin = Origin::line(path, broken.line);
                let reason = broken.reason;
                reader
                    .layer
                    .problems
                    .push(Problem::Syntax { reason, origin });
            }
        }
    }
    reader.finish(node)
}

/// The address the node listens on, as far as it was given; each half with its line.
#[derive(Default)]
struct Listen {
    ip: Option<(IpAddr, usize)>,
    port: Option<(u16, usize)>,
    is_wrong: bool,
}

struct Reader<'a> {
    path: &'a Arc<Path>,
    environment: &'a Environment,
    /// Whether some of the file was not UTF-8; U+FFFD then stands in its place.
    is_damaged: bool,
    layer: Layer,
    /// Which name last gave a setting, and on which line.
    given: BTreeMap<&'static str, (String, usize)>,
    listen: Listen,
}

impl Reader<'_> {
    fn pair(&mut self, pair: Pair) {
        let origin = Origin::line(self.path, pair.line);
        let damaged = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
        if self.is_damaged && (damaged(&pair.key) || damaged(&pair.value)) {
            let reason = format!("{} is not UTF-8", pair.key);
            self.layer.problems.push(Problem::Syntax { reason, origin });
            return;
        }
        match treatment(&pair.key) {
            Some(Treatment::Setting(info)) => self.setting(info, &pair, origin),
            Some(Treatment::Listen) => self.listen(&pair, origin),
            Some(Treatment::NeedsNone(reason)) => self.without_effect(pair.key, reason, origin),
            Some(Treatment::NotYet(not_yet)) => self.not_yet(not_yet, &pair, origin),
            Some(Treatment::Refused(refused)) => self.refused(refused, pair, origin),
            None => self.unknown(&pair.key, &origin),
        }
    }

    fn unknown(&mut self, key: &str, origin: &Origin) {
        let nearest = nearest_rocketmq_name(key);
        let nearest = nearest.map_or_else(String::new, |name| format!(": did you mean {name}?"));
        let text = format!("{key} is not known and has no effect{nearest}");
        self.layer.warn(key, text, origin);
    }

    fn without_effect(&mut self, key: String, reason: &'static str, origin: Origin) {
        self.layer.without_effect.push(WithoutEffect {
            key,
            reason,
            origin,
        });
    }

    fn not_yet(&mut self, not_yet: &'static NotYet, pair: &Pair, origin: Origin) {
        if pair.value.trim().eq_ignore_ascii_case(not_yet.default) {
            let reason = "it says what RocketMQ does without it";
            self.without_effect(pair.key.clone(), reason, origin);
            return;
        }
        // The value is not shown: some of these are secrets.
        let text = format!(
            "{} is not supported yet; it would {}",
            pair.key, not_yet.would
        );
        self.layer.warn(&pair.key, text, &origin);
    }

    fn refused(&mut self, refused: &'static Refused, pair: Pair, origin: Origin) {
        // Java takes any text but "true" for false.
        if pair.value.trim().eq_ignore_ascii_case("true") {
            self.layer.problems.push(Problem::Refused {
                name: pair.key,
                value: pair.value,
                reason: refused.reason,
                origin,
            });
        } else {
            self.without_effect(pair.key, "it is off, as here", origin);
        }
    }

    fn setting(&mut self, info: &'static KeyInfo, pair: &Pair, origin: Origin) {
        self.note_given(info.key, pair, &origin);
        let Some(value) = self.expanded(&shown_name(&pair.key, info), pair, &origin) else {
            return;
        };
        // RocketMQ spreads a commit log over several folders; taking the first would lose the others' messages.
        if info.key == "store.commit_log_dir" && value.contains(',') {
            self.wrong_value(
                shown_name(&pair.key, info),
                &value,
                "one folder: several, separated by commas, are not supported yet",
                origin,
            );
            return;
        }
        let raw = self.translated(info, &pair.key, value, &origin);
        self.layer.set(info, &pair.key, &raw, origin);
    }

    fn wrong_value(&mut self, name: String, value: &str, allowed: &str, origin: Origin) {
        self.layer.problems.push(Problem::Value {
            name,
            value: Raw::Untyped(value.to_owned()).to_string(),
            allowed: allowed.to_owned(),
            origin,
        });
    }

    /// Warns when the same setting was given before, under this name or another.
    fn note_given(&mut self, setting: &'static str, pair: &Pair, origin: &Origin) {
        let now = (pair.key.clone(), pair.line);
        if let Some((name, line)) = self.given.insert(setting, now) {
            let text = format!(
                "{} takes the place of {name} on line {line}; the last one counts",
                pair.key
            );
            self.layer.warn(&pair.key, text, origin);
        }
    }

    fn expanded(&mut self, name: &str, pair: &Pair, origin: &Origin) -> Option<String> {
        let environment = self.environment;
        let variable = |name: &str| {
            let value = environment.get(OsStr::new(name))?;
            value.to_str().map(str::to_owned)
        };
        let origin = origin.clone();
        let problem = match expand(&pair.value, variable) {
            Ok(value) => return Some(value),
            Err(ExpandError::Unset(variable)) => Problem::Variable {
                variable,
                name: name.to_owned(),
                origin,
            },
            Err(ExpandError::Form) => Problem::Syntax {
                reason: format!(
                    "{name} has ${{ without a name and }}: write ${{NAME}}, or $${{ for a literal ${{"
                ),
                origin,
            },
        };
        self.layer.problems.push(problem);
        None
    }

    /// The value in our words and units, within the range that RocketMQ itself would bring it to.
    fn translated(
        &mut self,
        info: &'static KeyInfo,
        name: &str,
        value: String,
        origin: &Origin,
    ) -> Raw {
        let rule = &info.rule;
        if let Kind::Choice(choices) = rule.kind {
            let same = |rocketmq: Option<&str>| rocketmq == Some(value.trim());
            let ours = choices.iter().find(|choice| same(choice.rocketmq));
            return Raw::Untyped(ours.map_or(value, |choice| choice.value.to_owned()));
        }
        let Some(number) = number_of(info, &value) else {
            return Raw::Untyped(value);
        };
        if rule.optional && number <= 0 {
            return Raw::Untyped(String::new());
        }
        // Our own name means our own units and limits.
        if name == info.key {
            return Raw::Untyped(value);
        }
        let scaled = number.saturating_mul(rule.rocketmq_scale);
        let adjusted = adjusted(scaled, rule.rocketmq_adjust, rule.range);
        if adjusted != scaled {
            let name = shown_name(name, info);
            let text = format!(
                "{name} is {number}; RocketMQ works with {adjusted} then, and so does CastMQ"
            );
            self.layer.warn(&name, text, origin);
        }
        Raw::Integer(adjusted)
    }

    fn listen(&mut self, pair: &Pair, origin: Origin) {
        let is_port = pair.key == "listenPort";
        self.note_given(
            if is_port { "listenPort" } else { "bindAddress" },
            pair,
            &origin,
        );
        let Some(value) = self.expanded(&pair.key, pair, &origin) else {
            self.listen.is_wrong = true;
            return;
        };
        let is_right = if is_port {
            self.listen.port = value.trim().parse().ok().map(|port| (port, pair.line));
            self.listen.port.is_some()
        } else {
            self.listen.ip = value.trim().parse().ok().map(|ip| (ip, pair.line));
            self.listen.ip.is_some()
        };
        if !is_right {
            self.listen.is_wrong = true;
            let allowed = if is_port {
                "0 to 65535"
            } else {
                "an IP address"
            };
            self.wrong_value(pair.key.clone(), &value, allowed, origin);
        }
    }

    /// Adds the address, which a RocketMQ file always gives: by leaving it out it says 0.0.0.0.
    fn finish(mut self, node: Node) -> Layer {
        let (key, default_port) = match node {
            Node::NameServer => ("name_server.listen", 9876),
            Node::Broker | Node::Standalone => ("broker.listen", 10911),
        };
        let Listen { ip, port, is_wrong } = self.listen;
        if let (Some(info), false) = (find_key(key), is_wrong) {
            if self.given.contains_key(key) {
                return self.layer;
            }
            let origin = Origin::File {
                path: Arc::clone(self.path),
                line: port.map(|(_, line)| line).or(ip.map(|(_, line)| line)),
            };
            let ip = ip.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |(ip, _)| ip);
            let port = port.map_or(default_port, |(port, _)| port);
            let raw = Raw::Untyped(SocketAddr::new(ip, port).to_string());
            self.layer.set(info, key, &raw, origin);
        }
        self.layer
    }
}

fn number_of(info: &KeyInfo, value: &str) -> Option<i64> {
    match info.rule.kind {
        Kind::Integer(_) => value.trim().parse().ok(),
        _ => None,
    }
}

/// What RocketMQ makes of a number it does not like.
fn adjusted(number: i64, adjust: Option<Adjust>, range: Option<Range>) -> i64 {
    match (adjust, range) {
        (Some(Adjust::Clamp { min, max }), _) => number.clamp(min, max),
        (Some(Adjust::RoundUp), Some(range)) => {
            let beyond = number.rem_euclid(range.step);
            if beyond == 0 {
                number
            } else {
                number.saturating_add(range.step - beyond)
            }
        }
        _ => number,
    }
}

#[cfg(test)]
mod tests;
