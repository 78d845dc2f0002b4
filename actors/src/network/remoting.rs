//! What sessions on RocketMQ's wire have in common, of brokers and of name servers: answers, refusals, pushes.

use bytes::BytesMut;
use castmq_protocol::native::{ErrorCode, Failure, Retry};
use castmq_protocol::remoting::json::JsonError;
use castmq_protocol::remoting::{
    Command, FieldError, Head, Serialization, WriteFields, begin_frame, put_frame, response_code,
};
use castmq_storage::commit_log::LogSlice;

use super::connection::Connection;

/// Whether a connection that begins with these bytes may be one of RocketMQ's: they are the length of its first frame.
pub(crate) fn may_begin(first: [u8; 4], max_frame_bytes: usize) -> bool {
    let length = i32::from_be_bytes(first);
    usize::try_from(length).is_ok_and(|length| (4..=max_frame_bytes).contains(&length))
}

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) opaque: i32,
    pub(crate) serialization: Serialization,
    pub(crate) is_one_way: bool,
}

impl Asker {
    pub(crate) fn of(command: &Command<'_>) -> Self {
        Self {
            opaque: command.opaque,
            serialization: command.serialization,
            is_one_way: command.is_one_way(),
        }
    }
}

/// Why a request was not done, as RocketMQ's clients are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// One of [`response_code`].
    pub(crate) code: i32,
    pub(crate) remark: String,
}

impl Refused {
    pub(crate) fn new(code: i32, remark: impl Into<String>) -> Self {
        let remark = remark.into();
        Self { code, remark }
    }
}

impl From<FieldError> for Refused {
    fn from(error: FieldError) -> Self {
        Self::new(response_code::SYSTEM_ERROR, error.to_string())
    }
}

impl From<JsonError> for Refused {
    fn from(error: JsonError) -> Self {
        Self::new(
            response_code::SYSTEM_ERROR,
            format!("the body cannot be read: {error}"),
        )
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::new(code_of(&failure), failure.message)
    }
}

/// Producers of RocketMQ try again elsewhere after 1, 2, 14, 16 and 17, and give up after the others.
fn code_of(failure: &Failure) -> i32 {
    match failure.code {
        ErrorCode::TopicNotFound => response_code::TOPIC_NOT_EXIST,
        ErrorCode::TopicExists => response_code::TOPIC_EXIST_ALREADY,
        ErrorCode::NotWritable
        | ErrorCode::NotReadable
        | ErrorCode::GroupDisabled
        | ErrorCode::NotAuthorized
        | ErrorCode::NotOwner => response_code::NO_PERMISSION,
        ErrorCode::GroupNotFound => response_code::SUBSCRIPTION_GROUP_NOT_EXIST,
        ErrorCode::MessageTooLarge | ErrorCode::PropertiesTooLarge => {
            response_code::MESSAGE_ILLEGAL
        }
        ErrorCode::InvalidName => match failure.retry {
            Retry::Never => response_code::MESSAGE_ILLEGAL,
            _ => response_code::SYSTEM_ERROR,
        },
        ErrorCode::Busy | ErrorCode::LimitReached => response_code::SYSTEM_BUSY,
        ErrorCode::DiskFull
        | ErrorCode::StorageFailed
        | ErrorCode::ShuttingDown
        | ErrorCode::NotMaster
        | ErrorCode::SlaveNotAvailable => response_code::SERVICE_NOT_AVAILABLE,
        ErrorCode::MessageNotFound => response_code::QUERY_NOT_FOUND,
        ErrorCode::InvalidFilter => response_code::SUBSCRIPTION_PARSE_FAILED,
        ErrorCode::NotSupported => response_code::REQUEST_CODE_NOT_SUPPORTED,
        _ => response_code::SYSTEM_ERROR,
    }
}

impl Connection {
    /// Puts a response of any code in line to be written, unless nobody waits for it.
    pub(crate) fn respond_as(
        &mut self,
        asker: Asker,
        (code, remark): (i32, Option<&str>),
        fields: &impl WriteFields,
        body: &[u8],
    ) {
        if let Some(head) = head(asker, code, remark) {
            put_frame(&head, fields, body, self.buffer());
        }
    }

    /// The same for what was done.
    pub(crate) fn respond(&mut self, asker: Asker, fields: &impl WriteFields, body: &[u8]) {
        self.respond_as(asker, (response_code::SUCCESS, None), fields, body);
    }

    /// The same for what was not.
    pub(crate) fn refuse(&mut self, asker: Asker, refused: &Refused) {
        let Refused { code, remark } = refused;
        self.respond_as(asker, (*code, Some(remark)), &(), b"");
    }

    /// Puts a response with stretches of the log in line to be written.
    pub(crate) fn respond_with_log(
        &mut self,
        asker: Asker,
        (code, remark): (i32, Option<&str>),
        fields: &impl WriteFields,
        body: Vec<LogSlice>,
    ) {
        if let Some(head) = head(asker, code, remark) {
            let bytes = body.iter().map(LogSlice::len).sum();
            begin_frame(&head, fields, bytes, self.buffer());
            self.push_log(body);
        }
    }

    /// Asks the client something, or tells it.
    pub(crate) fn push(&mut self, head: &Head<'_>, fields: &impl WriteFields, body: &[u8]) {
        put_frame(head, fields, body, self.buffer());
    }
}

fn head(asker: Asker, code: i32, remark: Option<&str>) -> Option<Head<'_>> {
    let head = Head::response(code, asker.opaque, asker.serialization);
    (!asker.is_one_way).then_some(Head { remark, ..head })
}

/// A body's bytes in a buffer that is not the connection's.
pub(crate) fn json(body: &impl serde::Serialize) -> BytesMut {
    let mut out = BytesMut::new();
    castmq_protocol::remoting::json::write(body, &mut out);
    out
}
