//! How many jobs are not done. Whoever makes time go by (feature `own-time`) has to know: while a thread works, as good as
//! no time goes by in a broker whose time does not run by itself. Without the feature nothing is counted.

#[cfg(feature = "own-time")]
pub use counted::jobs_under_way;

#[cfg(feature = "own-time")]
pub(crate) use counted::UnderWay;

/// Nothing is counted.
#[cfg(not(feature = "own-time"))]
#[derive(Debug)]
pub(crate) struct UnderWay;

#[cfg(not(feature = "own-time"))]
impl UnderWay {
    pub(crate) fn begin() -> Self {
        Self
    }
}

#[cfg(feature = "own-time")]
mod counted {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    thread_local! {
        /// Jobs handed over by this thread: brokers of several tests, each on its thread, know nothing of each other.
        static JOBS: Arc<AtomicUsize> = Arc::default();
    }

    /// A job that is not done.
    #[derive(Debug)]
    pub(crate) struct UnderWay(Arc<AtomicUsize>);

    impl UnderWay {
        pub(crate) fn begin() -> Self {
            let jobs = JOBS.with(Arc::clone);
            jobs.fetch_add(1, Ordering::SeqCst);
            Self(jobs)
        }
    }

    impl Drop for UnderWay {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// How many jobs that the calling thread handed to worker threads are not done. What a job tells is told before it is
    /// done.
    pub fn jobs_under_way() -> usize {
        JOBS.with(|jobs| jobs.load(Ordering::SeqCst))
    }
}
