//! The texts with which consumers that pop are told what they have, and say what they are done with.
//!
//! A response to popping says, for all its queues, where the batch of each begins ([`StartOffsets`]), which messages it
//! holds ([`MessageOffsets`]), and how often those in order were handed out ([`OrderCounts`]). Of that the client makes a
//! [`Receipt`] for each message, which comes back when the message is done.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A text that is none of these.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no {what}")]
pub struct PopTextError {
    what: &'static str,
    text: String,
}

impl PopTextError {
    fn new(what: &'static str, text: &str) -> Self {
        Self {
            what,
            text: text.chars().take(200).collect(),
        }
    }
}

/// Which of a topic's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicKind {
    /// The topic's own.
    Normal,
    /// Those that the group did not process, in the topic `%RETRY%group_topic`.
    Retry,
    /// Those that the group did not process, in the topic `%RETRY%group+topic`.
    RetryV2,
}

impl TopicKind {
    /// The kind of a topic's name.
    pub fn of_topic(topic: &str) -> Self {
        match topic.strip_prefix(crate::model::RETRY_PREFIX) {
            None => Self::Normal,
            Some(rest) if rest.contains('+') => Self::RetryV2,
            Some(_) => Self::Retry,
        }
    }

    /// The name of the topic in which `group` finds messages of this kind of `topic`.
    pub fn topic(self, topic: &str, group: &str) -> String {
        let prefix = crate::model::RETRY_PREFIX;
        match self {
            Self::Normal => topic.to_owned(),
            Self::Retry => format!("{prefix}{group}_{topic}"),
            Self::RetryV2 => format!("{prefix}{group}+{topic}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "0" => Some(Self::Normal),
            "1" => Some(Self::Retry),
            "2" => Some(Self::RetryV2),
            _ => None,
        }
    }
}

impl fmt::Display for TopicKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "0",
            Self::Retry => "1",
            Self::RetryV2 => "2",
        })
    }
}

/// What a client has of a message that was handed out to it (RocketMQ `POP_CK`, `extraInfo`).
///
/// Its text is its parts in their order with spaces between them, so that a broker's name has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt<'a> {
    /// Where the batch began that was handed out from the queue.
    pub start_offset: i64,
    /// When it was handed out, in milliseconds since the epoch.
    pub popped_ms: i64,
    /// For how long.
    pub invisible_ms: i64,
    /// The broker's own queue that watches over it.
    pub revive_queue: i32,
    /// Which of the topic's messages.
    pub kind: TopicKind,
    /// The broker.
    pub broker_name: &'a str,
    /// The queue.
    pub queue: i32,
    /// The message's place in the queue.
    pub offset: i64,
    /// Where it lies in the log. RocketMQ's gRPC proxy adds it.
    pub physical_offset: Option<i64>,
}

impl<'a> Receipt<'a> {
    /// Reads the text.
    ///
    /// # Errors
    ///
    /// When it is none: it takes eight parts, or nine.
    pub fn parse(text: &'a str) -> Result<Self, PopTextError> {
        Self::read(text).ok_or_else(|| PopTextError::new("receipt", text))
    }

    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(' ');
        let receipt = Self {
            start_offset: parts.next()?.parse().ok()?,
            popped_ms: parts.next()?.parse().ok()?,
            invisible_ms: parts.next()?.parse().ok()?,
            revive_queue: parts.next()?.parse().ok()?,
            kind: TopicKind::parse(parts.next()?)?,
            broker_name: parts.next()?,
            queue: parts.next()?.parse().ok()?,
            offset: parts.next()?.parse().ok()?,
            physical_offset: match parts.next() {
                Some(offset) => Some(offset.parse().ok()?),
                None => None,
            },
        };
        parts.next().is_none().then_some(receipt)
    }
}

impl fmt::Display for Receipt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {} {} {} {} {}",
            self.start_offset,
            self.popped_ms,
            self.invisible_ms,
            self.revive_queue,
            self.kind,
            self.broker_name,
            self.queue,
            self.offset
        )?;
        match self.physical_offset {
            Some(offset) => write!(f, " {offset}"),
            None => Ok(()),
        }
    }
}

/// Where the batch of a queue begins: `kind queue offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartOffset {
    /// Which of the topic's messages.
    pub kind: TopicKind,
    /// The queue.
    pub queue: i32,
    /// The offset.
    pub offset: i64,
}

impl fmt::Display for StartOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.kind, self.queue, self.offset)
    }
}

/// Which messages of a queue there are: `kind queue offset,offset…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueMessages {
    /// Which of the topic's messages.
    pub kind: TopicKind,
    /// The queue.
    pub queue: i32,
    /// Their places in the queue, in the order of the body.
    pub offsets: Vec<i64>,
}

impl fmt::Display for QueueMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.kind, self.queue)?;
        put_list(&self.offsets, ",", f)
    }
}

/// How often something was handed out before: `kind queue count` or `kind qoqueue%offset count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderCount {
    /// Which of the topic's messages.
    pub kind: TopicKind,
    /// The queue.
    pub queue: i32,
    /// The message's place in the queue; `None` for the queue as a whole.
    pub offset: Option<i64>,
    /// How often.
    pub count: i32,
}

impl fmt::Display for OrderCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            None => write!(f, "{} {} {}", self.kind, self.queue, self.count),
            Some(offset) => write!(f, "{} qo{}%{offset} {}", self.kind, self.queue, self.count),
        }
    }
}

fn put_list<T: fmt::Display>(list: &[T], between: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    list.iter().enumerate().try_for_each(|(index, part)| {
        let before = if index == 0 { "" } else { between };
        write!(f, "{before}{part}")
    })
}

/// The parts of a text with semicolons between them, each of which has three parts with spaces between them.
fn read_list<T>(text: &str, read: impl Fn(TopicKind, &str, &str) -> Option<T>) -> Option<Vec<T>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let read_one = |part: &str| {
        let (kind, rest) = part.split_once(' ')?;
        let (key, value) = rest.split_once(' ')?;
        read(TopicKind::parse(kind)?, key, value)
    };
    text.split(';').map(read_one).collect()
}

macro_rules! lists {
    ($($(#[$doc:meta])* $list:ident of $part:ident, $what:literal, $read:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Default, PartialEq, Eq)]
            pub struct $list(pub Vec<$part>);

            impl fmt::Display for $list {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    put_list(&self.0, ";", f)
                }
            }

            impl FromStr for $list {
                type Err = PopTextError;

                fn from_str(text: &str) -> Result<Self, PopTextError> {
                    let parts = read_list(text, $read);
                    parts.map(Self).ok_or_else(|| PopTextError::new($what, text))
                }
            }
        )*
    };
}

lists! {
    /// Where the batches of queues begin (RocketMQ `startOffsetInfo`); semicolons stand between them.
    StartOffsets of StartOffset, "list of start offsets", read_start;
    /// Which messages of queues there are (RocketMQ `msgOffsetInfo`); semicolons stand between queues.
    MessageOffsets of QueueMessages, "list of message offsets", read_messages;
    /// How often messages in order were handed out before (RocketMQ `orderCountInfo`); semicolons stand between them.
    OrderCounts of OrderCount, "list of order counts", read_count;
}

fn read_start(kind: TopicKind, queue: &str, offset: &str) -> Option<StartOffset> {
    Some(StartOffset {
        kind,
        queue: queue.parse().ok()?,
        offset: offset.parse().ok()?,
    })
}

fn read_messages(kind: TopicKind, queue: &str, offsets: &str) -> Option<QueueMessages> {
    let offsets = offsets.split(',').map(|offset| offset.parse().ok());
    Some(QueueMessages {
        kind,
        queue: queue.parse().ok()?,
        offsets: offsets.collect::<Option<_>>()?,
    })
}

fn read_count(kind: TopicKind, key: &str, count: &str) -> Option<OrderCount> {
    let (queue, offset) = match key.strip_prefix("qo") {
        None => (key, None),
        Some(key) => {
            let (queue, offset) = key.split_once('%')?;
            (queue, Some(offset.parse().ok()?))
        }
    };
    Some(OrderCount {
        kind,
        queue: queue.parse().ok()?,
        offset,
        count: count.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_eight_parts_with_spaces_between_them() {
        let text = "100 1700000000000 60000 3 0 broker-a 2 105";
        let receipt = Receipt {
            start_offset: 100,
            popped_ms: 1_700_000_000_000,
            invisible_ms: 60_000,
            revive_queue: 3,
            kind: TopicKind::Normal,
            broker_name: "broker-a",
            queue: 2,
            offset: 105,
            physical_offset: None,
        };
        assert_eq!(Receipt::parse(text), Ok(receipt));
        assert_eq!(receipt.to_string(), text);
        let nine = format!("{text} 4096");
        let receipt = Receipt::parse(&nine).unwrap();
        assert_eq!(receipt.physical_offset, Some(4096));
        assert_eq!(receipt.to_string(), nine);
    }

    #[test]
    fn other_texts_are_no_receipts() {
        for text in [
            "",
            "100 1700000000000 60000 3 0 broker-a 2",
            "100 1700000000000 60000 3 7 broker-a 2 105",
            "100 1700000000000 60000 3 0 broker a 2 105",
            "100 1700000000000 60000 3 0 broker-a 2 105 1 1",
            "99999999999999999999 1 1 1 0 b 1 1",
        ] {
            assert!(Receipt::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_are_written_as_rocketmq_does_and_read_back() {
        let starts = "0 0 100;1 0 7;2 3 9";
        let read: StartOffsets = starts.parse().unwrap();
        assert_eq!(read.0[1].kind, TopicKind::Retry);
        assert_eq!(read.to_string(), starts);
        let messages = "0 0 100,101,105;1 0 7";
        let read: MessageOffsets = messages.parse().unwrap();
        assert_eq!(read.0[0].offsets, [100, 101, 105]);
        assert_eq!(read.to_string(), messages);
        let counts = "0 0 2;0 qo0%105 3";
        let read: OrderCounts = counts.parse().unwrap();
        assert_eq!(read.0[1].offset, Some(105));
        assert_eq!(read.to_string(), counts);
        assert_eq!("".parse(), Ok(StartOffsets::default()));
        for text in ["0", "0 0", "9 0 0", "0 x 0", "0 0 1;", "0 0 1 2"] {
            assert!(text.parse::<StartOffsets>().is_err(), "{text}");
        }
        assert!("0 0 1,".parse::<MessageOffsets>().is_err());
        assert!("0 qo1 2".parse::<OrderCounts>().is_err());
    }

    #[test]
    fn retry_topics_are_told_by_their_names() {
        for kind in [TopicKind::Normal, TopicKind::Retry, TopicKind::RetryV2] {
            assert_eq!(TopicKind::of_topic(&kind.topic("T", "G")), kind);
        }
        assert_eq!(TopicKind::Retry.topic("T", "G"), "%RETRY%G_T");
        assert_eq!(TopicKind::RetryV2.topic("T", "G"), "%RETRY%G+T");
    }
}
