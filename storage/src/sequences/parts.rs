//! Which records make a whole send: a batch that its producer numbered is stored whole or not at all, also when the process
//! or the power ends in the middle of it.

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::record::{PartOfSend, RecordView, SendNumber};

/// Follows the records of a log in their order.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    open: Option<Open>,
}

/// A send of which the last records are still to come.
#[derive(Debug, Clone, Copy)]
struct Open {
    begin: PhysicalOffset,
    /// Where the next of its records has to begin: they lie one behind the other.
    next: PhysicalOffset,
    count: u32,
}

impl Parts {
    /// Passes a record. Returns where its send begins, when that is whole with it.
    pub(crate) fn pass(
        &mut self,
        at: PhysicalOffset,
        record: &RecordView<'_>,
    ) -> Option<PhysicalOffset> {
        let part = PartOfSend::decode(record.prepared_transaction_offset())?;
        let next = at + record.total_bytes() as u64;
        self.open = match self.open {
            _ if part.before == 0 => Some(Open {
                begin: at,
                next,
                count: 1,
            }),
            Some(open) if open.next == at && open.count == part.before => Some(Open {
                next,
                count: open.count + 1,
                ..open
            }),
            _ => None,
        };
        if part.behind > 0 {
            return None;
        }
        self.open.take().map(|open| open.begin)
    }

    /// Where a send begins that is not whole, when the log ends here.
    pub(crate) fn unfinished(&self, end: PhysicalOffset) -> Option<PhysicalOffset> {
        self.open
            .filter(|open| open.next == end)
            .map(|open| open.begin)
    }
}

/// Whether a record should tell the number of its send, and does not: it is not all there.
pub(crate) fn lacks_number(record: &RecordView<'_>) -> bool {
    let part = PartOfSend::decode(record.prepared_transaction_offset());
    part.is_some_and(|part| part.before == 0) && SendNumber::find(record.properties()).is_none()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use castmq_protocol::model::{QueueId, QueueOffset};
    use castmq_protocol::record::Record;

    use super::*;
    use crate::commit_log::recovery::{Known, Recovered, Start, open};
    use crate::commit_log::{CommitLog, LogWriter};
    use crate::disk::fault::FaultDisk;
    use crate::sequences::SendWalk;
    use crate::store::Records;

    fn reopen(disk: &FaultDisk, durable: PhysicalOffset) -> (Arc<CommitLog>, Recovered) {
        let known = Known {
            durable: Some(durable),
            start: Start::Beginning,
            verify_bodies: true,
            may_be_torn: true,
            clean: false,
            repair: false,
        };
        open(Arc::new(disk.clone()), Path::new("/log"), 8192, known).unwrap()
    }

    /// Appends the first `written` of a send's records, and says where the first of them is.
    fn append(log: &mut LogWriter, sequence: u64, written: u32, records: u32) -> PhysicalOffset {
        let number = SendNumber {
            producer_id: 7,
            sequence,
            settled_below: 1,
        };
        let mut properties = Vec::new();
        number.append_to(b"", &mut properties);
        append_with(log, &properties, sequence, written, records)
    }

    fn append_with(
        log: &mut LogWriter,
        properties: &[u8],
        sequence: u64,
        written: u32,
        records: u32,
    ) -> PhysicalOffset {
        let begin = log.position();
        for before in 0..written {
            let behind = records - before - 1;
            let mut record = Record {
                topic: "T",
                queue: QueueId(0),
                queue_offset: QueueOffset(sequence),
                physical_offset: PhysicalOffset::ZERO,
                flag: 0,
                sys_flag: 0,
                born_timestamp_ms: 1,
                born_host: "127.0.0.1:1".parse().unwrap(),
                store_timestamp_ms: sequence as i64,
                store_host: "127.0.0.1:2".parse().unwrap(),
                reconsume_times: 0,
                prepared_transaction_offset: PartOfSend { before, behind }.encode(),
                body: b"body",
                body_crc: None,
                properties: if before == 0 { properties } else { b"" },
            };
            record.physical_offset = log.reserve(record.encoded_bytes()).unwrap();
            log.append(&record);
        }
        log.publish();
        begin
    }

    #[test]
    fn a_batch_whose_last_messages_are_missing_is_cut_and_a_whole_one_is_not() {
        for written in 1..=3 {
            let disk = FaultDisk::new();
            let (log, _) = reopen(&disk, PhysicalOffset::ZERO);
            let mut writer = LogWriter::resume(log.clone()).unwrap();
            append(&mut writer, 1, 1, 1);
            let begin = append(&mut writer, 2, written, 3);
            let (end, is_whole) = (log.appended(), written == 3);
            drop((writer, log));
            let (log, found) = reopen(&disk, PhysicalOffset::ZERO);
            assert_eq!(log.appended(), if is_whole { end } else { begin });
            assert_eq!(found.records, if is_whole { 4 } else { 1 });
            assert_eq!(found.last_store_timestamp_ms, if is_whole { 2 } else { 1 });
            let reason = found.cut.map(|cut| cut.reason);
            assert_eq!(
                reason.as_deref(),
                (!is_whole).then_some("the first messages of a batch without the last")
            );
        }
    }

    #[test]
    fn a_record_whose_number_is_not_all_there_is_cut_unless_it_is_durable() {
        for is_durable in [false, true] {
            let disk = FaultDisk::new();
            let (log, _) = reopen(&disk, PhysicalOffset::ZERO);
            let mut writer = LogWriter::resume(log.clone()).unwrap();
            append(&mut writer, 1, 1, 1);
            let begin = append_with(&mut writer, b"PSEQ\x017-2\0\0\0", 2, 1, 1);
            let end = log.appended();
            drop((writer, log));
            let durable = if is_durable {
                end
            } else {
                PhysicalOffset::ZERO
            };
            let (log, _) = reopen(&disk, durable);
            assert_eq!(log.appended(), if is_durable { end } else { begin });
        }
    }

    #[test]
    fn a_part_of_a_batch_below_what_is_durable_stays() {
        let disk = FaultDisk::new();
        let (log, _) = reopen(&disk, PhysicalOffset::ZERO);
        let mut writer = LogWriter::resume(log.clone()).unwrap();
        append(&mut writer, 1, 2, 3);
        let end = log.appended();
        drop((writer, log));
        assert_eq!(reopen(&disk, end).0.appended(), end);
    }

    #[test]
    fn only_whole_sends_are_found_in_a_log_and_each_where_it_begins() {
        let disk = FaultDisk::new();
        let (log, _) = reopen(&disk, PhysicalOffset::ZERO);
        let mut writer = LogWriter::resume(log.clone()).unwrap();
        let first = append(&mut writer, 1, 3, 3);
        append(&mut writer, 2, 2, 3);
        let third = append(&mut writer, 3, 1, 1);
        append(&mut writer, 4, 1, 2);
        let find = |from| {
            let mut walk = SendWalk::default();
            for record in Records::new(&log, from..log.appended()) {
                let (at, record) = record.unwrap();
                walk.pass(at, &RecordView::parse(record.as_ref()).unwrap());
            }
            let found = walk.take().into_iter();
            let sends = found.map(|send| (send.number.sequence, send.place.physical));
            sends.collect::<Vec<_>>()
        };
        assert_eq!(find(PhysicalOffset::ZERO), [(1, first), (3, third)]);
        // From the middle of a send on, that one is not.
        let bytes = log.record(first).unwrap().len() as u64;
        assert_eq!(find(first + bytes), [(3, third)]);
    }
}
