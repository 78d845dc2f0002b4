//! What a whole tree shares: names that resolve from any thread, the stages its actors run on, and its clock.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::actor::Cast;
use super::record::Member;
use super::reference::{ActorRef, Address};
use super::stage::Stage;

/// See the module.
pub(super) struct House {
    names: RwLock<HashMap<String, Arc<dyn Member>>>,
    stages: Mutex<Vec<Stage>>,
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
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

    /// Gives a name to a member. False when the name belongs to another whose mailbox is open.
    pub(super) fn enter(&self, path: String, member: Arc<dyn Member>) -> bool {
        let mut names = self.names.write();
        let taken = names
            .get(&path)
            .is_some_and(|other| !other.record().has_ended());
        if !taken {
            names.insert(path, member);
        }
        !taken
    }

    /// Forgets a name, unless it belongs to another by now.
    pub(super) fn leave(&self, path: &str, member: &Arc<dyn Member>) {
        let mut names = self.names.write();
        if names.get(path).is_some_and(|at| Arc::ptr_eq(at, member)) {
            names.remove(path);
        }
    }

    pub(super) fn resolve<A: Cast>(&self, path: &str) -> Option<ActorRef<A>> {
        let member = Arc::clone(self.names.read().get(path)?);
        let address: Arc<dyn Any + Send + Sync> = member;
        let actor = ActorRef::new(address.downcast::<Address<A>>().ok()?);
        actor.is_open().then_some(actor)
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
