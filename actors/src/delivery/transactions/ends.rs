//! What sessions hand to `transactions`, and get back.

use castmq_protocol::model::GroupName;
use castmq_protocol::native::Failure as Refusal;
use castmq_protocol::native::request::EndTransaction;

use crate::supervision::Mailbox;

/// A transaction to be ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// The request's number on its connection.
    pub(crate) correlation: u64,
    pub(crate) end: EndTransaction,
    /// `None` while nothing is known.
    pub(crate) outcome: Option<Result<(), Box<Refusal>>>,
    /// Which request of its batch stores the message; none when the message is dropped.
    pub(super) record: Option<usize>,
}

impl Ending {
    pub(crate) fn new(correlation: u64, end: EndTransaction) -> Self {
        Self {
            correlation,
            end,
            outcome: None,
            record: None,
        }
    }
}

/// The transactions that one wake-up of a session brought to their end.
///
/// Dropping it, finished or not, sends them back with the outcomes they have by then: so a session hears of each of
/// them, whatever happens to the actors on the way.
#[derive(Debug)]
pub(crate) struct Ends {
    /// The producer's group.
    group: GroupName,
    session: Mailbox<Ended>,
    pub(super) endings: Vec<Ending>,
}

/// Transactions that came back.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) Vec<Ending>);

impl Ends {
    pub(crate) fn new(group: GroupName, session: Mailbox<Ended>, endings: Vec<Ending>) -> Self {
        Self {
            group,
            session,
            endings,
        }
    }

    pub(super) fn group(&self) -> &GroupName {
        &self.group
    }

    /// For the same session, with none.
    pub(super) fn apart(&self) -> Self {
        Self::new(self.group.clone(), self.session.clone(), Vec::new())
    }

    /// Takes one over.
    pub(super) fn take(&mut self, ending: &mut Ending) {
        let left = Ending::new(ending.correlation, ending.end);
        self.endings.push(std::mem::replace(ending, left));
    }

    /// Whether everything in it has an outcome.
    pub(super) fn is_over(&self) -> bool {
        self.endings.iter().all(|ending| ending.outcome.is_some())
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        if !self.endings.is_empty() {
            self.session.tell(Ended(std::mem::take(&mut self.endings)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use castmq_protocol::model::{PhysicalOffset, QueueOffset};
    use castmq_protocol::native::request::Resolution;

    use super::*;

    #[test]
    fn what_is_dropped_on_the_way_comes_back_without_an_outcome() {
        let (sender, back) = mpsc::channel();
        let session = Mailbox::from_fn(move |ended: Ended| sender.send(ended).is_ok());
        let end = EndTransaction {
            half: QueueOffset(1),
            place: PhysicalOffset(2),
            resolution: Resolution::Commit,
        };
        let group = GroupName::new("payments").unwrap();
        let ends = Ends::new(group, session, vec![Ending::new(7, end)]);
        drop((ends.apart(), ends));
        let Ended(endings) = back.recv().unwrap();
        assert_eq!(endings.len(), 1);
        assert_eq!(endings[0].correlation, 7);
        assert!(endings[0].outcome.is_none());
        assert!(back.recv().is_err(), "those without any say nothing");
    }
}
