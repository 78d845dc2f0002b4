//! Whom a failure takes down, in which order they come back, when, and when it is too much.

use tokio::time::Instant;

use super::*;

/// Three running puppets under a strategy.
async fn trio(strategy: Strategy, diary: &Diary) -> (Tree, [ActorRef<Puppet>; 3]) {
    let children = ["a", "b", "c"].map(|name| puppet(name, diary));
    let actors = children.each_ref().map(Child::actor_ref);
    let plan = children.into_iter().fold(Plan::new(strategy), Plan::child);
    let tree = up(plan).await;
    let expected = [
        "build a", "start a", "build b", "start b", "build c", "start c",
    ];
    assert_eq!(diary.take(), expected);
    (tree, actors)
}

/// What is noted when the middle one of three panics.
fn after_a_panic_of_b(strategy: Strategy) -> Vec<String> {
    play(async move {
        let diary = Diary::default();
        let (_tree, [a, b, c]) = trio(strategy, &diary).await;
        perform(&b, |_, _| panic!());
        sleep(ms(500)).await;
        for actor in [a, b, c] {
            actor.ask(Count).await.unwrap();
        }
        diary.take()
    })
}

#[test]
fn one_for_one_restarts_the_one() {
    assert_eq!(
        after_a_panic_of_b(Strategy::OneForOne),
        ["drop b", "build b", "start b"]
    );
}

#[test]
fn rest_for_one_takes_down_those_behind_and_starts_in_order() {
    let expected = [
        "drop b", "stop c", "drop c", "build b", "start b", "build c", "start c",
    ];
    assert_eq!(after_a_panic_of_b(Strategy::RestForOne), expected);
}

#[test]
fn one_for_all_takes_down_all_the_last_first_and_starts_in_order() {
    let expected = [
        "drop b", "stop c", "drop c", "stop a", "drop a", "build a", "start a", "build b",
        "start b", "build c", "start c",
    ];
    assert_eq!(after_a_panic_of_b(Strategy::OneForAll), expected);
}

#[test]
fn siblings_taken_down_keep_their_mailboxes() {
    play(async {
        let diary = Diary::default();
        let (_tree, [_, b, c]) = trio(Strategy::RestForOne, &diary).await;
        perform(&b, |_, _| panic!());
        calm().await;
        for word in ["one", "two"] {
            assert!(c.tell(Say(word)));
        }
        assert_eq!(c.depth(), 2);
        assert_eq!(c.ask(Count).await, Ok(2));
    });
}

#[test]
fn a_second_failure_during_a_group_restart_starts_it_over() {
    play(async {
        let diary = Diary::default();
        let mut attempts = 0;
        let diary_of_b = diary.clone();
        let b = Child::new("b", move || {
            attempts += 1;
            if attempts == 2 {
                return Err(Failure::new("not now"));
            }
            Ok(Puppet::new("b", &diary_of_b))
        });
        let a = puppet("a", &diary);
        let actor = a.actor_ref();
        let plan = Plan::new(Strategy::OneForAll).child(a).child(b);
        let _tree = up(plan).await;
        diary.take();
        perform(&actor, |_, _| panic!());
        sleep(ms(1_000)).await;
        let expected = [
            "drop a", "stop b", "drop b", // The first attempt.
            "build a", "start a", "stop a", "drop a", // b does not come up.
            "build a", "start a", "build b", "start b",
        ];
        assert_eq!(diary.take(), expected);
    });
}

#[test]
fn waits_between_restarts_grow() {
    play(async {
        let diary = Diary::default();
        let started = Arc::new(Mutex::new(Vec::new()));
        let times = Arc::clone(&started);
        let a = Child::new("a", move || {
            times.lock().push(Instant::now());
            Ok(Puppet::new("a", &diary))
        });
        let actor = a.actor_ref();
        let backoff = Backoff {
            base: ms(100),
            factor: 3,
            cap: ms(1_000),
        };
        let _tree = up(Plan::new(Strategy::OneForOne).backoff(backoff).child(a)).await;
        for _ in 0..4 {
            perform(&actor, |_, _| panic!());
            sleep(ms(2_000)).await;
        }
        let started = started.lock();
        let waits: Vec<_> = started
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_millis())
            .collect();
        let pauses = [0, 1_900, 1_700, 1_100];
        let grown = [100, 300, 900, 1_000];
        let expected: Vec<_> = (0..4).map(|i| pauses[i] + grown[i]).collect();
        // The timer has a resolution of 1 ms.
        for (wait, expected) in waits.iter().zip(expected) {
            assert!(wait.abs_diff(expected) <= 2, "{waits:?}");
        }
        assert_eq!(waits.len(), 4);
    });
}

const TWICE: Intensity = Intensity {
    max_failures: 2,
    within: Duration::from_secs(60),
};

#[test]
fn too_many_failures_go_up_level_by_level_and_end_the_tree() {
    play(async {
        let diary = Diary::default();
        let diary_of_leaf = diary.clone();
        let leaf = Child::new("leaf", move || -> Result<Puppet, Failure> {
            diary_of_leaf.note("attempt");
            Err(Failure::new("no such device"))
        });
        let inner = Plan::new(Strategy::OneForOne).intensity(TWICE).child(leaf);
        let outer = Plan::new(Strategy::OneForOne)
            .intensity(TWICE)
            .child(puppet("sibling", &diary))
            .child(Child::supervisor("inner", inner));
        let plan = Plan::new(Strategy::OneForOne)
            .intensity(TWICE)
            .child(Child::supervisor("outer", outer));
        let tree = Tree::start("node", plan);
        let Exit::Failed(failure) = tree.exited().await else {
            panic!("the tree stopped without a failure");
        };
        assert_eq!(failure.cause(), Cause::Escalated);
        let reason = failure.reason();
        for part in ["outer", "outer/inner", "outer/inner/leaf", "no such device"] {
            assert!(reason.contains(part), "{reason}");
        }
        assert_eq!(tree.started().await, Err(Exit::Failed(failure)));
        let seen = diary.take();
        let count = |what: &str| seen.iter().filter(|noted| *noted == what).count();
        assert_eq!(count("attempt"), 27, "3 starts at each of 3 levels");
        assert_eq!(count("build sibling"), 3);
        assert_eq!(count("drop sibling"), 3);
        calm().await;
        assert_eq!(tree.resolve::<Puppet>("outer/sibling"), None);
    });
}

#[test]
fn a_supervisor_that_gives_up_stops_its_children_in_order_and_comes_back_with_their_mailboxes() {
    play(async {
        let diary = Diary::default();
        let (a, b, c) = (
            puppet("a", &diary),
            puppet("b", &diary),
            puppet("c", &diary),
        );
        let (actor_b, actor_c) = (b.actor_ref(), c.actor_ref());
        let inner = Plan::new(Strategy::OneForOne)
            .intensity(Intensity {
                max_failures: 0,
                ..TWICE
            })
            .child(a)
            .child(b)
            .child(c);
        let plan = Plan::new(Strategy::OneForOne).child(Child::supervisor("inner", inner));
        let tree = up(plan).await;
        diary.take();
        perform(&actor_b, |_, _| panic!("beyond repair"));
        actor_b.tell(Say("behind"));
        calm().await;
        assert!(actor_c.tell(Say("queued")));
        assert_eq!(actor_b.ask(Count).await, Ok(1));
        assert_eq!(actor_c.ask(Count).await, Ok(1));
        let expected = [
            "drop b", "stop c", "drop c", "stop a", "drop a", "build a", "start a", "build b",
            "start b", "behind b", "build c", "start c", "queued c",
        ];
        assert_eq!(diary.take(), expected);
        let inner = tree.snapshot().await.children.remove(0);
        assert_eq!((inner.kind, inner.restarts), (Kind::Supervisor, 1));
        let reason = inner.last_failure.unwrap().failure;
        assert!(reason.reason().contains("beyond repair"), "{reason}");
    });
}

#[test]
fn a_permanent_child_that_finishes_is_started_again_and_counts() {
    play(async {
        let diary = Diary::default();
        let (tree, actor) = solo(&diary).await;
        perform(&actor, |_, ctx| ctx.stop());
        sleep(ms(100)).await;
        assert_eq!(diary.take(), ["stop a", "drop a", "build a", "start a"]);
        assert_eq!(tree.snapshot().await.state["recent_failures"], 1);
    });
}

#[test]
fn a_transient_child_is_restarted_when_it_fails_and_leaves_when_it_finishes() {
    play(async {
        let diary = Diary::default();
        let child = puppet("a", &diary).transient();
        let actor = child.actor_ref();
        let tree = up(Plan::new(Strategy::OneForOne).child(child)).await;
        perform(&actor, |_, _| panic!());
        actor.ask(Count).await.unwrap();
        perform(&actor, |_, ctx| ctx.stop());
        calm().await;
        assert!(!actor.is_open());
        assert!(tree.snapshot().await.children.is_empty());
        assert_eq!(tree.resolve::<Puppet>("a"), None);
    });
}

#[test]
fn a_temporary_sibling_taken_down_does_not_come_back() {
    play(async {
        let diary = Diary::default();
        let (a, b) = (puppet("a", &diary), puppet("b", &diary).temporary());
        let actor = a.actor_ref();
        let tree = up(Plan::new(Strategy::RestForOne).child(a).child(b)).await;
        diary.take();
        perform(&actor, |_, _| panic!());
        actor.ask(Count).await.unwrap();
        let expected = ["drop a", "stop b", "drop b", "build a", "start a"];
        assert_eq!(diary.take(), expected);
        assert_eq!(tree.snapshot().await.children.len(), 1);
    });
}

#[test]
fn a_child_that_had_left_is_there_again_when_its_supervisor_is_restarted() {
    play(async {
        let diary = Diary::default();
        let (a, b) = (puppet("a", &diary).transient(), puppet("b", &diary));
        let (first_a, actor_b) = (a.actor_ref(), b.actor_ref());
        let never = Intensity {
            max_failures: 0,
            ..TWICE
        };
        let inner = Plan::new(Strategy::OneForOne)
            .intensity(never)
            .child(a)
            .child(b);
        let plan = Plan::new(Strategy::OneForOne).child(Child::supervisor("inner", inner));
        let tree = up(plan).await;
        perform(&first_a, |_, ctx| ctx.stop());
        calm().await;
        perform(&actor_b, |_, _| panic!());
        actor_b.ask(Count).await.unwrap();
        assert!(!first_a.is_open());
        let second_a = tree.resolve::<Puppet>("inner/a").unwrap();
        assert_eq!(second_a.ask(Count).await, Ok(0));
    });
}

#[test]
fn two_children_of_one_name_are_refused() {
    play(async {
        let diary = Diary::default();
        let plan = Plan::new(Strategy::OneForOne)
            .child(puppet("a", &diary))
            .child(puppet("a", &diary));
        let tree = Tree::start("node", plan);
        let Err(Exit::Failed(failure)) = tree.started().await else {
            panic!("two children share a name");
        };
        assert!(failure.reason().contains("same name"), "{failure}");
    });
}

/// What no supervisor ever gets.
struct Stumble;

impl Receive<Stumble> for Supervisor {
    fn receive(&mut self, _: Stumble, _: &mut Ctx<'_, Self>) {
        panic!("a bug in the supervisor");
    }
}

#[test]
fn a_supervisor_that_panics_takes_its_children_down_and_brings_them_back() {
    play(async {
        let diary = Diary::default();
        let (a, b) = (puppet("a", &diary), puppet("b", &diary));
        let actors = [a.actor_ref(), b.actor_ref()];
        let inner = Child::supervisor("inner", Plan::new(Strategy::OneForOne).child(a).child(b));
        let supervisor = inner.actor_ref();
        let tree = up(Plan::new(Strategy::OneForOne).child(inner)).await;
        let guest = supervisor.start(puppet("guest", &diary)).await.unwrap();
        diary.take();
        supervisor.tell(Stumble);
        calm().await;
        assert!(!guest.is_open());
        for actor in &actors {
            actor.tell(Say("behind"));
            assert_eq!(actor.ask(Count).await, Ok(1));
        }
        let mut seen = diary.take();
        seen[..3].sort();
        let expected = [
            "drop a",
            "drop b",
            "drop guest",
            "build a",
            "start a",
            "behind a",
            "build b",
            "start b",
            "behind b",
        ];
        assert_eq!(seen, expected);
        assert_eq!(tree.snapshot().await.children[0].restarts, 1);
    });
}
