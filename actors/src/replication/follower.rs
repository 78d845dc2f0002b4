//! replica-follower: copies the master's log. It finds the master, says who it is and what it has, and hands what comes to the
//! log-writer; from there on bytes of the master are dispatched like any others.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use castmq_config::Flush;
use castmq_protocol::ha::{Blocks, Part, encode_report};
use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::native::replication::{Follow, Followed};
use castmq_protocol::native::{Request, Response, Welcome};
use castmq_storage::epochs::{Epochs, note_master};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::complaints::Complaints;
use super::fit::{self, Own};
use super::wire::{MAX_ANSWER_BYTES, Wire, unexpected};
use crate::broker::context::BrokerContext;
use crate::broker::standing::Rebase;
use crate::network::socket::Stream;
use crate::storage::log_writer::{BeginCopy, CommitLimit, Copy, LogWriter};
use crate::supervision::{ActorRef, Cast, Ctx, Failure};
use crate::worker::apart;

/// After the connection was lost, the next try, unless signs of life come more often.
const RETRY: Duration = Duration::from_secs(1);

/// The same when name servers have said something new of the set meanwhile: perhaps that the master is back.
const RETRY_AT_NEWS: Duration = Duration::from_millis(100);

/// When no master is known for so long, that is said.
const MASTER_WITHIN: Duration = Duration::from_secs(2);

/// Time a master has for its first answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Bytes read at once.
const READ_BYTES: usize = 1024 * 1024;

/// Bytes that may be on their way to the log.
const MAX_UNDER_WAY: usize = 32 * 1024 * 1024;

/// See the module.
pub(crate) struct Follower {
    context: Arc<BrokerContext>,
    writer: ActorRef<LogWriter>,
    complaints: Complaints,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct FollowerState {
    master: Option<String>,
    copied: u64,
    last_error: Option<String>,
}

impl Follower {
    pub(crate) fn new(context: Arc<BrokerContext>) -> Result<Self, Failure> {
        Ok(Self {
            writer: context.actors()?.log_writer.clone(),
            context,
            complaints: Complaints::default(),
        })
    }

    fn follow(ctx: &mut Ctx<'_, Self>, context: Arc<BrokerContext>, writer: ActorRef<LogWriter>) {
        let following = async move { Attempt { context, writer }.run().await };
        ctx.then(following, |follower, result, ctx| {
            follower.context.following.lost();
            let error = match result {
                Ok(()) => "the master closed the connection".to_owned(),
                Err(error) => error.to_string(),
            };
            let about = "the master";
            if follower.complaints.is_news(about, &error, Instant::now()) {
                tracing::warn!(error, "does not follow its master");
            }
            follower.context.following.set_lost_because(Some(error));
            let pausing = pause(follower.context.clone());
            ctx.then(pausing, |follower, (), ctx| {
                Self::follow(ctx, follower.context.clone(), follower.writer.clone());
            });
        });
    }
}

/// Until the next try: until then messages are on one broker less.
async fn pause(context: Arc<BrokerContext>) {
    let mut changes = context.set.changes();
    let retry = RETRY.min(context.link_heartbeat());
    let at_news = RETRY_AT_NEWS.min(retry);
    sleep(at_news).await;
    let _ = timeout(retry - at_news, changes.changed()).await;
}

impl Cast for Follower {
    type State = FollowerState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        self.context.following.lost();
        Self::follow(ctx, self.context.clone(), self.writer.clone());
        Ok(())
    }

    fn observe(&self) -> FollowerState {
        let following = &self.context.following;
        FollowerState {
            last_error: following.trouble(),
            master: following.master(),
            copied: self.context.store.log.appended().0,
        }
    }
}

/// One time that a master is followed.
struct Attempt {
    context: Arc<BrokerContext>,
    writer: ActorRef<LogWriter>,
}

impl Attempt {
    async fn run(self) -> io::Result<()> {
        let address = self.master_address().await;
        let lost = |_| io::Error::other("the log-writer has failed, and starts anew");
        // What came of a record before, and not all of it, comes again.
        let end = self.writer.ask(BeginCopy).await.map_err(lost)?;
        if self.context.settings.store.flush == Flush::Sync {
            // What is said to be here is as safe as the rest.
            let log = &self.context.store.log;
            self.context.pulse.until(|| log.flushed() >= end).await;
        }
        if self.context.settings.replication.ha_master_is_rocketmq {
            return self.run_classic(address, end).await;
        }
        let (wire, welcome, followed) = self.opened(&address, end).await?;
        let unfit = |reason| io::Error::other(format!("{address} cannot be followed: {reason}"));
        let epochs = Epochs::of(followed.epochs.iter().copied());
        self.check_master(&welcome, epochs.last_epoch())
            .map_err(unfit)?;
        let rebase = self.fit(end, followed.from, &epochs).map_err(unfit)?;
        if let Some(rebase) = rebase {
            // Not for whoever answers at the master's address before name servers have said who the master is.
            self.context.until_name_servers_tried().await;
            self.check_master(&welcome, epochs.last_epoch())
                .map_err(unfit)?;
            // What is given up does not come back, so the master has to say it twice.
            drop(wire);
            let (_, _, again) = self.opened(&address, end).await?;
            if again != followed {
                let reason = "it said two things of how its log goes on, one after the other";
                return Err(unfit(reason.to_owned()));
            }
            return self.rebase(rebase, end).await;
        }
        self.note(&epochs, followed.is_sync).await?;
        let limit = match followed.is_sync {
            true => self
                .context
                .hidden
                .limit(self.context.positions.dispatched()),
            false => PhysicalOffset(u64::MAX),
        };
        self.writer.tell(CommitLimit(limit));
        self.context.following.found(address.clone());
        tracing::info!(master = address, from = %end, "follows its master");
        let (reader, writer) = tokio::io::split(wire.socket);
        tokio::select! {
            ended = self.copy(reader, wire.input) => ended,
            ended = self.report(writer, end) => ended,
            ended = self.watch_set(epochs.last_epoch()) => ended,
        }
    }

    /// Follows a master that is only told where the log ends.
    async fn run_classic(self, address: String, end: PhysicalOffset) -> io::Result<()> {
        let late = |_| io::Error::other(format!("{address} cannot be reached"));
        let connecting = timeout(ANSWER_WITHIN, Stream::connect(&address));
        let socket = connecting.await.map_err(late)??;
        self.writer.tell(CommitLimit(PhysicalOffset(u64::MAX)));
        self.context.following.found(address.clone());
        tracing::info!(master = address, from = %end, "follows a RocketMQ master");
        let (reader, writer) = tokio::io::split(socket);
        tokio::select! {
            ended = self.copy(reader, BytesMut::new()) => ended,
            ended = self.report(writer, end) => ended,
        }
    }

    /// Where the master takes slaves. That there is none is said while one is waited for.
    async fn master_address(&self) -> String {
        let context = &self.context;
        if let Ok(address) = timeout(MASTER_WITHIN, context.master_ha_address()).await {
            return address;
        }
        let reason = format!(
            "no name server knows a master of {} that takes slaves: start it, or set replication.ha_master_address",
            context.settings.broker.name
        );
        tracing::warn!(error = reason, "does not follow its master");
        context.following.set_lost_because(Some(reason));
        let address = context.master_ha_address().await;
        context.following.set_lost_because(None);
        address
    }

    /// Asks to follow, and waits for an answer for a while.
    async fn opened(
        &self,
        address: &str,
        end: PhysicalOffset,
    ) -> io::Result<(Wire, Welcome, Followed)> {
        let opening = self.open(address, end);
        timeout(ANSWER_WITHIN, opening).await.unwrap_or_else(|_| {
            let late = format!("{address} did not answer within {ANSWER_WITHIN:?}");
            Err(io::Error::other(late))
        })
    }

    async fn open(
        &self,
        address: &str,
        end: PhysicalOffset,
    ) -> io::Result<(Wire, Welcome, Followed)> {
        let context = &self.context;
        let broker = &context.settings.broker;
        let client_id = format!("{}:{}", broker.name, context.standing.id);
        let (mut wire, welcome) = Wire::connect(address, client_id, MAX_ANSWER_BYTES).await?;
        let log = &context.store.log;
        let follow = Request::Follow(Follow {
            cluster: broker.cluster_name.clone(),
            broker: broker.name.clone(),
            broker_id: context.standing.id,
            address: context.store_host.to_string(),
            segment_bytes: log.segment_bytes(),
            log_begin: log.begin(),
            log_end: end,
            epochs: context.copied_epochs.lock().entries().to_vec(),
        });
        match wire.ask(follow).await? {
            Response::Followed(followed) => Ok((wire, welcome, followed)),
            _ => Err(unexpected()),
        }
    }

    /// A RocketMQ master sends whoever has nothing the last of its files.
    async fn begin_where_the_master_does(&self, at: PhysicalOffset) {
        let log = &self.context.store.log;
        let is_file = at.0.is_multiple_of(log.segment_bytes());
        if is_file && at > log.appended() && log.begin() == log.appended() {
            self.context.rebase(Rebase::BeginAnew { at });
            std::future::pending::<()>().await;
        }
    }

    /// Whether who answers is the set's master.
    fn check_master(&self, welcome: &Welcome, epoch: u32) -> Result<(), String> {
        let context = &self.context;
        let broker = &context.settings.broker;
        let Welcome {
            cluster,
            broker: name,
            store_host,
            ..
        } = welcome;
        if (cluster, name) != (&broker.cluster_name, &broker.name) {
            return Err(format!(
                "it is {name} of cluster {cluster}, and this is a slave of {} of cluster {}: give the slave the names of its master, \
                 or the address of its own",
                broker.name, broker.cluster_name
            ));
        }
        // Where it takes slaves may be configured otherwise than name servers say; who it is may not.
        let Some(master) = context.set.master() else {
            return Ok(());
        };
        match (&master.address, master.epoch) == (store_host, epoch) {
            true => Ok(()),
            false => Err(format!(
                "it is the broker at {store_host} and of epoch {epoch}, and for the name servers the master of {name} is at {} and \
                 of epoch {}: stop one of the two, or set replication.ha_master_address right",
                master.address, master.epoch
            )),
        }
    }

    /// What has to become of the log before it goes on as the master's.
    fn fit(
        &self,
        end: PhysicalOffset,
        from: PhysicalOffset,
        theirs: &Epochs,
    ) -> Result<Option<Rebase>, String> {
        let context = &self.context;
        let log = &context.store.log;
        let epochs = context.copied_epochs.lock();
        let own = Own {
            begin: log.begin(),
            end,
            segment_bytes: log.segment_bytes(),
            epoch: context.standing.epoch.max(context.set.epoch()),
            epochs: &epochs,
        };
        fit::fit(&own, from, theirs)
    }

    /// The log has to become another first: the broker starts anew.
    async fn rebase(&self, rebase: Rebase, end: PhysicalOffset) -> io::Result<()> {
        tracing::warn!(?rebase, %end, "the log does not fit the master's: it is made to");
        self.context.rebase(rebase);
        std::future::pending().await
    }

    /// Waits until another broker is the master: what is copied of this one would have to be cut off again.
    async fn watch_set(&self, epoch: u32) -> io::Result<()> {
        let mut changes = self.context.set.changes();
        loop {
            let known = self.context.set.epoch();
            if known > epoch {
                return Err(io::Error::other(format!(
                    "another broker has become the master of the set in epoch {known}"
                )));
            }
            // It is told as long as there is a context.
            let _ = changes.changed().await;
        }
    }

    /// Notes who wrote the log that is copied, before any of it comes.
    async fn note(&self, epochs: &Epochs, is_sync: bool) -> io::Result<()> {
        let store = self.context.store.clone();
        let noted = epochs.clone();
        let saving = apart(move || {
            noted.save(&store.metadata)?;
            note_master(&store.metadata, is_sync)?;
            store.metadata.sync()
        });
        saving.await?.map_err(io::Error::other)?;
        *self.context.copied_epochs.lock() = epochs.clone();
        Ok(())
    }

    /// Hands what comes to the log-writer.
    async fn copy(
        &self,
        mut reader: impl AsyncRead + Unpin,
        mut input: BytesMut,
    ) -> io::Result<()> {
        let silence = self.context.link_silence();
        let mut blocks = Blocks::default();
        let mut may_begin_anew = self.context.settings.replication.ha_master_is_rocketmq;
        let mut under_way = FuturesUnordered::new();
        let mut bytes_under_way = 0;
        loop {
            let mut parts: Vec<(PhysicalOffset, Bytes)> = Vec::new();
            let mut bytes = 0;
            while let Some(part) = blocks.next(&mut input).map_err(io::Error::other)? {
                match part {
                    Part::Heartbeat(_) => {}
                    Part::Committed(limit) => drop(self.writer.tell(CommitLimit(limit))),
                    Part::Bytes { at, bytes: part } => {
                        if std::mem::take(&mut may_begin_anew) {
                            self.begin_where_the_master_does(at).await;
                        }
                        bytes += part.len();
                        parts.push((at, part));
                    }
                }
            }
            if !parts.is_empty() {
                bytes_under_way += bytes;
                let copied = self.writer.ask(Copy { parts });
                under_way.push(async move { (bytes, copied.await) });
            }
            if input.capacity() - input.len() < READ_BYTES / 8 {
                input.reserve(READ_BYTES);
            }
            tokio::select! {
                biased;
                Some((bytes, copied)) = under_way.next() => {
                    bytes_under_way -= bytes;
                    let copied = copied.map_err(|_| io::Error::other("the log-writer has failed"))?;
                    copied.map_err(io::Error::other)?;
                }
                read = timeout(silence, reader.read_buf(&mut input)), if bytes_under_way < MAX_UNDER_WAY => {
                    let late = |_| io::Error::other(format!("the master said nothing for {silence:?}"));
                    if read.map_err(late)?? == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Says how far the log is here, as safe as this broker's own policy wants it.
    async fn report(
        &self,
        mut writer: impl AsyncWrite + Unpin,
        mut reported: PhysicalOffset,
    ) -> io::Result<()> {
        let context = &self.context;
        let heartbeat = context.link_heartbeat();
        let log = &context.store.log;
        let safe = || match context.settings.store.flush {
            Flush::Async => log.appended(),
            Flush::Sync => log.flushed(),
        };
        loop {
            writer.write_all(&encode_report(reported)).await?;
            let grown = context.pulse.until(|| safe() > reported);
            let _ = timeout(heartbeat, grown).await;
            reported = safe().max(reported);
        }
    }
}
