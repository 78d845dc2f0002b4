//! Whether slaves have what their masters have.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use castmq_client::Error;
use castmq_client::raw::admin::BrokerDetails;
use serde::Serialize;

use super::ClusterError;
use super::folder::Cluster;
use super::plan::Member;
use super::process::{self, Condition, Found};
use super::seen::Seen;
use super::shape::Part;
use crate::tools::{ToolError, print, time};

/// Pause between two questions whether all are in step.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What brokers say of themselves, by their addresses.
pub(super) type Details = BTreeMap<String, Result<BrokerDetails, Error>>;

/// How far a slave is behind its master, by that one's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    pub(super) behind_bytes: u64,
    pub(super) lag_ms: u64,
    pub(super) is_in_step: bool,
}

impl Step {
    /// In few words.
    pub(super) fn shown(self) -> String {
        match self.is_in_step {
            true => "in step".to_owned(),
            false => format!(
                "{} behind, {}",
                time::show_duration(self.lag_ms),
                print::counted(self.behind_bytes, "byte")
            ),
        }
    }
}

/// The slaves that follow, by their addresses.
pub(super) fn of_slaves(details: &Details) -> BTreeMap<String, Step> {
    let masters = details.values().filter_map(|details| details.as_ref().ok());
    let slaves = masters.flat_map(|master| {
        let end = master.log_appended;
        let slaves = master.replication.slaves.iter();
        slaves.map(move |slave| {
            let step = Step {
                behind_bytes: end.0.saturating_sub(slave.acknowledged.0),
                lag_ms: slave.lag_ms,
                is_in_step: slave.is_in_step,
            };
            (slave.address.clone(), step)
        })
    });
    slaves.collect()
}

/// Waits until the slaves of all sets that any of these belongs to are in step with their masters, as far as both run.
pub(super) async fn until_in_step(
    cluster: &Cluster,
    members: &[&Member],
    wait: Duration,
) -> Result<(), ToolError> {
    let sets: Vec<_> = members.iter().filter_map(|member| set(member)).collect();
    let deadline = Instant::now() + wait;
    loop {
        let found = process::find_all(cluster, &cluster.all())?;
        let details = Seen::ask(&found).await.all_details(&found).await;
        let missing: Vec<_> = sets
            .iter()
            .flat_map(|set| missing_in(set, &found, &details))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(ClusterError::NotInStep {
                seconds: wait.as_secs(),
                missing: missing.join(", "),
                folder: cluster.folder.clone(),
            }
            .into());
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

fn set(member: &Member) -> Option<&str> {
    match &member.part {
        Part::NameServer => None,
        Part::Broker { set, .. } => Some(set),
    }
}

/// Brokers of a set that run and are neither its master nor in step with it. Where there is no master nobody is missing.
fn missing_in(its: &str, found: &[Found<'_>], details: &Details) -> Vec<String> {
    let running = found
        .iter()
        .filter(|found| set(found.member) == Some(its) && found.condition == Condition::Running);
    let brokers: Vec<_> = running
        .map(|found| {
            let address = found.member.address().to_string();
            let details = details.get(&address).and_then(|known| known.as_ref().ok());
            (&found.member.name, address, details)
        })
        .collect();
    let masters = brokers.iter().filter_map(|(_, address, details)| {
        let standing = &details.as_ref()?.replication;
        (standing.role != "slave").then_some((standing.epoch, address))
    });
    // One of before that has not heard yet that it is none any more has a lesser epoch.
    let master = masters.max().map(|(_, address)| address);
    let in_step = of_slaves(details);
    let is_missing = |(_, address, details): &&(&String, String, Option<&BrokerDetails>)| {
        let is_in_step = || in_step.get(address).is_some_and(|step| step.is_in_step);
        details.is_none() || master.is_some_and(|master| master != address && !is_in_step())
    };
    let missing = brokers.iter().filter(is_missing);
    missing.map(|(name, _, _)| (*name).clone()).collect()
}

#[cfg(test)]
mod tests {
    use castmq_client::model::PhysicalOffset;
    use castmq_client::raw::admin::{ReplicationDetails, SlaveDetails};

    use super::*;

    const MASTER: u16 = 1000;
    const SLAVE: u16 = 2000;

    fn members() -> [Member; 2] {
        [(0, MASTER), (1, SLAVE)].map(|(id, port)| Member {
            name: format!("b{id}"),
            part: Part::Broker {
                set: "b".into(),
                id,
            },
            port,
        })
    }

    fn running(members: &[Member]) -> Vec<Found<'_>> {
        let found = members.iter().map(|member| Found {
            member,
            condition: Condition::Running,
            server: None,
            uptime: None,
        });
        found.collect()
    }

    fn says(port: u16, role: &str, epoch: u32, slave: Option<(u16, bool)>) -> (String, Details) {
        let slaves = slave.map(|(port, is_in_step)| SlaveDetails {
            address: format!("127.0.0.1:{port}"),
            acknowledged: PhysicalOffset(60),
            lag_ms: 1500,
            is_in_step,
            ..SlaveDetails::default()
        });
        let details = BrokerDetails {
            log_appended: PhysicalOffset(100),
            replication: ReplicationDetails {
                role: role.to_owned(),
                epoch,
                slaves: slaves.into_iter().collect(),
                ..ReplicationDetails::default()
            },
            ..BrokerDetails::default()
        };
        let address = format!("127.0.0.1:{port}");
        (address.clone(), Details::from([(address, Ok(details))]))
    }

    fn missing(said: [(String, Details); 2]) -> Vec<String> {
        let members = members();
        let details = said.into_iter().flat_map(|(_, details)| details).collect();
        missing_in("b", &running(&members), &details)
    }

    #[test]
    fn a_slave_is_missing_until_its_master_says_that_it_is_in_step() {
        let slave = || says(SLAVE, "slave", 1, None);
        assert_eq!(
            missing([says(MASTER, "sync_master", 1, None), slave()]),
            ["b1"]
        );
        let late = says(MASTER, "sync_master", 1, Some((SLAVE, false)));
        let step = of_slaves(&late.1)[&format!("127.0.0.1:{SLAVE}")];
        assert_eq!(step.shown(), "1.5s behind, 40 bytes");
        assert_eq!(missing([late, slave()]), ["b1"]);
        let in_step = says(MASTER, "sync_master", 1, Some((SLAVE, true)));
        assert_eq!(missing([in_step, slave()]), Vec::<String>::new());
    }

    #[test]
    fn a_master_of_before_is_missing_until_it_follows_the_new_one() {
        let promoted = |slave| says(SLAVE, "sync_master", 2, slave);
        let before = says(MASTER, "sync_master", 1, None);
        assert_eq!(missing([before, promoted(None)]), ["b0"]);
        let follows = says(MASTER, "slave", 2, None);
        let promoted = promoted(Some((MASTER, true)));
        assert_eq!(missing([follows, promoted]), Vec::<String>::new());
    }

    #[test]
    fn slaves_without_a_master_are_not_waited_for() {
        let slaves = [
            says(MASTER, "slave", 2, None),
            says(SLAVE, "slave", 2, None),
        ];
        assert_eq!(missing(slaves), Vec::<String>::new());
    }
}
