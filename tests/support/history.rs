//! What producers sent, what they were told, what consumers saw, and whether what the broker has in the end agrees.
//!
//! Every message is sent once and has an identity of its own, so that one that is there twice is the broker's doing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// A message: its producer, which is one connection, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    pub producer: u32,
    pub sequence: u64,
}

impl Id {
    /// The identity in a message's body, which begins with it.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let mut words = text.split(' ');
        Some(Self {
            producer: words.next()?.parse().ok()?,
            sequence: words.next()?.parse().ok()?,
        })
    }

    /// A body of about so many bytes.
    pub fn body(self, bytes: usize) -> String {
        let mut body = format!("{self} ");
        let padding = bytes.saturating_sub(body.len());
        body.extend(std::iter::repeat_n('.', padding));
        body
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.producer, self.sequence)
    }
}

/// A queue: its topic's number in the test, and its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub topic: u32,
    pub queue: u32,
}

/// What a producer knows of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It was sent, and nothing was heard of it.
    Unknown,
    /// It is stored there.
    Acknowledged(u64),
    /// It is not stored.
    Refused,
}

/// What must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// Acknowledged, and not there.
    Lost(Id),
    /// Acknowledged at an offset where another message is, or none.
    Elsewhere { id: Id, promised: u64 },
    /// There more than once.
    Duplicated(Id),
    /// Sent before the one that it stands behind.
    Reordered { id: Id, behind: Id },
    /// Nobody sent it to this queue.
    Phantom { place: Place, offset: u64 },
    /// Refused as not stored, and there.
    Refused(Id),
    /// A consumer saw it at an offset where it no longer is.
    Vanished { id: Id, place: Place, offset: u64 },
    /// An offset without a message.
    Hole { place: Place, offset: u64 },
}

/// How much was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub attempted: usize,
    pub acknowledged: usize,
    pub refused: usize,
    pub unknown: usize,
    /// Of those without an answer, how many are there.
    pub unknown_stored: usize,
    pub stored: usize,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct History {
    sent: HashMap<Id, (Place, Outcome)>,
    seen: BTreeMap<(Place, u64), Id>,
    acknowledged: usize,
}

/// What a queue has, in the order of its offsets.
pub type Stored = BTreeMap<Place, Vec<(u64, Option<Id>)>>;

impl History {
    /// A message is about to be sent.
    pub fn attempt(&mut self, id: Id, place: Place) {
        let before = self.sent.insert(id, (place, Outcome::Unknown));
        assert_eq!(before, None, "{id} is sent twice");
    }

    /// It was acknowledged.
    pub fn acknowledge(&mut self, id: Id, offset: u64) {
        self.acknowledged += 1;
        self.settle(id, Outcome::Acknowledged(offset));
    }

    /// It was refused for certain.
    pub fn refuse(&mut self, id: Id) {
        self.settle(id, Outcome::Refused);
    }

    fn settle(&mut self, id: Id, outcome: Outcome) {
        let sent = self
            .sent
            .get_mut(&id)
            .expect("only what was sent is answered");
        sent.1 = outcome;
    }

    /// A consumer was given a message.
    pub fn see(&mut self, place: Place, offset: u64, id: Id) {
        let before = self.seen.insert((place, offset), id);
        let is_same = before.is_none_or(|before| before == id);
        assert!(
            is_same,
            "{before:?}, then {id:?} at offset {offset} of {place:?}"
        );
    }

    /// Whether a message was sent there.
    pub fn is_sent_to(&self, id: Id, place: Place) -> bool {
        self.sent.get(&id).is_some_and(|(to, _)| *to == place)
    }

    /// Whether a message was acknowledged.
    pub fn is_acknowledged(&self, id: Id) -> bool {
        let sent = self.sent.get(&id);
        sent.is_some_and(|(_, outcome)| matches!(outcome, Outcome::Acknowledged(_)))
    }

    /// All messages that were acknowledged, in no order.
    pub fn acknowledged_ids(&self) -> impl Iterator<Item = Id> {
        let ids = self.sent.keys().copied();
        ids.filter(|id| self.is_acknowledged(*id))
    }

    /// Messages acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// Compares with what is stored.
    pub fn check(&self, stored: &Stored) -> (Figures, Vec<Violation>) {
        let mut violations = Vec::new();
        let mut found: HashMap<Id, (Place, u64)> = HashMap::new();
        for (place, messages) in stored {
            self.check_queue(*place, messages, &mut found, &mut violations);
        }
        let mut figures = Figures {
            attempted: self.sent.len(),
            stored: stored.values().map(Vec::len).sum(),
            ..Figures::default()
        };
        for (id, (place, outcome)) in &self.sent {
            let at = found.get(id);
            match outcome {
                Outcome::Acknowledged(offset) => {
                    figures.acknowledged += 1;
                    match at {
                        None => violations.push(Violation::Lost(*id)),
                        Some(at) if *at != (*place, *offset) => {
                            let promised = *offset;
                            violations.push(Violation::Elsewhere { id: *id, promised });
                        }
                        Some(_) => {}
                    }
                }
                Outcome::Refused => {
                    figures.refused += 1;
                    if at.is_some() {
                        violations.push(Violation::Refused(*id));
                    }
                }
                Outcome::Unknown => {
                    figures.unknown += 1;
                    figures.unknown_stored += usize::from(at.is_some());
                }
            }
        }
        for ((place, offset), id) in &self.seen {
            if found.get(id) != Some(&(*place, *offset)) {
                violations.push(Violation::Vanished {
                    id: *id,
                    place: *place,
                    offset: *offset,
                });
            }
        }
        violations.sort();
        (figures, violations)
    }

    fn check_queue(
        &self,
        place: Place,
        messages: &[(u64, Option<Id>)],
        found: &mut HashMap<Id, (Place, u64)>,
        violations: &mut Vec<Violation>,
    ) {
        let mut last: HashMap<u32, Id> = HashMap::new();
        let mut expected = 0;
        for (offset, id) in messages {
            let offset = *offset;
            if offset != expected {
                let offset = expected;
                violations.push(Violation::Hole { place, offset });
            }
            expected = offset + 1;
            let known = id.filter(|id| self.sent.get(id).is_some_and(|(to, _)| *to == place));
            let Some(id) = known else {
                violations.push(Violation::Phantom { place, offset });
                continue;
            };
            if found.insert(id, (place, offset)).is_some() {
                violations.push(Violation::Duplicated(id));
                continue;
            }
            let before = last.insert(id.producer, id);
            if let Some(behind) = before.filter(|before| before.sequence > id.sequence) {
                violations.push(Violation::Reordered { id, behind });
            }
        }
    }
}
