//! A broker's connection to a name server, of CastMQ or of RocketMQ.
//!
//! Which of the two it is nobody has to say. CastMQ's protocol is spoken first: what RocketMQ's name servers read as the length of a
//! frame is far beyond what they take, so they close the connection without a word, and then RocketMQ's is spoken. A
//! name server of CastMQ that closes a connection just then refuses a broker of CastMQ on RocketMQ's wire, and is asked again.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use castmq_protocol::native::Failure as Refusal;
use castmq_protocol::native::frame::CodecError;
use castmq_protocol::native::route::{RegisterBroker, Registered, TopicRoute};
use thiserror::Error;
use tokio::time::timeout;

use super::native_link::NativeLink;
use super::remoting_link::RemotingLink;
use crate::network::socket::Stream;

/// Time a name server has to answer (RocketMQ's `registerBrokerTimeoutMills` is 24 s).
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Why a broker is not registered with a name server.
#[derive(Debug, Error)]
pub(super) enum RegisterError {
    #[error("name server {0} cannot be reached: {1}")]
    Unreachable(String, io::Error),
    #[error("the connection to name server {0} is lost: {1}")]
    Lost(String, io::Error),
    #[error("name server {0} closed the connection")]
    Closed(String),
    #[error(
        "{0} closes connections, whether CastMQ's protocol is spoken or RocketMQ's: is a name server there?"
    )]
    SpeaksNeither(String),
    #[error("name server {0} did not answer within {ANSWER_WITHIN:?}")]
    Late(String),
    #[error(
        "name server {0} gave an answer that cannot be read: {1}; is a CastMQ name server of this version there?"
    )]
    Unreadable(String, CodecError),
    #[error("name server {0} gave an answer that cannot be read: {1}")]
    UnreadableRemoting(String, String),
    #[error("name server {0} gave an answer that was not asked for")]
    Unexpected(String),
    #[error("name server {0} ends the connection: {1}")]
    Ended(String, Refusal),
    #[error("name server {0} refuses this broker: {1}")]
    Refused(String, Refusal),
    #[error("name server {0} refuses this broker: {2} (code {1})")]
    RefusedRemoting(String, i32, String),
    #[error("name server {0} does not take note of the topics it was told")]
    NotTaken(String),
    #[error(
        "name server {0} knows another broker {1} of this set, at {2}: stop that one, or give this one another broker.id or broker.name"
    )]
    OtherBroker(String, u64, String),
}

impl RegisterError {
    /// Whether the name server has nothing against being asked, but against this broker.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Refused(..) | Self::RefusedRemoting(..) | Self::OtherBroker(..)
        )
    }

    /// Whether the other side went without an answer.
    fn is_silent_end(&self) -> bool {
        matches!(self, Self::Lost(..) | Self::Closed(..))
    }
}

/// See the module. Kept open between registrations: its end tells the name server that the broker is gone.
pub(super) enum Link {
    Native(Box<NativeLink>),
    Remoting(Box<RemotingLink>),
}

impl Link {
    /// Connects, and finds out what is spoken there.
    pub(super) async fn open(name_server: &str, client_id: String) -> Result<Self, RegisterError> {
        let socket = connect(name_server).await?;
        match NativeLink::open(name_server, socket, client_id).await {
            Ok(link) => Ok(Self::Native(Box::new(link))),
            Err(error) if error.is_silent_end() => {
                let socket = connect(name_server).await?;
                let link = RemotingLink::new(name_server, socket);
                Ok(Self::Remoting(Box::new(link)))
            }
            Err(error) => Err(error),
        }
    }

    /// What is spoken.
    pub(super) fn protocol(&self) -> &'static str {
        match self {
            Self::Native(_) => "castmq",
            Self::Remoting(_) => "rocketmq",
        }
    }

    /// Registers the broker.
    pub(super) async fn register(
        &mut self,
        register: RegisterBroker,
    ) -> Result<Registered, RegisterError> {
        match self {
            Self::Native(link) => link.register(register).await,
            Self::Remoting(link) => link.register(register).await.map_err(|error| {
                match error.is_silent_end() && !link.has_answered() {
                    true => RegisterError::SpeaksNeither(link.name_server().to_owned()),
                    false => error,
                }
            }),
        }
    }

    /// Where a topic is; `None` when no broker has it.
    pub(super) async fn find_route(
        &mut self,
        topic: &str,
    ) -> Result<Option<TopicRoute>, RegisterError> {
        match self {
            Self::Native(link) => link.find_route(topic).await,
            Self::Remoting(link) => link.find_route(topic).await,
        }
    }

    /// Says that the broker goes. The end of the connection says the same, later.
    pub(super) async fn say_goodbye(self, goodbye: Goodbye) {
        match self {
            Self::Native(link) => link.say_goodbye(goodbye).await,
            Self::Remoting(link) => link.say_goodbye(goodbye).await,
        }
    }

    /// What comes unasked: what has changed in the set, or why the connection is at its end.
    pub(super) fn poll_push(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Registered, RegisterError>> {
        match self {
            Self::Native(link) => link.poll_push(cx),
            Self::Remoting(link) => link.poll_end(cx).map(Err),
        }
    }
}

/// Who goes.
pub(super) struct Goodbye {
    pub(super) cluster: String,
    pub(super) broker: String,
    pub(super) broker_id: u64,
    pub(super) address: String,
}

async fn connect(name_server: &str) -> Result<Stream, RegisterError> {
    match timeout(ANSWER_WITHIN, Stream::connect(name_server)).await {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(error)) => Err(RegisterError::Unreachable(name_server.to_owned(), error)),
        Err(_) => Err(RegisterError::Late(name_server.to_owned())),
    }
}
