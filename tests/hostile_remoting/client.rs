//! A client as RocketMQ's Java client is one: heartbeats, sends that wait for their answers, and pulls that wait for messages.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use castmq_protocol::record::RecordView;
use castmq_protocol::remoting::headers::membership::ConsumerList;
use castmq_protocol::remoting::headers::name_server::RouteInfo;
use castmq_protocol::remoting::headers::offsets::{QueryOffset, UpdateOffset};
use castmq_protocol::remoting::headers::pull::{PullMessage, pull_flag};
use castmq_protocol::remoting::headers::send::SendMessage;
use castmq_protocol::remoting::{request_code as code, response_code};

use crate::wire::Wire;

const TOPIC: &str = "well-behaved-and-far-from-orders";
const GROUP: &str = "well-behaved";

/// The Java client's time between two heartbeats is 30 s; the broker of the test forgets who is silent before.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What the client did so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    is_over: Cell<bool>,
    /// The last send was answered: `sent` does not grow any more.
    is_all_sent: Cell<bool>,
    pub(crate) sent: Cell<u64>,
    pub(crate) received: Cell<u64>,
    pub(crate) routes: Cell<u64>,
    /// The longest time that an answer to a send took.
    pub(crate) slowest: RefCell<Duration>,
}

impl Progress {
    pub(crate) fn end(&self) {
        self.is_over.set(true);
    }

    /// Waits until so many messages came.
    pub(crate) async fn reach(&self, messages: u64) {
        while self.received.get() < messages {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Sends messages with numbers, one after the other.
pub(crate) async fn produce(progress: Rc<Progress>, broker: String) {
    let mut wire = Wire::open(&broker).await;
    while !progress.is_over.get() {
        let number = progress.sent.get();
        let properties = format!("UNIQ_KEY\u{1}well-behaved-{number}\u{2}TAGS\u{1}red\u{2}");
        let message = SendMessage {
            producer_group: "well-behaved-producers",
            topic: TOPIC,
            default_topic: "TBW102",
            default_topic_queues: 1,
            born_timestamp_ms: 1_700_000_000_000,
            properties: Some(&properties),
            ..SendMessage::default()
        };
        let asked = Instant::now();
        let fields = message.for_code(code::SEND_MESSAGE_V2);
        let body = number.to_string();
        let sent = wire
            .ask(code::SEND_MESSAGE_V2, &fields, body.as_bytes())
            .await;
        assert_eq!(sent.code, response_code::SUCCESS, "{}", sent.remark);
        assert_eq!(sent.field("queueOffset"), body);
        let slowest = *progress.slowest.borrow();
        progress.slowest.replace(slowest.max(asked.elapsed()));
        progress.sent.set(number + 1);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    progress.is_all_sent.set(true);
}

/// Pulls them in a group, each once and in its turn, until all have come that were sent.
pub(crate) async fn consume(progress: Rc<Progress>, broker: String) {
    let mut wire = Wire::open(&broker).await;
    let mut heard: Option<Instant> = None;
    let mut next = 0;
    while !progress.is_all_sent.get() || progress.received.get() < progress.sent.get() {
        if heard.is_none_or(|at| at.elapsed() >= HEARTBEAT) {
            let answer = wire.heartbeat("well-behaved@1", GROUP, TOPIC).await;
            assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
            let list = ConsumerList { group: GROUP };
            let list = wire.ask(code::GET_CONSUMER_LIST_BY_GROUP, &list, b"").await;
            assert_eq!(list.body, br#"{"consumerIdList":["well-behaved@1"]}"#[..]);
            heard = Some(Instant::now());
        }
        let pull = PullMessage {
            group: GROUP,
            topic: TOPIC,
            queue: 0,
            offset: next,
            max_messages: 32,
            sys_flag: pull_flag::SUSPEND,
            commit_offset: 0,
            suspend_timeout_ms: 1_000,
            subscription: None,
            subscription_version: 1,
            expression_type: Some("TAG"),
            max_bytes: None,
            request_source: None,
            proxied_client_id: None,
            broker_name: None,
        };
        let pulled = wire.ask(code::PULL_MESSAGE, &pull, b"").await;
        match pulled.code {
            response_code::SUCCESS => {
                let mut rest = &pulled.body[..];
                while !rest.is_empty() {
                    let record = RecordView::parse(rest).expect("a record");
                    assert_eq!(record.body(), next.to_string().as_bytes());
                    rest = &rest[record.total_bytes()..];
                    next += 1;
                }
                progress.received.set(next as u64);
                commit(&mut wire, next).await;
            }
            response_code::PULL_NOT_FOUND => {}
            code => panic!("{code}: {}", pulled.remark),
        }
    }
}

async fn commit(wire: &mut Wire, offset: i64) {
    let update = UpdateOffset {
        group: GROUP,
        topic: TOPIC,
        queue: 0,
        offset,
    };
    let done = wire.ask(code::UPDATE_CONSUMER_OFFSET, &update, b"").await;
    assert_eq!(done.code, response_code::SUCCESS, "{}", done.remark);
    let query = QueryOffset {
        group: GROUP,
        topic: TOPIC,
        queue: 0,
        zero_if_not_found: Some(false),
    };
    let found = wire.ask(code::QUERY_CONSUMER_OFFSET, &query, b"").await;
    assert_eq!(found.field("offset"), offset.to_string());
}

/// Keeps asking the name server where the topic is, once it is there.
pub(crate) async fn look_up(progress: Rc<Progress>, name_server: String) {
    let mut wire = Wire::open(&name_server).await;
    while !progress.is_over.get() {
        let route = RouteInfo {
            topic: TOPIC,
            standard_json_only: Some(true),
        };
        let found = wire.ask(code::GET_ROUTEINFO_BY_TOPIC, &route, b"").await;
        match found.code {
            response_code::SUCCESS => progress.routes.set(progress.routes.get() + 1),
            code => {
                let is_new = progress.routes.get() == 0;
                assert!(
                    is_new && code == response_code::TOPIC_NOT_EXIST,
                    "{}",
                    found.remark
                );
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
