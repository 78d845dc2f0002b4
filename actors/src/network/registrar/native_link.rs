//! A broker's connection to a name server of CastMQ.

use std::task::{Context, Poll};

use bytes::BytesMut;
use castmq_protocol::native::frame::{CodecError, Frame, FrameCodec, PREFACE, encode_frame};
use castmq_protocol::native::response::PUSH;
use castmq_protocol::native::route::{RegisterBroker, Registered, TopicRoute};
use castmq_protocol::native::{
    ClientHeader, ErrorCode, Hello, Request, Response, Role, ServerHeader, VERSION,
};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tokio_util::codec::Framed;

use super::link::{ANSWER_WITHIN, Goodbye, RegisterError};
use super::parts::parts;
use crate::broker::details::SOFTWARE;
use crate::network::socket::Stream;

/// Longest answer of a name server.
const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// Longest part of a registration, where the name server takes that: it keeps nobody else waiting for long.
const MAX_PART_BYTES: usize = 1024 * 1024;

type Wire = Framed<Stream, FrameCodec<ServerHeader, ClientHeader>>;

/// See the module. Kept open between registrations: its end tells the name server that the broker is gone.
pub(super) struct NativeLink {
    name_server: String,
    wire: Wire,
    max_part_bytes: usize,
}

impl NativeLink {
    /// Says hello.
    pub(super) async fn open(
        name_server: &str,
        mut socket: Stream,
        client_id: String,
    ) -> Result<Self, RegisterError> {
        let name_server = name_server.to_owned();
        match timeout(ANSWER_WITHIN, socket.write_all(&PREFACE)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(RegisterError::Lost(name_server, error)),
            Err(_) => return Err(RegisterError::Late(name_server)),
        }
        let mut link = Self {
            name_server,
            wire: Framed::new(socket, FrameCodec::new(MAX_FRAME_BYTES)),
            max_part_bytes: MAX_PART_BYTES,
        };
        let hello = Request::Hello(Hello {
            version: VERSION,
            role: Role::Broker,
            client_id,
            software: SOFTWARE.to_owned(),
            credentials: None,
        });
        match link.ask(hello).await? {
            Response::Welcome(welcome) => {
                let takes = welcome.limits.max_frame_bytes as usize;
                link.max_part_bytes = takes.min(MAX_PART_BYTES);
                Ok(link)
            }
            other => Err(link.not_expected(other)),
        }
    }

    /// Registers, in as many parts as it takes.
    pub(super) async fn register(
        &mut self,
        register: RegisterBroker,
    ) -> Result<Registered, RegisterError> {
        let mut answer = Response::Done;
        for part in parts(register, self.max_part_bytes) {
            if answer != Response::Done {
                break;
            }
            answer = self.ask(Request::RegisterBroker(part)).await?;
        }
        match answer {
            Response::Registered(registered) => Ok(registered),
            other => Err(self.not_expected(other)),
        }
    }

    /// Says that the broker goes. The end of the connection says the same, later.
    pub(super) async fn say_goodbye(mut self, goodbye: Goodbye) {
        let goodbye = Request::UnregisterBroker {
            cluster: goodbye.cluster,
            broker: goodbye.broker,
            broker_id: goodbye.broker_id,
        };
        let _ = self.ask(goodbye).await;
    }

    /// Where a topic is; `None` when no broker has it.
    pub(super) async fn find_route(
        &mut self,
        topic: &str,
    ) -> Result<Option<TopicRoute>, RegisterError> {
        let topic = topic.to_owned();
        match self.ask(Request::Route { topic }).await? {
            Response::Route(route) => Ok(Some(route)),
            Response::Failed(refusal) if refusal.code == ErrorCode::TopicNotFound => Ok(None),
            other => Err(self.not_expected(other)),
        }
    }

    async fn ask(&mut self, request: Request) -> Result<Response, RegisterError> {
        let header = ClientHeader {
            correlation: 1,
            request,
        };
        let mut out = BytesMut::new();
        encode_frame(&header, &[], &mut out);
        let answered = async {
            if let Err(error) = self.wire.get_mut().write_all(&out).await {
                return Err(RegisterError::Lost(self.name_server.clone(), error));
            }
            loop {
                let came = self.wire.next().await;
                match self.read(came)? {
                    // Older than the answer.
                    (PUSH, Response::Registered(_)) => {}
                    (_, response) => return Ok(response),
                }
            }
        };
        match timeout(ANSWER_WITHIN, answered).await {
            Ok(answered) => answered,
            Err(_) => Err(RegisterError::Late(self.name_server.clone())),
        }
    }

    /// What comes unasked: what has changed in the set, or why the connection is at its end.
    pub(super) fn poll_push(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Registered, RegisterError>> {
        let came = self.wire.poll_next_unpin(cx);
        came.map(|came| match self.read(came)? {
            (PUSH, Response::Registered(registered)) => Ok(registered),
            (_, other) => Err(self.not_expected(other)),
        })
    }

    fn read(
        &self,
        came: Option<Result<Frame<ServerHeader>, CodecError>>,
    ) -> Result<(u64, Response), RegisterError> {
        let name_server = || self.name_server.clone();
        match came {
            None => Err(RegisterError::Closed(name_server())),
            Some(Err(CodecError::Io(error))) => Err(RegisterError::Lost(name_server(), error)),
            Some(Err(error)) => Err(RegisterError::Unreadable(name_server(), error)),
            Some(Ok(frame)) => Ok((frame.header.correlation, frame.header.response)),
        }
    }

    fn not_expected(&self, response: Response) -> RegisterError {
        let name_server = self.name_server.clone();
        match response {
            Response::Failed(refusal) => RegisterError::Refused(name_server, refusal),
            Response::Closing { reason } => RegisterError::Ended(name_server, reason),
            _ => RegisterError::Unexpected(name_server),
        }
    }
}
