//! A broker at a name server of RocketMQ, played here: what it is told, and what comes of its answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use castmq_actors::{Node, Parts};
use castmq_config::{Role, Settings};
use castmq_protocol::remoting::bodies::DataVersion;
use castmq_protocol::remoting::bodies::registration::{Registration, check_sum};
use castmq_protocol::remoting::bodies::route::{BrokerMemberGroup, BrokerMemberGroupResponse};
use castmq_protocol::remoting::headers::name_server::{
    QueryDataVersion, QueryDataVersionResponse, RegisterBroker, RegisterBrokerResponse,
};
use castmq_protocol::remoting::headers::topic_admin::PutTopic;
use castmq_protocol::remoting::{
    Command, Frames, Head, ReadFields, WriteFields, json, put_frame, request_code, response_code,
};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{run, settings, stop, until};
use crate::wire::Wire;

/// The longest frame that RocketMQ takes.
const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// What the name server knows, and what it was asked.
#[derive(Debug, Default)]
struct Known {
    /// Whether it closes connections at their first frame.
    is_gone: bool,
    /// Whether it knows the question for a set's brokers.
    is_old: bool,
    members: BTreeMap<u64, String>,
    /// Where the master takes slaves.
    ha_address: String,
    registration: Option<Registration>,
    /// Codes in the order in which they came.
    asked: Vec<i32>,
}

struct Names {
    address: SocketAddr,
    known: Arc<Mutex<Known>>,
}

impl Names {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let known: Arc<Mutex<Known>> = Arc::default();
        let shared = known.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, shared.clone()));
            }
        });
        Self { address, known }
    }

    fn topics(&self) -> Vec<String> {
        let known = self.known.lock();
        let registration = known.registration.iter();
        registration
            .flat_map(|known| known.topics.topics.keys().cloned())
            .collect()
    }

    fn asked(&self, code: i32) -> usize {
        let known = self.known.lock();
        known.asked.iter().filter(|asked| **asked == code).count()
    }

    async fn broker(&self, settings: &Settings) -> Node {
        let mut settings = settings.clone();
        settings.broker.register_interval_ms = 100;
        self.seldom(&settings).await
    }

    /// One that asks by itself when its settings say.
    async fn seldom(&self, settings: &Settings) -> Node {
        let mut settings = settings.clone();
        settings.broker.name_servers = vec![self.address.to_string()];
        Node::start(&settings, Parts::Broker)
            .await
            .expect("a broker")
    }

    async fn state(&self, broker: &Node) -> serde_json::Value {
        let tree = broker.tree().snapshot().await;
        let registrar = tree.find(&format!("broker/network/registrar({})", self.address));
        registrar.expect("a registrar").state.clone()
    }

    async fn until_error(&self, broker: &Node, part: &str) {
        until(async || {
            let state = self.state(broker).await;
            state["last_error"]
                .as_str()
                .unwrap_or_default()
                .contains(part)
        })
        .await;
    }
}

async fn serve(mut socket: TcpStream, known: Arc<Mutex<Known>>) -> Option<()> {
    let mut buffer = BytesMut::new();
    loop {
        let mut out = BytesMut::new();
        let mut frames = Frames::new(&buffer, MAX_FRAME_BYTES);
        for frame in frames.by_ref() {
            // What is too long ends the connection, as RocketMQ does it.
            let frame = frame.ok()?;
            let command = Command::decode(&frame).ok()?;
            answer(&command, frame.body, &mut known.lock(), &mut out)?;
        }
        let consumed = frames.consumed();
        let _ = buffer.split_to(consumed);
        socket.write_all(&out).await.ok()?;
        match socket.read_buf(&mut buffer).await {
            Ok(1..) => {}
            _ => return None,
        }
    }
}

fn answer(command: &Command<'_>, body: &[u8], known: &mut Known, out: &mut BytesMut) -> Option<()> {
    if known.is_gone {
        return None;
    }
    known.asked.push(command.code);
    let mut say = |code: i32, fields: &dyn WriteFields, body: &[u8]| {
        let head = Head::response(code, command.opaque, command.serialization);
        put_frame(&head, fields, body, out);
    };
    match command.code {
        request_code::REGISTER_BROKER => {
            let fields = RegisterBroker::from_fields(&command.fields).ok()?;
            assert_eq!(fields.body_crc, check_sum(body));
            assert!(fields.castmq.is_some());
            let registration: Registration = json::from_slice(body).ok()?;
            let id = u64::try_from(fields.broker_id).ok()?;
            known
                .members
                .entry(id)
                .or_insert_with(|| fields.broker_address.to_owned());
            let master = known.members.get(&0).map(String::as_str);
            let is_slave = id > 0;
            let told = RegisterBrokerResponse {
                ha_address: Some(known.ha_address.as_str())
                    .filter(|_| is_slave && master.is_some()),
                master_address: master.filter(|_| is_slave),
            };
            say(response_code::SUCCESS, &told, b"");
            known.registration = Some(registration);
        }
        request_code::QUERY_DATA_VERSION => {
            QueryDataVersion::from_fields(&command.fields).ok()?;
            let theirs: DataVersion = json::from_slice(body).ok()?;
            let ours = known
                .registration
                .as_ref()
                .map(|known| known.topics.data_version);
            let changed = ours != Some(theirs);
            say(
                response_code::SUCCESS,
                &QueryDataVersionResponse { changed },
                b"",
            );
        }
        request_code::GET_BROKER_MEMBER_GROUP if !known.is_old => {
            let group = BrokerMemberGroupResponse {
                broker_member_group: BrokerMemberGroup {
                    addresses: known.members.clone(),
                    ..BrokerMemberGroup::default()
                },
            };
            let body: Bytes = json::to_bytes(&group);
            say(response_code::SUCCESS, &(), &body);
        }
        request_code::UNREGISTER_BROKER => {
            known.members.clear();
            say(response_code::SUCCESS, &(), b"");
        }
        _ => say(response_code::REQUEST_CODE_NOT_SUPPORTED, &(), b""),
    }
    Some(())
}

async fn make_topic(wire: &mut Wire, topic: &str) {
    let put = PutTopic {
        topic,
        default_topic: "TBW102",
        read_queues: 3,
        write_queues: 2,
        permission: 6,
        filter_type: "SINGLE_TAG",
        sys_flag: None,
        order: false,
        attributes: None,
        force: false,
    };
    let made = wire
        .ask(request_code::UPDATE_AND_CREATE_TOPIC, &put, b"")
        .await;
    assert_eq!(made.code, response_code::SUCCESS, "{}", made.remark);
}

#[test]
fn a_master_tells_all_topics_when_any_changes_and_asks_in_between() {
    run(async {
        let names = Names::start().await;
        let folder = tempfile::tempdir().expect("a folder");
        let broker = names.broker(&settings(folder.path())).await;
        let address = broker.broker_address().expect("a broker").to_string();
        until(async || names.known.lock().members.get(&0) == Some(&address)).await;
        assert!(names.topics().contains(&"TBW102".to_owned()));
        let told = names.asked(request_code::REGISTER_BROKER);
        let asks = async || names.asked(request_code::QUERY_DATA_VERSION) > 3;
        until(asks).await;
        assert_eq!(names.asked(request_code::REGISTER_BROKER), told);
        let state = names.state(&broker).await;
        assert_eq!(state["protocol"], "rocketmq");
        assert_eq!(state["is_registered"], true);
        assert_eq!(state["members"]["0"], address);

        let mut wire = Wire::open(&address).await;
        make_topic(&mut wire, "orders").await;
        until(async || names.topics().contains(&"orders".to_owned())).await;
        assert!(names.topics().contains(&"TBW102".to_owned()));
        let known = names
            .known
            .lock()
            .registration
            .clone()
            .expect("a registration");
        let entry = &known.topics.topics["orders"];
        assert_eq!((entry.read_queues, entry.write_queues), (3, 2));
        assert_eq!(known.topics.data_version.state_version, 1);

        // One that comes back empty is told everything.
        names.known.lock().registration = None;
        until(async || names.topics().contains(&"orders".to_owned())).await;
        stop(broker).await;
    });
}

#[test]
fn a_slave_learns_of_its_master_and_of_the_next_one() {
    run(async {
        let names = Names::start().await;
        {
            let mut known = names.known.lock();
            known.members.insert(0, "10.0.0.1:10911".to_owned());
            known.ha_address = "127.0.0.1:1".to_owned();
        }
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = settings(folder.path());
        settings.broker.role = Role::Slave;
        settings.broker.id = 1;
        let broker = names.broker(&settings).await;
        let master = async || names.state(&broker).await["master"].clone();
        until(async || master().await == "10.0.0.1:10911").await;
        let told = names.asked(request_code::REGISTER_BROKER);
        {
            let mut known = names.known.lock();
            known.members.insert(0, "10.0.0.2:10911".to_owned());
        }
        until(async || master().await == "10.0.0.2:10911").await;
        assert!(names.asked(request_code::REGISTER_BROKER) > told);
        assert_eq!(
            names.state(&broker).await["members"]
                .as_object()
                .map(|all| all.len()),
            Some(2)
        );
        stop(broker).await;
    });
}

#[test]
fn a_slave_that_is_told_of_a_change_asks_at_once_and_says_goodbye_at_the_end() {
    run(async {
        let names = Names::start().await;
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = settings(folder.path());
        settings.broker.role = Role::Slave;
        settings.broker.id = 1;
        settings.broker.register_interval_ms = 60_000;
        let broker = names.seldom(&settings).await;
        let state = async || names.state(&broker).await;
        until(async || state().await["is_registered"] == true).await;
        assert!(state().await["master"].is_null());
        names
            .known
            .lock()
            .members
            .insert(0, "10.0.0.1:1".to_owned());
        let address = broker.broker_address().expect("a broker").to_string();
        let mut wire = Wire::open(&address).await;
        let code = request_code::NOTIFY_MIN_BROKER_ID_CHANGE;
        let told = wire.ask(code, &[("minBrokerId", "0")], b"").await;
        assert_eq!(told.code, response_code::SUCCESS);
        until(async || state().await["master"] == "10.0.0.1:1").await;
        // Nothing is being asked now: a connection that is in use would only end.
        stop(broker).await;
        assert_eq!(names.asked(request_code::UNREGISTER_BROKER), 1);
    });
}

#[test]
fn a_place_that_another_broker_has_is_left_to_it_until_it_goes() {
    run(async {
        let names = Names::start().await;
        let other = "10.0.0.1:10911".to_owned();
        names.known.lock().members.insert(0, other.clone());
        let folder = tempfile::tempdir().expect("a folder");
        let broker = names.broker(&settings(folder.path())).await;
        names.until_error(&broker, &other).await;
        assert_eq!(names.asked(request_code::REGISTER_BROKER), 0);
        assert_eq!(names.state(&broker).await["is_registered"], false);
        names.known.lock().members.clear();
        until(async || names.state(&broker).await["is_registered"] == true).await;
        // Another takes the place, as RocketMQ's brokers do.
        names.known.lock().members.insert(0, other.clone());
        names.until_error(&broker, &other).await;
        stop(broker).await;
    });
}

#[test]
fn an_old_name_server_and_one_that_speaks_nothing_are_told_apart() {
    run(async {
        let names = Names::start().await;
        names.known.lock().is_old = true;
        let folder = tempfile::tempdir().expect("a folder");
        let broker = names.broker(&settings(folder.path())).await;
        until(async || names.state(&broker).await["is_registered"] == true).await;
        names.known.lock().is_gone = true;
        names
            .until_error(&broker, "whether CastMQ's protocol is spoken or RocketMQ's")
            .await;
        names.known.lock().is_gone = false;
        until(async || names.state(&broker).await["is_registered"] == true).await;
        assert!(names.state(&broker).await["last_error"].is_null());
        stop(broker).await;
    });
}
