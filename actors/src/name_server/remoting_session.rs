//! name-server remoting-session: one connection on RocketMQ's wire, of a client or an operator that asks, or of brokers that register.
//!
//! - `brokers`: what brokers say. `operating`: what only operators ask.

mod brokers;
mod operating;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use castmq_config::Settings;
use castmq_protocol::model::system_topics;
use castmq_protocol::native::route::{BrokerSet, TopicRoute};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_protocol::remoting::bodies::KvTable;
use castmq_protocol::remoting::bodies::route::{
    BrokerAddresses, BrokerQueues, ClusterInfo, TopicList, TopicRoute as RouteBody,
};
use castmq_protocol::remoting::headers::name_server::{
    ForgetTopic as ForgetTopicFields, GetKvResponse, KvKey, KvNamespace, PutKv, RouteInfo,
    TopicsByCluster,
};
use castmq_protocol::remoting::{Command, Frames, ReadFields, request_code, response_code};
use parking_lot::Mutex;
use serde::Serialize;

use self::brokers::RegisteredBrokers;
use super::patience::Patience;
use super::route_keeper::{FindRoute, ForgetTopic, ListBrokers, ListTopics, RouteKeeper};
use crate::names::shortened;
use crate::network::connection::{Connection, Session, attach};
use crate::network::remoting::{Asker, Refused, json};
use crate::supervision::{ActorRef, AskError, Cast, Ctx, Failure};

/// Letters of a name that errors show.
const SHOWN_LETTERS: usize = 64;

/// Requests that may be under way at once.
const MAX_UNDER_WAY: usize = 1024;

/// The most values that operators may set, and the most bytes of one.
const MAX_VALUES: usize = 65_536;
const MAX_VALUE_BYTES: usize = 64 * 1024;

/// Values that operators set, by namespace and key.
#[derive(Debug, Default)]
pub(crate) struct Values(Mutex<BTreeMap<String, BTreeMap<String, String>>>);

impl Values {
    fn put(&self, put: &PutKv<'_>) -> Result<(), Refused> {
        let mut values = self.0.lock();
        let count: usize = values.values().map(BTreeMap::len).sum();
        let bytes = put.namespace.len() + put.key.len() + put.value.len();
        if count >= MAX_VALUES || bytes > MAX_VALUE_BYTES {
            return Err(Refused::new(
                response_code::SYSTEM_ERROR,
                format!(
                    "a name server keeps up to {MAX_VALUES} values of {MAX_VALUE_BYTES} bytes: delete some, or set a shorter one"
                ),
            ));
        }
        let namespace = values.entry(put.namespace.to_owned()).or_default();
        namespace.insert(put.key.to_owned(), put.value.to_owned());
        Ok(())
    }

    fn get(&self, key: &KvKey<'_>) -> Option<String> {
        self.0.lock().get(key.namespace)?.get(key.key).cloned()
    }

    fn delete(&self, key: &KvKey<'_>) {
        if let Some(namespace) = self.0.lock().get_mut(key.namespace) {
            namespace.remove(key.key);
        }
    }

    fn list(&self, namespace: &str) -> Option<KvTable> {
        let table = self.0.lock().get(namespace)?.clone();
        Some(KvTable { table })
    }
}

/// What all sessions of a name server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    pub(crate) values: Values,
}

/// See the module.
pub(crate) struct NameServerRemotingSession {
    keeper: ActorRef<RouteKeeper>,
    shared: Arc<Shared>,
    connection: Connection,
    patience: Patience,
    /// Brokers that registered here.
    registered: RegisteredBrokers,
    under_way: usize,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct NameServerRemotingSessionState {
    peer: String,
    /// Names and ids of brokers that registered here.
    brokers: Vec<String>,
}

/// What comes of a request: a body now, or later.
type Handled = Result<Option<Bytes>, Refused>;

impl NameServerRemotingSession {
    pub(crate) fn new(
        keeper: ActorRef<RouteKeeper>,
        shared: Arc<Shared>,
        connection: Connection,
        patience: Patience,
        max_unpacked_bytes: usize,
    ) -> Self {
        Self {
            registered: RegisteredBrokers::new(keeper.clone(), max_unpacked_bytes),
            keeper,
            shared,
            connection,
            patience,
            under_way: 0,
        }
    }

    fn handle(&mut self, command: &Command<'_>, body: &[u8], ctx: &mut Ctx<'_, Self>) -> Handled {
        let asker = Asker::of(command);
        let fields = &command.fields;
        match command.code {
            request_code::GET_ROUTEINFO_BY_TOPIC => {
                let topic = RouteInfo::from_fields(fields)?.topic.to_owned();
                let missing = no_route(&topic);
                let order = self.shared.values.get(&KvKey {
                    namespace: ORDER_TOPICS,
                    key: &topic,
                });
                let asked = self.keeper.ask(FindRoute(topic));
                let body = move |route: Option<TopicRoute>| {
                    let route = route.ok_or(missing)?;
                    Ok(body_of(route_body(route, order)))
                };
                self.reply(asker, asked, body, ctx);
            }
            request_code::GET_BROKER_CLUSTER_INFO => {
                let asked = self.keeper.ask(ListBrokers);
                self.reply(asker, asked, |sets| Ok(body_of(cluster_info(sets))), ctx);
            }
            request_code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => {
                let asked = self.keeper.ask(ListTopics);
                let body = |topics: Vec<String>| Ok(body_of(topic_list(topics, None)));
                self.reply(asker, asked, body, ctx);
            }
            request_code::GET_SYSTEM_TOPIC_LIST_FROM_NS => {
                let asked = self.keeper.ask(ListBrokers);
                self.reply(
                    asker,
                    asked,
                    |sets| Ok(body_of(system_topics_of(&sets))),
                    ctx,
                );
            }
            request_code::GET_TOPICS_BY_CLUSTER => {
                // All brokers that register at one name server share their topics' names.
                TopicsByCluster::from_fields(fields)?;
                let asked = self.keeper.ask(ListTopics);
                let body = |topics: Vec<String>| Ok(body_of(topic_list(topics, None)));
                self.reply(asker, asked, body, ctx);
            }
            // Brokers of CastMQ tell by themselves which topics they have.
            request_code::DELETE_TOPIC_IN_NAMESRV => {
                let forget = ForgetTopicFields::from_fields(fields)?;
                self.keeper.tell(ForgetTopic {
                    topic: forget.topic.to_owned(),
                    cluster: forget.cluster.map(str::to_owned),
                });
                return Ok(Some(Bytes::new()));
            }
            request_code::PUT_KV_CONFIG => {
                self.shared.values.put(&PutKv::from_fields(fields)?)?;
                return Ok(Some(Bytes::new()));
            }
            request_code::GET_KV_CONFIG => {
                let key = KvKey::from_fields(fields)?;
                let value = self.shared.values.get(&key).ok_or_else(|| no_value(&key))?;
                let value = Some(value.as_str());
                self.connection
                    .respond(asker, &GetKvResponse { value }, b"");
            }
            request_code::DELETE_KV_CONFIG => {
                self.shared.values.delete(&KvKey::from_fields(fields)?);
                return Ok(Some(Bytes::new()));
            }
            request_code::GET_KVLIST_BY_NAMESPACE => {
                let KvNamespace { namespace } = KvNamespace::from_fields(fields)?;
                let table = self.shared.values.list(namespace).ok_or_else(|| {
                    let namespace = shortened(namespace, SHOWN_LETTERS);
                    Refused::new(
                        response_code::QUERY_NOT_FOUND,
                        format!("no config item, namespace: {namespace}"),
                    )
                })?;
                return Ok(Some(body_of(table)));
            }
            _ => return self.operate(command, body, ctx),
        }
        Ok(None)
    }

    fn reply<T: 'static>(
        &mut self,
        asker: Asker,
        asked: impl Future<Output = Result<T, AskError>> + 'static,
        body: impl FnOnce(T) -> Result<Bytes, Refused> + 'static,
        ctx: &mut Ctx<'_, Self>,
    ) {
        self.under_way += 1;
        ctx.then(asked, move |session, answer, _| {
            session.under_way -= 1;
            let answer = answer
                .map_err(|error| Refused::new(response_code::SYSTEM_ERROR, error.to_string()));
            session.finish(asker, answer.and_then(body).map(Some));
        });
    }

    fn finish(&mut self, asker: Asker, handled: Handled) {
        match handled {
            Ok(Some(body)) => self.connection.respond(asker, &(), &body),
            Ok(None) => {}
            Err(refused) => self.connection.refuse(asker, &refused),
        }
    }
}

/// Where tools keep which topics are in order beyond their queues.
const ORDER_TOPICS: &str = "ORDER_TOPIC_CONFIG";

/// What is answered to a code that nobody serves here.
pub(crate) fn not_served(code: i32, who: &str) -> Refused {
    Refused::new(
        response_code::REQUEST_CODE_NOT_SUPPORTED,
        format!("request type {code} not supported by a {who} of CastMQ"),
    )
}

fn no_route(topic: &str) -> Refused {
    let topic = shortened(topic, SHOWN_LETTERS);
    Refused::new(
        response_code::TOPIC_NOT_EXIST,
        format!("No topic route info in name server for the topic: {topic}"),
    )
}

fn no_value(key: &KvKey<'_>) -> Refused {
    let shown = |text| shortened(text, SHOWN_LETTERS);
    Refused::new(
        response_code::QUERY_NOT_FOUND,
        format!(
            "No config item, Namespace: {} Key: {}",
            shown(key.namespace),
            shown(key.key)
        ),
    )
}

fn body_of(body: impl Serialize) -> Bytes {
    json(&body).freeze()
}

fn addresses(set: BrokerSet) -> BrokerAddresses {
    BrokerAddresses {
        addresses: set.addresses.into_iter().collect(),
        broker_name: set.name,
        cluster: set.cluster,
        acting_master_enabled: false,
        zone_name: None,
    }
}

fn route_body(route: TopicRoute, order_topic_conf: Option<String>) -> RouteBody {
    let queues = route.queues.into_iter().map(|queues| BrokerQueues {
        broker_name: queues.broker,
        permission: queues.permission as i32,
        read_queues: queues.read_queues as i32,
        topic_sys_flag: 0,
        write_queues: queues.write_queues as i32,
    });
    RouteBody {
        brokers: route.brokers.into_iter().map(addresses).collect(),
        filter_servers: BTreeMap::new(),
        order_topic_conf,
        queues: queues.collect(),
    }
}

fn cluster_info(sets: Vec<BrokerSet>) -> ClusterInfo {
    let mut info = ClusterInfo::default();
    for set in sets {
        let names = info.clusters.entry(set.cluster.clone()).or_default();
        names.insert(set.name.clone());
        info.brokers.insert(set.name.clone(), addresses(set));
    }
    info
}

fn topic_list(
    topics: impl IntoIterator<Item = String>,
    broker_address: Option<String>,
) -> TopicList {
    TopicList {
        broker_address,
        topics: topics.into_iter().collect(),
    }
}

/// Names of clusters and brokers, which are topics of theirs in RocketMQ, and a broker that knows of its own.
fn system_topics_of(sets: &[BrokerSet]) -> TopicList {
    let mut topics: BTreeSet<_> = sets
        .iter()
        .flat_map(|set| [set.cluster.clone(), set.name.clone()])
        .collect();
    topics.insert(system_topics::AUTO_CREATE_TEMPLATE.to_owned());
    let addresses = sets.iter().flat_map(|set| set.addresses.first());
    let broker = addresses.map(|(_, address)| address.clone()).next();
    topic_list(topics, broker)
}

impl Session for NameServerRemotingSession {
    fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    fn may_read(&self, _cx: &mut Context<'_>) -> bool {
        self.under_way < MAX_UNDER_WAY
    }

    fn is_owing(&self) -> bool {
        self.under_way > 0
    }

    fn may_be_silent_for(&self, _idle_timeout: Duration) -> Duration {
        self.patience.with(self.registered.is_any())
    }

    fn handle_frames(&mut self, buffer: Bytes, ctx: &mut Ctx<'_, Self>) -> Result<(), Refusal> {
        for frame in Frames::new(&buffer, usize::MAX).map_while(Result::ok) {
            let command = match Command::decode(&frame) {
                Ok(command) => command,
                Err(error) => {
                    let reason = error.to_string();
                    return Err(Refusal::never(ErrorCode::InvalidRequest, reason));
                }
            };
            // A name server asks nothing, so what answers it is passed over.
            if !command.is_response() {
                let handled = self.handle(&command, frame.body, ctx);
                self.finish(Asker::of(&command), handled);
            }
        }
        Ok(())
    }

    fn say_why(&mut self, reason: Refusal) {
        tracing::debug!(peer = %self.connection.peer(), %reason, "closing a connection");
    }
}

impl Cast for NameServerRemotingSession {
    type State = NameServerRemotingSessionState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        attach(ctx, self.patience.idle);
        Ok(())
    }

    fn stopping(&mut self, ctx: &mut Ctx<'_, Self>) {
        let reason = Refusal::safe(
            ErrorCode::ShuttingDown,
            "the name server is stopping: use another",
        );
        self.connection.say_goodbye(reason, ctx.hold());
    }

    fn observe(&self) -> NameServerRemotingSessionState {
        NameServerRemotingSessionState {
            peer: self.connection.peer().to_string(),
            brokers: self.registered.names(),
        }
    }
}
