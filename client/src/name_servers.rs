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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use crate::client::Client;
    use crate::testing::{FakeCluster, NAME_SERVER};

    const SECOND: &str = "ns:2";

    fn cluster() -> FakeCluster {
        let cluster = FakeCluster::start(&["a"]);
        cluster.start_name_server(SECOND);
        cluster.topic("a", "orders", 1);
        cluster
    }

    async fn client(cluster: &FakeCluster) -> Client {
        let builder = cluster.builder().name_servers([NAME_SERVER, SECOND]);
        builder.build().await.unwrap()
    }

    async fn ask(client: &Client) -> bool {
        client.admin().route("orders").await.is_ok()
    }

    fn asked(cluster: &FakeCluster) -> [usize; 2] {
        [NAME_SERVER, SECOND].map(|address| cluster.routes_asked(address))
    }

    #[tokio::test(start_paused = true)]
    async fn clients_spread_over_them_and_each_stays_with_one() {
        let cluster = cluster();
        for _ in 0..64 {
            let client = client(&cluster).await;
            let before = asked(&cluster);
            for _ in 0..3 {
                assert!(ask(&client).await);
            }
            let after = asked(&cluster);
            let new = [after[0] - before[0], after[1] - before[1]];
            assert!(new == [3, 0] || new == [0, 3], "{new:?}");
        }
        let [first, second] = asked(&cluster);
        assert!(first > 0 && second > 0, "{first} and {second}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_dies_hangs_or_babbles_is_left_for_the_next() {
        type Failing = fn(&FakeCluster, &str);
        let ways: [Failing; 3] = [
            FakeCluster::stop_name_server,
            FakeCluster::hush_name_server,
            FakeCluster::babble,
        ];
        for fail in ways {
            let cluster = cluster();
            let client = client(&cluster).await;
            assert!(ask(&client).await);
            let (theirs, other) = match asked(&cluster) {
                [1, 0] => (NAME_SERVER, SECOND),
                _ => (SECOND, NAME_SERVER),
            };
            fail(&cluster, theirs);
            assert!(ask(&client).await);
            assert_eq!(cluster.routes_asked(other), 1);
            // Not even looked at any more.
            let before = cluster.routes_asked(theirs);
            let began = Instant::now();
            assert!(ask(&client).await);
            assert_eq!(began.elapsed(), Duration::ZERO);
            assert_eq!(cluster.routes_asked(theirs), before);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_none_names_who_gave_it() {
        let cluster = FakeCluster::start(&["a"]);
        cluster.babble(NAME_SERVER);
        let error = cluster.client().await.admin().route("orders").await;
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("ns:1 does not speak the protocol"),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_route_is_asked_for_once_however_many_want_it() {
        let cluster = FakeCluster::start(&["a"]);
        cluster.topic("a", "orders", 1);
        let client = cluster.client().await;
        let admin = client.admin();
        let all = (0..100).map(|_| admin.route("orders"));
        let routes = futures_util::future::join_all(all).await;
        assert!(routes.iter().all(Result::is_ok));
        assert_eq!(cluster.routes_asked(NAME_SERVER), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_back_is_asked_again_when_no_other_answers() {
        let cluster = cluster();
        let client = client(&cluster).await;
        cluster.stop_name_server(NAME_SERVER);
        cluster.stop_name_server(SECOND);
        assert!(!ask(&client).await);
        cluster.start_name_server(NAME_SERVER);
        sleep(Duration::from_secs(1)).await;
        assert!(ask(&client).await);
    }
}
