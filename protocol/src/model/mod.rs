//! Domain types: validated names, queue and log positions, message properties.

mod assignment;
mod config;
mod delay;
mod expiration;
pub mod jms_keys;
mod name;
mod position;
mod properties;
pub mod system_topics;
mod tag;
mod unique_id;

pub use assignment::{Assignment, AssignmentError};
pub use config::{
    GroupConfig, GroupConfigError, MAX_PRIORITY, PRIORITY_TYPE, TYPE_ATTRIBUTE, TopicConfig,
    TopicConfigError, group_attributes, permission, topic_attributes,
};
pub use delay::{DEFAULT_DELAY_LEVELS, DelayLevels, DelayLevelsError, MAX_DELAY_LEVELS};
pub use expiration::{TTL_ATTRIBUTE, expires_at_ms, parse_ttl_ms};
pub use name::{
    DEAD_LETTER_PREFIX, GroupName, MAX_DERIVED_TOPIC_BYTES, MAX_GROUP_BYTES, MAX_TOPIC_BYTES,
    NameError, RETRY_PREFIX, TopicName,
};
pub use position::{PhysicalOffset, PositionError, QueueId, QueueOffset};
pub use properties::{
    MAX_PROPERTIES_BYTES, Properties, PropertiesError, keys, property_names, property_pairs,
    property_value, replace_properties, write_properties,
};
pub use tag::{TagsCode, java_string_hash, tags_code};
pub use unique_id::{AroundUniqueId, UNIQUE_ID_BYTES, is_unique_id};
