//! Requests that there is no counterpart for, and what those who make them are told.

use castmq_protocol::remoting::{request_code, response_code};

use crate::name_server::remoting_session::not_served;
use crate::network::remoting::Refused;

const NO_USERS: &str = "there are no users and no ACLs here: whoever reaches the broker may do everything, so protect its port by other means";
const NO_COLD_DATA: &str = "reads that wait for the disk have threads of their own and are not held back by group: there is nothing to set or to show";
const NO_READ_MODE: &str = "how the log is read ahead is not set by tools";
const NO_ROCKSDB: &str = "there is no RocksDB here: consume queues are files of their own, and settings are kept in one form";
const NO_STATIC_TOPICS: &str = "there are no static topics here: make a topic on each broker, with as many queues as it shall have there";
const NO_CONTROLLER: &str = "there are no controllers here: name servers say who the master is, and an operator makes a slave the master";
const NO_CONTAINER: &str = "a process is one broker here: start another process";

/// What is answered to a code that nothing else answers.
pub(super) fn refusal(code: i32) -> Refused {
    let unsupported = |why| Refused::new(response_code::REQUEST_CODE_NOT_SUPPORTED, why);
    match code {
        // As RocketMQ's brokers do that keep none.
        request_code::AUTH_CREATE_USER..=request_code::AUTH_LIST_ACL => {
            Refused::new(response_code::SYSTEM_ERROR, NO_USERS)
        }
        request_code::GET_BROKER_EPOCH_CACHE => {
            Refused::new(response_code::SYSTEM_ERROR, NO_CONTROLLER)
        }
        request_code::UPDATE_COLD_DATA_FLOW_CTR_CONFIG
        | request_code::REMOVE_COLD_DATA_FLOW_CTR_CONFIG
        | request_code::GET_COLD_DATA_FLOW_CTR_INFO => unsupported(NO_COLD_DATA),
        request_code::SET_COMMITLOG_READ_MODE => unsupported(NO_READ_MODE),
        request_code::CHECK_ROCKSDB_CQ_WRITE_PROGRESS
        | request_code::EXPORT_ROCKSDB_CONFIG_TO_JSON => unsupported(NO_ROCKSDB),
        request_code::UPDATE_AND_CREATE_STATIC_TOPIC => unsupported(NO_STATIC_TOPICS),
        request_code::CONTROLLER_ALTER_SYNC_STATE_SET
            ..=request_code::CONTROLLER_APPLY_BROKER_ID => unsupported(NO_CONTROLLER),
        request_code::ADD_BROKER | request_code::REMOVE_BROKER => unsupported(NO_CONTAINER),
        code => not_served(code, "broker"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_counterpart_is_refused_by_name() {
        for (code, response, word) in [
            (request_code::AUTH_GET_ACL, 1, "ACL"),
            (request_code::GET_BROKER_EPOCH_CACHE, 1, "controller"),
            (request_code::CONTROLLER_ELECT_MASTER, 3, "controller"),
            (request_code::GET_COLD_DATA_FLOW_CTR_INFO, 3, "threads"),
            (request_code::CHECK_ROCKSDB_CQ_WRITE_PROGRESS, 3, "RocksDB"),
            (7_777, 3, "7777"),
        ] {
            let refused = refusal(code);
            assert_eq!(refused.code, response, "{code}");
            assert!(refused.remark.contains(word), "{code}: {}", refused.remark);
        }
    }
}
