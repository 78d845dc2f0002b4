//! Children added to a running supervisor.

use super::*;

/// A tree with an empty supervisor, and a reference to it.
async fn inn() -> (Tree, ActorRef<Supervisor>) {
    let inn = Child::supervisor("inn", Plan::new(Strategy::OneForOne));
    let supervisor = inn.actor_ref();
    let tree = up(Plan::new(Strategy::OneForOne).child(inn)).await;
    (tree, supervisor)
}

async fn guest_names(tree: &Tree) -> Vec<String> {
    let inn = tree.snapshot().await.children.remove(0);
    inn.children.into_iter().map(|child| child.name).collect()
}

#[test]
fn a_guest_is_started_named_and_supervised() {
    play(async {
        let diary = Diary::default();
        let (tree, inn) = inn().await;
        let actor = inn.start(puppet("a", &diary)).await.unwrap();
        assert_eq!(tree.resolve("inn/a"), Some(actor.clone()));
        assert_eq!(actor.path(), "inn/a");
        perform(&actor, |_, _| panic!());
        assert_eq!(actor.ask(Count).await, Ok(0));
        assert_eq!(guest_names(&tree).await, ["a"]);
    });
}

#[test]
fn a_guest_need_not_be_waited_for() {
    play(async {
        let diary = Diary::default();
        let (_tree, inn) = inn().await;
        let child = puppet("a", &diary);
        let actor = child.actor_ref();
        drop(inn.start(child));
        assert_eq!(actor.ask(Count).await, Ok(0));
    });
}

#[test]
fn temporary_guests_vanish_however_they_end() {
    play(async {
        let diary = Diary::default();
        let (tree, inn) = inn().await;
        let mut guests = Vec::new();
        for name in ["finishes", "fails", "stays"] {
            let diary = diary.clone();
            let child = Child::once(name, move || Ok(Puppet::new(name, &diary)));
            guests.push(inn.start(child).await.unwrap());
        }
        perform(&guests[0], |_, ctx| ctx.stop());
        perform(&guests[1], |_, _| panic!());
        calm().await;
        assert_eq!(guest_names(&tree).await, ["stays"]);
        let open: Vec<_> = guests.iter().map(ActorRef::is_open).collect();
        assert_eq!(open, [false, false, true]);
        let inn = tree.snapshot().await.children.remove(0);
        assert_eq!(inn.state["recent_failures"], 0);
    });
}

#[test]
fn a_name_is_given_once_and_is_free_again_afterwards() {
    play(async {
        let diary = Diary::default();
        let (_tree, inn) = inn().await;
        let first = inn.start(puppet("a", &diary).transient()).await.unwrap();
        let path = "inn/a".to_owned();
        assert_eq!(
            inn.start(puppet("a", &diary)).await,
            Err(StartError::NameTaken { path })
        );
        assert_eq!(first.ask(Count).await, Ok(0));
        perform(&first, |_, ctx| ctx.stop());
        calm().await;
        assert!(inn.start(puppet("a", &diary)).await.is_ok());
    });
}

#[test]
fn a_guest_that_does_not_start_is_refused_for_good_and_not_counted() {
    play(async {
        let (tree, inn) = inn().await;
        let child = Child::new("a", || -> Result<Puppet, Failure> {
            Err(Failure::new("no such topic"))
        });
        let actor = child.actor_ref();
        let error = inn.start(child).await.unwrap_err();
        assert_eq!(error.to_string(), "inn/a did not start: no such topic");
        calm().await;
        assert!(!actor.is_open());
        assert!(guest_names(&tree).await.is_empty());
        let inn = tree.snapshot().await.children.remove(0);
        assert_eq!(inn.state["recent_failures"], 0);
    });
}

#[test]
fn a_supervisor_that_is_gone_takes_no_guests() {
    play(async {
        let diary = Diary::default();
        let (tree, inn) = inn().await;
        tree.stop(ms(100)).await;
        calm().await;
        let path = "inn".to_owned();
        assert_eq!(
            inn.start(puppet("a", &diary)).await,
            Err(StartError::Stopping { path })
        );
    });
}

#[test]
fn guests_are_gone_when_their_supervisor_comes_back() {
    play(async {
        let diary = Diary::default();
        let plan = Plan::new(Strategy::OneForOne).intensity(Intensity {
            max_failures: 0,
            within: ms(1_000),
        });
        let inn = Child::supervisor("inn", plan);
        let supervisor = inn.actor_ref();
        let tree = up(Plan::new(Strategy::OneForOne).child(inn)).await;
        let a = supervisor.start(puppet("a", &diary)).await.unwrap();
        let b = supervisor.start(puppet("b", &diary)).await.unwrap();
        perform(&a, |_, _| panic!());
        sleep(ms(1_000)).await;
        assert!(!a.is_open() && !b.is_open());
        assert!(guest_names(&tree).await.is_empty());
        assert!(supervisor.start(puppet("a", &diary)).await.is_ok());
    });
}

#[test]
fn guests_may_ask_to_be_let_in_before_the_supervisor_is_up() {
    play(async {
        let diary = Diary::default();
        let inn = Child::supervisor(
            "inn",
            Plan::new(Strategy::OneForOne).child(puppet("first", &diary)),
        );
        let early = inn.actor_ref().start(puppet("second", &diary));
        let _tree = up(Plan::new(Strategy::OneForOne).child(inn)).await;
        early.await.unwrap();
        let expected = ["build first", "start first", "build second", "start second"];
        assert_eq!(diary.take(), expected);
    });
}

#[test]
fn guests_under_a_strategy_with_an_order_go_down_with_those_before_them() {
    play(async {
        let diary = Diary::default();
        let first = puppet("first", &diary);
        let actor = first.actor_ref();
        let inn = Child::supervisor("inn", Plan::new(Strategy::RestForOne).child(first));
        let supervisor = inn.actor_ref();
        let _tree = up(Plan::new(Strategy::OneForOne).child(inn)).await;
        let guest = supervisor.start(puppet("guest", &diary)).await.unwrap();
        diary.take();
        perform(&actor, |_, _| panic!());
        calm().await;
        assert_eq!(guest.ask(Count).await, Ok(0));
        let expected = [
            "drop first",
            "stop guest",
            "drop guest",
            "build first",
            "start first",
            "build guest",
            "start guest",
        ];
        assert_eq!(diary.take(), expected);
    });
}

#[test]
fn twenty_thousand_guests_come_and_go() {
    play(async {
        let diary = Diary::default();
        let (tree, inn) = inn().await;
        let mut last = None;
        for number in 0..20_000 {
            let diary = diary.clone();
            let child = Child::once(format!("guest-{number}"), move || {
                Ok(Puppet::new("guest", &diary))
            });
            last = Some(inn.start(child));
        }
        last.unwrap().await.unwrap();
        let inn = tree.snapshot().await.children.remove(0);
        assert_eq!(inn.children.len(), 20_000);
        assert_eq!(
            tree.stop(ms(1_000)).await,
            Exit::Stopped { late: Vec::new() }
        );
        let drops = diary.take();
        let drops = drops.iter().filter(|noted| *noted == "drop guest");
        assert_eq!(drops.count(), 20_000);
    });
}
