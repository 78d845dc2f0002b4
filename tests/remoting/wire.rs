//! A connection on RocketMQ's wire, on which anything can be said.

use bytes::{Bytes, BytesMut};
use castmq_protocol::remoting::bodies::heartbeat::{
    ConsumeFrom, Consumer, Heartbeat, Producer, Subscription,
};
use castmq_protocol::remoting::{
    Command, Fields, Frames, Head, Serialization, WriteFields, codes::version, json, put_frame,
    request_code,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came: an answer, or something that the broker says by itself.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) code: i32,
    pub(crate) remark: String,
    pub(crate) opaque: i32,
    pub(crate) fields: Fields<'static>,
    pub(crate) body: Bytes,
    is_response: bool,
}

impl Came {
    /// A field that is there.
    pub(crate) fn field(&self, name: &str) -> &str {
        let field = self.fields.get(name);
        field.unwrap_or_else(|| panic!("no field {name} in {self:?}"))
    }

    /// A body that can be read.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self) -> T {
        json::from_slice(&self.body).expect("a body")
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: TcpStream,
    buffer: BytesMut,
    opaque: i32,
    /// What the client says it is.
    pub(crate) version: i32,
    /// What came while something else was waited for.
    said: Vec<Came>,
}

impl Wire {
    pub(crate) async fn open(address: &str) -> Self {
        Self {
            socket: TcpStream::connect(address).await.expect("a connection"),
            buffer: BytesMut::new(),
            opaque: 0,
            version: version::OURS,
            said: Vec::new(),
        }
    }

    /// Says bytes, to who may be gone.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).await.is_ok()
    }

    /// Sends a request; its number.
    pub(crate) async fn send(&mut self, code: i32, fields: &impl WriteFields, body: &[u8]) -> i32 {
        self.opaque += 1;
        let mut frame = BytesMut::new();
        let head = Head {
            version: self.version,
            ..Head::request(code, self.opaque)
        };
        put_frame(&head, fields, body, &mut frame);
        assert!(self.say(&frame).await, "the broker is there");
        self.opaque
    }

    /// Sends a request, and waits for its answer.
    pub(crate) async fn ask(&mut self, code: i32, fields: &impl WriteFields, body: &[u8]) -> Came {
        let opaque = self.send(code, fields, body).await;
        self.answer(opaque).await
    }

    /// The answer to a request.
    pub(crate) async fn answer(&mut self, opaque: i32) -> Came {
        loop {
            let is_wanted = |came: &Came| came.is_response && came.opaque == opaque;
            if let Some(place) = self.said.iter().position(is_wanted) {
                return self.said.remove(place);
            }
            let came = self.next().await.expect("the connection holds");
            self.said.push(came);
        }
    }

    /// The next thing with this code that the broker says by itself.
    pub(crate) async fn told(&mut self, code: i32) -> Came {
        loop {
            let is_wanted = |came: &Came| !came.is_response && came.code == code;
            if let Some(place) = self.said.iter().position(is_wanted) {
                return self.said.remove(place);
            }
            let came = self.next().await.expect("the connection holds");
            self.said.push(came);
        }
    }

    /// Answers something that the broker asked.
    pub(crate) async fn reply(&mut self, asked: &Came, code: i32, body: &[u8]) {
        let head = Head::response(code, asked.opaque, Serialization::Json);
        let mut frame = BytesMut::new();
        put_frame(&head, &(), body, &mut frame);
        assert!(self.say(&frame).await, "the broker is there");
    }

    /// The next frame; `None` when the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Came> {
        loop {
            let mut frames = Frames::new(&self.buffer, usize::MAX);
            if let Some(frame) = frames.next() {
                let frame = frame.expect("a frame");
                let command = Command::decode(&frame).expect("a header").into_owned();
                let came = Came {
                    code: command.code,
                    remark: command.remark.as_deref().unwrap_or_default().to_owned(),
                    opaque: command.opaque,
                    is_response: command.is_response(),
                    fields: command.fields,
                    body: Bytes::copy_from_slice(frame.body),
                };
                let bytes = frames.consumed();
                let _ = self.buffer.split_to(bytes);
                return Some(came);
            }
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(1..) => {}
                _ => return None,
            }
        }
    }

    /// Says that a client is there, which produces in one group, and consumes in one.
    pub(crate) async fn heartbeat(&mut self, client_id: &str, group: &str, topic: &str) -> Came {
        self.heartbeat_of(client_id, group, Some((topic, 1))).await
    }

    /// The same with the version of what it subscribes to, or without a word of that.
    pub(crate) async fn heartbeat_of(
        &mut self,
        client_id: &str,
        group: &str,
        subscribes: Option<(&str, i64)>,
    ) -> Came {
        let subscription = subscribes.map(|(topic, version)| Subscription {
            topic: topic.to_owned(),
            expression: "*".to_owned(),
            version,
            ..Subscription::default()
        });
        let heartbeat = Heartbeat {
            client_id: client_id.to_owned(),
            consumers: vec![Consumer {
                group_name: group.to_owned(),
                consume_from_where: ConsumeFrom::First,
                subscriptions: subscription.into_iter().collect(),
                ..Consumer::default()
            }],
            producers: vec![Producer {
                group_name: "producers".to_owned(),
            }],
            without_sub: subscribes.is_none(),
            ..Heartbeat::default()
        };
        let body = json::to_bytes(&heartbeat);
        self.ask(request_code::HEART_BEAT, &(), &body).await
    }
}
