//! Names as they come from outside.

use castmq_protocol::model::{GroupName, NameError, TopicName};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};

pub(crate) fn topic_name(name: &str) -> Result<TopicName, Refusal> {
    TopicName::new(name).map_err(|error| invalid(&error))
}

pub(crate) fn group_name(name: &str) -> Result<GroupName, Refusal> {
    GroupName::new(name).map_err(|error| invalid(&error))
}

fn invalid(error: &NameError) -> Refusal {
    Refusal::never(ErrorCode::InvalidName, error.to_string())
}

/// As much of what came from outside as a message for a person has room for.
pub(crate) fn shortened(text: &str, letters: usize) -> String {
    text.chars().take(letters).collect()
}
