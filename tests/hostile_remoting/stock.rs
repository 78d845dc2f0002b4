//! Frames on RocketMQ's wire that no honest client sends: those of real clients and of RocketMQ's own servers, bent in every way,
//! and headers and bodies that are made to cost as much as can be.

use std::iter::repeat_n;

use castmq_protocol::remoting::{Command, Frames, request_code as code};

const GENUINE: &str = include_str!("../interop/fixtures/genuine/frames.hex");

/// What real clients in other languages sent first.
const CAPTURED: [&str; 5] = [
    include_str!("../../protocol/tests/fixtures/remoting/npm-ali-ons-3.12.0.hex"),
    include_str!("../../protocol/tests/fixtures/remoting/py-native-0.4.4.hex"),
    include_str!("../../protocol/tests/fixtures/remoting/py-native-2.0.0.hex"),
    include_str!("../../protocol/tests/fixtures/remoting/rs-remoting-cons-1.0.0.hex"),
    include_str!("../../protocol/tests/fixtures/remoting/rs-remoting-prod-1.0.0.hex"),
];

/// What these ask is done, for whoever asks: they would take the broker from honest clients.
const OPERATORS: [i32; 5] = [
    code::UPDATE_BROKER_CONFIG,
    code::UPDATE_NAMESRV_CONFIG,
    code::WIPE_WRITE_PERM_OF_BROKER,
    code::REGISTER_BROKER,
    code::UNREGISTER_BROKER,
];

/// Texts that stand where numbers, names and truth values belong.
const WRONG: [&str; 12] = [
    "",
    "-1",
    "2147483648",
    "-9223372036854775808",
    "99999999999999999999999999",
    "1e308",
    "null",
    "../../etc",
    "\u{1}\u{2}",
    "%RETRY%",
    "%RETRY%g+orders",
    "TBW102",
];

/// Valid frames of many kinds of requests and answers, in both forms.
#[derive(Debug)]
pub(crate) struct Stock {
    frames: Vec<Vec<u8>>,
    heartbeats: Vec<Vec<u8>>,
}

impl Default for Stock {
    fn default() -> Self {
        let genuine = GENUINE.lines().filter_map(|line| line.get(2..));
        let captured = CAPTURED.iter().flat_map(|text| text.lines());
        let mut frames: Vec<_> = genuine.chain(captured).filter_map(unhex).collect();
        frames.retain(|frame| !OPERATORS.contains(&code_of(frame)));
        assert!(frames.len() > 250, "{}", frames.len());
        let is_heartbeat = |frame: &&Vec<u8>| code_of(frame) == code::HEART_BEAT;
        let heartbeats: Vec<_> = frames.iter().filter(is_heartbeat).cloned().collect();
        assert!(heartbeats.len() > 3, "{}", heartbeats.len());
        Self { frames, heartbeats }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    bytes
        .collect::<Option<Vec<u8>>>()
        .filter(|bytes| bytes.len() > 8)
}

fn code_of(frame: &[u8]) -> i32 {
    let frame = Frames::new(frame, usize::MAX).next();
    let frame = frame.expect("a frame").expect("a whole one");
    Command::decode(&frame).expect("a header").code
}

fn any<T>(choices: &[T]) -> &T {
    &choices[fastrand::usize(..choices.len())]
}

/// A frame of this form, whose lengths are right.
fn frame(kind: u8, header: &[u8], body: &[u8]) -> Vec<u8> {
    let mark = u32::from(kind) << 24 | (header.len() as u32 & 0x00ff_ffff);
    let length = (4 + header.len() + body.len()) as u32;
    [&length.to_be_bytes(), &mark.to_be_bytes(), header, body].concat()
}

/// The frame's length as it is.
fn right_length(frame: &mut [u8]) {
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
}

fn flip(bytes: &mut [u8]) {
    for _ in 0..fastrand::usize(1..8) {
        let at = fastrand::usize(..bytes.len());
        bytes[at] ^= 1 << fastrand::u8(..8);
    }
}

/// One of the texts in quotes is another.
fn replace_text(frame: &mut Vec<u8>) {
    let quotes: Vec<_> = (8..frame.len()).filter(|at| frame[*at] == b'"').collect();
    if quotes.len() < 2 {
        return;
    }
    let first = fastrand::usize(..quotes.len() - 1);
    let (start, end) = (quotes[first] + 1, quotes[first + 1]);
    let long = "x".repeat(fastrand::usize(1..70_000));
    let text = match fastrand::u8(..16) {
        0 => long.as_str(),
        _ => any(&WRONG),
    };
    let header = u32::from_be_bytes([0, frame[5], frame[6], frame[7]]) as usize;
    frame.splice(start..end, text.bytes());
    if start < 8 + header {
        let header = (header + text.len()).saturating_sub(end - start) as u32;
        frame[5..8].copy_from_slice(&header.to_be_bytes()[1..]);
    }
    right_length(frame);
}

/// A header or a body that is made to cost as much as can be.
fn bomb() -> Vec<u8> {
    let deep: Vec<u8> = repeat_n(*any(b"[{"), 100_000).collect();
    let keys: Vec<u8> = repeat_n(b"{\"a\":".as_slice(), 100_000)
        .flatten()
        .copied()
        .collect();
    let code = *any(&[code::SEND_MESSAGE_V2, code::HEART_BEAT, code::PULL_MESSAGE]);
    let many = || {
        let fields = (0..100_000).map(|number| format!("\"f{number}\":\"\","));
        format!(
            "{{\"code\":{code},\"extFields\":{{{}\"z\":0}}}}",
            fields.collect::<String>()
        )
    };
    let plain = format!("{{\"code\":{code},\"opaque\":1}}").into_bytes();
    let list = |item: &str| {
        let items = vec![item; 100_000].join(",");
        format!("{{\"clientID\":\"bomb\",\"consumerDataSet\":[{items}]}}")
    };
    let consumer = "{\"groupName\":\"bomb\",\"subscriptionDataSet\":[{}]}";
    match fastrand::u8(..9) {
        0 => frame(0, &deep, b""),
        1 => frame(0, &keys, b""),
        2 => frame(0, many().as_bytes(), b""),
        3 => frame(0, &plain, &deep),
        4 => frame(0, &plain, &keys),
        5 => frame(0, &plain, list("{}").as_bytes()),
        6 => frame(0, &plain, list(consumer).as_bytes()),
        // Binary fields, all without a name, or one whose value is said to be longer than everything.
        7 => {
            let fields = vec![0; 6 * 100_000];
            let length = (fields.len() as u32).to_be_bytes();
            let fixed = [0, code as u8, 0, 1, 223, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
            frame(1, &[&fixed[..], &length, &fields].concat(), b"")
        }
        _ => {
            let fixed = [0, code as u8, 0, 1, 223, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
            let lies = [
                0, 0, 0, 12, 0, 1, b'a', 0x7f, 0xff, 0xff, 0xff, b'b', 1, 2, 3, 4,
            ];
            frame(1, &[&fixed[..], &lies].concat(), b"")
        }
    }
}

impl Stock {
    /// How a connection begins: mostly with a heartbeat, so that what comes is understood as far as possible.
    pub(crate) fn opening(&self) -> Vec<u8> {
        match fastrand::u8(..16) {
            0 => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            1 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            2 => b"\x00\x00\x00\x04\xff\xff\xff\xff".to_vec(),
            3 => Vec::new(),
            _ => any(&self.heartbeats).clone(),
        }
    }

    /// One frame, bent in one way; one in ten is left as it is, and one in a thousand is a bomb.
    pub(crate) fn bent(&self) -> Vec<u8> {
        if fastrand::u16(..1_000) == 0 {
            return bomb();
        }
        let mut bytes = any(&self.frames).clone();
        match fastrand::u8(..10) {
            0 => {}
            1 | 2 => flip(&mut bytes[8..]),
            3 => flip(&mut bytes),
            4 => bytes.truncate(fastrand::usize(..bytes.len())),
            5 => {
                let length = bytes.len() as u32;
                let lies = [
                    0,
                    3,
                    4,
                    8,
                    length - 5,
                    length + 1,
                    16 << 20,
                    (16 << 20) + 1,
                    u32::MAX,
                ];
                bytes[..4].copy_from_slice(&any(&lies).to_be_bytes());
            }
            6 => {
                // The header's length, or its form: the other, or none.
                let header = u32::from_be_bytes([0, bytes[5], bytes[6], bytes[7]]);
                let lies = [
                    0,
                    1,
                    header - 1,
                    header + 1,
                    bytes.len() as u32,
                    0x00ff_ffff,
                ];
                bytes[5..8].copy_from_slice(&any(&lies).to_be_bytes()[1..]);
                bytes[4] = *any(&[0, 0, 1, 1, 2, 0xff]);
            }
            7 => {
                let other = any(&self.frames);
                bytes.truncate(fastrand::usize(8..=bytes.len()));
                bytes.extend_from_slice(&other[fastrand::usize(8..=other.len())..]);
                right_length(&mut bytes);
            }
            8 => {
                let random = std::iter::repeat_with(|| fastrand::u8(..));
                bytes.extend(random.take(fastrand::usize(..200)));
                right_length(&mut bytes);
            }
            _ => replace_text(&mut bytes),
        }
        bytes
    }
}
