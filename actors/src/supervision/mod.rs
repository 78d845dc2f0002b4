//! Supervision in the OTP sense over actix, and the one place that knows actix.
//!
//! An actor is a plain struct ([`Cast`]) that a factory builds. A panic, an error exit and a refusal to start are all
//! failures; after one the actor is dropped and built again, and its mailbox, with all references to it and all messages
//! but the one in hand, lives on. A supervisor decides whom to restart, when, and when to fail itself; the failure of
//! the root is a reason for the process to end.
//!
//! ```
//! use castmq_actors::supervision::{
//!     ActorRef, Answer, Cast, Child, Ctx, Exit, Plan, Receive, Reply, Strategy, Tree,
//! };
//!
//! struct Counter(u64);
//! struct Add(u64);
//! struct Total;
//!
//! impl Cast for Counter {
//!     type State = u64;
//!
//!     fn observe(&self) -> u64 {
//!         self.0
//!     }
//! }
//!
//! impl Receive<Add> for Counter {
//!     fn receive(&mut self, Add(amount): Add, _: &mut Ctx<'_, Self>) {
//!         assert!(amount > 0, "nothing to add");
//!         self.0 += amount;
//!     }
//! }
//!
//! impl Answer<Total> for Counter {
//!     type Reply = u64;
//!
//!     fn answer(&mut self, _: Total, reply: Reply<u64>, _: &mut Ctx<'_, Self>) {
//!         reply.send(self.0);
//!     }
//! }
//!
//! actix_rt::System::new().block_on(async {
//!     let child = Child::new("counter", || Ok(Counter(100)));
//!     let counter: ActorRef<Counter> = child.actor_ref();
//!     let tree = Tree::start("node", Plan::new(Strategy::OneForOne).child(child));
//!
//!     counter.tell(Add(1));
//!     assert_eq!(counter.ask(Total).await, Ok(101));
//!     counter.tell(Add(0));
//!     counter.tell(Add(2));
//!     assert_eq!(counter.ask(Total).await, Ok(102), "built again, and none lost but the one");
//!
//!     let exit = tree.stop(std::time::Duration::from_secs(1)).await;
//!     assert_eq!(exit, Exit::Stopped { late: Vec::new() });
//! });
//! ```
//!
//! # Layout
//!
//! What actors see:
//!
//! - `actor`: the traits of an actor, its messages and its questions.
//! - `context`: what an actor can do beside handling a message: futures, timers, sockets, stopping, failing.
//! - `reference`: references to actors, and mailboxes of unknown owners.
//! - `reply`: an answer that is owed, and that tells when it is lost.
//! - `failure`: why an actor is no longer running; panics as reasons.
//!
//! What builds a tree of them:
//!
//! - `child`: a name, a factory and terms.
//! - `plan`: the children of a supervisor, and how it treats them.
//! - `supervisor`: the actor that keeps others alive, and how to add children to it.
//! - `policy`: strategies, restart policies, intensity and back-off. Pure.
//! - `stage`: arbiters that can be replaced.
//! - `tree`: the whole: start, stop, exit, names, live snapshot.
//! - `watchdog`: finds arbiters that hang.
//! - `chaos`: makes any actor panic, for tests; it is in no build that does not ask for it.
//!
//! What makes it work:
//!
//! - `engine`, `slots`: what a supervisor decides. Pure.
//! - `roster`: a supervisor's children themselves, and how its orders reach them.
//! - `shell`: the actix actor around ours. All of actix's traps are listed there.
//! - `seat`: a mailbox, and the task that serves it with one actor after the other.
//! - `record`: what any thread may know of a child, and its supervisor's orders.
//! - `house`: what a whole tree shares.

mod actor;
#[cfg(any(test, feature = "chaos"))]
mod chaos;
mod child;
mod context;
mod engine;
mod failure;
mod house;
mod plan;
mod policy;
mod record;
mod reference;
mod reply;
mod roster;
mod seat;
mod shell;
mod slots;
mod stage;
mod supervisor;
mod tree;
mod watchdog;

#[cfg(test)]
mod tests;

pub use actor::{Answer, Cast, Receive};
pub use child::{Child, DEFAULT_STOP_WITHIN, OnceFactory};
pub use context::{Ctx, Hold, Task};
pub use failure::{Cause, Failure, capture_panics};
pub use plan::{Plan, SupervisorFactory};
pub use policy::{Backoff, Intensity, Restart, Strategy};
pub use record::{LastFailure, Status};
pub use reference::{ActorRef, AskError, Mailbox};
pub use reply::{Lost, Reply};
pub use stage::Stage;
pub use supervisor::{StartError, Supervisor, SupervisorState};
pub use tree::{Exit, Kind, SNAPSHOT_PATIENCE, Tree, TreeNode};
pub use watchdog::{OnHang, Watchdog, WatchdogSettings};
