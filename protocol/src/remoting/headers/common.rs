//! What any request may carry besides its own fields.

use super::{FieldError, FieldWriter, Fields, ReadFields, WriteFields, headers};

headers! {
    /// What any request may say of what it is for.
    Common<'a> {
        /// The namespace of the names in the request.
        "ns" => namespace: Option<&'a str>,
        /// Whether the names begin with it already.
        "nsd" => is_namespaced: Option<bool>,
        /// The broker that the client means.
        "bname" => broker_name: Option<&'a str>,
        /// Whether nobody waits for an answer; the head says so, too.
        "oway" => is_one_way: Option<bool>,
        /// Whether queues are logical ones.
        "lo" => is_logical: Option<bool>,
    }

    /// Who asks. The C++ client and some of JavaScript send it even when nobody looks at it, and then with an empty key.
    Credentials<'a> {
        /// The user.
        "AccessKey" => access_key: Option<&'a str>,
        /// Base64 of the HMAC-SHA1, by the user's secret, of the values of all other fields, ordered by their names, and of
        /// the body.
        "Signature" => signature: Option<&'a str>,
        /// A token that was lent to the user.
        "SecurityToken" => security_token: Option<&'a str>,
    }
}
