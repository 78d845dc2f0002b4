//! Messages that are acknowledged one by one.

use castmq_protocol::native::request::{
    ANY_QUEUE, Acknowledge, ChangeInvisible, Pop, PopOrder, PopReceipt, StartFrom,
};
use castmq_protocol::native::response::{Acknowledged, Popped, RefusedReceipt};

use super::*;
use crate::delivery::pop::error::ReceiptError;
use crate::delivery::pop::ledger::Order;
use crate::delivery::pop::receipt::Receipt;
use crate::delivery::popper::{self, Habit, HandedOut, Popper, Refused, Withdraw, refusal};
use crate::supervision::{ActorRef, AskError};

/// Messages of one answer.
const MAX_MESSAGES: u32 = 1024;

/// Bytes of one answer, but always one message.
const MAX_BYTES: u32 = 1024 * 1024;

/// Pops of one connection that may wait.
const MAX_WAITING: usize = 1024;

/// Acknowledgements of one connection that may be on their way to the log.
const MAX_SETTLING: usize = 4096;

/// A receipt that says which attempt it is of. Nobody is given one of attempt 0, which stands for any where clients of RocketMQ
/// show what they have.
fn of_one_attempt(receipt: PopReceipt) -> PopReceipt {
    match receipt.attempt {
        Receipt::ANY_ATTEMPT => PopReceipt {
            attempt: u32::MAX,
            ..receipt
        },
        _ => receipt,
    }
}

/// What the session has asked the popper. Dropping it withdraws what waits.
pub(super) struct Pops {
    popper: ActorRef<Popper>,
    member: u64,
    /// Those that are owed an answer.
    waiting: usize,
    /// Those of them whose messages would not fit what waits to be written: they are asked for when it is.
    held: VecDeque<(u64, popper::Pop)>,
    settling: usize,
    has_popped: bool,
}

impl Pops {
    pub(super) fn new(popper: ActorRef<Popper>, member: u64) -> Self {
        Self {
            popper,
            member,
            waiting: 0,
            held: VecDeque::new(),
            settling: 0,
            has_popped: false,
        }
    }

    /// Whether acknowledgements are on their way.
    pub(super) fn is_owing(&self) -> bool {
        self.settling > 0
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

impl ConsumerSession {
    pub(super) fn pop(
        &mut self,
        correlation: u64,
        pop: &Pop,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Option<Response>, Refusal> {
        let group = self.groups.get(pop.group)?.clone();
        let queue = (pop.queue != ANY_QUEUE).then_some(pop.queue);
        let topic = self.readable(pop.topic, queue.unwrap_or_default())?;
        self.context.check_writes()?;
        self.check_pop(pop, &group)?;
        let question = popper::Pop {
            member: self.pops.member,
            group,
            topic,
            queue,
            max_messages: pop.max_messages.min(MAX_MESSAGES),
            max_bytes: MAX_BYTES.min(self.context.limits.max_frame_bytes / 2),
            invisible_ms: pop.invisible_ms,
            from: pop.from,
            filter: compile(&pop.filter)?,
            habit: Arc::new(Habit::new(
                pop.filter.clone(),
                match pop.order {
                    PopOrder::Any => Order::Unordered,
                    PopOrder::Queue => Order::Queue,
                    PopOrder::Key => Order::Keyed,
                },
            )),
            attempt_id: pop.attempt_id,
            wait: Duration::from_millis(pop.wait_ms.into()),
        };
        self.pops.waiting += 1;
        self.pops.held.push_back((correlation, question));
        self.ask_for_held(ctx);
        Ok(None)
    }

    /// Asks for messages, unless too much waits to be written: they would be out for nothing.
    pub(super) fn ask_for_held(&mut self, ctx: &mut Ctx<'_, Self>) {
        while self.connection.pending_bytes() < MAX_PENDING_BYTES
            && let Some((correlation, question)) = self.pops.held.pop_front()
        {
            self.pops.has_popped = true;
            let asked = self.pops.popper.ask(question);
            ctx.then(asked, move |session, answer, _| {
                session.popped(correlation, answer);
            });
        }
    }

    fn check_pop(&self, pop: &Pop, group: &GroupName) -> Result<(), Refusal> {
        let never = |code, message: String| Err(Refusal::never(code, message));
        if let StartFrom::Timestamp(_) = pop.from {
            return never(
                ErrorCode::NotSupported,
                "a group that pops begins at the earliest or the latest message: reset its offsets to a time first"
                    .to_owned(),
            );
        }
        if pop.max_messages == 0 || pop.invisible_ms == 0 {
            return never(
                ErrorCode::InvalidRequest,
                "a pop asks for one message or more, for one millisecond or more".to_owned(),
            );
        }
        self.context.groups.consuming(group)?;
        if self.pops.waiting >= MAX_WAITING {
            return Err(Refusal::safe(
                ErrorCode::Busy,
                format!("{MAX_WAITING} pops of this connection wait already: wait for some"),
            ));
        }
        Ok(())
    }

    fn popped(&mut self, correlation: u64, answer: Result<Result<HandedOut, Refusal>, AskError>) {
        self.pops.waiting -= 1;
        match answer {
            Ok(Ok(out)) => {
                let messages = out.receipts.len() as u64;
                self.delivered += messages;
                self.context.meters.delivered(messages);
                let receipts = out.receipts;
                let response = Response::Popped(Popped { receipts });
                self.connection
                    .answer_with_log(correlation, response, out.records);
            }
            Ok(Err(refusal)) => self.connection.fail(correlation, refusal),
            // Messages that were on their way come again.
            Err(lost) => {
                let refusal = Refusal::safe(ErrorCode::Busy, format!("{lost}: pop again"));
                self.connection.fail(correlation, refusal);
            }
        }
    }

    pub(super) fn acknowledge(
        &mut self,
        correlation: u64,
        ack: Acknowledge,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Option<Response>, Refusal> {
        self.context.standing.check_master()?;
        self.check_settling()?;
        let question = popper::Acknowledge {
            group: self.groups.get(ack.group)?.clone(),
            topic: self.topics.get(ack.topic)?.name.clone(),
            receipts: ack.receipts.into_iter().map(of_one_attempt).collect(),
        };
        self.pops.settling += 1;
        let asked = self.pops.popper.ask(question);
        ctx.then(asked, move |session, answer: Result<Refused, _>, _| {
            let refused = answer.map(|refused| {
                let refused = refused.into_iter().map(|(place, error)| RefusedReceipt {
                    place,
                    failure: refusal(&error),
                });
                Response::Acknowledged(Acknowledged {
                    refused: refused.collect(),
                })
            });
            session.settled(correlation, refused.map(Ok));
        });
        Ok(None)
    }

    pub(super) fn change_invisible(
        &mut self,
        correlation: u64,
        change: &ChangeInvisible,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Option<Response>, Refusal> {
        self.context.standing.check_master()?;
        self.check_settling()?;
        let question = popper::ChangeInvisible {
            group: self.groups.get(change.group)?.clone(),
            topic: self.topics.get(change.topic)?.name.clone(),
            receipt: of_one_attempt(change.receipt),
            invisible_ms: change.invisible_ms,
        };
        self.pops.settling += 1;
        let asked = self.pops.popper.ask(question);
        type Changed = Result<Result<PopReceipt, ReceiptError>, AskError>;
        ctx.then(asked, move |session, answer: Changed, _| {
            let changed = answer.map(|changed| match changed {
                Ok(receipt) => Ok(Response::InvisibleChanged { receipt }),
                Err(error) => Err(refusal(&error)),
            });
            session.settled(correlation, changed);
        });
        Ok(None)
    }

    fn check_settling(&self) -> Result<(), Refusal> {
        if self.pops.settling < MAX_SETTLING {
            return Ok(());
        }
        Err(Refusal::safe(
            ErrorCode::Busy,
            format!(
                "{MAX_SETTLING} acknowledgements of this connection are on their way: wait for some"
            ),
        ))
    }

    fn settled(&mut self, correlation: u64, answer: Result<Result<Response, Refusal>, AskError>) {
        self.pops.settling -= 1;
        match answer {
            Ok(Ok(response)) => self.connection.answer(correlation, response),
            Ok(Err(refusal)) => self.connection.fail(correlation, refusal),
            Err(lost) => {
                let refusal = Refusal::unknown(
                    ErrorCode::OutcomeUnknown,
                    format!("{lost}: acknowledging again is harmless"),
                );
                self.connection.fail(correlation, refusal);
            }
        }
    }
}
