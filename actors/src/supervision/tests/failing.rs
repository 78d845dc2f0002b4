//! Every way to fail, and what is left after it.

use std::panic;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use super::*;

const QUICK: Backoff = Backoff {
    base: Duration::from_millis(10),
    factor: 1,
    cap: Duration::from_millis(10),
};

/// Does something to a running actor, and expects it to be built again.
fn restarts_after(harm: impl FnOnce(&ActorRef<Puppet>)) -> LastFailure {
    play(async move {
        let diary = Diary::default();
        let (tree, actor) = solo(&diary).await;
        actor.tell(Say("before"));
        assert_eq!(actor.ask(Count).await, Ok(1));
        harm(&actor);
        calm().await;
        actor.tell(Say("behind"));
        sleep(ms(200)).await;
        assert_eq!(actor.ask(Count).await, Ok(1), "with a fresh state");
        let seen = diary.take();
        let expected = ["before a", "drop a", "build a", "start a", "behind a"];
        assert_eq!(seen, expected);
        assert_eq!(actor.depth(), 0);
        let node = tree.snapshot().await.children.remove(0);
        assert_eq!((node.restarts, node.status), (1, Status::Running));
        node.last_failure.unwrap()
    })
}

#[test]
fn a_panic_while_a_message_is_handled_loses_that_message_alone() {
    let last = restarts_after(|actor| perform(actor, |_, _| panic!("poisoned")));
    assert_eq!(last.failure.cause(), Cause::Panic);
    let reason = last.failure.reason();
    assert!(reason.starts_with("poisoned (at "), "{reason}");
    assert!(reason.contains("failing.rs:"), "{reason}");
}

#[test]
fn a_panic_in_a_spawned_future_is_the_actors() {
    let last = restarts_after(|actor| {
        perform(actor, |_, ctx| {
            ctx.spawn(async { panic!("in a future") });
        });
    });
    assert!(last.failure.reason().starts_with("in a future"));
}

#[test]
fn a_panic_with_a_futures_output_is_the_actors() {
    restarts_after(|actor| {
        perform(actor, |_, ctx| {
            ctx.then(async { 1 }, |_, output, _| panic!("got {output}"));
        });
    });
}

#[test]
fn a_panic_in_a_hook_is_the_actors() {
    restarts_after(|actor| {
        perform(actor, |_, ctx| {
            ctx.poll_with(|_, _, _| -> Poll<()> { panic!("in a hook") });
        });
    });
}

#[test]
fn a_panic_in_a_timer_is_the_actors() {
    play(async {
        let diary = Diary::default();
        let (_tree, actor) = solo(&diary).await;
        perform(&actor, |_, ctx| {
            ctx.after(ms(10), |_, _| panic!("in a timer"));
        });
        sleep(ms(200)).await;
        assert_eq!(diary.take(), ["drop a", "build a", "start a"]);
    });
}

#[test]
fn an_error_exit_restarts_the_actor() {
    let last = restarts_after(|actor| perform(actor, |_, ctx| ctx.fail(Failure::new("disk gone"))));
    assert_eq!(last.failure.cause(), Cause::Error);
    assert_eq!(last.failure.reason(), "disk gone");
}

#[test]
fn the_first_of_two_failures_counts() {
    let last = restarts_after(|actor| {
        perform(actor, |_, ctx| {
            ctx.fail(Failure::new("cause"));
            ctx.fail(Failure::new("consequence"));
        });
    });
    assert_eq!(last.failure.reason(), "cause");
}

#[test]
fn what_a_failing_actor_drops_may_panic_too() {
    struct Clumsy;
    impl Drop for Clumsy {
        fn drop(&mut self) {
            panic!("while being dropped");
        }
    }
    let last = restarts_after(|actor| {
        perform(actor, |puppet, ctx| {
            puppet.belongings.push(Box::new(Clumsy));
            let held = Clumsy;
            ctx.spawn(async move {
                std::future::pending::<()>().await;
                drop(held);
            });
            ctx.fail(Failure::new("first"));
        });
    });
    assert_eq!(last.failure.reason(), "first");
}

#[test]
fn a_panic_while_a_question_is_handled_is_heard_by_the_one_who_asked() {
    play(async {
        let diary = Diary::default();
        let (_tree, actor) = solo(&diary).await;
        let poisoned = actor.ask(Consider(Box::new(|_, _reply, _| panic!("no answer"))));
        let behind = actor.ask(Count);
        let path = "a".to_owned();
        assert_eq!(poisoned.await, Err(AskError::Lost { path }));
        assert_eq!(behind.await, Ok(0));
    });
}

#[test]
fn what_the_poisoned_message_carries_is_dropped_and_a_reply_in_it_fires() {
    play(async {
        let diary = Diary::default();
        let (_tree, actor) = solo(&diary).await;
        let guard = Noted(diary.clone(), "guard dropped");
        let heard = diary.clone();
        let reply = Reply::<u32>::to_fn(move |answer| heard.note(format!("{answer:?}")));
        perform(&actor, move |_, _| {
            let _in_hand = (guard, reply);
            panic!("with both in hand");
        });
        calm().await;
        let seen = diary.take();
        assert_eq!(seen, ["guard dropped", "Err(Lost)", "drop a"]);
    });
}

#[test]
fn replies_kept_by_an_actor_fire_when_it_is_restarted() {
    play(async {
        let diary = Diary::default();
        let (_tree, actor) = solo(&diary).await;
        let kept = actor.ask(Consider(Box::new(|puppet, reply, _| {
            puppet.belongings.push(Box::new(reply));
        })));
        perform(&actor, |_, _| panic!());
        let path = "a".to_owned();
        assert_eq!(kept.await, Err(AskError::Lost { path }));
    });
}

#[test]
fn replies_in_a_mailbox_fire_when_it_closes() {
    play(async {
        let diary = Diary::default();
        let (tree, actor) = solo(&diary).await;
        perform(&actor, |_, _| panic!());
        calm().await;
        let queued = actor.ask(Count);
        tree.fail(Failure::new("over"));
        let path = "a".to_owned();
        assert_eq!(queued.await, Err(AskError::Lost { path }));
    });
}

#[test]
fn messages_around_a_panic_keep_their_order() {
    play(async {
        let diary = Diary::default();
        let (_tree, actor) = solo(&diary).await;
        for word in ["one", "two"] {
            actor.tell(Say(word));
        }
        perform(&actor, |_, _| panic!());
        for word in ["three", "four"] {
            actor.tell(Say(word));
        }
        assert_eq!(actor.ask(Count).await, Ok(2));
        let expected = [
            "one a", "two a", "drop a", "build a", "start a", "three a", "four a",
        ];
        assert_eq!(diary.take(), expected);
    });
}

#[test]
fn everything_spawned_ends_with_the_incarnation() {
    play(async {
        let diary = Diary::default();
        let (_tree, actor) = solo(&diary).await;
        let (future, hook) = (
            Noted(diary.clone(), "future dropped"),
            Noted(diary.clone(), "hook dropped"),
        );
        perform(&actor, move |_, ctx| {
            ctx.spawn(async move {
                std::future::pending::<()>().await;
                drop(future);
            });
            ctx.poll_with(move |_, _, _| {
                let _ = &hook;
                Poll::Pending
            });
            ctx.after(ms(1_000), |puppet, _| puppet.note("timer of the first"));
            ctx.every(ms(10), |puppet, _| puppet.note("tick of the first"));
        });
        perform(&actor, |_, _| panic!());
        sleep(ms(5_000)).await;
        let expected = [
            "future dropped",
            "hook dropped",
            "drop a",
            "build a",
            "start a",
        ];
        assert_eq!(diary.take(), expected);
    });
}

#[test]
fn the_old_actor_is_dropped_at_once_and_before_the_factory_runs() {
    play(async {
        let held = Arc::new(tokio::sync::Mutex::new(()));
        let lock = Arc::clone(&held);
        let diary = Diary::default();
        let diary_of_factory = diary.clone();
        let child = Child::new("a", move || {
            let guard = Arc::clone(&lock).try_lock_owned()?;
            let mut puppet = Puppet::new("a", &diary_of_factory);
            puppet.belongings.push(Box::new(guard));
            Ok(puppet)
        });
        let actor = child.actor_ref();
        let tree = up(Plan::new(Strategy::OneForOne).child(child)).await;
        assert!(held.try_lock().is_err());
        perform(&actor, |_, _| panic!());
        calm().await;
        assert!(held.try_lock().is_ok(), "nothing is held in back-off");
        sleep(ms(100)).await;
        assert!(held.try_lock().is_err());
        assert_eq!(tree.snapshot().await.children[0].restarts, 1);
    });
}

/// A child that gets going only at the third attempt.
fn third_time_lucky(
    diary: &Diary,
    fail: fn() -> Result<Puppet, Failure>,
) -> Child<Puppet, impl FnMut() -> Result<Puppet, Failure> + use<>> {
    let diary = diary.clone();
    let attempts = AtomicU32::new(0);
    Child::new("a", move || {
        match attempts.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => fail(),
            _ => Ok(Puppet::new("a", &diary)),
        }
    })
}

#[test]
fn a_factory_that_fails_or_panics_is_tried_again() {
    let fails: [fn() -> Result<Puppet, Failure>; 2] =
        [|| Err(Failure::new("no file")), || panic!("in the factory")];
    for (fail, cause) in fails.into_iter().zip([Cause::Refused, Cause::Panic]) {
        play(async move {
            let diary = Diary::default();
            let child = third_time_lucky(&diary, fail);
            let actor = child.actor_ref();
            actor.tell(Say("patient"));
            let plan = Plan::new(Strategy::OneForOne).backoff(QUICK).child(child);
            let tree = up(plan).await;
            assert_eq!(actor.ask(Count).await, Ok(1));
            assert_eq!(diary.take(), ["build a", "start a", "patient a"]);
            let node = tree.snapshot().await.children.remove(0);
            assert_eq!(node.restarts, 2);
            assert_eq!(node.last_failure.unwrap().failure.cause(), cause);
        });
    }
}

#[test]
fn an_actor_that_refuses_to_start_or_panics_there_is_tried_again() {
    let starts: [Start; 3] = [
        |_, _| Err(Failure::new("not yet")),
        |_, _| panic!("not yet"),
        |_, ctx| {
            ctx.fail(Failure::new("not yet"));
            Ok(())
        },
    ];
    for start in starts {
        play(async move {
            let diary = Diary::default();
            let diary_of_factory = diary.clone();
            let mut attempts = 0;
            let child = Child::new("a", move || {
                attempts += 1;
                let puppet = Puppet::new("a", &diary_of_factory);
                Ok(if attempts < 3 {
                    puppet.on_start(start)
                } else {
                    puppet
                })
            });
            let tree = up(Plan::new(Strategy::OneForOne).child(child)).await;
            let once = ["build a", "start a", "drop a"];
            let expected: Vec<_> = once.iter().cycle().take(8).copied().collect();
            assert_eq!(diary.take(), expected);
            let node = tree.snapshot().await.children.remove(0);
            let reason = node.last_failure.unwrap().failure;
            assert!(reason.reason().starts_with("not yet"));
        });
    }
}

#[test]
fn a_panic_in_observe_restarts_the_actor_and_leaves_the_tree_readable() {
    struct Shy(Arc<AtomicU32>);
    impl Cast for Shy {
        type State = u32;
        fn observe(&self) -> u32 {
            assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "do not look");
            2
        }
    }
    play(async {
        let looks = Arc::new(AtomicU32::new(0));
        let child = Child::new("shy", move || Ok(Shy(Arc::clone(&looks))));
        let tree = up(Plan::new(Strategy::OneForOne).child(child)).await;
        let node = tree.snapshot().await.children.remove(0);
        assert_eq!(node.state, serde_json::Value::Null);
        assert_eq!(node.note.as_deref(), Some("no actor to ask"));
        sleep(ms(100)).await;
        let node = tree.snapshot().await.children.remove(0);
        assert_eq!((node.state, node.restarts), (2.into(), 1));
    });
}

#[test]
fn a_start_may_take_its_time_while_messages_are_handled() {
    play(async {
        let diary = Diary::default();
        let slow = puppet_as("slow", &diary, |puppet| {
            puppet.on_start(|_, ctx| {
                let hold = ctx.hold();
                ctx.after(ms(500), move |puppet, _| {
                    puppet.note("ready");
                    drop(hold);
                });
                Ok(())
            })
        });
        let actor = slow.actor_ref();
        actor.tell(Say("early"));
        let plan = Plan::new(Strategy::OneForOne)
            .child(slow)
            .child(puppet("next", &diary));
        let _tree = up(plan).await;
        let expected = [
            "build slow",
            "start slow",
            "early slow",
            "ready slow",
            "build next",
            "start next",
        ];
        assert_eq!(diary.take(), expected);
    });
}

#[test]
fn panics_outside_of_actors_reach_the_hook_that_was_there() {
    capture_panics();
    let outcome = panic::catch_unwind(|| panic::resume_unwind(Box::new("quiet")));
    assert!(outcome.is_err());
}
