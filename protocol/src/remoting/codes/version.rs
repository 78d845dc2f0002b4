//! Versions, as the places of releases in RocketMQ's list (`MQVersion`): each release is preceded by its snapshot.

/// The first with [`GET_CONSUMER_STATUS_FROM_CLIENT`](super::request_code::GET_CONSUMER_STATUS_FROM_CLIENT).
pub const V3_0_7_SNAPSHOT: i32 = 28;
/// The first brokers that tell name servers more than their topics.
pub const V3_0_11: i32 = 37;
/// The first with [`GET_CONSUMER_RUNNING_INFO`](super::request_code::GET_CONSUMER_RUNNING_INFO) and
/// [`CONSUME_MESSAGE_DIRECTLY`](super::request_code::CONSUME_MESSAGE_DIRECTLY).
pub const V3_1_8_SNAPSHOT: i32 = 62;
/// From here on, the most attempts that a client asks for when it sends a message back count.
pub const V3_4_9: i32 = 121;
/// The first release at Apache.
pub const V4_0_0: i32 = 213;
/// Clients send SQL filters only to brokers from here on.
pub const V4_1_0_SNAPSHOT: i32 = 232;
/// Up to here, signatures leave out the mark of queries by unique key.
pub const V4_9_3: i32 = 399;
/// From here on, clients read routes with quoted keys.
pub const V4_9_4: i32 = 401;
/// The first with pop consumption from remoting clients, and mappings of queues in registrations.
pub const V5_0_0: i32 = 413;
/// RocketMQ 5.3.3.
pub const V5_3_3: i32 = 479;
/// Behind all that are known.
pub const HIGHER_VERSION: i32 = 612;

/// The version that this side claims: what it understands is what that release does.
pub const OURS: i32 = V5_3_3;

/// Lines of releases, newest first: the place of the first snapshot, the release it leads to, and how many releases a
/// minor version has. From 4.0.0 on the list was laid out ahead: minor and patch versions go from 0 to 9.
const LINES: [(i32, [i32; 3], i32); 6] = [
    (412, [5, 0, 0], 10),
    (212, [4, 0, 0], 10),
    (86, [3, 3, 1], 9),
    (66, [3, 2, 0], 10),
    (46, [3, 1, 0], 10),
    (16, [3, 0, 1], 15),
];

/// The name of a version as RocketMQ's tools show it, such as `V5_3_3` or `V4_9_4_SNAPSHOT`.
pub fn name(version: i32) -> String {
    if version >= HIGHER_VERSION {
        return "HIGHER_VERSION".to_owned();
    }
    let line = LINES.iter().find(|(first, _, _)| *first <= version);
    let Some((first, [major, minor, patch], patches)) = line else {
        return "V3_0_0".to_owned();
    };
    let release = (version - first) / 2;
    let minor = minor + release / patches;
    let patch = patch + release % patches;
    let suffix = if (version - first) % 2 == 0 {
        "_SNAPSHOT"
    } else {
        ""
    };
    format!("V{major}_{minor}_{patch}{suffix}")
}
