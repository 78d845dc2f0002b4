//! What can go wrong, in the kinds that JMS has.

use std::sync::Arc;

use castmq_protocol::filter::FilterError;
use thiserror::Error;

use super::Destination;

/// What most functions of this module return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something did not work. Each variant is one of JMS's exceptions.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be done now: something is closed, or is used in another way (`IllegalStateException`).
    #[error("{0}")]
    IllegalState(Arc<str>),
    /// The destination is not there, or is not one for this (`InvalidDestinationException`).
    #[error("{destination} cannot be used: {reason}")]
    InvalidDestination {
        /// Which.
        destination: Arc<str>,
        /// Why not.
        reason: Arc<str>,
    },
    /// The text is no message selector (`InvalidSelectorException`).
    #[error("selector {selector:?} is refused: {reason}")]
    InvalidSelector {
        /// The text.
        selector: Arc<str>,
        /// What is wrong, and where.
        reason: FilterError,
    },
    /// The client id is missing, or cannot be set any more (`InvalidClientIDException`).
    #[error("{0}")]
    InvalidClientId(Arc<str>),
    /// A value has another type, or cannot be read as the wanted one (`MessageFormatException`).
    #[error("{0}")]
    MessageFormat(Arc<str>),
    /// A stream or bytes body that is being written was read (`MessageNotReadableException`).
    #[error("the body is being written and cannot be read: call reset() first")]
    MessageNotReadable,
    /// A message that was received, or a body that is being read, was written (`MessageNotWriteableException`).
    #[error("the message's {what} can only be read: call {instead} first")]
    MessageNotWriteable {
        /// The properties or the body.
        what: &'static str,
        /// What makes it writeable.
        instead: &'static str,
    },
    /// A stream or bytes body has no more (`MessageEOFException`).
    #[error("the body ends here: it has no more values to read")]
    MessageEof,
    /// The transaction did not happen: nothing of it was sent, what it received comes again
    /// (`TransactionRolledBackException`).
    #[error(
        "transaction was rolled back, nothing of it was sent and what it received comes again: {0}"
    )]
    TransactionRolledBack(Box<Error>),
    /// A part of the transaction may have happened; what is not acknowledged comes again. JMS has no exception of its own for
    /// it.
    #[error(
        "of the transaction's {sends} messages {sent} are known to be sent, and what it received {received}: {cause}"
    )]
    TransactionInDoubt {
        /// Messages that are known to be stored.
        sent: usize,
        /// Messages that it sent.
        sends: usize,
        /// What is known of the messages that it received.
        received: &'static str,
        /// What went wrong.
        cause: Box<Error>,
    },
    /// What the client met on its way to the broker (`JMSException`).
    #[error(transparent)]
    Client(#[from] crate::Error),
}

impl Error {
    pub(super) fn state(reason: impl Into<Arc<str>>) -> Self {
        Self::IllegalState(reason.into())
    }

    pub(super) fn closed(what: &str) -> Self {
        Self::state(format!("the {what} is closed: create another one"))
    }

    pub(super) fn format(reason: impl Into<Arc<str>>) -> Self {
        Self::MessageFormat(reason.into())
    }

    pub(super) fn destination(destination: &Destination, reason: impl Into<Arc<str>>) -> Self {
        Self::InvalidDestination {
            destination: destination.to_string().into(),
            reason: reason.into(),
        }
    }

    /// Whether the same may be tried again: nothing happened, and it may work the next time.
    pub fn is_retry_safe(&self) -> bool {
        match self {
            Self::Client(error) => error.is_retry_safe(),
            Self::TransactionRolledBack(cause) => cause.is_retry_safe(),
            _ => false,
        }
    }
}

impl From<castmq_protocol::model::PropertiesError> for Error {
    fn from(error: castmq_protocol::model::PropertiesError) -> Self {
        Self::format(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let received = Error::MessageNotWriteable {
            what: "body",
            instead: "clear_body()",
        };
        assert_eq!(
            received.to_string(),
            "the message's body can only be read: call clear_body() first"
        );
        let closed = Error::closed("session");
        assert_eq!(
            closed.to_string(),
            "the session is closed: create another one"
        );
        assert!(!closed.is_retry_safe());
    }
}
