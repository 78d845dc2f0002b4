//! Why a ledger refuses.

use castmq_protocol::model::QueueOffset;
use thiserror::Error;

/// Why a message is not settled, or its invisible time not changed, by this receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum ReceiptError {
    /// Its time has passed, or the message was handed out again since.
    #[error(
        "the receipt of offset {offset} has expired, and the message is or will be handed out again: acknowledge it \
         with the receipt that comes then, or ask for a longer invisible time"
    )]
    Expired {
        /// The message.
        offset: QueueOffset,
    },
    /// Never handed out, forged, of an attempt that was not made, or replaced by a change of invisible time.
    #[error(
        "no message at offset {offset} is out with this receipt: send back the last one that came with the message, \
         or from the last change of its invisible time"
    )]
    Unknown {
        /// The message.
        offset: QueueOffset,
    },
    /// Settled before.
    #[error(
        "the message at offset {offset} is settled already: acknowledging it twice is harmless, and there is nothing \
         to do"
    )]
    AlreadySettled {
        /// The message.
        offset: QueueOffset,
    },
}

/// Why entries do not make a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum ReplayError {
    /// The first entry is not a snapshot's.
    #[error(
        "the journal does not begin with a snapshot: begin at the group's consumer offset instead, which may deliver \
         messages again"
    )]
    NoSnapshot,
    /// Entries before this one are missing.
    #[error(
        "the journal goes on at offset {offset}, but is known only up to {next}: entries before it are missing, \
         replay without it and what follows"
    )]
    Gap {
        /// Where the entry begins.
        offset: QueueOffset,
        /// Where it would have to begin at the latest.
        next: QueueOffset,
    },
    /// More than a ledger ever has between floor and next.
    #[error(
        "the journal has more than {limit} offsets from {floor} on: no ledger writes that, replay without this entry \
         and what follows"
    )]
    Window {
        /// Where the window begins.
        floor: QueueOffset,
        /// What a ledger can have.
        limit: u64,
    },
}
