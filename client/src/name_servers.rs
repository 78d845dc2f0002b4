//! The name servers of a client: one is asked, and the next when it fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use castmq_protocol::native::ErrorCode;

use crate::error::{Error, Result};
use crate::link::{Link, Session};

/// See the module.
#[derive(Debug)]
pub(crate) struct NameServers {
    links: Vec<Arc<Link>>,
    /// The one that is asked first: the last that answered.
    current: AtomicUsize,
    /// None answered when they were asked last.
    are_silent: AtomicBool,
}

/// Whether a name server has said what it knows. Whatever else goes wrong is its own failure, and the next may do better.
fn is_answer(error: &Error) -> bool {
    error.code() == Some(ErrorCode::TopicNotFound)
}

impl NameServers {
    /// All of them. The first to be asked is any, so that clients spread.
    pub(crate) fn new(links: Vec<Arc<Link>>) -> Self {
        Self {
            current: AtomicUsize::new(fastrand::usize(..links.len().max(1))),
            links,
            are_silent: AtomicBool::new(false),
        }
    }

    /// Asks the one that answered last, and the others in turn when it fails: when it cannot be reached, does not answer,
    /// refuses, or answers what is none.
    pub(crate) async fn ask<T, F: Future<Output = Result<T>>>(
        &self,
        what: impl Fn(Arc<Session>) -> F,
    ) -> Result<T> {
        let current = self.current.load(Ordering::Relaxed);
        let mut last = Error::setting("no name server is configured: name at least one");
        for step in 0..self.links.len() {
            let index = (current + step) % self.links.len();
            let Some(link) = self.links.get(index) else {
                break;
            };
            match async { what(link.session().await?).await }.await {
                Err(error) if !is_answer(&error) => {
                    tracing::debug!(address = %link.address(), %error, "name server fails");
                    last = error;
                }
                answer => {
                    self.note_answer(index, link);
                    return answer;
                }
            }
        }
        if !self.are_silent.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = %last, "no name server answers, going on with what is known");
        }
        Err(last)
    }

    fn note_answer(&self, index: usize, link: &Link) {
        let before = self.current.swap(index, Ordering::Relaxed);
        if self.are_silent.swap(false, Ordering::Relaxed) {
            tracing::info!(address = %link.address(), "a name server answers again");
        } else if before != index
            && let Some(left) = self.links.get(before)
        {
            tracing::warn!(failing = %left.address(), now = %link.address(), "another name server is asked from now on");
        }
    }
}
