//! Who can be told something, by what they are found by. Sessions enter themselves, and go when their connections do.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::supervision::Mailbox;

/// Tells those apart that are found by the same key.
pub(crate) type RegistryId = u64;

/// In the order in which they came.
type OfKey<M> = Vec<(RegistryId, Mailbox<M>)>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Registry<K, M> {
    by_key: RwLock<HashMap<K, OfKey<M>>>,
    next: AtomicU64,
}

impl<K, M> Default for Registry<K, M> {
    fn default() -> Self {
        Self {
            by_key: RwLock::default(),
            next: AtomicU64::new(0),
        }
    }
}

impl<K: Eq + Hash, M: 'static> Registry<K, M> {
    /// Adds one more to those of a key.
    pub(crate) fn add(&self, key: K, mailbox: Mailbox<M>) -> RegistryId {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut by_key = self.by_key.write();
        by_key.entry(key).or_default().push((id, mailbox));
        id
    }

    /// One of a key is gone.
    pub(crate) fn remove<Q>(&self, key: &Q, id: RegistryId)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut by_key = self.by_key.write();
        if let Some(of_key) = by_key.get_mut(key) {
            of_key.retain(|(other, _)| *other != id);
            if of_key.is_empty() {
                by_key.remove(key);
            }
        }
    }

    /// The one that came last.
    pub(super) fn latest<Q>(&self, key: &Q) -> Option<Mailbox<M>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let by_key = self.by_key.read();
        let (_, mailbox) = by_key.get(key)?.last()?;
        Some(mailbox.clone())
    }

    /// Tells one of them, another one each `turn`. Whether there was one.
    pub(super) fn tell_one<Q>(&self, key: &Q, turn: usize, message: &M) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
        M: Clone,
    {
        let by_key = self.by_key.read();
        let of_key = by_key.get(key).map(Vec::as_slice).unwrap_or_default();
        let (before, after) = of_key.split_at(turn % of_key.len().max(1));
        let mut mailboxes = after.iter().chain(before);
        mailboxes.any(|(_, mailbox)| mailbox.tell(message.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn each_turn_tells_another_one_of_a_key_and_the_next_where_one_is_gone() {
        let registry = Registry::<String, u32>::default();
        let (sender, heard) = mpsc::channel();
        let add = |number, is_there| {
            let sender = sender.clone();
            let mailbox =
                Mailbox::from_fn(move |turn: u32| is_there && sender.send((turn, number)).is_ok());
            registry.add("a".to_owned(), mailbox)
        };
        let ids = [add(1, true), add(2, false), add(3, true)];
        let tell = |turn: u32| registry.tell_one("a", turn as usize, &turn);
        assert!((0..4).all(tell));
        registry.remove("a", ids[0]);
        registry.remove("a", ids[2]);
        assert!(!tell(4), "nobody takes it");
        registry.remove("a", ids[1]);
        assert!(!tell(5), "nobody is there");
        assert!(!registry.tell_one("b", 6, &6));
        assert_eq!(
            heard.try_iter().collect::<Vec<_>>(),
            [(0, 1), (1, 3), (2, 3), (3, 1)]
        );
    }
}
