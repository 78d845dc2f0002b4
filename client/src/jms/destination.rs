//! Where messages are sent and received.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use castmq_protocol::model::{DEAD_LETTER_PREFIX, RETRY_PREFIX, TopicName, system_topics};

use super::error::{Error, Result};

/// Begins the topics of temporary destinations.
pub(super) const TEMPORARY_PREFIX: &str = "JMS_TEMPORARY_";

/// Where messages are sent and received. Both kinds are topics of the broker's: what differs is how they are consumed.
///
/// # Examples
///
/// ```
/// use castmq_client::jms::Destination;
///
/// # fn main() -> castmq_client::jms::Result<()> {
/// let orders = Destination::queue("orders")?;
/// assert_eq!(orders.to_string(), "queue:orders");
/// assert_eq!("queue:orders".parse::<Destination>()?, orders);
/// assert!(Destination::topic("no blanks").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    kind: Kind,
    name: Arc<str>,
    is_temporary: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Queue,
    Topic,
}

impl Destination {
    /// Point-to-point: each message is consumed by one of the consumers, and is kept until then.
    ///
    /// # Errors
    ///
    /// When the name breaks the rules for topic names, or belongs to the broker.
    pub fn queue(name: &str) -> Result<Self> {
        Self::checked(Kind::Queue, name, false)
    }

    /// Publish and subscribe: each message goes to every subscription.
    ///
    /// # Errors
    ///
    /// When the name breaks the rules for topic names, or belongs to the broker.
    pub fn topic(name: &str) -> Result<Self> {
        Self::checked(Kind::Topic, name, false)
    }

    pub(super) fn temporary_queue(name: &str) -> Result<Self> {
        Self::checked(Kind::Queue, name, true)
    }

    pub(super) fn temporary_topic(name: &str) -> Result<Self> {
        Self::checked(Kind::Topic, name, true)
    }

    fn checked(kind: Kind, name: &str, is_temporary: bool) -> Result<Self> {
        let destination = Self {
            kind,
            name: name.into(),
            is_temporary,
        };
        let refused = |reason: String| Err(Error::destination(&destination, reason));
        if let Err(error) = TopicName::new(name) {
            return refused(error.to_string());
        }
        let is_derived = name.starts_with(RETRY_PREFIX) || name.starts_with(DEAD_LETTER_PREFIX);
        if system_topics::is_system(name) || is_derived {
            return refused("its topic belongs to the broker: choose another name".to_owned());
        }
        if is_temporary != name.starts_with(TEMPORARY_PREFIX) {
            return refused(format!(
                "names that begin with {TEMPORARY_PREFIX} are those of temporary destinations: choose another name"
            ));
        }
        Ok(destination)
    }

    /// Its name, which is its topic's.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn shared_name(&self) -> Arc<str> {
        self.name.clone()
    }

    /// Whether it is a queue; otherwise it is a topic.
    pub fn is_queue(&self) -> bool {
        self.kind == Kind::Queue
    }

    /// Whether it lives as long as the connection that made it.
    pub fn is_temporary(&self) -> bool {
        self.is_temporary
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let life = if self.is_temporary { "temporary-" } else { "" };
        let kind = match self.kind {
            Kind::Queue => "queue",
            Kind::Topic => "topic",
        };
        write!(f, "{life}{kind}:{}", self.name)
    }
}

impl FromStr for Destination {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some(("queue", name)) => Self::queue(name),
            Some(("topic", name)) => Self::topic(name),
            Some(("temporary-queue", name)) => Self::temporary_queue(name),
            Some(("temporary-topic", name)) => Self::temporary_topic(name),
            _ => Err(Error::InvalidDestination {
                destination: text.into(),
                reason: "it begins with queue: or topic: and goes on with a name".into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_destination_are_the_same() {
        for text in [
            "queue:orders",
            "topic:prices",
            "temporary-queue:JMS_TEMPORARY_1",
            "temporary-topic:JMS_TEMPORARY_2",
        ] {
            let destination: Destination = text.parse().unwrap();
            assert_eq!(destination.to_string(), text);
            assert_eq!(destination.is_queue(), text.contains("queue"));
            assert_eq!(destination.is_temporary(), text.starts_with("temporary"));
        }
    }

    #[test]
    fn what_is_no_destination_is_refused_with_its_name() {
        for text in [
            "orders",
            "",
            "queue:",
            "queue:a b",
            "queue:%DLQ%g",
            "topic:SCHEDULE_TOPIC_XXXX",
            "queue:JMS_TEMPORARY_1",
            "temporary-queue:orders",
        ] {
            let error = text.parse::<Destination>().unwrap_err();
            assert!(
                matches!(error, Error::InvalidDestination { .. }),
                "{text}: {error}"
            );
            assert!(error.to_string().contains(text), "{text}: {error}");
        }
    }
}
