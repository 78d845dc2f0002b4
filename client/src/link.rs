//! An address that is connected to again when the connection is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::native::request::{GroupAlias, TopicAlias};
use castmq_protocol::native::{ErrorCode, Request, Response};
use castmq_protocol::record::MessageId;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::raw::{Answer, Connection, Options, Payload, Pushes};

/// The longest pause between attempts to connect: well below the time that a message may take to be sent.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A topic's number on one connection, and what the broker said of the topic then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnnouncedTopic {
    pub(crate) alias: TopicAlias,
    pub(crate) write_queues: u32,
    pub(crate) read_queues: u32,
}

/// Names that have numbers on one connection. Numbers are dense from 0: one that was refused is given again.
#[derive(Debug)]
struct Aliases<T> {
    known: Mutex<HashMap<Arc<str>, T>>,
    /// The number of the next name. Locked while a name is announced.
    next: tokio::sync::Mutex<u32>,
}

impl<T: Copy> Aliases<T> {
    fn new() -> Self {
        Self {
            known: Mutex::new(HashMap::new()),
            next: tokio::sync::Mutex::new(0),
        }
    }

    fn get(&self, name: &str) -> Option<T> {
        self.known.lock().get(name).copied()
    }
}

/// One connection with the names announced on it. Both end together.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: Connection,
    /// The broker's name; empty for a name server.
    pub(crate) broker: Arc<str>,
    /// The address in message ids, when it is one.
    pub(crate) store_host: Option<SocketAddr>,
    topics: Aliases<AnnouncedTopic>,
    groups: Aliases<GroupAlias>,
}

impl Session {
    pub(crate) async fn open(address: &str, options: &Options) -> Result<(Self, Pushes)> {
        let (connection, pushes) = Connection::open(address, options).await?;
        let welcome = connection.welcome();
        let session = Self {
            broker: welcome.broker.as_str().into(),
            store_host: welcome.store_host.parse().ok(),
            connection,
            topics: Aliases::new(),
            groups: Aliases::new(),
        };
        Ok((session, pushes))
    }

    pub(crate) fn address(&self) -> &Arc<str> {
        self.connection.address()
    }

    /// Whether the broker copies a master.
    pub(crate) fn is_slave(&self) -> bool {
        self.connection.welcome().broker_id != 0
    }

    /// The id that says where a message is stored, when the broker's address is one for ids.
    pub(crate) fn message_id(&self, physical_offset: PhysicalOffset) -> Option<MessageId> {
        Some(MessageId {
            store_host: self.store_host?,
            physical_offset,
        })
    }

    pub(crate) fn ask(&self, request: Request) -> Answer {
        self.connection.request(request, Payload::none())
    }

    pub(crate) fn unexpected(&self, request: &'static str) -> Error {
        Error::unexpected(self.address(), request)
    }

    /// The number of a topic, announced when it has none yet; the broker may create the topic then.
    pub(crate) async fn topic(&self, topic: &Arc<str>) -> Result<AnnouncedTopic> {
        self.announce(&self.topics, topic, "topics", |alias| {
            let topic = topic.as_ref().into();
            Request::AnnounceTopic { alias, topic }
        })
        .await
    }

    /// The number of a group, announced when it has none yet.
    pub(crate) async fn group(&self, group: &Arc<str>) -> Result<GroupAlias> {
        self.announce(&self.groups, group, "groups", |alias| {
            let group = group.as_ref().into();
            Request::AnnounceGroup { alias, group }
        })
        .await
    }

    /// Whether a topic still has a number.
    pub(crate) fn knows(&self, topic: &str, alias: TopicAlias) -> bool {
        self.topics
            .get(topic)
            .is_some_and(|known| known.alias == alias)
    }

    /// Forgets a topic's number when an error says that the broker does not have the topic any more: it has to be announced
    /// again, which may create it again.
    pub(crate) fn forget_if_gone(&self, topic: &str, error: &Error) {
        if matches!(
            error.code(),
            Some(ErrorCode::TopicNotFound | ErrorCode::UnknownAlias)
        ) {
            self.topics.known.lock().remove(topic);
        }
    }

    async fn announce<T: Copy + FromAnswer>(
        &self,
        aliases: &Aliases<T>,
        name: &Arc<str>,
        what: &'static str,
        request: impl FnOnce(u32) -> Request,
    ) -> Result<T> {
        if let Some(known) = aliases.get(name) {
            return Ok(known);
        }
        let mut next = aliases.next.lock().await;
        if let Some(known) = aliases.get(name) {
            return Ok(known);
        }
        let alias = *next;
        let limit = self.connection.welcome().limits.max_aliases;
        if alias >= limit {
            let reason = format!(
                "{} takes {limit} {what} on one connection, and {name} is one more: use another client for it",
                self.address()
            );
            return Err(Error::setting(reason));
        }
        let answer = self.ask(request(alias)).await.inspect_err(|error| {
            if error.code().is_none() {
                // Whether the number is taken is not known, so nothing more can be announced here.
                self.connection.close();
            }
        })?;
        let known = T::from_answer(answer.header.response, alias)
            .ok_or_else(|| self.unexpected("announce"))?;
        *next += 1;
        aliases.known.lock().insert(name.clone(), known);
        Ok(known)
    }
}

/// What an announcement is answered with.
trait FromAnswer: Sized {
    fn from_answer(response: Response, asked: u32) -> Option<Self>;
}

impl FromAnswer for AnnouncedTopic {
    fn from_answer(response: Response, asked: u32) -> Option<Self> {
        match response {
            Response::TopicAnnounced {
                alias,
                write_queues,
                read_queues,
            } if alias == asked => Some(Self {
                alias,
                write_queues,
                read_queues,
            }),
            _ => None,
        }
    }
}

impl FromAnswer for GroupAlias {
    fn from_answer(response: Response, asked: u32) -> Option<Self> {
        match response {
            Response::GroupAnnounced { alias } if alias == asked => Some(alias),
            _ => None,
        }
    }
}

/// What the last attempt to connect left behind.
#[derive(Debug)]
struct Attempts {
    backoff: Backoff,
    /// The last failure, and until when it is the answer to everybody who asks.
    failed: Option<(Error, Instant)>,
}

/// An address with at most one connection to it.
#[derive(Debug)]
pub(crate) struct Link {
    address: Arc<str>,
    options: Options,
    current: Mutex<Option<Arc<Session>>>,
    /// Held while connecting, so that all who need the connection wait for the same one.
    attempts: tokio::sync::Mutex<Attempts>,
}

impl Link {
    pub(crate) fn new(address: Arc<str>, options: Options) -> Self {
        Self {
            address,
            options,
            current: Mutex::new(None),
            attempts: tokio::sync::Mutex::new(Attempts {
                backoff: Backoff::up_to(LONGEST_PAUSE),
                failed: None,
            }),
        }
    }

    pub(crate) fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// Closes the connection, if there is one. Whoever needs one makes another.
    pub(crate) fn close(&self) {
        if let Some(session) = self.current.lock().take() {
            session.connection.close();
        }
    }

    /// The connection, if there is one.
    pub(crate) fn live(&self) -> Option<Arc<Session>> {
        let current = self.current.lock();
        current
            .as_ref()
            .filter(|session| session.connection.is_usable())
            .cloned()
    }

    /// The live connection, or a new one. Does not wait for a back-off: while one runs, the last failure is the answer,
    /// so that whoever has another address to try goes there.
    pub(crate) async fn session(&self) -> Result<Arc<Session>> {
        if let Some(session) = self.live() {
            return Ok(session);
        }
        let mut attempts = self.attempts.lock().await;
        if let Some(session) = self.live() {
            return Ok(session);
        }
        if let Some((error, until)) = &attempts.failed
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        match Session::open(&self.address, &self.options).await {
            Ok((session, _pushes)) => {
                attempts.backoff.reset();
                attempts.failed = None;
                let session = Arc::new(session);
                *self.current.lock() = Some(session.clone());
                Ok(session)
            }
            Err(error) => {
                let wait = attempts.backoff.after_failure(fastrand::f64());
                tracing::debug!(address = %self.address, %error, ?wait, "cannot connect");
                attempts.failed = Some((error.clone(), Instant::now() + wait));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::Role;
    use crate::testing::{Network, welcome};
    use castmq_protocol::native::Failure;

    fn link(network: &Network) -> Arc<Link> {
        let options = Options::new(Role::Producer, "test").dial(Arc::new(network.clone()));
        Arc::new(Link::new("b:1".into(), options))
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_connection_is_made_again_and_its_names_are_announced_again() {
        let network = Network::default();
        let mut listener = network.listen("b:1");
        let link = link(&network);
        let broker = tokio::spawn(async move {
            for _ in 0..2 {
                let mut peer = listener.greet(welcome("b")).await;
                let (header, _) = peer.next().await.unwrap();
                let Request::AnnounceTopic { alias: 0, topic } = header.request else {
                    panic!("{:?}", header.request);
                };
                assert_eq!(topic, "orders");
                let announced = Response::TopicAnnounced {
                    alias: 0,
                    write_queues: 4,
                    read_queues: 8,
                };
                peer.reply(header.correlation, announced).await;
            }
        });
        for _ in 0..2 {
            let session = link.session().await.unwrap();
            let topic = session.topic(&"orders".into()).await.unwrap();
            assert_eq!(
                (topic.alias, topic.write_queues, topic.read_queues),
                (0, 4, 8)
            );
            assert_eq!(session.topic(&"orders".into()).await.unwrap(), topic);
            session.connection.ended().await;
        }
        broker.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_need_a_connection_share_one() {
        let network = Network::default();
        let mut listener = network.listen("b:1");
        let link = link(&network);
        let (one, two, _peer) =
            tokio::join!(link.session(), link.session(), listener.greet(welcome("b")));
        assert!(Arc::ptr_eq(&one.unwrap(), &two.unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_name_leaves_its_number_to_the_next() {
        let network = Network::default();
        let mut listener = network.listen("b:1");
        let link = link(&network);
        let (session, mut peer) = tokio::join!(link.session(), listener.greet(welcome("b")));
        let session = session.unwrap();
        let far_side = async {
            let (header, _) = peer.next().await.unwrap();
            let failure = Failure::never(ErrorCode::TopicNotFound, "no");
            peer.fail(header.correlation, failure).await;
            let (header, _) = peer.next().await.unwrap();
            assert!(matches!(
                header.request,
                Request::AnnounceGroup { alias: 0, .. }
            ));
            peer.reply(header.correlation, Response::GroupAnnounced { alias: 0 })
                .await;
            let (header, _) = peer.next().await.unwrap();
            assert!(matches!(
                header.request,
                Request::AnnounceTopic { alias: 0, .. }
            ));
            peer.reply(header.correlation, Response::Done).await;
        };
        let near_side = async {
            assert!(session.topic(&"bad".into()).await.is_err());
            assert_eq!(session.group(&"g".into()).await.unwrap(), 0);
            let odd = session.topic(&"good".into()).await.unwrap_err();
            assert!(odd.to_string().contains("of another kind"), "{odd}");
        };
        tokio::join!(far_side, near_side);
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_is_gone_is_announced_again_under_the_next_number() {
        let network = Network::default();
        let mut listener = network.listen("b:1");
        let link = link(&network);
        let (session, mut peer) = tokio::join!(link.session(), listener.greet(welcome("b")));
        let session = session.unwrap();
        let gone = |code| Error::Refused {
            request: "send",
            address: "b:1".into(),
            failure: Failure::never(code, "no"),
        };
        let far_side = async {
            for expected in 0..2 {
                let (header, _) = peer.next().await.unwrap();
                let Request::AnnounceTopic { alias, .. } = header.request else {
                    panic!("{:?}", header.request);
                };
                assert_eq!(alias, expected);
                let announced = Response::TopicAnnounced {
                    alias,
                    write_queues: 4,
                    read_queues: 4,
                };
                peer.reply(header.correlation, announced).await;
            }
        };
        let near_side = async {
            let topic = "orders".into();
            session.topic(&topic).await.unwrap();
            session.forget_if_gone(&topic, &gone(ErrorCode::Busy));
            assert!(session.knows(&topic, 0));
            session.forget_if_gone(&topic, &gone(ErrorCode::TopicNotFound));
            assert!(!session.knows(&topic, 0));
            assert_eq!(session.topic(&topic).await.unwrap().alias, 1);
        };
        tokio::join!(far_side, near_side);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_remembered_for_a_while_instead_of_repeated() {
        let network = Network::default();
        let link = link(&network);
        assert!(link.session().await.is_err());
        let mut listener = network.listen("b:1");
        assert!(link.session().await.is_err());
        tokio::time::sleep(Duration::from_millis(101)).await;
        let (session, _peer) = tokio::join!(link.session(), listener.greet(welcome("b")));
        session.unwrap();
    }
}
