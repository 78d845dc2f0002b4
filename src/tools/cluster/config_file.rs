//! A member's settings, as a file for people to read and change.

use std::fmt::Write as _;

use castmq_config::{Flag, LoadError, Loader, Node, Origin, Row};

use super::ClusterError;
use super::folder::Cluster;
use super::plan::{Member, Plan, Replication};
use super::shape::Part;

/// What a member gets from the cluster, so that it cannot be set for all of them.
const RESERVED: [(&str, &str); 13] = [
    ("broker.advertised_address", ADDRESSES),
    ("broker.id", PARTS),
    ("broker.listen", ADDRESSES),
    ("broker.name", PARTS),
    ("broker.name_servers", ADDRESSES),
    ("broker.role", "say it with --replication"),
    ("name_server.listen", ADDRESSES),
    ("replication.ha_listen_port", ADDRESSES),
    ("replication.ha_master_address", ADDRESSES),
    ("store.commit_log_dir", FOLDERS),
    ("store.consume_queue_dir", FOLDERS),
    ("store.data_dir", FOLDERS),
    ("store.index_dir", FOLDERS),
];
const ADDRESSES: &str = "each member gets an address of its own";
const PARTS: &str = "each member gets a name and a number of its own";
const FOLDERS: &str = "each member gets a folder of its own";

/// What the keys that a name server reads begin with.
const OF_NAME_SERVERS: [&str; 4] = ["name_server.", "store.data_dir", "limits.", "log."];

/// Small, since every broker reserves a segment on the same disk when it starts, and soon the next.
const SEGMENT_BYTES: u32 = 128 << 20;

/// Sees to it that a setting can be the same for all members.
pub(super) fn check(key: &str) -> Result<(), ClusterError> {
    match RESERVED.iter().find(|(reserved, _)| *reserved == key) {
        None => Ok(()),
        Some((_, reason)) => Err(ClusterError::Reserved {
            key: key.to_owned(),
            reason,
        }),
    }
}

/// A setting that the cluster gives a member: its key, its value, and a word about it.
type Given = (&'static str, String, &'static str);

/// The text of a member's file.
///
/// # Errors
///
/// When settings are wrong, or do not fit each other.
pub(super) fn text(cluster: &Cluster, member: &Member) -> Result<String, ClusterError> {
    let given = given(&cluster.plan, member);
    let body = body(&cluster.plan, member, &given).map_err(|source| ClusterError::Settings {
        member: member.name.clone(),
        source,
    })?;
    let folder = cluster.folder.display();
    let (name, part) = (&member.name, &member.part);
    Ok(format!(
        "# {name}, a {part} of the cluster in {folder}, made by `castmq cluster up`.\n\
         #\n\
         # Its address, name and folder are the cluster's to say. Change the rest as you like, and then:\n\
         #   castmq cluster restart {name} --dir {folder}\n\
         # docs/configuration.md has all keys. Paths are relative to the folder of this file.\n\
         {body}"
    ))
}

fn body(plan: &Plan, member: &Member, given: &[Given]) -> Result<String, LoadError> {
    let node = match member.part {
        Part::NameServer => Node::NameServer,
        Part::Broker { .. } => Node::Broker,
    };
    let own = given.iter();
    let own = own.map(|(key, value, _)| Flag::new(*key, value, "castmq cluster up"));
    let further = plan.settings.iter();
    let further = further.map(|(key, value)| Flag::new(key, value, "--set"));
    let loaded = Loader::new(node).flags(own.chain(further)).load()?;
    let mut text = String::new();
    let mut section = "";
    for Row { key, value, origin } in loaded.rows() {
        let is_read = node == Node::Broker || is_of_name_servers(key);
        let (its_section, name) = key.split_once('.').unwrap_or_default();
        if origin == Origin::Default || !is_read {
            continue;
        }
        if its_section != section {
            section = its_section;
            let _ = write!(text, "\n[{section}]\n");
        }
        let about = given.iter().find(|(given, _, _)| *given == key);
        if let Some((_, _, about)) = about
            && !about.is_empty()
        {
            let _ = writeln!(text, "# {about}");
        }
        let unset = if value == "unset" { "# " } else { "" };
        let _ = writeln!(text, "{unset}{name} = {value}");
    }
    Ok(text)
}

fn is_of_name_servers(key: &str) -> bool {
    OF_NAME_SERVERS.iter().any(|begin| key.starts_with(begin))
}

fn given(plan: &Plan, member: &Member) -> Vec<Given> {
    let address = member.address().to_string();
    let data = |about| ("store.data_dir", "data".to_owned(), about);
    let Part::Broker { set, id } = &member.part else {
        let about = "It has nothing in there but the file by which its process is found.";
        return vec![("name_server.listen", address, ""), data(about)];
    };
    let name = match id {
        0 => "A master and its slaves have one name.",
        _ => "The name of the master that it follows.",
    };
    let (role, about_role) = role(plan, set, *id);
    vec![
        ("broker.name", set.clone(), name),
        ("broker.id", id.to_string(), ""),
        ("broker.role", role.to_owned(), about_role),
        ("broker.listen", address, ""),
        (
            "broker.name_servers",
            plan.name_servers(),
            "It registers with each of them.",
        ),
        data("`castmq store` looks into this folder while the broker does not run."),
        (
            "store.commit_log_segment_bytes",
            SEGMENT_BYTES.to_string(),
            "Small: every broker of this machine reserves one when it starts. Without this it has 1 GiB.",
        ),
        (
            "store.flush",
            "async".to_owned(),
            "\"async\": a crash of the machine loses what the last half second brought. \"sync\": what is acknowledged is on disk.",
        ),
        (
            "replication.ha_listen_port",
            member.port.saturating_add(1).to_string(),
            "",
        ),
    ]
}

fn role(plan: &Plan, set: &str, id: u32) -> (&'static str, &'static str) {
    match (id, plan.replication) {
        (1.., _) => ("slave", ""),
        // It would tell each producer that it has no slave.
        (0, _) if !plan.has_slaves(set) => ("async_master", "It has no slaves to wait for."),
        (0, Replication::Async) => (
            "async_master",
            "It does not wait for slaves before it answers.",
        ),
        (0, Replication::Sync) => (
            "sync_master",
            "A slave has a message before it is acknowledged.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::ports::Ports;
    use super::super::shape::Shape;
    use super::*;

    fn cluster(replication: Replication, slaves: u8, settings: &[(&str, &str)]) -> Cluster {
        let shape = Shape {
            name_servers: 1,
            masters: 1,
            slaves,
        };
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let settings = settings.iter().map(owned).collect();
        Cluster {
            folder: PathBuf::from("/c"),
            plan: Plan::new(shape, replication, settings, &mut Ports::default()).unwrap(),
        }
    }

    fn written(cluster: &Cluster, name: &str) -> Result<String, ClusterError> {
        text(cluster, cluster.member(name).unwrap())
    }

    #[test]
    fn a_members_file_says_what_it_is_and_takes_further_settings() {
        let settings = [
            ("store.commit_log_segment_bytes", "8388608"),
            ("name_server.scan_interval_ms", "100"),
            ("broker.machine_room", "a \"b\""),
        ];
        let cluster = cluster(Replication::Sync, 1, &settings);
        let master = written(&cluster, "broker-a").unwrap();
        for line in [
            "# broker-a, a master of the cluster in /c, made by `castmq cluster up`.",
            "[broker]",
            "role = \"sync_master\"",
            "machine_room = \"a \\\"b\\\"\"",
            "commit_log_segment_bytes = 8388608",
            "data_dir = \"data\"",
        ] {
            assert!(
                master.lines().any(|there| there == line),
                "{line}: {master}"
            );
        }
        let slave = written(&cluster, "broker-a-s").unwrap();
        assert!(slave.contains("id = 1\n"), "{slave}");
        assert!(slave.contains("role = \"slave\"\n"), "{slave}");
        let name_server = written(&cluster, "namesrv-1").unwrap();
        assert!(
            name_server.contains("scan_interval_ms = 100"),
            "{name_server}"
        );
        assert!(!name_server.contains("segment"), "{name_server}");
    }

    #[test]
    fn a_master_without_slaves_waits_for_none() {
        let master =
            |replication, slaves| written(&cluster(replication, slaves, &[]), "broker-a").unwrap();
        assert!(master(Replication::Sync, 0).contains("\"async_master\""));
        assert!(master(Replication::Async, 1).contains("\"async_master\""));
    }

    #[test]
    fn wrong_settings_are_told_with_the_member_that_they_do_not_fit() {
        let wrong = cluster(Replication::Sync, 0, &[("stor.flush", "sync")]);
        let error = written(&wrong, "broker-a").unwrap_err().to_string();
        assert!(
            error.contains("broker-a") && error.contains("store.flush"),
            "{error}"
        );
    }

    #[test]
    fn what_the_cluster_says_itself_cannot_be_set() {
        for (key, _) in RESERVED {
            assert!(castmq_config::find_key(key).is_some(), "{key}");
            assert!(check(key).is_err(), "{key}");
        }
        assert!(check("store.flush").is_ok());
    }
}
