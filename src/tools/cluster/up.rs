//! `castmq cluster up`.

use std::time::Duration;

use clap::Args;

use super::folder::Cluster;
use super::plan::{Plan, Replication};
use super::ports::Ports;
use super::running::{self, WAIT_S};
use super::shape::{MAX_MASTERS, MAX_NAME_SERVERS, MAX_SLAVES_PER_MASTER, Shape};
use super::{ClusterError, Place, config_file, status};
use crate::tools::{ToolError, print};

/// When nothing is said it is RocketMQ's 2m-2s-sync: two of each, and masters that wait for a slave but not for the disk.
const MASTERS: u8 = 2;
const NAME_SERVERS: u8 = 2;

const MOST_SLAVES: i64 = MAX_MASTERS as i64 * MAX_SLAVES_PER_MASTER as i64;

/// What the cluster is made of. Of one that is there, only what differs matters, and is refused.
#[derive(Debug, Clone, Args)]
pub(crate) struct UpFlags {
    #[command(flatten)]
    place: Place,
    /// How many masters [default: 2].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_MASTERS)))]
    masters: Option<u8>,
    /// How many slaves in all, spread over the masters [default: one for each].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=MOST_SLAVES))]
    slaves: Option<u8>,
    /// How many name servers [default: 2].
    #[arg(long = "namesrv", value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NAME_SERVERS)))]
    name_servers: Option<u8>,
    /// Whether a master that has slaves waits until one has a message before it acknowledges it [default: sync].
    #[arg(long, value_enum)]
    replication: Option<Replication>,
    /// A setting of all members, such as store.flush=sync; can be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_setting)]
    settings: Vec<(String, String)>,
    /// How many seconds to wait until members are ready, and again until brokers are registered.
    #[arg(long, value_name = "SECONDS", default_value_t = WAIT_S)]
    wait: u64,
}

pub(super) fn run(flags: &UpFlags) -> Result<(), ToolError> {
    let cluster = match Cluster::find(&flags.place.dir)? {
        Some(cluster) => flags.check(cluster)?,
        None => flags.make()?,
    };
    let turn = cluster.take_turn()?;
    running::start(&cluster, &cluster.all(), Duration::from_secs(flags.wait))?;
    drop(turn);
    let folder = cluster.folder.display();
    print::text(format!("cluster in {folder}: {}\n", cluster.plan.shape()))?;
    status::print(&cluster, false)?;
    Ok(print::text(next(&cluster))?)
}

impl UpFlags {
    fn make(&self) -> Result<Cluster, ToolError> {
        let masters = self.masters.unwrap_or(MASTERS);
        let shape = Shape {
            name_servers: self.name_servers.unwrap_or(NAME_SERVERS),
            masters,
            slaves: self.slaves.unwrap_or(masters),
        };
        for (key, _) in &self.settings {
            config_file::check(key)?;
        }
        let replication = self.replication.unwrap_or(Replication::Sync);
        let mut ports = Ports::default();
        let plan = Plan::new(
            shape.check()?,
            replication,
            self.settings.clone(),
            &mut ports,
        )?;
        let cluster = Cluster {
            folder: self.place.dir.clone(),
            plan,
        };
        // Nothing is left behind when settings are wrong.
        for member in &cluster.plan.members {
            config_file::text(&cluster, member)?;
        }
        Cluster::create(&cluster.folder, cluster.plan)
    }

    /// Sees to it that the cluster that is there is the one that was asked for.
    fn check(&self, cluster: Cluster) -> Result<Cluster, ClusterError> {
        let there = cluster.plan.shape();
        let numbers = [
            (self.name_servers, there.name_servers, "name server"),
            (self.masters, there.masters, "master"),
            (self.slaves, there.slaves, "slave"),
        ];
        for (asked, there, what) in numbers {
            if let Some(asked) = asked
                && asked != there
            {
                return Err(ClusterError::OtherShape {
                    folder: cluster.folder,
                    there: print::counted(there.into(), what),
                    asked: asked.to_string(),
                });
            }
        }
        let plan = &cluster.plan;
        let is_same_replication = self
            .replication
            .is_none_or(|asked| asked == plan.replication);
        let is_same =
            is_same_replication && (self.settings.is_empty() || self.settings == plan.settings);
        match is_same {
            true => Ok(cluster),
            false => Err(ClusterError::OtherSettings {
                there: described(plan),
                folder: cluster.folder,
            }),
        }
    }
}

/// The flags with which a cluster was made.
fn described(plan: &Plan) -> String {
    let replication = match plan.replication {
        Replication::Sync => "--replication sync",
        Replication::Async => "--replication async",
    };
    let settings = plan.settings.iter();
    settings.fold(replication.to_owned(), |text, (key, value)| {
        format!("{text} --set {key}={value}")
    })
}

/// What can be typed now.
fn next(cluster: &Cluster) -> String {
    let name_servers = cluster.plan.name_servers();
    let folder = cluster.folder.display();
    format!(
        "
castmq produce orders --body hello -n {name_servers}
castmq consume orders --group g -n {name_servers}
castmq admin cluster list -n {name_servers}
castmq cluster status --dir {folder}
castmq cluster kill broker-a --dir {folder}
castmq cluster restart broker-a --dir {folder}
castmq cluster down --dir {folder}"
    )
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not KEY=VALUE, such as store.flush=sync"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}
