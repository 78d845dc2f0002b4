//! Starting and stopping members.

use std::fs;
use std::time::{Duration, Instant};

use super::folder::{Cluster, failed};
use super::plan::Member;
use super::process::{self, Condition, Found};
use super::starting::Starting;
use super::{ClusterError, config_file, port_owner, ports, seen};
use crate::tools::{ToolError, block_on, print};

/// How long to wait for members, in seconds, when nothing else is said.
pub(super) const WAIT_S: u64 = 60;

/// Starts those that do not run, continues those that are suspended, and waits until all of them are ready and known.
///
/// # Errors
///
/// What kept one from it, or that one has ended since.
pub(super) fn start(
    cluster: &Cluster,
    members: &[&Member],
    wait: Duration,
) -> Result<(), ToolError> {
    let found = process::find_all(cluster, members)?;
    let suspended = found
        .iter()
        .filter(|found| found.condition == Condition::Suspended);
    for server in suspended.filter_map(|found| found.server.as_ref()) {
        server
            .signal(rustix::process::Signal::CONT)
            .map_err(|source| ToolError::System {
                action: "continue a server",
                source,
            })?;
    }
    let down = found.iter().filter(|found| found.server.is_none());
    let down: Vec<&Member> = down.map(|found| found.member).collect();
    for member in &down {
        prepare(cluster, member)?;
    }
    // Brokers find name servers that are there.
    let (name_servers, brokers): (Vec<&Member>, Vec<_>) =
        down.iter().partition(|member| member.part.is_name_server());
    start_together(cluster, &name_servers, wait)?;
    start_together(cluster, &brokers, wait)?;
    block_on(seen::until_registered(cluster, members, wait))?;
    let found = process::find_all(cluster, members)?;
    match process::down(&found).as_slice() {
        [] => Ok(()),
        names => Err(cluster.some_down(names).into()),
    }
}

fn start_together(cluster: &Cluster, members: &[&Member], wait: Duration) -> Result<(), ToolError> {
    let began = Instant::now();
    let starting = members
        .iter()
        .map(|member| Starting::spawn(cluster, member));
    for starting in starting.collect::<Result<Vec<_>, _>>()? {
        let name = &starting.member.name;
        starting.until_ready(wait.saturating_sub(began.elapsed()))?;
        let seconds = began.elapsed().as_secs_f64();
        print::text(format!("{name} is ready after {seconds:.2} s"))?;
    }
    Ok(())
}

/// Writes what a member needs that is not there yet, and sees to it that nobody has its ports.
fn prepare(cluster: &Cluster, member: &Member) -> Result<(), ToolError> {
    let path = cluster.config_of(member);
    if !path.exists() {
        let text = config_file::text(cluster, member)?;
        let folder = cluster.folder_of(member);
        fs::create_dir_all(&folder).map_err(failed("make the folder", &folder))?;
        fs::write(&path, text).map_err(failed("write", &path))?;
    }
    let its_ports = member.port..member.port.saturating_add(member.part.ports());
    match its_ports.into_iter().find(|port| ports::is_taken(*port)) {
        None => Ok(()),
        Some(port) => Err(ClusterError::PortTaken {
            port,
            member: member.name.clone(),
            owner: port_owner::owner(port).unwrap_or_else(|| {
                format!("a process of another user (`sudo ss -ltnp sport = :{port}` names it)")
            }),
        }
        .into()),
    }
}

/// Stops those that run, gracefully: masters before their slaves, which still get what those owe, and name servers last.
/// Returns how many ran.
pub(super) fn stop(
    cluster: &Cluster,
    members: &[&Member],
    wait: Duration,
) -> Result<usize, ToolError> {
    let mut stopped = 0;
    let mut late = Vec::new();
    let kinds: [fn(&Member) -> bool; 3] = [
        |member| member.part.is_master(),
        |member| !member.part.is_master() && !member.part.is_name_server(),
        |member| member.part.is_name_server(),
    ];
    for is_one in kinds {
        let those: Vec<_> = members
            .iter()
            .copied()
            .filter(|member| is_one(member))
            .collect();
        let ended = stop_together(cluster, &those, wait)?;
        stopped += ended.stopped;
        late.extend(ended.late);
    }
    match late.first() {
        None => Ok(stopped),
        Some((first, _)) => {
            let shown = late
                .iter()
                .map(|(name, pid)| format!("{name} (process {pid})"));
            Err(ClusterError::StillRunning {
                names: shown.collect::<Vec<_>>().join(", "),
                first: first.clone(),
                seconds: wait.as_secs(),
                folder: cluster.folder.clone(),
            }
            .into())
        }
    }
}

/// What became of members that were asked to stop.
struct Ended {
    stopped: usize,
    /// Those that run still, by name and process.
    late: Vec<(String, i32)>,
}

fn stop_together(
    cluster: &Cluster,
    members: &[&Member],
    wait: Duration,
) -> Result<Ended, ToolError> {
    let began = Instant::now();
    let failed = |action| move |source| ToolError::System { action, source };
    let found = process::find_all(cluster, members)?;
    let running = |found: Found<'_>| Some((found.member.name.clone(), found.server?));
    let running: Vec<_> = found.into_iter().filter_map(running).collect();
    for (_, server) in &running {
        process::terminate(server).map_err(failed("stop a server"))?;
    }
    let mut ended = Ended {
        stopped: 0,
        late: Vec::new(),
    };
    for (name, server) in running {
        let left = wait.saturating_sub(began.elapsed());
        if !server.wait(left).map_err(failed("wait for a server"))? {
            ended.late.push((name, server.pid()));
            continue;
        }
        ended.stopped += 1;
        let seconds = began.elapsed().as_secs_f64();
        print::text(format!("{name} stopped in {seconds:.2} s"))?;
    }
    Ok(ended)
}
