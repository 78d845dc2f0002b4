//! A registration that comes in parts, since its topics do not fit one frame. Pure.

use castmq_protocol::native::route::RegisterBroker;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};

/// See the module. One connection's.
#[derive(Debug)]
pub(super) struct ReportParts {
    max_topics: usize,
    begun: Option<RegisterBroker>,
}

impl ReportParts {
    /// For registrations of so many topics.
    pub(super) fn new(max_topics: usize) -> Self {
        Self {
            max_topics,
            begun: None,
        }
    }

    /// Takes a part, and gives the whole with the last one. After an error the registration has to begin anew.
    pub(super) fn take(&mut self, part: RegisterBroker) -> Result<Option<RegisterBroker>, Refusal> {
        let more = part.topics.more;
        let whole = match self.begun.take() {
            None => part,
            Some(begun) => join(begun, part)?,
        };
        let topics = &whole.topics;
        if topics.changed.len().max(topics.removed.len()) > self.max_topics {
            return Err(too_many(self.max_topics));
        }
        if more {
            self.begun = Some(whole);
            return Ok(None);
        }
        Ok(Some(whole))
    }
}

fn join(mut begun: RegisterBroker, part: RegisterBroker) -> Result<RegisterBroker, Refusal> {
    if (begun.version, begun.topics.since) != (part.version, part.topics.since) {
        return Err(Refusal::safe(
            ErrorCode::InvalidRequest,
            "a registration that comes in parts has one version and one state that it builds on: begin it anew",
        ));
    }
    begun.topics.changed.extend(part.topics.changed);
    begun.topics.removed.extend(part.topics.removed);
    begun.topics.more = false;
    Ok(begun)
}

/// A broker has more topics than a name server takes.
pub(super) fn too_many(limit: usize) -> Refusal {
    Refusal::never(
        ErrorCode::LimitReached,
        format!(
            "the name server takes {limit} topics of one broker, which is its limits.max_topics, and two for each of its limits.max_groups: raise them there"
        ),
    )
}

#[cfg(test)]
mod tests {
    use castmq_protocol::native::route::{DataVersion, TopicsReport};

    use super::super::route_table::tests::{full, queues, register};
    use super::*;

    fn part(topics: &[&str], more: bool) -> RegisterBroker {
        let mut part = register("a", 0, 7, full(topics));
        part.topics.more = more;
        part
    }

    #[test]
    fn parts_count_as_one_when_the_last_is_there() {
        let mut parts = ReportParts::new(9);
        assert_eq!(parts.take(part(&["a"], true)), Ok(None));
        assert_eq!(parts.take(part(&["b", "c"], true)), Ok(None));
        let whole = parts.take(part(&["d"], false)).unwrap().unwrap();
        let expected = ["a", "b", "c", "d"].map(queues);
        assert_eq!(whole.topics.changed, expected);
        assert!(!whole.topics.more);
        let next = parts.take(part(&["e"], false)).unwrap().unwrap();
        assert_eq!(next.topics.changed.len(), 1);
    }

    #[test]
    fn parts_of_two_reports_are_not_mixed() {
        let mut parts = ReportParts::new(9);
        parts.take(part(&["a"], true)).unwrap();
        let mut other = part(&["b"], false);
        other.version.counter += 1;
        assert!(parts.take(other.clone()).is_err());
        assert!(parts.take(other.clone()).unwrap().is_some());
        parts.take(part(&["a"], true)).unwrap();
        other = part(&["b"], false);
        other.topics.since = Some(DataVersion::default());
        assert!(parts.take(other).is_err());
    }

    #[test]
    fn topics_beyond_the_limit_are_refused_however_they_come() {
        let mut parts = ReportParts::new(3);
        parts.take(part(&["a", "b"], true)).unwrap();
        let refusal = parts.take(part(&["c", "d"], true)).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::LimitReached);
        assert!(refusal.message.contains("limits.max_topics"));
        let mut gone = part(&[], false);
        gone.topics = TopicsReport {
            removed: vec!["t".into(); 4],
            ..TopicsReport::default()
        };
        assert!(parts.take(gone).is_err());
        assert!(parts.take(part(&["a", "b", "c"], false)).is_ok());
    }
}
