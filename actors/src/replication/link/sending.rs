//! The log goes out to a slave, and its acknowledgements come in.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use castmq_protocol::ha::{encode_committed, encode_header, take_report};
use castmq_protocol::model::PhysicalOffset;
use castmq_storage::commit_log::LogSlice;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::super::replicas::{Kind, Place};
use crate::broker::context::BrokerContext;
use crate::network::socket::Stream;
use crate::storage::commit_tracker::{Acknowledged, CommitTracker};
use crate::supervision::ActorRef;
use crate::worker::apart;

/// Bytes sent at once to a slave that takes any length.
const BLOCK_BYTES: u64 = 512 * 1024;

/// The same for RocketMQ's slaves, whose buffers are made for what their masters send.
const CLASSIC_BLOCK_BYTES: u64 = castmq_protocol::ha::CLASSIC_BLOCK_BYTES as u64;

/// That consumers may see more waits this long for messages to go with.
const COMMITTED_WITHIN: Duration = Duration::from_millis(2);

/// What is sent to one slave.
pub(super) struct Sending {
    context: Arc<BrokerContext>,
    tracker: Option<ActorRef<CommitTracker>>,
    place: Place,
    /// Bytes sent at once.
    block_bytes: u64,
    /// Whether it is told how far consumers may see.
    is_told_committed: bool,
    /// Behind the last byte that was sent.
    sent: Cell<PhysicalOffset>,
}

impl Sending {
    pub(super) fn new(context: Arc<BrokerContext>, place: Place, from: PhysicalOffset) -> Self {
        let tracker = context.actors().ok();
        let is_native = place.replica().kind == Kind::Native;
        Self {
            tracker: tracker.map(|actors| actors.commit_tracker.clone()),
            context,
            place,
            block_bytes: match is_native {
                true => BLOCK_BYTES,
                false => CLASSIC_BLOCK_BYTES,
            },
            is_told_committed: is_native,
            sent: Cell::new(from),
        }
    }

    pub(super) async fn run(self, socket: Stream, input: BytesMut) -> io::Result<()> {
        let (reader, writer) = tokio::io::split(socket);
        let ended = tokio::select! {
            ended = self.hear(reader, input) => ended,
            ended = self.send(writer) => ended,
        };
        // The slave is gone before anybody counts on it again.
        let Self { place, tracker, .. } = self;
        drop(place);
        if let Some(tracker) = tracker {
            tracker.tell(Acknowledged);
        }
        ended
    }

    /// Takes acknowledgements.
    async fn hear(
        &self,
        mut reader: impl AsyncRead + Unpin,
        mut input: BytesMut,
    ) -> io::Result<()> {
        let silence = self.context.link_silence();
        loop {
            let mut acknowledged = None;
            while let Some(end) = take_report(&mut input).map_err(io::Error::other)? {
                acknowledged = Some(end);
            }
            if let Some(end) = acknowledged {
                self.acknowledge(end)?;
            }
            let read = timeout(silence, reader.read_buf(&mut input)).await;
            let late = |_| {
                let reason = "it hangs, or its disk does";
                io::Error::other(format!("the slave said nothing for {silence:?}: {reason}"))
            };
            if read.map_err(late)?? == 0 {
                return Ok(());
            }
        }
    }

    fn acknowledge(&self, end: PhysicalOffset) -> io::Result<()> {
        let sent = self.sent.get();
        let before = self.place.replica().acknowledged();
        if end > sent || end < before {
            let reason = format!(
                "the slave says that its log ends at {end}, it was sent {sent} and said {before} before"
            );
            return Err(io::Error::other(reason));
        }
        self.place.replica().set_acknowledged(end);
        if let Some(tracker) = &self.tracker {
            tracker.tell(Acknowledged);
        }
        Ok(())
    }

    /// Sends the log as it grows.
    async fn send(&self, mut writer: impl AsyncWrite + Unpin) -> io::Result<()> {
        let (context, log) = (&self.context, &self.context.store.log);
        let heartbeat = context.link_heartbeat();
        let mut told = PhysicalOffset::ZERO;
        loop {
            if self.place.is_superseded() {
                return Ok(());
            }
            let mut head = BytesMut::new();
            let committed = context.shown();
            let has_news = self.is_told_committed && committed > told;
            if has_news {
                head.extend_from_slice(&encode_committed(committed));
            }
            let sent = self.sent.get();
            if sent < log.appended() {
                let block = self.block(sent).await?;
                head.extend_from_slice(&encode_header(sent, block.len()));
                // An acknowledgement may come before the write is known to be done.
                self.sent.set(sent + block.len() as u64);
                self.write(&mut writer, head, block.as_ref()).await?;
                told = told.max(committed);
                continue;
            }
            if has_news {
                let grown = context.pulse.until(|| log.appended() > sent);
                if timeout(COMMITTED_WITHIN, grown).await.is_err() {
                    self.write(&mut writer, head, &[]).await?;
                    told = committed;
                }
                continue;
            }
            let changed = context.pulse.until(|| {
                let committed = context.shown();
                log.appended() > sent || (self.is_told_committed && committed > told)
            });
            if timeout(heartbeat, changed).await.is_err() {
                let beat = BytesMut::from(&encode_header(sent, 0)[..]);
                self.write(&mut writer, beat, &[]).await?;
            }
        }
    }

    /// The next block, in memory: reading it holds nobody up.
    async fn block(&self, from: PhysicalOffset) -> io::Result<LogSlice> {
        let log = &self.context.store.log;
        let end = log.appended();
        let rest = log.rest_of_segment(from);
        let length = end.distance_from(from).min(self.block_bytes) as usize;
        let block = rest.and_then(|rest| {
            let length = length.min(rest.len());
            rest.prefix(length)
        });
        let block = block.filter(|block| !block.is_empty()).ok_or_else(|| {
            io::Error::other(format!(
                "position {from} is not in the log any more: the slave fell too far behind, and begins anew"
            ))
        })?;
        if !block.is_resident() {
            let cold = block.clone();
            apart(move || cold.load()).await??;
        }
        Ok(block)
    }

    /// Writes both; a slave that takes nothing for long is gone, whatever it says.
    async fn write(
        &self,
        writer: &mut (impl AsyncWrite + Unpin),
        mut head: BytesMut,
        mut body: &[u8],
    ) -> io::Result<()> {
        let silence = self.context.link_silence();
        while !head.is_empty() || !body.is_empty() {
            let both = [IoSlice::new(&head), IoSlice::new(body)];
            let written = timeout(silence, writer.write_vectored(&both)).await;
            let late = |_| io::Error::other(format!("the slave took nothing for {silence:?}"));
            let written = written.map_err(late)??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let of_head = written.min(head.len());
            head.advance(of_head);
            body.advance(written - of_head);
        }
        Ok(())
    }
}
