//! The bytes of frames that this side sends, as they have been since it first sent them.

use bytes::BytesMut;
use castmq_protocol::remoting::codes::{request_code, response_code};
use castmq_protocol::remoting::headers::membership::{HeartbeatResponse, NotifyConsumersChanged};
use castmq_protocol::remoting::headers::offsets::OffsetResponse;
use castmq_protocol::remoting::headers::pop::PopMessageResponse;
use castmq_protocol::remoting::headers::pull::PullMessageResponse;
use castmq_protocol::remoting::headers::send::SendMessageResponse;
use castmq_protocol::remoting::headers::transaction::CheckTransaction;
use castmq_protocol::remoting::{
    Head, Serialization, WriteFields, begin_frame, finish_frame, put_frame,
};

use super::{BOTH, hex, only_frame};

const GOLDEN: &str = include_str!("../golden/remoting.txt");

struct Sent {
    name: &'static str,
    json: BytesMut,
    binary: BytesMut,
}

impl Sent {
    fn new(name: &'static str, head: Head<'_>, fields: &impl WriteFields, body: &[u8]) -> Self {
        let [json, binary] = BOTH.map(|serialization| {
            let head = Head {
                serialization,
                ..head
            };
            let mut out = BytesMut::new();
            put_frame(&head, fields, body, &mut out);
            out
        });
        Self { name, json, binary }
    }
}

const SEND_RESPONSE: SendMessageResponse<'static> = SendMessageResponse {
    message_id: "C0A809E600002A9F0000000000001234",
    queue: 3,
    queue_offset: 77,
    transaction_id: Some("7F0000010A2C18B4AAC2000000000001"),
    batch_unique_id: None,
    recall_handle: None,
    region: Some("DefaultRegion"),
    trace_on: Some(true),
};

const PULL_RESPONSE: PullMessageResponse = PullMessageResponse {
    suggested_broker_id: 0,
    next_offset: 33,
    min_offset: 0,
    max_offset: 100,
    offset_delta: Some(0),
    topic_sys_flag: Some(0),
    group_sys_flag: Some(0),
    forbidden_type: None,
};

const POP_RESPONSE: PopMessageResponse<'static> = PopMessageResponse {
    popped_ms: 1_700_000_000_000,
    invisible_ms: 60_000,
    revive_queue: 3,
    rest: 5,
    start_offsets: Some("0 0 100"),
    message_offsets: Some("0 0 100,101"),
    order_counts: None,
};

fn frames() -> Vec<Sent> {
    let response = |code| Head::response(code, 7, Serialization::Json);
    let success = response(response_code::SUCCESS);
    let unsupported = response(response_code::REQUEST_CODE_NOT_SUPPORTED)
        .with_remark(" request type 9 not supported");
    let heartbeat = HeartbeatResponse {
        knows_fingerprints: Some(true),
        subscriptions_wanted: None,
    };
    let check = CheckTransaction {
        topic: Some("T"),
        half_queue_offset: 5,
        physical_offset: 4096,
        message_id: Some("7F0000010A2C18B4AAC2000000000001"),
        transaction_id: Some("7F0000010A2C18B4AAC2000000000001"),
        offset_message_id: Some("C0A809E600002A9F0000000000001000"),
        broker_name: Some("broker-a"),
    };
    let pull_found = success.with_remark("FOUND");
    let notify = Head::one_way(request_code::NOTIFY_CONSUMER_IDS_CHANGED, 9);
    let check_head = Head::one_way(request_code::CHECK_TRANSACTION_STATE, -1);
    vec![
        Sent::new("success", success, &(), b""),
        Sent::new("unsupported", unsupported, &(), b""),
        Sent::new("send", success, &SEND_RESPONSE, b""),
        Sent::new("pull", pull_found, &PULL_RESPONSE, b"records"),
        Sent::new("pop", pull_found, &POP_RESPONSE, b"records"),
        Sent::new("offset", success, &OffsetResponse { offset: 42 }, b""),
        Sent::new("heartbeat", success, &heartbeat, b""),
        Sent::new(
            "notify",
            notify,
            &NotifyConsumersChanged { group: "G" },
            b"",
        ),
        Sent::new("check_transaction", check_head, &check, b"record"),
    ]
}

fn golden_lines() -> String {
    let line = |sent: Sent| {
        let json = only_frame(&sent.json).header;
        format!(
            "{} json {}\n{} binary {}\n",
            sent.name,
            std::str::from_utf8(json).unwrap(),
            sent.name,
            hex(&sent.binary)
        )
    };
    frames().into_iter().map(line).collect()
}

/// Lines may be added to the golden file, never changed: `CASTMQ_WRITE_GOLDEN=1 cargo test -p castmq-protocol`
/// writes it anew, and the review of the change sees what moved.
#[test]
fn frames_are_byte_for_byte_what_they_were() {
    let now = golden_lines();
    if std::env::var_os("CASTMQ_WRITE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/remoting.txt");
        std::fs::write(path, now).unwrap();
        return;
    }
    assert_eq!(now.lines().count(), GOLDEN.lines().count());
    for (now, golden) in now.lines().zip(GOLDEN.lines()) {
        assert_eq!(now, golden);
    }
}

#[test]
fn a_binary_response_is_byte_for_byte_rocketmqs() {
    let head = Head::response(response_code::SUCCESS, 7, Serialization::Binary).with_remark("ok");
    let mut out = BytesMut::new();
    put_frame(&head, &OffsetResponse { offset: 42 }, b"body", &mut out);
    let mut header = Vec::new();
    header.extend(0_i16.to_be_bytes());
    header.push(0);
    header.extend(479_i16.to_be_bytes());
    header.extend(7_i32.to_be_bytes());
    header.extend(1_i32.to_be_bytes());
    header.extend(2_i32.to_be_bytes());
    header.extend(b"ok");
    header.extend(14_i32.to_be_bytes());
    header.extend(6_i16.to_be_bytes());
    header.extend(b"offset");
    header.extend(2_i32.to_be_bytes());
    header.extend(b"42");
    let mut expected = (4 + header.len() as i32 + 4).to_be_bytes().to_vec();
    expected.extend((1 << 24 | header.len() as i32).to_be_bytes());
    expected.extend(header);
    expected.extend(b"body");
    assert_eq!(out, expected);
}

#[test]
fn a_frame_whose_body_is_written_behind_it_is_finished_afterwards() {
    let head = Head::response(response_code::SUCCESS, 7, Serialization::Json);
    let mut early = BytesMut::from(&b"before"[..]);
    put_frame(&head, &(), b"body", &mut early);
    let mut late = BytesMut::from(&b"before"[..]);
    let start = begin_frame(&head, &(), 0, &mut late);
    late.extend_from_slice(b"body");
    finish_frame(start, &mut late);
    assert_eq!(early, late);
}

#[test]
fn a_code_beyond_sixteen_bits_is_written_as_json() {
    let head = Head {
        serialization: Serialization::Binary,
        ..Head::request(request_code::POP_MESSAGE, 1)
    };
    let mut out = BytesMut::new();
    put_frame(&head, &(), b"", &mut out);
    assert_eq!(only_frame(&out).serialization, Serialization::Json);
}
