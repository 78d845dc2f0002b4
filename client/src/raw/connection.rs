//! The handle to a connection: requests go in here, answers come out of it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use castmq_protocol::native::request::{Pop, Pull};
use castmq_protocol::native::{
    ClientHeader, Failure, Hello, PREFACE, Request, Response, ServerHeader, VERSION, Welcome,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::names::request_name;
use super::options::Options;
use super::outbox::{Outbox, Payload};
use super::pending::{Pending, Waiting};
use super::task::Task;
use crate::error::{Error, Result};

/// Bytes in the outbox from which on [`Connection::ready`] waits.
const OUTBOX_HIGH_BYTES: usize = 1024 * 1024;

/// Unanswered bytes until the other side says what it takes.
const WINDOW_BEFORE_WELCOME_BYTES: usize = 64 * 1024;

/// The correlation of what is not answered: an answer that comes all the same finds nobody.
const NOBODY: u64 = u64::MAX;

/// Added to the other side's own wait: how long its answer may travel.
const PULL_GRACE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// What was answered; never [`Response::Failed`], which is an [`Error::Refused`].
    pub header: ServerHeader,
    /// The bytes behind the header: records, where there are any.
    pub payload: Bytes,
}

/// What the other side said without being asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// What it said.
    pub response: Response,
    /// The bytes behind the header: records, where there are any.
    pub payload: Bytes,
}

/// The pushes of a connection, in order.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> castmq_client::Result<()> {
/// use castmq_client::raw::{Connection, Options, Response, Role};
///
/// let options = Options::new(Role::Consumer, "my-tool@1");
/// let (connection, mut pushes) = Connection::open("127.0.0.1:10911", &options).await?;
/// while let Some(push) = pushes.next().await {
///     match push.response {
///         Response::Deliver(deliver) => println!("{} messages", deliver.messages),
///         other => println!("{other:?}"),
///     }
/// }
/// println!("{}", connection.ended().await);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pushes(pub(super) mpsc::UnboundedReceiver<Push>);

impl Pushes {
    /// The next push; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<Push> {
        self.0.recv().await
    }
}

/// Takes an answer where a future would cost an allocation.
pub(crate) trait Settle: Send + Sync + 'static {
    /// The answer is there, or will never be, `now`. Runs in the connection's task: must be short.
    fn settle(self: Arc<Self>, result: Result<Reply>, now: Instant);
}

/// Who waits for an answer.
pub(crate) enum Waiter {
    /// A future.
    Reply(oneshot::Sender<Result<Reply>>),
    /// A part of this crate.
    Settle(Arc<dyn Settle>),
    /// Nobody, but silence means that the connection is dead.
    Heartbeat,
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reply(_) => "Reply",
            Self::Settle(_) => "Settle",
            Self::Heartbeat => "Heartbeat",
        })
    }
}

/// Why a connection takes no requests.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// It broke.
    Lost(Arc<str>),
    /// What came was not the protocol.
    Protocol(Arc<str>),
    /// It was closed on this side.
    Closed,
}

/// What handle and task share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) address: Arc<str>,
    welcome: OnceLock<Welcome>,
    inner: Mutex<Inner>,
    /// Whether new work should go here: open, and the other side has not announced that it closes.
    pub(super) usable: AtomicBool,
    /// The outbox went below its high mark, or the connection ended.
    pub(super) drained: Notify,
    /// The connection ended.
    pub(super) ended: Notify,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) outbox: Outbox,
    pub(super) pending: Pending<Waiter>,
    pub(super) window_bytes: usize,
    max_frame_bytes: usize,
    pub(super) heartbeat_every: Option<Duration>,
    pub(super) end: Option<End>,
    pub(super) close_asked: bool,
    /// Wakes the task.
    pub(super) waker: Option<Waker>,
    /// The task has been woken and has not looked yet.
    pub(super) notified: bool,
}

impl Shared {
    fn new(address: &str) -> Self {
        Self {
            address: address.into(),
            welcome: OnceLock::new(),
            inner: Mutex::new(Inner {
                outbox: Outbox::opening_with(&PREFACE),
                pending: Pending::default(),
                window_bytes: WINDOW_BEFORE_WELCOME_BYTES,
                max_frame_bytes: WINDOW_BEFORE_WELCOME_BYTES,
                heartbeat_every: None,
                end: None,
                close_asked: false,
                waker: None,
                notified: false,
            }),
            usable: AtomicBool::new(true),
            drained: Notify::new(),
            ended: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    pub(super) fn end_error(&self, end: &End, written: bool) -> Error {
        let disconnected = |reason: &Arc<str>| Error::Disconnected {
            address: self.address.clone(),
            reason: reason.clone(),
            written,
        };
        match end {
            End::Lost(reason) => disconnected(reason),
            End::Protocol(reason) if written => Error::Protocol {
                address: self.address.clone(),
                reason: reason.clone(),
            },
            End::Protocol(reason) => disconnected(reason),
            End::Closed => disconnected(&Arc::from("it was closed on this side")),
        }
    }

    fn greet(&self, welcome: Welcome) {
        let limits = welcome.limits;
        let mut inner = self.lock();
        inner.window_bytes = limits.window_bytes as usize;
        inner.max_frame_bytes = limits.max_frame_bytes as usize;
        inner.heartbeat_every = (limits.idle_timeout_ms > 0)
            .then(|| Duration::from_millis(u64::from(limits.idle_timeout_ms) / 3));
        inner.wake();
        drop(inner);
        // Set once: there is one greeting.
        let _ = self.welcome.set(welcome);
    }
}

impl Inner {
    fn wake(&mut self) {
        if !self.notified {
            self.notified = true;
            if let Some(waker) = &self.waker {
                waker.wake_by_ref();
            }
        }
    }
}

/// Closes the connection when the last handle goes.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    request_timeout: Duration,
}

impl Drop for Handle {
    fn drop(&mut self) {
        close(&self.shared);
    }
}

fn close(shared: &Shared) {
    shared.usable.store(false, Ordering::Release);
    let mut inner = shared.lock();
    inner.close_asked = true;
    inner.wake();
}

/// A connection to a broker or a name server: requests, answers in any order, pushes.
///
/// A task owns the socket. It decodes all frames that a read brought, and writes all frames that wait with one write.
/// The handle is cheap to clone; the connection closes when the last one is dropped. It does not come back by itself:
/// names, subscriptions and membership are the connection's, so whoever uses it has to make them again.
///
/// # Examples
///
/// Many requests may wait at once; each answer finds the one who asked.
///
/// ```no_run
/// # async fn example(connection: castmq_client::raw::Connection) -> castmq_client::Result<()> {
/// use castmq_client::raw::{Payload, Request};
///
/// let announce = Request::AnnounceTopic { alias: 0, topic: "orders".into() };
/// let first = connection.request(announce, Payload::none());
/// let second = connection.request(Request::Heartbeat, Payload::none());
/// println!("{:?}", second.await?.header);
/// println!("{:?}", first.await?.header);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Connection {
    handle: Arc<Handle>,
}

impl Connection {
    /// Connects and greets.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] when there is no connection, [`Error::Refused`] when the other side does not want this client,
    /// [`Error::Protocol`] when it is not CastMQ.
    pub async fn open(address: &str, options: &Options) -> Result<(Self, Pushes)> {
        let deadline = Instant::now() + options.connect_timeout;
        let failed = |reason: String| Error::Connect {
            address: address.into(),
            reason: reason.into(),
        };
        let too_late = || failed(format!("no answer within {:?}", options.connect_timeout));
        let stream = timeout_at(deadline, options.dial.dial(address))
            .await
            .map_err(|_| too_late())?
            .map_err(|error| failed(error.to_string()))?;
        let (push_sender, pushes) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(address));
        tokio::spawn(Task::new(stream, shared.clone(), push_sender));
        let connection = Self {
            handle: Arc::new(Handle {
                shared,
                request_timeout: options.request_timeout,
            }),
        };
        let hello = Request::Hello(Hello {
            version: VERSION,
            role: options.role,
            client_id: options.client_id.clone(),
            software: concat!("castmq-client ", env!("CARGO_PKG_VERSION")).into(),
            credentials: None,
        });
        let answer = connection.request_within(options.connect_timeout, hello, Payload::none());
        let reply = timeout_at(deadline, answer).await.map_err(|_| too_late())?;
        match reply
            .map_err(|error| connection.greeting_error(error))?
            .header
            .response
        {
            Response::Welcome(welcome) => connection.handle.shared.greet(welcome),
            _ => return Err(Error::unexpected(connection.address(), "hello")),
        }
        Ok((connection, Pushes(pushes)))
    }

    /// A connection that ends during the greeting was never made.
    fn greeting_error(&self, error: Error) -> Error {
        match error {
            Error::Disconnected {
                address, reason, ..
            } => Error::Connect { address, reason },
            other => other,
        }
    }

    /// The other side's address, as it was asked for.
    pub fn address(&self) -> &Arc<str> {
        &self.handle.shared.address
    }

    /// What the other side said of itself, and its limits.
    pub fn welcome(&self) -> &Welcome {
        static UNKNOWN: OnceLock<Welcome> = OnceLock::new();
        // Handles are given out after the greeting, so the default is never seen.
        self.handle
            .shared
            .welcome
            .get()
            .unwrap_or_else(|| UNKNOWN.get_or_init(no_welcome))
    }

    /// Whether new work should go here. False when the connection has ended or its end was announced.
    pub fn is_usable(&self) -> bool {
        self.handle.shared.usable.load(Ordering::Acquire)
    }

    /// Asks. The request is on its way before the future is polled; dropping the future does not take it back.
    pub fn request(&self, request: Request, payload: Payload<'_>) -> Answer {
        let mut timeout = self.handle.request_timeout;
        if let Request::Pull(Pull { wait_ms, .. }) | Request::Pop(Pop { wait_ms, .. }) = &request {
            timeout = Duration::from_millis((*wait_ms).into()) + PULL_GRACE;
        }
        self.request_within(timeout, request, payload)
    }

    /// Asks, and waits no longer than `timeout`.
    pub fn request_within(
        &self,
        timeout: Duration,
        request: Request,
        payload: Payload<'_>,
    ) -> Answer {
        let mut inner = self.handle.shared.lock();
        match self.encode(&mut inner, request, &payload) {
            Ok(encoded) => {
                let (sender, receiver) = oneshot::channel();
                encoded.wait(&mut inner, Waiter::Reply(sender), Instant::now(), timeout);
                Answer(Ok(receiver))
            }
            Err(error) => Answer(Err(Some(error))),
        }
    }

    /// Says something that is not answered: credit, a one-way message.
    ///
    /// # Errors
    ///
    /// When the connection has ended, or the frame is longer than the other side takes.
    pub fn tell(&self, request: Request, payload: Payload<'_>) -> Result<()> {
        let mut inner = self.handle.shared.lock();
        self.check_open(&inner)?;
        let header = ClientHeader {
            correlation: NOBODY,
            request,
        };
        self.push(&mut inner, 0, &header, &payload)?;
        inner.wake();
        Ok(())
    }

    /// Waits until less than 1 MiB is waiting to be written.
    ///
    /// [`Connection::request`] and [`Connection::tell`] never wait: what they are given is kept until it can be written.
    /// Whoever sends a lot without waiting for answers waits here.
    pub async fn ready(&self) -> Result<()> {
        let shared = &self.handle.shared;
        loop {
            let drained = shared.drained.notified();
            {
                let inner = shared.lock();
                self.check_open(&inner)?;
                if inner.outbox.bytes() < OUTBOX_HIGH_BYTES {
                    return Ok(());
                }
            }
            drained.await;
        }
    }

    #[cfg(test)]
    pub(super) fn waiting_bytes(&self) -> usize {
        self.handle.shared.lock().outbox.bytes()
    }

    /// Closes: what waits to be written is written, answers that are missing then are not waited for.
    pub fn close(&self) {
        close(&self.handle.shared);
    }

    /// Waits for the connection's end and returns its reason.
    pub async fn ended(&self) -> Error {
        let shared = &self.handle.shared;
        loop {
            let ended = shared.ended.notified();
            if let Some(end) = &shared.lock().end {
                return shared.end_error(end, false);
            }
            ended.await;
        }
    }

    fn check_open(&self, inner: &Inner) -> Result<()> {
        let end = match &inner.end {
            Some(end) => end,
            None if inner.close_asked => &End::Closed,
            None => return Ok(()),
        };
        Err(self.handle.shared.end_error(end, false))
    }

    fn push(
        &self,
        inner: &mut Inner,
        correlation: u64,
        header: &ClientHeader,
        payload: &Payload<'_>,
    ) -> Result<usize> {
        let bytes = inner.outbox.push(correlation, header, payload);
        if bytes > inner.max_frame_bytes {
            inner.outbox.pop();
            return Err(Error::TooLarge {
                what: "frame",
                bytes,
                limit: inner.max_frame_bytes,
            });
        }
        Ok(bytes)
    }

    /// Asks on behalf of `settle`, which is given back when the request cannot be taken. The payload may be a part of it.
    pub(crate) fn submit<T: Settle>(
        &self,
        request: Request,
        settle: Arc<T>,
        payload: impl for<'a> FnOnce(&'a T) -> Payload<'a>,
        now: Instant,
        timeout: Duration,
    ) -> Result<(), (Error, Arc<T>)> {
        let mut inner = self.handle.shared.lock();
        match self.encode(&mut inner, request, &payload(&settle)) {
            Ok(encoded) => {
                encoded.wait(&mut inner, Waiter::Settle(settle), now, timeout);
                Ok(())
            }
            Err(error) => Err((error, settle)),
        }
    }

    /// Puts a request in the outbox.
    fn encode(
        &self,
        inner: &mut Inner,
        request: Request,
        payload: &Payload<'_>,
    ) -> Result<Encoded> {
        self.check_open(inner)?;
        let request_name = request_name(&request);
        let correlation = inner.pending.next_correlation();
        let header = ClientHeader {
            correlation,
            request,
        };
        let bytes = self.push(inner, correlation, &header, payload)?;
        Ok(Encoded {
            request: request_name,
            bytes,
        })
    }
}

/// A request in the outbox that nobody waits for yet.
struct Encoded {
    request: &'static str,
    bytes: usize,
}

impl Encoded {
    fn wait(self, inner: &mut Inner, waiter: Waiter, now: Instant, timeout: Duration) {
        inner.pending.insert(Waiting {
            waiter,
            request: self.request,
            asked: now,
            deadline: now + timeout,
            bytes: self.bytes,
            written: false,
        });
        inner.wake();
    }
}

fn no_welcome() -> Welcome {
    Welcome {
        version: VERSION,
        software: String::new(),
        cluster: String::new(),
        broker: String::new(),
        broker_id: 0,
        store_host: String::new(),
        limits: castmq_protocol::native::Limits {
            max_frame_bytes: 0,
            max_message_bytes: 0,
            max_properties_bytes: 0,
            window_bytes: 0,
            max_aliases: 0,
            idle_timeout_ms: 0,
        },
    }
}

/// An answer to come.
#[derive(Debug)]
#[must_use = "the answer, or that there was none, is known only when this is awaited"]
pub struct Answer(Result<oneshot::Receiver<Result<Reply>>, Option<Error>>);

impl Future for Answer {
    type Output = Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        let gone = || Error::Closed { what: "connection" };
        Poll::Ready(match &mut self.0 {
            Ok(receiver) => ready!(Pin::new(receiver).poll(cx)).unwrap_or_else(|_| Err(gone())),
            Err(error) => Err(error.take().unwrap_or_else(gone)),
        })
    }
}

/// The result of an answer: a refusal is an error.
pub(super) fn result(
    header: ServerHeader,
    payload: Bytes,
    request: &'static str,
    address: &Arc<str>,
) -> Result<Reply> {
    match header.response {
        Response::Failed(failure) => Err(refused(failure, request, address)),
        _ => Ok(Reply { header, payload }),
    }
}

fn refused(failure: Failure, request: &'static str, address: &Arc<str>) -> Error {
    Error::Refused {
        request,
        address: address.clone(),
        failure,
    }
}
