//! Requests that wait for their replies.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::message::ReceivedMessage;

/// Ids that nobody can guess who has not seen the request: whoever knows one can reply to it.
#[derive(Debug, Default)]
struct CorrelationIds {
    /// Keyed at random by the standard library, which guards its maps with them against hostile keys.
    halves: [RandomState; 2],
    next: AtomicU64,
}

impl CorrelationIds {
    fn next(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let [first, second] = self.halves.each_ref().map(|half| half.hash_one(number));
        format!("{first:016x}{second:016x}")
    }
}

type Waiting = Mutex<HashMap<Arc<str>, oneshot::Sender<ReceivedMessage>>>;

/// The requests of one producer that wait for their replies.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    ids: CorrelationIds,
    waiting: Arc<Waiting>,
}

/// A request that waits. Dropped, it waits no more.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) correlation: Arc<str>,
    pub(super) reply: oneshot::Receiver<ReceivedMessage>,
    waiting: Arc<Waiting>,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.correlation);
    }
}

impl Outstanding {
    /// One more request, under an id of its own.
    pub(super) fn begin(&self) -> Awaited {
        let correlation: Arc<str> = self.ids.next().into();
        let (sender, reply) = oneshot::channel();
        self.waiting.lock().insert(correlation.clone(), sender);
        Awaited {
            correlation,
            reply,
            waiting: self.waiting.clone(),
        }
    }

    /// Gives a reply to the request that waits for it. Whether there was one.
    pub(super) fn settle(&self, correlation: &str, reply: ReceivedMessage) -> bool {
        let waiting = self.waiting.lock().remove(correlation);
        waiting.is_some_and(|request| request.send(reply).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::stored_record;

    fn reply(body: &[u8]) -> ReceivedMessage {
        ReceivedMessage::from_record(stored_record(0, body, b"", 0).into()).unwrap()
    }

    #[test]
    fn each_reply_finds_its_request_and_only_once() {
        let outstanding = Outstanding::default();
        let mut requests: Vec<_> = (0..100).map(|_| outstanding.begin()).collect();
        for (number, request) in requests.iter().enumerate().rev() {
            let body = number.to_string();
            assert!(outstanding.settle(&request.correlation, reply(body.as_bytes())));
            assert!(!outstanding.settle(&request.correlation, reply(b"again")));
        }
        for (number, request) in requests.iter_mut().enumerate() {
            let reply = request.reply.try_recv().unwrap();
            assert_eq!(reply.body().unwrap(), number.to_string().as_bytes());
        }
    }

    #[test]
    fn whoever_waits_no_more_leaves_nothing_behind() {
        let outstanding = Outstanding::default();
        let request = outstanding.begin();
        let correlation = request.correlation.clone();
        drop(request);
        assert!(!outstanding.settle(&correlation, reply(b"late")));
        assert!(!outstanding.settle("", reply(b"hostile")));
        assert!(outstanding.waiting.lock().is_empty());
    }

    #[test]
    fn ids_differ_also_between_producers() {
        let (one, other) = (CorrelationIds::default(), CorrelationIds::default());
        let mut ids: Vec<_> = (0..1000).flat_map(|_| [one.next(), other.next()]).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 2000);
        assert!(ids.iter().all(|id| id.len() == 32));
    }
}
