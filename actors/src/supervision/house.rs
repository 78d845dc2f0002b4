//! What a whole tree shares: names that resolve from any thread, the stages its actors run on, and its clock.

use std::any::Any;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::{Mutex, RwLock};

use super::actor::Cast;
use super::record::Member;
use super::reference::{ActorRef, Address};
use super::stage::Stage;

/// See the module.
pub(super) struct House {
    names: RwLock<Names>,
    stages: Mutex<Vec<Stage>>,
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// Members by path. There may be very many, so paths are not kept twice.
#[derive(Default)]
struct Names {
    hasher: DefaultHashBuilder,
    members: HashTable<Arc<dyn Member>>,
}

impl Names {
    fn find(&self, path: &str) -> Option<&Arc<dyn Member>> {
        let hash = self.hasher.hash_one(path);
        self.members
            .find(hash, |member| member.record().has_path(path))
    }

    fn insert(&mut self, path: &str, member: Arc<dyn Member>) {
        let Self { hasher, members } = self;
        let hash = |member: &Arc<dyn Member>| hasher.hash_one(member.record().path());
        members.insert_unique(hasher.hash_one(path), member, hash);
    }

    /// Gives back what it removed, to be dropped outside of the lock.
    fn remove(
        &mut self,
        path: &str,
        unless: impl Fn(&Arc<dyn Member>) -> bool,
    ) -> Option<Arc<dyn Member>> {
        let hash = self.hasher.hash_one(path);
        let is_it = |member: &Arc<dyn Member>| member.record().has_path(path) && !unless(member);
        let entry = self.members.find_entry(hash, is_it).ok()?;
        Some(entry.remove().0)
    }
}

impl House {
    pub(super) fn new(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            names: RwLock::default(),
            stages: Mutex::default(),
            clock: Box::new(clock),
        }
    }

    /// Wall clock, milliseconds since 1970.
    pub(super) fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// Gives a member its path. False when that belongs to another whose mailbox is open.
    pub(super) fn enter(&self, member: Arc<dyn Member>) -> bool {
        let path = member.record().path();
        let _past;
        let mut names = self.names.write();
        _past = names.remove(&path, |other| !other.record().has_ended());
        let is_free = names.find(&path).is_none();
        if is_free {
            names.insert(&path, member);
        }
        is_free
    }

    /// Forgets a member. Its path may belong to another by now, which stays.
    pub(super) fn leave(&self, member: &Arc<dyn Member>) {
        let path = member.record().path();
        let is_another = |other: &Arc<dyn Member>| !Arc::ptr_eq(other, member);
        let _left = self.names.write().remove(&path, is_another);
    }

    pub(super) fn resolve<A: Cast>(&self, path: &str) -> Option<ActorRef<A>> {
        let member = Arc::clone(self.names.read().find(path)?);
        let address: Arc<dyn Any + Send + Sync> = member;
        let actor = ActorRef::new(address.downcast::<Address<A>>().ok()?);
        actor.is_open().then_some(actor)
    }

    #[cfg(any(test, feature = "chaos"))]
    pub(super) fn member(&self, path: &str) -> Option<Arc<dyn Member>> {
        self.names.read().find(path).cloned()
    }

    pub(super) fn add_stage(&self, stage: &Stage) {
        let mut stages = self.stages.lock();
        if !stages.iter().any(|known| known.is_same(stage)) {
            stages.push(stage.clone());
        }
    }

    pub(super) fn stages(&self) -> Vec<Stage> {
        self.stages.lock().clone()
    }
}
