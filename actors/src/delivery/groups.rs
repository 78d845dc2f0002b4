//! Consumer groups: what is known of them, and the actors of those that are awake.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use castmq_protocol::model::{GroupConfig, GroupName};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use parking_lot::{Mutex, RwLock};

use super::consumer_group::ConsumerGroup;
use crate::broker::context::BrokerContext;
use crate::supervision::{ActorRef, Child, Failure};

/// What whoever names a group that is not there is told.
pub(crate) fn no_group(name: &GroupName) -> Refusal {
    Refusal::never(
        ErrorCode::GroupNotFound,
        format!("group {name} does not exist on this broker"),
    )
}

/// All groups of a broker. Only the metadata actor changes their settings, after the change is durable.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    configs: RwLock<HashMap<GroupName, GroupConfig>>,
    awake: Mutex<HashMap<GroupName, ActorRef<ConsumerGroup>>>,
    count: AtomicUsize,
    /// Changes of settings so far.
    changes: AtomicU64,
}

impl Groups {
    /// Begins with what was stored.
    pub(crate) fn new(stored: impl IntoIterator<Item = (GroupName, GroupConfig)>) -> Self {
        Self {
            configs: RwLock::new(stored.into_iter().collect()),
            ..Self::default()
        }
    }

    /// A group's settings.
    pub(crate) fn config(&self, group: &str) -> Option<GroupConfig> {
        self.configs.read().get(group).cloned()
    }

    /// The settings of a group that has to be there.
    pub(crate) fn existing(&self, group: &GroupName) -> Result<GroupConfig, Refusal> {
        self.config(group.as_str()).ok_or_else(|| no_group(group))
    }

    /// The settings of a group that has to be allowed to consume.
    pub(crate) fn consuming(&self, group: &GroupName) -> Result<GroupConfig, Refusal> {
        let config = self.existing(group)?;
        match config.consume_enabled {
            true => Ok(config),
            false => Err(Refusal::never(
                ErrorCode::GroupDisabled,
                format!("group {group} may not consume: an operator has switched it off"),
            )),
        }
    }

    /// Adds a group or changes it.
    pub(crate) fn put(&self, group: &GroupName, config: GroupConfig) {
        self.configs.write().insert(group.clone(), config);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// A group is gone.
    pub(crate) fn remove(&self, group: &GroupName) {
        self.configs.write().remove(group);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Grows with every change of settings.
    pub(crate) fn version(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The settings of all groups.
    pub(crate) fn all(&self) -> HashMap<GroupName, GroupConfig> {
        self.configs.read().clone()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.configs.read().len()
    }

    /// Their names, sorted.
    pub(crate) fn names(&self) -> Vec<GroupName> {
        let mut names: Vec<_> = self.configs.read().keys().cloned().collect();
        names.sort();
        names
    }

    /// The actor of a group, started when it sleeps.
    pub(crate) fn wake(
        &self,
        context: &Arc<BrokerContext>,
        group: &GroupName,
    ) -> Result<ActorRef<ConsumerGroup>, Failure> {
        let mut awake = self.awake.lock();
        if let Some(actor) = awake.get(group)
            && actor.is_open()
        {
            return Ok(actor.clone());
        }
        let supervisor = context.actors()?.groups.clone();
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let child = {
            let (context, name) = (context.clone(), group.clone());
            let mut is_restart = false;
            Child::new(format!("{group}#{number}"), move || {
                let is_restart = std::mem::replace(&mut is_restart, true);
                ConsumerGroup::new(context.clone(), name.clone(), is_restart)
            })
            .transient()
        };
        let actor = child.actor_ref();
        awake.insert(group.clone(), actor.clone());
        drop(supervisor.start_on(&context.data_stage, child));
        Ok(actor)
    }

    /// The actor of a group, if it is awake.
    pub(crate) fn find(&self, group: &GroupName) -> Option<ActorRef<ConsumerGroup>> {
        self.awake
            .lock()
            .get(group)
            .filter(|g| g.is_open())
            .cloned()
    }

    /// All actors that are awake.
    pub(crate) fn awake(&self) -> Vec<ActorRef<ConsumerGroup>> {
        self.awake.lock().values().cloned().collect()
    }

    /// A group goes to sleep.
    pub(crate) fn forget(&self, group: &GroupName, actor: &ActorRef<ConsumerGroup>) {
        let mut awake = self.awake.lock();
        if awake.get(group) == Some(actor) {
            awake.remove(group);
        }
    }
}
