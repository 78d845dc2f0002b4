//! What the load generator says, in each wire that brokers understand: as little work per request as can be.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{Bytes, BytesMut};
use castmq_protocol::hexadecimal;
use castmq_protocol::model::{QueueId, TopicConfig, keys};
use castmq_protocol::native::admin::AdminRequest;
use castmq_protocol::native::frame::{self as native, encode_frame};
use castmq_protocol::native::request::{ANY_QUEUE, Send, SendBatch};
use castmq_protocol::native::{ClientHeader, Request, Role};
use castmq_protocol::record::batch::Element;
use castmq_protocol::remoting::headers::send::SendMessage;
use castmq_protocol::remoting::headers::topic_admin::PutTopic;
use castmq_protocol::remoting::{
    Command, Frame, Frames, Head, Serialization, put_frame, request_code, response_code,
};
use clap::ValueEnum;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::BenchError;
use super::flags::Load;
use super::load::check;
use super::wire::{MAX_FRAME_BYTES, Wire, acknowledged};

/// When all messages say that they were made.
const BORN_TIMESTAMP_MS: i64 = 1_700_000_000_000;

/// Numbers of requests in JSON begin here, so that all have as many digits.
const FIRST_OPAQUE: i32 = 1_000_000_000;

/// The wire that requests are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Dialect {
    /// CastMQ's own.
    Native,
    /// RocketMQ's, with headers in JSON, as its clients speak by default.
    Remoting,
    /// RocketMQ's, with headers in its binary form.
    RemotingBinary,
}

/// A request that is complete but for its number.
pub(crate) struct Template {
    bytes: Bytes,
    /// Where the number stands.
    at: usize,
    /// Where the message's own digits of its id stand, if it has one.
    id_at: Option<usize>,
    dialect: Dialect,
}

/// What tells an id from the others of this process: hexadecimal digits behind the rest.
const ID_DIGITS: usize = 8;

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

/// An id whose own digits are zeros.
fn blank_id() -> String {
    let digits = "0".repeat(ID_DIGITS);
    format!("7F000001{:016X}{digits}", std::process::id())
}

/// Where the digits of an id stand in a request.
fn place_of_id(request: &[u8]) -> Option<usize> {
    let id = blank_id();
    let at = memchr::memmem::find(request, id.as_bytes())?;
    Some(at + id.len() - ID_DIGITS)
}

impl Template {
    /// Appends the request with this number.
    pub(crate) fn put(&self, number: u32, out: &mut BytesMut) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        if let Some(id_at) = self.id_at {
            let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
            out[start + id_at..][..ID_DIGITS].copy_from_slice(&hexadecimal(id));
        }
        let number_bytes = &mut out[start + self.at..];
        match self.dialect {
            Dialect::Native => {
                number_bytes[..8].copy_from_slice(&(u64::from(number) + 1).to_le_bytes());
            }
            Dialect::RemotingBinary => number_bytes[..4].copy_from_slice(&number.to_be_bytes()),
            Dialect::Remoting => {
                let mut rest = number;
                for digit in number_bytes[1..10].iter_mut().rev() {
                    *digit = b'0' + (rest % 10) as u8;
                    rest /= 10;
                }
            }
        }
    }
}

impl Dialect {
    fn form(self) -> Serialization {
        match self {
            Self::Native | Self::Remoting => Serialization::Json,
            Self::RemotingBinary => Serialization::Binary,
        }
    }

    /// A connection on which [`Template`]s of these topics can be sent.
    pub(crate) async fn connect(
        self,
        address: &str,
        name: &str,
        topics: impl Iterator<Item = String>,
    ) -> Result<Wire, BenchError> {
        if self != Self::Native {
            return Wire::open(address).await;
        }
        let mut wire = Wire::connect(address, Role::Producer, name).await?;
        for (alias, topic) in (0..).zip(topics) {
            wire.ask(Request::AnnounceTopic { alias, topic }).await?;
        }
        Ok(wire)
    }

    /// Makes a topic with so many queues.
    pub(crate) async fn make_topic(
        self,
        address: &str,
        topic: &str,
        queues: u32,
    ) -> Result<(), BenchError> {
        if self == Self::Native {
            let mut admin = Wire::connect(address, Role::Admin, "bench").await?;
            let put = AdminRequest::PutTopic {
                topic: topic.to_owned(),
                config: TopicConfig::with_queues(queues),
                only_new: false,
            };
            return admin.ask(Request::Admin(put)).await.map(drop);
        }
        let mut wire = Wire::open(address).await?;
        let queues = i32::try_from(queues).unwrap_or(i32::MAX);
        let put = PutTopic {
            topic,
            default_topic: "TBW102",
            read_queues: queues,
            write_queues: queues,
            permission: 6,
            filter_type: "SINGLE_TAG",
            sys_flag: Some(0),
            order: false,
            attributes: None,
            force: false,
        };
        let mut out = BytesMut::new();
        let head = Head::request(request_code::UPDATE_AND_CREATE_TOPIC, FIRST_OPAQUE);
        put_frame(&head, &put, b"", &mut out);
        wire.socket.write_all(&out).await?;
        while self.answers(&wire.input, |_| {})? == 0 {
            check(wire.socket.read_buf(&mut wire.input).await?)?;
        }
        Ok(())
    }

    /// The load's message or batch for a topic and one of its queues, or any.
    pub(crate) fn template(
        self,
        load: &Load,
        topic: (u32, &str),
        queue: Option<QueueId>,
    ) -> Template {
        let body = vec![b'x'; load.size];
        let properties = match load.unique_ids {
            Some(true) => format!("{}\u{1}{}\u{2}", keys::UNIQ_KEY, blank_id()),
            _ => String::new(),
        };
        let mut payload = BytesMut::new();
        if load.batch > 1 {
            let element = Element {
                flag: 0,
                body: &body,
                properties: b"",
            };
            (0..load.batch).for_each(|_| element.encode(&mut payload));
        } else {
            payload.extend_from_slice(&body);
        }
        let mut frame = BytesMut::new();
        let at = match self {
            Self::Native => {
                let queue = queue.unwrap_or(ANY_QUEUE);
                let parts = [properties.as_bytes(), &payload];
                put_native(load, topic.0, queue, parts, &mut frame);
                4
            }
            Self::Remoting | Self::RemotingBinary => {
                let payload = (properties.as_str(), &payload[..]);
                put_remoting(load, topic.1, queue, self.form(), payload, &mut frame)
            }
        };
        Template {
            id_at: place_of_id(&frame),
            bytes: frame.freeze(),
            at,
            dialect: self,
        }
    }

    /// The numbers of the requests that are answered at the front of `input`, and how many bytes that were.
    ///
    /// # Errors
    ///
    /// When an answer says something else than that all is stored.
    pub(crate) fn answers(
        self,
        input: &[u8],
        mut answered: impl FnMut(u32),
    ) -> Result<usize, BenchError> {
        if self == Self::Native {
            let mut frames = native::Frames::new(input, MAX_FRAME_BYTES);
            for frame in frames.by_ref() {
                let correlation = acknowledged(frame.map_err(io::Error::other)?)?;
                answered(correlation as u32 - 1);
            }
            return Ok(frames.consumed());
        }
        let mut frames = Frames::new(input, MAX_FRAME_BYTES);
        let mut behind = 0;
        for frame in frames.by_ref() {
            let frame = frame.map_err(io::Error::other)?;
            answered(succeeded(&frame, &mut behind)?);
        }
        Ok(frames.consumed())
    }
}

fn put_native(
    load: &Load,
    topic: u32,
    queue: QueueId,
    [properties, payload]: [&[u8]; 2],
    out: &mut BytesMut,
) {
    let request = if load.batch > 1 {
        Request::SendBatch(SendBatch {
            topic,
            queue,
            flags: 0,
            sys_flag: 0,
            born_timestamp_ms: BORN_TIMESTAMP_MS,
            messages: u32::try_from(load.batch).unwrap_or(u32::MAX),
            extras: None,
        })
    } else {
        Request::Send(Send {
            topic,
            queue,
            flags: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: BORN_TIMESTAMP_MS,
            properties_bytes: properties.len() as u32,
            extras: None,
        })
    };
    let header = ClientHeader {
        correlation: 0,
        request,
    };
    encode_frame(&header, &[properties, payload], out);
}

/// Returns where the request's number stands.
fn put_remoting(
    load: &Load,
    topic: &str,
    queue: Option<QueueId>,
    form: Serialization,
    (properties, payload): (&str, &[u8]),
    out: &mut BytesMut,
) -> usize {
    let code = match load.batch {
        0 | 1 => request_code::SEND_MESSAGE_V2,
        _ => request_code::SEND_BATCH_MESSAGE,
    };
    let send = SendMessage {
        producer_group: "bench",
        topic,
        default_topic: "TBW102",
        default_topic_queues: 4,
        queue: queue.map_or(-1, |queue| i32::try_from(queue.0).unwrap_or(i32::MAX)),
        born_timestamp_ms: BORN_TIMESTAMP_MS,
        properties: Some(properties),
        reconsume_times: Some(0),
        batch: load.batch > 1,
        ..SendMessage::default()
    };
    let head = Head {
        serialization: form,
        ..Head::request(code, FIRST_OPAQUE)
    };
    put_frame(&head, &send.for_code(code), payload, out);
    /// Length and mark, then code, language and version.
    const BINARY_OPAQUE_AT: usize = 8 + 5;
    match form {
        Serialization::Binary => BINARY_OPAQUE_AT,
        Serialization::Json => {
            let header = &out[..out.len() - payload.len()];
            memchr::memmem::rfind(header, OPAQUE).map_or(0, |at| at + OPAQUE.len())
        }
    }
}

const OPAQUE: &[u8] = b"\"opaque\":";

/// The number in the header of an answer. `behind` is how many bytes stood behind it in the one before.
fn opaque_in_json(header: &[u8], behind: &mut usize) -> Option<u32> {
    let ends_there = |at: usize| header.get(..at).is_some_and(|head| head.ends_with(OPAQUE));
    let at = header
        .len()
        .checked_sub(*behind)
        .filter(|at| ends_there(*at));
    let at = at.or_else(|| Some(memchr::memmem::rfind(header, OPAQUE)? + OPAQUE.len()))?;
    *behind = header.len() - at;
    let digits = header.get(at..)?;
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let number = digits.fold(0, |number: u32, digit| {
        number
            .wrapping_mul(10)
            .wrapping_add(u32::from(digit - b'0'))
    });
    // RocketMQ answers in JSON where the request was not.
    Some(number.checked_sub(FIRST_OPAQUE as u32).unwrap_or(number))
}

/// The number of the request that an answer is for, which says that all went well. Anything else is decoded whole.
fn succeeded(frame: &Frame<'_>, behind: &mut usize) -> Result<u32, BenchError> {
    let number = match frame.serialization {
        Serialization::Binary => {
            let opaque = frame.header.get(5..).and_then(<[u8]>::first_chunk);
            let went_well = frame.header.starts_with(&[0, 0]);
            let number = opaque.map(|bytes| u32::from_be_bytes(*bytes));
            number.filter(|_| went_well)
        }
        Serialization::Json if frame.header.starts_with(b"{\"code\":0,") => {
            opaque_in_json(frame.header, behind)
        }
        Serialization::Json => None,
    };
    if let Some(number) = number {
        return Ok(number);
    }
    let command = Command::decode(frame).map_err(io::Error::other)?;
    match command.code {
        response_code::SUCCESS => Err(BenchError::Unexpected(format!("{command:?}"))),
        code => Err(BenchError::Refused(format!(
            "{code}: {}",
            command.remark.unwrap_or_default()
        ))),
    }
}
