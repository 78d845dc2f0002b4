//! How a connection is opened.

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::native::Role;

use super::dial::{Dial, Tcp};

/// How a connection is opened.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> castmq_client::Result<()> {
/// use castmq_client::raw::{Connection, Options, Payload, Request, Role};
///
/// let options = Options::new(Role::Admin, "my-tool@1");
/// let (connection, _pushes) = Connection::open("127.0.0.1:10911", &options).await?;
/// connection.request(Request::Heartbeat, Payload::none()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) role: Role,
    pub(super) client_id: String,
    pub(super) connect_timeout: Duration,
    pub(super) request_timeout: Duration,
    pub(super) dial: Arc<dyn Dial>,
}

impl Options {
    /// TCP, 3 seconds to connect, 3 seconds for an answer: RocketMQ's timeouts.
    pub fn new(role: Role, client_id: impl Into<String>) -> Self {
        Self {
            role,
            client_id: client_id.into(),
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(3),
            dial: Arc::new(Tcp),
        }
    }

    /// How long opening may take, greeting included.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long an answer may take, unless a request says otherwise. A pull's own wait is added.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Where byte streams come from.
    pub fn dial(mut self, dial: Arc<dyn Dial>) -> Self {
        self.dial = dial;
        self
    }
}
