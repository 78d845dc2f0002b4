//! The native wire: frozen by golden bytes, and safe against anything a socket can bring.

use bytes::{Bytes, BytesMut};
use castmq_protocol::model::{GroupConfig, PhysicalOffset, QueueId, QueueOffset, TopicConfig};
use castmq_protocol::native::admin::{
    AdminRequest, AdminResponse, BrokerDetails, GroupDetails, MemberDetails, QueueDetails,
    QueueProgress, ResetTo, TopicDetails,
};
use castmq_protocol::native::frame::{
    CodecError, Frame, FrameCodec, Frames, LENGTH_BYTES, decode_header, encode_frame,
};
use castmq_protocol::native::hello::Credentials;
use castmq_protocol::native::request::{
    ANY_QUEUE, Acknowledge, Another, ChangeInvisible, EndTransaction, Filter, GroupMode, JoinGroup,
    Pop, PopOrder, PopReceipt, Pull, QueuePosition, Resolution, Send, SendBack, SendBatch,
    SendExtras, SendReply, StartFrom, Subscribe, TopicQueue, TopicSubscription, TraceContext,
    TransactionPhase, send_flags,
};
use castmq_protocol::native::response::{
    Acknowledged, AssignedQueue, AssignmentChanged, BatchSent, CheckTransaction, Deliver, Joined,
    PUSH, Popped, PullStatus, Pulled, PushedReply, QueueRange, RefusedReceipt, SendStatus, Sent,
};
use castmq_protocol::native::route::{
    BrokerQueues, BrokerSet, DataVersion, RegisterBroker, Registered, TopicQueues, TopicRoute,
    TopicsReport,
};
use castmq_protocol::native::{
    ClientHeader, ErrorCode, Failure, FrameError, Hello, Limits, Request, Response, Role,
    ServerHeader, VERSION, Welcome,
};
use proptest::prelude::*;
use tokio_util::codec::{Decoder, Encoder};

const GOLDEN: &str = include_str!("golden/native.txt");

fn queue(topic: &str, queue: u32) -> TopicQueue {
    TopicQueue {
        topic: topic.into(),
        queue: QueueId(queue),
    }
}

fn requests() -> Vec<Request> {
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
        address: "127.0.0.1:10911".into(),
        ha_address: "127.0.0.1:10912".into(),
        expiry_ms: 120_000,
        version,
        topics: TopicsReport::Full(vec![route_topics.clone()]),
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
            topics: TopicsReport::Changes {
                since: version,
                changed: vec![route_topics],
                removed: vec!["old".into()],
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
    ]
}

const POP_RECEIPT: PopReceipt = PopReceipt {
    queue: QueueId(3),
    offset: QueueOffset(4),
    popped_at_ms: 1_700_000_000_000,
    invisible_ms: 60_000,
    attempt: 2,
};

fn responses() -> Vec<Response> {
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
    ]
}

fn client_frames() -> Vec<Frame<ClientHeader>> {
    let header = |(index, request)| ClientHeader {
        correlation: index as u64 + 1,
        request,
    };
    let frame = |header| Frame {
        header,
        payload: Bytes::from_static(b"pay"),
    };
    requests()
        .into_iter()
        .enumerate()
        .map(header)
        .map(frame)
        .collect()
}

fn server_frames() -> Vec<Frame<ServerHeader>> {
    let header = |response| ServerHeader {
        correlation: PUSH,
        response,
    };
    let frame = |header| Frame {
        header,
        payload: Bytes::new(),
    };
    responses().into_iter().map(header).map(frame).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn name(debug: &str) -> &str {
    let end = debug
        .find([' ', '{'])
        .map(|at| debug[..at].rfind('(').map_or(at, |open| at.max(open)))
        .unwrap_or(debug.len());
    debug[..end].trim_end_matches(['(', ' '])
}

fn golden_lines() -> String {
    let mut text = String::new();
    for frame in client_frames() {
        let mut out = BytesMut::new();
        encode_frame(&frame.header, &[&frame.payload], &mut out);
        let request = format!("{:?}", frame.header.request);
        text += &format!("request {} {}\n", name(&request), hex(&out));
    }
    for frame in server_frames() {
        let mut out = BytesMut::new();
        encode_frame(&frame.header, &[&frame.payload], &mut out);
        let response = format!("{:?}", frame.header.response);
        text += &format!("response {} {}\n", name(&response), hex(&out));
    }
    text
}

/// Lines may be added to the golden file, never changed: `CASTMQ_WRITE_GOLDEN=1 cargo test -p castmq-protocol`
/// writes it anew, and the review of the change sees what moved.
#[test]
fn the_wire_is_byte_for_byte_what_it_was() {
    if std::env::var_os("CASTMQ_WRITE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/native.txt");
        std::fs::write(path, golden_lines()).unwrap();
        return;
    }
    let now = golden_lines();
    assert_eq!(now.lines().count(), GOLDEN.lines().count());
    for (now, golden) in now.lines().zip(GOLDEN.lines()) {
        assert_eq!(now, golden);
    }
}

#[test]
fn a_send_header_is_small() {
    let send = client_frames().swap_remove(4);
    let mut out = BytesMut::new();
    encode_frame(&send.header, &[], &mut out);
    assert_eq!(out.len(), 46);
}

#[test]
fn every_frame_decodes_to_what_was_encoded() {
    let mut codec = FrameCodec::<ClientHeader, ClientHeader>::new(1 << 20);
    let mut buffer = BytesMut::new();
    for frame in client_frames() {
        codec.encode(frame, &mut buffer).unwrap();
    }
    for frame in client_frames() {
        assert_eq!(codec.decode(&mut buffer).unwrap(), Some(frame));
    }
    let mut codec = FrameCodec::<ServerHeader, ServerHeader>::new(1 << 20);
    for frame in server_frames() {
        codec.encode(frame, &mut buffer).unwrap();
    }
    for frame in server_frames() {
        assert_eq!(codec.decode(&mut buffer).unwrap(), Some(frame));
    }
    assert!(buffer.is_empty());
}

#[test]
fn all_complete_frames_of_a_buffer_are_found_and_no_more() {
    let mut buffer = BytesMut::new();
    for frame in client_frames() {
        encode_frame(&frame.header, &[&frame.payload], &mut buffer);
    }
    let whole = buffer.len();
    buffer.truncate(whole - 1);
    let mut frames = Frames::new(&buffer, 1 << 20);
    assert_eq!(frames.by_ref().count(), client_frames().len() - 1);
    assert!(frames.consumed() < whole - 1);
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_arrives() {
    let mut buffer = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
    let refused = Frames::new(&buffer, 100).next().unwrap().unwrap_err();
    assert_eq!(
        refused,
        FrameError::TooLong {
            length: u32::MAX as usize,
            limit: 100
        }
    );
    let mut codec = FrameCodec::<ClientHeader, ClientHeader>::new(100);
    assert!(matches!(
        codec.decode(&mut buffer),
        Err(CodecError::Frame(FrameError::TooLong { .. }))
    ));
}

#[test]
fn lengths_that_lie_inside_a_header_allocate_nothing() {
    // AnnounceTopic with a name that claims 2^40 bytes.
    let mut frame = Vec::new();
    frame.extend(1_u64.to_le_bytes());
    frame.extend(2_u32.to_le_bytes());
    frame.extend(1_u32.to_le_bytes());
    frame.extend((1_u64 << 40).to_le_bytes());
    assert!(matches!(
        decode_header::<ClientHeader>(&frame),
        Err(FrameError::Header { .. })
    ));
    // CommitOffsets with 2^32 entries.
    let mut frame = Vec::new();
    frame.extend(1_u64.to_le_bytes());
    frame.extend(10_u32.to_le_bytes());
    frame.extend(1_u32.to_le_bytes());
    frame.extend((1_u64 << 32).to_le_bytes());
    assert!(decode_header::<ClientHeader>(&frame).is_err());
}

#[test]
fn an_unknown_request_is_an_error() {
    let mut frame = Vec::new();
    frame.extend(1_u64.to_le_bytes());
    frame.extend(9999_u32.to_le_bytes());
    assert!(decode_header::<ClientHeader>(&frame).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn arbitrary_headers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_header::<ClientHeader>(&bytes);
        let _ = decode_header::<ServerHeader>(&bytes);
    }

    #[test]
    fn damaged_headers_never_panic(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let frames = client_frames();
        let mut out = BytesMut::new();
        let frame = which.get(&frames);
        encode_frame(&frame.header, &[&frame.payload], &mut out);
        let mut header = out.split_off(LENGTH_BYTES);
        let position = at.index(header.len());
        header[position] = byte;
        header.truncate(cut.index(header.len()) + 1);
        let _ = decode_header::<ClientHeader>(&header);
    }

    #[test]
    fn frames_survive_any_fragmentation(cuts in prop::collection::vec(1_usize..40, 1..200)) {
        let mut whole = BytesMut::new();
        for frame in client_frames() {
            encode_frame(&frame.header, &[&frame.payload], &mut whole);
        }
        let mut codec = FrameCodec::<ClientHeader, ClientHeader>::new(1 << 20);
        let mut buffer = BytesMut::new();
        let mut decoded = Vec::new();
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let piece = whole.split_to(cut.min(whole.len()));
            buffer.extend_from_slice(&piece);
            while let Some(frame) = codec.decode(&mut buffer).unwrap() {
                decoded.push(frame);
            }
        }
        prop_assert_eq!(decoded, client_frames());
    }
}
