//! rocketmq-shadow: keeps what a slave of a RocketMQ master knows besides the log in step with it: topics, groups, offsets, and
//! how far the master is with messages that wait.
//!
//! How far it is counts here only once the log is here to which that belongs: what the master has moved would be lost
//! otherwise. Topics and groups that are deleted at the master stay here.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{GroupName, PhysicalOffset, QueueOffset, TopicName};
use castmq_protocol::native::replication::TimerMark;
use castmq_protocol::remoting::bodies::KvTable;
use castmq_protocol::remoting::bodies::group::GroupTable;
use castmq_protocol::remoting::bodies::offset::{ConsumerOffsets, DelayOffsets};
use castmq_protocol::remoting::bodies::topic::MappedTopicTable;
use castmq_protocol::remoting::codes::request_code;
use castmq_storage::takeover::{self, Progress};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::complaints::Complaints;
use super::remoting_wire::RemotingWire;
use crate::broker::context::BrokerContext;
use crate::metadata::actor::{Adopt, Metadata};
use crate::metadata::job::Adopted;
use crate::supervision::{ActorRef, Cast, Ctx, Failure};
use crate::worker::apart;

/// Time between two questions.
const INTERVAL: Duration = Duration::from_secs(1);

/// Progress that waits for its part of the log.
const MAX_TOLD: usize = 64;

/// The end of the log among what a broker tells of itself.
const LOG_END: &str = "commitLogMaxOffset";

/// See the module.
pub(crate) struct RocketmqShadow {
    context: Arc<BrokerContext>,
    address: String,
    complaints: Complaints,
    last_error: Option<String>,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct RocketmqShadowState {
    last_error: Option<String>,
}

impl RocketmqShadow {
    pub(crate) fn new(context: Arc<BrokerContext>, address: String) -> Self {
        Self {
            context,
            address,
            complaints: Complaints::default(),
            last_error: None,
        }
    }

    fn go_on(&self, ctx: &mut Ctx<'_, Self>) {
        let (context, address) = (self.context.clone(), self.address.clone());
        let shadowing = async move {
            let actors = context.actors();
            let actors = actors.map_err(|failure| io::Error::other(failure.to_string()))?;
            let copy = Copy {
                metadata: actors.metadata.clone(),
                wire: RemotingWire::connect(address).await?,
                context: context.clone(),
                told: VecDeque::new(),
            };
            copy.run().await
        };
        ctx.then(shadowing, |shadow, result: io::Result<()>, ctx| {
            if let Err(error) = result {
                let error = error.to_string();
                if shadow
                    .complaints
                    .is_news("the master", &error, Instant::now())
                {
                    tracing::warn!(error, "what the master keeps besides the log is not copied");
                }
                shadow.last_error = Some(error);
            }
            ctx.after(INTERVAL, |shadow, ctx| shadow.go_on(ctx));
        });
    }
}

impl Cast for RocketmqShadow {
    type State = RocketmqShadowState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        self.go_on(ctx);
        Ok(())
    }

    fn observe(&self) -> RocketmqShadowState {
        RocketmqShadowState {
            last_error: self.last_error.clone(),
        }
    }
}

/// How far the master was when its log ended there.
struct Told {
    log_end: PhysicalOffset,
    progress: Progress,
    timer: Option<TimerMark>,
}

/// What comes over one connection.
struct Copy {
    context: Arc<BrokerContext>,
    metadata: ActorRef<Metadata>,
    wire: RemotingWire,
    /// Oldest first.
    told: VecDeque<Told>,
}

impl Copy {
    async fn run(mut self) -> io::Result<()> {
        loop {
            self.tables().await?;
            self.progress().await?;
            self.take_over_progress().await?;
            sleep(INTERVAL).await;
        }
    }

    async fn tables(&mut self) -> io::Result<()> {
        let topics: MappedTopicTable = self.wire.table(request_code::GET_ALL_TOPIC_CONFIG).await?;
        let groups = request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG;
        let groups: GroupTable = self.wire.table(groups).await?;
        let mut adopted = Vec::new();
        for (name, entry) in &topics.topics {
            let config = takeover::topic_config(entry);
            let known = self.context.topics.find(name);
            if let Ok(name) = TopicName::new(name)
                && known.is_none_or(|known| known.config() != config)
            {
                adopted.push(Adopted::Topic(name, config));
            }
        }
        for (name, entry) in &groups.groups {
            let config = takeover::group_config(entry);
            if let Ok(name) = GroupName::new(name)
                && self.context.groups.config(name.as_str()).as_ref() != Some(&config)
            {
                adopted.push(Adopted::Group(name, config));
            }
        }
        if adopted.is_empty() {
            return Ok(());
        }
        let done = self.metadata.ask(Adopt(adopted)).await;
        done.map_err(io::Error::other)?
            .map_err(|refusal| io::Error::other(refusal.message))
    }

    /// Offsets count at once, since they never lead beyond what is here. The end of the log is asked for last: everything told
    /// before lies below.
    async fn progress(&mut self) -> io::Result<()> {
        let delays: DelayOffsets = self.wire.table(request_code::GET_ALL_DELAY_OFFSET).await?;
        let offsets = request_code::GET_ALL_CONSUMER_OFFSET;
        let offsets: ConsumerOffsets = self.wire.table(offsets).await?;
        // A master whose timer is off refuses.
        let timer = self
            .wire
            .ask(request_code::GET_TIMER_CHECK_POINT)
            .await
            .ok();
        let info: KvTable = self
            .wire
            .table(request_code::GET_BROKER_RUNTIME_INFO)
            .await?;
        for (group, (topic, queue), offset) in takeover::group_offsets(&offsets) {
            self.context
                .offsets
                .copy(&group, (topic, queue), Some(offset));
        }
        let log_end = info.table.get(LOG_END).and_then(|end| end.parse().ok());
        let Some(log_end) = log_end.map(PhysicalOffset) else {
            return Err(io::Error::other(format!(
                "the master does not tell {LOG_END}"
            )));
        };
        if self.told.len() >= MAX_TOLD {
            // Any of them does; the first is reached soonest.
            self.told.remove(MAX_TOLD / 2);
        }
        self.told.push_back(Told {
            log_end,
            progress: Progress::of(&offsets, &delays),
            timer: timer.and_then(|timer| timer_mark(&timer, log_end)),
        });
        Ok(())
    }

    async fn take_over_progress(&mut self) -> io::Result<()> {
        let dispatched = self.context.positions.dispatched();
        let mut reached = None;
        while let Some(told) = self.told.pop_front_if(|told| told.log_end <= dispatched) {
            reached = Some(told);
        }
        let Some(told) = reached else {
            return Ok(());
        };
        let store = self.context.store.clone();
        let noting = apart(move || {
            let timer_read_ms = told.timer.map_or(0, |mark| mark.out_to_ms + 1);
            told.progress.adopt(&store, timer_read_ms)?;
            if let Some(mark) = told.timer {
                crate::delivery::timer::note_masters(&store.metadata, mark)?;
            }
            store.metadata.flush()
        });
        noting.await?.map_err(io::Error::other)
    }
}

/// How far the master's timer was, from its `timercheck`: slots before its time are out, of the messages that had been entered.
fn timer_mark(check: &[u8], log: PhysicalOffset) -> Option<TimerMark> {
    let (fields, _) = check.as_chunks::<8>();
    let field = |index: usize| fields.get(index).map(|field| i64::from_be_bytes(*field));
    let read_ms = field(0)?;
    let entered = field(2)?.max(field(3)?);
    Some(TimerMark {
        out_to_ms: read_ms - 1,
        entered: QueueOffset(u64::try_from(entered).ok()?),
        log,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_as_far_as_its_checkpoint_says() {
        let fields = [1_700_000_000_000_i64, 52, 7, 9, 0, 0, 0];
        let check: Vec<u8> = fields
            .iter()
            .flat_map(|field| field.to_be_bytes())
            .collect();
        let mark = timer_mark(&check, PhysicalOffset(5)).unwrap();
        assert_eq!(
            (mark.out_to_ms, mark.entered, mark.log),
            (1_699_999_999_999, QueueOffset(9), PhysicalOffset(5))
        );
        assert!(timer_mark(&check[..20], PhysicalOffset(5)).is_none());
    }
}
