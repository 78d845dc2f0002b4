//! Frames that no honest client sends: the wire's golden frames of every request, bent in every way.

use bytes::BytesMut;
use castmq_client::model::{QueueId, QueueOffset};
use castmq_client::raw::request::{Filter, Pull, Subscribe};
use castmq_client::raw::{ClientHeader, Request, Role};
use castmq_protocol::native::frame::encode_frame;
use castmq_protocol::native::{Hello, PREFACE, VERSION};

use super::attack::Bent;

const GOLDEN: &str = include_str!("../../protocol/tests/golden/native.txt");

/// Bytes that a connection may begin with instead of the preface.
const WRONG_PREFACES: [&[u8]; 5] = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x00\x00\x00\x10\x00\x00\x00\x0c{\"code\":105}",
    b"CMQ2",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
];

/// Valid frames of every kind of request.
#[derive(Debug)]
pub struct Stock(Vec<Vec<u8>>);

impl Default for Stock {
    fn default() -> Self {
        let requests = GOLDEN.lines().filter(|line| line.starts_with("request "));
        let mut frames: Vec<_> = requests
            .map(|line| unhex(line.rsplit(' ').next().unwrap_or_default()))
            .collect();
        assert!(frames.len() > 30, "the golden file has all requests");
        frames.push(frame(Request::Subscribe(Subscribe {
            subscription: 1,
            group: 2,
            topic: 1,
            queue: QueueId(1),
            offset: QueueOffset(0),
            filter: Filter::All,
            credit_messages: 1000,
            credit_bytes: 1 << 20,
        })));
        frames.push(frame(Request::Pull(Pull {
            topic: 1,
            queue: QueueId(2),
            offset: QueueOffset(0),
            max_messages: 1000,
            max_bytes: 1 << 20,
            wait_ms: 1000,
            filter: Filter::All,
        })));
        Self(frames)
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a digit") as u8;
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// A frame with its length.
pub fn frame(request: Request) -> Vec<u8> {
    let header = ClientHeader {
        correlation: 1,
        request,
    };
    let mut out = BytesMut::new();
    encode_frame(&header, &[], &mut out);
    out.to_vec()
}

/// Preface and hello.
pub fn opening(role: Role) -> Vec<u8> {
    opening_as("hostile", role)
}

/// How the connection of a client with this id begins.
pub fn opening_as(client_id: &str, role: Role) -> Vec<u8> {
    let hello = Request::Hello(Hello {
        version: VERSION,
        role,
        client_id: client_id.to_owned(),
        software: "hostile".to_owned(),
        credentials: None,
    });
    [&PREFACE[..], &frame(hello)].concat()
}

pub fn any_role() -> Role {
    let roles = [Role::Producer, Role::Consumer, Role::Admin, Role::Broker];
    roles[fastrand::usize(..roles.len())]
}

impl Stock {
    fn any(&self) -> &[u8] {
        &self.0[fastrand::usize(..self.0.len())]
    }
}

impl Bent for Stock {
    /// How a connection begins: mostly well.
    fn any_opening(&self) -> Vec<u8> {
        match fastrand::u8(..16) {
            0 => WRONG_PREFACES[fastrand::usize(..WRONG_PREFACES.len())].to_vec(),
            1 => {
                let mut bytes = opening(any_role());
                flip(&mut bytes);
                bytes
            }
            2 => [&PREFACE[..], self.any()].concat(),
            3 => opening(any_role()),
            _ => {
                // Names first, so that what comes is understood as far as possible.
                let names = self.0.iter().skip(2).take(2).flatten().copied();
                opening(any_role()).into_iter().chain(names).collect()
            }
        }
    }

    /// One frame, bent in one way; one in eight is left as it is, and may have the wrong role.
    fn any_frame(&self) -> Vec<u8> {
        let mut bytes = self.any().to_vec();
        match fastrand::u8(..8) {
            0 => {}
            1 | 2 => flip(&mut bytes),
            3 => bytes.truncate(fastrand::usize(..bytes.len())),
            4 => {
                let length = u32::try_from(bytes.len()).unwrap_or_default();
                let lies = [
                    0,
                    1,
                    7,
                    length - 5,
                    length - 3,
                    length + 1,
                    16 << 20,
                    (16 << 20) + 1,
                    u32::MAX,
                ];
                let lie = lies[fastrand::usize(..lies.len())];
                bytes[..4].copy_from_slice(&lie.to_le_bytes());
            }
            5 => {
                // Where a length within the header may be.
                let at = fastrand::usize(4..bytes.len().max(13) - 8);
                let lies = [u64::MAX, 1 << 40, 1 << 32, 1 << 20, 4096, 300];
                let lie = lies[fastrand::usize(..lies.len())].to_le_bytes();
                let end = (at + 8).min(bytes.len());
                bytes[at..end].copy_from_slice(&lie[..end - at]);
            }
            6 => {
                let other = self.any();
                let head = fastrand::usize(4..=bytes.len());
                let tail = fastrand::usize(4..=other.len());
                bytes.truncate(head);
                bytes.extend_from_slice(&other[tail..]);
                let length = u32::try_from(bytes.len() - 4).unwrap_or_default();
                bytes[..4].copy_from_slice(&length.to_le_bytes());
            }
            _ => {
                let random = std::iter::repeat_with(|| fastrand::u8(..));
                bytes.extend(random.take(fastrand::usize(..200)));
                let length = u32::try_from(bytes.len() - 4).unwrap_or_default();
                bytes[..4].copy_from_slice(&length.to_le_bytes());
            }
        }
        bytes
    }
}

fn flip(bytes: &mut [u8]) {
    for _ in 0..fastrand::usize(1..8) {
        let at = fastrand::usize(..bytes.len());
        bytes[at] ^= 1 << fastrand::u8(..8);
    }
}
