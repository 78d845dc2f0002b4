//! Messages that are acknowledged one by one.

use castmq_protocol::model::{QueueId, QueueOffset, TopicName};
use castmq_protocol::native::request::{Filter, PopReceipt, StartFrom};
use castmq_protocol::record::RecordView;
use castmq_protocol::remoting::bodies::ack::{BatchAck, BatchAckMessages};
use castmq_protocol::remoting::bodies::assignment::{RequestMode, SetRequestMode};
use castmq_protocol::remoting::bodies::heartbeat::Subscription;
use castmq_protocol::remoting::headers::pop::{
    AckMessage, ChangeInvisible, ChangeInvisibleResponse, ORDER_REVIVE_QUEUE, PopMessage,
    PopMessageResponse, init_mode,
};
use castmq_protocol::remoting::json::from_slice;
use castmq_protocol::remoting::pop::{
    MessageOffsets, QueueMessages, Receipt as ReceiptText, StartOffset, StartOffsets, TopicKind,
};
use castmq_protocol::remoting::{ReadFields, response_code};

use super::offsets::known_topic;
use super::pulling::{compile, readable, understand};
use super::*;
use crate::delivery::pop::error::ReceiptError;
use crate::delivery::pop::ledger::Order;
use crate::delivery::pop::receipt::Receipt;
use crate::delivery::popper::{
    self, Habit, HandedOut, Popper, Refused as RefusedReceipts, Withdraw,
};
use crate::names::{group_name, topic_name};
use crate::supervision::ActorRef;

/// Messages of one answer (RocketMQ takes as many).
const MAX_MESSAGES: u32 = 32;

/// Bytes of one answer, but always one message.
const MAX_BYTES: u32 = 1024 * 1024;

/// Pops of one connection that may wait.
const MAX_WAITING: usize = 1024;

/// The most messages that are acknowledged at once.
const MAX_ACKNOWLEDGED: usize = 64 * 1024;

/// What the session has asked the popper. Dropping it withdraws what waits.
pub(super) struct Pops {
    popper: ActorRef<Popper>,
    member: u64,
    /// Those that are owed an answer.
    waiting: usize,
    has_popped: bool,
}

impl Pops {
    pub(super) fn new(context: &BrokerContext, member: SessionId) -> Result<Self, Failure> {
        Ok(Self {
            popper: context.actors()?.popper.clone(),
            // Numbers of native members are others'.
            member: member | 1 << 63,
            waiting: 0,
            has_popped: false,
        })
    }
}

impl Drop for Pops {
    fn drop(&mut self) {
        if self.has_popped {
            let member = self.member;
            self.popper.tell(Withdraw { member });
        }
    }
}

impl RemotingSession {
    pub(super) fn popper(&self) -> ActorRef<Popper> {
        self.pops.popper.clone()
    }

    pub(super) fn pop(
        &mut self,
        asked: &Asked<'_>,
        buffer: &Bytes,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let pop = PopMessage::from_fields(&asked.command.fields)?;
        self.context.check_reads()?;
        self.context.check_writes()?;
        let group = group_name(pop.group)?;
        if self.context.groups.config(group.as_str()).is_none() {
            return self.again_with_group(asked, &group, buffer, ctx);
        }
        self.context.groups.consuming(&group)?;
        let topic = known_topic(&self.context, pop.topic)?;
        let queue = match pop.queue {
            ..0 => None,
            queue => Some(readable(&topic, queue)?),
        };
        let subscription = Subscription {
            expression_type: pop.expression_type.unwrap_or("TAG").to_owned(),
            expression: pop.expression.unwrap_or_default().to_owned(),
            ..Subscription::default()
        };
        let invisible_ms = u32::try_from(pop.invisible_ms).unwrap_or_default();
        let max_messages = u32::try_from(pop.max_messages).unwrap_or_default();
        if !(1..=MAX_MESSAGES).contains(&max_messages) || invisible_ms == 0 {
            return Err(Refused::new(
                response_code::INVALID_PARAMETER,
                format!(
                    "a pop asks for 1 to {MAX_MESSAGES} messages, not {}, for one millisecond or more, not {}",
                    pop.max_messages, pop.invisible_ms
                ),
            ));
        }
        if self.pops.waiting >= MAX_WAITING {
            return Err(Refused::new(
                response_code::POLLING_FULL,
                format!("{MAX_WAITING} pops of this connection wait already: wait for some"),
            ));
        }
        let order = match pop.in_order {
            true => Order::Queue,
            false => Order::Unordered,
        };
        let filter: Filter = understand(&subscription)?;
        let wait_ms = u64::try_from(pop.poll_ms).unwrap_or_default();
        let question = popper::Pop {
            member: self.pops.member,
            group,
            topic: topic.clone(),
            queue,
            max_messages,
            max_bytes: MAX_BYTES.min(self.context.limits.max_frame_bytes / 2),
            invisible_ms,
            from: match pop.init_mode {
                init_mode::MAX => StartFrom::Latest,
                _ => StartFrom::Earliest,
            },
            filter: compile(&subscription)?,
            habit: Arc::new(Habit::new(filter, order)),
            attempt_id: pop
                .attempt_id
                .map(|id| crc32fast::hash(id.as_bytes()).into()),
            wait: Duration::from_millis(wait_ms),
        };
        let revive_queue = match order {
            Order::Queue => ORDER_REVIVE_QUEUE,
            _ => 0,
        };
        let (asker, popper) = (asked.asker, self.pops.popper.clone());
        self.pops.waiting += 1;
        self.pops.has_popped = true;
        ctx.then(popper.ask(question), move |session, answer, _| {
            session.pops.waiting -= 1;
            let out = match answer {
                Ok(out) => out.map_err(Refused::from),
                // Messages that were on their way come again.
                Err(lost) => {
                    let remark = format!("{lost}: pop again");
                    Err(Refused::new(response_code::SYSTEM_BUSY, remark))
                }
            };
            match out {
                Ok(out) => session.popped(asker, out, (wait_ms, revive_queue)),
                Err(refused) => session.connection.refuse(asker, &refused),
            }
        });
        Ok(())
    }

    fn popped(&mut self, asker: Asker, out: HandedOut, (wait_ms, revive_queue): (u64, i32)) {
        let Some(first) = out.receipts.first() else {
            let said = match wait_ms {
                0 => (response_code::PULL_NOT_FOUND, None),
                _ => (response_code::POLLING_TIMEOUT, None),
            };
            self.connection.respond_as(asker, said, &(), b"");
            return;
        };
        let messages = out.receipts.len() as u64;
        self.delivered += messages;
        self.context.meters.delivered(messages);
        let mut queues: Vec<QueueMessages> = Vec::new();
        for receipt in &out.receipts {
            let (queue, offset) = (receipt.queue.0 as i32, receipt.offset.0 as i64);
            match queues.iter_mut().find(|known| known.queue == queue) {
                Some(known) => known.offsets.push(offset),
                None => queues.push(QueueMessages {
                    kind: TopicKind::Normal,
                    queue,
                    offsets: vec![offset],
                }),
            }
        }
        let starts = queues.iter().map(|of| StartOffset {
            kind: of.kind,
            queue: of.queue,
            offset: of.offsets.iter().copied().min().unwrap_or_default(),
        });
        let starts = StartOffsets(starts.collect()).to_string();
        let offsets = MessageOffsets(queues).to_string();
        let fields = PopMessageResponse {
            popped_ms: first.popped_at_ms,
            invisible_ms: first.invisible_ms.into(),
            revive_queue,
            rest: 0,
            start_offsets: Some(&starts),
            message_offsets: Some(&offsets),
            order_counts: None,
        };
        let said = (response_code::SUCCESS, Some("FOUND"));
        if out.receipts.iter().all(|receipt| receipt.attempt <= 1) {
            self.connection
                .respond_with_log(asker, said, &fields, out.records);
            return;
        }
        let body = with_attempts(&out);
        self.connection.respond_as(asker, said, &fields, &body);
    }

    pub(super) fn acknowledge(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let ack = AckMessage::from_fields(&asked.command.fields)?;
        self.context.standing.check_master()?;
        let question = popper::Acknowledge {
            group: group_name(ack.group)?,
            topic: known_topic(&self.context, ack.topic)?.name.clone(),
            receipts: vec![receipt_of(ack.receipt, ack.offset)?],
        };
        let asker = asked.asker;
        let settled = self.pops.popper.ask(question);
        let respond = move |session: &mut Self, refused: RefusedReceipts, _: &mut Ctx<'_, Self>| {
            match refused.into_iter().next() {
                None => session.respond(asker, &()),
                Some((_, error)) => Err(no_message(&error)),
            }
        };
        self.then(asker, settled, respond, ctx);
        Ok(())
    }

    /// Acknowledges messages of several queues, also of several topics and groups. What is not out any more is passed over.
    pub(super) fn acknowledge_many(
        &mut self,
        asked: &Asked<'_>,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let acks: BatchAckMessages = from_slice(asked.body.bytes)?;
        self.context.standing.check_master()?;
        let mut questions: BTreeMap<(GroupName, TopicName), Vec<PopReceipt>> = BTreeMap::new();
        let mut count = 0;
        for ack in &acks.acks {
            let key = (group_name(&ack.group)?, topic_name(&ack.topic)?);
            let receipts = receipts_of(ack)?;
            count += receipts.len();
            questions.entry(key).or_default().extend(receipts);
        }
        if count > MAX_ACKNOWLEDGED {
            return Err(Refused::new(
                response_code::SYSTEM_ERROR,
                format!(
                    "{count} messages are more than the {MAX_ACKNOWLEDGED} that are acknowledged at once"
                ),
            ));
        }
        let popper = self.pops.popper.clone();
        let settled = async move {
            for ((group, topic), receipts) in questions {
                let question = popper::Acknowledge {
                    group,
                    topic,
                    receipts,
                };
                popper.ask(question).await?;
            }
            Ok(())
        };
        let asker = asked.asker;
        let respond =
            move |session: &mut Self, (), _: &mut Ctx<'_, Self>| session.respond(asker, &());
        self.then(asker, settled, respond, ctx);
        Ok(())
    }

    pub(super) fn change_invisible(
        &mut self,
        asked: &Asked<'_>,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let change = ChangeInvisible::from_fields(&asked.command.fields)?;
        self.context.standing.check_master()?;
        let question = popper::ChangeInvisible {
            group: group_name(change.group)?,
            topic: known_topic(&self.context, change.topic)?.name.clone(),
            receipt: receipt_of(change.receipt, change.offset)?,
            invisible_ms: u32::try_from(change.invisible_ms.max(1)).unwrap_or(u32::MAX),
        };
        let asker = asked.asker;
        let revive_queue = ReceiptText::parse(change.receipt).map_or(0, |text| text.revive_queue);
        let changed = self.pops.popper.ask(question);
        let respond = move |session: &mut Self,
                            changed: Result<PopReceipt, ReceiptError>,
                            _: &mut Ctx<'_, Self>| {
            let receipt = changed.map_err(|error| no_message(&error))?;
            let fields = ChangeInvisibleResponse {
                popped_ms: receipt.popped_at_ms,
                invisible_ms: receipt.invisible_ms.into(),
                revive_queue,
            };
            session.respond(asker, &fields)
        };
        self.then(asker, changed, respond, ctx);
        Ok(())
    }

    pub(super) fn set_request_mode(&mut self, asked: &Asked<'_>) -> Handled {
        let set: SetRequestMode = from_slice(asked.body.bytes)?;
        let (group, topic) = (group_name(&set.consumer_group)?, topic_name(&set.topic)?);
        let groups = &self.context.client_groups;
        groups.set_pops(group, topic, set.mode == RequestMode::Pop);
        self.respond(asked.asker, &())
    }
}

/// The records as the consumer is to see them: with how often they were handed out before.
fn with_attempts(out: &HandedOut) -> Vec<u8> {
    let mut body: Vec<u8> = out
        .records
        .iter()
        .flat_map(|slice| slice.as_ref())
        .copied()
        .collect();
    let mut start = 0;
    for receipt in &out.receipts {
        let rest = body.get_mut(start..).unwrap_or_default();
        let Ok(record) = RecordView::parse(rest) else {
            break;
        };
        let (at, bytes) = (record.reconsume_times_at(), record.total_bytes());
        let before = record.reconsume_times();
        let times = before.saturating_add(receipt.attempt.saturating_sub(1) as i32);
        if let Some(place) = rest.get_mut(at..at + size_of::<i32>()) {
            place.copy_from_slice(&times.to_be_bytes());
        }
        start += bytes;
    }
    body
}

fn no_message(error: &ReceiptError) -> Refused {
    Refused::new(response_code::NO_MESSAGE, error.to_string())
}

/// What a client shows for a message that it has.
fn receipt_of(text: &str, offset: i64) -> Result<PopReceipt, Refused> {
    let wrong = |remark: String| Refused::new(response_code::INVALID_PARAMETER, remark);
    let read = ReceiptText::parse(text).map_err(|error| wrong(error.to_string()))?;
    if read.offset != offset {
        return Err(wrong(format!(
            "the receipt is of offset {} and not of {offset}",
            read.offset
        )));
    }
    receipt(read.queue, read.offset, read.popped_ms, read.invisible_ms)
        .ok_or_else(|| wrong("a number of the receipt is out of range".to_owned()))
}

fn receipts_of(ack: &BatchAck) -> Result<Vec<PopReceipt>, Refused> {
    let bits = (0..=usize::from(u16::MAX)).filter(|bit| ack.messages.contains(*bit));
    let receipts = bits.map(|bit| {
        let offset = ack.start_offset.checked_add(bit as i64)?;
        receipt(ack.queue, offset, ack.popped_ms, ack.invisible_ms)
    });
    let receipts: Option<_> = receipts.collect();
    receipts.ok_or_else(|| {
        Refused::new(
            response_code::INVALID_PARAMETER,
            "a number of the acknowledgement is out of range",
        )
    })
}

fn receipt(queue: i32, offset: i64, popped_ms: i64, invisible_ms: i64) -> Option<PopReceipt> {
    Some(PopReceipt {
        queue: QueueId(u32::try_from(queue).ok()?),
        offset: QueueOffset(u64::try_from(offset).ok()?),
        popped_at_ms: popped_ms,
        invisible_ms: u32::try_from(invisible_ms).ok()?,
        // RocketMQ's clients are told one for all messages of an answer.
        attempt: Receipt::ANY_ATTEMPT,
    })
}
