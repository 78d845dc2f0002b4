//! Time that goes by when it is told to, for broker and clients alike.
//!
//! All of a life runs on one thread, whose runtime's time stands still while there is anything to do, and goes on by a
//! millisecond when there is not. Worker threads have all the time they need: while one of them works none goes by. Nor
//! does any while the kernel has something on the way from one socket to another, which on a machine with much to do would be
//! long enough for minutes. The wall clock moves with time, and can be set besides.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use actix_rt::System;
use castmq_actors::jobs_under_way;
use fastrand::Rng;
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use tokio::time::{Instant, advance, sleep};

use super::loopback::Loopback;

/// The time of the first moment.
const START_MS: i64 = 1_700_000_000_000;

const TICK: Duration = Duration::from_millis(1);

/// Ticks for which nothing may happen before time leaps.
const SETTLING_TICKS: u32 = 5;

/// The wall clock, which lives on when brokers do not.
#[derive(Debug, Clone)]
pub struct Wall(Arc<AtomicI64>);

impl Default for Wall {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(START_MS)))
    }
}

impl Wall {
    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Sets it forward, or back.
    pub fn set_by(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    /// Runs something in its time.
    pub fn run<T>(&self, life: impl AsyncFnOnce(Time) -> T) -> T {
        stay_on_this_processor();
        let wall = self.clone();
        let runtime = || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().start_paused(true).build();
            runtime.expect("a runtime")
        };
        System::with_tokio_rt(runtime).block_on(async move {
            let time = Time {
                wall,
                start: Instant::now(),
                followed_ms: Arc::default(),
            };
            actix_rt::spawn(time.clone().tick(Loopback::open()));
            life(time).await
        })
    }
}

/// What was sent first arrives first only as long as one processor does it all: each has a queue of its own of what is on its
/// way, and on a busy machine another one's may wait for milliseconds, in which a leap makes minutes go by.
fn stay_on_this_processor() {
    let mut here = CpuSet::new();
    here.set(sched_getcpu());
    sched_setaffinity(None, &here).expect("a thread may stay where it is");
}

/// The time of one life.
#[derive(Debug, Clone)]
pub struct Time {
    wall: Wall,
    start: Instant,
    /// How far the wall clock went with it, in milliseconds from the start.
    followed_ms: Arc<AtomicI64>,
}

impl Time {
    /// By the wall clock, in milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.wall.now_ms()
    }

    /// Sets the wall clock forward, or back.
    pub fn set_by(&self, ms: i64) {
        self.wall.set_by(ms);
    }

    /// Goes on whenever there is nothing else to do.
    async fn tick(self, loopback: Loopback) {
        loop {
            sleep(TICK).await;
            loopback.drain();
            while jobs_under_way() > 0 {
                // Sockets are looked at, and no time goes by.
                tokio::task::yield_now().await;
                std::thread::yield_now();
            }
            self.follow(Duration::ZERO);
        }
    }

    /// Takes the wall clock along, to so long from now.
    fn follow(&self, ahead: Duration) {
        let to_ms = (self.start.elapsed() + ahead).as_millis() as i64;
        let from_ms = self.followed_ms.fetch_max(to_ms, Ordering::SeqCst);
        self.wall.set_by((to_ms - from_ms).max(0));
    }

    /// Lets this much go by at once, as when a machine sleeps, and what is due then happen.
    async fn leap(&self, time: Duration) {
        self.follow(time);
        advance(time).await;
        self.settle().await;
    }

    /// Waits until everybody waits for a time. The shortest pauses are a few ticks; what waits for one does not wait for
    /// anything else, and would miss the next leap's beginning.
    async fn settle(&self) {
        for _ in 0..SETTLING_TICKS {
            sleep(TICK).await;
            while jobs_under_way() > 0 {
                sleep(TICK).await;
            }
        }
    }

    /// Lets this much go by, in leaps of at most `leap_ms`.
    pub async fn pass(&self, time_ms: u64, leap_ms: u64, dice: &mut Rng) {
        let end = Instant::now() + Duration::from_millis(time_ms);
        self.settle().await;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let leap = Duration::from_millis(dice.u64(1..=leap_ms));
            self.leap(leap.min(left)).await;
        }
    }
}
