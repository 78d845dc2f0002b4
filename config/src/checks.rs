//! Rules between several keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::load::Node;
use crate::settings::{Role, Settings, find_key};
use crate::{Origin, Problem, Warning};

/// What a record holds besides body and properties, at the most (RocketMQ lets a record be 64 KiB longer than the body).
const MAX_RECORD_OVERHEAD_BYTES: u64 = 65_536;
/// Room that the end marker of a commit log segment takes (RocketMQ).
const SEGMENT_END_BYTES: u64 = 8;
/// Longest index file: RocketMQ counts its bytes in 31 bits.
const MAX_INDEX_FILE_BYTES: u64 = i32::MAX as u64;

/// Holds settings that are right one by one against each other.
pub(crate) struct Checks<'a> {
    settings: &'a mut Settings,
    origins: &'a BTreeMap<&'static str, Origin>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Warning>,
}

impl<'a> Checks<'a> {
    pub(crate) fn new(
        settings: &'a mut Settings,
        origins: &'a BTreeMap<&'static str, Origin>,
    ) -> Self {
        Self {
            settings,
            origins,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(crate) fn run(&mut self, node: Node) {
        self.broker_id();
        self.sizes();
        self.disk();
        self.rocketmq_master();
        if node == Node::Standalone {
            self.standalone();
        }
    }

    /// RocketMQ gives a master id 0 and refuses a slave with it.
    fn broker_id(&mut self) {
        let broker = &self.settings.broker;
        let is_slave = broker.role == Role::Slave;
        if is_slave && broker.id == 0 {
            let rule = "a slave's id must be 1 or more: give the broker its own id";
            self.conflict("broker.role", "broker.id", rule);
        } else if !is_slave && broker.id != 0 {
            let origin = self.origin("broker.id");
            if origin.is_rocketmq_file() {
                let given = broker.id;
                self.settings.broker.id = 0;
                let text = format!(
                    "broker.id is {given}; RocketMQ makes a master's 0, and so does CastMQ"
                );
                self.warn("broker.id", text);
            } else {
                let rule = "a master's id must be 0: change the id, or the role to slave";
                self.conflict("broker.role", "broker.id", rule);
            }
        }
    }

    /// Name servers only know CastMQ's masters.
    fn rocketmq_master(&mut self) {
        let replication = &self.settings.replication;
        if replication.ha_master_is_rocketmq && replication.ha_master_address.is_none() {
            let rule =
                "a RocketMQ master has to be named: set its address, with the port for slaves";
            let address = "replication.ha_master_address";
            self.conflict("replication.ha_master_is_rocketmq", address, rule);
        }
    }

    /// A message must fit into everything on its way.
    fn sizes(&mut self) {
        let limits = self.settings.limits.clone();
        let store = &self.settings.store;
        let record_bytes = limits.max_message_bytes
            + u64::from(limits.max_properties_bytes)
            + MAX_RECORD_OVERHEAD_BYTES;
        let segment_bytes = store.commit_log_segment_bytes;
        let index_bytes =
            40 + 4 * u64::from(store.index_hash_slots) + 20 * u64::from(store.index_max_entries);
        let message = "limits.max_message_bytes";
        if limits.max_frame_bytes < record_bytes {
            let rule = format!(
                "the longest message with its properties and header takes {record_bytes} bytes and must fit into a frame: lower the one or raise the other"
            );
            self.conflict(message, "limits.max_frame_bytes", &rule);
        }
        if segment_bytes < record_bytes + SEGMENT_END_BYTES {
            let rule = format!(
                "the longest message with its properties and header takes {record_bytes} bytes and must fit into a segment with {SEGMENT_END_BYTES} to spare: lower the one or raise the other"
            );
            self.conflict(message, "store.commit_log_segment_bytes", &rule);
        }
        let per_connection = "limits.max_in_flight_bytes_per_connection";
        if limits.max_in_flight_bytes_per_connection < limits.max_frame_bytes {
            let rule =
                "a connection must be allowed its longest frame: lower the one or raise the other";
            self.conflict("limits.max_frame_bytes", per_connection, rule);
        }
        if limits.max_in_flight_bytes_total < limits.max_in_flight_bytes_per_connection {
            let rule = "all connections together must be allowed as much as one: lower the one or raise the other";
            self.conflict(per_connection, "limits.max_in_flight_bytes_total", rule);
        }
        if index_bytes > MAX_INDEX_FILE_BYTES {
            let rule = format!(
                "an index file would take {index_bytes} bytes, the limit is {MAX_INDEX_FILE_BYTES}: lower one of them"
            );
            self.conflict("store.index_hash_slots", "store.index_max_entries", &rule);
        }
        if self.settings.broker.default_topic_queues > limits.max_queues_per_topic {
            let rule = "a new topic must be allowed its queues: lower the one or raise the other";
            let queues = "limits.max_queues_per_topic";
            self.conflict("broker.default_topic_queues", queues, rule);
        }
    }

    /// RocketMQ takes these in any order, so an odd one is no error; it is worth a word, though.
    fn disk(&mut self) {
        let retention = self.settings.retention.clone();
        let expired = retention.disk_max_used_percent;
        let forced = retention.disk_force_clean_percent;
        let refused = retention.disk_refuse_writes_percent;
        if retention.force_clean_enabled && expired > forced {
            let text = format!(
                "retention.disk_max_used_percent is {expired}, above retention.disk_force_clean_percent ({forced}): \
                 a disk that fills up loses its oldest files before it is searched for expired ones"
            );
            self.warn("retention.disk_max_used_percent", text);
        }
        if retention.force_clean_enabled && refused <= forced {
            let text = format!(
                "retention.disk_refuse_writes_percent is {refused}, not above retention.disk_force_clean_percent ({forced}): \
                 messages are refused before room is made for them"
            );
            self.warn("retention.disk_refuse_writes_percent", text);
        }
    }

    /// Broker and name server in one process.
    fn standalone(&mut self) {
        let broker = &self.settings.broker;
        let name_server = &self.settings.name_server;
        let (ours, theirs) = (broker.listen, name_server.listen);
        let same_ip =
            ours.ip() == theirs.ip() || ours.ip().is_unspecified() || theirs.ip().is_unspecified();
        let forgets = name_server.broker_expiry_ms <= broker.register_interval_ms;
        if ours.port() == theirs.port() && ours.port() != 0 && same_ip {
            let rule = "both listen in one process: change one of the ports";
            self.conflict("broker.listen", "name_server.listen", rule);
        }
        if forgets {
            let rule = "the name server would forget the broker between two registrations: lower the one or raise the other";
            let expiry = "name_server.broker_expiry_ms";
            self.conflict("broker.register_interval_ms", expiry, rule);
        }
    }

    /// A store moved by its folder alone, while a file names others that lie in the one of before: a broker or a tool would
    /// write the log of one store and the queues of another, and its lock would keep nobody out of the log.
    pub(crate) fn store_is_one(&mut self, data_dirs: &[(PathBuf, Origin)]) {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let store = &self.settings.store;
        let root = absolute(&store.data_dir);
        let folders = [
            ("store.commit_log_dir", &store.commit_log_dir),
            ("store.consume_queue_dir", &store.consume_queue_dir),
            ("store.index_dir", &store.index_dir),
        ];
        let of_another = folders.into_iter().filter_map(|(key, path)| {
            let path = absolute(path.as_deref()?);
            let mut others = data_dirs.iter().map(|(other, origin)| (absolute(other), origin));
            let (other, origin) = others.find(|(other, _)| path.starts_with(other))?;
            (!path.starts_with(&root)).then(|| {
                let other = other.display();
                let rule = format!(
                    "that is a folder of another store, {other} ({origin}): change or remove it, so that two stores are not mixed"
                );
                (key, rule)
            })
        });
        for (key, rule) in of_another.collect::<Vec<_>>() {
            self.conflict("store.data_dir", key, &rule);
        }
    }

    fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    fn warn(&mut self, key: &str, text: String) {
        self.warnings.push(Warning {
            key: key.to_owned(),
            text,
            origin: self.origin(key),
        });
    }

    fn conflict(&mut self, one: &str, other: &str, rule: &str) {
        let shown = |key: &str| {
            let value = find_key(key).map(|info| info.value_in(self.settings));
            let value = value.unwrap_or_default();
            format!("{key} is {value} ({})", self.origin(key))
        };
        let values = [shown(one), shown(other)];
        self.problems.push(Problem::Conflict {
            values,
            rule: rule.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(node: Node, change: impl Fn(&mut Settings)) -> Vec<String> {
        let mut settings = Settings::default();
        change(&mut settings);
        let origins = BTreeMap::new();
        let mut checks = Checks::new(&mut settings, &origins);
        checks.run(node);
        checks.problems.iter().map(Problem::to_string).collect()
    }

    fn one_problem(node: Node, change: impl Fn(&mut Settings)) -> String {
        let found = problems(node, change);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    #[test]
    fn defaults_go_together_in_every_kind_of_node() {
        for node in [Node::Standalone, Node::Broker, Node::NameServer] {
            assert!(problems(node, |_| {}).is_empty());
        }
    }

    #[test]
    fn a_conflict_names_both_keys_values_and_origins() {
        let text = one_problem(Node::Broker, |settings| settings.broker.role = Role::Slave);
        assert_eq!(
            text,
            "broker.role is \"slave\" (default) and broker.id is 0 (default): \
             a slave's id must be 1 or more: give the broker its own id"
        );
        let text = one_problem(Node::Broker, |settings| settings.broker.id = 2);
        assert!(text.contains("a master's id must be 0"), "{text}");
    }

    #[test]
    fn the_longest_message_must_fit_into_frame_and_segment() {
        let text = one_problem(Node::Broker, |s| s.limits.max_message_bytes = 16_777_216);
        assert!(
            text.contains("limits.max_frame_bytes is 16777216"),
            "{text}"
        );
        let text = one_problem(Node::Broker, |s| {
            s.store.commit_log_segment_bytes = 4_194_304
        });
        assert!(text.contains("must fit into a segment"), "{text}");
        let fits = 4_194_304 + 32_767 + 65_536 + 8;
        assert!(problems(Node::Broker, |s| s.store.commit_log_segment_bytes = fits).is_empty());
        assert_eq!(
            problems(Node::Broker, |s| s.store.commit_log_segment_bytes =
                fits - 1)
            .len(),
            1
        );
    }

    #[test]
    fn in_flight_bytes_allow_a_frame_and_the_total_allows_a_connection() {
        let text = one_problem(Node::Broker, |s| {
            s.limits.max_in_flight_bytes_per_connection = 16_777_215
        });
        assert!(text.contains("its longest frame"), "{text}");
        let text = one_problem(Node::Broker, |s| {
            s.limits.max_in_flight_bytes_total = 33_554_431
        });
        assert!(text.contains("as much as one"), "{text}");
    }

    #[test]
    fn an_index_file_stays_within_31_bits() {
        let text = one_problem(Node::Broker, |s| s.store.index_hash_slots = 500_000_000);
        assert!(
            text.contains("an index file would take 2400000040 bytes"),
            "{text}"
        );
    }

    #[test]
    fn a_rocketmq_master_has_to_be_named() {
        let text = one_problem(Node::Broker, |s| s.replication.ha_master_is_rocketmq = true);
        assert!(text.contains("has to be named"), "{text}");
    }

    #[test]
    fn new_topics_keep_to_the_limit_of_queues() {
        let text = one_problem(Node::Broker, |s| s.broker.default_topic_queues = 1_025);
        assert!(
            text.contains("limits.max_queues_per_topic is 1024"),
            "{text}"
        );
    }

    #[test]
    fn only_a_standalone_node_minds_the_other_half_of_it() {
        let same_port = |s: &mut Settings| {
            s.broker.listen = "0.0.0.0:9876".parse().expect("an address");
        };
        assert!(one_problem(Node::Standalone, same_port).contains("change one of the ports"));
        assert!(problems(Node::Broker, same_port).is_empty());
        let forgetful = |s: &mut Settings| s.name_server.broker_expiry_ms = 30_000;
        assert!(one_problem(Node::Standalone, forgetful).contains("would forget the broker"));
        assert!(problems(Node::NameServer, forgetful).is_empty());
        let any_port = |s: &mut Settings| {
            s.broker.listen.set_port(0);
            s.name_server.listen.set_port(0);
        };
        assert!(problems(Node::Standalone, any_port).is_empty());
    }
}
