//! registrar: keeps this broker known to one name server. Each name server has its own, so that a dead one blocks none.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use castmq_protocol::native::frame::{FrameCodec, PREFACE, encode_frame};
use castmq_protocol::native::route::{DataVersion, RegisterBroker, Registered, TopicsReport};
use castmq_protocol::native::{
    ClientHeader, Hello, Request, Response, Role, ServerHeader, VERSION,
};
use futures_util::StreamExt;
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tokio_util::codec::Framed;

use super::socket::Stream;
use crate::broker::context::BrokerContext;
use crate::broker::details::SOFTWARE;
use crate::supervision::{Cast, Ctx, Failure, Receive};

/// Longest answer of a name server.
const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// Time a name server has to answer (RocketMQ's `registerBrokerTimeoutMills` is 24 s).
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// After a failure, the next try.
const RETRY: Duration = Duration::from_secs(1);

/// After a connection was lost, the first try: soon, since the name server has forgotten the broker.
const RECONNECT: Duration = Duration::from_millis(100);

/// Topics have changed.
#[derive(Debug)]
pub(crate) struct RegisterNow;

type Wire = Framed<Stream, FrameCodec<ServerHeader, ClientHeader>>;

/// See the module.
pub(crate) struct Registrar {
    context: Arc<BrokerContext>,
    name_server: String,
    /// Kept open between registrations: its end tells the name server that the broker is gone.
    wire: Option<Wire>,
    /// The state that the name server has confirmed over this connection.
    confirmed: Option<DataVersion>,
    is_busy: bool,
    is_called_again: bool,
    last_error: Option<String>,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct RegistrarState {
    name_server: String,
    is_registered: bool,
    last_error: Option<String>,
}

impl Registrar {
    pub(crate) fn new(context: Arc<BrokerContext>, name_server: String) -> Self {
        Self {
            context,
            name_server,
            wire: None,
            confirmed: None,
            is_busy: false,
            is_called_again: false,
            last_error: None,
        }
    }

    fn register(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.is_busy {
            self.is_called_again = true;
            return;
        }
        self.is_busy = true;
        let wire = self.wire.take();
        let report = self.report(self.confirmed.filter(|_| wire.is_some()));
        let name_server = self.name_server.clone();
        let client_id = format!("{}:{}", report.broker, report.broker_id);
        let registering = async move {
            let mut wire = match wire {
                Some(wire) => wire,
                None => connect(&name_server, client_id).await?,
            };
            let registered = exchange(&mut wire, report).await?;
            Ok::<_, io::Error>((wire, registered))
        };
        ctx.then(
            timeout(ANSWER_WITHIN, registering),
            |registrar, result, ctx| {
                let result = result.unwrap_or_else(|late| Err(io::Error::other(late)));
                registrar.registered(result, ctx);
            },
        );
    }

    fn registered(&mut self, result: io::Result<(Wire, Registered)>, ctx: &mut Ctx<'_, Self>) {
        self.is_busy = false;
        let mut again = std::mem::take(&mut self.is_called_again);
        match result {
            Ok((wire, registered)) => {
                if self.last_error.take().is_some() || self.confirmed.is_none() {
                    tracing::info!(
                        name_server = self.name_server,
                        "registered with the name server"
                    );
                }
                self.wire = Some(wire);
                self.context.set.hear(&self.name_server, &registered);
                self.context.look_for_another_master();
                // A name server that knows another state is told everything.
                again |= registered.version != self.context.topics.version();
                self.confirmed = Some(registered.version);
                self.context.registered.notify_one();
            }
            Err(error) => {
                if self.last_error.is_none() {
                    tracing::warn!(name_server = self.name_server, %error, "cannot register with the name server");
                }
                self.last_error = Some(error.to_string());
                self.confirmed = None;
                ctx.after(RETRY, Self::register);
                return;
            }
        }
        if again {
            self.register(ctx);
        }
    }

    /// Between registrations nothing comes but the end of the connection.
    fn watch(&mut self, ctx: &mut Ctx<'_, Self>, cx: &mut Context<'_>) {
        let Some(wire) = &mut self.wire else {
            return;
        };
        let Poll::Ready(came) = wire.poll_next_unpin(cx) else {
            return;
        };
        let reason = match came {
            None => "the name server closed the connection".to_owned(),
            Some(Ok(frame)) => unexpected(&frame.header.response).to_string(),
            Some(Err(error)) => error.to_string(),
        };
        tracing::warn!(
            name_server = self.name_server,
            reason,
            "no longer registered with the name server"
        );
        self.wire = None;
        self.confirmed = None;
        self.last_error = Some(reason);
        ctx.after(RECONNECT, Self::register);
    }

    fn report(&self, confirmed: Option<DataVersion>) -> RegisterBroker {
        let broker = &self.context.settings.broker;
        // Read before the topics: what changes in between is told twice rather than never.
        let version = self.context.topics.version();
        let topics = match confirmed {
            Some(since) if since.timestamp_ms == version.timestamp_ms => {
                let (changed, removed) = self.context.topics.changes_since(since);
                TopicsReport::Changes {
                    since,
                    changed,
                    removed,
                }
            }
            _ => TopicsReport::Full(self.context.topics.report()),
        };
        let ha_address = self.context.ha_address.get();
        RegisterBroker {
            cluster: broker.cluster_name.clone(),
            broker: broker.name.clone(),
            broker_id: self.context.standing.id,
            configured_id: broker.id.into(),
            epoch: self.context.standing.epoch,
            address: self.context.store_host.to_string(),
            ha_address: ha_address.map_or_else(String::new, |address| address.to_string()),
            expiry_ms: u32::try_from(self.context.settings.name_server.broker_expiry_ms)
                .unwrap_or(u32::MAX),
            version,
            topics,
        }
    }
}

async fn connect(name_server: &str, client_id: String) -> io::Result<Wire> {
    let mut socket = Stream::connect(name_server).await?;
    socket.write_all(&PREFACE).await?;
    let mut wire = Framed::new(socket, FrameCodec::new(MAX_FRAME_BYTES));
    let hello = Request::Hello(Hello {
        version: VERSION,
        role: Role::Broker,
        client_id,
        software: SOFTWARE.to_owned(),
        credentials: None,
    });
    match ask(&mut wire, hello).await? {
        Response::Welcome(_) => Ok(wire),
        other => Err(unexpected(&other)),
    }
}

async fn exchange(wire: &mut Wire, report: RegisterBroker) -> io::Result<Registered> {
    match ask(wire, Request::RegisterBroker(report)).await? {
        Response::Registered(registered) => Ok(registered),
        other => Err(unexpected(&other)),
    }
}

async fn ask(wire: &mut Wire, request: Request) -> io::Result<Response> {
    let header = ClientHeader {
        correlation: 1,
        request,
    };
    let mut out = BytesMut::new();
    encode_frame(&header, &[], &mut out);
    wire.get_mut().write_all(&out).await?;
    match wire.next().await {
        Some(Ok(frame)) => Ok(frame.header.response),
        Some(Err(error)) => Err(io::Error::other(error)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn unexpected(response: &Response) -> io::Error {
    match response {
        Response::Failed(refusal) | Response::Closing { reason: refusal } => {
            io::Error::other(refusal.to_string())
        }
        _ => io::Error::other("the name server gave an answer that was not asked for"),
    }
}

impl Cast for Registrar {
    type State = RegistrarState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        let interval = self.context.settings.broker.register_interval_ms;
        ctx.every(Duration::from_millis(interval), Self::register);
        ctx.poll_with(|registrar, ctx, cx| {
            registrar.watch(ctx, cx);
            Poll::Pending
        });
        self.register(ctx);
        Ok(())
    }

    fn stopping(&mut self, ctx: &mut Ctx<'_, Self>) {
        let Some(mut wire) = self.wire.take() else {
            return;
        };
        let broker = &self.context.settings.broker;
        let goodbye = Request::UnregisterBroker {
            cluster: broker.cluster_name.clone(),
            broker: broker.name.clone(),
            broker_id: self.context.standing.id,
        };
        let hold = ctx.hold();
        ctx.spawn(async move {
            // The end of the connection says the same, later.
            let _ = timeout(Duration::from_secs(1), ask(&mut wire, goodbye)).await;
            drop(hold);
        });
    }

    fn observe(&self) -> RegistrarState {
        RegistrarState {
            name_server: self.name_server.clone(),
            is_registered: self.confirmed.is_some(),
            last_error: self.last_error.clone(),
        }
    }
}

impl Receive<RegisterNow> for Registrar {
    fn receive(&mut self, RegisterNow: RegisterNow, ctx: &mut Ctx<'_, Self>) {
        self.register(ctx);
    }
}
