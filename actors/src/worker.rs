//! Threads for work that blocks: syncing, reserving, removing, reading from disk.
//!
//! An actor owns its worker: it hands over jobs, and the worker tells the actor what came of them with a message.
//! Dropping the worker ends its thread after the job in hand; jobs that wait are dropped.
//!
//! - `under_way`: how many jobs are not done, for those who make time go by.
//! - [`apart`]: a single job, of which a future waits.
//! - `simulated`: what stands in for a thread on the hosts of a simulation.

#[cfg(feature = "simulation")]
mod simulated;
pub(crate) mod under_way;

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread;

use self::under_way::UnderWay;
use crate::supervision::{Cast, Ctx, Failure};

/// How much a thread stands back behind those that somebody waits for, as `nice` counts.
const STANDS_BACK: i32 = 5;

/// Does something that blocks, and has the future wait for it.
///
/// # Errors
/// When it panics.
pub(crate) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    #[cfg(feature = "simulation")]
    if simulated::is_here() {
        return Ok(simulated::apart(work).await);
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)
}

/// Hands an actor's job to its thread, if it has one; the actor fails when that has died. Says whether it was taken.
pub(crate) fn hand_over<J: Send + 'static, A: Cast>(
    thread: Option<&Worker<J>>,
    job: J,
    ctx: &mut Ctx<'_, A>,
) -> bool {
    match thread.map(|thread| thread.submit(job)) {
        Some(Ok(())) => return true,
        Some(Err(failure)) => ctx.fail(failure),
        None => {}
    }
    false
}

/// A thread that does jobs of one kind, one after the other.
#[derive(Debug)]
pub(crate) enum Worker<J> {
    Thread(Sender<(J, UnderWay)>),
    #[cfg(feature = "simulation")]
    Simulated(tokio::sync::mpsc::UnboundedSender<J>),
}

impl<J: Send + 'static> Worker<J> {
    /// Starts a thread. When `work` panics the thread ends: [`Worker::submit`] fails from then on, and what the job
    /// held is dropped.
    pub(crate) fn start(name: &str, work: impl FnMut(J) + Send + 'static) -> io::Result<Self> {
        Self::start_after(|| {}, name, work)
    }

    /// The same for jobs that nobody waits for: where processors are few, those who are waited for come first.
    pub(crate) fn start_in_background(
        name: &str,
        work: impl FnMut(J) + Send + 'static,
    ) -> io::Result<Self> {
        let stand_back = || {
            // It works with the others' priority, too.
            let _ = rustix::process::nice(STANDS_BACK);
        };
        Self::start_after(stand_back, name, work)
    }

    fn start_after(
        prepare: impl FnOnce() + Send + 'static,
        name: &str,
        mut work: impl FnMut(J) + Send + 'static,
    ) -> io::Result<Self> {
        #[cfg(feature = "simulation")]
        if simulated::is_here() {
            return Ok(Self::Simulated(simulated::start(work)));
        }
        let (jobs, queue) = mpsc::channel::<(J, UnderWay)>();
        thread::Builder::new()
            .name(format!("castmq-{name}"))
            .spawn(move || {
                prepare();
                // A job is under way until it is done, and so is what it tells.
                queue.into_iter().for_each(|(job, _under_way)| work(job));
            })?;
        Ok(Self::Thread(jobs))
    }

    /// Hands over a job.
    pub(crate) fn submit(&self, job: J) -> Result<(), Failure> {
        let is_taken = match self {
            Self::Thread(jobs) => jobs.send((job, UnderWay::begin())).is_ok(),
            #[cfg(feature = "simulation")]
            Self::Simulated(jobs) => jobs.send(job).is_ok(),
        };
        match is_taken {
            true => Ok(()),
            false => Err(Failure::new("the worker thread has ended")),
        }
    }
}
