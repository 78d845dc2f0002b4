//! Ids of messages that come without one, in RocketMQ's form: its tools read from an id when its message was sent.
//!
//! Hexadecimal digits of an address, of what tells one process of a machine from another, of the milliseconds since the month
//! began, and of a counter of two bytes.

use std::net::{IpAddr, SocketAddr};

use castmq_protocol::hexadecimal;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use smallvec::SmallVec;

/// Bytes of an id where the broker has an IPv4 address.
const USUAL_BYTES: usize = 32;

/// Hexadecimal digits of the milliseconds.
const TIME_DIGITS: usize = 8;

/// Hexadecimal digits of the counter.
const COUNT_DIGITS: usize = 4;

/// An id, of a client's making or the broker's.
pub(super) type UniqueId = SmallVec<[u8; USUAL_BYTES]>;

/// See the module. Each session has its own.
#[derive(Debug)]
pub(super) struct UniqueIds {
    /// Begins with the address, and a number that is this session's by chance.
    last: UniqueId,
    /// When it was made, in milliseconds since the epoch.
    last_ms: i64,
    /// When the month began, and when the next one does.
    month_ms: (i64, i64),
    count: u16,
}

impl UniqueIds {
    pub(super) fn new(host: SocketAddr) -> Self {
        let address = match host.ip() {
            IpAddr::V4(address) => format!("{:08X}", address.to_bits()),
            IpAddr::V6(address) => format!("{:032X}", address.to_bits()),
        };
        let zeros = "0".repeat(TIME_DIGITS + COUNT_DIGITS);
        let first = format!("{address}{:012X}{zeros}", fastrand::u64(..1 << 48));
        Self {
            last: UniqueId::from_slice(first.as_bytes()),
            last_ms: 0,
            month_ms: (0, 0),
            count: 0,
        }
    }

    /// Bytes of each.
    pub(super) fn bytes(&self) -> usize {
        self.last.len()
    }

    pub(super) fn next(&mut self, now_ms: i64) -> UniqueId {
        if now_ms != self.last_ms {
            self.set_time(now_ms);
        }
        self.count = self.count.wrapping_add(1);
        let [.., a, b, c, d] = hexadecimal(self.count.into());
        if let Some(count) = self.last.last_chunk_mut() {
            *count = [a, b, c, d];
        }
        UniqueId::from_slice(&self.last)
    }

    fn set_time(&mut self, now_ms: i64) {
        if !(self.month_ms.0..self.month_ms.1).contains(&now_ms) {
            self.month_ms = month_of(now_ms).unwrap_or((now_ms, now_ms));
        }
        self.last_ms = now_ms;
        let since_ms = now_ms.saturating_sub(self.month_ms.0);
        let since_ms = hexadecimal(u32::try_from(since_ms).unwrap_or_default());
        let end: Option<&mut [u8; TIME_DIGITS + COUNT_DIGITS]> = self.last.last_chunk_mut();
        if let Some(time) = end.and_then(|end| end.first_chunk_mut()) {
            *time = since_ms;
        }
    }
}

/// When the month of this time began where the broker is, and when the next one does.
fn month_of(now_ms: i64) -> Option<(i64, i64)> {
    let now = Timestamp::from_millisecond(now_ms).ok()?;
    let month = now.to_zoned(TimeZone::system()).first_of_month().ok()?;
    let end = month.last_of_month().ok()?.tomorrow().ok()?;
    let begin_ms = |day: &jiff::Zoned| Some(day.start_of_day().ok()?.timestamp().as_millisecond());
    Some((begin_ms(&month)?, begin_ms(&end)?))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_have_rocketmqs_length_and_say_when_they_were_made() {
        let now_ms = 1_795_829_395_632;
        let mut ids = UniqueIds::new(([10, 0, 0, 5], 10_911).into());
        let text = |id: UniqueId| String::from_utf8(id.to_vec()).unwrap();
        let id = text(ids.next(now_ms));
        assert_eq!(id.len(), 32);
        assert_eq!(&id[..8], "0A000005");
        let (begin_ms, end_ms) = month_of(now_ms).unwrap();
        assert!(begin_ms <= now_ms && now_ms < end_ms);
        let days = (end_ms - begin_ms) / 86_400_000;
        assert!((27..=31).contains(&days), "{days}");
        let since_ms = i64::from_str_radix(&id[20..28], 16).unwrap();
        assert_eq!(begin_ms + since_ms, now_ms);
        let next_month = text(ids.next(end_ms));
        assert_eq!(&next_month[20..28], "00000000");
        let v6: SocketAddr = "[::1]:1".parse().unwrap();
        assert_eq!(UniqueIds::new(v6).next(now_ms).len(), 56);
    }

    #[test]
    fn no_two_are_the_same() {
        let mut sessions = [0, 1].map(|_| UniqueIds::new(([127, 0, 0, 1], 1).into()));
        let ids = (0..60_000).map(|n: usize| sessions[n % 2].next(1));
        assert_eq!(ids.collect::<HashSet<_>>().len(), 60_000);
    }
}
