//! What RocketMQ's headers cost: decoding those of requests, encoding those of responses. Medians of rounds on one thread.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use castmq_protocol::remoting::headers::pull::{PullMessage, PullMessageResponse};
use castmq_protocol::remoting::headers::send::{SendMessage, SendMessageResponse};
use castmq_protocol::remoting::template::{
    LastSent, SendTemplate, Sent, SentTemplate, VaryingProperties,
};
use castmq_protocol::remoting::{
    Command, Frames, Head, ReadFields, Serialization, WriteFields, put_frame, request_code,
};

const ROUNDS: usize = 25;
const PASSES: usize = 50_000;

fn measure(what: &str, mut run: impl FnMut()) {
    let mut times: Vec<Duration> = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..PASSES {
            run();
        }
        times.push(start.elapsed());
    }
    times.sort();
    let nanos = times[0].as_nanos() as f64 / PASSES as f64;
    println!("{what}: {nanos:.0} ns");
}

/// A request as a Java producer sends it.
const SEND: SendMessage<'static> = SendMessage {
    producer_group: "order-service-producer",
    topic: "orders",
    default_topic: "TBW102",
    default_topic_queues: 4,
    queue: 3,
    sys_flag: 0,
    born_timestamp_ms: 1_700_000_000_000,
    flag: 0,
    properties: Some(
        "KEYS\u{1}order-1\u{2}UNIQ_KEY\u{1}7F0000010A2C18B4AAC2000000000001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}a\u{2}",
    ),
    reconsume_times: Some(0),
    unit_mode: false,
    batch: false,
    max_reconsume_times: None,
    broker_name: Some("broker-a"),
};

const PULL: PullMessage<'static> = PullMessage {
    group: "order-service",
    topic: "orders",
    queue: 3,
    offset: 123_456,
    max_messages: 32,
    sys_flag: 3,
    commit_offset: 123_400,
    suspend_timeout_ms: 15_000,
    subscription: None,
    subscription_version: 1_700_000_000_000,
    expression_type: Some("TAG"),
    max_bytes: Some(262_144),
    request_source: None,
    proxied_client_id: None,
    broker_name: Some("broker-a"),
};

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
    next_offset: 123_488,
    min_offset: 0,
    max_offset: 200_000,
    offset_delta: Some(0),
    topic_sys_flag: Some(0),
    group_sys_flag: Some(0),
    forbidden_type: None,
};

fn request(code: i32, serialization: Serialization, fields: &impl WriteFields) -> BytesMut {
    let head = Head {
        serialization,
        ..Head::request(code, 1_000)
    };
    let mut out = BytesMut::new();
    put_frame(&head, fields, &[b'x'; 1024], &mut out);
    out
}

fn main() {
    for form in [Serialization::Json, Serialization::Binary] {
        let code = request_code::SEND_MESSAGE_V2;
        let send = request(code, form, &SEND.for_code(code));
        measure(&format!("{form:?}, decode send"), || {
            let frame = Frames::new(black_box(&send), 1 << 24).next();
            let command = Command::decode(&frame.unwrap().unwrap()).unwrap();
            black_box(SendMessage::from_fields(code, &command.fields).unwrap());
        });
        let frame = Frames::new(&send, 1 << 24).next().unwrap().unwrap();
        let command = Command::decode(&frame).unwrap();
        let mut scratch = Vec::new();
        for keeps_properties in [false, true] {
            let template = SendTemplate::of(&frame, &command, keeps_properties).unwrap();
            let what = if keeps_properties {
                ", same properties"
            } else {
                ""
            };
            measure(&format!("{form:?}, read send by template{what}"), || {
                let frame = Frames::new(black_box(&send), 1 << 24).next();
                let varying = template.read(&frame.unwrap().unwrap()).unwrap();
                if let Some(VaryingProperties::Other(text)) = varying.properties {
                    black_box(text.read(&mut scratch).unwrap());
                }
                black_box(varying);
            });
        }
        let pull = request(request_code::PULL_MESSAGE, form, &PULL);
        measure(&format!("{form:?}, decode pull"), || {
            let frame = Frames::new(black_box(&pull), 1 << 24).next();
            let command = Command::decode(&frame.unwrap().unwrap()).unwrap();
            black_box(PullMessage::from_fields(&command.fields).unwrap());
        });
        let head = Head::response(0, 1_000, form);
        let mut out = BytesMut::with_capacity(4096);
        measure(&format!("{form:?}, encode send response"), || {
            out.clear();
            put_frame(black_box(&head), &SEND_RESPONSE, b"", &mut out);
        });
        let template = SentTemplate::new(form, "DefaultRegion");
        let mut last = LastSent::default();
        let sent = Sent {
            opaque: 1_000,
            message_id: SEND_RESPONSE.message_id.parse().unwrap(),
            queue: 3,
            queue_offset: 77,
            unique_id: b"7F0000010A2C18B4AAC2000000000001",
        };
        measure(
            &format!("{form:?}, write send response by template"),
            || {
                out.clear();
                template.put(black_box(&sent), &mut last, &mut out);
            },
        );
        measure(&format!("{form:?}, encode pull response"), || {
            out.clear();
            put_frame(black_box(&head), &PULL_RESPONSE, b"", &mut out);
        });
    }
}
