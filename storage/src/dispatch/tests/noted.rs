//! Dispatching by the writer's notes leads where reading the log leads.

use std::collections::BTreeMap;

use castmq_protocol::model::keys;
use proptest::prelude::*;

use super::*;
use crate::commit_log::{AppendError, MOST_NOTES, NotedTopic};
use crate::disk::Wait;

const TOPICS: [&str; 5] = [
    "orders",
    "payments",
    system_topics::SCHEDULE,
    system_topics::TRANSACTION_HALF,
    system_topics::TRANSACTION_OP,
];

const SEGMENT_BYTES: u64 = 8192;

/// What a record is besides a message of a topic and a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Tagged,
    Keyed,
    Expiring,
    /// Of a transaction, at this stage.
    Transaction(i32),
    Moved,
}

#[derive(Debug, Clone)]
enum Event {
    Append {
        topic: usize,
        queue: u32,
        kind: Kind,
        body_bytes: usize,
    },
    Publish,
    /// Everything below so many thousandths of what is published.
    Dispatch(u64),
    /// Another writer takes over; what is not published is gone.
    ChangeWriter,
    /// Another dispatcher takes over.
    ChangeDispatcher,
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![
        8 => Just(Kind::Plain),
        3 => Just(Kind::Tagged),
        1 => Just(Kind::Keyed),
        1 => Just(Kind::Expiring),
        1 => prop::sample::select(vec![
            sys_flag::TRANSACTION_PREPARED,
            sys_flag::TRANSACTION_COMMIT,
            sys_flag::TRANSACTION_ROLLBACK,
        ])
        .prop_map(Kind::Transaction),
        1 => Just(Kind::Moved),
    ];
    let topic = prop_oneof![6 => 0..2_usize, 1 => 2..TOPICS.len()];
    let append =
        (topic, 0..3_u32, kind, 0..900_usize).prop_map(|(topic, queue, kind, body_bytes)| {
            Event::Append {
                topic,
                queue,
                kind,
                body_bytes,
            }
        });
    prop_oneof![
        12 => append,
        4 => Just(Event::Publish),
        3 => (0..=1000_u64).prop_map(Event::Dispatch),
        1 => Just(Event::ChangeWriter),
        1 => Just(Event::ChangeDispatcher),
    ]
}

type Offsets = BTreeMap<(usize, u32), u64>;

/// A log, whoever writes it, and what dispatching it came to.
struct World {
    log: Arc<CommitLog>,
    writer: Option<LogWriter>,
    /// The next offset of each queue, with what is not published and without.
    offsets: Offsets,
    published: Offsets,
    stored_ms: i64,
    queues: Arc<ConsumeQueues>,
    dispatch: Dispatch,
    met: Vec<Met>,
    keys: Vec<IndexKey>,
}

fn dispatcher(log: &Arc<CommitLog>, queues: &Arc<ConsumeQueues>, from: PhysicalOffset) -> Dispatch {
    Dispatch::new(log.clone(), queues.clone(), DelayLevels::default(), from).finding_keys()
}

fn no_queues() -> Arc<ConsumeQueues> {
    Arc::new(ConsumeQueues::open(Arc::new(FaultDisk::new()), "/queues", 20_000).unwrap())
}

impl World {
    fn new() -> Self {
        let log = empty_log(SEGMENT_BYTES);
        let queues = no_queues();
        Self {
            writer: Some(LogWriter::resume(log.clone()).unwrap()),
            dispatch: dispatcher(&log, &queues, PhysicalOffset::ZERO),
            log,
            queues,
            offsets: Offsets::new(),
            published: Offsets::new(),
            stored_ms: 1000,
            met: Vec::new(),
            keys: Vec::new(),
        }
    }

    fn append(&mut self, topic: usize, queue: u32, kind: Kind, body_bytes: usize) {
        let writer = self.writer.as_mut().unwrap();
        let body = vec![b'b'; body_bytes];
        let property = match kind {
            Kind::Tagged => format!("{}\u{1}a\u{2}", keys::TAGS),
            Kind::Keyed => format!("{}\u{1}k{body_bytes}\u{2}", keys::KEYS),
            Kind::Expiring => format!("{}\u{1}5000\u{2}", keys::EXPIRES_AT),
            _ => String::new(),
        };
        let offset = self.offsets.entry((topic, queue)).or_default();
        self.stored_ms += 1;
        let mut record = Record {
            topic: TOPICS[topic],
            queue: QueueId(queue),
            queue_offset: QueueOffset(*offset),
            sys_flag: match kind {
                Kind::Transaction(phase) => phase,
                _ => 0,
            },
            store_timestamp_ms: self.stored_ms,
            prepared_transaction_offset: match kind {
                Kind::Moved => Origin::Timer {
                    place: PhysicalOffset(77),
                }
                .encode(),
                Kind::Transaction(sys_flag::TRANSACTION_COMMIT) => 33,
                _ => 0,
            },
            body: &body,
            body_crc: None,
            properties: property.as_bytes(),
            ..record()
        };
        let bytes = record.encoded_bytes();
        if matches!(writer.reserve(bytes), Err(AppendError::SegmentNotReady)) {
            self.log.add_segment().unwrap();
        }
        record.physical_offset = writer.reserve(bytes).unwrap();
        writer.append(&record);
        // The end of a segment is published with all before it.
        if record.physical_offset.0.is_multiple_of(SEGMENT_BYTES) {
            self.published = self.offsets.clone();
        }
        let phase = record.sys_flag & sys_flag::TRANSACTION_MASK;
        if matches!(phase, 0 | sys_flag::TRANSACTION_COMMIT) {
            *self.offsets.entry((topic, queue)).or_default() += 1;
        }
    }

    fn publish(&mut self) {
        self.writer.as_mut().unwrap().publish();
        self.published = self.offsets.clone();
    }

    fn dispatch(&mut self, thousandths: u64) {
        let end = PhysicalOffset(self.log.appended().0 * thousandths / 1000);
        self.dispatch.advance(end, u64::MAX / 2, |_| {}).unwrap();
        self.met.extend(self.dispatch.take_met());
        let keyed = self.dispatch.take_keyed();
        self.keys
            .extend(keyed.and_then(|keyed| keyed.keys).unwrap_or_default());
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Append {
                topic,
                queue,
                kind,
                body_bytes,
            } => self.append(topic, queue, kind, body_bytes),
            Event::Publish => self.publish(),
            Event::Dispatch(thousandths) => self.dispatch(thousandths),
            Event::ChangeWriter => {
                self.writer = None;
                self.writer = Some(LogWriter::resume(self.log.clone()).unwrap());
                self.offsets = self.published.clone();
            }
            Event::ChangeDispatcher => {
                let position = self.dispatch.position();
                self.dispatch = dispatcher(&self.log, &self.queues, position);
            }
        }
    }

    fn units(queues: &ConsumeQueues) -> Vec<Vec<ConsumeUnit>> {
        let mut all = Vec::new();
        for topic in TOPICS {
            for queue in 0..3 {
                let mut units = Vec::new();
                let queue = queues.queue(&TopicName::new(topic).unwrap(), QueueId(queue));
                queue
                    .read(QueueOffset(0), 10_000, Wait::ForDisk, &mut units)
                    .unwrap();
                all.push(units);
            }
        }
        all
    }
}

proptest! {
    #[test]
    fn notes_lead_where_reading_the_log_leads(events in prop::collection::vec(event(), 0..200)) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
        }
        world.publish();
        world.dispatch(1000);
        // One that finds sends reads all records.
        let queues = no_queues();
        let from = PhysicalOffset::ZERO;
        let mut reading = dispatcher(&world.log, &queues, from).finding_sends();
        let end = world.log.appended();
        reading.advance(end, u64::MAX / 2, |_| {}).unwrap();
        prop_assert_eq!((world.dispatch.position(), reading.position()), (end, end));
        prop_assert_eq!(World::units(&world.queues), World::units(&queues));
        prop_assert_eq!(world.met, reading.take_met());
        let keys = reading.take_keyed().and_then(|keyed| keyed.keys);
        prop_assert_eq!(world.keys, keys.unwrap_or_default());
        let last = world.dispatch.last_store_timestamp_ms();
        prop_assert!(last == reading.last_store_timestamp_ms() || last == 0);
    }
}

/// The places of what is noted.
fn noted(log: &CommitLog) -> Vec<PhysicalOffset> {
    let mut notes = Vec::new();
    log.notes().take(&mut notes);
    notes.iter().map(|note| note.physical).collect()
}

#[test]
fn plain_messages_are_noted_once_they_are_published_and_others_are_not() {
    let mut world = World::new();
    let plain = [(0, Kind::Plain), (1, Kind::Tagged), (0, Kind::Tagged)];
    let others = [
        (0, Kind::Keyed),
        (0, Kind::Expiring),
        (0, Kind::Transaction(sys_flag::TRANSACTION_PREPARED)),
        (0, Kind::Transaction(sys_flag::TRANSACTION_COMMIT)),
        (0, Kind::Moved),
        (2, Kind::Plain),
        (3, Kind::Plain),
        (4, Kind::Plain),
    ];
    let mut places = Vec::new();
    for (topic, kind) in others.into_iter().chain(plain) {
        places.push(world.writer.as_ref().unwrap().position());
        world.append(topic, 0, kind, 10);
    }
    assert_eq!(noted(&world.log), []);
    world.publish();
    assert_eq!(noted(&world.log), places[others.len()..]);
    assert_eq!(noted(&world.log), []);
    let name = |number| world.log.notes().topic(NotedTopic::new(number));
    let names = [0, 1].map(|number| name(number).unwrap().to_string());
    assert_eq!(names, ["orders", "payments"]);
    assert_eq!(name(2), None);
}

#[test]
fn topics_keep_their_numbers_when_the_writer_changes() {
    let mut world = World::new();
    for topic in [1, 0, 1] {
        world.append(topic, 0, Kind::Plain, 1);
        world.publish();
        world.happen(&Event::ChangeWriter);
    }
    let mut notes = Vec::new();
    world.log.notes().take(&mut notes);
    let topics: Vec<_> = notes.iter().map(|note| note.topic).collect();
    assert_eq!(topics, [0, 1, 0].map(NotedTopic::new));
}

/// A log of so many plain messages, published now and then, and its end.
fn many(messages: usize, a_batch: usize) -> (Arc<CommitLog>, PhysicalOffset) {
    let log = empty_log(1 << 24);
    let mut writer = LogWriter::resume(log.clone()).unwrap();
    let mut record = record();
    for at in 0..messages {
        record.physical_offset = writer.reserve(record.encoded_bytes()).unwrap();
        record.queue_offset = QueueOffset(at as u64);
        writer.append(&record);
        if at % a_batch == 0 {
            writer.publish();
        }
    }
    let end = writer.publish();
    (log, end)
}

#[test]
fn what_is_not_noted_because_too_much_waits_is_read() {
    const BATCH: usize = 1000;
    const MESSAGES: usize = MOST_NOTES + 3 * BATCH;
    let (log, _) = many(MESSAGES, BATCH);
    assert!((1..=MOST_NOTES).contains(&noted(&log).len()));
    let (log, end) = many(MESSAGES, BATCH);
    let mut dispatch = dispatcher(&log, &no_queues(), PhysicalOffset::ZERO);
    let done = dispatch.advance(end, u64::MAX / 2, |_| {}).unwrap();
    assert_eq!(done.messages, MESSAGES as u64);
}
