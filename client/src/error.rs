//! What can go wrong, and whether trying again is safe.

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{NameError, PropertiesError};
use castmq_protocol::native::{ErrorCode, Failure, Retry};
use castmq_protocol::record::RecordError;
use thiserror::Error;

/// What most functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something did not work. Cheap to clone: one lost connection fails many requests.
///
/// # Examples
///
/// ```no_run
/// # async fn example(producer: castmq_client::Producer) {
/// use castmq_client::Message;
///
/// match producer.send(Message::new("orders", "hello")).await {
///     Ok(receipt) => println!("stored as {receipt}"),
///     Err(error) if error.is_retry_safe() => println!("not stored, send it again: {error}"),
///     Err(error) => println!("may or may not be stored: {error}"),
/// }
/// # }
/// ```
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection could be made.
    #[error(
        "cannot connect to {address}: {reason}; check that it runs and that the address is right"
    )]
    Connect {
        /// Where to.
        address: Arc<str>,
        /// What the operating system or the other side said.
        reason: Arc<str>,
    },
    /// A connection ended while something was asked on it.
    #[error("connection to {address} was lost{}: {reason}", if *.written { " with the request unanswered" } else { "" })]
    Disconnected {
        /// The other side.
        address: Arc<str>,
        /// Why it ended.
        reason: Arc<str>,
        /// Whether the request, or a part of it, had been written: it may have had its effect.
        written: bool,
    },
    /// An answer did not come in time.
    #[error("{request} to {address} {} within {after:?}", if *.written { "was not answered" } else { "could not be sent" })]
    Timeout {
        /// What was asked.
        request: &'static str,
        /// The other side.
        address: Arc<str>,
        /// How long was waited.
        after: Duration,
        /// Whether the request had been written: it may have had its effect.
        written: bool,
    },
    /// The other side said no.
    #[error("{request} was refused by {address}: {failure}")]
    Refused {
        /// What was asked.
        request: &'static str,
        /// The other side.
        address: Arc<str>,
        /// What it said.
        failure: Failure,
    },
    /// The other side does not keep to the protocol.
    #[error(
        "{address} does not speak the protocol: {reason}; check that the address is CastMQ's and the versions match"
    )]
    Protocol {
        /// The other side.
        address: Arc<str>,
        /// What is wrong.
        reason: Arc<str>,
    },
    /// A message was not acknowledged, whatever was tried.
    #[error("message to {topic} was not acknowledged after {attempts} attempts in {after:?}, {}; the last error: {last}", if *.maybe_stored { "but may be stored" } else { "and is not stored" })]
    Unacknowledged {
        /// The message's topic.
        topic: Arc<str>,
        /// How often it was sent.
        attempts: u32,
        /// How long it was tried.
        after: Duration,
        /// Whether one of the attempts may have stored it.
        maybe_stored: bool,
        /// What the last attempt met.
        last: Box<Error>,
    },
    /// No broker has the topic.
    #[error(
        "topic {topic} does not exist, and no broker creates topics by itself: create it first"
    )]
    TopicNotFound {
        /// The topic.
        topic: Arc<str>,
    },
    /// The topic is there, but nothing can be done with it now.
    #[error("topic {topic} has no queue for this: {reason}")]
    NoQueue {
        /// The topic.
        topic: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// Name servers know no broker of this name.
    #[error("name servers know no broker {broker}: check its name and that it is registered")]
    BrokerNotFound {
        /// The name.
        broker: Arc<str>,
    },
    /// A topic or group name breaks the rules.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A property breaks the rules.
    #[error(transparent)]
    Properties(#[from] PropertiesError),
    /// Something is longer than the other side takes.
    #[error("{what} of {bytes} bytes is longer than the limit of {limit}: send less at once")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its length, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The producer holds as many unacknowledged bytes as it may.
    #[error(
        "{bytes} bytes are waiting for acknowledgment, the limit is {limit}: wait with `ready`, or raise `max_buffered_bytes`"
    )]
    BufferFull {
        /// Bytes waiting.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Nobody replied to a request in time.
    #[error("request {correlation} to {topic} was not replied to within {after:?}{}", no_reply(*.is_stored, .last.as_deref()))]
    NoReply {
        /// The request's topic.
        topic: Arc<str>,
        /// The request's property `CORRELATION_ID`.
        correlation: Arc<str>,
        /// How long was waited.
        after: Duration,
        /// Whether it is known that the request is stored.
        is_stored: bool,
        /// What the last attempt to send it met, when that was not well.
        last: Option<Box<Error>>,
    },
    /// As many requests wait for replies as may.
    #[error(
        "{limit} requests wait for replies, which is the limit, and none was done within {after:?}: ask for less at once, or raise `max_requests`"
    )]
    RequestsFull {
        /// The limit.
        limit: usize,
        /// How long was waited.
        after: Duration,
    },
    /// Nobody waits for a reply to the message.
    #[error(
        "the message from {topic} is no request, it has no property {property}: reply to messages that `request` sent"
    )]
    NotARequest {
        /// The message's topic.
        topic: Arc<str>,
        /// What it would have.
        property: &'static str,
    },
    /// An idempotent producer has sent as many messages behind one that is still on its way as it may.
    #[error(
        "{limit} messages were sent behind one that is not acknowledged yet, which is the limit of an idempotent producer: wait with `ready`"
    )]
    TooFarAhead {
        /// The limit, in messages.
        limit: usize,
    },
    /// It was closed before.
    #[error("the {what} is closed")]
    Closed {
        /// What.
        what: &'static str,
    },
    /// A body cannot be decompressed.
    #[error("body cannot be decompressed: {reason}")]
    Compression {
        /// Why.
        reason: Arc<str>,
    },
    /// A stored record cannot be read.
    #[error("record cannot be read: {0}")]
    Record(#[from] RecordError),
    /// A builder was given something that cannot work.
    #[error("{0}")]
    Setting(Arc<str>),
    /// The file with a broadcasting consumer's offsets cannot be read or written.
    #[error("offset file {path}: {reason}")]
    OffsetFile {
        /// The file.
        path: Arc<str>,
        /// What is wrong.
        reason: Arc<str>,
    },
}

/// The end of what is said of a request without reply.
fn no_reply(is_stored: bool, last: Option<&Error>) -> String {
    match last {
        _ if is_stored => ": check that somebody consumes the topic and replies".to_owned(),
        Some(last) => format!(", and is not known to be stored; the last error: {last}"),
        None => ", and is not known to be stored: no broker of the topic answered".to_owned(),
    }
}

impl Error {
    /// Whether and how the same may be tried again.
    ///
    /// [`Retry::Never`]: it would fail again. [`Retry::Safe`]: nothing happened. [`Retry::MayDuplicate`]: it may have
    /// happened, so a message sent again may be stored twice.
    pub fn retry(&self) -> Retry {
        let unless = |happened: bool| {
            if happened {
                Retry::MayDuplicate
            } else {
                Retry::Safe
            }
        };
        match self {
            Self::Connect { .. }
            | Self::BufferFull { .. }
            | Self::TooFarAhead { .. }
            | Self::NoQueue { .. } => Retry::Safe,
            Self::Disconnected { written, .. } | Self::Timeout { written, .. } => unless(*written),
            Self::Refused { failure, .. } => failure.retry,
            Self::Protocol { .. } | Self::NoReply { .. } => Retry::MayDuplicate,
            Self::RequestsFull { .. } => Retry::Safe,
            Self::Unacknowledged {
                maybe_stored, last, ..
            } => match last.retry() {
                _ if *maybe_stored => Retry::MayDuplicate,
                Retry::Never => Retry::Never,
                _ => Retry::Safe,
            },
            Self::OffsetFile { .. } => Retry::Safe,
            Self::TopicNotFound { .. }
            | Self::BrokerNotFound { .. }
            | Self::NotARequest { .. }
            | Self::Name(_)
            | Self::Properties(_)
            | Self::TooLarge { .. }
            | Self::Closed { .. }
            | Self::Compression { .. }
            | Self::Record(_)
            | Self::Setting(_) => Retry::Never,
        }
    }

    /// Whether trying again is safe and sensible: nothing happened, and it may work the next time.
    pub fn is_retry_safe(&self) -> bool {
        self.retry() == Retry::Safe
    }

    /// The other side's code, when it was the other side that said no.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { failure, .. } => Some(failure.code),
            Self::Unacknowledged { last, .. } => last.code(),
            _ => None,
        }
    }

    /// Whether the other side could not be reached or did not answer, as opposed to saying no.
    pub(crate) fn is_connectivity(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::Disconnected { .. }
                | Self::Timeout { .. }
                | Self::Protocol { .. }
                | Self::Closed { .. }
        ) || matches!(self.code(), Some(ErrorCode::ShuttingDown))
    }

    /// Whether what is known of where things are may be out of date.
    pub(crate) fn hints_at_stale_route(&self) -> bool {
        self.is_connectivity()
            || matches!(
                self.code(),
                Some(
                    ErrorCode::TopicNotFound
                        | ErrorCode::NotWritable
                        | ErrorCode::QueueOutOfRange
                        | ErrorCode::UnknownAlias
                        | ErrorCode::NotMaster
                )
            )
    }

    /// Whether the other side copies a master, which alone takes this.
    pub(crate) fn is_not_master(&self) -> bool {
        self.code() == Some(ErrorCode::NotMaster)
    }

    /// Whether the other side has said that asking again is no use.
    pub(crate) fn is_final(&self) -> bool {
        self.code().is_some() && self.retry() == Retry::Never
    }

    pub(crate) fn setting(reason: impl Into<Arc<str>>) -> Self {
        Self::Setting(reason.into())
    }

    /// An answer of another kind than the request's.
    pub(crate) fn unexpected(address: &Arc<str>, request: &'static str) -> Self {
        Self::Protocol {
            address: address.clone(),
            reason: format!("its answer to {request} is of another kind").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_was_never_written_is_safe_to_repeat() {
        let lost = |written| Error::Disconnected {
            address: "b:1".into(),
            reason: "end of stream".into(),
            written,
        };
        assert!(lost(false).is_retry_safe());
        assert_eq!(lost(true).retry(), Retry::MayDuplicate);
        assert_eq!(
            lost(true).to_string(),
            "connection to b:1 was lost with the request unanswered: end of stream"
        );
    }

    #[test]
    fn a_refusal_is_as_safe_to_repeat_as_the_other_side_says() {
        let refused = |failure| Error::Refused {
            request: "send",
            address: "b:1".into(),
            failure,
        };
        assert!(refused(Failure::safe(ErrorCode::Busy, "busy")).is_retry_safe());
        assert!(!refused(Failure::never(ErrorCode::InvalidName, "no")).is_retry_safe());
        assert_eq!(
            refused(Failure::unknown(ErrorCode::OutcomeUnknown, "?")).retry(),
            Retry::MayDuplicate
        );
    }

    #[test]
    fn errors_stay_small_enough_to_return_by_value() {
        assert!(size_of::<Error>() <= 96, "{}", size_of::<Error>());
    }
}
