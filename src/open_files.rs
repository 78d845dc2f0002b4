//! How many files and connections the process may have open.

use castmq_config::Settings;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files of the store, beside connections.
const FILES: u64 = 512;

/// Raises the limit as far as the system lets this process: shells and systemd give 1024, and more to whoever asks.
pub(crate) fn raise_limit(settings: &Settings) {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        ..before
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files stays as it is");
            before.current
        }
    };
    let max_connections = settings.limits.max_connections;
    if let Some(limit) = limit
        && limit < u64::from(max_connections) + FILES
    {
        tracing::warn!(
            limit,
            max_connections,
            "this process may have {limit} files and connections open at once, which is too few for limits.max_connections: \
             raise the hard limit of open files (LimitNOFILE= of systemd, ulimit -Hn), or lower limits.max_connections"
        );
    }
}
