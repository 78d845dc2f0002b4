//! A hash ring of the members, with RocketMQ's hash, texts and number of points, so that its clients and this broker find
//! the same owner.

use std::collections::BTreeMap;

use md5::{Digest, Md5};

use super::{Candidate, MemberId, QueueKey, Shared, Site, keys};

/// Points of a member on the ring.
const POINTS: usize = 10;

pub(super) fn hash(
    site: &Site<'_>,
    shared: &Shared<'_>,
    members: &[Candidate<'_>],
    assigned: &mut BTreeMap<QueueKey, MemberId>,
) {
    let mut ring = BTreeMap::new();
    for member in members {
        for point in 0..POINTS {
            ring.insert(place(&format!("{}-{point}", member.client_id)), member.id);
        }
    }
    for key in keys(shared) {
        let text = format!(
            "MessageQueue [topic={}, brokerName={}, queueId={}]",
            key.0, site.broker, key.1
        );
        let next = ring.range(place(&text)..).chain(ring.iter()).next();
        if let Some((_, member)) = next {
            assigned.insert(key, *member);
        }
    }
}

/// Where a text lies on the ring.
fn place(text: &str) -> u32 {
    let digest = Md5::digest(text.as_bytes());
    let first = digest.first_chunk::<4>().copied().unwrap_or_default();
    u32::from_be_bytes(first)
}
