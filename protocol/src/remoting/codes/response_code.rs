//! What came of a request (RocketMQ `ResponseCode`).

use super::codes;

codes! {
    /// It was done.
    SUCCESS = 0,
    /// It failed; the remark says why.
    SYSTEM_ERROR = 1,
    /// Too much is in flight; producers try again elsewhere.
    SYSTEM_BUSY = 2,
    /// The request's code is not served here.
    REQUEST_CODE_NOT_SUPPORTED = 3,
    /// A transaction failed.
    TRANSACTION_FAILED = 4,
    /// The message is stored, but was not flushed in time.
    FLUSH_DISK_TIMEOUT = 10,
    /// The message is stored, but no slave is there; or a slave was asked for what only masters do.
    SLAVE_NOT_AVAILABLE = 11,
    /// The message is stored, but too few slaves have it in time.
    FLUSH_SLAVE_TIMEOUT = 12,
    /// The message breaks a limit.
    MESSAGE_ILLEGAL = 13,
    /// The broker takes no messages now.
    SERVICE_NOT_AVAILABLE = 14,
    /// The client's version is not served.
    VERSION_NOT_SUPPORTED = 15,
    /// Not allowed: by the topic's or broker's permission, the group's settings, or the client's rights.
    NO_PERMISSION = 16,
    /// No such topic.
    TOPIC_NOT_EXIST = 17,
    /// The topic is there already.
    TOPIC_EXIST_ALREADY = 18,
    /// Nothing to pull yet.
    PULL_NOT_FOUND = 19,
    /// Nothing matched; pull on from the given offset at once.
    PULL_RETRY_IMMEDIATELY = 20,
    /// The offset is not in the queue; go on from the given one.
    PULL_OFFSET_MOVED = 21,
    /// No such thing.
    QUERY_NOT_FOUND = 22,
    /// The filter is none.
    SUBSCRIPTION_PARSE_FAILED = 23,
    /// The broker knows no subscription of the group to the topic.
    SUBSCRIPTION_NOT_EXIST = 24,
    /// The broker's subscription is older than the client's.
    SUBSCRIPTION_NOT_LATEST = 25,
    /// No such group.
    SUBSCRIPTION_GROUP_NOT_EXIST = 26,
    /// The broker knows no filter of the group for the topic.
    FILTER_DATA_NOT_EXIST = 27,
    /// The broker's filter is older than the client's.
    FILTER_DATA_NOT_LATEST = 28,
    /// A field of the request makes no sense.
    INVALID_PARAMETER = 29,
    /// Asked for by nobody now: the transaction should commit.
    TRANSACTION_SHOULD_COMMIT = 200,
    /// Asked for by nobody now: the transaction should roll back.
    TRANSACTION_SHOULD_ROLLBACK = 201,
    /// Asked for by nobody now: the transaction's state is unknown.
    TRANSACTION_STATE_UNKNOW = 202,
    /// Asked for by nobody now: the transaction belongs to another group.
    TRANSACTION_STATE_GROUP_WRONG = 203,
    /// The message has no buyer id.
    NO_BUYER_ID = 204,
    /// The client is in another unit.
    NOT_IN_CURRENT_UNIT = 205,
    /// No member of the group is connected.
    CONSUMER_NOT_ONLINE = 206,
    /// The client did not answer in time.
    CONSUME_MSG_TIMEOUT = 207,
    /// No such message.
    NO_MESSAGE = 208,
    /// Too many wait for messages already.
    POLLING_FULL = 209,
    /// No message came while the client waited.
    POLLING_TIMEOUT = 210,
    /// No such broker.
    BROKER_NOT_EXIST = 211,
    /// Queues do not know yet of all that is in the log.
    BROKER_DISPATCH_NOT_COMPLETE = 212,
    /// The group broadcasts.
    BROADCAST_CONSUMPTION = 213,
    /// The client is slowed down.
    FLOW_CONTROL = 215,
    /// Another broker leads the logical queue.
    NOT_LEADER_FOR_QUEUE = 501,
    /// It cannot be done in this state.
    ILLEGAL_OPERATION = 604,
    /// The server is about to stop: connect anew and try again.
    GO_AWAY = 1500,
    /// Between servers: unknown failure.
    RPC_UNKNOWN = -1000,
    /// Between servers: no address is known.
    RPC_ADDR_IS_NULL = -1002,
    /// Between servers: the request could not be sent.
    RPC_SEND_TO_CHANNEL_FAILED = -1004,
    /// Between servers: no answer in time.
    RPC_TIME_OUT = -1006,
    /// Controller: the master's epoch is outdated.
    CONTROLLER_FENCED_MASTER_EPOCH = 2000,
    /// Controller: the epoch of the set in step is outdated.
    CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH = 2001,
    /// Controller: not the master.
    CONTROLLER_INVALID_MASTER = 2002,
    /// Controller: replicas that are none.
    CONTROLLER_INVALID_REPLICAS = 2003,
    /// Controller: there is no master.
    CONTROLLER_MASTER_NOT_AVAILABLE = 2004,
    /// Controller: the request makes no sense.
    CONTROLLER_INVALID_REQUEST = 2005,
    /// Controller: the broker is not alive.
    CONTROLLER_BROKER_NOT_ALIVE = 2006,
    /// Controller: another one leads.
    CONTROLLER_NOT_LEADER = 2007,
    /// Controller: the broker is not known.
    CONTROLLER_BROKER_METADATA_NOT_EXIST = 2008,
    /// Controller: what should be cleaned makes no sense.
    CONTROLLER_INVALID_CLEAN_BROKER_METADATA = 2009,
    /// Controller: the broker has to register first.
    CONTROLLER_BROKER_NEED_TO_BE_REGISTERED = 2010,
    /// Controller: the master is still there.
    CONTROLLER_MASTER_STILL_EXIST = 2011,
    /// Controller: no master could be elected.
    CONTROLLER_ELECT_MASTER_FAILED = 2012,
    /// Controller: the set in step could not be changed.
    CONTROLLER_ALTER_SYNC_STATE_SET_FAILED = 2013,
    /// Controller: the broker's id is taken or none.
    CONTROLLER_BROKER_ID_INVALID = 2014,
    /// Controller: its own log failed.
    CONTROLLER_JRAFT_INTERNAL_ERROR = 2015,
    /// Controller: nothing is known of the broker's life.
    CONTROLLER_BROKER_LIVE_INFO_NOT_EXISTS = 2016,
    /// No such user.
    USER_NOT_EXIST = 3001,
    /// No such policy.
    POLICY_NOT_EXIST = 3002,
}
