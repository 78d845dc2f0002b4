//! Connections that stand as long as their producer, one to each broker of the topics it asks: replies come there.

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::keys;
use castmq_protocol::native::{Request, Response, Role};
use futures_util::future::select_all;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::kept::{Current, Keeping, keep};
use super::outstanding::Outstanding;
use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::link::Session;
use crate::message::ReceivedMessage;
use crate::raw::{Payload, Push, Pushes};

/// The longest pause between attempts to connect: well below the time that requests wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How old a route may be.
const ROUTE_AGE: Duration = Duration::from_secs(30);

fn usable(current: &Current) -> Option<Arc<Session>> {
    let current = current.borrow();
    let session = current.as_ref()?;
    session.connection.is_usable().then(|| session.clone())
}

/// See the module.
#[derive(Debug)]
pub(super) struct Standing {
    client: Client,
    /// Names this side to brokers: replies are sent to it.
    pub(super) id: Arc<str>,
    outstanding: Arc<Outstanding>,
    /// By address.
    brokers: Mutex<HashMap<Arc<str>, Current>>,
    stop: watch::Sender<bool>,
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.close();
    }
}

impl Standing {
    pub(super) fn new(client: Client, outstanding: Arc<Outstanding>) -> Self {
        // Of its own, since replies go to the latest connection of an id, and people give one id to several processes.
        let id = format!("{}/replies-{:08x}", client.id(), fastrand::u32(..));
        Self {
            client,
            id: id.into(),
            outstanding,
            brokers: Mutex::default(),
            stop: watch::Sender::new(false),
        }
    }

    /// Ends all connections, and makes no more.
    pub(super) fn close(&self) {
        self.stop.send_replace(true);
    }

    /// A session at a broker that takes a topic's messages: at the one of this name when there is one, another one each
    /// `turn` otherwise. Waits for the first when there is none.
    pub(super) async fn session(
        &self,
        topic: &Arc<str>,
        broker: Option<&str>,
        turn: usize,
    ) -> Result<Arc<Session>> {
        let mut brokers = self.brokers_of(topic, broker).await?;
        if brokers.is_empty() {
            return Err(Error::NoQueue {
                topic: topic.clone(),
                reason: match broker {
                    Some(broker) => format!("broker {broker} takes no messages of it").into(),
                    None => "no broker with a master takes writes of it".into(),
                },
            });
        }
        let sessions: Vec<_> = brokers.iter().filter_map(usable).collect();
        if let Some(session) = sessions.get(turn % sessions.len().max(1)) {
            return Ok(session.clone());
        }
        let connecting = brokers.iter_mut().map(|current| {
            Box::pin(async move {
                let is_usable = |session: &Option<Arc<Session>>| {
                    let session = session.as_ref();
                    session.is_some_and(|session| session.connection.is_usable())
                };
                let found = current.wait_for(is_usable).await;
                found.ok().and_then(|session| session.clone())
            })
        });
        let (session, _, _) = select_all(connecting).await;
        session.ok_or(Error::Closed { what: "producer" })
    }

    async fn brokers_of(&self, topic: &Arc<str>, broker: Option<&str>) -> Result<Vec<Current>> {
        let routes = &self.client.shared.routes;
        let route = routes.for_writing(topic, ROUTE_AGE).await?;
        let mut known = self.brokers.lock();
        let wanted = route.brokers.into_iter();
        let wanted = wanted.filter(|found| broker.is_none_or(|name| *found.name == *name));
        let brokers = wanted.map(|broker| {
            let address = broker.address;
            let current = known
                .entry(address.clone())
                .or_insert_with(|| self.connect(address));
            current.clone()
        });
        Ok(brokers.collect())
    }

    fn connect(&self, address: Arc<str>) -> Current {
        let (current, sessions) = watch::channel(None);
        let replies = Replies {
            client: self.client.clone(),
            address: address.clone(),
            id: self.id.clone(),
            outstanding: self.outstanding.clone(),
        };
        let backoff = Backoff::up_to(LONGEST_PAUSE);
        let keeping = keep(replies, address, backoff, current, self.stop.subscribe());
        self.client.shared.runtime.spawn(keeping);
        sessions
    }
}

/// Takes the replies that come from one broker.
struct Replies {
    client: Client,
    address: Arc<str>,
    id: Arc<str>,
    outstanding: Arc<Outstanding>,
}

impl Keeping for Replies {
    const FOR: &'static str = "replies";

    async fn open(&self) -> Result<(Arc<Session>, Pushes)> {
        let options = self.client.options(Role::Producer, &self.id);
        let (session, pushes) = Session::open(&self.address, &options).await?;
        match session.ask(Request::TakeReplies).await?.header.response {
            Response::Done => Ok((Arc::new(session), pushes)),
            _ => Err(session.unexpected("take replies")),
        }
    }

    fn take(&self, session: &Arc<Session>, push: Push) {
        let Response::Reply(pushed) = push.response else {
            return;
        };
        let reply = ReceivedMessage::from_record(push.payload);
        let is_awaited = reply.is_ok_and(|reply| {
            let correlation = reply.property(keys::CORRELATION_ID).map(str::to_owned);
            correlation.is_some_and(|correlation| self.outstanding.settle(&correlation, reply))
        });
        let taken = Request::ReplyTaken {
            number: pushed.number,
            is_awaited,
        };
        // On a connection that has ended there is nobody to tell.
        let _ = session.connection.tell(taken, Payload::none());
    }
}
