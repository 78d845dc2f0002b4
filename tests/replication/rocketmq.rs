//! What a slave of a RocketMQ master takes over besides the log, from a master that is spoken by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bytes::BytesMut;
use castmq_actors::Parts;
use castmq_client::BrokerAdmin;
use castmq_client::model::{PhysicalOffset, QueueId, QueueOffset};
use castmq_config::Role;
use castmq_protocol::model::system_topics;
use castmq_protocol::record::Record;
use castmq_protocol::remoting::codes::{request_code, response_code};
use castmq_protocol::remoting::command::Command;
use castmq_protocol::remoting::encode::{Head, put_frame};
use castmq_protocol::remoting::fields::Fields;
use castmq_protocol::remoting::frame::Frames;
use castmq_storage::metadata::Metadata;

use crate::set::{Running, admin, broker};
use crate::support::{run, until};

const TOPICS: &str = r#"{"topicConfigTable":{"orders":{"attributes":{},"order":false,"perm":6,"readQueueNums":3,"topicFilterType":"SINGLE_TAG","topicName":"orders","topicSysFlag":0,"writeQueueNums":3},"rmq_sys_REVIVE_LOG_c":{"perm":6,"readQueueNums":1,"topicName":"rmq_sys_REVIVE_LOG_c","writeQueueNums":1}}}"#;
/// Of the four that the group has popped, the first two are acknowledged.
const POPPED: &str = r#"{"c":"bills","t":"orders","q":0,"so":0,"pt":7,"n":4,"d":[0,1,2,3],"bm":3}"#;
const GROUPS: &str = r#"{"forbiddenTable":{},"subscriptionGroupTable":{"bills":{"groupName":"bills","retryMaxTimes":3}}}"#;
const OFFSETS: &str =
    r#"{"offsetTable":{"orders@bills":{0:4},"RMQ_SYS_TRANS_HALF_TOPIC@CID_RMQ_SYS_TRANS":{0:0}}}"#;
const DELAYS: &str = r#"{"offsetTable":{1:3}}"#;

/// Ten messages, five that wait for the first delay level, and what was popped.
fn log() -> Vec<u8> {
    let mut bytes = Vec::new();
    let orders = (0..10).map(|number| ("orders", number, "", "body"));
    let waiting = (0..5).map(|number| (system_topics::SCHEDULE, number, "", "body"));
    let popped = ("rmq_sys_REVIVE_LOG_c", 0, "TAGS\u{1}ck\u{2}", POPPED);
    for (topic, number, properties, body) in orders.chain(waiting).chain([popped]) {
        let record = Record {
            topic,
            queue: QueueId(0),
            queue_offset: QueueOffset(number),
            physical_offset: PhysicalOffset(bytes.len() as u64),
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 1,
            born_host: "127.0.0.1:1".parse().expect("an address"),
            store_timestamp_ms: 1_700_000_000_000,
            store_host: "127.0.0.1:2".parse().expect("an address"),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: body.as_bytes(),
            body_crc: None,
            properties: properties.as_bytes(),
        };
        let mut encoded = vec![0; record.encoded_bytes()];
        record.encode(&mut encoded);
        bytes.extend_from_slice(&encoded);
    }
    bytes
}

/// Sends the log up to what is let through, again and again.
fn serve_log(listener: TcpListener, log: Vec<u8>, let_through: Arc<AtomicU64>) {
    for socket in listener.incoming() {
        let (log, let_through) = (log.clone(), let_through.clone());
        thread::spawn(move || send_log(socket.expect("a connection"), &log, &let_through));
    }
}

fn send_log(mut socket: TcpStream, log: &[u8], let_through: &AtomicU64) {
    let mut report = [0; 8];
    let mut sent = 0;
    // A slave that is stopped reads no more.
    while socket.read_exact(&mut report).is_ok() {
        sent = sent.max(u64::from_be_bytes(report));
        let end = let_through.load(Ordering::Acquire);
        let block = &log[sent as usize..end as usize];
        let mut out = sent.to_be_bytes().to_vec();
        out.extend_from_slice(&(block.len() as i32).to_be_bytes());
        out.extend_from_slice(block);
        if socket.write_all(&out).is_err() {
            break;
        }
        sent = end;
    }
}

fn answer(code: i32, log_end: u64) -> Option<Vec<u8>> {
    let body = match code {
        request_code::GET_ALL_TOPIC_CONFIG => TOPICS.into(),
        request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => GROUPS.into(),
        request_code::GET_ALL_CONSUMER_OFFSET => OFFSETS.into(),
        request_code::GET_ALL_DELAY_OFFSET => DELAYS.into(),
        request_code::GET_BROKER_RUNTIME_INFO => {
            format!(r#"{{"table":{{"commitLogMaxOffset":"{log_end}"}}}}"#)
        }
        // This one's timer is off.
        _ => return None,
    };
    Some(body.into_bytes())
}

fn serve_requests(listener: TcpListener, log_end: u64, asked: Arc<AtomicU64>) {
    for socket in listener.incoming() {
        let asked = asked.clone();
        thread::spawn(move || answer_requests(socket.expect("a connection"), log_end, &asked));
    }
}

fn answer_requests(mut socket: TcpStream, log_end: u64, asked: &AtomicU64) {
    let mut input = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = socket.read(&mut buffer) {
        input.extend_from_slice(&buffer[..read]);
        let mut out = BytesMut::new();
        let mut frames = Frames::new(&input, 1 << 20);
        for frame in frames.by_ref() {
            let frame = frame.expect("a frame");
            let command = Command::decode(&frame).expect("a request");
            let body = answer(command.code, log_end);
            let code = match body {
                Some(_) => response_code::SUCCESS,
                None => response_code::SYSTEM_ERROR,
            };
            let head = Head::response(code, command.opaque, command.serialization);
            put_frame(&head, &Fields::new(), &body.unwrap_or_default(), &mut out);
            if command.code == request_code::GET_BROKER_RUNTIME_INFO {
                asked.fetch_add(1, Ordering::AcqRel);
            }
        }
        let consumed = frames.consumed();
        input.drain(..consumed);
        if socket.write_all(&out).is_err() {
            break;
        }
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

#[test]
fn a_slave_of_a_rocketmq_master_takes_over_what_is_not_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = log();
    let end = log.len() as u64;
    // At first half of the last record is missing.
    let let_through = Arc::new(AtomicU64::new(end - POPPED.len() as u64));
    let asked = Arc::new(AtomicU64::new(0));
    let ((ha, ha_address), (requests, address)) = (listener(), listener());
    thread::spawn({
        let let_through = let_through.clone();
        move || serve_log(ha, log, let_through)
    });
    thread::spawn({
        let asked = asked.clone();
        move || serve_requests(requests, end, asked)
    });
    let mut settings = broker(folder.path(), 1, Role::Slave, &[]);
    settings.replication.ha_master_address = Some(ha_address);
    settings.replication.ha_master_is_rocketmq = true;
    settings.replication.master_address = Some(address);
    let progress = || {
        let path = folder.path().join("broker-1/metadata");
        let metadata = Metadata::open(&path, 1 << 20).unwrap();
        metadata.value("delay_offsets", "0").unwrap()
    };
    run(async {
        let slave = Running::start(&settings, Parts::Broker).await;
        let client = castmq_client::Client::connect(&slave.address).await;
        let client = client.unwrap();
        let at_slave = admin(&client, &slave.address);
        until(async || {
            at_slave
                .show_group("bills")
                .await
                .is_ok_and(|group| group.config.retry_max == 3)
        })
        .await;
        let topic = at_slave.show_topic("orders").await.unwrap();
        assert_eq!(topic.config.read_queues, 3);
        until(async || committed(&at_slave).await == Some(QueueOffset(4))).await;
        // Told more than once, and still not taken: the log is not here.
        until(async || asked.load(Ordering::Acquire) >= 3).await;
        slave.stop().await;
    });
    assert_eq!(progress(), None);
    let_through.store(end, Ordering::Release);
    let before = asked.load(Ordering::Acquire);
    run(async {
        let slave = Running::start(&settings, Parts::Broker).await;
        until(async || asked.load(Ordering::Acquire) >= before + 3).await;
        slave.stop().await;
    });
    assert_eq!(progress(), Some(3_u64.to_be_bytes().to_vec()));
    // As the master it goes back to what its master would have handed out again, once.
    settings.broker.role = Role::AsyncMaster;
    settings.broker.id = 0;
    for _ in 0..2 {
        run(async {
            let master = Running::start(&settings, Parts::Broker).await;
            let client = castmq_client::Client::connect(&master.address).await;
            let at_master = admin(&client.unwrap(), &master.address);
            assert_eq!(committed(&at_master).await, Some(QueueOffset(2)));
            master.stop().await;
        });
    }
}

/// Where the group is in the only queue with messages.
async fn committed(broker: &BrokerAdmin) -> Option<QueueOffset> {
    let group = broker.show_group("bills").await.expect("a group");
    let mut progress = group.progress.iter();
    let in_queue = progress.find(|progress| progress.queue.queue == QueueId(0));
    in_queue.and_then(|progress| progress.committed)
}
