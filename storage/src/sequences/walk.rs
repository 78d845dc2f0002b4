//! Sends as the log tells of them.

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::record::{PartOfSend, RecordView, SendNumber};

use super::parts::Parts;
use super::window::Place;

/// A numbered send that is stored, whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredSend {
    /// Its numbers.
    pub number: SendNumber,
    /// Where it is.
    pub place: Place,
    /// When it was stored, in milliseconds since the epoch.
    pub stored_ms: i64,
}

/// Finds them among the records of a log, passed in their order.
#[derive(Debug, Default)]
pub(crate) struct SendWalk {
    parts: Parts,
    /// The send that the last first record began.
    begun: Option<StoredSend>,
    found: Vec<StoredSend>,
}

impl SendWalk {
    /// Passes a record.
    pub(crate) fn pass(&mut self, at: PhysicalOffset, record: &RecordView<'_>) {
        let whole = self.parts.pass(at, record);
        let part = PartOfSend::decode(record.prepared_transaction_offset());
        if part.is_some_and(|part| part.before == 0) {
            self.begun = begin(at, record);
        }
        if let Some(begin) = whole
            && let Some(send) = self.begun.take_if(|send| send.place.physical == begin)
        {
            self.found.push(send);
        }
    }

    /// What was found since this was last called.
    pub(crate) fn take(&mut self) -> Vec<StoredSend> {
        std::mem::take(&mut self.found)
    }
}

fn begin(at: PhysicalOffset, record: &RecordView<'_>) -> Option<StoredSend> {
    Some(StoredSend {
        number: SendNumber::find(record.properties())?,
        place: Place {
            queue: record.queue().ok()?,
            offset: record.queue_offset().ok()?,
            physical: at,
        },
        stored_ms: record.store_timestamp_ms(),
    })
}
