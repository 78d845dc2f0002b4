//! What operators do: on name servers, and on each broker.

use std::sync::Arc;

use castmq_protocol::model::{GroupConfig, PhysicalOffset, QueueId, QueueOffset, TopicConfig};
use castmq_protocol::native::admin::{
    AdminRequest, AdminResponse, BrokerDetails, ConnectionDetails, GroupDetails, ResetTo,
    TopicDetails,
};
use castmq_protocol::native::request::TopicQueue;
use castmq_protocol::native::route::{BrokerSet, TopicRoute};
use castmq_protocol::native::{Request, Response, Role};
use castmq_protocol::record::MessageId;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::link::Session;
use crate::message::{ReceivedMessage, read_records};
use crate::raw::Reply;
use crate::routes::master;

/// What operators ask of a cluster. What concerns one broker is asked of its [`BrokerAdmin`].
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: castmq_client::Client) -> castmq_client::Result<()> {
/// use castmq_client::model::TopicConfig;
///
/// let admin = client.admin();
/// for broker in admin.masters().await? {
///     broker.put_topic("orders", TopicConfig::with_queues(8)).await?;
/// }
/// println!("{:?}", admin.topics().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    async fn ask(&self, request: AdminRequest) -> Result<AdminResponse> {
        let servers = self.client.shared.routes.name_servers();
        let ask = |session: Arc<Session>| {
            let request = request.clone();
            async move {
                let (response, _) = ask(&session, request).await?;
                response.ok_or_else(|| session.unexpected("admin request"))
            }
        };
        servers.ask(ask).await
    }

    /// Names of all topics that name servers know, sorted.
    pub async fn topics(&self) -> Result<Vec<String>> {
        match self.ask(AdminRequest::ListTopics).await? {
            AdminResponse::Names(names) => Ok(names),
            _ => Err(self.unexpected()),
        }
    }

    /// Brokers that name servers know.
    pub async fn brokers(&self) -> Result<Vec<BrokerSet>> {
        match self.ask(AdminRequest::ListBrokers).await? {
            AdminResponse::Brokers(brokers) => Ok(brokers),
            _ => Err(self.unexpected()),
        }
    }

    /// Where a topic is.
    ///
    /// # Errors
    ///
    /// [`Error::TopicNotFound`] when name servers do not know it.
    pub async fn route(&self, topic: &str) -> Result<TopicRoute> {
        let topic: Arc<str> = topic.into();
        let found = self.client.shared.routes.latest(&topic).await?;
        let route = found.ok_or(Error::TopicNotFound { topic })?;
        Ok(Arc::unwrap_or_clone(route))
    }

    /// The master of a broker set.
    ///
    /// # Errors
    ///
    /// [`Error::BrokerNotFound`] when name servers know none of this name.
    pub async fn broker(&self, name: &str) -> Result<BrokerAdmin> {
        let brokers = self.brokers().await?;
        let found = brokers.iter().find(|set| set.name == name).and_then(master);
        let address = found.ok_or_else(|| Error::BrokerNotFound {
            broker: name.into(),
        })?;
        Ok(self.at(address))
    }

    /// The masters of all broker sets, sorted by name.
    pub async fn masters(&self) -> Result<Vec<BrokerAdmin>> {
        let mut brokers = self.brokers().await?;
        brokers.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(brokers
            .iter()
            .filter_map(master)
            .map(|address| self.at(address))
            .collect())
    }

    /// A broker or name server by its address, whether name servers know it or not.
    pub fn at(&self, address: &str) -> BrokerAdmin {
        BrokerAdmin {
            client: self.client.clone(),
            address: address.into(),
        }
    }

    /// The broker that stores a message, by the message's id, and the message.
    ///
    /// # Errors
    ///
    /// When the broker cannot be reached under the address in the id, or has no such message.
    pub async fn message(&self, id: MessageId) -> Result<ReceivedMessage> {
        self.at(&id.store_host.to_string())
            .message_at(id.physical_offset)
            .await
    }

    fn unexpected(&self) -> Error {
        Error::unexpected(&"name server".into(), "admin request")
    }
}

/// What operators ask of one broker, or of one name server.
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: castmq_client::Client) -> castmq_client::Result<()> {
/// use castmq_client::{SeekTo, StartFrom, raw::admin::ResetTo};
///
/// let broker = client.admin().broker("broker-a").await?;
/// let details = broker.show_broker().await?;
/// println!("{}: {}", details.name, details.health);
/// let to = ResetTo::Start(StartFrom::Earliest);
/// for (queue, offset) in broker.reset_offsets("billing", "orders", None, to).await? {
///     println!("{} {}: {offset}", queue.topic, queue.queue);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct BrokerAdmin {
    client: Client,
    address: Arc<str>,
}

impl BrokerAdmin {
    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    async fn reply(&self, request: AdminRequest) -> Result<(Option<AdminResponse>, Reply)> {
        let session = self
            .client
            .link(&self.address, Role::Admin)
            .session()
            .await?;
        ask(&session, request).await
    }

    /// Asks, and takes the kind of answer that belongs to the request.
    async fn ask<T>(
        &self,
        request: AdminRequest,
        take: impl FnOnce(AdminResponse) -> Option<T>,
    ) -> Result<T> {
        let (response, _) = self.reply(request).await?;
        response.and_then(take).ok_or_else(|| self.unexpected())
    }

    /// Asks for something to be done.
    async fn tell(&self, request: AdminRequest) -> Result<()> {
        self.reply(request).await.map(drop)
    }

    async fn messages(&self, request: AdminRequest) -> Result<Vec<ReceivedMessage>> {
        match self.reply(request).await? {
            (Some(AdminResponse::Messages { count }), reply) => {
                read_records(reply.payload, None, count)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn unexpected(&self) -> Error {
        Error::unexpected(&self.address, "admin request")
    }

    /// Creates or changes a topic.
    pub async fn put_topic(&self, topic: &str, config: TopicConfig) -> Result<()> {
        self.tell(AdminRequest::PutTopic {
            topic: topic.into(),
            config,
            only_new: false,
        })
        .await
    }

    /// Creates a topic.
    ///
    /// # Errors
    ///
    /// `TopicExists` when it is there already.
    pub async fn create_topic(&self, topic: &str, config: TopicConfig) -> Result<()> {
        self.tell(AdminRequest::PutTopic {
            topic: topic.into(),
            config,
            only_new: true,
        })
        .await
    }

    /// Deletes a topic with its queues and the groups' offsets in it.
    pub async fn delete_topic(&self, topic: &str) -> Result<()> {
        let topic = topic.into();
        self.tell(AdminRequest::DeleteTopic { topic }).await
    }

    /// Names of all topics, sorted. Brokers and name servers answer.
    pub async fn list_topics(&self) -> Result<Vec<String>> {
        self.ask(AdminRequest::ListTopics, names).await
    }

    /// A topic's settings and queues.
    pub async fn show_topic(&self, topic: &str) -> Result<TopicDetails> {
        let topic = topic.into();
        self.ask(
            AdminRequest::ShowTopic { topic },
            |response| match response {
                AdminResponse::Topic(details) => Some(details),
                _ => None,
            },
        )
        .await
    }

    /// Creates or changes a consumer group.
    pub async fn put_group(&self, group: &str, config: GroupConfig) -> Result<()> {
        let group = group.into();
        self.tell(AdminRequest::PutGroup { group, config }).await
    }

    /// Names of all consumer groups, sorted.
    pub async fn list_groups(&self) -> Result<Vec<String>> {
        self.ask(AdminRequest::ListGroups, names).await
    }

    /// A group's settings, members and offsets.
    pub async fn show_group(&self, group: &str) -> Result<GroupDetails> {
        let group = group.into();
        self.ask(
            AdminRequest::ShowGroup { group },
            |response| match response {
                AdminResponse::Group(details) => Some(details),
                _ => None,
            },
        )
        .await
    }

    /// Sets a group's offsets in one queue of a topic, or in all. Returns the offsets as they are then.
    pub async fn reset_offsets(
        &self,
        group: &str,
        topic: &str,
        queue: Option<QueueId>,
        to: ResetTo,
    ) -> Result<Vec<(TopicQueue, QueueOffset)>> {
        let request = AdminRequest::ResetOffsets {
            group: group.into(),
            topic: topic.into(),
            queue,
            to,
        };
        self.ask(request, offsets).await
    }

    /// Sets a group's offsets to those of another one, in one topic or in all. Returns the offsets as they are then.
    pub async fn clone_offsets(
        &self,
        group: &str,
        from: &str,
        topic: Option<&str>,
    ) -> Result<Vec<(TopicQueue, QueueOffset)>> {
        let request = AdminRequest::CloneOffsets {
            group: group.into(),
            from: from.into(),
            topic: topic.map(Into::into),
        };
        self.ask(request, offsets).await
    }

    /// Deletes a consumer group that has no members, with its offsets, and with its retry topic and dead letters if `with_topics`.
    pub async fn delete_group(&self, group: &str, with_topics: bool) -> Result<()> {
        let group = group.into();
        self.tell(AdminRequest::DeleteGroup { group, with_topics })
            .await
    }

    /// Brokers that a name server knows.
    pub async fn list_brokers(&self) -> Result<Vec<BrokerSet>> {
        self.ask(AdminRequest::ListBrokers, |response| match response {
            AdminResponse::Brokers(brokers) => Some(brokers),
            _ => None,
        })
        .await
    }

    /// The broker's rates, sizes and positions.
    pub async fn show_broker(&self) -> Result<BrokerDetails> {
        self.ask(AdminRequest::ShowBroker, |response| match response {
            AdminResponse::Broker(details) => Some(*details),
            _ => None,
        })
        .await
    }

    /// Makes a slave the master of its set, and returns the epoch that begins with that. `force` even while its master lives.
    /// The broker closes its connections and starts anew.
    pub async fn promote(&self, force: bool) -> Result<u32> {
        let request = AdminRequest::PromoteBroker { force };
        self.ask(request, |response| match response {
            AdminResponse::Promoted { epoch } => Some(epoch),
            _ => None,
        })
        .await
    }

    /// The message that lies at a place in the log.
    pub async fn message_at(&self, physical_offset: PhysicalOffset) -> Result<ReceivedMessage> {
        let request = AdminRequest::MessageAt { physical_offset };
        let found = self.messages(request).await?.into_iter().next();
        found.ok_or_else(|| self.unexpected())
    }

    /// At most `max` messages of a topic with a key, newest first, stored between two times in milliseconds since the epoch.
    pub async fn messages_by_key(
        &self,
        topic: &str,
        key: &str,
        max: u32,
        stored_ms: std::ops::RangeInclusive<i64>,
    ) -> Result<Vec<ReceivedMessage>> {
        self.messages(AdminRequest::MessagesByKey {
            topic: topic.into(),
            key: key.into(),
            max,
            begin_ms: *stored_ms.start(),
            end_ms: *stored_ms.end(),
        })
        .await
    }

    /// The live tree of actors, as JSON.
    pub async fn actors(&self) -> Result<String> {
        self.ask(AdminRequest::Actors, |response| match response {
            AdminResponse::Json(json) => Some(json),
            _ => None,
        })
        .await
    }

    /// Connections.
    pub async fn list_connections(&self) -> Result<Vec<ConnectionDetails>> {
        self.ask(AdminRequest::ListConnections, |response| match response {
            AdminResponse::Connections(connections) => Some(connections),
            _ => None,
        })
        .await
    }
}

fn offsets(response: AdminResponse) -> Option<Vec<(TopicQueue, QueueOffset)>> {
    match response {
        AdminResponse::Offsets(offsets) => Some(offsets),
        _ => None,
    }
}

fn names(response: AdminResponse) -> Option<Vec<String>> {
    match response {
        AdminResponse::Names(names) => Some(names),
        _ => None,
    }
}

/// Asks; the response is `None` when there is nothing more to say than that it is done.
async fn ask(session: &Session, request: AdminRequest) -> Result<(Option<AdminResponse>, Reply)> {
    let mut reply = session.ask(Request::Admin(request)).await?;
    let response = std::mem::replace(&mut reply.header.response, Response::Done);
    match response {
        Response::Admin(response) => Ok((Some(response), reply)),
        Response::Done => Ok((None, reply)),
        _ => Err(session.unexpected("admin request")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::ServerHeader;
    use crate::testing::{Network, Peer, welcome};
    use castmq_protocol::native::frame::encode_frame;
    use castmq_protocol::native::{ErrorCode, Failure};

    fn set(name: &str, addresses: &[(u64, &str)]) -> BrokerSet {
        BrokerSet {
            cluster: "c".into(),
            name: name.into(),
            addresses: addresses.iter().map(|(id, a)| (*id, (*a).into())).collect(),
        }
    }

    async fn asked(peer: &mut Peer) -> (u64, AdminRequest) {
        let (header, _) = peer.next().await.expect("a request comes");
        match header.request {
            Request::Admin(request) => (header.correlation, request),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn name_servers_tell_brokers_and_brokers_answer_for_themselves() {
        let network = Network::default();
        let mut name_server = network.listen("ns:1");
        let mut broker = network.listen("b:1");
        let far_side = async {
            let mut peer = name_server.greet(welcome("")).await;
            let (correlation, request) = asked(&mut peer).await;
            assert_eq!(request, AdminRequest::ListBrokers);
            let sets = vec![
                set("b", &[(0, "b:1"), (1, "b:2")]),
                set("a", &[(1, "slave:1")]),
            ];
            let brokers = Response::Admin(AdminResponse::Brokers(sets));
            peer.reply(correlation, brokers).await;
            let mut broker = broker.greet(welcome("b")).await;
            let (correlation, request) = asked(&mut broker).await;
            assert!(matches!(
                request,
                AdminRequest::PutTopic { only_new: true, .. }
            ));
            broker.reply(correlation, Response::Done).await;
            let (correlation, _) = asked(&mut broker).await;
            let failure = Failure::never(ErrorCode::GroupNotFound, "no group g");
            broker.fail(correlation, failure).await;
            let (correlation, _) = asked(&mut broker).await;
            let names = AdminResponse::Names(vec!["orders".into()]);
            broker.reply(correlation, Response::Admin(names)).await;
            let (correlation, _) = asked(&mut broker).await;
            let names = AdminResponse::Names(Vec::new());
            broker.reply(correlation, Response::Admin(names)).await;
            (peer, broker)
        };
        let near_side = async {
            let builder = Client::builder().name_servers(["ns:1"]);
            let client = builder
                .dial(Arc::new(network.clone()))
                .build()
                .await
                .unwrap();
            let masters = client.admin().masters().await.unwrap();
            let [broker] = &masters[..] else {
                panic!("a set without a master has none to ask: {masters:?}")
            };
            assert_eq!(broker.address(), "b:1");
            broker
                .create_topic("orders", TopicConfig::with_queues(4))
                .await
                .unwrap();
            let error = broker.show_group("g").await.unwrap_err();
            assert_eq!(error.code(), Some(ErrorCode::GroupNotFound));
            assert_eq!(broker.list_topics().await.unwrap(), ["orders"]);
            let odd = broker.actors().await.unwrap_err();
            assert!(matches!(odd, Error::Protocol { .. }), "{odd}");
        };
        tokio::join!(far_side, near_side);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_found_by_its_id() {
        let network = Network::default();
        let mut name_server = network.listen("ns:1");
        let mut broker = network.listen("10.0.0.1:10911");
        let far_side = async {
            let name_server = name_server.greet(welcome("")).await;
            let mut peer = broker.greet(welcome("b")).await;
            let (correlation, request) = asked(&mut peer).await;
            let place = AdminRequest::MessageAt {
                physical_offset: PhysicalOffset(7000),
            };
            assert_eq!(request, place);
            let header = ServerHeader {
                correlation,
                response: Response::Admin(AdminResponse::Messages { count: 1 }),
            };
            let record = crate::message::stored_record(7, b"found", b"", 0);
            let mut frame = bytes::BytesMut::new();
            encode_frame(&header, &[&record], &mut frame);
            peer.write(&frame).await;
            (name_server, peer)
        };
        let near_side = async {
            let builder = Client::builder().name_servers(["ns:1"]);
            let client = builder
                .dial(Arc::new(network.clone()))
                .build()
                .await
                .unwrap();
            let id: MessageId = "0A00000100002A9F0000000000001B58".parse().unwrap();
            let message = client.admin().message(id).await.unwrap();
            assert_eq!(message.body().unwrap(), b"found");
            assert_eq!(message.topic(), "orders");
            assert_eq!(message.id(), id);
        };
        tokio::join!(far_side, near_side);
    }
}
