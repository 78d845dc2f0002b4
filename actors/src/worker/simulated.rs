//! A worker of a simulated host: a task of the only thread, whose jobs take the simulation's time and not the machine's.

use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::spawn_local;
use tokio::time::sleep;

/// How long most jobs take, at most.
const USUAL: Duration = Duration::from_millis(2);

/// How long a job takes on a disk that has much to do, at most.
const LONGEST: Duration = Duration::from_millis(100);

/// One job in so many meets such a disk.
const LONG_ONE_IN: u32 = 50;

/// Whether the calling code runs on a host of a simulation.
pub(super) fn is_here() -> bool {
    turmoil::in_simulation()
}

/// Starts a task that does jobs one after the other, as long as somebody can hand them over. A job's work is done at once, when its
/// time is over: a host that crashes before has not begun it.
pub(super) fn start<J: 'static>(mut work: impl FnMut(J) + 'static) -> UnboundedSender<J> {
    let (jobs, mut queue) = mpsc::unbounded_channel();
    spawn_local(async move {
        while let Some(job) = queue.recv().await {
            sleep(duration()).await;
            work(job);
        }
    });
    jobs
}

/// Does one job, when its time is over.
pub(super) async fn apart<T>(work: impl FnOnce() -> T) -> T {
    sleep(duration()).await;
    work()
}

fn duration() -> Duration {
    let longest = match fastrand::u32(..LONG_ONE_IN) {
        0 => LONGEST,
        _ => USUAL,
    };
    longest.mul_f64(fastrand::f64())
}
