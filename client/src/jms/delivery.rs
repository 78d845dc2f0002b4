//! Messages that were delivered and are not settled, and how they are settled.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use castmq_protocol::native::{ErrorCode, Failure};
use futures_util::stream::{self, StreamExt};
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::error::{Error, Result};
use super::message::Message;
use super::session::SessionCore;
use super::{Acknowledge, Destination};
use crate::consumer::PoppedMessage;
use crate::message::ReceivedMessage;

/// Deliveries after which a message of a subscription that is not durable is given up; the others go to dead letters.
const MAX_DELIVERIES: u32 = 17;

/// Messages that brokers are asked about at once, where each is asked about by itself.
pub(super) const ASKED_AT_ONCE: usize = 64;

/// A message that is with a session.
#[derive(Debug)]
pub(super) enum Held {
    /// The broker lets nobody else have it for a while.
    Popped(Box<Lease>),
    /// Only this consumer has a copy.
    Read {
        message: ReceivedMessage,
        delivery_count: u32,
        again: Arc<Again>,
    },
}

/// A popped message, and until when it is the session's.
#[derive(Debug)]
pub(super) struct Lease {
    message: ReceivedMessage,
    /// Not later than the broker thinks; `None` when the session has settled it, given it back, or lost it.
    until: Mutex<Option<Instant>>,
    /// What the broker is asked with. Locked as long as its answer takes, and so by nobody who only wants to know of the message.
    popped: tokio::sync::Mutex<PoppedMessage>,
}

/// Messages that a consumer delivers again, before others, each from a time on.
#[derive(Debug, Default)]
pub(super) struct Again {
    messages: Mutex<VecDeque<(Instant, Arc<Held>)>>,
    added: Notify,
}

impl Again {
    fn add(&self, ready_at: Instant, held: Arc<Held>) {
        self.messages.lock().push_front((ready_at, held));
        self.added.notify_one();
    }

    /// The first whose time has come.
    pub(super) fn take(&self) -> Option<Arc<Held>> {
        let mut messages = self.messages.lock();
        let now = Instant::now();
        let ready = messages.iter().position(|(ready_at, _)| *ready_at <= now)?;
        messages.remove(ready).map(|(_, held)| held)
    }

    /// Waits until there is one to take.
    pub(super) async fn ready(&self) {
        loop {
            let first = self.messages.lock().iter().map(|(at, _)| *at).min();
            match first {
                Some(ready_at) => tokio::select! {
                    () = sleep_until(ready_at) => return,
                    () = self.added.notified() => {}
                },
                None => self.added.notified().await,
            }
        }
    }
}

impl Held {
    pub(super) fn popped(message: PoppedMessage, lease: Duration) -> Self {
        Self::Popped(Box::new(Lease {
            message: message.message().clone(),
            until: Mutex::new(Some(message.asked_at() + lease)),
            popped: tokio::sync::Mutex::new(message),
        }))
    }

    /// What the application gets, and whether nobody wants it any more.
    pub(super) fn message(&self, destination: &Destination, now_ms: i64) -> (Message, bool) {
        let (message, delivery_count) = match self {
            Self::Popped(lease) => (&lease.message, lease.message.attempts()),
            Self::Read {
                message,
                delivery_count,
                ..
            } => (message, *delivery_count),
        };
        let is_expired = message.is_over(0, now_ms);
        let message = Message::received(message, destination, delivery_count);
        (message, is_expired)
    }

    /// Makes the lease longer when less than two thirds of it are left. A message that is being settled is left alone, and one
    /// that is the session's no more for good.
    pub(super) async fn extend(&self, lease: Duration) -> Result<()> {
        let Self::Popped(held) = self else {
            return Ok(());
        };
        let Ok(mut popped) = held.popped.try_lock() else {
            return Ok(());
        };
        let now = Instant::now();
        let until = *held.until.lock();
        if until.is_none_or(|until| until > now + lease * 2 / 3) {
            return Ok(());
        }
        let extended = popped.extend(lease).await.map_err(Error::from);
        let mut until = held.until.lock();
        match &extended {
            // It may be about to be given back meanwhile.
            Ok(()) => *until = until.map(|_| now + lease),
            Err(error) if says_lost(error) => *until = None,
            Err(_) => {}
        }
        extended
    }

    /// Whether somebody else may have it already.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Popped(lease) => {
                let until = *lease.until.lock();
                until.is_none_or(|until| until <= Instant::now())
            }
            Self::Read { .. } => false,
        }
    }

    /// Its lease is made no longer: it comes again when that ends, unless it is settled.
    pub(super) fn release(&self) {
        if let Self::Popped(lease) = self {
            *lease.until.lock() = None;
        }
    }

    async fn give_back(&self, delay: Duration) {
        if let Self::Popped(lease) = self
            && let Err(error) = lease.popped.lock().await.nack(delay).await
        {
            // It comes again all the same, when its lease ends.
            tracing::debug!(%error, "a message could not be given back");
        }
    }

    fn again(&self) -> Option<(Arc<Again>, Self)> {
        match self {
            Self::Popped(_) => None,
            Self::Read {
                message,
                delivery_count,
                again,
            } => {
                let next = Self::Read {
                    message: message.clone(),
                    delivery_count: delivery_count + 1,
                    again: again.clone(),
                };
                if *delivery_count >= MAX_DELIVERIES {
                    tracing::warn!(
                        ?message,
                        "a message of a subscription that is not durable is given up after {MAX_DELIVERIES} deliveries"
                    );
                    return None;
                }
                Some((again.clone(), next))
            }
        }
    }
}

/// A message whose acknowledgement the broker does not take, and why.
pub(super) type Refused = (Arc<Held>, Error);

/// Says that messages are processed.
///
/// # Errors
///
/// When the broker does not take some of them: they come again.
pub(super) async fn settle(held: &[Arc<Held>]) -> Result<()> {
    told(settle_each(held).await?)
}

/// Says that messages are processed, and returns those that are refused.
///
/// # Errors
///
/// When it is not known of some of them.
pub(super) async fn settle_each(held: &[Arc<Held>]) -> Result<Vec<Refused>> {
    let mut leases = Vec::new();
    for one in held {
        if let Held::Popped(lease) = &**one {
            leases.push((one, lease.popped.lock().await));
        }
    }
    if leases.is_empty() {
        return Ok(Vec::new());
    }
    let messages: Vec<_> = leases.iter().map(|(_, popped)| &**popped).collect();
    let refused = PoppedMessage::ack_each(&messages).await?;
    let mut errors: HashMap<_, _> = refused
        .into_iter()
        .map(|(place, failure)| (place, refusal(failure)))
        .collect();
    let mut refused = Vec::new();
    for (place, (one, _)) in leases.iter().enumerate() {
        let error = errors.remove(&place);
        if error.as_ref().is_none_or(says_lost) {
            one.release();
        }
        refused.extend(error.map(|error| ((*one).clone(), error)));
    }
    Ok(refused)
}

/// One error for all that are refused: of one that is lost, if there is any, since those are not asked about again.
pub(super) fn told(mut refused: Vec<Refused>) -> Result<()> {
    let lost = refused.iter().position(|(_, error)| says_lost(error));
    match refused.is_empty() {
        true => Ok(()),
        false => Err(refused.swap_remove(lost.unwrap_or(0)).1),
    }
}

fn refusal(failure: Failure) -> Error {
    Error::Client(crate::Error::Refused {
        request: "acknowledge",
        address: "the broker".into(),
        failure,
    })
}

/// Whether an error says that somebody else has the message now, or will have.
pub(super) fn says_lost(error: &Error) -> bool {
    let Error::Client(error) = error else {
        return false;
    };
    matches!(
        error.code(),
        Some(ErrorCode::ReceiptExpired | ErrorCode::ReceiptUnknown | ErrorCode::MessageSettled)
    )
}

/// Whether one of them may be with somebody else already.
pub(super) fn is_any_lost(held: &[Arc<Held>]) -> bool {
    held.iter().any(|one| one.is_lost())
}

/// Has messages delivered again, in the order in which they were, after `delay`. Dropped on the way it leaves the others to
/// come again when their leases end.
pub(super) async fn give_back(held: &[Arc<Held>], delay: Duration) {
    let ready_at = Instant::now() + delay;
    for one in held.iter().rev() {
        if let Some((again, next)) = one.again() {
            again.add(ready_at, Arc::new(next));
        }
    }
    for one in held {
        one.release();
    }
    // Brokers that do not answer hold up few others, and whoever waits for all of them not for each.
    let giving_back = stream::iter(held.to_vec());
    let giving_back = giving_back.for_each_concurrent(ASKED_AT_ONCE, |one| async move {
        one.give_back(delay).await;
    });
    giving_back.await;
}

/// What a message that was received needs to be acknowledged.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) session: Weak<SessionCore>,
    pub(super) held: Arc<Held>,
}

impl Delivered {
    pub(super) async fn acknowledge(&self) -> Result<()> {
        let session = self.session.upgrade();
        let session = session.ok_or_else(|| Error::closed("session"))?;
        session.check_open()?;
        match session.mode {
            Acknowledge::Client => session.settle_all().await,
            Acknowledge::Individual => session.settle_one(&self.held).await,
            Acknowledge::Auto | Acknowledge::DupsOk | Acknowledge::Transacted => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::stored_record;

    fn read(properties: &str, again: &Arc<Again>) -> Held {
        let record = stored_record(5, b"", properties.as_bytes(), 0);
        Held::Read {
            message: ReceivedMessage::from_record(record.into()).unwrap(),
            delivery_count: 1,
            again: again.clone(),
        }
    }

    #[test]
    fn only_what_expires_for_the_broker_expires_here() {
        let news = Destination::topic("news").unwrap();
        for (expires_at, expiration_ms, is_expired) in [
            ("5", 5, true),
            ("6", 6, false),
            ("+5", 0, false),
            ("-1", 0, false),
        ] {
            let held = read(&format!("EXPIRES_AT\x01{expires_at}\x02"), &Arc::default());
            let (message, over) = held.message(&news, 5);
            assert_eq!(
                (message.expiration_ms(), over),
                (expiration_ms, is_expired),
                "{expires_at}"
            );
        }
    }

    #[test]
    fn a_message_that_is_read_is_delivered_so_often_and_no_more() {
        let mut held = read("", &Arc::default());
        let mut deliveries = 1;
        while let Some((_, next)) = held.again() {
            held = next;
            deliveries += 1;
        }
        assert_eq!(deliveries, MAX_DELIVERIES);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_is_delivered_in_its_order_when_its_time_has_come() {
        let again = Arc::new(Again::default());
        let [one, two, three] = ["1", "2", "3"].map(|tag| {
            let properties = format!("TAGS\x01{tag}\x02");
            Arc::new(read(&properties, &again))
        });
        let take = || match again.take().as_deref() {
            Some(Held::Read { message, .. }) => message.tag().map(str::to_owned),
            _ => None,
        };
        let second = Duration::from_secs(1);
        let start = Instant::now();
        give_back(&[one, two], second).await;
        assert_eq!(take(), None);
        give_back(&[three], Duration::ZERO).await;
        again.ready().await;
        assert_eq!(take().as_deref(), Some("3"));
        again.ready().await;
        assert!(start.elapsed() >= second);
        assert_eq!(take().as_deref(), Some("1"));
        assert_eq!(take().as_deref(), Some("2"));
        assert_eq!(take(), None);
    }
}
