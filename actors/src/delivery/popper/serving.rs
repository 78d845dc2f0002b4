//! Pops: what they get, and how they wait for it.

use std::ops::Range;
use std::time::Duration;

use castmq_protocol::model::{QueueId, QueueOffset};
use castmq_protocol::native::Failure as Refusal;
use castmq_protocol::native::request::StartFrom;
use tokio::time::Instant;

use super::agreement::Agreement;
use super::hand_out::{Left, Look, Outgoing};
use super::share::{Book, ShareKey, Waiting};
use super::writing::Owed;
use super::{HandedOut, Parked, Pop, Popper};
use crate::delivery::fetch::{Fetch, Fetched, Patience, Wanted};
use crate::supervision::{Ctx, Lost, Receive, Reply};

/// A read whose queue failed is tried again after this time.
const RETRY_READ: Duration = Duration::from_millis(20);

/// Messages brought into memory at once.
const LOAD_MESSAGES: u32 = 256;

/// Bytes brought into memory at once.
const LOAD_BYTES: u32 = 256 * 1024;

/// A queue has a new message, or has waited long enough for one.
#[derive(Debug)]
pub(super) struct Watched {
    epoch: u64,
    share: ShareKey,
    queue: QueueId,
    fetched: Result<Fetched, Lost>,
}

/// Messages were brought into memory.
#[derive(Debug)]
pub(super) struct Loaded {
    epoch: u64,
    share: ShareKey,
    queue: QueueId,
    offset: QueueOffset,
    fetched: Result<Fetched, Lost>,
}

/// There may be more in a queue.
#[derive(Debug)]
pub(super) struct Further {
    epoch: u64,
    share: ShareKey,
    queue: QueueId,
}

impl Popper {
    pub(super) fn pop(
        &mut self,
        pop: Pop,
        reply: Reply<Result<HandedOut, Refusal>>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        if !self.is_ready {
            self.parked.push(Parked::Pop(pop, reply));
            return;
        }
        self.stay_awake(ctx);
        let served = self.take_part(&pop);
        match served.and_then(|()| self.serve(&pop, None, ctx)) {
            Err(refusal) => reply.send(Err(refusal)),
            Ok(out) if !out.is_empty() => self.owe(out, reply),
            Ok(_) => {
                let waiting = Waiting {
                    until: Instant::now() + pop.wait,
                    pop,
                    reply,
                };
                self.wait(waiting, ctx);
            }
        }
        self.end_turn(ctx);
    }

    /// Whether the pop's consumer agrees with those that are there.
    fn take_part(&mut self, pop: &Pop) -> Result<(), Refusal> {
        let key = (pop.group.clone(), pop.topic.name.clone());
        let share = self.shares.entry(key.clone()).or_default();
        let is_waited = !share.waiting.is_empty();
        let now = Instant::now();
        Agreement::take_part(&mut share.agreement, &pop.habit, is_waited, now, &key)
    }

    fn owe(&mut self, out: Outgoing, reply: Reply<Result<HandedOut, Refusal>>) {
        let out = out.finish();
        self.handed_out += out.receipts.len() as u64;
        self.writing.owe(Owed::Messages(reply, out));
    }

    /// Lets a pop wait for a message; one that does not want to, for what is on its way from the disk.
    fn wait(&mut self, waiting: Waiting, ctx: &mut Ctx<'_, Self>) {
        let pop = &waiting.pop;
        let key = (pop.group.clone(), pop.topic.name.clone());
        let queues = queues_of(pop, None);
        let share = self.shares.get(&key);
        let is_loading = share.is_some_and(|share| share.is_loading(&queues));
        if pop.wait.is_zero() && !is_loading {
            waiting.reply.send(Ok(Outgoing::default().finish()));
            return;
        }
        let is_patient = !pop.wait.is_zero();
        self.wake_at(waiting.until, ctx);
        if let Some(share) = self.shares.get_mut(&key) {
            share.waiting.push_back(waiting);
        }
        if is_patient {
            queues.for_each(|queue| self.watch(&key, QueueId(queue), ctx));
        }
    }

    /// Hands out what a pop may have, of one queue or of all that it wants.
    fn serve(
        &mut self,
        pop: &Pop,
        only: Option<QueueId>,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Outgoing, Refusal> {
        pop.topic.check_read(pop.queue.unwrap_or_default())?;
        let key = (pop.group.clone(), pop.topic.name.clone());
        let queues = queues_of(pop, only);
        let share = self.shares.entry(key.clone()).or_default();
        let turn = share.turn;
        share.turn = turn.wrapping_add(1);
        self.open_books(pop, &key, &queues);
        let now_ms = self.now_ms();
        let max_attempts = self.max_attempts(&pop.group);
        let mut out = Outgoing::default();
        for step in 0..queues.len() as u32 {
            if out.room(pop) == 0 {
                break;
            }
            let id = QueueId(match pop.topic.is_by_priority() {
                true => queues.end - 1 - step,
                false => queues.start + turn.wrapping_add(step) % queues.len() as u32,
            });
            let context = self.context.clone();
            let share = self.shares.get_mut(&key);
            let Some(book) = share.and_then(|share| share.books.get_mut(&id)) else {
                continue;
            };
            let queue = context.store.queues.queue(&key.1, id);
            let look = Look {
                log: &context.store.log,
                end: context.hidden.end_of(&queue),
                queue: &queue,
                id,
                pop,
                now_ms,
                clock: &context.clock,
                max_attempts,
            };
            let left = look.hand_out(book, &mut out);
            let left = left.unwrap_or_else(|error| {
                tracing::warn!(topic = %key.1, queue = %id, %error, "a queue cannot be read");
                Left::default()
            });
            self.changed(&key, id);
            if let Some(offset) = left.cold {
                self.load(&key, id, offset, ctx);
            } else if left.has_more && out.is_empty() {
                self.look_further(&key, id, ctx);
            }
            self.bury(&key, id, &left.exhausted, ctx);
        }
        self.context.meters.expired(out.expired);
        Ok(out)
    }

    /// Makes the ledgers that are not there yet. The first time a group reads a topic it begins where it says, in every
    /// queue there is by then; queues that come later are read from their start.
    fn open_books(&mut self, pop: &Pop, key: &ShareKey, queues: &Range<u32>) {
        let settings = self.settings();
        let Some(share) = self.shares.get_mut(key) else {
            return;
        };
        let is_open = |queue: u32| share.books.contains_key(&QueueId(queue));
        if queues.clone().all(is_open) {
            return;
        }
        let offsets = &self.context.offsets;
        let begins = !offsets.knows_topic(&key.0, &key.1);
        let all = match begins {
            true => 0..pop.topic.read_queues(),
            false => queues.clone(),
        };
        for id in all.map(QueueId) {
            if share.books.contains_key(&id) {
                continue;
            }
            let queue = self.context.store.queues.queue(&key.1, id);
            let place = (key.1.clone(), id);
            let floor = match offsets.get(&key.0, &place) {
                Some(offset) => offset.min(queue.max_offset()),
                None if begins && pop.from == StartFrom::Latest => queue.max_offset(),
                None => queue.min_offset(),
            };
            offsets.set(&key.0, place, floor);
            share.books.insert(id, Book::new(settings, floor));
            self.writing.note_change(key, id, share);
        }
    }

    /// Answers pops that wait, when there is something for them in one queue or in any.
    pub(super) fn serve_waiting(
        &mut self,
        key: &ShareKey,
        only: Option<QueueId>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        // Those for which there is nothing. They stay where they are.
        let mut passed_over = Vec::new();
        while let Some(next) = self.next_waiting(key) {
            if only.is_some() && next.pop.queue.is_some_and(|queue| only != Some(queue)) {
                passed_over.push(next);
                continue;
            }
            match self.serve(&next.pop, only, ctx) {
                Err(refusal) => next.reply.send(Err(refusal)),
                Ok(out) if !out.is_empty() => {
                    self.owe(out, next.reply);
                    self.answered(key);
                }
                Ok(_) => {
                    // Nor is there anything for those behind it.
                    let is_dry = only.is_some() || next.pop.queue.is_none();
                    passed_over.push(next);
                    if is_dry {
                        break;
                    }
                }
            }
        }
        if let Some(share) = self.shares.get_mut(key) {
            for waiting in passed_over.into_iter().rev() {
                share.waiting.push_front(waiting);
            }
        }
    }

    fn next_waiting(&mut self, key: &ShareKey) -> Option<Waiting> {
        self.shares.get_mut(key)?.waiting.pop_front()
    }

    /// Has a queue tell of its next message.
    pub(super) fn watch(&mut self, key: &ShareKey, id: QueueId, ctx: &mut Ctx<'_, Self>) {
        let epoch = self.epoch;
        let Some(share) = self.shares.get_mut(key) else {
            return;
        };
        let Some(book) = share.books.get_mut(&id).filter(|book| !book.is_watched) else {
            return;
        };
        let until = share.waiting.iter().map(|waiting| waiting.until).max();
        let Some(until) = until else {
            return;
        };
        let queue = self.context.store.queues.queue(&key.1, id);
        let share = key.clone();
        let fetch = Fetch {
            wanted: Wanted {
                // What lies before has been looked at.
                offset: self.context.hidden.end_of(&queue),
                max_messages: 1,
                max_bytes: 1,
                filter: None,
                passes_expired: None,
            },
            patience: Patience::Until(until),
            reply: Reply::to_mailbox(ctx.me().mailbox(), move |fetched| Watched {
                epoch,
                share,
                queue: id,
                fetched,
            }),
        };
        book.is_watched = true;
        self.fetch(key, id, fetch, ctx);
    }

    /// Has messages brought into memory.
    fn load(&mut self, key: &ShareKey, id: QueueId, offset: QueueOffset, ctx: &mut Ctx<'_, Self>) {
        let epoch = self.epoch;
        let share = self.shares.get_mut(key);
        let Some(book) = share.and_then(|share| share.books.get_mut(&id)) else {
            return;
        };
        if book.is_loading {
            return;
        }
        book.is_loading = true;
        let share = key.clone();
        let fetch = Fetch {
            wanted: Wanted {
                offset,
                max_messages: LOAD_MESSAGES,
                max_bytes: LOAD_BYTES,
                filter: None,
                passes_expired: None,
            },
            patience: Patience::None,
            reply: Reply::to_mailbox(ctx.me().mailbox(), move |fetched| Loaded {
                epoch,
                share,
                queue: id,
                offset,
                fetched,
            }),
        };
        self.fetch(key, id, fetch, ctx);
    }

    /// Has a queue looked at again in another turn: the filter lets few messages through.
    fn look_further(&mut self, key: &ShareKey, queue: QueueId, ctx: &mut Ctx<'_, Self>) {
        let (epoch, share) = (self.epoch, key.clone());
        if let Some(book) = self.book(key, queue)
            && !book.is_loading
        {
            book.is_loading = true;
            ctx.me().tell(Further {
                epoch,
                share,
                queue,
            });
        }
    }

    pub(super) fn fetch(&self, key: &ShareKey, id: QueueId, fetch: Fetch, ctx: &mut Ctx<'_, Self>) {
        let place = (key.1.clone(), id);
        let fetched = self.context.deliveries.fetch(&self.context, &place, fetch);
        if let Err(failure) = fetched {
            ctx.fail(failure);
        }
    }

    /// Goes on with the pops that wait for a queue, and has it watched for those that still do.
    pub(super) fn go_on(&mut self, key: &ShareKey, queue: QueueId, ctx: &mut Ctx<'_, Self>) {
        self.serve_waiting(key, Some(queue), ctx);
        self.watch(key, queue, ctx);
        self.end_turn(ctx);
    }
}

/// The queues that a pop wants, of all or of one.
pub(super) fn queues_of(pop: &Pop, only: Option<QueueId>) -> Range<u32> {
    match only.or(pop.queue) {
        Some(QueueId(queue)) => queue..queue.saturating_add(1),
        None => 0..pop.topic.read_queues(),
    }
}

impl Receive<Watched> for Popper {
    fn receive(&mut self, watched: Watched, ctx: &mut Ctx<'_, Self>) {
        let Watched { share, queue, .. } = watched;
        if watched.epoch != self.epoch {
            return;
        }
        if watched.fetched.is_err() {
            ctx.after(RETRY_READ, move |popper, ctx| {
                if let Some(book) = popper.book(&share, queue) {
                    book.is_watched = false;
                    popper.go_on(&share, queue, ctx);
                }
            });
            return;
        }
        if let Some(book) = self.book(&share, queue) {
            book.is_watched = false;
            self.go_on(&share, queue, ctx);
        }
    }
}

impl Receive<Loaded> for Popper {
    fn receive(&mut self, loaded: Loaded, ctx: &mut Ctx<'_, Self>) {
        let Loaded { share, queue, .. } = loaded;
        if loaded.epoch != self.epoch {
            return;
        }
        let Ok(fetched) = loaded.fetched else {
            ctx.after(RETRY_READ, move |popper, ctx| {
                if let Some(book) = popper.book(&share, queue) {
                    book.is_loading = false;
                    popper.go_on(&share, queue, ctx);
                }
            });
            return;
        };
        if let Some(book) = self.book(&share, queue) {
            book.is_loading = false;
            book.loaded = loaded.offset.0..fetched.next_offset.0;
            self.go_on(&share, queue, ctx);
        }
    }
}

impl Receive<Further> for Popper {
    fn receive(&mut self, further: Further, ctx: &mut Ctx<'_, Self>) {
        if further.epoch != self.epoch {
            return;
        }
        if let Some(book) = self.book(&further.share, further.queue) {
            book.is_loading = false;
            self.go_on(&further.share, further.queue, ctx);
        }
    }
}
