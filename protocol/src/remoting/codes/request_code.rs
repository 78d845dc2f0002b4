//! What is asked (RocketMQ `RequestCode`).

use super::codes;

codes! {
    /// Stores a message; fields have long names.
    SEND_MESSAGE = 10,
    /// Messages of a queue from an offset on; may wait for some.
    PULL_MESSAGE = 11,
    /// Messages with a key.
    QUERY_MESSAGE = 12,
    /// Not served by any release that is still in use.
    QUERY_BROKER_OFFSET = 13,
    /// Where a group is in a queue.
    QUERY_CONSUMER_OFFSET = 14,
    /// Sets where a group is in a queue.
    UPDATE_CONSUMER_OFFSET = 15,
    /// Creates or changes a topic.
    UPDATE_AND_CREATE_TOPIC = 17,
    /// Creates or changes topics.
    UPDATE_AND_CREATE_TOPIC_LIST = 18,
    /// Settings of all topics.
    GET_ALL_TOPIC_CONFIG = 21,
    /// Not served by any release that is still in use.
    GET_TOPIC_CONFIG_LIST = 22,
    /// Not served by any release that is still in use.
    GET_TOPIC_NAME_LIST = 23,
    /// Changes a broker's configuration.
    UPDATE_BROKER_CONFIG = 25,
    /// A broker's configuration.
    GET_BROKER_CONFIG = 26,
    /// Not served by any release that is still in use.
    TRIGGER_DELETE_FILES = 27,
    /// A broker's rates, sizes and positions.
    GET_BROKER_RUNTIME_INFO = 28,
    /// The offset of a time in a queue.
    SEARCH_OFFSET_BY_TIMESTAMP = 29,
    /// Behind the last message of a queue.
    GET_MAX_OFFSET = 30,
    /// The first message of a queue.
    GET_MIN_OFFSET = 31,
    /// When the first message of a queue was stored.
    GET_EARLIEST_MSG_STORETIME = 32,
    /// The message at a place in the log.
    VIEW_MESSAGE_BY_ID = 33,
    /// A client is alive; its groups and subscriptions.
    HEART_BEAT = 34,
    /// A client leaves a group.
    UNREGISTER_CLIENT = 35,
    /// A message shall be delivered again later.
    CONSUMER_SEND_MSG_BACK = 36,
    /// Commits or rolls back a half message.
    END_TRANSACTION = 37,
    /// Members of a consumer group.
    GET_CONSUMER_LIST_BY_GROUP = 38,
    /// To a client: what became of a transaction.
    CHECK_TRANSACTION_STATE = 39,
    /// To a client: members of its group came or went.
    NOTIFY_CONSUMER_IDS_CHANGED = 40,
    /// Locks queues for consumption in order.
    LOCK_BATCH_MQ = 41,
    /// Gives locked queues back.
    UNLOCK_BATCH_MQ = 42,
    /// From a slave: offsets of all groups.
    GET_ALL_CONSUMER_OFFSET = 43,
    /// From a slave: how far delayed messages are delivered.
    GET_ALL_DELAY_OFFSET = 45,
    /// Whether the broker takes a subscription's filter.
    CHECK_CLIENT_CONFIG = 46,
    /// Not served by any release that is still in use.
    GET_CLIENT_CONFIG = 47,
    /// From a slave: how far timer messages are.
    GET_TIMER_CHECK_POINT = 60,
    /// From a slave: numbers of timer messages.
    GET_TIMER_METRICS = 61,
    /// Sets a value on a name server.
    PUT_KV_CONFIG = 100,
    /// A value on a name server.
    GET_KV_CONFIG = 101,
    /// Deletes a value on a name server.
    DELETE_KV_CONFIG = 102,
    /// A broker and its topics, to a name server.
    REGISTER_BROKER = 103,
    /// A broker leaves a name server.
    UNREGISTER_BROKER = 104,
    /// Where a topic's queues are.
    GET_ROUTEINFO_BY_TOPIC = 105,
    /// All brokers that a name server knows.
    GET_BROKER_CLUSTER_INFO = 106,
    /// Creates or changes a consumer group.
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP = 200,
    /// Settings of all consumer groups.
    GET_ALL_SUBSCRIPTIONGROUP_CONFIG = 201,
    /// Offsets of a topic's queues.
    GET_TOPIC_STATS_INFO = 202,
    /// Connections of a consumer group.
    GET_CONSUMER_CONNECTION_LIST = 203,
    /// Connections of a producer group.
    GET_PRODUCER_CONNECTION_LIST = 204,
    /// Has a name server tell producers to leave a broker out.
    WIPE_WRITE_PERM_OF_BROKER = 205,
    /// Names of all topics that a name server knows.
    GET_ALL_TOPIC_LIST_FROM_NAMESERVER = 206,
    /// Deletes a consumer group.
    DELETE_SUBSCRIPTIONGROUP = 207,
    /// How far a group is in its queues.
    GET_CONSUME_STATS = 208,
    /// Not served by any release that is still in use.
    SUSPEND_CONSUMER = 209,
    /// Not served by any release that is still in use.
    RESUME_CONSUMER = 210,
    /// Not served by any release that is still in use.
    RESET_CONSUMER_OFFSET_IN_CONSUMER = 211,
    /// Not served by any release that is still in use.
    RESET_CONSUMER_OFFSET_IN_BROKER = 212,
    /// Not served by any release that is still in use.
    ADJUST_CONSUMER_THREAD_POOL = 213,
    /// Not served by any release that is still in use.
    WHO_CONSUME_THE_MESSAGE = 214,
    /// Deletes a topic on a broker.
    DELETE_TOPIC_IN_BROKER = 215,
    /// Has a name server forget a topic.
    DELETE_TOPIC_IN_NAMESRV = 216,
    /// Tells a name server of a topic's queues.
    REGISTER_TOPIC_IN_NAMESRV = 217,
    /// All values of a namespace on a name server.
    GET_KVLIST_BY_NAMESPACE = 219,
    /// To a client: go on from other offsets.
    RESET_CONSUMER_CLIENT_OFFSET = 220,
    /// To a client: how far it is.
    GET_CONSUMER_STATUS_FROM_CLIENT = 221,
    /// Sets a group's offsets in a topic.
    INVOKE_BROKER_TO_RESET_OFFSET = 222,
    /// How far a group's members are, by their own account.
    INVOKE_BROKER_TO_GET_CONSUMER_STATUS = 223,
    /// Names of a cluster's topics.
    GET_TOPICS_BY_CLUSTER = 224,
    /// Creates or changes consumer groups.
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST = 225,
    /// Groups that consume a topic.
    QUERY_TOPIC_CONSUME_BY_WHO = 300,
    /// Not served by any release that is still in use.
    REGISTER_FILTER_SERVER = 301,
    /// Not served by any release that is still in use.
    REGISTER_MESSAGE_FILTER_CLASS = 302,
    /// Times of the first, last and next messages of a group's queues.
    QUERY_CONSUME_TIME_SPAN = 303,
    /// Names of clusters and brokers, which are topics, too.
    GET_SYSTEM_TOPIC_LIST_FROM_NS = 304,
    /// Names of topics that belong to the broker.
    GET_SYSTEM_TOPIC_LIST_FROM_BROKER = 305,
    /// Has a broker delete what is left of queues without messages.
    CLEAN_EXPIRED_CONSUMEQUEUE = 306,
    /// What a client of a group is doing; the broker asks it.
    GET_CONSUMER_RUNNING_INFO = 307,
    /// Smallest offsets among groups.
    QUERY_CORRECTION_OFFSET = 308,
    /// Has one client of a group process one message; the broker asks it.
    CONSUME_MESSAGE_DIRECTLY = 309,
    /// Stores a message; fields have short names.
    SEND_MESSAGE_V2 = 310,
    /// Names of topics of units.
    GET_UNIT_TOPIC_LIST = 311,
    /// Names of topics that units subscribe to.
    GET_HAS_UNIT_SUB_TOPIC_LIST = 312,
    /// Names of topics of no unit that units subscribe to.
    GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST = 313,
    /// Sets a group's offsets to those of another one.
    CLONE_GROUP_OFFSET = 314,
    /// A counter of the last minute, hour and day.
    VIEW_BROKER_STATS_DATA = 315,
    /// Has a broker delete queues of topics that are gone.
    CLEAN_UNUSED_TOPIC = 316,
    /// How far all groups are.
    GET_BROKER_CONSUME_STATS = 317,
    /// Changes a name server's configuration.
    UPDATE_NAMESRV_CONFIG = 318,
    /// A name server's configuration.
    GET_NAMESRV_CONFIG = 319,
    /// Stores messages; fields have short names.
    SEND_BATCH_MESSAGE = 320,
    /// Entries of a queue.
    QUERY_CONSUME_QUEUE = 321,
    /// Whether a name server has a broker's newest topics.
    QUERY_DATA_VERSION = 322,
    /// Has a half message be checked again that was given up.
    RESUME_CHECK_HALF_MESSAGE = 323,
    /// Passes a reply to its requester; fields have long names.
    SEND_REPLY_MESSAGE = 324,
    /// Passes a reply to its requester; fields have short names.
    SEND_REPLY_MESSAGE_V2 = 325,
    /// To a client: a reply to its request.
    PUSH_REPLY_MESSAGE_TO_CLIENT = 326,
    /// Has a name server tell producers to use a broker again.
    ADD_WRITE_PERM_OF_BROKER = 327,
    /// All producers.
    GET_ALL_PRODUCER_INFO = 328,
    /// Has a broker delete old parts of its log now.
    DELETE_EXPIRED_COMMITLOG = 329,
    /// Topics that a group consumes.
    QUERY_TOPICS_BY_CONSUMER = 343,
    /// A group's subscription to a topic.
    QUERY_SUBSCRIPTION_BY_CONSUMER = 345,
    /// A topic's settings.
    GET_TOPIC_CONFIG = 351,
    /// A consumer group's settings.
    GET_SUBSCRIPTIONGROUP_CONFIG = 352,
    /// Whether a group may read a topic; changes it.
    UPDATE_AND_GET_GROUP_FORBIDDEN = 353,
    /// For brokers that keep queues in RocksDB.
    CHECK_ROCKSDB_CQ_WRITE_PROGRESS = 354,
    /// For brokers that keep configuration in RocksDB.
    EXPORT_ROCKSDB_CONFIG_TO_JSON = 355,
    /// As [`PULL_MESSAGE`], from consumers that pull.
    LITE_PULL_MESSAGE = 361,
    /// Takes a message back that is not due yet.
    RECALL_MESSAGE = 370,
    /// Queues that a member of a group has.
    QUERY_ASSIGNMENT = 400,
    /// Whether a group pulls or pops a topic.
    SET_MESSAGE_REQUEST_MODE = 401,
    /// From a slave: which groups pop which topics.
    GET_ALL_MESSAGE_REQUEST_MODE = 402,
    /// Creates or changes a topic of logical queues.
    UPDATE_AND_CREATE_STATIC_TOPIC = 513,
    /// Brokers of a name.
    GET_BROKER_MEMBER_GROUP = 901,
    /// Has a container start a broker.
    ADD_BROKER = 902,
    /// Has a container stop a broker.
    REMOVE_BROKER = 903,
    /// A broker is alive.
    BROKER_HEARTBEAT = 904,
    /// To a broker: the first of its set is another one.
    NOTIFY_MIN_BROKER_ID_CHANGE = 905,
    /// Between brokers of a set: where to copy from.
    EXCHANGE_BROKER_HA_INFO = 906,
    /// How a broker stands to the others of its set.
    GET_BROKER_HA_STATUS = 907,
    /// Sets up to where a slave's log counts.
    RESET_MASTER_FLUSH_OFFSET = 908,
    /// To a controller: brokers in step.
    CONTROLLER_ALTER_SYNC_STATE_SET = 1001,
    /// To a controller: elect a master.
    CONTROLLER_ELECT_MASTER = 1002,
    /// To a controller: a broker.
    CONTROLLER_REGISTER_BROKER = 1003,
    /// From a controller: who is the master.
    CONTROLLER_GET_REPLICA_INFO = 1004,
    /// From a controller: who leads.
    CONTROLLER_GET_METADATA_INFO = 1005,
    /// From a controller: brokers in step.
    CONTROLLER_GET_SYNC_STATE_DATA = 1006,
    /// A broker's epochs.
    GET_BROKER_EPOCH_CACHE = 1007,
    /// To a broker: its role.
    NOTIFY_BROKER_ROLE_CHANGED = 1008,
    /// Changes a controller's configuration.
    UPDATE_CONTROLLER_CONFIG = 1009,
    /// A controller's configuration.
    GET_CONTROLLER_CONFIG = 1010,
    /// Has a controller forget a broker.
    CLEAN_BROKER_DATA = 1011,
    /// From a controller: a free broker id.
    CONTROLLER_GET_NEXT_BROKER_ID = 1012,
    /// To a controller: take a broker id.
    CONTROLLER_APPLY_BROKER_ID = 1013,
    /// Slows groups down that read old messages.
    UPDATE_COLD_DATA_FLOW_CTR_CONFIG = 2001,
    /// Slows a group down no more.
    REMOVE_COLD_DATA_FLOW_CTR_CONFIG = 2002,
    /// Groups that are slowed down.
    GET_COLD_DATA_FLOW_CTR_INFO = 2003,
    /// How a broker has its log read ahead.
    SET_COMMITLOG_READ_MODE = 2004,
    /// Creates a user.
    AUTH_CREATE_USER = 3001,
    /// Changes a user.
    AUTH_UPDATE_USER = 3002,
    /// Deletes a user.
    AUTH_DELETE_USER = 3003,
    /// A user.
    AUTH_GET_USER = 3004,
    /// Users.
    AUTH_LIST_USER = 3005,
    /// Creates rights of a user.
    AUTH_CREATE_ACL = 3006,
    /// Changes rights of a user.
    AUTH_UPDATE_ACL = 3007,
    /// Deletes rights of a user.
    AUTH_DELETE_ACL = 3008,
    /// Rights of a user.
    AUTH_GET_ACL = 3009,
    /// Rights of users.
    AUTH_LIST_ACL = 3010,
    /// Hands out messages for a time.
    POP_MESSAGE = 200050,
    /// A message that was handed out is done.
    ACK_MESSAGE = 200051,
    /// Shows messages without handing them out.
    PEEK_MESSAGE = 200052,
    /// Changes until when a message is handed out.
    CHANGE_MESSAGE_INVISIBLETIME = 200053,
    /// Waits until there are messages to hand out.
    NOTIFICATION = 200054,
    /// How many wait for a group's messages.
    POLLING_INFO = 200055,
    /// Moves what is handed out from RocksDB back to the log.
    POP_ROLLBACK = 200056,
    /// Messages that were handed out are done.
    BATCH_ACK_MESSAGE = 200151,
}
