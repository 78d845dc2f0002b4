//! What a cluster's name servers say about its brokers, and its brokers about themselves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use castmq_client::raw::admin::BrokerDetails;
use castmq_client::raw::route::BrokerSet;
use castmq_client::{Client, Error};
use tokio::task::JoinSet;

use super::ClusterError;
use super::folder::Cluster;
use super::plan::Member;
use super::process::{self, Condition, Found};
use super::shape::Part;
use crate::tools::{ToolError, print};

/// How long one of them may take to answer. They are on this machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Pause between two questions whether all are registered.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// The answers of name servers.
#[derive(Debug)]
pub(super) struct Seen {
    /// Of each name server that runs: its name, and the brokers it knows, or none while it does not answer.
    by_name_server: Vec<(String, Vec<BrokerSet>)>,
    /// One that answered.
    client: Option<Client>,
}

impl Seen {
    /// Asks the name servers that run, all at once.
    pub(super) async fn ask(found: &[Found<'_>]) -> Self {
        let mut asked = JoinSet::new();
        for (member, address) in running(found, Part::is_name_server) {
            asked.spawn(async move {
                let answer = brokers(address).await;
                (member, answer)
            });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut seen = Self {
            by_name_server: Vec::new(),
            client: None,
        };
        for (member, answer) in answers {
            let sets = answer.map(|(client, sets)| {
                seen.client.get_or_insert(client);
                sets
            });
            seen.by_name_server.push((member, sets.unwrap_or_default()));
        }
        seen
    }

    /// Name servers that were asked.
    pub(super) fn name_servers(&self) -> usize {
        self.by_name_server.len()
    }

    /// Name servers that know a broker.
    pub(super) fn registrations(&self, address: &str) -> usize {
        let sets = self.by_name_server.iter().map(|(_, sets)| sets);
        sets.filter(|sets| id_of(sets, address).is_some()).count()
    }

    /// What a broker is to those that know it, `master` or `slave` with its number; several where they differ.
    pub(super) fn role(&self, address: &str) -> Option<String> {
        let sets = self.by_name_server.iter().map(|(_, sets)| sets);
        let ids: BTreeSet<_> = sets.filter_map(|sets| id_of(sets, address)).collect();
        let roles: Vec<_> = ids
            .iter()
            .map(|id| match id {
                0 => "master".to_owned(),
                id => format!("slave {id}"),
            })
            .collect();
        (!roles.is_empty()).then(|| roles.join(", "))
    }

    /// What a broker says of itself; `None` when no name server answers either.
    pub(super) async fn details(&self, address: &str) -> Option<Result<BrokerDetails, Error>> {
        let client = self.client.as_ref()?;
        Some(client.admin().at(address).show_broker().await)
    }

    /// Brokers that run and are not known to all name servers that run. Pairs that none of `concerned` is in are passed over.
    fn missing(&self, found: &[Found<'_>], concerned: &[&Member]) -> Vec<String> {
        let is_concerned = |name: &str| concerned.iter().any(|member| member.name == name);
        let of_one = |(name_server, sets): &(String, Vec<BrokerSet>)| {
            let brokers = running(found, |part| !part.is_name_server());
            let unknown = brokers.filter(|(broker, address)| {
                let is_asked = is_concerned(broker) || is_concerned(name_server);
                is_asked && id_of(sets, address).is_none()
            });
            let unknown = unknown.map(|(broker, _)| format!("{broker} at {name_server}"));
            unknown.collect::<Vec<_>>()
        };
        self.by_name_server.iter().flat_map(of_one).collect()
    }
}

/// Waits until these are registered, as far as they run, and all others with those that are name servers.
pub(super) async fn until_registered(
    cluster: &Cluster,
    members: &[&Member],
    wait: Duration,
) -> Result<(), ToolError> {
    let deadline = Instant::now() + wait;
    loop {
        let found = process::find_all(cluster, &cluster.all())?;
        let missing = Seen::ask(&found).await.missing(&found, members);
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let count = print::counted(missing.len() as u64, "registration");
            return Err(ClusterError::NotRegistered {
                seconds: wait.as_secs(),
                missing: format!("{count} did not come: {}", missing.join(", ")),
                folder: cluster.folder.clone(),
            }
            .into());
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

fn running<'a>(
    found: &'a [Found<'_>],
    is_one: impl Fn(&Part) -> bool + 'a,
) -> impl Iterator<Item = (String, String)> + 'a {
    let those = found
        .iter()
        .filter(move |found| found.condition == Condition::Running && is_one(&found.member.part));
    those.map(|found| {
        (
            found.member.name.clone(),
            found.member.address().to_string(),
        )
    })
}

async fn brokers(name_server: String) -> Result<(Client, Vec<BrokerSet>), Error> {
    let client = Client::builder()
        .name_servers([name_server])
        .connect_timeout(ANSWER_WITHIN)
        .request_timeout(ANSWER_WITHIN)
        .build()
        .await?;
    let sets = client.admin().brokers().await?;
    Ok((client, sets))
}

/// The number under which an address is known.
fn id_of(sets: &[BrokerSet], address: &str) -> Option<u64> {
    let mut all = sets.iter().flat_map(|set| &set.addresses);
    let (id, _) = all.find(|(_, its)| its == address)?;
    Some(*id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(addresses: &[(u64, &str)]) -> Vec<BrokerSet> {
        let owned = |(id, address): &(u64, &str)| (*id, (*address).to_owned());
        vec![BrokerSet {
            cluster: "c".into(),
            name: "broker-a".into(),
            addresses: addresses.iter().map(owned).collect(),
        }]
    }

    #[test]
    fn name_servers_that_differ_about_a_broker_are_both_shown() {
        let seen = Seen {
            by_name_server: vec![
                ("namesrv-1".into(), set(&[(0, "one"), (1, "two")])),
                ("namesrv-2".into(), set(&[(0, "two")])),
            ],
            client: None,
        };
        assert_eq!(seen.role("one").as_deref(), Some("master"));
        assert_eq!(seen.role("two").as_deref(), Some("master, slave 1"));
        assert_eq!(seen.role("three"), None);
        assert_eq!(
            (seen.registrations("one"), seen.registrations("two")),
            (1, 2)
        );
    }
}
