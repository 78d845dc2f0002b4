//! The producers that wait for replies to their requests, by client id.

use bytes::Bytes;
use castmq_protocol::native::Failure as Refusal;

use super::registry::Registry;
use crate::supervision::{Mailbox, Reply};

/// Hands a reply to its requester.
#[derive(Debug)]
pub(crate) struct PushReply {
    /// The reply as a record.
    pub(crate) record: Bytes,
    /// Who hears whether it was waited for.
    pub(crate) outcome: Reply<Result<(), Refusal>>,
}

/// Those that are connected: at most one for each connection.
pub(crate) type Requesters = Registry<String, PushReply>;

impl Requesters {
    /// The requester with this client id. The latest where several have it: those before it may be connections that are
    /// lost, and nobody has noticed yet.
    pub(crate) fn find(&self, client_id: &str) -> Option<Mailbox<PushReply>> {
        self.latest(client_id)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn push(requesters: &Requesters, client_id: &str) -> bool {
        let push = PushReply {
            record: Bytes::new(),
            outcome: Reply::to_fn(|_| {}),
        };
        requesters
            .find(client_id)
            .is_some_and(|found| found.tell(push))
    }

    #[test]
    fn the_latest_of_one_client_gets_its_replies_and_when_it_goes_the_one_before() {
        let requesters = Requesters::default();
        let (sender, heard) = mpsc::channel();
        let requester = |number| {
            let sender = sender.clone();
            Mailbox::from_fn(move |_: PushReply| sender.send(number).is_ok())
        };
        let first = requesters.add("a".to_owned(), requester(1));
        let second = requesters.add("a".to_owned(), requester(2));
        requesters.add("b".to_owned(), requester(3));
        assert!(push(&requesters, "a"));
        requesters.remove("a", second);
        assert!(push(&requesters, "a"));
        requesters.remove("a", first);
        assert!(!push(&requesters, "a"));
        assert!(push(&requesters, "b"));
        drop(sender);
        drop(requesters);
        assert_eq!(heard.iter().collect::<Vec<_>>(), [2, 1, 3]);
    }
}
