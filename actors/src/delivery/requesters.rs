//! The producers that wait for replies to their requests, by client id.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use castmq_protocol::native::Failure as Refusal;
use parking_lot::RwLock;

use crate::supervision::{Mailbox, Reply};

/// Hands a reply to its requester.
#[derive(Debug)]
pub(crate) struct PushReply {
    /// The reply as a record.
    pub(crate) record: Bytes,
    /// Who hears whether it was waited for.
    pub(crate) outcome: Reply<Result<(), Refusal>>,
}

/// A requester's number.
pub(crate) type RequesterId = u64;

type Requester = (RequesterId, Mailbox<PushReply>);

/// Those that are connected: at most one for each connection.
#[derive(Debug, Default)]
pub(crate) struct Requesters {
    by_client: RwLock<HashMap<String, Vec<Requester>>>,
    next: AtomicU64,
}

impl Requesters {
    /// Adds a requester. It gets the replies to its client id from now on.
    pub(crate) fn add(&self, client_id: &str, requester: Mailbox<PushReply>) -> RequesterId {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut by_client = self.by_client.write();
        let requesters = by_client.entry(client_id.to_owned()).or_default();
        requesters.push((id, requester));
        id
    }

    /// A requester is gone.
    pub(crate) fn remove(&self, client_id: &str, id: RequesterId) {
        let mut by_client = self.by_client.write();
        if let Some(requesters) = by_client.get_mut(client_id) {
            requesters.retain(|(other, _)| *other != id);
            if requesters.is_empty() {
                by_client.remove(client_id);
            }
        }
    }

    /// The requester with this client id. The latest where several have it: those before it may be connections that are
    /// lost, and nobody has noticed yet.
    pub(crate) fn find(&self, client_id: &str) -> Option<Mailbox<PushReply>> {
        let by_client = self.by_client.read();
        let (_, requester) = by_client.get(client_id)?.last()?;
        Some(requester.clone())
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
        let first = requesters.add("a", requester(1));
        let second = requesters.add("a", requester(2));
        requesters.add("b", requester(3));
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
