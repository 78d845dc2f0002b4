//! What an acknowledgement has to show.

use std::fmt;
use std::str::FromStr;

use castmq_protocol::model::QueueOffset;
use thiserror::Error;

/// Longest text of a receipt: 20 + 20 + 10 + 10 digits and signs, and three colons.
const MAX_TEXT_BYTES: usize = 63;

/// Says which delivery of a message is meant. A message handed out again, or whose invisible time was changed, has a
/// new one.
///
/// Text: `offset:popped_at_ms:invisible_ms:attempt`, decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Receipt {
    /// Where the message is in its queue.
    pub(crate) offset: QueueOffset,
    /// When it was handed out, on the broker's clock, in milliseconds since the epoch.
    pub(crate) popped_at_ms: i64,
    /// How long nobody else gets it.
    pub(crate) invisible_ms: u32,
    /// How often it has been handed out, this time included; or [`Receipt::ANY_ATTEMPT`].
    pub(crate) attempt: u32,
}

/// A text that is not a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ReceiptTextError {
    /// The text is none of ours.
    #[error(
        "{text:?} is not a receipt: it takes offset:popped_at_ms:invisible_ms:attempt in decimal; send back the one \
         that came with the message"
    )]
    Text {
        /// The beginning of the text.
        text: String,
    },
}

impl Receipt {
    /// The attempt of a receipt that was read from a RocketMQ handle, which does not say it.
    pub(crate) const ANY_ATTEMPT: u32 = 0;
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}:{}",
            self.offset, self.popped_at_ms, self.invisible_ms, self.attempt
        )
    }
}

impl FromStr for Receipt {
    type Err = ReceiptTextError;

    fn from_str(text: &str) -> Result<Self, ReceiptTextError> {
        parse(text).ok_or_else(|| ReceiptTextError::Text {
            text: text.chars().take(MAX_TEXT_BYTES + 1).collect(),
        })
    }
}

fn parse(text: &str) -> Option<Receipt> {
    if text.len() > MAX_TEXT_BYTES {
        return None;
    }
    let mut fields = text.split(':');
    let receipt = Receipt {
        offset: QueueOffset(number(fields.next()?)?),
        popped_at_ms: number(fields.next()?)?,
        invisible_ms: number(fields.next()?)?,
        attempt: number(fields.next()?)?,
    };
    fields.next().is_none().then_some(receipt)
}

/// A decimal number without a plus sign, which Rust would take and nobody writes.
pub(super) fn number<N: FromStr>(text: &str) -> Option<N> {
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
    fn the_forms_stay_as_they_are() {
        assert_eq!(RECEIPT.to_string(), "17:1760000000000:60000:2");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            ":::",
            "1:2:3",
            "1:2:3:4:5",
            "+1:2:3:4",
            "-1:2:3:4",
            "1:2:4294967296:4",
            " 1:2:3:4",
            "1:2:3:4\0",
            "١:2:3:4",
            "00000000000000000000000000000000000000000000000000000000000001:2:3:4",
        ] {
            assert!(text.parse::<Receipt>().is_err(), "{text}");
        }
        let long = "é".repeat(1_000_000);
        let error = long.parse::<Receipt>().unwrap_err().to_string();
        assert!(error.len() < 400, "{error}");
    }

    proptest! {
        #[test]
        fn every_receipt_comes_back_from_text(
            offset: u64, popped_at_ms: i64, invisible_ms: u32, attempt: u32,
        ) {
            let receipt = Receipt { offset: QueueOffset(offset), popped_at_ms, invisible_ms, attempt };
            prop_assert_eq!(receipt.to_string().parse(), Ok(receipt));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9:+ -]{0,70}|.*") {
            if let Ok(receipt) = text.parse::<Receipt>() {
                prop_assert_eq!(receipt.to_string().parse(), Ok(receipt));
            }
        }
    }
}
