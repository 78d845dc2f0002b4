use std::ffi::OsString;

use config::ValueKind;
use proptest::prelude::*;

use super::*;
use crate::origin::test_path;

fn read_as(node: Node, content: &[u8]) -> Layer {
    let home = (OsString::from("ROCKETMQ_HOME"), OsString::from("/rmq"));
    read(&test_path("a.properties"), content, node, &[home].into())
}

fn layer(content: &str) -> Layer {
    read_as(Node::Broker, content.as_bytes())
}

/// The value of `key` in debug form, with the line it comes from.
fn value(layer: &Layer, key: &str) -> (ValueKind, String) {
    let entry = layer.entries.iter().rfind(|entry| entry.info.key == key);
    let entry = entry.expect("the key is set");
    (entry.value.clone(), entry.origin.to_string())
}

fn number(content: &str, key: &str) -> i64 {
    let layer = layer(content);
    assert!(layer.problems.is_empty(), "{:?}", layer.problems);
    match value(&layer, key).0 {
        ValueKind::I64(number) => number,
        other => panic!("{key} is {other:?}"),
    }
}

fn text(node: Node, content: &str, key: &str) -> String {
    value(&read_as(node, content.as_bytes()), key).0.to_string()
}

fn warnings(content: &str) -> Vec<String> {
    let warnings = layer(content).warnings.into_iter();
    warnings.map(|warning| warning.to_string()).collect()
}

fn problems(content: &str) -> Vec<String> {
    let problems = layer(content).problems.into_iter();
    problems.map(|problem| problem.to_string()).collect()
}

#[test]
fn old_spellings_mean_the_same_as_new_ones() {
    let key = "store.commit_log_segment_bytes";
    assert_eq!(number("mapedFileSizeCommitLog=8388608", key), 8_388_608);
    assert_eq!(number("mappedFileSizeCommitLog=8388608", key), 8_388_608);
    let twice = "mapedFileSizeCommitLog=8388608\nmappedFileSizeCommitLog=9388608";
    assert_eq!(number(twice, key), 9_388_608);
    assert_eq!(
        warnings(twice),
        [
            "file a.properties:2: mappedFileSizeCommitLog takes the place of mapedFileSizeCommitLog on line 1; the last one counts"
        ]
    );
}

#[test]
fn the_address_is_put_together_from_both_keys() {
    let both = "bindAddress=10.0.0.1\nlistenPort=10921";
    assert_eq!(text(Node::Broker, both, "broker.listen"), "10.0.0.1:10921");
    assert_eq!(
        value(&layer(both), "broker.listen").1,
        "file a.properties:2"
    );
    let port = "listenPort=1";
    assert_eq!(text(Node::Broker, port, "broker.listen"), "0.0.0.0:1");
    let v6 = "bindAddress=::";
    assert_eq!(text(Node::Broker, v6, "broker.listen"), "[::]:10911");
    let nothing = layer("");
    let (address, origin) = value(&nothing, "broker.listen");
    assert_eq!(address.to_string(), "0.0.0.0:10911");
    assert_eq!(origin, "file a.properties");
}

#[test]
fn other_addresses_are_whole_ones() {
    let content = "listenPort=10920\nhaMasterAddress=10.0.0.1:10912";
    let of = |key| text(Node::Broker, content, key);
    assert_eq!(problems(content), Vec::<String>::new());
    assert_eq!(of("replication.ha_master_address"), "10.0.0.1:10912");
    assert_eq!(of("broker.listen"), "0.0.0.0:10920");
}

#[test]
fn in_a_name_servers_file_the_same_keys_are_its_own() {
    let port = "listenPort=9877";
    let key = "name_server.listen";
    assert_eq!(text(Node::NameServer, port, key), "0.0.0.0:9877");
    assert_eq!(text(Node::NameServer, "", key), "0.0.0.0:9876");
    let layer = read_as(Node::NameServer, port.as_bytes());
    assert_eq!(layer.entries.len(), 1);
}

#[test]
fn a_wrong_address_is_told_and_not_replaced() {
    let wrong = "bindAddress=localhost\nlistenPort=65536";
    assert_eq!(
        problems(wrong),
        [
            "file a.properties:1: bindAddress is \"localhost\", allowed is: an IP address",
            "file a.properties:2: listenPort is \"65536\", allowed is: 0 to 65535",
        ]
    );
    assert!(layer(wrong).entries.is_empty());
}

#[test]
fn words_lists_and_units_become_ours() {
    let content = "brokerRole=SYNC_MASTER\nflushDiskType=SYNC_FLUSH\nnamesrvAddr=a:1;b:2\n\
                   deleteWhen=04;16\nserverChannelMaxIdleTimeSeconds=60\nhaListenPort=0\n\
                   timerMaxDelaySec=259200";
    let layer = layer(content);
    assert!(layer.problems.is_empty(), "{:?}", layer.problems);
    let shown = |key| value(&layer, key).0;
    assert_eq!(shown("broker.role").to_string(), "sync_master");
    assert_eq!(shown("store.flush").to_string(), "sync");
    assert_eq!(shown("limits.idle_timeout_ms"), ValueKind::I64(60_000));
    let longest = shown("broker.timer_max_delay_ms");
    assert_eq!(longest, ValueKind::I64(259_200_000));
    assert_eq!(shown("replication.ha_listen_port"), ValueKind::Nil);
    let ValueKind::Array(hours) = shown("retention.delete_hours") else {
        panic!("hours are a list");
    };
    let hours: Vec<_> = hours.into_iter().map(|hour| hour.kind).collect();
    assert_eq!(hours, [ValueKind::I64(4), ValueKind::I64(16)]);
    assert!(matches!(shown("broker.name_servers"), ValueKind::Array(list) if list.len() == 2));
}

#[test]
fn numbers_rocketmq_bends_are_bent_with_a_warning() {
    let bent = [
        (
            "diskMaxUsedSpaceRatio=99",
            "retention.disk_max_used_percent",
            95,
        ),
        (
            "diskMaxUsedSpaceRatio=1",
            "retention.disk_max_used_percent",
            10,
        ),
        (
            "diskSpaceCleanForciblyRatio=90",
            "retention.disk_force_clean_percent",
            85,
        ),
        (
            "diskSpaceWarningLevelRatio=95",
            "retention.disk_refuse_writes_percent",
            90,
        ),
        (
            "registerNameServerPeriod=1000",
            "broker.register_interval_ms",
            10_000,
        ),
        (
            "mapedFileSizeConsumeQueue=3000001",
            "store.consume_queue_file_bytes",
            3_000_020,
        ),
    ];
    for (content, key, expected) in bent {
        assert_eq!(number(content, key), expected, "{content}");
        let warned = warnings(content);
        assert_eq!(warned.len(), 1, "{content}");
        assert!(
            warned[0].contains(&format!("works with {expected}")),
            "{warned:?}"
        );
    }
    assert_eq!(
        number(
            "diskMaxUsedSpaceRatio=88",
            "retention.disk_max_used_percent"
        ),
        88
    );
    assert!(warnings("diskMaxUsedSpaceRatio=88").is_empty());
}

#[test]
fn other_numbers_out_of_range_are_errors() {
    assert_eq!(
        problems("fileReservedTime=0\nmaxMessageSize=many"),
        [
            "file a.properties:1: fileReservedTime (retention.keep_hours) is 0, allowed is: 1 to 8760000 hours",
            "file a.properties:2: maxMessageSize (limits.max_message_bytes) is \"many\", allowed is: 1 to 1073741824 bytes",
        ]
    );
}

#[test]
fn variables_are_expanded_in_settings() {
    let path = "storePathRootDir=${ROCKETMQ_HOME}/data/store";
    assert_eq!(
        text(Node::Broker, path, "store.data_dir"),
        "/rmq/data/store"
    );
    let literal = "storePathRootDir=$${ROCKETMQ_HOME}";
    assert_eq!(
        text(Node::Broker, literal, "store.data_dir"),
        "${ROCKETMQ_HOME}"
    );
}

#[test]
fn an_unset_variable_is_named_with_key_and_line() {
    assert_eq!(
        problems("\nstorePathRootDir=${NOPE}/store\nlistenPort=${PORT}\nstoreCheckpoint=${NOPE}"),
        [
            "file a.properties:2: storePathRootDir (store.data_dir) names the variable NOPE, which is not set: set it, or write $${ for a literal ${",
            "file a.properties:3: listenPort names the variable PORT, which is not set: set it, or write $${ for a literal ${",
        ]
    );
}

#[test]
fn a_log_over_several_folders_is_an_error() {
    let found = problems("storePathCommitLog=/a,/b");
    assert!(found[0].contains("allowed is: one folder"), "{found:?}");
}

#[test]
fn keys_without_effect_are_kept_with_their_reason() {
    let layer = layer("sendMessageThreadPoolNums=128\ntimerPrecisionMs=1000\naclEnable=false");
    assert!(layer.warnings.is_empty() && layer.problems.is_empty());
    let kept: Vec<_> = layer
        .without_effect
        .iter()
        .map(|kept| kept.key.as_str())
        .collect();
    assert_eq!(
        kept,
        ["sendMessageThreadPoolNums", "timerPrecisionMs", "aclEnable"]
    );
    let first = layer.without_effect[0].to_string();
    assert!(first.starts_with(
        "file a.properties:1: sendMessageThreadPoolNums has no effect: there are no thread pools"
    ));
}

#[test]
fn what_is_not_there_yet_is_said_without_its_value() {
    assert_eq!(
        warnings("innerClientAuthenticationCredentials=hunter2"),
        [
            "file a.properties:1: innerClientAuthenticationCredentials is not supported yet; it would name the credentials between brokers"
        ]
    );
}

#[test]
fn a_broker_meant_to_be_closed_does_not_open() {
    for key in ["aclEnable", "authenticationEnabled", "authorizationEnabled"] {
        let found = problems(&format!("{key}=TRUE"));
        assert!(found[0].contains("would be open to all"), "{found:?}");
    }
}

#[test]
fn an_unknown_key_is_a_warning_with_the_nearest_name() {
    assert_eq!(
        warnings("brokerNmae=a"),
        [
            "file a.properties:1: brokerNmae is not known and has no effect: did you mean brokerName?"
        ]
    );
}

#[test]
fn our_own_keys_are_read_too_with_our_own_limits() {
    assert_eq!(
        number("limits.max_frame_bytes=8388608", "limits.max_frame_bytes"),
        8_388_608
    );
    assert_eq!(
        number("limits.idle_timeout_ms=5000", "limits.idle_timeout_ms"),
        5_000
    );
    let found = problems("retention.disk_max_used_percent=99");
    assert!(found[0].contains("10 to 95 percent"), "{found:?}");
    let listen = "broker.listen=127.0.0.1:5";
    assert_eq!(text(Node::Broker, listen, "broker.listen"), "127.0.0.1:5");
}

#[test]
fn only_keys_and_values_must_be_utf8() {
    let layer = read_as(
        Node::Broker,
        b"# \xd6\xd0\nbrokerName=a\nbrokerClusterName=\xd6\xd0",
    );
    assert_eq!(value(&layer, "broker.name").0.to_string(), "a");
    let found: Vec<_> = layer.problems.iter().map(Problem::to_string).collect();
    assert_eq!(
        found,
        ["file a.properties:3: brokerClusterName is not UTF-8"]
    );
}

#[test]
fn every_rocketmq_name_means_one_thing() {
    let mut names: Vec<_> = known_names().collect();
    names.retain(|name| !["listenPort", "bindAddress"].contains(name));
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

/// Every key of RocketMQ 5.3 that its documentation of broker, store, name server and proxy describes.
const DESCRIBED: &str = "
    brokerClusterName brokerName brokerId namesrvAddr listenPort bindAddress brokerIP1 brokerIP2 brokerPermission
    defaultTopicQueueNums autoCreateTopicEnable autoCreateSubscriptionGroup clusterTopicEnable brokerTopicEnable
    messageStorePlugIn msgTraceTopicName traceTopicEnable sendMessageThreadPoolNums pullMessageThreadPoolNums
    queryMessageThreadPoolNums adminBrokerThreadPoolNums clientManageThreadPoolNums consumerManageThreadPoolNums
    heartbeatThreadPoolNums sendThreadPoolQueueCapacity pullThreadPoolQueueCapacity queryThreadPoolQueueCapacity
    heartbeatThreadPoolQueueCapacity endTransactionPoolQueueCapacity flushConsumerOffsetInterval
    registerNameServerPeriod registerBrokerTimeoutMills forceRegister compressedRegister rejectTransactionMessage
    longPollingEnable shortPollingTimeMills notifyConsumerIdsChangedEnable transferMsgByHeap regionId traceOn
    slaveReadEnable disableConsumeIfConsumerReadSlowly consumerFallbehindThreshold brokerFastFailureEnable
    waitTimeMillsInSendQueue waitTimeMillsInPullQueue waitTimeMillsInLitePullQueue waitTimeMillsInHeartbeatQueue
    waitTimeMillsInTransactionQueue waitTimeMillsInAckQueue waitTimeMillsInAdminBrokerQueue
    startAcceptSendRequestTimeStamp enablePropertyFilter enableCalcFilterBitMap filterSupportRetry
    expectConsumerNumUseFilter maxErrorRateOfBloomFilter rejectPullConsumerEnable litePullMessageEnable
    popPollingSize popPollingMapSize maxPopPollingSize reviveQueueNum reviveInterval reviveMaxSlow reviveScanTime
    enablePopBufferMerge popCkStayBufferTime popCkStayBufferTimeOut popFromRetryProbability enableRetryTopicV2
    retrieveMessageFromPopRetryTopicV1 popConsumerKVServiceEnable serverLoadBalancerEnable
    defaultMessageRequestMode defaultPopShareQueueNum transactionTimeOut transactionCheckMax
    transactionCheckInterval transactionOpMsgMaxSize transactionOpBatchInterval storeReplyMessageEnable
    asyncSendEnable useServerSideResetOffset enableBroadcastOffsetStore lockInStrictMode channelExpiredTimeout
    subscriptionExpiredTimeout enableMixedMessageType enableSingleTopicRegister enableSplitRegistration
    splitRegistrationSize enableSplitMetadata splitMetadataSize recallMessageEnable enableSlaveActingMaster
    enableControllerMode controllerAddr brokerHeartbeatInterval brokerNotActiveTimeoutMillis
    validateSystemTopicWhenUpdateTopic configBlackList brokerConfigPath configManagerVersion metricsExporterType
    aclEnable serverWorkerThreads serverSelectorThreads serverChannelMaxIdleTimeSeconds authenticationEnabled
    authorizationEnabled initAuthenticationUser innerClientAuthenticationCredentials
    storePathRootDir storePathCommitLog mappedFileSizeCommitLog mappedFileSizeConsumeQueue flushDiskType brokerRole
    flushIntervalCommitLog flushCommitLogTimed flushCommitLogLeastPages flushCommitLogThoroughInterval
    commitIntervalCommitLog commitCommitLogLeastPages commitCommitLogThoroughInterval flushIntervalConsumeQueue
    flushConsumeQueueLeastPages flushConsumeQueueThoroughInterval syncFlushTimeout putMessageTimeout
    transientStorePoolEnable transientStorePoolSize warmMapedFileEnable useReentrantLockWhenPutMessage
    osPageCacheBusyTimeOutMills cleanResourceInterval deleteCommitLogFilesInterval deleteWhen fileReservedTime
    diskMaxUsedSpaceRatio diskSpaceCleanForciblyRatio diskSpaceWarningLevelRatio cleanFileForciblyEnable
    deleteFileBatchMax destroyMapedFileIntervalForcibly redeleteHangedFileInterval maxMessageSize
    maxFilterMessageSize checkCRCOnRecover maxTransferBytesOnMessageInMemory maxTransferCountOnMessageInMemory
    maxTransferBytesOnMessageInDisk maxTransferCountOnMessageInDisk accessMessageInMemoryMaxRatio
    messageIndexEnable messageIndexSafe maxHashSlotNum maxIndexNum maxMsgsNumBatch defaultQueryMaxNum
    pullBatchMaxMessageCount haListenPort haSendHeartbeatInterval haHousekeepingInterval haTransferBatchSize
    haMaxGapNotInSync slaveTimeout totalReplicas inSyncReplicas minInSyncReplicas allAckInSyncStateSet
    enableAutoInSyncReplicas haMaxTimeSlaveNotCatchup messageDelayLevel flushDelayOffsetInterval
    enableScheduleAsyncDeliver timerWheelEnable timerPrecisionMs timerMaxDelaySec timerRollWindowSlot
    mappedFileSizeTimerLog timerInterceptDelayLevel timerFlushIntervalMs enableConsumeQueueExt
    offsetCheckInSlave duplicationEnable enableDLegerCommitLog enableLmq enableMultiDispatch
    maxLmqConsumeQueueNum topicQueueLockNum enabledAppendPropCRC forceVerifyPropCRC autoMessageVersionOnTopicLen
    readUnCommitted enableCompaction storeType
    kvConfigPath configStorePath productEnvName clusterTest orderMessageEnable returnOrderTopicConfigToBroker
    defaultThreadPoolNums clientRequestThreadPoolNums scanNotActiveBrokerInterval supportActingMaster
    enableTopicList enableAllTopicList notifyMinBrokerIdChanged needWaitForService waitSecondsForService
    deleteTopicWithBrokerRegistration enableControllerInNamesrv
    proxyMode grpcServerPort remotingListenPort rocketMQClusterName grpcClientConsumerMinLongPollingTimeoutMillis
    grpcClientConsumerMaxLongPollingTimeoutMillis grpcClientConsumerLongPollingBatchSize defaultInvisibleTimeMills
    minInvisibleTimeMillsForRecv maxInvisibleTimeMills maxDelayTimeMills maxUserPropertySize userPropertyMaxNum
    maxMessageGroupSize enableTopicMessageTypeCheck enableProxyAutoRenew transactionHeartbeatPeriodSecond
    tlsTestModeEnable
    mapedFileSizeCommitLog mapedFileSizeConsumeQueue destoryMaoedFileIntervalForcibly storePathConsumeQueue
    storePathIndex storeCheckpoint abortFile checkTransactionMessageEnable
";

#[test]
fn every_key_rocketmq_describes_is_accounted_for() {
    let unknown: Vec<_> = DESCRIBED
        .split_whitespace()
        .filter(|name| treatment(name).is_none())
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(content in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_as(Node::Broker, &content);
    }

    #[test]
    fn any_values_are_read_without_a_panic(
        name in prop::sample::select(known_names().collect::<Vec<_>>()),
        value in "[-0-9a-z${};:,. \\\\]{0,24}",
    ) {
        let _ = read_as(Node::NameServer, format!("{name}={value}").as_bytes());
    }
}
