//! RocketMQ's keys whose features are not there yet.

/// A key whose feature is not there yet.
pub(crate) struct NotYet {
    pub(crate) name: &'static str,
    /// RocketMQ's default. A file that spells it out asks for nothing that is missing.
    pub(crate) default: &'static str,
    /// What it would do, after "would".
    pub(crate) would: &'static str,
}

const PROXY: &str = "configure the gRPC proxy";

/// Each line is `name = "RocketMQ's default", "what it would do";`.
macro_rules! not_yet {
    ($($name:ident = $default:literal, $would:expr;)*) => {
        &[$(NotYet {
            name: stringify!($name),
            default: $default,
            would: $would,
        }),*]
    };
}

/// Not supported yet.
#[rustfmt::skip]
pub(crate) static NOT_YET: &[NotYet] = not_yet! {
    // Broker: identity, topics, registration.
    brokerIP2 = "", "give slaves another address than clients";
    clusterTopicEnable = "true", "leave out the system topic named after the cluster";
    brokerTopicEnable = "true", "leave out the system topic named after the broker";
    messageStorePlugIn = "", "load a store plug-in, a Java class";
    msgTraceTopicName = "RMQ_SYS_TRACE_TOPIC", "rename the topic of message traces";
    regionId = "DefaultRegion", "name the region in stored messages";
    traceOn = "true", "tell clients not to trace messages";
    compressedRegister = "false", "compress registrations";
    enableSingleTopicRegister = "false", "register a changed topic alone";
    enableSplitRegistration = "false", "register topics in parts";
    splitRegistrationSize = "800", "set the topics in a part of a registration";
    enableSplitMetadata = "true", "send topics and groups to tools in one piece";
    splitMetadataSize = "2000", "set the entries in a piece sent to tools";
    validateSystemTopicWhenUpdateTopic = "true", "let tools change system topics";
    configBlackList = "configBlackList;brokerConfigPath", "name keys that tools cannot change";
    configManagerVersion = "v1", "keep topics, groups and offsets in RocksDB";
    metricsExporterType = "DISABLE", "export metrics as RocketMQ names them";
    initAuthenticationUser = "", "create the first user";
    innerClientAuthenticationCredentials = "", "name the credentials between brokers";
    // Broker: requests.
    rejectTransactionMessage = "false", "refuse transaction messages";
    longPollingEnable = "true", "answer empty pulls without waiting";
    notifyConsumerIdsChangedEnable = "true", "not tell consumers that their group changed";
    disableConsumeIfConsumerReadSlowly = "false", "stop groups that fall far behind";
    consumerFallbehindThreshold = "17179869184", "say how many bytes behind a group is stopped";
    startAcceptSendRequestTimeStamp = "0", "refuse messages until a point in time";
    filterSupportRetry = "false", "filter retried messages by properties";
    rejectPullConsumerEnable = "false", "refuse pull consumers";
    litePullMessageEnable = "true", "refuse lite pulls";
    useServerSideResetOffset = "true", "reset offsets on the clients only";
    enableBroadcastOffsetStore = "true", "not keep offsets of broadcast groups";
    lockInStrictMode = "false", "lock queues of ordered groups strictly";
    channelExpiredTimeout = "120000", "set the silence after which a client is forgotten";
    subscriptionExpiredTimeout = "600000", "set the age at which a subscription is forgotten";
    enableMixedMessageType = "false", "allow topics of mixed message types";
    maxMsgsNumBatch = "64", "bound the messages of one query by key";
    defaultQueryMaxNum = "32", "set the messages of a query that names no number";
    pullBatchMaxMessageCount = "160", "bound the messages of one pull";
    maxTransferBytesOnMessageInMemory = "262144", "bound the bytes of a pull from memory";
    maxTransferCountOnMessageInMemory = "32", "bound the messages of a pull from memory";
    maxTransferBytesOnMessageInDisk = "65536", "bound the bytes of a pull from disk";
    maxTransferCountOnMessageInDisk = "8", "bound the messages of a pull from disk";
    readUnCommitted = "false", "show consumers messages that can still be lost";
    // Broker: pop.
    popPollingSize = "1024", "bound the waiting pops of a queue";
    popPollingMapSize = "100000", "bound the queues with waiting pops";
    maxPopPollingSize = "100000", "bound all waiting pops";
    reviveQueueNum = "8", "set the queues of the pop revive topic";
    reviveInterval = "1000", "set the time between two looks for messages to revive";
    reviveMaxSlow = "3", "bound the slow rounds of reviving";
    reviveScanTime = "10000", "bound the time of one round of reviving";
    enablePopBufferMerge = "false", "merge pop check points with their acks in memory";
    popCkStayBufferTime = "10000", "set the time a check point stays in memory";
    popCkStayBufferTimeOut = "3000", "set the time before its end that a check point leaves memory";
    popFromRetryProbability = "20", "set the part of pops that look at the retry topic first";
    enableRetryTopicV2 = "false", "name the retry topics of pop in the second form";
    retrieveMessageFromPopRetryTopicV1 = "true", "not read the retry topics of the first form";
    popConsumerKVServiceEnable = "false", "keep the state of pop in RocksDB";
    serverLoadBalancerEnable = "true", "leave the assignment of queues to clients";
    defaultMessageRequestMode = "PULL", "make pop the way groups consume";
    defaultPopShareQueueNum = "-1", "set the queues that members of a pop group share";
    // Broker: transactions and delay.
    enableScheduleAsyncDeliver = "false", "deliver delayed messages side by side";
    timerWheelEnable = "true", "turn off delays to any point in time";
    timerPrecisionMs = "1000", "set the precision of such delays";
    timerRollWindowSlot = "172800", "set how far ahead the timer's wheel reaches";
    mappedFileSizeTimerLog = "104857600", "set the size of the timer's log files";
    timerInterceptDelayLevel = "false", "let the timer take delay levels as well";
    timerFlushIntervalMs = "1000", "set the time between two flushes of the timer";
    // Store.
    enableConsumeQueueExt = "false", "keep more about each message beside the consume queues";
    duplicationEnable = "false", "replay the log up to a confirmed offset only";
    enableDLegerCommitLog = "false", "keep the commit log in DLedger, in its own format";
    enableLmq = "false", "keep light queues (MQTT)";
    enableMultiDispatch = "false", "put a message into several light queues";
    maxLmqConsumeQueueNum = "20000", "bound light queues";
    enabledAppendPropCRC = "false", "keep a CRC of the whole record in its properties";
    forceVerifyPropCRC = "false", "check the CRC of the whole record";
    autoMessageVersionOnTopicLen = "true", "refuse topics longer than 127 bytes instead of storing them in the second record form";
    enableCompaction = "true", "turn off topics that keep the last message of a key";
    storeType = "default", "keep consume queues in RocksDB";
    // Replication.
    offsetCheckInSlave = "false", "check the offsets of pulls from a slave";
    haTransferBatchSize = "32768", "bound the bytes sent to a slave at once";
    haMaxGapNotInSync = "268435456", "say how many bytes behind a slave is out of sync";
    haMaxTimeSlaveNotCatchup = "15000", "say how long behind a slave is out of sync";
    totalReplicas = "1", "say how many brokers there are of a name";
    minInSyncReplicas = "1", "set the fewest brokers in sync that writes go on with";
    allAckInSyncStateSet = "false", "wait for every broker in sync";
    enableAutoInSyncReplicas = "false", "wait for fewer brokers when fewer are there";
    enableSlaveActingMaster = "false", "let a slave stand in for its master";
    enableControllerMode = "false", "let a controller elect masters";
    controllerAddr = "", "name the controllers";
    brokerHeartbeatInterval = "1000", "set the time between two heartbeats to a controller";
    brokerNotActiveTimeoutMillis = "10000", "set the silence after which a controller gives a broker up";
    // Name server.
    kvConfigPath = "", "keep the name server's key-value table in a file";
    productEnvName = "center", "name the environment that misses are looked up in";
    clusterTest = "false", "look up misses in another environment";
    orderMessageEnable = "false", "serve the order of queues from the key-value table";
    returnOrderTopicConfigToBroker = "true", "keep that order from brokers";
    supportActingMaster = "false", "show a slave that stands in for its master";
    enableTopicList = "true", "refuse to list the topics of a cluster";
    enableAllTopicList = "true", "refuse to list all topics";
    notifyMinBrokerIdChanged = "false", "tell brokers which of them has the smallest id";
    needWaitForService = "false", "answer routes only some time after the start";
    waitSecondsForService = "45", "set that time";
    deleteTopicWithBrokerRegistration = "false", "forget topics that a broker no longer registers";
    enableControllerInNamesrv = "false", "run a controller in the name server";
    // Proxy, which reads them from rmq-proxy.json.
    proxyMode = "", PROXY;
    grpcServerPort = "", PROXY;
    remotingListenPort = "", PROXY;
    rocketMQClusterName = "", PROXY;
    grpcClientConsumerMinLongPollingTimeoutMillis = "", PROXY;
    grpcClientConsumerMaxLongPollingTimeoutMillis = "", PROXY;
    grpcClientConsumerLongPollingBatchSize = "", PROXY;
    defaultInvisibleTimeMills = "", PROXY;
    minInvisibleTimeMillsForRecv = "", PROXY;
    maxInvisibleTimeMills = "", PROXY;
    maxDelayTimeMills = "", PROXY;
    maxUserPropertySize = "", PROXY;
    userPropertyMaxNum = "", PROXY;
    maxMessageGroupSize = "", PROXY;
    enableTopicMessageTypeCheck = "", PROXY;
    enableProxyAutoRenew = "", PROXY;
    transactionHeartbeatPeriodSecond = "", PROXY;
    tlsTestModeEnable = "", PROXY;
    topicRouteServiceCacheExpiredSeconds = "", PROXY;
    topicRouteServiceCacheRefreshSeconds = "", PROXY;
};
