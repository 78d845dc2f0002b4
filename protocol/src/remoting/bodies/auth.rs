//! Users and their rights. Lists of them are arrays.

use serde::{Deserialize, Serialize};

/// A user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserInfo {
    /// The password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// `enable` or `disable`.
    #[serde(rename = "userStatus", skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `Super` or `Normal`.
    #[serde(rename = "userType", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The name.
    #[serde(rename = "username", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Rights of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AclInfo {
    /// The rights.
    pub policies: Vec<PolicyInfo>,
    /// The user, as `User:name`.
    pub subject: String,
}

/// Rights of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyInfo {
    /// The rights.
    pub entries: Vec<PolicyEntry>,
    /// `Custom` or `Default`.
    #[serde(rename = "policyType", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// What may or may not be done with something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyEntry {
    /// What, such as `Pub`.
    pub actions: Vec<String>,
    /// `Allow` or `Deny`.
    pub decision: String,
    /// With what, such as `Topic:name`.
    pub resource: String,
    /// From where; from anywhere when there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_ips: Vec<String>,
}
