//! Panics on demand, so that tests can show what survives them. Built for tests and with the feature `chaos` alone, and
//! reached from inside the process alone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Context;

use super::tree::Tree;

/// Wake-ups for which a poisoned actor waits for a message to panic with.
const PATIENCE: u32 = 16 * 1024;

/// Whether an actor is to panic, and how long it still waits for a message.
#[derive(Debug, Default)]
pub(super) struct Poison(AtomicU32);

impl Poison {
    /// Panics with a message in hand, which is lost.
    pub(super) fn strike_with_message(&self) {
        assert_eq!(self.0.swap(0, Ordering::Relaxed), 0, "poisoned");
    }

    /// Panics between two messages, once it is clear that none comes.
    pub(super) fn strike_without(&self, cx: &Context<'_>) {
        match self.0.load(Ordering::Relaxed) {
            0 => {}
            1 => self.strike_with_message(),
            left => {
                self.0.store(left - 1, Ordering::Relaxed);
                cx.waker().wake_by_ref();
            }
        }
    }
}

impl Tree {
    /// Makes the actor at a path panic: with its next message in hand when one comes soon, and without one otherwise.
    /// False when there is no such actor.
    pub fn poison(&self, path: &str) -> bool {
        let Some(member) = self.house().member(path) else {
            return false;
        };
        let record = member.record();
        record.poison().0.store(PATIENCE, Ordering::Relaxed);
        record.shell().wake();
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_rt::System;

    use crate::supervision::{Cast, Child, Ctx, Plan, Receive, Strategy, Tree};

    struct Silent;

    impl Cast for Silent {
        type State = ();

        fn observe(&self) {}
    }

    impl Receive<()> for Silent {
        fn receive(&mut self, (): (), _: &mut Ctx<'_, Self>) {}
    }

    async fn restarts(tree: &Tree) -> u32 {
        let seen = tree.snapshot().await;
        seen.find("silent").unwrap().restarts
    }

    #[test]
    fn a_poisoned_actor_panics_once_whether_or_not_it_gets_a_message() {
        System::new().block_on(async {
            let child = Child::new("silent", || Ok(Silent));
            let silent = child.actor_ref();
            let tree = Tree::start("node", Plan::new(Strategy::OneForOne).child(child));
            tree.started().await.unwrap();
            assert!(tree.poison("silent"));
            while restarts(&tree).await < 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(tree.poison("silent"));
            silent.tell(());
            while restarts(&tree).await < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            silent.tell(());
            assert_eq!(restarts(&tree).await, 2);
            assert!(!tree.poison("nobody"));
        });
    }
}
