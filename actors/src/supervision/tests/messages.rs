//! Mailboxes, questions, futures, timers, fairness.

use std::task::Poll;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::*;

#[test]
fn messages_sent_before_the_start_are_handled_after_it_in_order() {
    play(async {
        let diary = Diary::default();
        let child = puppet("a", &diary);
        let actor = child.actor_ref();
        actor.tell(Say("one"));
        actor.tell(Say("two"));
        assert_eq!(actor.depth(), 2);
        let _tree = up(Plan::new(Strategy::OneForOne).child(child)).await;
        assert_eq!(actor.ask(Count).await, Ok(2));
        assert_eq!(diary.take(), ["build a", "start a", "one a", "two a"]);
        assert_eq!(actor.depth(), 0);
    });
}

#[test]
fn the_depth_counts_what_waits_and_returns_to_zero() {
    play(async {
        let diary = Diary::default();
        let (tree, actor) = solo(&diary).await;
        for _ in 0..1_000 {
            actor.tell(Say("word"));
        }
        assert_eq!(actor.depth(), 1_000);
        assert_eq!(actor.ask(Count).await, Ok(1_000));
        assert_eq!(actor.depth(), 0);
        actor.tell(Say("never heard"));
        tree.fail(Failure::new("over"));
        calm().await;
        assert_eq!(actor.depth(), 0);
        assert!(!actor.tell(Say("refused")));
        assert_eq!(actor.depth(), 0);
    });
}

#[test]
fn a_dead_actor_refuses_messages_and_questions() {
    play(async {
        let diary = Diary::default();
        let (tree, actor) = solo(&diary).await;
        tree.stop(ms(100)).await;
        calm().await;
        assert!(!actor.is_open());
        assert!(!actor.tell(Say("hello")));
        let path = "a".to_owned();
        assert_eq!(actor.ask(Count).await, Err(AskError::Gone { path }));
    });
}

#[test]
fn a_question_may_be_answered_later_or_never() {
    play(async {
        let diary = Diary::default();
        let (_tree, actor) = solo(&diary).await;
        let later = actor.ask(Consider(Box::new(|_, reply, ctx| {
            ctx.after(ms(5_000), |_, _| reply.send(7));
        })));
        let never = actor.ask(Consider(Box::new(|_, reply, _| drop(reply))));
        let path = "a".to_owned();
        assert_eq!(never.await, Err(AskError::Lost { path }));
        assert_eq!(later.await, Ok(7));
    });
}

#[test]
fn a_question_is_handled_though_nobody_waits_for_its_answer() {
    play(async {
        let diary = Diary::default();
        let (_tree, actor) = solo(&diary).await;
        drop(actor.ask(Consider(Box::new(|puppet, reply, _| {
            puppet.note("considered");
            reply.send(1);
        }))));
        assert_eq!(actor.ask(Count).await, Ok(0));
        assert_eq!(diary.take(), ["considered a"]);
        assert_eq!(actor.depth(), 0);
    });
}

#[test]
fn a_mailbox_takes_messages_for_an_actor_or_a_function() {
    play(async {
        let diary = Diary::default();
        let (_tree, actor) = solo(&diary).await;
        let to_actor: Mailbox<Say> = actor.mailbox();
        let to_function = {
            let diary = diary.clone();
            Mailbox::from_fn(move |Say(word)| {
                diary.note(word);
                true
            })
        };
        for mailbox in [to_actor, to_function] {
            assert!(mailbox.tell(Say("hello")));
        }
        actor.ask(Count).await.unwrap();
        assert_eq!(diary.take(), ["hello", "hello a"]);
    });
}

#[test]
fn a_future_gives_its_output_to_the_actor_which_goes_on_meanwhile() {
    play(async {
        let diary = Diary::default();
        let (_tree, actor) = solo(&diary).await;
        let (sender, receiver) = oneshot::channel();
        perform(&actor, |_, ctx| {
            ctx.then(receiver, |puppet, word, _| {
                puppet.note(word.unwrap_or("nothing"));
            });
        });
        actor.tell(Say("meanwhile"));
        actor.ask(Count).await.unwrap();
        sender.send("output").unwrap();
        calm().await;
        assert_eq!(diary.take(), ["meanwhile a", "output a"]);
    });
}

#[test]
fn futures_may_spawn_futures() {
    play(async {
        let diary = Diary::default();
        let (_tree, actor) = solo(&diary).await;
        perform(&actor, |_, ctx| {
            ctx.then(async {}, |_, (), ctx| {
                ctx.poll_with(|_, ctx, _| {
                    ctx.then(async {}, |puppet, (), _| puppet.note("third"));
                    Poll::Ready(())
                });
            });
        });
        calm().await;
        assert_eq!(diary.take(), ["third a"]);
    });
}

#[test]
fn timers_fire_once_or_periodically_until_cancelled() {
    play(async {
        let diary = Diary::default();
        let (_tree, actor) = solo(&diary).await;
        perform(&actor, |_, ctx| {
            ctx.after(ms(25), |puppet, _| puppet.note("once"));
            let called_off = ctx.after(ms(12), |puppet, _| puppet.note("never"));
            let periodic = ctx.every(ms(10), |puppet, _| puppet.note("tick"));
            ctx.after(ms(11), move |_, _| called_off.cancel());
            ctx.after(ms(45), move |_, _| periodic.cancel());
        });
        sleep(ms(1_000)).await;
        let expected = ["tick a", "tick a", "once a", "tick a", "tick a"];
        assert_eq!(diary.take(), expected);
    });
}

#[test]
fn a_hook_is_polled_with_the_actor_at_hand_until_it_is_ready() {
    play(async {
        let diary = Diary::default();
        let (_tree, actor) = solo(&diary).await;
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
        perform(&actor, |_, ctx| {
            ctx.poll_with(move |puppet, _, cx| {
                while let Poll::Ready(word) = receiver.poll_recv(cx) {
                    match word {
                        Some(word) => puppet.note(word),
                        None => {
                            puppet.note("closed");
                            return Poll::Ready(());
                        }
                    }
                }
                Poll::Pending
            });
        });
        calm().await;
        sender.send("one").unwrap();
        sender.send("two").unwrap();
        calm().await;
        assert_eq!(diary.take(), ["one a", "two a"]);
        drop(sender);
        calm().await;
        assert_eq!(diary.take(), ["closed a"]);
    });
}

/// Sends itself the next one, for ever.
struct Echo;

impl Receive<Echo> for Puppet {
    fn receive(&mut self, _: Echo, ctx: &mut Ctx<'_, Self>) {
        self.count += 1;
        ctx.me().tell(Echo);
    }
}

#[test]
fn an_actor_that_feeds_itself_starves_nobody_and_can_be_observed_and_stopped() {
    play(async {
        let diary = Diary::default();
        let (glutton, neighbour) = (puppet("glutton", &diary), puppet("neighbour", &diary));
        let (eats, waits) = (glutton.actor_ref(), neighbour.actor_ref());
        let plan = Plan::new(Strategy::OneForOne)
            .child(glutton)
            .child(neighbour);
        let tree = up(plan).await;
        eats.tell(Echo);
        for _ in 0..10 {
            assert_eq!(waits.ask(Count).await, Ok(0));
        }
        let seen = tree.snapshot().await;
        assert!(seen.find("glutton").unwrap().state.as_u64() > Some(1_000));
        assert_eq!(
            tree.stop(ms(1_000)).await,
            Exit::Stopped { late: Vec::new() }
        );
    });
}

#[test]
fn a_future_that_feeds_itself_starves_nobody() {
    play(async {
        fn again(puppet: &mut Puppet, (): (), ctx: &mut Ctx<'_, Puppet>) {
            puppet.count += 1;
            ctx.then(async {}, again);
        }
        let diary = Diary::default();
        let (tree, actor) = solo(&diary).await;
        perform(&actor, |_, ctx| {
            ctx.then(async {}, again);
        });
        for _ in 0..10 {
            actor.ask(Count).await.unwrap();
        }
        assert!(actor.ask(Count).await.unwrap() > 100);
        assert_eq!(
            tree.stop(ms(1_000)).await,
            Exit::Stopped { late: Vec::new() }
        );
    });
}

#[test]
fn waiting_futures_cost_nothing_when_others_wake() {
    play(async {
        let diary = Diary::default();
        let (_tree, actor) = solo(&diary).await;
        let polls = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&polls);
        perform(&actor, move |_, ctx| {
            ctx.spawn(std::future::poll_fn(move |_| {
                *counted.lock() += 1;
                Poll::Pending
            }));
        });
        for _ in 0..100 {
            actor.ask(Count).await.unwrap();
        }
        assert_eq!(*polls.lock(), 1);
    });
}

#[test]
fn an_hour_of_ticks_takes_no_time() {
    play(async {
        let diary = Diary::default();
        let (_tree, actor) = solo(&diary).await;
        let start = Instant::now();
        perform(&actor, |_, ctx| {
            ctx.every(ms(1_000), |puppet, _| puppet.count += 1);
        });
        sleep(ms(3_600_500)).await;
        assert_eq!(actor.ask(Count).await, Ok(3_600));
        assert_eq!(start.elapsed(), ms(3_600_500));
    });
}
