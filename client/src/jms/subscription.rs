//! Groups in which queues and subscriptions are consumed, and who consumes them here.

use std::fmt::Write;
use std::sync::{Arc, Weak};

use castmq_protocol::model::GroupName;

use super::connection::ConnectionCore;
use super::error::{Error, Result};

/// The group that consumes all queues.
pub(super) const QUEUE_GROUP: &str = "JMS-queue";

/// The group in whose name topics are read by subscriptions that are not durable, and queues are browsed; it keeps nothing.
pub(super) const READER_GROUP: &str = "JMS-reader";

/// A group for a durable subscription, which belongs to a client id when there is one.
pub(super) fn durable(client_id: Option<&str>, name: &str) -> Result<Arc<str>> {
    named(&["durable", client_id.unwrap_or_default(), name])
}

/// A group for a shared subscription that is not durable.
pub(super) fn shared(client_id: Option<&str>, name: &str) -> Result<Arc<str>> {
    named(&["shared", client_id.unwrap_or_default(), name])
}

/// Parts with a hyphen between; what a group name cannot have, and hyphens, are written as `%` and two digits.
fn named(parts: &[&str]) -> Result<Arc<str>> {
    let mut group = "JMS".to_owned();
    for part in parts {
        group.push('-');
        for byte in part.bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'_' {
                group.push(byte.into());
            } else {
                // Writing to a string cannot fail.
                let _ = write!(group, "%{byte:02X}");
            }
        }
    }
    if parts.last().is_some_and(|name| name.is_empty()) {
        return Err(Error::state("a subscription has no name: give it one"));
    }
    match GroupName::new(&group) {
        Ok(_) => Ok(group.into()),
        Err(error) => Err(Error::state(format!(
            "client id and subscription name make a group name that is refused: {error}"
        ))),
    }
}

/// Who consumes a subscription on this connection.
#[derive(Debug)]
pub(super) struct Active {
    consumers: usize,
    is_shared: bool,
}

/// A place among the consumers of a subscription.
#[derive(Debug)]
pub(super) struct Place {
    connection: Weak<ConnectionCore>,
    group: Arc<str>,
}

impl Place {
    /// # Errors
    ///
    /// [`Error::IllegalState`] when the subscription has a consumer and is not shared.
    pub(super) fn take(
        connection: &Arc<ConnectionCore>,
        group: &Arc<str>,
        is_shared: bool,
    ) -> Result<Self> {
        let mut active = connection.active.lock();
        let entry = active.entry(group.clone()).or_insert(Active {
            consumers: 0,
            is_shared,
        });
        if entry.consumers > 0 && !(entry.is_shared && is_shared) {
            return Err(Error::state(format!(
                "the subscription has a consumer already, which does not share it: close that one first (group {group})"
            )));
        }
        entry.consumers += 1;
        entry.is_shared = is_shared;
        Ok(Self {
            connection: Arc::downgrade(connection),
            group: group.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(connection) = self.connection.upgrade() else {
            return;
        };
        let mut active = connection.active.lock();
        if let Some(entry) = active.get_mut(&self.group) {
            entry.consumers -= 1;
            if entry.consumers == 0 {
                active.remove(&self.group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_subscriptions_have_different_groups() {
        let groups = [
            durable(Some("app"), "prices").unwrap(),
            durable(None, "prices").unwrap(),
            durable(Some("app-prices"), "x").unwrap(),
            durable(Some("app"), "prices-x").unwrap(),
            shared(Some("app"), "prices").unwrap(),
            durable(Some("größe"), "a b").unwrap(),
        ];
        let texts: Vec<_> = groups.iter().map(|group| &**group).collect();
        assert_eq!(
            texts,
            [
                "JMS-durable-app-prices",
                "JMS-durable--prices",
                "JMS-durable-app%2Dprices-x",
                "JMS-durable-app-prices%2Dx",
                "JMS-shared-app-prices",
                "JMS-durable-gr%C3%B6%C3%9Fe-a%20b",
            ]
        );
    }

    #[test]
    fn names_that_make_no_group_are_refused() {
        assert!(durable(Some("app"), "").is_err());
        let error = durable(Some("app"), &"x".repeat(200)).unwrap_err();
        assert!(error.to_string().contains("the limit is 120"), "{error}");
    }
}
