//! What brokers of RocketMQ say to a name server.

use std::collections::BTreeSet;

use castmq_protocol::native::route::{DataVersion, RegisterBroker, TopicQueues, TopicsReport};
use castmq_protocol::remoting::bodies::DataVersion as Version;
use castmq_protocol::remoting::bodies::registration::{self, Registration, RegistrationError};
use castmq_protocol::remoting::bodies::route::{BrokerMemberGroup, BrokerMemberGroupResponse};
use castmq_protocol::remoting::bodies::topic::{MappedTopicTable, TopicEntry};
use castmq_protocol::remoting::codes::version;
use castmq_protocol::remoting::headers::name_server::{
    BrokerHeartbeat, BrokerMemberGroup as MembersOf, QueryDataVersion, QueryDataVersionResponse,
    RegisterBroker as RegisterFields, RegisterBrokerResponse, RegisterTopic, UnregisterBroker,
};
use castmq_protocol::remoting::json;

use super::*;
use crate::name_server::broker::{ConnectionId, next_connection};
use crate::name_server::route_keeper::{
    AskState, BrokerAlive, BrokerSession, Closed, FindSet, PutTopic, Register, Unregister,
};
use crate::name_server::route_table::rocketmq::KnownState;
use crate::name_server::session::Replaced;
use crate::supervision::Receive;

/// Silence after which a broker is forgotten that does not say how long it may be silent, in milliseconds (RocketMQ's
/// `DEFAULT_BROKER_CHANNEL_EXPIRED_TIME`).
const DEFAULT_EXPIRY_MS: i64 = 120_000;

/// Brokers that may register over one connection. Those of a container share one.
const MAX_BROKERS: usize = 16;

/// The brokers that registered over a connection. With it they go.
pub(super) struct RegisteredBrokers {
    connection: ConnectionId,
    keeper: ActorRef<RouteKeeper>,
    brokers: BTreeSet<(String, u64)>,
    /// The longest registration, unpacked.
    max_bytes: usize,
}

impl RegisteredBrokers {
    pub(super) fn new(keeper: ActorRef<RouteKeeper>, max_bytes: usize) -> Self {
        Self {
            connection: next_connection(),
            keeper,
            brokers: BTreeSet::new(),
            max_bytes,
        }
    }

    pub(super) fn is_any(&self) -> bool {
        !self.brokers.is_empty()
    }

    /// Their names and ids, to be shown.
    pub(super) fn names(&self) -> Vec<String> {
        let brokers = self.brokers.iter();
        brokers.map(|(name, id)| format!("{name}:{id}")).collect()
    }

    fn add(&mut self, broker: (String, u64)) -> Result<(), Refused> {
        if !self.brokers.contains(&broker) && self.brokers.len() >= MAX_BROKERS {
            return Err(Refused::new(
                response_code::SYSTEM_ERROR,
                format!("{MAX_BROKERS} brokers have registered over this connection: open another"),
            ));
        }
        self.brokers.insert(broker);
        Ok(())
    }
}

impl Drop for RegisteredBrokers {
    fn drop(&mut self) {
        if self.is_any() {
            self.keeper.tell(Closed(self.connection));
        }
    }
}

impl NameServerRemotingSession {
    pub(super) fn handle_broker(
        &mut self,
        command: &Command<'_>,
        body: &[u8],
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        match command.code {
            request_code::REGISTER_BROKER => self.register(command, body, ctx),
            request_code::UNREGISTER_BROKER => self.unregister(command),
            request_code::QUERY_DATA_VERSION => self.query_version(command, body, ctx),
            request_code::BROKER_HEARTBEAT => {
                let heartbeat = BrokerHeartbeat::from_fields(&command.fields)?;
                let alive = self.alive(heartbeat.broker_name, heartbeat.broker_address);
                self.keeper.tell(alive);
                Ok(Some(Bytes::new()))
            }
            request_code::GET_BROKER_MEMBER_GROUP => {
                let MembersOf {
                    cluster,
                    broker_name,
                } = MembersOf::from_fields(&command.fields)?;
                let named = (cluster.to_owned(), broker_name.to_owned());
                let asked = self.keeper.ask(FindSet(broker_name.to_owned()));
                let body = move |set| Ok(body_of(members(named, set)));
                self.reply(Asker::of(command), asked, body, ctx);
                Ok(None)
            }
            request_code::REGISTER_TOPIC_IN_NAMESRV => self.register_topic(command, body, ctx),
            code => Err(not_served(code, "name server")),
        }
    }

    fn register(&mut self, command: &Command<'_>, body: &[u8], ctx: &mut Ctx<'_, Self>) -> Handled {
        let fields = RegisterFields::from_fields(&command.fields)?;
        if fields.castmq.is_some() {
            return Err(Refused::new(
                response_code::SYSTEM_ERROR,
                "this is a name server of CastMQ: a broker of CastMQ registers on the native wire",
            ));
        }
        check_body(fields.body_crc, body)?;
        let registration =
            read_registration(command.version, &fields, body, self.registered.max_bytes)?;
        let register = native(&fields, registration)?;
        self.registered
            .add((register.broker.clone(), register.broker_id))?;
        let asked = self.keeper.ask(Register {
            connection: self.registered.connection,
            session: BrokerSession::Rocketmq(ctx.me().clone()),
            register,
        });
        let (asker, is_slave) = (Asker::of(command), fields.broker_id != 0);
        self.under_way += 1;
        ctx.then(asked, move |session, answer, _| {
            session.under_way -= 1;
            let registered = match answer {
                Ok(Ok(registered)) => registered.known,
                Ok(Err(refusal)) => {
                    let peer = session.connection.peer();
                    tracing::warn!(%peer, %refusal, "a broker of RocketMQ is refused");
                    return session.connection.refuse(asker, &refusal.into());
                }
                Err(error) => {
                    let refused = Refused::new(response_code::SYSTEM_ERROR, error.to_string());
                    return session.connection.refuse(asker, &refused);
                }
            };
            // Only slaves have to know where the master is.
            let told = |address: &String| is_slave && !address.is_empty();
            let master = Some(&registered.master_address).filter(|address| told(address));
            let ha = Some(&registered.master_ha_address).filter(|address| told(address));
            let answer = RegisterBrokerResponse {
                ha_address: ha.map(String::as_str),
                master_address: master.map(String::as_str),
            };
            let order = session.shared.values.list(ORDER_TOPICS);
            let body = order.map(body_of).unwrap_or_default();
            session.connection.respond(asker, &answer, &body);
        });
        Ok(None)
    }

    fn unregister(&mut self, command: &Command<'_>) -> Handled {
        let fields = UnregisterBroker::from_fields(&command.fields)?;
        let broker_id = broker_id(fields.broker_id)?;
        self.keeper.tell(Unregister {
            connection: self.registered.connection,
            broker: fields.broker_name.to_owned(),
            broker_id,
        });
        Ok(Some(Bytes::new()))
    }

    fn query_version(
        &mut self,
        command: &Command<'_>,
        body: &[u8],
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let fields = QueryDataVersion::from_fields(&command.fields)?;
        let version: Version = json::from_slice(body)?;
        let asked = self.keeper.ask(AskState(
            self.alive(fields.broker_name, fields.broker_address),
        ));
        let asker = Asker::of(command);
        self.under_way += 1;
        ctx.then(asked, move |session, answer, _| {
            session.under_way -= 1;
            let known = match answer {
                Ok(known) => known.map(version_of),
                Err(error) => {
                    let refused = Refused::new(response_code::SYSTEM_ERROR, error.to_string());
                    return session.connection.refuse(asker, &refused);
                }
            };
            let changed = known != Some(version);
            let body = known.map(body_of).unwrap_or_default();
            let answer = QueryDataVersionResponse { changed };
            session.connection.respond(asker, &answer, &body);
        });
        Ok(None)
    }

    fn register_topic(
        &mut self,
        command: &Command<'_>,
        body: &[u8],
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let RegisterTopic { topic } = RegisterTopic::from_fields(&command.fields)?;
        let route: RouteBody = json::from_slice(body)?;
        let queues = route.queues.into_iter().map(|queues| {
            let of_broker = TopicQueues {
                topic: topic.to_owned(),
                read_queues: not_negative("readQueueNums", queues.read_queues)?,
                write_queues: not_negative("writeQueueNums", queues.write_queues)?,
                permission: not_negative("perm", queues.permission)?,
                system_flag: not_negative("topicSysFlag", queues.topic_sys_flag)?,
                is_traced: false,
            };
            Ok((queues.broker_name, of_broker))
        });
        let queues = queues.collect::<Result<_, Refused>>()?;
        let asked = self.keeper.ask(PutTopic { queues });
        let body = |put: Result<(), Refusal>| Ok(put.map(|()| Bytes::new())?);
        self.reply(Asker::of(command), asked, body, ctx);
        Ok(None)
    }

    fn alive(&self, broker: &str, address: &str) -> BrokerAlive {
        BrokerAlive {
            connection: self.registered.connection,
            broker: broker.to_owned(),
            address: address.to_owned(),
        }
    }
}

impl Receive<Replaced> for NameServerRemotingSession {
    fn receive(&mut self, Replaced(reason): Replaced, _ctx: &mut Ctx<'_, Self>) {
        self.connection.close(reason);
    }
}

/// Refuses a body that is not what was sent. A sum of 0 is none.
fn check_body(sum: i32, body: &[u8]) -> Result<(), Refused> {
    let is = registration::check_sum(body);
    match sum == 0 || sum == is {
        true => Ok(()),
        false => Err(Refused::new(
            response_code::SYSTEM_ERROR,
            format!(
                "crc32 not match: the body of {} bytes has {is}, bodyCrc32 is {sum}",
                body.len()
            ),
        )),
    }
}

fn read_registration(
    broker_version: i32,
    fields: &RegisterFields<'_>,
    body: &[u8],
    max_bytes: usize,
) -> Result<Registration, Refused> {
    if body.is_empty() {
        return Ok(Registration::default());
    }
    if broker_version < version::V3_0_11 {
        let topics: MappedTopicTable = json::from_slice(body)?;
        return Ok(Registration {
            topics,
            ..Registration::default()
        });
    }
    match fields.compressed {
        true => Ok(Registration::from_compressed(body, max_bytes)?),
        false => Ok(json::from_slice(body)?),
    }
}

impl From<RegistrationError> for Refused {
    fn from(error: RegistrationError) -> Self {
        Self::new(response_code::SYSTEM_ERROR, error.to_string())
    }
}

/// What a broker says, as the table takes it.
fn native(
    fields: &RegisterFields<'_>,
    registration: Registration,
) -> Result<RegisterBroker, Refused> {
    let id = broker_id(fields.broker_id)?;
    let expiry_ms = fields.heartbeat_timeout_ms.unwrap_or(DEFAULT_EXPIRY_MS);
    let expiry_ms = match expiry_ms {
        ..=0 => return Err(wrong("heartbeatTimeoutMillis", expiry_ms, "more than 0")),
        expiry_ms => u32::try_from(expiry_ms).unwrap_or(u32::MAX),
    };
    let Version {
        counter,
        state_version,
        timestamp,
    } = registration.topics.data_version;
    let epoch = u32::try_from(state_version)
        .map_err(|_| wrong("stateVersion", state_version, "0 to 4294967295"))?;
    let changed = registration.topics.topics.into_values().map(queues_of);
    Ok(RegisterBroker {
        cluster: fields.cluster.to_owned(),
        broker: fields.broker_name.to_owned(),
        broker_id: id,
        configured_id: id,
        epoch,
        address: fields.broker_address.to_owned(),
        ha_address: fields.ha_address.to_owned(),
        expiry_ms,
        version: DataVersion {
            timestamp_ms: timestamp,
            // Kept as it is, whatever its sign.
            counter: counter as u64,
        },
        topics: TopicsReport {
            changed: changed.collect::<Result<_, _>>()?,
            ..TopicsReport::default()
        },
    })
}

fn queues_of(entry: TopicEntry) -> Result<TopicQueues, Refused> {
    Ok(TopicQueues {
        read_queues: not_negative("readQueueNums", entry.read_queues)?,
        write_queues: not_negative("writeQueueNums", entry.write_queues)?,
        permission: not_negative("perm", entry.permission)?,
        system_flag: not_negative("topicSysFlag", entry.sys_flag)?,
        topic: entry.topic_name,
        is_traced: false,
    })
}

fn version_of(known: KnownState) -> Version {
    Version {
        counter: known.version.counter as i64,
        state_version: known.epoch.into(),
        timestamp: known.version.timestamp_ms,
    }
}

fn members((cluster, name): (String, String), set: Option<BrokerSet>) -> BrokerMemberGroupResponse {
    let addresses = set.map(|set| set.addresses.into_iter().collect());
    BrokerMemberGroupResponse {
        broker_member_group: BrokerMemberGroup {
            addresses: addresses.unwrap_or_default(),
            broker_name: name,
            cluster,
        },
    }
}

fn broker_id(id: i64) -> Result<u64, Refused> {
    u64::try_from(id).map_err(|_| wrong("brokerId", id, "0 or more"))
}

fn not_negative(name: &str, number: i32) -> Result<u32, Refused> {
    u32::try_from(number).map_err(|_| wrong(name, number, "0 or more"))
}

fn wrong(name: &str, is: impl std::fmt::Display, takes: &str) -> Refused {
    Refused::new(
        response_code::SYSTEM_ERROR,
        format!("{name} is {is}: it takes {takes}"),
    )
}
