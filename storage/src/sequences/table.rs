//! All producers that are known.

use std::collections::{HashMap, VecDeque};

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::native::request::SEQUENCE_WINDOW;
use castmq_protocol::record::SendNumber;

use super::encoding;
use super::walk::StoredSend;
use super::window::{Place, Window};

/// Sends that are remembered altogether, at some 40 bytes each. Past it a producer that has more than its share forgets
/// its oldest.
const MAX_REMEMBERED: usize = 1 << 19;

/// The sends that every producer may have, whatever others have.
const SHARE: usize = 16;

/// Producers that are looked at in one go to find those to forget.
const LOOKS_AT_ONCE: usize = 256;

/// What bounds what is remembered of producers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerLimits {
    /// Producers known at one time.
    pub max_producers: usize,
    /// A producer that has stored nothing for so long is forgotten, in milliseconds.
    pub expiry_ms: u64,
    /// How far apart the sequences of a producer may be.
    pub width: u64,
    /// Sends of all producers together, beyond a few of each.
    pub max_remembered: usize,
}

impl Default for ProducerLimits {
    fn default() -> Self {
        Self {
            max_producers: 10_000,
            expiry_ms: 600_000,
            width: SEQUENCE_WINDOW,
            max_remembered: MAX_REMEMBERED,
        }
    }
}

impl ProducerLimits {
    fn is_idle(&self, since_ms: i64, now_ms: i64) -> bool {
        let expiry_ms = i64::try_from(self.expiry_ms).unwrap_or(i64::MAX);
        since_ms.saturating_add(expiry_ms) <= now_ms
    }
}

/// What is known of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It is not stored.
    New,
    /// It is stored there.
    Stored(Place),
    /// Nobody knows any more: only what is at this sequence or above is known of.
    Forgotten {
        /// The first sequence of the producer's window.
        floor: u64,
    },
    /// It is its producer's first, and no more producers are kept.
    TooManyProducers,
}

#[derive(Debug)]
struct Producer {
    window: Window,
    /// When it last stored something, in milliseconds since the epoch.
    last_ms: i64,
    /// Whether it is among those to be saved.
    is_changed: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    limits: ProducerLimits,
    producers: HashMap<u64, Producer>,
    /// Each producer once, with a time at which it had not been idle for long; the first is looked at first.
    order: VecDeque<(u64, i64)>,
    remembered: usize,
    changed: Vec<u64>,
    forgotten: Vec<u64>,
    now_ms: i64,
}

impl Table {
    /// One that knows nobody.
    pub(super) fn new(limits: ProducerLimits) -> Self {
        Self {
            limits,
            producers: HashMap::new(),
            order: VecDeque::new(),
            remembered: 0,
            changed: Vec::new(),
            forgotten: Vec::new(),
            now_ms: 0,
        }
    }

    /// Takes up windows that were saved, with when each producer last stored something.
    pub(super) fn restore(&mut self, mut saved: Vec<(u64, Window, i64)>) {
        saved.sort_by_key(|(_, _, last_ms)| *last_ms);
        for (id, window, last_ms) in saved {
            self.remembered += window.len();
            self.order.push_back((id, last_ms));
            let producer = Producer {
                window,
                last_ms,
                is_changed: false,
            };
            self.producers.insert(id, producer);
        }
    }

    /// How many producers are known.
    pub(super) fn producers(&self) -> usize {
        self.producers.len()
    }

    /// Sends that are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.remembered
    }

    #[cfg(test)]
    pub(super) fn knows(&self, id: u64) -> bool {
        self.producers.contains_key(&id)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.producers
            .values()
            .map(|known| known.window.len())
            .sum()
    }

    /// What is known of a send that is about to be stored.
    pub(super) fn look(&mut self, number: &SendNumber, now_ms: i64) -> Look {
        self.now_ms = self.now_ms.max(now_ms);
        let Some(producer) = self.producers.get_mut(&number.producer_id) else {
            if self.producers.len() >= self.limits.max_producers {
                self.forget_idle();
            }
            return match self.producers.len() < self.limits.max_producers {
                true => Look::New,
                false => Look::TooManyProducers,
            };
        };
        let window = &mut producer.window;
        let before = window.len();
        window.advance(number.sequence, number.settled_below, self.limits.width);
        self.remembered -= before - window.len();
        match window.find(number.sequence) {
            Some(place) => Look::Stored(place),
            None if number.sequence < window.floor() => Look::Forgotten {
                floor: window.floor(),
            },
            None => Look::New,
        }
    }

    /// Notes a send that is stored. When there is no room for its producer, another one is forgotten: whoever stores it has
    /// looked before.
    pub(super) fn note(&mut self, send: &StoredSend) {
        self.now_ms = self.now_ms.max(send.stored_ms);
        let id = send.number.producer_id;
        if !self.producers.contains_key(&id) {
            self.add(id, send.stored_ms);
        }
        let Some(producer) = self.producers.get_mut(&id) else {
            return;
        };
        let (number, window) = (&send.number, &mut producer.window);
        let before = window.len();
        window.advance(number.sequence, number.settled_below, self.limits.width);
        window.insert(number.sequence, send.place);
        self.remembered = self.remembered + window.len() - before;
        while self.remembered > self.limits.max_remembered && window.len() > SHARE {
            window.drop_oldest();
            self.remembered -= 1;
        }
        producer.last_ms = producer.last_ms.max(send.stored_ms);
        if !std::mem::replace(&mut producer.is_changed, true) {
            self.changed.push(id);
        }
    }

    fn add(&mut self, id: u64, now_ms: i64) {
        if self.producers.len() >= self.limits.max_producers {
            self.forget_idle();
        }
        while self.producers.len() >= self.limits.max_producers && self.forget_oldest() {}
        self.order.push_back((id, now_ms));
        let producer = Producer {
            window: Window::default(),
            last_ms: now_ms,
            is_changed: false,
        };
        self.producers.insert(id, producer);
    }

    /// Forgets producers that have stored nothing for long; the latest after twice the time.
    fn forget_idle(&mut self) {
        for _ in 0..LOOKS_AT_ONCE {
            let Some((id, seen_ms)) = self.order.front().copied() else {
                return;
            };
            if !self.limits.is_idle(seen_ms, self.now_ms) {
                return;
            }
            self.order.pop_front();
            let last_ms = self.producers.get(&id).map(|producer| producer.last_ms);
            match last_ms {
                Some(last_ms) if !self.limits.is_idle(last_ms, self.now_ms) => {
                    self.order.push_back((id, self.now_ms));
                }
                _ => self.forget(id),
            }
        }
    }

    /// Forgets the producer that has stored nothing for longest, or nearly so.
    fn forget_oldest(&mut self) -> bool {
        while let Some((id, seen_ms)) = self.order.pop_front() {
            let last_ms = self.producers.get(&id).map(|producer| producer.last_ms);
            match last_ms {
                Some(last_ms) if last_ms > seen_ms => self.order.push_back((id, last_ms)),
                _ => {
                    self.forget(id);
                    return true;
                }
            }
        }
        false
    }

    fn forget(&mut self, id: u64) {
        if let Some(producer) = self.producers.remove(&id) {
            self.remembered -= producer.window.len();
            self.forgotten.push(id);
        }
    }

    /// Drops what lies behind the end of the log.
    pub(super) fn cut(&mut self, end: PhysicalOffset) {
        for (id, producer) in &mut self.producers {
            let before = producer.window.len();
            producer.window.cut(end);
            let cut = before - producer.window.len();
            self.remembered -= cut;
            if cut > 0 && !std::mem::replace(&mut producer.is_changed, true) {
                self.changed.push(*id);
            }
        }
    }

    /// The producers whose windows are to be saved, and those whose are not to be kept any more.
    pub(super) fn take_changes(&mut self) -> (Vec<u64>, Vec<u64>) {
        self.forget_idle();
        let changed = std::mem::take(&mut self.changed);
        (changed, std::mem::take(&mut self.forgotten))
    }

    /// They could not be saved.
    pub(super) fn put_back_changes(&mut self, changed: &[u64], forgotten: Vec<u64>) {
        for id in changed {
            if let Some(producer) = self.producers.get_mut(id) {
                producer.is_changed = true;
                self.changed.push(*id);
            }
        }
        self.changed.sort_unstable();
        self.changed.dedup();
        self.forgotten.extend(forgotten);
    }

    /// A producer's window as it is saved: without what is not durable yet, which is saved the next time.
    pub(super) fn encode(&mut self, id: u64, durable: PhysicalOffset) -> Option<Vec<u8>> {
        let producer = self.producers.get_mut(&id)?;
        let (value, is_whole) = encoding::encode(&producer.window, producer.last_ms, durable);
        producer.is_changed = !is_whole;
        if !is_whole {
            self.changed.push(id);
        }
        Some(value)
    }
}
