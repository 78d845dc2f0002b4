//! The brokers of a cluster, asked one by one.

use castmq_client::raw::route::BrokerSet;
use castmq_client::{Admin, BrokerAdmin, Error, ErrorCode};
use serde_json::json;

use crate::tools::{ToolError, print, remark};

/// A cluster as its name servers know it.
pub(super) struct Cluster {
    pub(super) admin: Admin,
    /// Where its name servers are, for messages.
    addresses: String,
}

/// A broker of it.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) cluster: String,
    pub(super) name: String,
    /// 0 for a master.
    pub(super) id: u64,
    pub(super) at: BrokerAdmin,
}

impl Cluster {
    pub(super) fn new(admin: Admin, addresses: &str) -> Self {
        Self {
            admin,
            addresses: addresses.to_owned(),
        }
    }

    /// All brokers, masters and slaves, sorted by cluster, name and id.
    pub(super) async fn brokers(&self) -> Result<Vec<Broker>, ToolError> {
        let sets = self.admin.brokers().await?;
        let in_set = |set: BrokerSet| {
            let addresses = set.addresses.clone().into_iter();
            addresses.map(move |(id, address)| Broker {
                cluster: set.cluster.clone(),
                name: set.name.clone(),
                id,
                at: self.admin.at(&address),
            })
        };
        let mut brokers: Vec<_> = sets.into_iter().flat_map(in_set).collect();
        brokers.sort_by(|one, other| {
            let key = |broker: &Broker| (broker.cluster.clone(), broker.name.clone(), broker.id);
            key(one).cmp(&key(other))
        });
        if brokers.is_empty() {
            return Err(ToolError::NoBrokers {
                addresses: self.addresses.clone(),
            });
        }
        Ok(brokers)
    }

    /// All masters, or the one of a name.
    pub(super) async fn masters(&self, only: Option<&str>) -> Result<Vec<Broker>, ToolError> {
        let mut brokers = self.brokers().await?;
        brokers.retain(|broker| broker.id == 0 && only.is_none_or(|name| broker.name == name));
        match only {
            Some(name) if brokers.is_empty() => Err(Error::BrokerNotFound {
                broker: name.into(),
            }
            .into()),
            _ if brokers.is_empty() => Err(ToolError::NoBrokers {
                addresses: self.addresses.clone(),
            }),
            _ => Ok(brokers),
        }
    }
}

/// Says what to do about what a broker refuses, where this side of the wire knows.
fn advise(error: Error) -> ToolError {
    match error.code() {
        Some(ErrorCode::TopicExists) => ToolError::Advised {
            error,
            advice: "change it with --update",
        },
        _ => error.into(),
    }
}

/// What brokers answered to one question.
pub(super) struct Answers<'a, T> {
    pub(super) given: Vec<(&'a Broker, T)>,
    failed: Vec<(&'a Broker, Error)>,
    asked: usize,
}

/// Asks each broker the same.
pub(super) async fn ask_each<T>(
    brokers: &[Broker],
    ask: impl AsyncFn(&Broker) -> Result<T, Error>,
) -> Answers<'_, T> {
    let mut answers = Answers {
        given: Vec::new(),
        failed: Vec::new(),
        asked: brokers.len(),
    };
    for broker in brokers {
        match ask(broker).await {
            Ok(answer) => answers.given.push((broker, answer)),
            Err(error) => answers.failed.push((broker, error)),
        }
    }
    answers
}

impl<'a, T> Answers<'a, T> {
    /// Leaves out brokers that do not have what was asked about.
    ///
    /// # Errors
    ///
    /// When none has it.
    pub(super) fn where_there(
        mut self,
        code: ErrorCode,
        what: &'static str,
        name: &str,
    ) -> Result<Self, ToolError> {
        self.failed.retain(|(_, error)| error.code() != Some(code));
        if self.given.is_empty() && self.failed.is_empty() {
            return Err(ToolError::NotThere {
                what,
                name: name.to_owned(),
            });
        }
        Ok(self)
    }

    /// Says which brokers failed. Returns the answers there are, and how the tool ends when they have been printed.
    pub(super) fn settle(mut self) -> (Vec<(&'a Broker, T)>, Result<(), ToolError>) {
        if self.asked == 1
            && let Some((_, error)) = self.failed.pop()
        {
            return (self.given, Err(advise(error)));
        }
        let failed = self.failed.len();
        for (broker, error) in self.failed {
            remark(&format!("castmq: {}: {}", broker.name, advise(error)));
        }
        let end = match failed {
            0 => Ok(()),
            failed => Err(ToolError::Partly {
                failed,
                asked: self.asked,
            }),
        };
        (self.given, end)
    }
}

/// Says on which brokers something was done with a topic or a group.
pub(super) fn report(
    what: &'static str,
    name: &str,
    done: &'static str,
    brokers: &[(&Broker, ())],
    as_json: bool,
) -> Result<(), ToolError> {
    let names: Vec<_> = brokers.iter().map(|(broker, ())| &*broker.name).collect();
    if names.is_empty() {
        return Ok(());
    }
    print::either(as_json, &json!({ what: name, done: names }), || {
        format!("{what} {name} {done} on {}\n", names.join(", "))
    })?;
    Ok(())
}
