//! remoting-session: one connection on RocketMQ's wire. Its client is producer, consumer and operator at once, and may be any of
//! them; what it asks becomes the same messages to the same actors as on the native wire.
//!
//! - `sending`: messages and batches; `alike`: those that are like one before; `waiting`: what they are answered; `properties`: what of a
//!   message's is looked at; `unique_ids`: what those without an id are given; `transactions`: half messages, their ends, and questions
//!   about them.
//! - `pulling`: messages of a queue; `pops`: messages that are acknowledged one by one; `looking`: whether there are any; `assignment`: who reads which queues; `offsets`: how far groups and queues are; `send_back`: messages that could not be processed.
//! - `clients`: heartbeats, members of groups, locks. `queries`: finding messages. `admin`: what operators ask.
//! - `replies`: replies to requests; `relays`: what clients are asked, and what they are told by others.

mod admin;
mod alike;
mod assignment;
mod clients;
mod looking;
mod offsets;
mod pops;
mod properties;
mod pulling;
mod queries;
mod relays;
mod replies;
mod send_back;
mod sending;
mod transactions;
mod unique_ids;
mod waiting;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use castmq_protocol::model::GroupName;
use castmq_protocol::native::{ErrorCode, Failure as Refusal, Role};
use castmq_protocol::remoting::template::LastSent;
use castmq_protocol::remoting::{Command, Frame, Frames, Language, WriteFields, request_code};
use serde::Serialize;

pub(crate) use self::admin::{change_refused, escaped};
use self::alike::Alike;
use self::pops::Pops;
use self::properties::Stamp;
use self::pulling::WaitingPull;
use self::relays::Unanswered;
use self::unique_ids::UniqueIds;
use self::waiting::{Pending, Waiting};
use super::announce::ensure_group;
use super::connection::{Connection, Session, attach};
use super::greeting::Client;
use super::remoting::{Asker, Refused};
use super::sending::{Collected, Payload, Sending};
use crate::broker::context::BrokerContext;
use crate::delivery::client_groups::SessionId;
use crate::delivery::registry::RegistryId;
use crate::delivery::transactions::Ending;
use crate::supervision::{AskError, Cast, Ctx, Failure};

/// A session with more than this waiting to be written reads no requests.
const MAX_PENDING_BYTES: usize = 4 * 1024 * 1024;

/// Requests that may be under way at once, besides messages and pulls.
const MAX_UNDER_WAY: usize = 4096;

/// How often it is looked whether the client is still heard of.
const LOOK: Duration = Duration::from_secs(10);

static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

/// See the module.
pub(crate) struct RemotingSession {
    context: Arc<BrokerContext>,
    connection: Connection,
    id: SessionId,
    /// Who the client is, as far as it has said.
    client: Client,
    language: Language,
    version: i32,
    sending: Sending,
    stamp: Stamp,
    unique_ids: UniqueIds,
    /// Messages on their way, and questions that others have in hand.
    waiting: Waiting,
    last_sent: LastSent,
    /// When the frames in hand were read, in milliseconds since the epoch.
    read_ms: i64,
    /// Sends that the next ones may be like.
    alike: Alike,
    under_way: usize,
    /// Transactions that this read brought to their end.
    endings: BTreeMap<GroupName, Vec<Ending>>,
    waiting_pulls: usize,
    /// Those of them whose messages would not fit what waits to be written: they are fetched again when it is.
    held_pulls: VecDeque<WaitingPull>,
    pops: Pops,
    /// Questions whether there are messages to be popped, while there are none.
    looking: usize,
    /// Groups in which the client consumes.
    consumes: Vec<GroupName>,
    /// Groups in which the client produces.
    produces: HashMap<GroupName, RegistryId>,
    /// It has pulled by a later subscription than it told of: a heartbeat that leaves subscriptions out is not enough.
    subscriptions_wanted: bool,
    /// What the client was asked, by number.
    unanswered: HashMap<i32, Unanswered>,
    /// Once replies to its requests come here: as which client, and the session's number there.
    takes_replies: Option<(String, RegistryId)>,
    /// The number of the next thing that the client is asked or told.
    next_opaque: i32,
    delivered: u64,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct RemotingSessionState {
    client_id: String,
    language: &'static str,
    version: i32,
    peer: String,
    in_flight_bytes: u64,
    pending_bytes: usize,
    waiting_pulls: usize,
    sent: u64,
    delivered: u64,
}

/// What comes of a request: the answer is there, or comes later.
type Handled = Result<(), Refused>;

/// A request, decoded but for its fields.
struct Asked<'a> {
    asker: Asker,
    command: &'a Command<'a>,
    body: Payload<'a>,
    /// Its whole frame among those that were read.
    frame: std::ops::Range<usize>,
}

impl RemotingSession {
    pub(crate) fn new(
        context: Arc<BrokerContext>,
        connection: Connection,
    ) -> Result<Self, Failure> {
        let peer = connection.peer();
        let client = Client {
            client_id: peer.to_string(),
            software: String::new(),
            role: Role::Consumer,
            peer,
        };
        let id = NEXT_SESSION.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            sending: Sending::new(context.clone(), peer)?,
            unique_ids: UniqueIds::new(context.store_host),
            pops: Pops::new(&context, id)?,
            stamp: Stamp::of(&context.settings),
            connection,
            id,
            client,
            language: Language::default(),
            version: 0,
            waiting: Waiting::default(),
            last_sent: LastSent::default(),
            read_ms: 0,
            alike: Alike::default(),
            under_way: 0,
            endings: BTreeMap::new(),
            waiting_pulls: 0,
            held_pulls: VecDeque::new(),
            looking: 0,
            consumes: Vec::new(),
            produces: HashMap::new(),
            subscriptions_wanted: false,
            unanswered: HashMap::new(),
            takes_replies: None,
            next_opaque: 0,
            delivered: 0,
            context,
        })
    }

    /// Handles one request. Those that store something are added to the batch.
    fn handle(
        &mut self,
        asked: &Asked<'_>,
        buffer: &Bytes,
        batch: &mut Collected,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let command = asked.command;
        match command.code {
            request_code::SEND_MESSAGE
            | request_code::SEND_MESSAGE_V2
            | request_code::SEND_BATCH_MESSAGE => self.send(asked, buffer, batch, ctx),
            request_code::PULL_MESSAGE | request_code::LITE_PULL_MESSAGE => {
                self.pull(asked, buffer, ctx)
            }
            request_code::QUERY_CONSUMER_OFFSET => self.query_offset(asked),
            request_code::UPDATE_CONSUMER_OFFSET => self.update_offset(asked, buffer, ctx),
            request_code::SEARCH_OFFSET_BY_TIMESTAMP => self.search_offset(asked, ctx),
            request_code::GET_MAX_OFFSET => self.max_offset(asked),
            request_code::GET_MIN_OFFSET => self.min_offset(asked),
            request_code::GET_EARLIEST_MSG_STORETIME => self.earliest_store_time(asked),
            request_code::HEART_BEAT => self.heartbeat(asked, ctx),
            request_code::UNREGISTER_CLIENT => self.unregister(asked),
            request_code::CHECK_CLIENT_CONFIG => self.check_client(asked),
            request_code::GET_CONSUMER_LIST_BY_GROUP => self.consumer_list(asked),
            request_code::LOCK_BATCH_MQ => self.lock(asked),
            request_code::UNLOCK_BATCH_MQ => self.unlock(asked),
            request_code::CONSUMER_SEND_MSG_BACK => self.send_back(asked, ctx),
            request_code::END_TRANSACTION => self.end_transaction(asked),
            request_code::SEND_REPLY_MESSAGE | request_code::SEND_REPLY_MESSAGE_V2 => {
                self.send_reply(asked, batch, ctx)
            }
            request_code::GET_CONSUMER_RUNNING_INFO => self.running_info(asked, ctx),
            request_code::CONSUME_MESSAGE_DIRECTLY => self.consume_directly(asked, ctx),
            request_code::RECALL_MESSAGE => self.recall(asked, batch),
            request_code::POP_MESSAGE => self.pop(asked, buffer, ctx),
            request_code::PEEK_MESSAGE => self.peek(asked, ctx),
            request_code::NOTIFICATION => self.notify(asked, ctx),
            request_code::POLLING_INFO => self.polling_info(asked, ctx),
            request_code::ACK_MESSAGE => self.acknowledge(asked, ctx),
            request_code::BATCH_ACK_MESSAGE => self.acknowledge_many(asked, ctx),
            request_code::CHANGE_MESSAGE_INVISIBLETIME => self.change_invisible(asked, ctx),
            request_code::SET_MESSAGE_REQUEST_MODE => self.set_request_mode(asked),
            request_code::QUERY_ASSIGNMENT => self.query_assignment(asked, ctx),
            // Whoever says that the set has changed, name servers are asked.
            request_code::NOTIFY_MIN_BROKER_ID_CHANGE => {
                self.context.register_now();
                self.respond(asked.asker, &())
            }
            request_code::QUERY_MESSAGE => self.query_message(asked, ctx),
            request_code::VIEW_MESSAGE_BY_ID => self.view_message(asked),
            request_code::QUERY_CONSUME_QUEUE => self.query_queue(asked, ctx),
            request_code::RESUME_CHECK_HALF_MESSAGE => self.resume_check(asked, ctx),
            _ => self.administer(asked, ctx),
        }
    }

    /// Has others do something, and answers when they have.
    fn then<T: 'static>(
        &mut self,
        asker: Asker,
        asked: impl Future<Output = Result<T, AskError>> + 'static,
        answer: impl FnOnce(&mut Self, T, &mut Ctx<'_, Self>) -> Handled + 'static,
        ctx: &mut Ctx<'_, Self>,
    ) {
        self.under_way += 1;
        ctx.then(asked, move |session, came, ctx| {
            session.under_way -= 1;
            let handled = match came {
                Ok(came) => answer(session, came, ctx),
                Err(error) => Err(session.context.internal(error).into()),
            };
            if let Err(refused) = handled {
                session.connection.refuse(asker, &refused);
            }
        });
    }

    /// Something is made first, and then the request comes again.
    fn again_when<T: 'static>(
        &mut self,
        asked: &Asked<'_>,
        made: impl Future<Output = Result<T, Refusal>> + 'static,
        buffer: &Bytes,
        ctx: &mut Ctx<'_, Self>,
    ) {
        let frame = buffer.slice(asked.frame.clone());
        let again = move |session: &mut Self, made: Result<T, Refusal>, ctx: &mut Ctx<'_, Self>| {
            made?;
            session.handle_frames(frame, ctx)?;
            Ok(())
        };
        self.then(asked.asker, async move { Ok(made.await) }, again, ctx);
    }

    /// The group is made first, where that is allowed.
    fn again_with_group(
        &mut self,
        asked: &Asked<'_>,
        group: &GroupName,
        buffer: &Bytes,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let ensured = ensure_group(&self.context, group.to_string(), &self.client)?;
        self.again_when(asked, ensured, buffer, ctx);
        Ok(())
    }

    fn respond(&mut self, asker: Asker, fields: &impl WriteFields) -> Handled {
        self.connection.respond(asker, fields, b"");
        Ok(())
    }

    fn opaque(&mut self) -> i32 {
        self.next_opaque = self.next_opaque.wrapping_add(1);
        self.next_opaque
    }

    /// Handles a frame of those that were read.
    fn frame(
        &mut self,
        frame: &Frame<'_>,
        range: std::ops::Range<usize>,
        buffer: &Bytes,
        batch: &mut Collected,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<(), Refusal> {
        let body = Payload {
            bytes: frame.body,
            start: (range.end - frame.body.len()) as u32,
        };
        if self.send_alike(frame, body, batch) {
            return Ok(());
        }
        let command = Command::decode(frame)
            .map_err(|error| Refusal::never(ErrorCode::InvalidRequest, error.to_string()))?;
        if command.is_response() {
            self.answered(&command, frame.body);
            return Ok(());
        }
        (self.language, self.version) = (command.language, command.version);
        let asked = Asked {
            asker: Asker::of(&command),
            body,
            command: &command,
            frame: range,
        };
        if let Err(refused) = self.handle(&asked, buffer, batch, ctx) {
            self.connection.refuse(asked.asker, &refused);
        }
        Ok(())
    }
}

impl Session for RemotingSession {
    fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    fn may_read(&self, cx: &mut Context<'_>) -> bool {
        self.connection.pending_bytes() < MAX_PENDING_BYTES
            && self.under_way < MAX_UNDER_WAY
            && self.sending.has_room(cx)
    }

    fn is_owing(&self) -> bool {
        self.sending.in_flight_bytes() > 0 || self.under_way > 0
    }

    fn handle_frames(&mut self, buffer: Bytes, ctx: &mut Ctx<'_, Self>) -> Result<(), Refusal> {
        self.read_ms = self.context.clock.now_ms();
        let mut batch = self.sending.begin(buffer.len());
        let mut frames = Frames::new(&buffer, usize::MAX);
        let mut closing = Ok(());
        let mut start = 0;
        while let Some(Ok(frame)) = frames.next() {
            let end = frames.consumed();
            closing = self.frame(&frame, start..end, &buffer, &mut batch, ctx);
            if closing.is_err() {
                break;
            }
            start = end;
        }
        self.end_transactions(ctx);
        let session = ctx.me().mailbox();
        self.sending.submit(batch, buffer.clone(), session);
        closing
    }

    fn say_why(&mut self, reason: Refusal) {
        tracing::debug!(peer = %self.connection.peer(), %reason, "closing a connection");
    }

    fn written(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.go_on_pulling(ctx);
    }
}

impl Cast for RemotingSession {
    type State = RemotingSessionState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        attach(ctx, self.context.idle_timeout());
        ctx.every(LOOK, |session, _| {
            session.forget_when_silent();
            session.forget_unanswered();
        });
        Ok(())
    }

    fn stopping(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.connection
            .say_goodbye(self.context.goodbye(), ctx.hold());
    }

    fn observe(&self) -> RemotingSessionState {
        RemotingSessionState {
            client_id: self.client.client_id.clone(),
            language: self.language.name(),
            version: self.version,
            peer: self.connection.peer().to_string(),
            in_flight_bytes: self.sending.in_flight_bytes(),
            pending_bytes: self.connection.pending_bytes(),
            waiting_pulls: self.waiting_pulls,
            sent: self.sending.sent(),
            delivered: self.delivered,
        }
    }
}

impl Drop for RemotingSession {
    fn drop(&mut self) {
        self.leave_all();
    }
}
