//! Who waits for a message to be stored, and what they are told.

use std::sync::LazyLock;

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::native::response::SendStatus;
use castmq_protocol::record::MessageId;
use castmq_protocol::remoting::headers::send::{RecallMessageResponse, SendMessageResponse};
use castmq_protocol::remoting::recall::RecallHandle;
use castmq_protocol::remoting::template::{Sent, SentTemplate};
use castmq_protocol::remoting::{Serialization, response_code};
use slab::Slab;

use super::sending::REGION;
use super::unique_ids::UniqueId;
use super::*;
use crate::storage::append::{Appended, Outcome, Stored};
use crate::supervision::Receive;

/// Who waits for a message to be stored, or for a transaction to be ended.
pub(super) struct Pending {
    pub(super) asker: Asker,
    /// Whether where the message is is told.
    tells_place: bool,
    /// The id that the client gave it, or it was given here; empty for none.
    unique_id: UniqueId,
    besides: Besides,
}

/// What few answers tell besides.
pub(super) enum Besides {
    Nothing,
    /// Where the others of a batch are: the lengths of its records.
    Batch(Vec<u32>),
    /// What takes the message back before it is due.
    Recall(Box<RecallHandle>),
    /// The message that is taken back.
    Recalled(String),
}

impl Pending {
    /// Who wants to hear no more than that it is done.
    pub(super) fn plain(asker: Asker) -> Self {
        Self {
            asker,
            tells_place: false,
            unique_id: UniqueId::new(),
            besides: Besides::Nothing,
        }
    }

    /// Who wants to hear where the message is that has this id.
    pub(super) fn placed(asker: Asker, unique_id: UniqueId, besides: Besides) -> Self {
        Self {
            asker,
            tells_place: true,
            unique_id,
            besides,
        }
    }

    /// Who wants to hear which message is taken back.
    pub(super) fn recalling(asker: Asker, message_id: String) -> Self {
        Self {
            besides: Besides::Recalled(message_id),
            ..Self::plain(asker)
        }
    }
}

/// Those who wait, by numbers that are given again. None is 0, which is the number of what nobody waits for.
#[derive(Default)]
pub(super) struct Waiting(Slab<Pending>);

impl Waiting {
    /// The number that the next one will have.
    pub(super) fn next(&self) -> u64 {
        self.0.vacant_key() as u64 + 1
    }

    pub(super) fn add(&mut self, pending: Pending) {
        self.0.insert(pending);
    }

    pub(super) fn take(&mut self, number: u64) -> Option<Pending> {
        let key = usize::try_from(number.checked_sub(1)?).ok()?;
        self.0.try_remove(key)
    }
}

impl RemotingSession {
    /// Tells where a message is, or the messages of a batch.
    fn stored(&mut self, pending: &Pending, stored: &Stored) {
        let asker = pending.asker;
        if asker.is_one_way {
            return;
        }
        let store_host = self.context.store_host;
        let id = |physical_offset| MessageId {
            store_host,
            physical_offset,
        };
        let unique_id = pending.unique_id.as_slice();
        let (queue, queue_offset) = (stored.queue.0 as i32, stored.queue_offset.0 as i64);
        let code = match stored.status {
            SendStatus::Stored => response_code::SUCCESS,
            SendStatus::FlushTimeout => response_code::FLUSH_DISK_TIMEOUT,
            SendStatus::SlaveNotAvailable => response_code::SLAVE_NOT_AVAILABLE,
            SendStatus::ReplicationTimeout => response_code::FLUSH_SLAVE_TIMEOUT,
        };
        let is_usual = code == response_code::SUCCESS && !unique_id.is_empty();
        if matches!(pending.besides, Besides::Nothing) && is_usual {
            let sent = Sent {
                opaque: asker.opaque,
                message_id: id(stored.physical_offset),
                queue,
                queue_offset,
                unique_id,
            };
            answers(asker.serialization).put(&sent, &mut self.last_sent, self.connection.buffer());
            return;
        }
        let mut message_ids = id(stored.physical_offset).to_string();
        let mut recall = None;
        match &pending.besides {
            Besides::Batch(record_bytes) => {
                let mut at = stored.physical_offset;
                for (_, bytes) in record_bytes.iter().skip(1).zip(record_bytes) {
                    at = PhysicalOffset(at.0 + u64::from(*bytes));
                    message_ids.push(',');
                    message_ids.push_str(&id(at).to_string());
                }
            }
            Besides::Recall(handle) => recall = Some(handle.text()),
            Besides::Nothing | Besides::Recalled(_) => {}
        }
        let fields = SendMessageResponse {
            message_id: &message_ids,
            queue,
            queue_offset,
            transaction_id: std::str::from_utf8(unique_id)
                .ok()
                .filter(|id| !id.is_empty()),
            batch_unique_id: None,
            recall_handle: recall.as_deref(),
            region: Some(REGION),
            trace_on: Some(true),
        };
        self.connection
            .respond_as(asker, (code, None), &fields, b"");
    }
}

/// What most answers are.
fn answers(serialization: Serialization) -> &'static SentTemplate {
    static JSON: LazyLock<SentTemplate> =
        LazyLock::new(|| SentTemplate::new(Serialization::Json, REGION));
    static BINARY: LazyLock<SentTemplate> =
        LazyLock::new(|| SentTemplate::new(Serialization::Binary, REGION));
    match serialization {
        Serialization::Json => &JSON,
        Serialization::Binary => &BINARY,
    }
}

impl Receive<Appended> for RemotingSession {
    fn receive(&mut self, appended: Appended, _ctx: &mut Ctx<'_, Self>) {
        for request in &appended.requests {
            let Some(pending) = self.waiting.take(request.correlation) else {
                continue;
            };
            match &request.outcome {
                Outcome::Stored(stored) if pending.tells_place => self.stored(&pending, stored),
                Outcome::Stored(_) => match &pending.besides {
                    Besides::Recalled(message_id) => {
                        let fields = RecallMessageResponse { message_id };
                        self.connection.respond(pending.asker, &fields, b"");
                    }
                    _ => self.connection.respond(pending.asker, &(), b""),
                },
                Outcome::Refused(refusal) => {
                    let refused = (**refusal).clone().into();
                    self.connection.refuse(pending.asker, &refused);
                }
                Outcome::Unknown => {
                    let refused = Refused::new(
                        response_code::SYSTEM_ERROR,
                        "the log-writer failed with the message in hand: it may be stored or not",
                    );
                    self.connection.refuse(pending.asker, &refused);
                }
            }
        }
        self.sending.came_back(appended);
    }
}
