//! What a group that pops has before it: messages that are shown without being handed out, whether there are any, and how many pops wait.

use castmq_protocol::model::QueueOffset;
use castmq_protocol::remoting::headers::pop::{
    Notification, NotificationResponse, PeekMessage, PollingInfo, PollingInfoResponse,
    PopMessageResponse,
};
use castmq_protocol::remoting::{ReadFields, response_code};
use castmq_storage::commit_log::LogSlice;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::offsets::known_topic;
use super::pulling::readable;
use super::*;
use crate::broker::topics::Topic;
use crate::delivery::fetch::{Fetch, Fetched, Patience, Wanted};
use crate::delivery::popper::{LookAhead, Outlook, Popper};
use crate::delivery::queues::QueueKey;
use crate::names::group_name;
use crate::supervision::{ActorRef, Lost, Reply};

/// Messages that are shown at once (RocketMQ's pops have as many).
const MAX_MESSAGES: u32 = 32;

/// Bytes of one answer, but always one message of a queue.
const MAX_BYTES: u32 = 1024 * 1024;

/// Queues for which a question waits at once. Where there are more, it is said that too many wait, and the client asks again.
const MAX_WATCHED: usize = 64;

/// Questions of one connection that may wait.
const MAX_WAITING: usize = 1024;

/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(60);

impl RemotingSession {
    /// What is asked of a group's messages of a topic, checked as for a pop.
    fn group_and_topic(
        &self,
        group: &str,
        topic: &str,
        queue: i32,
        in_order: bool,
    ) -> Result<LookAhead, Refused> {
        self.context.check_reads()?;
        self.context.standing.check_master()?;
        let group = group_name(group)?;
        self.context.groups.consuming(&group)?;
        let topic = known_topic(&self.context, topic)?;
        let queue = match queue {
            ..0 => None,
            queue => Some(readable(&topic, queue)?),
        };
        topic.check_read(queue.unwrap_or_default())?;
        Ok(LookAhead {
            group,
            topic,
            queue,
            in_order,
        })
    }

    pub(super) fn peek(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let peek = PeekMessage::from_fields(&asked.command.fields)?;
        let ahead = self.group_and_topic(peek.group, peek.topic, peek.queue, false)?;
        let most = u32::try_from(peek.max_messages).unwrap_or_default();
        let max_bytes = MAX_BYTES.min(self.context.limits.max_frame_bytes / 2);
        let most = (most.min(MAX_MESSAGES), max_bytes);
        let shown = show(self.context.clone(), self.popper(), ahead, most);
        let asker = asked.asker;
        let respond =
            move |session: &mut Self, shown: Result<Shown, Refusal>, _: &mut Ctx<'_, Self>| {
                let shown = shown?;
                let fields = PopMessageResponse {
                    popped_ms: 0,
                    invisible_ms: 0,
                    revive_queue: 0,
                    rest: i64::try_from(shown.there).unwrap_or(i64::MAX),
                    start_offsets: None,
                    message_offsets: None,
                    order_counts: None,
                };
                let said = match shown.records.is_empty() {
                    false => (response_code::SUCCESS, Some("FOUND")),
                    true => (response_code::PULL_NOT_FOUND, Some("NO_MESSAGE_IN_QUEUE")),
                };
                let connection = &mut session.connection;
                connection.respond_with_log(asker, said, &fields, shown.records);
                Ok(())
            };
        self.then(asker, async move { Ok(shown.await) }, respond, ctx);
        Ok(())
    }

    /// Says whether there are messages, as soon as there are.
    pub(super) fn notify(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let notification = Notification::from_fields(&asked.command.fields)?;
        let Notification {
            group,
            topic,
            queue,
            in_order,
            ..
        } = notification;
        let ahead = self.group_and_topic(group, topic, queue, in_order)?;
        let wait_ms = u64::try_from(notification.poll_ms).unwrap_or_default();
        let wait = match self.looking < MAX_WAITING {
            true => Duration::from_millis(wait_ms).min(MAX_WAIT),
            false => Duration::ZERO,
        };
        let is_full = wait.is_zero() && wait_ms > 0;
        let found = until_messages(self.context.clone(), self.popper(), ahead, wait);
        let asker = asked.asker;
        self.looking += 1;
        ctx.then(found, move |session, found, _| {
            session.looking -= 1;
            match found {
                Ok(found) => {
                    let answer = NotificationResponse {
                        has_messages: found == Found::Messages,
                        is_full: found == Found::TooManyQueues
                            || is_full && found != Found::Messages,
                    };
                    session.connection.respond(asker, &answer, b"");
                }
                Err(refusal) => session.connection.refuse(asker, &refusal.into()),
            }
        });
        Ok(())
    }

    pub(super) fn polling_info(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let info = PollingInfo::from_fields(&asked.command.fields)?;
        let ahead = self.group_and_topic(info.group, info.topic, info.queue, false)?;
        let asker = asked.asker;
        let looked = self.popper().ask(ahead);
        let respond =
            move |session: &mut Self, outlook: Result<Outlook, Refusal>, _: &mut Ctx<'_, Self>| {
                let waiting = i32::try_from(outlook?.waiting).unwrap_or(i32::MAX);
                session.respond(asker, &PollingInfoResponse { waiting })
            };
        self.then(asker, looked, respond, ctx);
        Ok(())
    }
}

async fn look(
    context: &BrokerContext,
    popper: &ActorRef<Popper>,
    ahead: &LookAhead,
) -> Result<Outlook, Refusal> {
    match popper.ask(ahead.clone()).await {
        Ok(outlook) => outlook,
        Err(lost) => Err(context.internal(lost)),
    }
}

/// Messages that are shown, and how many there are.
#[derive(Default)]
struct Shown {
    records: Vec<LogSlice>,
    there: u64,
}

/// Reads messages without handing them out: what came back first, then new ones.
async fn show(
    context: Arc<BrokerContext>,
    popper: ActorRef<Popper>,
    ahead: LookAhead,
    (mut most, mut max_bytes): (u32, u32),
) -> Result<Shown, Refusal> {
    let outlook = look(&context, &popper, &ahead).await?;
    let mut shown = Shown::default();
    for queue in &outlook.queues {
        shown.there += queue.count();
        let back = queue.back.iter().map(|offset| (*offset, 1));
        let new = queue
            .end
            .0
            .saturating_sub(queue.next.0)
            .min(u64::from(most)) as u32;
        for (offset, count) in back.chain([(queue.next, new)]) {
            let count = count.min(most);
            if count == 0 || max_bytes == 0 {
                continue;
            }
            let key = (ahead.topic.name.clone(), queue.queue);
            let wanted = wanted(&ahead.topic, offset, (count, max_bytes));
            let (sender, came) = oneshot::channel();
            let reply = Reply::to_fn(move |fetched: Result<Fetched, Lost>| {
                // Whoever asked may be gone.
                let _ = sender.send(fetched);
            });
            fetch(&context, &key, wanted, Patience::None, reply)?;
            if let Ok(Ok(fetched)) = came.await {
                let bytes: usize = fetched.records.iter().map(LogSlice::len).sum();
                most = most.saturating_sub(fetched.messages);
                max_bytes = max_bytes.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
                shown.records.extend(fetched.records);
            }
        }
    }
    Ok(shown)
}

/// What came of waiting for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Messages,
    Nothing,
    TooManyQueues,
}

/// Waits until a pop of the group would find something.
async fn until_messages(
    context: Arc<BrokerContext>,
    popper: ActorRef<Popper>,
    ahead: LookAhead,
    wait: Duration,
) -> Result<Found, Refusal> {
    let until = Instant::now() + wait;
    loop {
        let outlook = look(&context, &popper, &ahead).await?;
        if outlook.has_messages() {
            return Ok(Found::Messages);
        }
        if Instant::now() >= until {
            return Ok(Found::Nothing);
        }
        if outlook.queues.len() > MAX_WATCHED {
            return Ok(Found::TooManyQueues);
        }
        let (sender, mut came) = mpsc::channel(1);
        // What is out may come back, and is looked for then.
        let back = outlook.next_back_ms.map(|at_ms| {
            let in_ms = at_ms.saturating_sub(context.clock.now_ms()).max(1);
            Instant::now() + Duration::from_millis(in_ms.unsigned_abs())
        });
        let wake = back.map_or(until, |back| back.min(until));
        for queue in &outlook.queues {
            let key = (ahead.topic.name.clone(), queue.queue);
            let wanted = wanted(&ahead.topic, queue.end, (1, 1));
            let sender = sender.clone();
            let reply = Reply::to_fn(move |fetched: Result<Fetched, Lost>| {
                let has_messages = fetched.is_ok_and(|fetched| fetched.messages > 0);
                if has_messages {
                    // One is enough.
                    let _ = sender.try_send(());
                }
            });
            fetch(&context, &key, wanted, Patience::Until(wake), reply)?;
        }
        drop(sender);
        if let Ok(None) = timeout_at(wake, came.recv()).await {
            // All queues have answered that there is nothing, or are being started anew.
            tokio::time::sleep_until(wake.min(Instant::now() + LOOK_AGAIN)).await;
        }
    }
}

/// After a queue has failed, the next look.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

fn wanted(topic: &Arc<Topic>, offset: QueueOffset, (count, bytes): (u32, u32)) -> Wanted {
    Wanted {
        offset,
        max_messages: count,
        max_bytes: bytes,
        filter: None,
        passes_expired: Some(topic.clone()),
    }
}

fn fetch(
    context: &Arc<BrokerContext>,
    key: &QueueKey,
    wanted: Wanted,
    patience: Patience,
    reply: Reply<Fetched>,
) -> Result<(), Refusal> {
    let fetch = Fetch {
        wanted,
        patience,
        reply,
    };
    let fetched = context.deliveries.fetch(context, key, fetch);
    fetched.map_err(|failure| context.internal(failure))
}
