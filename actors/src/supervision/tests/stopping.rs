//! Stopping in order, in time, or not.

use futures_util::future::join;
use tokio::time::Instant;

use super::*;

fn in_time() -> Exit {
    Exit::Stopped { late: Vec::new() }
}

/// Drains for a while before it lets itself be stopped.
fn drains(puppet: Puppet) -> Puppet {
    puppet.on_stop(|_, ctx| {
        let hold = ctx.hold();
        ctx.after(ms(300), move |puppet, _| {
            puppet.note("drained");
            drop(hold);
        });
    })
}

/// Never lets itself be stopped.
fn clings(puppet: Puppet) -> Puppet {
    puppet.on_stop(|puppet, ctx| {
        let hold = ctx.hold();
        puppet.belongings.push(Box::new(hold));
    })
}

#[test]
fn children_stop_in_reverse_order_of_their_starts() {
    play(async {
        let diary = Diary::default();
        let inner = Plan::new(Strategy::OneForOne)
            .child(puppet("b", &diary))
            .child(puppet("c", &diary));
        let plan = Plan::new(Strategy::OneForOne)
            .child(puppet("a", &diary))
            .child(Child::supervisor("inner", inner))
            .child(puppet("d", &diary));
        let tree = up(plan).await;
        diary.take();
        assert_eq!(tree.stop(ms(1_000)).await, in_time());
        let expected = [
            "stop d", "drop d", "stop c", "drop c", "stop b", "drop b", "stop a", "drop a",
        ];
        assert_eq!(diary.take(), expected);
        assert_eq!(tree.exited().await, in_time());
    });
}

#[test]
fn a_child_that_drains_is_waited_for_and_served_meanwhile() {
    play(async {
        let diary = Diary::default();
        let b = puppet_as("b", &diary, drains);
        let actor = b.actor_ref();
        let plan = Plan::new(Strategy::OneForOne)
            .child(puppet("a", &diary))
            .child(b);
        let tree = up(plan).await;
        diary.take();
        let start = Instant::now();
        let speaking = async {
            sleep(ms(100)).await;
            actor.tell(Say("last words"));
        };
        let (exit, ()) = join(tree.stop(ms(1_000)), speaking).await;
        assert_eq!(exit, in_time());
        assert!(start.elapsed() < ms(310), "{:?}", start.elapsed());
        let expected = [
            "stop b",
            "last words b",
            "drained b",
            "drop b",
            "stop a",
            "drop a",
        ];
        assert_eq!(diary.take(), expected);
    });
}

#[test]
fn a_hold_may_be_let_go_on_another_thread() {
    play_on_threads(async {
        let diary = Diary::default();
        let b = puppet_as("b", &diary, |puppet| {
            puppet.on_stop(|_, ctx| {
                let hold = ctx.hold();
                std::thread::spawn(move || drop(hold));
            })
        });
        let tree = up(Plan::new(Strategy::OneForOne).child(b)).await;
        assert_eq!(tree.stop(ms(60_000)).await, in_time());
    });
}

#[test]
fn a_child_that_ignores_the_deadline_is_dropped_and_named() {
    play(async {
        let diary = Diary::default();
        let inner = Plan::new(Strategy::OneForOne)
            .child(puppet("b", &diary))
            .child(puppet_as("c", &diary, clings));
        let plan = Plan::new(Strategy::OneForOne)
            .child(puppet("a", &diary))
            .child(Child::supervisor("inner", inner));
        let tree = up(plan).await;
        diary.take();
        let start = Instant::now();
        let late = vec!["inner/c".to_owned()];
        assert_eq!(tree.stop(ms(700)).await, Exit::Stopped { late });
        assert!(start.elapsed() < ms(710), "{:?}", start.elapsed());
        let expected = ["stop c", "drop c", "stop b", "drop b", "stop a", "drop a"];
        assert_eq!(diary.take(), expected);
    });
}

#[test]
fn a_child_has_its_own_limit_below_that_of_the_tree() {
    play(async {
        let diary = Diary::default();
        let plan = Plan::new(Strategy::OneForOne)
            .child(puppet_as("a", &diary, clings).stop_within(ms(50)));
        let tree = up(plan).await;
        let start = Instant::now();
        let late = vec!["a".to_owned()];
        assert_eq!(tree.stop(ms(60_000)).await, Exit::Stopped { late });
        assert!(start.elapsed() < ms(60), "{:?}", start.elapsed());
    });
}

#[test]
fn an_actor_is_told_when_its_time_is_up() {
    play(async {
        let diary = Diary::default();
        let child = puppet_as("a", &diary, |puppet| {
            puppet.on_stop(|puppet, ctx| {
                let left = ctx.stop_deadline().unwrap() - Instant::now();
                puppet.note(&format!("{} ms", left.as_millis()));
            })
        });
        let tree = up(Plan::new(Strategy::OneForOne).child(child)).await;
        diary.take();
        tree.stop(ms(250)).await;
        assert_eq!(diary.take(), ["stop a", "250 ms a", "drop a"]);
    });
}

#[test]
fn a_failure_while_stopping_is_as_good_as_having_stopped() {
    play(async {
        let diary = Diary::default();
        let plan = Plan::new(Strategy::OneForOne)
            .child(puppet("a", &diary))
            .child(puppet_as("b", &diary, |puppet| {
                puppet.on_stop(|_, _| panic!("while stopping"))
            }))
            .child(puppet_as("c", &diary, |puppet| {
                puppet.on_stop(|_, ctx| {
                    let _hold = ctx.hold();
                    ctx.fail(Failure::new("cannot drain"));
                })
            }));
        let tree = up(plan).await;
        diary.take();
        assert_eq!(tree.stop(ms(1_000)).await, in_time());
        let expected = ["stop c", "drop c", "stop b", "drop b", "stop a", "drop a"];
        assert_eq!(diary.take(), expected);
    });
}

#[test]
fn guests_stop_together_before_those_planned() {
    play(async {
        let diary = Diary::default();
        let inn = Child::supervisor(
            "inn",
            Plan::new(Strategy::OneForOne).child(puppet("planned", &diary)),
        );
        let supervisor = inn.actor_ref();
        let tree = up(Plan::new(Strategy::OneForOne).child(inn)).await;
        for name in ["x", "y", "z"] {
            let guest = puppet_as(name, &diary, drains);
            supervisor.start(guest).await.unwrap();
        }
        diary.take();
        let start = Instant::now();
        assert_eq!(tree.stop(ms(1_000)).await, in_time());
        assert!(start.elapsed() < ms(310), "{:?}", start.elapsed());
        let seen = diary.take();
        assert_eq!(seen[..3], ["stop z", "stop y", "stop x"]);
        assert_eq!(seen[9..], ["stop planned", "drop planned"]);
    });
}

#[test]
fn a_tree_may_be_stopped_while_it_starts_or_waits_in_back_off() {
    play(async {
        let diary = Diary::default();
        let never = Child::new("b", || -> Result<Puppet, Failure> {
            Err(Failure::new("never"))
        });
        let plan = Plan::new(Strategy::OneForOne)
            .intensity(Intensity::UNLIMITED)
            .child(puppet("a", &diary))
            .child(never);
        let tree = Tree::start("node", plan);
        sleep(ms(2_000)).await;
        assert_eq!(tree.stop(ms(100)).await, in_time());
        assert_eq!(diary.take(), ["build a", "start a", "stop a", "drop a"]);
        assert_eq!(tree.started().await, Err(in_time()));

        let plan = Plan::new(Strategy::OneForOne).child(puppet("a", &diary));
        let tree = Tree::start("node", plan);
        assert_eq!(tree.stop(ms(100)).await, in_time());
        assert!(diary.take().is_empty(), "stopped before it began");
    });
}

#[test]
fn a_tree_stops_while_a_start_is_held_up() {
    play(async {
        let diary = Diary::default();
        let child = puppet_as("a", &diary, |puppet| {
            puppet.on_start(|puppet, ctx| {
                let hold = ctx.hold();
                puppet.belongings.push(Box::new(hold));
                Ok(())
            })
        });
        let plan = Plan::new(Strategy::OneForOne)
            .child(child)
            .child(puppet("b", &diary));
        let tree = Tree::start("node", plan);
        sleep(ms(500)).await;
        let late = vec!["a".to_owned()];
        assert_eq!(tree.stop(ms(100)).await, Exit::Stopped { late });
        assert_eq!(diary.take(), ["build a", "start a", "stop a", "drop a"]);
    });
}

#[test]
fn an_actor_that_stops_itself_may_drain_first() {
    play(async {
        let diary = Diary::default();
        let child = puppet_as("a", &diary, drains).transient();
        let actor = child.actor_ref();
        let tree = up(Plan::new(Strategy::OneForOne).child(child)).await;
        diary.take();
        perform(&actor, |_, ctx| ctx.stop());
        actor.tell(Say("served"));
        sleep(ms(200)).await;
        let node = tree.snapshot().await.children.remove(0);
        assert_eq!(node.status, Status::Stopping);
        sleep(ms(200)).await;
        let expected = ["stop a", "served a", "drained a", "drop a"];
        assert_eq!(diary.take(), expected);
        assert!(!actor.is_open());
    });
}

#[test]
fn stopping_twice_tells_the_same() {
    play(async {
        let diary = Diary::default();
        let (tree, _) = solo(&diary).await;
        assert_eq!(tree.stop(ms(100)).await, in_time());
        assert_eq!(tree.clone().stop(ms(100)).await, in_time());
    });
}

#[test]
fn a_sibling_that_was_late_in_a_restart_is_not_named_when_the_tree_stops() {
    play(async {
        let diary = Diary::default();
        let a = puppet("a", &diary);
        let actor = a.actor_ref();
        let clinging = Arc::new(Mutex::new(true));
        let (diary_of_b, clings_once) = (diary.clone(), Arc::clone(&clinging));
        let b = Child::new("b", move || {
            let puppet = Puppet::new("b", &diary_of_b);
            let is_first = std::mem::take(&mut *clings_once.lock());
            Ok(if is_first { clings(puppet) } else { puppet })
        });
        let tree = up(Plan::new(Strategy::OneForAll).child(a).child(b)).await;
        perform(&actor, |_, _| panic!());
        sleep(2 * DEFAULT_STOP_WITHIN).await;
        assert_eq!(actor.ask(Count).await, Ok(0));
        assert_eq!(tree.stop(ms(1_000)).await, in_time());
    });
}
