//! Reading from a queue once.

use super::*;

/// A pull that is owed an answer.
#[derive(Debug, Clone)]
pub(super) struct WaitingPull {
    correlation: u64,
    key: QueueKey,
    wanted: Wanted,
    patience: Patience,
}

/// A pull's fetch came back.
#[derive(Debug)]
pub(super) struct PullDone {
    pull: WaitingPull,
    fetched: Result<Fetched, Lost>,
}

impl ConsumerSession {
    pub(super) fn pull(
        &mut self,
        correlation: u64,
        pull: &Pull,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Option<Response>, Refusal> {
        let filter = compile(&pull.filter)?;
        let topic = self.readable(pull.topic, pull.queue)?;
        if self.waiting_pulls >= MAX_SUBSCRIPTIONS {
            return Err(Refusal::safe(
                ErrorCode::Busy,
                format!("{MAX_SUBSCRIPTIONS} pulls of this connection wait already: wait for some"),
            ));
        }
        let wait = Duration::from_millis(pull.wait_ms.into());
        let pull = WaitingPull {
            correlation,
            key: (topic.name.clone(), pull.queue),
            wanted: Wanted {
                offset: pull.offset,
                max_messages: pull.max_messages,
                max_bytes: pull.max_bytes.min(self.context.limits.max_frame_bytes / 2),
                filter,
                passes_expired: Some(topic),
            },
            patience: if wait.is_zero() {
                Patience::None
            } else {
                Patience::Until(Instant::now() + wait)
            },
        };
        self.waiting_pulls += 1;
        self.fetch_for_pull(pull, ctx);
        Ok(None)
    }

    pub(super) fn fetch_for_pull(&mut self, pull: WaitingPull, ctx: &mut Ctx<'_, Self>) {
        let key = pull.key.clone();
        let fetch = Fetch {
            wanted: pull.wanted.clone(),
            patience: pull.patience,
            reply: Reply::to_mailbox(ctx.me().mailbox(), move |fetched| PullDone {
                pull,
                fetched,
            }),
        };
        let fetched = self.context.deliveries.fetch(&self.context, &key, fetch);
        if let Err(failure) = fetched {
            ctx.fail(failure);
        }
    }
}

impl Receive<PullDone> for ConsumerSession {
    fn receive(&mut self, PullDone { pull, fetched }: PullDone, _ctx: &mut Ctx<'_, Self>) {
        let is_full = self.connection.pending_bytes() >= MAX_PENDING_BYTES;
        let has_messages = fetched.as_ref().is_ok_and(|fetched| fetched.messages > 0);
        if is_full && has_messages {
            self.held_pulls.push_back(pull);
            return;
        }
        self.waiting_pulls -= 1;
        match fetched {
            Ok(fetched) => {
                self.delivered += u64::from(fetched.messages);
                self.context.meters.delivered(fetched.messages.into());
                self.context.meters.expired(fetched.expired.into());
                let response = Response::Pulled(Pulled {
                    status: fetched.status,
                    next_offset: fetched.next_offset,
                    min_offset: fetched.min_offset,
                    max_offset: fetched.max_offset,
                    messages: fetched.messages,
                    ask_next: self.context.better_read_at(fetched.behind_bytes),
                });
                self.connection
                    .answer_with_log(pull.correlation, response, fetched.records);
            }
            Err(Lost) => {
                let refusal =
                    Refusal::safe(ErrorCode::Busy, "the queue was interrupted: pull again");
                self.connection.fail(pull.correlation, refusal);
            }
        }
    }
}
