//! In what order messages are popped.

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{AllowedEnumVariants, DecodeError, EncodeError};
use bincode::{Decode, Encode};

/// In what order a group's consumers get the messages that they pop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum PopOrder {
    /// None: whoever asks gets the next message that nobody has.
    #[default]
    Any,
    /// While a message of a queue is out nobody gets another one of that queue.
    Queue,
    /// By key, the property `__SHARDINGKEY`: a message waits until the earlier ones of its key and queue are settled. Others
    /// pass it, those without a key among them.
    Key,
}

/// One byte: the first two orders were `false` and `true` before there was a third.
impl Encode for PopOrder {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let byte: u8 = match self {
            Self::Any => 0,
            Self::Queue => 1,
            Self::Key => 2,
        };
        byte.encode(encoder)
    }
}

impl<C> Decode<C> for PopOrder {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        match u8::decode(decoder)? {
            0 => Ok(Self::Any),
            1 => Ok(Self::Queue),
            2 => Ok(Self::Key),
            found => Err(DecodeError::UnexpectedVariant {
                type_name: "PopOrder",
                allowed: &AllowedEnumVariants::Range { min: 0, max: 2 },
                found: found.into(),
            }),
        }
    }
}

bincode::impl_borrow_decode!(PopOrder);
