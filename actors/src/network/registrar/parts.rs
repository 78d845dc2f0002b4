//! Cutting a registration into parts that a name server takes. Pure.

use bytes::BytesMut;
use castmq_protocol::native::frame::encode_frame;
use castmq_protocol::native::route::{RegisterBroker, TopicQueues, TopicsReport};
use castmq_protocol::native::{ClientHeader, Request};

/// Bytes of a name's length on the wire.
const LENGTH_BYTES: usize = 8;

/// Bytes of a topic on the wire besides its name: four numbers and a switch.
const QUEUES_BYTES: usize = 17;

/// The parts, each a frame of at most `max_bytes` bytes where a topic fits one.
pub(super) fn parts(whole: RegisterBroker, max_bytes: usize) -> Vec<RegisterBroker> {
    let TopicsReport {
        since,
        changed,
        removed,
        ..
    } = whole.topics;
    let empty = RegisterBroker {
        topics: TopicsReport {
            since,
            ..TopicsReport::default()
        },
        ..whole
    };
    let mut cut = Cut {
        room: max_bytes.saturating_sub(frame_bytes(&empty)),
        used: 0,
        part: empty.clone(),
        full: Vec::new(),
        empty,
    };
    for queues in changed {
        cut.make_room(wire_bytes(&queues));
        cut.part.topics.changed.push(queues);
    }
    for name in removed {
        cut.make_room(LENGTH_BYTES + name.len());
        cut.part.topics.removed.push(name);
    }
    cut.full.push(cut.part);
    cut.full
}

struct Cut {
    room: usize,
    used: usize,
    part: RegisterBroker,
    full: Vec<RegisterBroker>,
    empty: RegisterBroker,
}

impl Cut {
    fn make_room(&mut self, bytes: usize) {
        if self.used > 0 && self.used + bytes > self.room {
            let mut part = std::mem::replace(&mut self.part, self.empty.clone());
            part.topics.more = true;
            self.full.push(part);
            self.used = 0;
        }
        self.used += bytes;
    }
}

fn wire_bytes(queues: &TopicQueues) -> usize {
    LENGTH_BYTES + queues.topic.len() + QUEUES_BYTES
}

fn frame_bytes(register: &RegisterBroker) -> usize {
    let header = ClientHeader {
        correlation: 1,
        request: Request::RegisterBroker(register.clone()),
    };
    let mut frame = BytesMut::new();
    encode_frame(&header, &[], &mut frame);
    frame.len()
}

#[cfg(test)]
mod tests {
    use castmq_protocol::native::route::DataVersion;

    use super::*;

    fn whole(topics: usize, removed: usize) -> RegisterBroker {
        let queues = |number: usize| TopicQueues {
            topic: format!("topic-{number}-{}", "x".repeat(number % 120)),
            read_queues: 4,
            write_queues: 4,
            permission: 6,
            system_flag: 0,
            is_traced: true,
        };
        RegisterBroker {
            cluster: "c".into(),
            broker: "b".into(),
            broker_id: 0,
            configured_id: 0,
            epoch: 1,
            address: "127.0.0.1:1".into(),
            ha_address: "127.0.0.1:2".into(),
            expiry_ms: 1000,
            version: DataVersion::default(),
            topics: TopicsReport {
                since: Some(DataVersion::default()),
                changed: (0..topics).map(queues).collect(),
                removed: (0..removed)
                    .map(|number| format!("gone-{number}"))
                    .collect(),
                more: false,
            },
        }
    }

    #[test]
    fn parts_fit_and_are_the_whole_together() {
        for max_bytes in [0, 200, 1000, 4096] {
            let whole = whole(300, 100);
            let parts = parts(whole.clone(), max_bytes);
            let (last, before) = parts.split_last().unwrap();
            assert!(before.iter().all(|part| part.topics.more));
            assert!(!last.topics.more);
            let mut joined = last.clone();
            joined.topics.changed.clear();
            joined.topics.removed.clear();
            for part in &parts {
                let topics = part.topics.changed.len() + part.topics.removed.len();
                assert!(frame_bytes(part) <= max_bytes || topics == 1);
                joined.topics.changed.extend(part.topics.changed.clone());
                joined.topics.removed.extend(part.topics.removed.clone());
            }
            assert_eq!(joined, whole);
        }
    }

    #[test]
    fn what_fits_one_frame_is_one_part() {
        assert_eq!(parts(whole(0, 0), 4096), [whole(0, 0)]);
        assert_eq!(parts(whole(10, 10), 4096), [whole(10, 10)]);
        let bytes = frame_bytes(&whole(10, 10));
        assert_eq!(parts(whole(10, 10), bytes).len(), 1);
        assert_eq!(parts(whole(10, 10), bytes - 1).len(), 2);
    }
}
