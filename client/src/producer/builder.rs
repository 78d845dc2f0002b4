//! Settings of a producer.

use std::time::Duration;

use super::batcher::Limits;
use super::{Producer, Settings};
use crate::client::Client;
use crate::message::Compression;

/// Settings of a [`Producer`], from [`Client::producer`].
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: castmq_client::Client) {
/// use std::time::Duration;
/// use castmq_client::Compression;
///
/// let producer = client
///     .producer()
///     .linger(Duration::from_millis(5))
///     .compression(Compression::Lz4)
///     .allow_duplicates(false)
///     .build();
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct ProducerBuilder {
    client: Client,
    settings: Settings,
}

impl ProducerBuilder {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            settings: Settings {
                send_timeout: Duration::from_secs(3),
                retries: 2,
                allow_duplicates: true,
                compression: Compression::Zlib,
                compress_above_bytes: 4096,
                linger: false,
                batch: Limits {
                    messages: 512,
                    bytes: 256 * 1024,
                    // For messages that are gathered on demand and then flushed: a bound, not a wait.
                    linger: Duration::from_millis(5),
                },
                max_buffered_bytes: 32 * 1024 * 1024,
                unique_ids: false,
                max_requests: 1024,
                idempotent: false,
                avoid_slow_brokers: true,
            },
        }
    }

    /// How long a message may take altogether, retries included. Default: 3 s, as RocketMQ's.
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.settings.send_timeout = timeout;
        self
    }

    /// How often a message is sent again after it failed. Default: 2, as RocketMQ's.
    ///
    /// The other broker is tried where there is one. A message with an ordering key or a queue of its own is sent to its
    /// queue again. Attempts that did not leave this side, because there was no connection, do not count; the send timeout
    /// ends them.
    pub fn retries(mut self, retries: u32) -> Self {
        self.settings.retries = retries;
        self
    }

    /// Whether a broker that was slow gets no messages for a while that another can take. Default: true.
    ///
    /// The times are RocketMQ's: after an answer that took 550 ms it is passed over for 2 s, and so on up to 30 s; an answer
    /// that never came counts as 10 s, and so does a broker that says that its disk is full or its slaves are not in step. Only
    /// messages without a queue or key of their own go elsewhere, and when all brokers are slow they go round all of them again.
    ///
    /// RocketMQ has this off unless it is asked for (`sendLatencyFaultEnable`). Here it costs the comparison of two times that
    /// are known anyhow, and keeps a broker with a failing disk from holding up its share of all messages.
    pub fn avoid_slow_brokers(mut self, avoid: bool) -> Self {
        self.settings.avoid_slow_brokers = avoid;
        self
    }

    /// Whether a message may be sent again although a broker may have stored it: the connection was lost before it
    /// answered, or it answered that it does not know. Default: true, as RocketMQ's: rather twice than not at all.
    ///
    /// When it is false such a message fails, and its sender decides. An [`idempotent`](Self::idempotent) producer sends it
    /// again in either case: that makes no duplicates.
    pub fn allow_duplicates(mut self, allow: bool) -> Self {
        self.settings.allow_duplicates = allow;
        self
    }

    /// How bodies are compressed. Default: zlib, which every RocketMQ client can read.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.settings.compression = compression;
        self
    }

    /// Bodies from this length on are compressed, when it makes them shorter. Default: 4096 bytes, as RocketMQ's.
    pub fn compress_above_bytes(mut self, bytes: usize) -> Self {
        self.settings.compress_above_bytes = bytes;
        self
    }

    /// Lets messages wait this long for others to the same queue, to travel with them in one request. Off by default.
    ///
    /// Messages without a wish stay with one queue until its batch is full, so that batches fill. What costs an answer per
    /// message without, costs one per batch with it. Messages with an ordering key do not wait: they travel together while
    /// the answer to those before is on its way.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.linger = true;
        self.settings.batch.linger = linger;
        self
    }

    /// Messages in a batch, at most. Default: 512.
    pub fn batch_messages(mut self, messages: usize) -> Self {
        self.settings.batch.messages = messages.max(1);
        self
    }

    /// Bytes in a batch, at most; a longer message goes alone. Default: 256 KiB.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.settings.batch.bytes = bytes.max(1);
        self
    }

    /// Bytes of messages that may be on their way before senders wait. Default: 32 MiB.
    pub fn max_buffered_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_buffered_bytes = bytes.max(1);
        self
    }

    /// Whether each message is given an id of its own, as property `UNIQ_KEY`, so that consumers can tell one that was
    /// stored twice. Default: false.
    pub fn unique_ids(mut self, give: bool) -> Self {
        self.settings.unique_ids = give;
        self
    }

    /// Requests that may wait for their replies at once; one more waits its turn. 1 to 2^20. Default: 1024.
    pub fn max_requests(mut self, requests: usize) -> Self {
        self.settings.max_requests = requests.clamp(1, 1 << 20);
        self
    }

    /// Whether brokers store each message once, however often it has to be sent. Default: false.
    ///
    /// Brokers know the producer by a random id and its messages by their numbers, also after they were started again or
    /// killed. A message that may be stored, because the answer was lost for instance, is sent to the same broker again and
    /// again until [`send_timeout`](Self::send_timeout) is over; then its error says that it may be stored. So the timeout
    /// is best longer than a broker takes to start, and has to be shorter than the time after which brokers forget a
    /// producer (`broker.idempotent_producer_expiry_ms`, 10 minutes). A message that is sent anew after an error is another
    /// one: whoever must not have it twice looks whether the first is there.
    ///
    /// Each message costs the broker some 30 bytes of properties and a look, and consumers see the property `PSEQ`. Keep
    /// one producer for all messages: brokers remember a limited number of them.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.settings.idempotent = idempotent;
        self
    }

    /// The producer. Nothing is connected before the first message; see [`Producer::prepare`].
    pub fn build(self) -> Producer {
        Producer::with_settings(self.client, self.settings)
    }
}
