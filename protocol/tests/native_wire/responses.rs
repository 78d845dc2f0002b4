//! Responses of every kind.

use castmq_protocol::model::{GroupConfig, PhysicalOffset, QueueId, QueueOffset, TopicConfig};
use castmq_protocol::native::admin::{
    AdminResponse, BrokerDetails, GroupDetails, MemberDetails, QueueDetails, QueueProgress,
    ReplicationDetails, SlaveDetails, TopicDetails,
};
use castmq_protocol::native::replication::{
    Followed, GroupOffset, LogEpoch, MetadataChange, MetadataChanges, TimerMark,
};
use castmq_protocol::native::request::GroupMode;
use castmq_protocol::native::response::{
    Acknowledged, AssignedQueue, AssignmentChanged, BatchSent, CheckTransaction, Deliver, Joined,
    Popped, PullStatus, Pulled, PushedReply, QueueRange, RefusedReceipt, SendStatus, Sent,
};
use castmq_protocol::native::route::{
    BrokerQueues, BrokerSet, DataVersion, Registered, TopicRoute,
};
use castmq_protocol::native::{ErrorCode, Failure, Limits, Response, VERSION, Welcome};

use super::frames::{POP_RECEIPT, queue};

pub(crate) fn responses() -> Vec<Response> {
    let range = QueueRange {
        offset: QueueOffset(5),
        min: QueueOffset(1),
        max: QueueOffset(9),
    };
    vec![
        Response::Failed(Failure::unknown(ErrorCode::OutcomeUnknown, "m")),
        Response::Welcome(Welcome {
            version: VERSION,
            software: "castmq 0.1.0".into(),
            cluster: "DefaultCluster".into(),
            broker: "broker-a".into(),
            broker_id: 0,
            store_host: "127.0.0.1:10911".into(),
            limits: Limits {
                max_frame_bytes: 1 << 24,
                max_message_bytes: 1 << 22,
                max_properties_bytes: 32767,
                window_bytes: 1 << 25,
                max_aliases: 65536,
                idle_timeout_ms: 120_000,
            },
        }),
        Response::Done,
        Response::TopicAnnounced {
            alias: 1,
            write_queues: 4,
            read_queues: 4,
        },
        Response::GroupAnnounced { alias: 2 },
        Response::Sent(Sent {
            status: SendStatus::Stored,
            queue: QueueId(1),
            queue_offset: QueueOffset(2),
            physical_offset: PhysicalOffset(3),
        }),
        Response::BatchSent(BatchSent {
            status: SendStatus::ReplicationTimeout,
            queue: QueueId(1),
            first_queue_offset: QueueOffset(2),
            first_physical_offset: PhysicalOffset(3),
            messages: 100,
        }),
        Response::Subscribed(range),
        Response::Pulled(Pulled {
            status: PullStatus::OffsetTooLarge,
            next_offset: QueueOffset(1),
            min_offset: QueueOffset(2),
            max_offset: QueueOffset(3),
            messages: 4,
            ask_next: 1,
        }),
        Response::Offset(Some(QueueOffset(6))),
        Response::Range(range),
        Response::Joined(Joined {
            group: 2,
            lease_ms: 30_000,
        }),
        Response::Route(TopicRoute {
            brokers: vec![BrokerSet {
                cluster: "c".into(),
                name: "b".into(),
                addresses: vec![(0, "127.0.0.1:10911".into())],
            }],
            queues: vec![BrokerQueues {
                broker: "b".into(),
                read_queues: 4,
                write_queues: 4,
                permission: 6,
                is_traced: false,
            }],
        }),
        Response::Registered(Registered {
            version: DataVersion::default(),
            master_address: "m".into(),
            master_ha_address: String::new(),
            master_configured_id: 1,
            master_epoch: 2,
            members: vec![(0, "m".into()), (1, "s".into())],
        }),
        Response::Admin(AdminResponse::Names(vec!["a".into()])),
        Response::Admin(AdminResponse::Topic(TopicDetails {
            config: TopicConfig::with_queues(1),
            queues: vec![QueueDetails {
                queue: QueueId(0),
                min_offset: QueueOffset(0),
                max_offset: QueueOffset(2),
                last_store_timestamp_ms: 3,
            }],
        })),
        Response::Admin(AdminResponse::Group(GroupDetails {
            config: GroupConfig::default(),
            mode: Some(GroupMode::Clustering),
            members: vec![MemberDetails {
                client_id: "c".into(),
                address: "a".into(),
                queues: vec![queue("t", 0)],
            }],
            progress: vec![QueueProgress {
                queue: queue("t", 0),
                committed: Some(QueueOffset(1)),
                min_offset: QueueOffset(0),
                max_offset: QueueOffset(2),
                owner: Some("c".into()),
            }],
        })),
        Response::Admin(AdminResponse::Offsets(vec![(
            queue("t", 1),
            QueueOffset(4),
        )])),
        Response::Admin(AdminResponse::Broker(Box::new(BrokerDetails {
            cluster: "c".into(),
            messages_in_per_second: 1.5,
            replication: ReplicationDetails {
                role: "sync_master".into(),
                slaves: vec![SlaveDetails {
                    broker_id: 1,
                    is_in_step: true,
                    ..SlaveDetails::default()
                }],
                ..ReplicationDetails::default()
            },
            ..BrokerDetails::default()
        }))),
        Response::Admin(AdminResponse::Messages { count: 2 }),
        Response::Admin(AdminResponse::Json("{}".into())),
        Response::Admin(AdminResponse::Connections(vec![])),
        Response::Deliver(Deliver {
            subscription: 3,
            messages: 2,
            next_offset: QueueOffset(12),
            max_offset: QueueOffset(20),
            expires: Some(60_000),
            by_priority: true,
        }),
        Response::AssignmentChanged(AssignmentChanged {
            group: 2,
            generation: 3,
            epoch: 4,
            assigned: vec![AssignedQueue {
                queue: queue("t", 0),
                offset: QueueOffset(5),
            }],
            revoked: vec![queue("t", 1)],
        }),
        Response::Closing {
            reason: Failure::safe(ErrorCode::ShuttingDown, "bye"),
        },
        Response::CheckTransaction(CheckTransaction {
            half: QueueOffset(5),
            place: PhysicalOffset(6),
            checks: 2,
        }),
        Response::Popped(Popped {
            receipts: vec![POP_RECEIPT],
        }),
        Response::Acknowledged(Acknowledged {
            refused: vec![RefusedReceipt {
                place: 1,
                failure: Failure::never(ErrorCode::ReceiptExpired, "late"),
            }],
        }),
        Response::InvisibleChanged {
            receipt: POP_RECEIPT,
        },
        Response::Reply(PushedReply { number: 6 }),
        Response::Followed(Followed {
            from: PhysicalOffset(9),
            epochs: vec![LogEpoch {
                epoch: 1,
                run: 2,
                start: PhysicalOffset(0),
            }],
            is_sync: true,
        }),
        Response::Metadata(MetadataChanges {
            changes: vec![
                MetadataChange::Begin,
                MetadataChange::Topic {
                    name: "t".into(),
                    config: TopicConfig::with_queues(2),
                },
                MetadataChange::TopicDeleted {
                    name: "u".into(),
                    below: PhysicalOffset(5),
                    next: vec![(QueueId(0), QueueOffset(6))],
                    is_gone: true,
                },
                MetadataChange::Needed(PhysicalOffset(3)),
                MetadataChange::Group {
                    name: "g".into(),
                    config: GroupConfig::default(),
                },
                MetadataChange::GroupGone { name: "h".into() },
                MetadataChange::Offset(GroupOffset {
                    group: "g".into(),
                    topic: "t".into(),
                    queue: QueueId(1),
                    offset: Some(QueueOffset(7)),
                }),
                MetadataChange::Timer(TimerMark {
                    out_to_ms: 8,
                    entered: QueueOffset(4),
                    log: PhysicalOffset(9),
                }),
                MetadataChange::Complete,
            ],
            more: true,
        }),
        Response::Admin(AdminResponse::Promoted { epoch: 2 }),
    ]
}
