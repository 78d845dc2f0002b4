//! A broker's connection to a name server of RocketMQ.
//!
//! It is told all topics, on each new connection and whenever any has changed, and asked in between whether it knows them as they are,
//! which is a sign of life, too. It never says which brokers come and go, so it is asked for those of the set each time. What stands
//! for the state of a set's master is its epoch: of two masters RocketMQ's name servers take the one with the greater.

use std::collections::BTreeMap;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use castmq_protocol::native::route::{
    BrokerQueues, BrokerSet, DataVersion, RegisterBroker, Registered, TopicQueues, TopicRoute,
};
use castmq_protocol::remoting::bodies::DataVersion as Version;
use castmq_protocol::remoting::bodies::registration::{Registration, check_sum};
use castmq_protocol::remoting::bodies::route::{
    BrokerMemberGroupResponse, TopicRoute as RouteBody,
};
use castmq_protocol::remoting::bodies::topic::{MappedTopicTable, TopicEntry};
use castmq_protocol::remoting::headers::name_server::{
    BrokerMemberGroup, QueryDataVersion, QueryDataVersionResponse,
    RegisterBroker as RegisterFields, RegisterBrokerResponse, RouteInfo, UnregisterBroker,
};
use castmq_protocol::remoting::{
    Command, Fields, Frames, Head, ReadFields, WriteFields, json, put_frame, request_code,
    response_code,
};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tokio_util::codec::{Decoder, Framed};

use super::link::{ANSWER_WITHIN, Goodbye, RegisterError};
use crate::broker::details::SOFTWARE;
use crate::broker::standing::FIRST_EPOCH;
use crate::network::socket::Stream;

/// Longest answer of a name server.
const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// Finds whole frames.
struct WholeFrames;

impl Decoder for WholeFrames {
    type Item = Bytes;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
        let mut frames = Frames::new(buffer, MAX_FRAME_BYTES);
        match frames.next() {
            None => Ok(None),
            Some(Ok(_)) => {
                let bytes = frames.consumed();
                Ok(Some(buffer.split_to(bytes).freeze()))
            }
            Some(Err(error)) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

/// What was answered.
struct Answer {
    code: i32,
    remark: String,
    fields: Fields<'static>,
    body: Bytes,
}

/// See the module.
pub(super) struct RemotingLink {
    name_server: String,
    wire: Framed<Stream, WholeFrames>,
    opaque: i32,
    has_answered: bool,
    /// What it said when it took the last registration over this connection.
    taken: Option<Registered>,
}

impl RemotingLink {
    pub(super) fn new(name_server: &str, socket: Stream) -> Self {
        Self {
            name_server: name_server.to_owned(),
            wire: Framed::new(socket, WholeFrames),
            opaque: 0,
            has_answered: false,
            taken: None,
        }
    }

    pub(super) fn name_server(&self) -> &str {
        &self.name_server
    }

    /// Whether anything ever came.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Registers, or asks whether there is a need to. What it knows of topics is all or nothing: changes alone it is not told.
    pub(super) async fn register(
        &mut self,
        register: RegisterBroker,
    ) -> Result<Registered, RegisterError> {
        let topics = &register.topics;
        let is_question = topics.changed.is_empty()
            && topics.removed.is_empty()
            && topics.since == Some(register.version);
        match (topics.since, self.taken.take()) {
            (None, _) => self.tell(register).await,
            (Some(_), Some(taken)) if is_question => self.confirm(register, taken).await,
            (Some(_), _) => Ok(Registered::default()),
        }
    }

    async fn tell(&mut self, mut register: RegisterBroker) -> Result<Registered, RegisterError> {
        if register.epoch <= FIRST_EPOCH || register.broker_id > 0 {
            // Nobody has made it what it is in place of another, so whoever is there stays.
            let members = self.members(&register).await?;
            self.check_place(&register, &members)?;
        }
        let topics = std::mem::take(&mut register.topics.changed);
        let body = json::to_bytes(&registration(&register, topics));
        let fields = RegisterFields {
            broker_name: &register.broker,
            broker_address: &register.address,
            cluster: &register.cluster,
            ha_address: &register.ha_address,
            broker_id: number(register.broker_id),
            heartbeat_timeout_ms: Some(register.expiry_ms.into()),
            acting_master_enabled: Some(false),
            compressed: false,
            body_crc: check_sum(&body),
            castmq: Some(SOFTWARE),
        };
        let code = request_code::REGISTER_BROKER;
        let answer = self.ask(code, &fields, &body).await?;
        let answer = self.done(answer)?;
        let told = RegisterBrokerResponse::from_fields(&answer.fields)
            .map_err(|error| self.unreadable(error.to_string()))?;
        let (master, ha) = (
            told.master_address.unwrap_or_default().to_owned(),
            told.ha_address.unwrap_or_default().to_owned(),
        );
        let members = self.members(&register).await?;
        // It says nothing when it passes over a master of an earlier state.
        self.check_place(&register, &members)?;
        let registered = registered(&register, (master, ha), members);
        self.taken = Some(registered.clone());
        Ok(registered)
    }

    /// Asks whether all is known as it is.
    async fn confirm(
        &mut self,
        register: RegisterBroker,
        taken: Registered,
    ) -> Result<Registered, RegisterError> {
        let fields = QueryDataVersion {
            broker_name: &register.broker,
            broker_address: &register.address,
            cluster: &register.cluster,
            broker_id: number(register.broker_id),
        };
        let version = json::to_bytes(&version_of(&register));
        let code = request_code::QUERY_DATA_VERSION;
        let answer = self.ask(code, &fields, &version).await?;
        let answer = self.done(answer)?;
        let asked = QueryDataVersionResponse::from_fields(&answer.fields)
            .map_err(|error| self.unreadable(error.to_string()))?;
        let members = self.members(&register).await?;
        self.check_place(&register, &members)?;
        let master = members.get(&0).map_or("", String::as_str);
        // Where a master takes slaves they only hear when they register.
        let has_other_master = register.broker_id > 0 && master != taken.master_address;
        if asked.changed || has_other_master {
            return Ok(Registered::default());
        }
        let master = (taken.master_address, taken.master_ha_address);
        let registered = registered(&register, master, members);
        self.taken = Some(registered.clone());
        Ok(registered)
    }

    /// The brokers of the set. Old name servers do not tell: then only this one is known.
    async fn members(
        &mut self,
        register: &RegisterBroker,
    ) -> Result<BTreeMap<u64, String>, RegisterError> {
        let fields = BrokerMemberGroup {
            cluster: &register.cluster,
            broker_name: &register.broker,
        };
        let code = request_code::GET_BROKER_MEMBER_GROUP;
        let answer = self.ask(code, &fields, b"").await?;
        if answer.code == response_code::REQUEST_CODE_NOT_SUPPORTED {
            return Ok([(register.broker_id, register.address.clone())].into());
        }
        let answer = self.done(answer)?;
        let group: BrokerMemberGroupResponse = self.read(&answer.body)?;
        Ok(group.broker_member_group.addresses)
    }

    /// Refuses to go on where another broker has this one's place.
    fn check_place(
        &self,
        register: &RegisterBroker,
        members: &BTreeMap<u64, String>,
    ) -> Result<(), RegisterError> {
        let id = register.broker_id;
        match members.get(&id).filter(|other| **other != register.address) {
            None => Ok(()),
            Some(other) => Err(RegisterError::OtherBroker(
                self.name_server.clone(),
                id,
                other.clone(),
            )),
        }
    }

    pub(super) async fn find_route(
        &mut self,
        topic: &str,
    ) -> Result<Option<TopicRoute>, RegisterError> {
        let fields = RouteInfo {
            topic,
            standard_json_only: Some(true),
        };
        let code = request_code::GET_ROUTEINFO_BY_TOPIC;
        let answer = self.ask(code, &fields, b"").await?;
        if answer.code == response_code::TOPIC_NOT_EXIST {
            return Ok(None);
        }
        let answer = self.done(answer)?;
        Ok(Some(route_of(self.read(&answer.body)?)))
    }

    pub(super) async fn say_goodbye(mut self, goodbye: Goodbye) {
        let fields = UnregisterBroker {
            broker_name: &goodbye.broker,
            broker_address: &goodbye.address,
            cluster: &goodbye.cluster,
            broker_id: number(goodbye.broker_id),
        };
        let code = request_code::UNREGISTER_BROKER;
        let _ = self.ask(code, &fields, b"").await;
    }

    /// Why the connection is at its end. Whatever else comes unasked is passed over.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<RegisterError> {
        loop {
            let came = ready!(self.wire.poll_next_unpin(cx));
            if let Err(error) = self.frame(came) {
                return Poll::Ready(error);
            }
        }
    }

    async fn ask(
        &mut self,
        code: i32,
        fields: &impl WriteFields,
        body: &[u8],
    ) -> Result<Answer, RegisterError> {
        self.opaque = self.opaque.wrapping_add(1);
        let opaque = self.opaque;
        let mut out = BytesMut::new();
        put_frame(&Head::request(code, opaque), fields, body, &mut out);
        let answered = async {
            if let Err(error) = self.wire.get_mut().write_all(&out).await {
                return Err(RegisterError::Lost(self.name_server.clone(), error));
            }
            loop {
                let came = self.wire.next().await;
                let frame = self.frame(came)?;
                if let Some(answer) = self.answer(&frame, opaque)? {
                    self.has_answered = true;
                    return Ok(answer);
                }
            }
        };
        match timeout(ANSWER_WITHIN, answered).await {
            Ok(answered) => answered,
            Err(_) => Err(RegisterError::Late(self.name_server.clone())),
        }
    }

    fn frame(&self, came: Option<io::Result<Bytes>>) -> Result<Bytes, RegisterError> {
        match came {
            None => Err(RegisterError::Closed(self.name_server.clone())),
            Some(Ok(frame)) => Ok(frame),
            Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Err(self.unreadable(error.to_string()))
            }
            Some(Err(error)) => Err(RegisterError::Lost(self.name_server.clone(), error)),
        }
    }

    /// The answer to a request, if that is what came.
    fn answer(&self, frame: &Bytes, opaque: i32) -> Result<Option<Answer>, RegisterError> {
        let Some(Ok(split)) = Frames::new(frame, MAX_FRAME_BYTES).next() else {
            return Err(self.unreadable("a frame is none".to_owned()));
        };
        let command =
            Command::decode(&split).map_err(|error| self.unreadable(error.to_string()))?;
        if !command.is_response() || command.opaque != opaque {
            return Ok(None);
        }
        let command = command.into_owned();
        Ok(Some(Answer {
            code: command.code,
            remark: command.remark.unwrap_or_default().into_owned(),
            fields: command.fields,
            body: frame.slice_ref(split.body),
        }))
    }

    /// An answer of what was done.
    fn done(&self, answer: Answer) -> Result<Answer, RegisterError> {
        match answer.code {
            response_code::SUCCESS => Ok(answer),
            code => Err(RegisterError::RefusedRemoting(
                self.name_server.clone(),
                code,
                answer.remark,
            )),
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, body: &[u8]) -> Result<T, RegisterError> {
        json::from_slice(body).map_err(|error| self.unreadable(error.to_string()))
    }

    fn unreadable(&self, reason: String) -> RegisterError {
        RegisterError::UnreadableRemoting(self.name_server.clone(), reason)
    }
}

fn number(broker_id: u64) -> i64 {
    i64::try_from(broker_id).unwrap_or(i64::MAX)
}

fn version_of(register: &RegisterBroker) -> Version {
    let DataVersion {
        timestamp_ms,
        counter,
    } = register.version;
    Version {
        counter: counter as i64,
        state_version: register.epoch.into(),
        timestamp: timestamp_ms,
    }
}

fn registration(register: &RegisterBroker, topics: Vec<TopicQueues>) -> Registration {
    let signed = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let entries = topics.into_iter().map(|queues| {
        let entry = TopicEntry {
            permission: signed(queues.permission),
            read_queues: signed(queues.read_queues),
            topic_name: queues.topic.clone(),
            sys_flag: signed(queues.system_flag),
            write_queues: signed(queues.write_queues),
            ..TopicEntry::default()
        };
        (queues.topic, entry)
    });
    Registration {
        topics: MappedTopicTable {
            data_version: version_of(register),
            topics: entries.collect(),
            ..MappedTopicTable::default()
        },
        ..Registration::default()
    }
}

fn registered(
    register: &RegisterBroker,
    (master_address, master_ha_address): (String, String),
    members: BTreeMap<u64, String>,
) -> Registered {
    let members = members.into_iter().collect();
    match register.broker_id {
        // A master hears nothing of itself.
        0 => Registered {
            version: register.version,
            master_address: register.address.clone(),
            master_ha_address: register.ha_address.clone(),
            master_configured_id: register.configured_id,
            master_epoch: register.epoch,
            members,
        },
        _ => Registered {
            version: register.version,
            master_address,
            master_ha_address,
            members,
            ..Registered::default()
        },
    }
}

fn route_of(body: RouteBody) -> TopicRoute {
    let not_negative = |number: i32| u32::try_from(number).unwrap_or_default();
    let queues = body.queues.into_iter().map(|queues| BrokerQueues {
        broker: queues.broker_name,
        read_queues: not_negative(queues.read_queues),
        write_queues: not_negative(queues.write_queues),
        permission: not_negative(queues.permission),
        is_traced: false,
    });
    let brokers = body.brokers.into_iter().map(|broker| BrokerSet {
        cluster: broker.cluster,
        name: broker.broker_name,
        addresses: broker.addresses.into_iter().collect(),
    });
    TopicRoute {
        brokers: brokers.collect(),
        queues: queues.collect(),
    }
}
