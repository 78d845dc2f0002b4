//! What is begun and not waited for.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Lets something get on for so many turns of the runtime, and gives it up then: what came of it, if that is known.
pub async fn abandon<T>(what: impl Future<Output = T>, turns: usize) -> Option<T> {
    let mut what = pin!(what);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..=turns {
        if let Poll::Ready(done) = what.as_mut().poll(&mut context) {
            return Some(done);
        }
        tokio::task::yield_now().await;
    }
    None
}
