//! RocketMQ's form of a receipt (`POP_CK`, `ExtraInfoUtil`).

use std::fmt;
use std::str::FromStr;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset};
use thiserror::Error;

use super::receipt::Receipt;

/// The revive queue that says that a message was popped in order.
pub(crate) const ORDER_REVIVE_QUEUE: i32 = 999;

/// Longest handle that is looked at. RocketMQ names no limit: nine numbers and a broker's name are far shorter.
const MAX_TEXT_BYTES: usize = 1024;

/// Which topic a message was popped from. RocketMQ calls it the flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PoppedFrom {
    /// 0: the topic itself.
    Topic,
    /// 1: `%RETRY%group_topic`.
    RetryV1,
    /// 2: `%RETRY%group+topic`.
    RetryV2,
}

/// What RocketMQ's clients send back to acknowledge a message.
///
/// Text: `ckOffset popTime invisibleTime reviveQid flag brokerName queueId msgOffset`, and with its gRPC proxy a ninth
/// item, the log offset. Clients make it themselves of a response that says pop time, invisible time and revive queue
/// once for all its messages, so there is no place for the attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PopHandle {
    /// The first offset of this queue in the same response.
    pub(crate) first_offset: QueueOffset,
    /// When it was handed out, in milliseconds since the epoch.
    pub(crate) popped_at_ms: i64,
    /// How long nobody else gets it.
    pub(crate) invisible_ms: u32,
    /// [`ORDER_REVIVE_QUEUE`], or whatever the broker put there.
    pub(crate) revive_queue: i32,
    /// Which topic it came from.
    pub(crate) popped_from: PoppedFrom,
    /// The broker's name; has no space.
    pub(crate) broker: String,
    /// The queue.
    pub(crate) queue: QueueId,
    /// Where the message is in its queue.
    pub(crate) offset: QueueOffset,
    /// Where it is in the log: the gRPC proxy's item.
    pub(crate) physical_offset: Option<PhysicalOffset>,
}

/// A text that is not a handle, or a handle that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum HandleError {
    /// The text is none of RocketMQ's.
    #[error(
        "{text:?} is not a pop handle: its {item} is missing or wrong; send back the POP_CK that came with the message"
    )]
    Text {
        /// The beginning of the text.
        text: String,
        /// RocketMQ's name of the item.
        item: &'static str,
    },
    /// Items are separated by spaces.
    #[error(
        "broker name {name:?} is empty or has a space, which pop handles cannot carry: rename the broker"
    )]
    BrokerName {
        /// The name.
        name: String,
    },
}

impl PopHandle {
    /// The handle of a receipt. `first_offset`: of this queue in the same response.
    pub(crate) fn new(
        receipt: &Receipt,
        first_offset: QueueOffset,
        revive_queue: i32,
        popped_from: PoppedFrom,
        broker: &str,
        queue: QueueId,
    ) -> Result<Self, HandleError> {
        if broker.is_empty() || broker.contains(' ') {
            return Err(HandleError::BrokerName {
                name: broker.to_owned(),
            });
        }
        Ok(Self {
            first_offset,
            popped_at_ms: receipt.popped_at_ms,
            invisible_ms: receipt.invisible_ms,
            revive_queue,
            popped_from,
            broker: broker.to_owned(),
            queue,
            offset: receipt.offset,
            physical_offset: None,
        })
    }

    /// The receipt, of any attempt.
    pub(crate) fn receipt(&self) -> Receipt {
        Receipt {
            offset: self.offset,
            popped_at_ms: self.popped_at_ms,
            invisible_ms: self.invisible_ms,
            attempt: Receipt::ANY_ATTEMPT,
        }
    }
}

impl fmt::Display for PopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {} {} {} {} {}",
            self.first_offset,
            self.popped_at_ms,
            self.invisible_ms,
            self.revive_queue,
            self.popped_from as u8,
            self.broker,
            self.queue,
            self.offset
        )?;
        match self.physical_offset {
            Some(offset) => write!(f, " {offset}"),
            None => Ok(()),
        }
    }
}

impl FromStr for PopHandle {
    type Err = HandleError;

    fn from_str(text: &str) -> Result<Self, HandleError> {
        parse(text).map_err(|item| HandleError::Text {
            text: text.chars().take(128).collect(),
            item,
        })
    }
}

/// The handle, or the item that is wrong.
fn parse(text: &str) -> Result<PopHandle, &'static str> {
    if text.len() > MAX_TEXT_BYTES {
        return Err("length");
    }
    let mut items = text.split(' ');
    let handle = PopHandle {
        first_offset: offset(items.next()).map(QueueOffset).ok_or("ckOffset")?,
        popped_at_ms: items.next().and_then(number).ok_or("popTime")?,
        invisible_ms: items.next().and_then(number).ok_or("invisibleTime")?,
        revive_queue: items.next().and_then(number).ok_or("reviveQid")?,
        popped_from: match items.next() {
            Some("0") => PoppedFrom::Topic,
            Some("1") => PoppedFrom::RetryV1,
            Some("2") => PoppedFrom::RetryV2,
            _ => return Err("flag"),
        },
        broker: match items.next() {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => return Err("brokerName"),
        },
        queue: items
            .next()
            .and_then(number)
            .and_then(|queue| QueueId::from_i32(queue).ok())
            .ok_or("queueId")?,
        offset: offset(items.next()).map(QueueOffset).ok_or("msgOffset")?,
        physical_offset: match items.next() {
            Some(item) => Some(PhysicalOffset(offset(Some(item)).ok_or("log offset")?)),
            None => None,
        },
    };
    match items.next() {
        Some(_) => Err("end"),
        None => Ok(handle),
    }
}

/// A Java `long` that is not negative.
fn offset(item: Option<&str>) -> Option<u64> {
    let value: i64 = number(item?)?;
    u64::try_from(value).ok()
}

/// A decimal number without a plus sign, which Rust would take and nobody writes.
fn number<N: FromStr>(text: &str) -> Option<N> {
    if text.starts_with('+') {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECEIPT: Receipt = Receipt {
        offset: QueueOffset(17),
        popped_at_ms: 1_760_000_000_000,
        invisible_ms: 60_000,
        attempt: 2,
    };

    #[test]
    fn the_text_is_rocketmqs_and_leads_back_to_the_receipt() {
        let handle = PopHandle::new(
            &RECEIPT,
            QueueOffset(12),
            ORDER_REVIVE_QUEUE,
            PoppedFrom::RetryV2,
            "broker-a",
            QueueId(3),
        )
        .unwrap();
        let text = handle.to_string();
        assert_eq!(text, "12 1760000000000 60000 999 2 broker-a 3 17");
        assert_eq!(text.parse(), Ok(handle));
        let any_attempt = Receipt {
            attempt: Receipt::ANY_ATTEMPT,
            ..RECEIPT
        };
        assert_eq!(text.parse::<PopHandle>().unwrap().receipt(), any_attempt);
    }

    #[test]
    fn the_proxys_ninth_item_is_kept() {
        let text = "12 1760000000000 60000 0 0 broker-a 3 17 4096";
        let handle: PopHandle = text.parse().unwrap();
        assert_eq!(handle.physical_offset, Some(PhysicalOffset(4096)));
        assert_eq!(handle.to_string(), text);
    }

    #[test]
    fn errors_name_the_item() {
        for (text, item) in [
            ("", "ckOffset"),
            ("-1 0 0 0 0 b 0 0", "ckOffset"),
            ("9223372036854775808 0 0 0 0 b 0 0", "ckOffset"),
            ("0 x 0 0 0 b 0 0", "popTime"),
            ("0 0 4294967296 0 0 b 0 0", "invisibleTime"),
            ("0 0 0 +1 0 b 0 0", "reviveQid"),
            ("0 0 0 0 3 b 0 0", "flag"),
            ("0 0 0 0 0  0 0", "brokerName"),
            ("0 0 0 0 0 b -1 0", "queueId"),
            ("0 0 0 0 0 b 0", "msgOffset"),
            ("0 0 0 0 0 b 0 0 x", "log offset"),
            ("0 0 0 0 0 b 0 0 0 0", "end"),
        ] {
            let error = text.parse::<PopHandle>().unwrap_err();
            let is_item = matches!(error, HandleError::Text { item: found, .. } if found == item);
            assert!(is_item, "{text}: {error}");
        }
        let long = "0 ".repeat(1_000_000);
        assert!(long.parse::<PopHandle>().unwrap_err().to_string().len() < 400);
    }

    #[test]
    fn a_broker_name_with_a_space_makes_no_handle() {
        let from = |name| {
            let first = RECEIPT.offset;
            PopHandle::new(&RECEIPT, first, 0, PoppedFrom::Topic, name, QueueId(0))
        };
        assert!(from("broker a").is_err());
        assert!(from("").is_err());
        assert!(from("broker-a").is_ok());
    }

    proptest! {
        #[test]
        fn every_handle_comes_back_from_its_text(
            offsets in prop::array::uniform2(0..=i64::MAX as u64),
            popped_at_ms: i64, invisible_ms: u32, revive_queue: i32,
            from in prop::sample::select(vec![PoppedFrom::Topic, PoppedFrom::RetryV1, PoppedFrom::RetryV2]),
            broker in "[^ ]{1,40}",
            queue in 0..=i32::MAX as u32,
            physical in prop::option::of(0..=i64::MAX as u64),
        ) {
            let [first, offset] = offsets.map(QueueOffset);
            let receipt = Receipt { offset, popped_at_ms, invisible_ms, attempt: Receipt::ANY_ATTEMPT };
            let mut handle = PopHandle::new(&receipt, first, revive_queue, from, &broker, QueueId(queue)).unwrap();
            handle.physical_offset = physical.map(PhysicalOffset);
            prop_assert_eq!(handle.receipt(), receipt);
            prop_assert_eq!(handle.to_string().parse(), Ok(handle));
        }

        #[test]
        fn no_text_makes_it_panic(text in "([0-9+-]{0,20} ?){0,12}|.*") {
            if let Ok(handle) = text.parse::<PopHandle>() {
                prop_assert_eq!(handle.to_string().parse(), Ok(handle));
            }
        }
    }
}
