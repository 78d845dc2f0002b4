//! What a broker is to the others of its set, from its start to its stop: it starts anew to become something else.

use std::sync::Arc;

use castmq_config::{Role, Settings};
use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::native::replication::LogEpoch;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_storage::disk::Disk;
use castmq_storage::epochs::{Epochs, Leadership, had_slaves};
use castmq_storage::store::{Store, StoreError, StoreOptions};
use castmq_storage::takeover;

/// The epoch of a set whose master nobody ever changed.
pub(crate) const FIRST_EPOCH: u32 = 1;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) role: Role,
    /// Its number in the set now: 0 for the master.
    pub(crate) id: u64,
    /// The last change of masters that it knows of.
    pub(crate) epoch: u32,
    /// On a master: whether there are others that may have become it while this one was away.
    pub(crate) may_be_replaced: bool,
    /// Who wrote the log, as far as that was known at the start.
    pub(crate) epochs: Epochs,
}

/// Another broker of the set has become its master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fence {
    /// The epoch that began with that.
    pub(crate) epoch: u32,
    /// Its number in its configuration, when it is known.
    pub(crate) master_id: Option<u64>,
}

impl Fence {
    /// What a broker becomes that has this number in its configuration.
    pub(crate) fn leadership(self, configured_id: u64) -> Leadership {
        let ids = [Some(configured_id), self.master_id];
        let id = ids.into_iter().flatten().find(|id| *id > 0);
        Leadership::Slave {
            epoch: self.epoch,
            id: id.unwrap_or(1),
        }
    }
}

/// What is done to the store between a stop and the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rebase {
    /// The log is cut at a place, and what lies behind is kept aside.
    Cut { at: PhysicalOffset },
    /// The log begins anew at a place.
    BeginAnew { at: PhysicalOffset },
}

impl Rebase {
    /// Blocks.
    pub(crate) fn carry_out(
        self,
        disk: &Arc<dyn Disk>,
        options: &StoreOptions,
    ) -> Result<(), StoreError> {
        match self {
            Self::Cut { at } => {
                let reason = "the master of the set never had it";
                if let Some(cut) = Store::cut(disk, options, at, reason)? {
                    tracing::warn!(
                        from = %cut.from,
                        bytes = cut.bytes,
                        kept_in = %cut.kept_in.display(),
                        "messages that the master never had were cut off the log, and are kept aside"
                    );
                }
            }
            Self::BeginAnew { at } => {
                tracing::warn!(%at, "the log begins anew where that of the master begins");
                Store::begin_anew(disk, options, at)?;
            }
        }
        Ok(())
    }
}

impl Standing {
    /// What the configuration says, or what became of that. A master notes that it writes the log from here on. Blocks.
    pub(crate) fn take_up(settings: &Settings, store: &Store) -> Result<Self, StoreError> {
        let broker = &settings.broker;
        let metadata = &store.metadata;
        let leadership = Leadership::load(metadata)?;
        let mut epochs = Epochs::load(metadata)?;
        let known = leadership.map_or(0, Leadership::epoch);
        let epoch = known.max(epochs.last_epoch());
        let (role, id) = match leadership {
            None => (broker.role, broker.id.into()),
            Some(Leadership::Master { is_sync: true, .. }) => (Role::SyncMaster, 0),
            Some(Leadership::Master { is_sync: false, .. }) => (Role::AsyncMaster, 0),
            Some(Leadership::Slave { id, .. }) => (Role::Slave, id),
        };
        let epoch = match role {
            Role::Slave => epoch,
            Role::SyncMaster | Role::AsyncMaster => epoch.max(FIRST_EPOCH),
        };
        let end = store.log.appended();
        let begin = store.log.begin();
        if role == Role::Slave {
            epochs.cut(end);
            store.forget_wheel()?;
        } else {
            takeover::end_following(store)?;
            let run = fastrand::u64(..);
            let start = match epochs.entries() {
                // What was written before anybody kept note is this one's, too.
                [] => begin,
                _ => end,
            };
            epochs.begin(LogEpoch { epoch, run, start }, begin);
        }
        epochs.save(metadata)?;
        metadata.sync()?;
        Ok(Self {
            may_be_replaced: role != Role::Slave && (leadership.is_some() || had_slaves(metadata)?),
            role,
            id,
            epoch,
            epochs,
        })
    }

    /// Whether it copies a master.
    pub(crate) fn is_slave(&self) -> bool {
        self.role == Role::Slave
    }

    /// Refuses what only a master takes.
    pub(crate) fn check_master(&self) -> Result<(), Refusal> {
        match self.is_slave() {
            false => Ok(()),
            true => Err(Refusal::safe(
                ErrorCode::NotMaster,
                "the broker is a slave, which only copies its master: ask the master",
            )),
        }
    }
}
