//! What producers were told and consumers were given, and whether what is stored in the end agrees with it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use castmq_client::{Error, Queue, Result, Retry, SendReceipt, SendStatus};
use parking_lot::Mutex;

use crate::support::history::Id;

/// A message's place.
pub(crate) type Place = (Queue, u64);

/// What each queue has in the end, in the order of its offsets.
pub(crate) type Stored = BTreeMap<Queue, Vec<(u64, Id)>>;

/// What became of a send, after all that the client did for it.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// It is stored there, as the policy wants it.
    Stored(Place),
    /// It is stored there, with fewer copies or less durable than the policy wants.
    Less(Place),
    /// It failed, and may be stored.
    Unknown(String),
    /// It failed, and is not stored.
    Refused(String),
}

impl Told {
    fn of(result: Result<SendReceipt>) -> Self {
        match result {
            Ok(receipt) => {
                let place = (receipt.queue, receipt.offset.0);
                match receipt.status {
                    SendStatus::Stored => Self::Stored(place),
                    _ => Self::Less(place),
                }
            }
            Err(error) if error.retry() == Retry::MayDuplicate => Self::Unknown(error.to_string()),
            Err(error) => Self::Refused(error.to_string()),
        }
    }

    /// Where it is stored, by the broker's word.
    pub(crate) fn place(&self) -> Option<&Place> {
        match self {
            Self::Stored(place) | Self::Less(place) => Some(place),
            Self::Unknown(_) | Self::Refused(_) => None,
        }
    }

    pub(crate) fn error(&self) -> Option<&str> {
        match self {
            Self::Unknown(error) | Self::Refused(error) => Some(error),
            Self::Stored(_) | Self::Less(_) => None,
        }
    }
}

/// A send that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) id: Id,
    pub(crate) at: Instant,
    pub(crate) told: Told,
}

/// A message that was handed to a group.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) at: Instant,
    pub(crate) place: Place,
    /// It was handed over at this place before.
    pub(crate) is_again: bool,
}

/// A consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// It handles messages in any order, and reads from a slave while there is no master.
    AnyOrder,
    /// It keeps the order of each queue, and waits for the master.
    InOrder,
}

pub(crate) const GROUPS: [Group; 2] = [Group::AnyOrder, Group::InOrder];

/// What a group was given.
#[derive(Debug, Default)]
struct Given {
    receipts: Vec<Receipt>,
    seen: HashSet<(Place, Id)>,
    furthest: HashMap<Queue, u64>,
    /// A queue, where the group should have gone on, and where it did.
    skipped: Vec<(Queue, u64, u64)>,
}

#[derive(Debug, Default)]
struct Book {
    begun: HashMap<Id, Instant>,
    ended: Vec<Ended>,
    stored: usize,
    /// Producers whose messages are stored once, whatever happens.
    idempotent: HashSet<u32>,
    /// By group.
    given: [Given; GROUPS.len()],
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Account(Mutex<Book>);

/// What must not happen.
#[derive(Debug)]
#[expect(dead_code, reason = "they are printed")]
pub(crate) enum Violation {
    /// Acknowledged at a place where another message is, and stored elsewhere.
    Elsewhere { id: Id, promised: Place },
    /// Refused as not stored, and there.
    Refused(Id),
    /// An idempotent producer's, and there more than once.
    Twice(Id),
    /// Sent before the one that it stands behind.
    Reordered { queue: Queue, id: Id, behind: Id },
    /// Nobody sent it.
    Phantom { place: Place, id: Id },
    /// An offset without a message.
    Hole { place: Place },
    /// The group in order was given the second, and never what lies between.
    Skipped { queue: Queue, from: u64, to: u64 },
    /// It is there, and one of the groups never got it.
    Unreceived { place: Place, id: Id },
}

/// An acknowledged message that is gone.
#[derive(Debug, Clone)]
#[expect(dead_code, reason = "they are printed")]
pub(crate) struct Lost {
    pub(crate) id: Id,
    /// When it was acknowledged.
    pub(crate) at: Instant,
}

/// What comparing came to.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) figures: Figures,
    /// Acknowledged as the policy wants it, and gone.
    pub(crate) lost: Vec<Lost>,
    /// Seen by a consumer at a place where it no longer is; not those that were acknowledged as less safe.
    pub(crate) vanished: Vec<(Place, Id)>,
    pub(crate) violations: Vec<Violation>,
}

/// How much was compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) sent: usize,
    pub(crate) stored: usize,
    /// Acknowledged as less safe than the policy wants it, and how many of these are gone, or were seen and are gone.
    pub(crate) less: usize,
    pub(crate) less_lost: usize,
    pub(crate) less_vanished: usize,
    pub(crate) failed: usize,
    /// Of those that failed and may be stored, how many are.
    pub(crate) unknown_stored: usize,
    /// Second and further copies in the store.
    pub(crate) duplicates: usize,
    /// By both groups.
    pub(crate) received: usize,
    pub(crate) redelivered: usize,
}

impl Account {
    /// A producer's messages are stored once.
    pub(crate) fn expect_once(&self, producer: u32) {
        self.0.lock().idempotent.insert(producer);
    }

    /// A message is about to be sent.
    pub(crate) fn begin(&self, id: Id) {
        let before = self.0.lock().begun.insert(id, Instant::now());
        assert_eq!(before, None, "{id} is sent twice");
    }

    /// A send has ended.
    pub(crate) fn end(&self, id: Id, result: Result<SendReceipt, Error>) {
        let (at, told) = (Instant::now(), Told::of(result));
        let mut book = self.0.lock();
        book.stored += usize::from(matches!(told, Told::Stored(_)));
        book.ended.push(Ended { id, at, told });
    }

    /// A group was given a message.
    pub(crate) fn receive(&self, group: Group, place: Place, id: Id) {
        self.0.lock().given[group as usize].receive(place, id, group == Group::InOrder);
    }

    /// Sends that ended as the policy wants it, so far.
    pub(crate) fn stored(&self) -> usize {
        self.0.lock().stored
    }

    /// Messages that a group was given, so far, each counted once.
    pub(crate) fn received(&self, group: Group) -> usize {
        self.0.lock().given[group as usize].seen.len()
    }

    /// Waits until so many more sends have ended as the policy wants it.
    pub(crate) fn reach_more(&self, count: usize) {
        let wanted = self.stored() + count;
        wait_until("messages are stored as the policy wants it", || {
            self.stored() >= wanted
        });
    }

    /// When the first send that was begun after a moment ended as stored.
    pub(crate) fn first_stored(&self, after: Instant) -> Option<Instant> {
        let book = self.0.lock();
        let ended = book.ended.iter().rev();
        let later = ended.take_while(|ended| ended.at > after);
        let stored = later.filter(|ended| {
            let begun = book.begun.get(&ended.id);
            ended.told.place().is_some() && begun.is_some_and(|begun| *begun > after)
        });
        stored.map(|ended| ended.at).min()
    }

    /// The sends that ended from one moment to another.
    pub(crate) fn ended(&self, from: Instant, to: Instant) -> Vec<Ended> {
        let book = self.0.lock();
        let those = book
            .ended
            .iter()
            .filter(|ended| (from..to).contains(&ended.at));
        those.cloned().collect()
    }

    /// What the group without order was given from one moment to another.
    pub(crate) fn receipts(&self, from: Instant, to: Instant) -> Vec<Receipt> {
        let book = self.0.lock();
        let those = book.given[Group::AnyOrder as usize]
            .receipts
            .iter()
            .filter(|receipt| (from..to).contains(&receipt.at));
        those.cloned().collect()
    }

    /// Stored messages that one of the groups has not been given yet.
    pub(crate) fn unreceived(&self, stored: &Stored) -> Vec<(Place, Id)> {
        let book = self.0.lock();
        let messages = stored.iter().flat_map(|(queue, messages)| {
            let place = |offset: u64| (queue.clone(), offset);
            messages
                .iter()
                .map(move |(offset, id)| (place(*offset), *id))
        });
        messages
            .filter(|message| !book.given.iter().all(|given| given.seen.contains(message)))
            .collect()
    }

    /// Messages that a set had acknowledged before a moment and the group without order has not been given yet.
    pub(crate) fn waiting(&self, set: &str, before: Instant) -> usize {
        let book = self.0.lock();
        let is_waiting = |ended: &&Ended| {
            let place = ended
                .told
                .place()
                .filter(|(queue, _)| &*queue.broker == set);
            let given = &book.given[Group::AnyOrder as usize];
            place.is_some_and(|place| !given.seen.contains(&(place.clone(), ended.id)))
        };
        let early = book.ended.iter().take_while(|ended| ended.at < before);
        early.filter(is_waiting).count()
    }

    /// Compares with what is stored.
    pub(crate) fn check(&self, stored: &Stored) -> Verdict {
        let mut verdict = Verdict::default();
        let unreceived = self.unreceived(stored).into_iter();
        verdict
            .violations
            .extend(unreceived.map(|(place, id)| Violation::Unreceived { place, id }));
        let book = self.0.lock();
        let mut found: HashMap<Id, Vec<Place>> = HashMap::new();
        for (queue, messages) in stored {
            book.check_queue(queue, messages, &mut found, &mut verdict);
        }
        book.check_sends(&found, &mut verdict);
        book.check_receipts(&found, &mut verdict);
        verdict
    }
}

impl Book {
    fn check_queue(
        &self,
        queue: &Queue,
        messages: &[(u64, Id)],
        found: &mut HashMap<Id, Vec<Place>>,
        verdict: &mut Verdict,
    ) {
        let mut last: HashMap<u32, Id> = HashMap::new();
        for (expected, (offset, id)) in (0..).zip(messages) {
            let place = (queue.clone(), *offset);
            if *offset != expected {
                verdict.violations.push(Violation::Hole { place });
                return;
            }
            if !self.begun.contains_key(id) {
                verdict
                    .violations
                    .push(Violation::Phantom { place, id: *id });
                continue;
            }
            found.entry(*id).or_default().push(place);
            let before = last.insert(id.producer, *id);
            // A message that was sent again may stand behind itself.
            if let Some(behind) = before.filter(|before| before.sequence > id.sequence) {
                let (queue, id) = (queue.clone(), *id);
                verdict
                    .violations
                    .push(Violation::Reordered { queue, id, behind });
            }
        }
    }

    fn check_sends(&self, found: &HashMap<Id, Vec<Place>>, verdict: &mut Verdict) {
        let Verdict {
            figures,
            lost,
            violations,
            ..
        } = verdict;
        figures.sent = self.begun.len();
        for Ended { id, at, told } in &self.ended {
            let places = found.get(id).map_or(&[][..], Vec::as_slice);
            match told {
                Told::Stored(_) => figures.stored += 1,
                Told::Less(_) => figures.less += 1,
                Told::Unknown(_) => {
                    figures.failed += 1;
                    figures.unknown_stored += usize::from(!places.is_empty());
                }
                Told::Refused(_) => {
                    figures.failed += 1;
                    if !places.is_empty() {
                        violations.push(Violation::Refused(*id));
                    }
                }
            }
            match told {
                Told::Stored(_) if places.is_empty() => lost.push(Lost { id: *id, at: *at }),
                Told::Less(_) if places.is_empty() => figures.less_lost += 1,
                _ => {
                    let promised = told.place().filter(|place| !places.contains(place));
                    violations.extend(
                        promised
                            .cloned()
                            .map(|promised| Violation::Elsewhere { id: *id, promised }),
                    );
                }
            }
        }
        for (id, places) in found {
            figures.duplicates += places.len() - 1;
            if places.len() > 1 && self.idempotent.contains(&id.producer) {
                violations.push(Violation::Twice(*id));
            }
        }
    }

    fn check_receipts(&self, found: &HashMap<Id, Vec<Place>>, verdict: &mut Verdict) {
        let less = self
            .ended
            .iter()
            .filter(|ended| matches!(ended.told, Told::Less(_)));
        let less: HashSet<Id> = less.map(|ended| ended.id).collect();
        let seen: HashSet<_> = self.given.iter().flat_map(|given| &given.seen).collect();
        for (place, id) in seen {
            if found.get(id).is_some_and(|places| places.contains(place)) {
                continue;
            }
            match less.contains(id) {
                true => verdict.figures.less_vanished += 1,
                false => verdict.vanished.push((place.clone(), *id)),
            }
        }
        for given in &self.given {
            verdict.figures.received += given.seen.len();
            verdict.figures.redelivered += given.receipts.len() - given.seen.len();
            for (queue, from, to) in &given.skipped {
                let (queue, from, to) = (queue.clone(), *from, *to);
                let skipped = Violation::Skipped { queue, from, to };
                verdict.violations.push(skipped);
            }
        }
    }
}

impl Given {
    fn receive(&mut self, (queue, offset): Place, id: Id, is_in_order: bool) {
        let place = (queue.clone(), offset);
        let is_again = !self.seen.insert((place.clone(), id));
        let at = Instant::now();
        self.receipts.push(Receipt {
            at,
            place,
            is_again,
        });
        let next = self.furthest.get(&queue).map_or(0, |furthest| furthest + 1);
        if is_in_order && offset > next {
            self.skipped.push((queue.clone(), next, offset));
        }
        let furthest = self.furthest.entry(queue).or_default();
        *furthest = offset.max(*furthest);
    }
}

/// Waits for what others do, up to a minute.
pub(crate) fn wait_until(what: &str, is_it: impl Fn() -> bool) {
    wait_until_all(what, || usize::from(!is_it()));
}

/// Waits until others have done all of it, up to a minute; `left` says how much is to be done.
pub(crate) fn wait_until_all(what: &str, left: impl Fn() -> usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let left = left();
        if left == 0 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "for a minute it is not so that {what}: {left} left"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
