//! The id that says where a message lies: the broker's address and the log position (RocketMQ `createMessageId`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

use crate::hexadecimal::hexadecimal;
use crate::model::PhysicalOffset;

/// A message id made of the broker that stores the message and where.
///
/// Its text is upper-case hexadecimal: 32 characters for an IPv4 broker, 56 for an IPv6 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// The broker's address.
    pub store_host: SocketAddr,
    /// Where the record lies in its log.
    pub physical_offset: PhysicalOffset,
}

/// A text that is not a message id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a message id: it takes 32 or 56 hexadecimal digits")]
pub struct MessageIdError {
    text: String,
}

impl MessageId {
    /// Bytes of the longest text.
    pub const MAX_TEXT_BYTES: usize = 56;

    /// Writes the id's text to the front of `text`, and returns it: digits and letters of ASCII.
    pub fn write_to<'t>(&self, text: &'t mut [u8; Self::MAX_TEXT_BYTES]) -> &'t [u8] {
        let (words, _) = text.as_chunks_mut::<8>();
        let mut bytes = 0;
        let mut put = |half: u32| {
            if let Some(place) = words.get_mut(bytes / 8) {
                *place = hexadecimal(half);
            }
            bytes += 8;
        };
        match self.store_host.ip() {
            IpAddr::V4(ip) => put(ip.to_bits()),
            IpAddr::V6(ip) => {
                let bits = ip.to_bits();
                for shift in [96, 64, 32, 0] {
                    put((bits >> shift) as u32);
                }
            }
        }
        put(self.store_host.port().into());
        let offset = self.physical_offset.as_i64().cast_unsigned();
        put((offset >> 32) as u32);
        put(offset as u32);
        text.get(..bytes).unwrap_or_default()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; Self::MAX_TEXT_BYTES];
        f.write_str(std::str::from_utf8(self.write_to(&mut text)).unwrap_or_default())
    }
}

impl FromStr for MessageId {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        parse(text).ok_or_else(|| MessageIdError {
            text: text.chars().take(64).collect(),
        })
    }
}

fn parse(text: &str) -> Option<MessageId> {
    if !text.is_ascii() || !matches!(text.len(), 32 | 56) {
        return None;
    }
    let bytes = (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect::<Option<Vec<u8>>>()?;
    let (ip, rest) = bytes.split_at(bytes.len() - 12);
    let ip = match ip.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
    };
    let (port, offset) = rest.split_at(4);
    let port = u16::try_from(u32::from_be_bytes(port.try_into().ok()?)).ok()?;
    let offset = i64::from_be_bytes(offset.try_into().ok()?);
    Some(MessageId {
        store_host: SocketAddr::new(ip, port),
        physical_offset: PhysicalOffset::from_i64(offset).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_rocketmqs() {
        let id = MessageId {
            store_host: "192.168.9.230:10911".parse().unwrap(),
            physical_offset: PhysicalOffset(0x1234),
        };
        assert_eq!(id.to_string(), "C0A809E600002A9F0000000000001234");
        assert_eq!(id.to_string().parse(), Ok(id));
        let v6 = MessageId {
            store_host: "[::1]:10911".parse().unwrap(),
            physical_offset: PhysicalOffset(7),
        };
        assert_eq!(v6.to_string().len(), 56);
        assert_eq!(v6.to_string().parse(), Ok(v6));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "C0A8",
            "C0A809E600002A9F000000000000123Z",
            "C0A809E6FFFF2A9F0000000000001234",
            "+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1",
        ] {
            assert!(text.parse::<MessageId>().is_err(), "{text}");
        }
    }
}
