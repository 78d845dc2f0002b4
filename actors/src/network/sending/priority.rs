//! Priorities: which queue a message goes to in a topic whose queues are those of priorities. The rest is pure.
//!
//! RocketMQ takes the priority for the number of the queue, and the last queue for all above. Here the priorities that there
//! are share the queues that there are, so that the highest ones differ in a topic with few.

use std::borrow::Cow;

use castmq_protocol::model::{MAX_PRIORITY, QueueId, keys, property_value, replace_properties};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};

use crate::delivery::redirect::check_length;

/// Refuses a priority that there is not.
pub(super) fn check(priority: u8) -> Result<(), Refusal> {
    if priority <= MAX_PRIORITY {
        return Ok(());
    }
    Err(Refusal::never(
        ErrorCode::InvalidRequest,
        format!("a message cannot have priority {priority}: it takes 0 to {MAX_PRIORITY}"),
    ))
}

/// A message's properties with its priority, which counts from 1 where nothing says that there is one.
pub(super) fn state(priority: u8, properties: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
    if priority == 0 || stated(properties) == Some(priority) {
        return Ok(Cow::Borrowed(properties));
    }
    let text = priority.to_string();
    let stated = replace_properties(properties, &[(keys::PRIORITY, Some(&text))]);
    check_length(&stated)?;
    Ok(Cow::Owned(stated))
}

/// The queue of a message that names none, in a topic with so many; `None` without a priority.
pub(super) fn queue_of(properties: &[u8], queues: u32) -> Option<QueueId> {
    let priority = stated(properties)?;
    let priorities = u64::from(MAX_PRIORITY) + 1;
    let queue = u64::from(priority) * u64::from(queues) / priorities;
    u32::try_from(queue).ok().map(QueueId)
}

/// The priority in a message's properties; one that is higher than there are is the highest.
fn stated(properties: &[u8]) -> Option<u8> {
    let priority: u32 = property_value(properties, keys::PRIORITY)?.parse().ok()?;
    Some(u8::try_from(priority).unwrap_or(u8::MAX).min(MAX_PRIORITY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_share_the_queues_and_the_highest_has_the_last() {
        let queues = |count| {
            let of = |priority: u32| {
                let properties = format!("_SYS_MSG_PRIORITY_\x01{priority}\x02");
                queue_of(properties.as_bytes(), count).unwrap().0
            };
            (0..10).map(of).collect::<Vec<_>>()
        };
        assert_eq!(queues(10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(queues(4), [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]);
        assert_eq!(queues(3), [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]);
        assert_eq!(queues(1), [0; 10]);
        assert_eq!(queues(20), [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]);
    }

    #[test]
    fn what_is_no_priority_is_none_and_what_is_too_high_is_the_highest() {
        let of = |text: &str| queue_of(format!("_SYS_MSG_PRIORITY_\x01{text}\x02").as_bytes(), 10);
        assert_eq!(of("4294967295"), Some(QueueId(9)));
        for text in ["-1", "high", "4294967296"] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(queue_of(b"", 10), None);
    }

    #[test]
    fn a_priority_is_stored_once() {
        let stored = state(7, b"a\x01b\x02").unwrap();
        assert_eq!(&*stored, b"a\x01b\x02_SYS_MSG_PRIORITY_\x017\x02");
        assert!(matches!(state(7, &stored), Ok(Cow::Borrowed(_))));
        assert_eq!(
            &*state(8, &stored).unwrap(),
            b"a\x01b\x02_SYS_MSG_PRIORITY_\x018\x02"
        );
        assert!(matches!(state(0, &stored), Ok(Cow::Borrowed(_))));
        let long = format!("a\x01{}\x02", "x".repeat(32_760));
        assert_eq!(
            state(1, long.as_bytes()).unwrap_err().code,
            ErrorCode::PropertiesTooLarge
        );
    }
}
