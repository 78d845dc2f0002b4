//! Requests of every kind.

use castmq_protocol::model::{GroupConfig, PhysicalOffset, QueueId, QueueOffset, TopicConfig};
use castmq_protocol::native::admin::{AdminRequest, ResetTo};
use castmq_protocol::native::hello::Credentials;
use castmq_protocol::native::replication::{Follow, GroupOffset, SyncMetadata};
use castmq_protocol::native::request::{
    ANY_QUEUE, Acknowledge, Another, ChangeInvisible, EndTransaction, Filter, GroupMode, JoinGroup,
    Pop, PopOrder, Pull, QueuePosition, Resolution, Send, SendBack, SendBatch, SendExtras,
    SendReply, StartFrom, Subscribe, TopicSubscription, TraceContext, TransactionPhase, send_flags,
};
use castmq_protocol::native::route::{DataVersion, RegisterBroker, TopicQueues, TopicsReport};
use castmq_protocol::native::{Hello, Request, Role, VERSION};

use super::frames::{POP_RECEIPT, queue};

pub(crate) fn requests() -> Vec<Request> {
    let extras = SendExtras {
        reconsume_times: 2,
        delay_level: 3,
        deliver_at_ms: 1_700_000_000_000,
        transaction: TransactionPhase::Commit,
        prepared_offset: 77,
        priority: 9,
        producer_id: 5,
        producer_sequence: 6,
        trace: Some(TraceContext {
            trace_id: [0xAB; 16],
            span_id: [0xCD; 8],
            flags: 1,
        }),
        settled_below: 4,
    };
    let send = Send {
        topic: 1,
        queue: QueueId(2),
        flags: send_flags::NO_WAIT,
        flag: -3,
        sys_flag: 0x301,
        born_timestamp_ms: 1_700_000_000_001,
        properties_bytes: 4,
        extras: None,
    };
    let route_topics = TopicQueues {
        topic: "orders".into(),
        read_queues: 4,
        write_queues: 5,
        permission: 6,
        system_flag: 0,
        is_traced: true,
    };
    let version = DataVersion {
        timestamp_ms: 1_700_000_000_002,
        counter: 8,
    };
    let register = RegisterBroker {
        cluster: "c".into(),
        broker: "b".into(),
        broker_id: 1,
        configured_id: 1,
        epoch: 3,
        address: "127.0.0.1:10911".into(),
        ha_address: "127.0.0.1:10912".into(),
        expiry_ms: 120_000,
        version,
        topics: TopicsReport {
            changed: vec![route_topics.clone()],
            ..TopicsReport::default()
        },
    };
    vec![
        Request::Hello(Hello {
            version: VERSION,
            role: Role::Consumer,
            client_id: "10.0.0.5@77".into(),
            software: "castmq 0.1.0".into(),
            credentials: Some(Credentials {
                access_key: "ak".into(),
                signature: vec![1, 2, 3],
            }),
        }),
        Request::Heartbeat,
        Request::AnnounceTopic {
            alias: 1,
            topic: "orders".into(),
        },
        Request::AnnounceGroup {
            alias: 2,
            group: "billing".into(),
        },
        Request::Send(send.clone()),
        Request::Send(Send {
            queue: ANY_QUEUE,
            extras: Some(Box::new(extras)),
            ..send
        }),
        Request::SendBatch(SendBatch {
            topic: 1,
            queue: ANY_QUEUE,
            flags: send_flags::ONE_WAY,
            sys_flag: 0,
            born_timestamp_ms: 1,
            messages: 100,
            extras: None,
        }),
        Request::Subscribe(Subscribe {
            subscription: 3,
            group: 2,
            topic: 1,
            queue: QueueId(0),
            offset: QueueOffset(10),
            filter: Filter::Tags(vec!["a".into(), "b".into()]),
            credit_messages: 1000,
            credit_bytes: 1 << 20,
        }),
        Request::Credit {
            subscription: 3,
            messages: 500,
            bytes: 4096,
        },
        Request::Unsubscribe { subscription: 3 },
        Request::Pull(Pull {
            topic: 1,
            queue: QueueId(1),
            offset: QueueOffset(11),
            max_messages: 32,
            max_bytes: 65536,
            wait_ms: 15_000,
            filter: Filter::Sql("a > 1".into()),
        }),
        Request::CommitOffsets {
            group: 2,
            offsets: vec![QueuePosition {
                topic: 1,
                queue: QueueId(0),
                offset: QueueOffset(12),
            }],
        },
        Request::QueryOffset {
            group: 2,
            topic: 1,
            queue: QueueId(0),
        },
        Request::QueueRange {
            topic: 1,
            queue: QueueId(0),
        },
        Request::OffsetAtTime {
            topic: 1,
            queue: QueueId(0),
            timestamp_ms: -1,
        },
        Request::JoinGroup(JoinGroup {
            group: 2,
            mode: GroupMode::Broadcasting,
            from: StartFrom::Timestamp(5),
            subscriptions: vec![TopicSubscription {
                topic: "orders".into(),
                filter: Filter::All,
            }],
            ordered: true,
            reclaims: vec![queue("orders", 1)],
            room: Some("east".into()),
            claims: vec![queue("orders", 2), queue("orders", 3)],
        }),
        Request::LeaveGroup { group: 2 },
        Request::ReleaseQueues {
            group: 2,
            queues: vec![queue("orders", 1)],
        },
        Request::Route {
            topic: "orders".into(),
        },
        Request::RegisterBroker(register.clone()),
        Request::RegisterBroker(RegisterBroker {
            topics: TopicsReport {
                since: Some(version),
                changed: vec![route_topics],
                removed: vec!["old".into()],
                more: true,
            },
            ..register
        }),
        Request::UnregisterBroker {
            cluster: "c".into(),
            broker: "b".into(),
            broker_id: 0,
        },
        Request::Admin(AdminRequest::PutTopic {
            topic: "orders".into(),
            config: TopicConfig::with_queues(4),
            only_new: true,
        }),
        Request::Admin(AdminRequest::DeleteTopic {
            topic: "orders".into(),
        }),
        Request::Admin(AdminRequest::ListTopics),
        Request::Admin(AdminRequest::ShowTopic {
            topic: "orders".into(),
        }),
        Request::Admin(AdminRequest::PutGroup {
            group: "g".into(),
            config: GroupConfig::default(),
        }),
        Request::Admin(AdminRequest::ListGroups),
        Request::Admin(AdminRequest::ShowGroup { group: "g".into() }),
        Request::Admin(AdminRequest::ResetOffsets {
            group: "g".into(),
            topic: "t".into(),
            queue: Some(QueueId(1)),
            to: ResetTo::Offset(QueueOffset(3)),
        }),
        Request::Admin(AdminRequest::ListBrokers),
        Request::Admin(AdminRequest::ShowBroker),
        Request::Admin(AdminRequest::MessageAt {
            physical_offset: PhysicalOffset(4),
        }),
        Request::Admin(AdminRequest::MessagesByKey {
            topic: "t".into(),
            key: "k".into(),
            max: 32,
            begin_ms: 0,
            end_ms: i64::MAX,
        }),
        Request::Admin(AdminRequest::Actors),
        Request::Admin(AdminRequest::ListConnections),
        Request::Admin(AdminRequest::DeleteGroup {
            group: "g".into(),
            with_topics: true,
        }),
        Request::Admin(AdminRequest::CloneOffsets {
            group: "g".into(),
            from: "h".into(),
            topic: None,
        }),
        Request::SendBack(SendBack {
            group: 2,
            topic: 1,
            queue: QueueId(3),
            offset: QueueOffset(4),
            another: Another::Level(5),
            max_retries: 6,
        }),
        Request::SendBack(SendBack {
            group: 2,
            topic: 1,
            queue: QueueId(3),
            offset: QueueOffset(4),
            another: Another::Never,
            max_retries: 0,
        }),
        Request::JoinProducers {
            group: "payments".into(),
        },
        Request::EndTransaction(EndTransaction {
            half: QueueOffset(5),
            place: PhysicalOffset(6),
            resolution: Resolution::Rollback,
        }),
        Request::CancelDelivery {
            topic: 1,
            unique_id: "A1".into(),
            deliver_at_ms: 7,
        },
        Request::SendBack(SendBack {
            group: 2,
            topic: 1,
            queue: QueueId(3),
            offset: QueueOffset(4),
            another: Another::After(8),
            max_retries: 0,
        }),
        Request::Pop(Pop {
            group: 2,
            topic: 1,
            queue: ANY_QUEUE,
            max_messages: 32,
            invisible_ms: 60_000,
            wait_ms: 15_000,
            from: StartFrom::Latest,
            filter: Filter::All,
            order: PopOrder::Queue,
            attempt_id: Some(8),
        }),
        Request::Acknowledge(Acknowledge {
            group: 2,
            topic: 1,
            receipts: vec![POP_RECEIPT],
        }),
        Request::ChangeInvisible(ChangeInvisible {
            group: 2,
            topic: 1,
            receipt: POP_RECEIPT,
            invisible_ms: 5_000,
        }),
        Request::TakeReplies,
        Request::SendReply(SendReply {
            flag: 3,
            sys_flag: 1,
            born_timestamp_ms: 4,
            properties_bytes: 5,
        }),
        Request::ReplyTaken {
            number: 6,
            is_awaited: true,
        },
        Request::Pop(Pop {
            group: 2,
            topic: 1,
            queue: QueueId(3),
            max_messages: 1,
            invisible_ms: 1_000,
            wait_ms: 0,
            from: StartFrom::Earliest,
            filter: Filter::All,
            order: PopOrder::Key,
            attempt_id: None,
        }),
        Request::Pull(Pull {
            topic: 1,
            queue: QueueId(1),
            offset: QueueOffset(11),
            max_messages: 32,
            max_bytes: 65536,
            wait_ms: 15_000,
            filter: Filter::Selector("JMSType = 'car'".into()),
        }),
        Request::Follow(Follow {
            cluster: "c".into(),
            broker: "b".into(),
            broker_id: 1,
            address: "127.0.0.1:10921".into(),
            segment_bytes: 1 << 30,
            log_begin: PhysicalOffset(0),
            log_end: PhysicalOffset(7),
            epochs: Vec::new(),
        }),
        Request::SyncMetadata(SyncMetadata {
            broker_id: 1,
            offsets: vec![GroupOffset {
                group: "g".into(),
                topic: "t".into(),
                queue: QueueId(1),
                offset: None,
            }],
        }),
        Request::Admin(AdminRequest::PromoteBroker { force: true }),
    ]
}
