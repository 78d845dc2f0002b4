//! What a broker is to the others of its set, from its start to its stop: it starts anew to become something else.

use castmq_config::{Role, Settings};
use castmq_protocol::native::replication::LogEpoch;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_storage::epochs::{Epochs, Leadership};
use castmq_storage::metadata::MetadataError;
use castmq_storage::store::Store;

/// The epoch of a set whose master nobody ever changed.
const FIRST_EPOCH: u32 = 1;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) role: Role,
    /// Its number in the set now: 0 for the master.
    pub(crate) id: u64,
    /// The last change of masters that it knows of.
    pub(crate) epoch: u32,
}

impl Standing {
    /// What the configuration says, or what became of that. A master notes that it writes the log from here on. Blocks.
    pub(crate) fn take_up(settings: &Settings, store: &Store) -> Result<Self, MetadataError> {
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
        let standing = Self { role, id, epoch };
        let end = store.log.appended();
        if standing.is_slave() {
            epochs.cut(end);
        } else {
            let run = fastrand::u64(..);
            let start = end;
            epochs.begin(LogEpoch { epoch, run, start }, store.log.begin());
        }
        epochs.save(metadata)?;
        metadata.sync()?;
        Ok(standing)
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
