//! Storing messages, and passing replies on.

use super::{FieldError, FieldWriter, Fields, ReadFields, WriteFields, headers};
use crate::remoting::codes::request_code;
use crate::remoting::fields::FieldValue;

/// Storing one message or a batch, or passing a reply on
/// ([`SEND_MESSAGE`](request_code::SEND_MESSAGE) and its kin). The body is the message's, or the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendMessage<'a> {
    /// The producer's group.
    pub producer_group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The topic after which a missing one is created.
    pub default_topic: &'a str,
    /// Queues of a topic that is created.
    pub default_topic_queues: i32,
    /// The queue; negative leaves the choice to the broker.
    pub queue: i32,
    /// Bits of [`sys_flag`](crate::record::sys_flag).
    pub sys_flag: i32,
    /// When the message was made, in milliseconds since the epoch.
    pub born_timestamp_ms: i64,
    /// The application's own bits.
    pub flag: i32,
    /// Properties in their text form.
    pub properties: Option<&'a str>,
    /// How often the message was delivered in vain.
    pub reconsume_times: Option<i32>,
    /// Whether the producer belongs to a unit.
    pub unit_mode: bool,
    /// Whether the body is a batch.
    pub batch: bool,
    /// After how many vain deliveries a message of a retry topic is a dead letter.
    pub max_reconsume_times: Option<i32>,
    /// The broker that the client means.
    pub broker_name: Option<&'a str>,
}

/// What the fields of [`SendMessage`] are called.
pub(in crate::remoting) struct Names {
    producer_group: &'static str,
    topic: &'static str,
    default_topic: &'static str,
    default_topic_queues: &'static str,
    pub(in crate::remoting) queue: &'static str,
    sys_flag: &'static str,
    pub(in crate::remoting) born_timestamp_ms: &'static str,
    flag: &'static str,
    pub(in crate::remoting) properties: &'static str,
    reconsume_times: &'static str,
    unit_mode: &'static str,
    batch: &'static str,
    max_reconsume_times: &'static str,
    broker_name: &'static str,
}

const LONG: Names = Names {
    producer_group: "producerGroup",
    topic: "topic",
    default_topic: "defaultTopic",
    default_topic_queues: "defaultTopicQueueNums",
    queue: "queueId",
    sys_flag: "sysFlag",
    born_timestamp_ms: "bornTimestamp",
    flag: "flag",
    properties: "properties",
    reconsume_times: "reconsumeTimes",
    unit_mode: "unitMode",
    batch: "batch",
    max_reconsume_times: "maxReconsumeTimes",
    broker_name: "bname",
};

const SHORT: Names = Names {
    producer_group: "a",
    topic: "b",
    default_topic: "c",
    default_topic_queues: "d",
    queue: "e",
    sys_flag: "f",
    born_timestamp_ms: "g",
    flag: "h",
    properties: "i",
    reconsume_times: "j",
    unit_mode: "k",
    max_reconsume_times: "l",
    batch: "m",
    broker_name: "n",
};

impl Names {
    /// Whether they are letters.
    fn is_short(&self) -> bool {
        self.topic.len() == 1
    }
}

/// What the fields of a request with that code are called.
pub(in crate::remoting) fn names(code: i32) -> &'static Names {
    match code {
        request_code::SEND_MESSAGE_V2
        | request_code::SEND_BATCH_MESSAGE
        | request_code::SEND_REPLY_MESSAGE_V2 => &SHORT,
        _ => &LONG,
    }
}

impl<'a> SendMessage<'a> {
    /// Reads the fields of a request with that code, which decides what they are called.
    ///
    /// # Errors
    ///
    /// When a field is missing that has to be there, or holds something that it cannot.
    pub fn from_fields(code: i32, fields: &'a Fields<'_>) -> Result<Self, FieldError> {
        let names = names(code);
        let letters = names.is_short().then(|| by_letter(fields));
        let texts = Texts { fields, letters };
        Ok(Self {
            producer_group: texts.read(names.producer_group)?,
            topic: texts.read(names.topic)?,
            default_topic: texts.read(names.default_topic)?,
            default_topic_queues: texts.read(names.default_topic_queues)?,
            queue: texts.read(names.queue)?,
            sys_flag: texts.read(names.sys_flag)?,
            born_timestamp_ms: texts.read(names.born_timestamp_ms)?,
            flag: texts.read(names.flag)?,
            properties: texts.read(names.properties)?,
            reconsume_times: texts.read(names.reconsume_times)?,
            unit_mode: texts
                .read::<Option<_>>(names.unit_mode)?
                .unwrap_or_default(),
            batch: texts.read::<Option<_>>(names.batch)?.unwrap_or_default(),
            max_reconsume_times: texts.read(names.max_reconsume_times)?,
            broker_name: texts.read(names.broker_name)?,
        })
    }

    /// The fields of a request with that code.
    pub fn for_code(self, code: i32) -> impl WriteFields + use<'a> {
        Named {
            names: names(code),
            send: self,
        }
    }
}

/// The letters that fields are called by, from `a` on.
const LETTERS: usize = 14;

/// The texts of fields that are called by letters, found in one go.
fn by_letter<'f>(fields: &'f Fields<'_>) -> [Option<&'f str>; LETTERS] {
    let mut texts = [None; LETTERS];
    for (name, text) in fields.iter() {
        if let Some(place) = place_of(name).and_then(|place| texts.get_mut(place)) {
            *place = Some(text);
        }
    }
    texts
}

fn place_of(name: &str) -> Option<usize> {
    match name.as_bytes() {
        [letter] => letter.checked_sub(b'a').map(usize::from),
        _ => None,
    }
}

/// Where the fields of a [`SendMessage`] are looked up.
struct Texts<'f, 'a> {
    fields: &'f Fields<'a>,
    letters: Option<[Option<&'f str>; LETTERS]>,
}

impl<'f> Texts<'f, '_> {
    fn read<T: FieldValue<'f>>(&self, name: &'static str) -> Result<T, FieldError> {
        let Some(letters) = &self.letters else {
            return self.fields.read(name);
        };
        let text = place_of(name).and_then(|place| *letters.get(place)?);
        T::read(text, name)
    }
}

struct Named<'a> {
    names: &'static Names,
    send: SendMessage<'a>,
}

impl WriteFields for Named<'_> {
    fn write_fields(&self, out: &mut FieldWriter<'_>) {
        let Self { names, send } = self;
        out.value(names.producer_group, &send.producer_group);
        out.value(names.topic, &send.topic);
        out.value(names.default_topic, &send.default_topic);
        out.value(names.default_topic_queues, &send.default_topic_queues);
        out.value(names.queue, &send.queue);
        out.value(names.sys_flag, &send.sys_flag);
        out.value(names.born_timestamp_ms, &send.born_timestamp_ms);
        out.value(names.flag, &send.flag);
        out.value(names.properties, &send.properties);
        out.value(names.reconsume_times, &send.reconsume_times);
        out.value(names.unit_mode, &send.unit_mode);
        out.value(names.max_reconsume_times, &send.max_reconsume_times);
        out.value(names.batch, &send.batch);
        out.value(names.broker_name, &send.broker_name);
    }
}

headers! {
    /// What became of a message that is stored. Clients take
    /// [`FLUSH_DISK_TIMEOUT`](crate::remoting::response_code::FLUSH_DISK_TIMEOUT) and the two behind it for stored, too.
    SendMessageResponse<'a> {
        /// The [`MessageId`](crate::record::MessageId) of where it lies; several with commas between them for a batch.
        "msgId" => message_id: &'a str,
        /// The queue.
        "queueId" => queue: i32,
        /// The place in the queue; of a batch, the first's.
        "queueOffset" => queue_offset: i64,
        /// The id that the client gave it.
        "transactionId" => transaction_id: Option<&'a str>,
        /// The id that the client gave its batch.
        "batchUniqId" => batch_unique_id: Option<&'a str>,
        /// What [`RECALL_MESSAGE`](request_code::RECALL_MESSAGE) takes.
        "recallHandle" => recall_handle: Option<&'a str>,
        /// The broker's region.
        "MSG_REGION" => region: Option<&'a str>,
        /// Whether the client shall trace the message.
        "TRACE_ON" => trace_on: Option<bool>,
    }

    /// To a client: a reply to its request. The body is the reply's.
    PushReply<'a> {
        /// The replier's group.
        "producerGroup" => producer_group: &'a str,
        /// The reply's topic.
        "topic" => topic: &'a str,
        /// As the replier sent it.
        "defaultTopic" => default_topic: &'a str,
        /// As the replier sent it.
        "defaultTopicQueueNums" => default_topic_queues: i32,
        /// As the replier sent it.
        "queueId" => queue: i32,
        /// Bits of [`sys_flag`](crate::record::sys_flag).
        "sysFlag" => sys_flag: i32,
        /// When the reply was made, in milliseconds since the epoch.
        "bornTimestamp" => born_timestamp_ms: i64,
        /// The application's own bits.
        "flag" => flag: i32,
        /// Properties in their text form.
        "properties" => properties: Option<&'a str>,
        /// How often it was delivered in vain.
        "reconsumeTimes" => reconsume_times: Option<i32>,
        /// Whether the replier belongs to a unit.
        "unitMode" => unit_mode: bool = false,
        /// The replier's address, as `ip:port`.
        "bornHost" => born_host: &'a str,
        /// The broker's address, as `ip:port`.
        "storeHost" => store_host: &'a str,
        /// When the broker had it, in milliseconds since the epoch.
        "storeTimestamp" => store_timestamp_ms: i64 = 0,
    }

    /// Taking a message back that is not due yet.
    RecallMessage<'a> {
        /// The producer's group.
        "producerGroup" => producer_group: Option<&'a str>,
        /// The topic.
        "topic" => topic: &'a str,
        /// What the response to sending it said.
        "recallHandle" => recall_handle: &'a str,
    }

    /// The message that was taken back.
    RecallMessageResponse<'a> {
        /// The id that the client gave it.
        "msgId" => message_id: &'a str,
    }
}
