//! Which sends of producers that number them are stored, and where, so that one that comes twice is stored once.
//!
//! The log-writer asks before it stores a send and notes it afterwards; nobody else appends, so a send that is repeated
//! never races with itself. What is noted is what the log holds: it is saved before recovery stops looking at the records
//! it was taken from, and not before those are durable, and the rest is taken from the log again at a start. What a power
//! cut takes from the log is therefore not known any more either, and is stored when it comes again.
//!
//! - `window`: the sends of one producer; `table`: all producers that are known. Pure.
//! - `parts`: which records make a whole send; `walk`: sends as the log tells of them.
//! - `encoding`: a window among the metadata.

mod encoding;
#[cfg(test)]
mod model_tests;
pub(crate) mod parts;
mod table;
#[cfg(test)]
mod tests;
mod walk;
mod window;

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::record::SendNumber;
use parking_lot::Mutex;

pub use table::{Look, ProducerLimits};
pub(crate) use walk::SendWalk;
pub use walk::StoredSend;
pub use window::Place;

use self::table::Table;
use crate::metadata::{Metadata, MetadataError};

/// Where windows are kept among the key-values.
const NAMESPACE: &str = "producer_sequences";

/// The sends that one store knows.
#[derive(Debug)]
pub struct Sequences(Mutex<Table>);

impl Sequences {
    /// Takes up what was saved, without what the log does not hold any more.
    pub(crate) fn load(
        metadata: &Metadata,
        limits: ProducerLimits,
        end: PhysicalOffset,
    ) -> Result<Self, MetadataError> {
        let mut saved = Vec::new();
        for (key, value) in metadata.values(NAMESPACE)? {
            let id = u64::from_str_radix(&key, 16).ok();
            let found = id.zip(encoding::decode(&value));
            let (id, (window, last_ms)) = found
                .ok_or_else(|| metadata.damaged(key.as_bytes(), "it is no producer's window"))?;
            saved.push((id, window, last_ms));
        }
        let mut table = Table::new(limits);
        table.restore(saved);
        table.cut(end);
        Ok(Self(Mutex::new(table)))
    }

    /// What is known of a send that is about to be stored, at this time in milliseconds since the epoch.
    pub fn look(&self, number: &SendNumber, now_ms: i64) -> Look {
        self.0.lock().look(number, now_ms)
    }

    /// Notes a send that was appended.
    pub fn note(&self, send: &StoredSend) {
        self.0.lock().note(send);
    }

    /// Forgets what lies behind the end of the log: it was noted and never published.
    pub fn cut(&self, end: PhysicalOffset) {
        self.0.lock().cut(end);
    }

    /// How many producers are known.
    pub fn producers(&self) -> usize {
        self.0.lock().producers()
    }

    /// Writes what was noted of records below `durable`, to be synced by the caller. Returns whether there was anything.
    pub(crate) fn save(
        &self,
        metadata: &Metadata,
        durable: PhysicalOffset,
    ) -> Result<bool, MetadataError> {
        let (changed, forgotten) = self.0.lock().take_changes();
        let is_any = !changed.is_empty() || !forgotten.is_empty();
        let saved = self.save_these(metadata, durable, &changed, &forgotten);
        if saved.is_err() {
            self.0.lock().put_back_changes(&changed, forgotten);
        }
        saved.map(|()| is_any)
    }

    fn save_these(
        &self,
        metadata: &Metadata,
        durable: PhysicalOffset,
        changed: &[u64],
        forgotten: &[u64],
    ) -> Result<(), MetadataError> {
        let key = |id: u64| format!("{id:016x}");
        for id in forgotten {
            metadata.remove_value(NAMESPACE, &key(*id))?;
        }
        for id in changed {
            // One by one: the log-writer must not wait for all of them.
            let value = self.0.lock().encode(*id, durable);
            if let Some(value) = value {
                metadata.put_value(NAMESPACE, &key(*id), &value)?;
            }
        }
        Ok(())
    }
}
