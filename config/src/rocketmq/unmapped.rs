//! RocketMQ's keys that are no setting here: those that need none, and those that cannot be passed over.

/// Keys that need no setting here, with the one reason for all of them.
pub(crate) struct NeedsNone {
    pub(crate) reason: &'static str,
    pub(crate) names: &'static [&'static str],
}

/// A key that cannot be passed over when it is `true`.
pub(crate) struct Refused {
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
}

/// Accepted without effect.
pub(crate) static NEEDS_NONE: &[NeedsNone] = &[
    NeedsNone {
        reason: "how far delayed messages are is known from the log itself",
        names: &["flushDelayOffsetInterval"],
    },
    NeedsNone {
        reason: "half messages are marked when they are settled, all of one moment with one mark",
        names: &["transactionOpMsgMaxSize", "transactionOpBatchInterval"],
    },
    NeedsNone {
        reason: "there are no thread pools to size: actors do the work, on one thread",
        names: &[
            "sendMessageThreadPoolNums",
            "pullMessageThreadPoolNums",
            "litePullMessageThreadPoolNums",
            "ackMessageThreadPoolNums",
            "processReplyMessageThreadPoolNums",
            "queryMessageThreadPoolNums",
            "adminBrokerThreadPoolNums",
            "clientManageThreadPoolNums",
            "consumerManageThreadPoolNums",
            "heartbeatThreadPoolNums",
            "endTransactionThreadPoolNums",
            "loadBalanceProcessorThreadPoolNums",
            "putMessageFutureThreadPoolNums",
            "recoverThreadPoolNums",
            "defaultThreadPoolNums",
            "clientRequestThreadPoolNums",
            "serverWorkerThreads",
            "serverSelectorThreads",
            "serverCallbackExecutorThreads",
        ],
    },
    NeedsNone {
        reason: "work does not queue up before thread pools: limits.max_in_flight_bytes_per_connection and limits.max_in_flight_bytes_total bound it where it enters",
        names: &[
            "sendThreadPoolQueueCapacity",
            "putThreadPoolQueueCapacity",
            "pullThreadPoolQueueCapacity",
            "litePullThreadPoolQueueCapacity",
            "ackThreadPoolQueueCapacity",
            "replyThreadPoolQueueCapacity",
            "queryThreadPoolQueueCapacity",
            "clientManagerThreadPoolQueueCapacity",
            "consumerManagerThreadPoolQueueCapacity",
            "heartbeatThreadPoolQueueCapacity",
            "endTransactionPoolQueueCapacity",
            "adminBrokerThreadPoolQueueCapacity",
            "loadBalanceThreadPoolQueueCapacity",
            "defaultThreadPoolQueueCapacity",
            "clientRequestThreadPoolQueueCapacity",
            "brokerFastFailureEnable",
            "waitTimeMillsInSendQueue",
            "waitTimeMillsInPullQueue",
            "waitTimeMillsInLitePullQueue",
            "waitTimeMillsInHeartbeatQueue",
            "waitTimeMillsInTransactionQueue",
            "waitTimeMillsInAckQueue",
            "waitTimeMillsInAdminBrokerQueue",
        ],
    },
    NeedsNone {
        reason: "the file has its fixed place in the store's folder",
        names: &["storeCheckpoint", "abortFile"],
    },
    NeedsNone {
        reason: "CastMQ is one binary and looks for nothing in an installation folder",
        names: &["rocketmqHome"],
    },
    NeedsNone {
        reason: "settings come from the file given at start and are not written back to it",
        names: &["brokerConfigPath", "configStorePath"],
    },
    NeedsNone {
        reason: "a deleted file goes at once; readers that still hold it keep their bytes",
        names: &[
            "destroyMapedFileIntervalForcibly",
            "destoryMaoedFileIntervalForcibly",
            "destoryMapedFileIntervalForcibly",
            "redeleteHangedFileInterval",
        ],
    },
    NeedsNone {
        reason: "files of one look are deleted off the data path; retention.delete_batch_max bounds how many",
        names: &[
            "deleteCommitLogFilesInterval",
            "deleteConsumeQueueFilesInterval",
        ],
    },
    NeedsNone {
        reason: "messages go straight into the mapped segment: there is no buffer before it to commit from",
        names: &[
            "transientStorePoolEnable",
            "transientStorePoolSize",
            "commitIntervalCommitLog",
            "commitCommitLogLeastPages",
            "commitCommitLogThoroughInterval",
        ],
    },
    NeedsNone {
        reason: "pages are made ready in a window ahead of the writer that grows with the rate",
        names: &["warmMapedFileEnable", "flushLeastPagesWhenWarmMapedFile"],
    },
    NeedsNone {
        reason: "the one writer of the log takes messages in turn: there is no lock to choose, to share out or to wait for",
        names: &[
            "useReentrantLockWhenPutMessage",
            "topicQueueLockNum",
            "osPageCacheBusyTimeOutMills",
            "putMessageTimeout",
            "asyncSendEnable",
        ],
    },
    NeedsNone {
        reason: "the commit log is flushed at its interval and earlier when somebody waits for it",
        names: &["flushCommitLogTimed"],
    },
    NeedsNone {
        reason: "consume queues are written back in batches, not page by page",
        names: &["flushConsumeQueueLeastPages"],
    },
    NeedsNone {
        reason: "after an unclean stop the index is brought up to the log before it is used",
        names: &["messageIndexSafe"],
    },
    NeedsNone {
        reason: "pulls wait for messages on a timer of their own, never by polling",
        names: &["shortPollingTimeMills"],
    },
    NeedsNone {
        reason: "how the bytes of a response are sent is decided for each by their size",
        names: &["transferMsgByHeap"],
    },
    NeedsNone {
        reason: "every name server is registered with on its own, with what changed, and a slow one holds up nobody",
        names: &["registerBrokerTimeoutMills", "forceRegister"],
    },
    NeedsNone {
        reason: "filters are evaluated when messages are read: there are no bit maps made beforehand",
        names: &[
            "enableCalcFilterBitMap",
            "expectConsumerNumUseFilter",
            "maxErrorRateOfBloomFilter",
            "bitMapLengthConsumeQueueExt",
            "maxFilterMessageSize",
            "filterServerNums",
        ],
    },
    NeedsNone {
        reason: "consumers can always filter by properties, and producers recall delayed messages",
        names: &["enablePropertyFilter", "recallMessageEnable"],
    },
    NeedsNone {
        reason: "RocketMQ itself reads it no more since 4.3",
        names: &["checkTransactionMessageEnable"],
    },
];

/// Refused when `true`: passing them over would leave a broker open that was meant to be closed.
pub(crate) static REFUSED: &[Refused] = &[
    Refused {
        name: "aclEnable",
        reason: REFUSED_AUTHENTICATION,
    },
    Refused {
        name: "authenticationEnabled",
        reason: REFUSED_AUTHENTICATION,
    },
    Refused {
        name: "authorizationEnabled",
        reason: REFUSED_AUTHENTICATION,
    },
];

const REFUSED_AUTHENTICATION: &str = "clients are not authenticated yet and the broker would be open to all: \
     protect its port by other means, then remove the key";
