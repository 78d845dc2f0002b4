//! RocketMQ's commit-log record: the same bytes lie in the log and travel to consumers.
//!
//! - [`Record`] is a message about to be written; [`Record::encode`] lays it out.
//! - [`RecordView`] reads a record where it lies, without copying.
//! - [`step`] walks a log: a record, the blank at a segment's end, the end of what was written, or damage.
//! - [`batch`] is the form in which many messages travel in one request.
//! - [`Origin`] is what a message was before the broker stored it again.
//! - [`MessageId`] is the id that says where a message lies.

pub mod batch;
mod check_sum;
mod encode;
mod id;
mod layout;
mod numbered;
mod origin;
mod view;

pub use check_sum::body_crc;
pub use encode::Record;
pub use id::{MessageId, MessageIdError};
pub use layout::{BLANK_BYTES, Version, encode_blank, sys_flag};
pub use numbered::{PartOfSend, SendNumber};
pub use origin::Origin;
pub use view::{RecordError, RecordView, Step, step};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PhysicalOffset, QueueId, QueueOffset};
    use proptest::prelude::*;

    fn record<'a>(topic: &'a str, body: &'a [u8], properties: &'a [u8]) -> Record<'a> {
        Record {
            topic,
            queue: QueueId(3),
            queue_offset: QueueOffset(0x1122),
            physical_offset: PhysicalOffset(0x3344_5566),
            flag: 7,
            sys_flag: sys_flag::COMPRESSED,
            born_timestamp_ms: 1_700_000_000_001,
            born_host: "10.0.0.5:5000".parse().unwrap(),
            store_timestamp_ms: 1_700_000_000_002,
            store_host: "192.168.9.230:10911".parse().unwrap(),
            reconsume_times: 2,
            prepared_transaction_offset: 99,
            body,
            body_crc: None,
            properties,
        }
    }

    fn encode(record: &Record<'_>) -> Vec<u8> {
        let mut out = vec![0xEE; record.encoded_bytes() + 5];
        assert_eq!(record.encode(&mut out), record.encoded_bytes());
        assert!(out[record.encoded_bytes()..].iter().all(|b| *b == 0xEE));
        out.truncate(record.encoded_bytes());
        out
    }

    #[test]
    fn a_v1_record_is_byte_for_byte_rocketmqs() {
        let bytes = encode(&record("TopicA", b"hello", b"TAGS\x01a\x02"));
        let mut expected = Vec::new();
        expected.extend(109_i32.to_be_bytes());
        expected.extend(0xDAA3_20A7_u32.to_be_bytes());
        expected.extend(0x3610_A686_u32.to_be_bytes()); // CRC-32 of "hello"
        expected.extend(3_i32.to_be_bytes());
        expected.extend(7_i32.to_be_bytes());
        expected.extend(0x1122_i64.to_be_bytes());
        expected.extend(0x3344_5566_i64.to_be_bytes());
        expected.extend(1_i32.to_be_bytes());
        expected.extend(1_700_000_000_001_i64.to_be_bytes());
        expected.extend([10, 0, 0, 5]);
        expected.extend(5000_i32.to_be_bytes());
        expected.extend(1_700_000_000_002_i64.to_be_bytes());
        expected.extend([192, 168, 9, 230]);
        expected.extend(10911_i32.to_be_bytes());
        expected.extend(2_i32.to_be_bytes());
        expected.extend(99_i64.to_be_bytes());
        expected.extend(5_i32.to_be_bytes());
        expected.extend(b"hello");
        expected.push(6);
        expected.extend(b"TopicA");
        expected.extend(7_i16.to_be_bytes());
        expected.extend(b"TAGS\x01a\x02");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn long_topics_make_v2_records() {
        let topic = "t".repeat(200);
        let bytes = encode(&record(&topic, b"x", b""));
        assert_eq!(bytes[4..8], 0xDAA3_20AB_u32.to_be_bytes());
        assert_eq!(bytes.len(), 92 + 200 + 1);
        let view = RecordView::parse(&bytes).unwrap();
        assert_eq!(view.topic().unwrap(), topic);
    }

    #[test]
    fn a_walk_tells_records_fillers_and_unwritten_space_apart() {
        let record = record("T", b"body", b"");
        let mut log = vec![0; 400];
        let end = record.encode(&mut log);
        encode_blank(&mut log[end..300]);
        assert!(matches!(step(&log), Ok(Step::Record(view)) if view.total_bytes() == end));
        assert!(matches!(step(&log[end..300]), Ok(Step::Blank)));
        assert_eq!(log[end..end + 4], ((300 - end) as i32).to_be_bytes());
        assert!(matches!(step(&log[300..]), Ok(Step::Unwritten)));
        log[4] = 0;
        assert!(matches!(step(&log), Err(RecordError::Magic { .. })));
        assert!(step(&log[..7]).is_err());
    }

    #[test]
    fn a_flipped_body_bit_and_a_wrong_place_are_found() {
        let mut bytes = encode(&record("T", b"body", b""));
        let view = RecordView::parse(&bytes).unwrap();
        assert_eq!(view.verify_body(), Ok(()));
        assert_eq!(view.verify_place(PhysicalOffset(0x3344_5566)), Ok(()));
        assert!(matches!(
            view.verify_place(PhysicalOffset(1)),
            Err(RecordError::Place { actual: 1, .. })
        ));
        bytes[89] ^= 1;
        let view = RecordView::parse(&bytes).unwrap();
        assert!(matches!(
            view.verify_body(),
            Err(RecordError::BodyCrc { .. })
        ));
    }

    fn host() -> impl Strategy<Value = std::net::SocketAddr> {
        (any::<std::net::IpAddr>(), any::<u16>()).prop_map(Into::into)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            topic in "[a-zA-Z0-9_%-]{1,255}",
            body in prop::collection::vec(any::<u8>(), 0..300),
            properties in prop::collection::vec(any::<u8>(), 0..300),
            born_host in host(),
            store_host in host(),
            queue in 0..u32::MAX / 2,
            offset in 0..u64::MAX / 2,
            times in any::<(i64, i64, i32, i64)>(),
        ) {
            let written = Record {
                topic: &topic,
                queue: QueueId(queue),
                queue_offset: QueueOffset(offset),
                born_host,
                store_host,
                born_timestamp_ms: times.0,
                store_timestamp_ms: times.1,
                reconsume_times: times.2,
                prepared_transaction_offset: times.3,
                ..record(&topic, &body, &properties)
            };
            let bytes = encode(&written);
            let view = RecordView::parse(&bytes).unwrap();
            prop_assert_eq!(view.topic().unwrap(), topic.as_str());
            prop_assert_eq!(view.body(), &body[..]);
            prop_assert_eq!(view.properties(), &properties[..]);
            prop_assert_eq!(view.queue().unwrap(), QueueId(queue));
            prop_assert_eq!(view.queue_offset().unwrap(), QueueOffset(offset));
            prop_assert_eq!(view.born_timestamp_ms(), times.0);
            prop_assert_eq!(view.store_timestamp_ms(), times.1);
            prop_assert_eq!(view.reconsume_times(), times.2);
            prop_assert_eq!(view.prepared_transaction_offset(), times.3);
            prop_assert_eq!(view.flag(), 7);
            // An address keeps its IP and port; an IPv6 scope or flow label is not part of the layout.
            prop_assert_eq!((view.born_host().ip(), view.born_host().port()), (born_host.ip(), born_host.port()));
            prop_assert_eq!((view.store_host().ip(), view.store_host().port()), (store_host.ip(), store_host.port()));
            prop_assert_eq!(view.verify_body(), Ok(()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), magic in prop::bool::ANY) {
            if magic && bytes.len() > 8 {
                bytes[4..8].copy_from_slice(&0xDAA3_20A7_u32.to_be_bytes());
                let total = bytes.len() as i32;
                bytes[..4].copy_from_slice(&total.to_be_bytes());
            }
            read_everything(&bytes);
        }

        #[test]
        fn damaged_records_never_panic(at in 0_usize..109, byte in any::<u8>()) {
            let mut bytes = encode(&record("TopicA", b"hello", b"TAGS\x01a\x02"));
            bytes[at] = byte;
            read_everything(&bytes);
        }
    }

    fn read_everything(bytes: &[u8]) {
        if let Ok(Step::Record(view)) = step(bytes) {
            let _ = (
                view.queue(),
                view.queue_offset(),
                view.topic(),
                view.born_host(),
                view.store_host(),
            );
            let _ = (
                view.body(),
                view.properties(),
                view.property("TAGS"),
                view.verify_body(),
            );
            let _ = (view.reconsume_times(), view.prepared_transaction_offset());
        }
    }
}
