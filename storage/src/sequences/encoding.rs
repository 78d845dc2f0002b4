//! A producer's window among the metadata: big endian `version u8, floor u64, last i64, count u32`, then for each send
//! `sequence u64, queue u32, queue offset u64, physical offset u64`.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut};
use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset};

use super::window::{Place, Window};

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 8 + 8 + 4;
const SEND_BYTES: usize = 8 + 4 + 8 + 8;

/// The sends that lie below `durable`, and whether those are all.
pub(super) fn encode(window: &Window, last_ms: i64, durable: PhysicalOffset) -> (Vec<u8>, bool) {
    let mut value = Vec::with_capacity(HEAD_BYTES + window.len() * SEND_BYTES);
    value.put_u8(VERSION);
    value.put_u64(window.floor());
    value.put_i64(last_ms);
    let count_at = value.len();
    value.put_u32(0);
    let mut count = 0_u32;
    for (sequence, place) in window.stored() {
        if place.physical < durable {
            value.put_u64(sequence);
            value.put_u32(place.queue.0);
            value.put_u64(place.offset.0);
            value.put_u64(place.physical.0);
            count += 1;
        }
    }
    if let Some(field) = value.get_mut(count_at..count_at + 4) {
        field.copy_from_slice(&count.to_be_bytes());
    }
    (value, count as usize == window.len())
}

/// `None` when it is damaged.
pub(super) fn decode(mut value: &[u8]) -> Option<(Window, i64)> {
    if value.try_get_u8().ok()? != VERSION {
        return None;
    }
    let floor = value.try_get_u64().ok()?;
    let last_ms = value.try_get_i64().ok()?;
    let count = value.try_get_u32().ok()? as usize;
    if value.len() != count.checked_mul(SEND_BYTES)? {
        return None;
    }
    let mut stored = BTreeMap::new();
    for _ in 0..count {
        let sequence = value.try_get_u64().ok()?;
        let place = Place {
            queue: QueueId(value.try_get_u32().ok()?),
            offset: QueueOffset(value.try_get_u64().ok()?),
            physical: PhysicalOffset(value.try_get_u64().ok()?),
        };
        if sequence < floor || stored.insert(sequence, place).is_some() {
            return None;
        }
    }
    Some((Window::new(floor, stored), last_ms))
}
