//! The live tree.

use serde_json::{Value, json};

use super::*;

#[test]
fn the_tree_shows_states_depths_and_what_failed() {
    play(async {
        let diary = Diary::default();
        let (a, b) = (puppet("a", &diary), puppet("b", &diary));
        let (actor_a, actor_b) = (a.actor_ref(), b.actor_ref());
        let inner = Plan::new(Strategy::RestForOne).child(a).child(b);
        let plan = Plan::new(Strategy::OneForOne).child(Child::supervisor("inner", inner));
        let tree = Tree::start_with_clock("node", plan, || 1_700_000_000_000);
        tree.started().await.unwrap();
        actor_a.tell(Say("word"));
        perform(&actor_b, |_, ctx| ctx.fail(Failure::new("disk full")));
        sleep(ms(200)).await;
        let leaf = |name, restarts, last_failure: Value, state| {
            json!({
                "name": name, "kind": "actor", "status": "running", "stage": "main",
                "mailbox_depth": 0, "restarts": restarts, "last_failure": last_failure,
                "state": state, "children": [],
            })
        };
        let supervisor = |name, strategy, failures, children: Vec<Value>| {
            json!({
                "name": name, "kind": "supervisor", "status": "running", "stage": "main",
                "mailbox_depth": 0, "restarts": 0, "last_failure": null,
                "state": {
                    "strategy": strategy, "children": children.len(), "recent_failures": failures,
                },
                "children": children,
            })
        };
        let failure =
            json!({ "cause": "error", "reason": "disk full", "when_ms": 1_700_000_000_000_u64 });
        let leaves = vec![leaf("a", 0, Value::Null, 1), leaf("b", 1, failure, 0)];
        let inner = supervisor("inner", "rest_for_one", 1, leaves);
        let expected = supervisor("node", "one_for_one", 0, vec![inner]);
        let seen = serde_json::to_value(tree.snapshot().await).unwrap();
        assert_eq!(seen, expected);
    });
}

#[test]
fn an_actor_that_is_down_shows_why_and_what_waits_for_it() {
    play(async {
        let diary = Diary::default();
        let (tree, actor) = solo(&diary).await;
        perform(&actor, |_, _| panic!("ouch"));
        calm().await;
        for _ in 0..3 {
            actor.tell(Say("waiting"));
        }
        let node = tree.snapshot().await.children.remove(0);
        assert_eq!(node.status, Status::Restarting);
        assert_eq!(node.mailbox_depth, 3);
        assert_eq!(node.state, Value::Null);
        assert_eq!(node.note.as_deref(), Some("no actor to ask"));
        let failure = node.last_failure.unwrap().failure;
        assert!(failure.reason().starts_with("ouch"));
    });
}

#[test]
fn children_that_wait_for_their_turn_are_shown() {
    play(async {
        let diary = Diary::default();
        let held = puppet_as("held", &diary, |puppet| {
            puppet.on_start(|puppet, ctx| {
                let hold = ctx.hold();
                puppet.belongings.push(Box::new(hold));
                Ok(())
            })
        });
        let plan = Plan::new(Strategy::OneForOne)
            .child(held)
            .child(puppet("next", &diary));
        let tree = Tree::start("node", plan);
        calm().await;
        let seen = tree.snapshot().await;
        let statuses: Vec<_> = seen.children.iter().map(|node| node.status).collect();
        assert_eq!(seen.status, Status::Starting);
        assert_eq!(statuses, [Status::Starting, Status::Waiting]);
        assert_eq!(seen.find("held").unwrap().state, 0);
    });
}

#[test]
fn a_state_without_a_json_form_is_noted() {
    struct Odd;
    impl Cast for Odd {
        type State = std::collections::HashMap<(u8, u8), u8>;
        fn observe(&self) -> Self::State {
            [((1, 2), 3)].into()
        }
    }
    play(async {
        let plan = Plan::new(Strategy::OneForOne).child(Child::new("odd", || Ok(Odd)));
        let tree = up(plan).await;
        let node = tree.snapshot().await.children.remove(0);
        assert_eq!(node.note.as_deref(), Some("its state has no JSON form"));
    });
}

#[test]
fn names_resolve_by_path_and_type() {
    play(async {
        let diary = Diary::default();
        let child = puppet("topic/0", &diary);
        let actor = child.actor_ref();
        let inner = Plan::new(Strategy::OneForOne).child(child);
        let plan = Plan::new(Strategy::OneForOne).child(Child::supervisor("queues", inner));
        let tree = up(plan).await;
        assert_eq!(tree.resolve("queues/topic/0"), Some(actor.clone()));
        assert_eq!(tree.resolve::<Supervisor>("queues/topic/0"), None);
        assert_eq!(tree.resolve::<Puppet>("queues/topic/1"), None);
        assert!(tree.resolve::<Supervisor>("queues").is_some());
        assert!(tree.snapshot().await.find("queues/topic/0").is_some());
        let found = actor.ask(Consider(Box::new(|_, reply, ctx| {
            let me = ctx.resolve::<Puppet>("queues/topic/0");
            reply.send(u32::from(me.as_ref() == Some(ctx.me())));
        })));
        assert_eq!(found.await, Ok(1));
    });
}
