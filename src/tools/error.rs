//! Why a tool stopped.

use std::io;
use std::path::PathBuf;

use castmq_client::Error as ClientError;
use castmq_config::LoadError;
use castmq_storage::store::StoreError;
use castmq_storage::store::check::CheckError;
use thiserror::Error;

use super::cluster::ClusterError;
use super::print::OutputError;

/// Why a tool stopped.
#[derive(Debug, Error)]
pub(crate) enum ToolError {
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(
        "cannot reach a name server at {addresses}: {reason}; start one with `castmq` (with a broker) or `castmq namesrv` (alone), or name another with -n"
    )]
    NameServer { addresses: String, reason: String },
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot {action}: {source}")]
    System {
        action: &'static str,
        source: io::Error,
    },
    #[error(transparent)]
    Settings(#[from] LoadError),

    // produce
    #[error("{failed} of {sent} messages were not acknowledged{}; the first: {first}", if *.is_cut_short { ", and what follows was not sent" } else { "" })]
    NotStored {
        failed: u64,
        sent: u64,
        first: ClientError,
        is_cut_short: bool,
    },
    #[error(
        "message {number} cannot be sent, so it and all behind it were not; {stored} before it are stored: {reason}"
    )]
    Unsendable {
        number: u64,
        stored: u64,
        reason: ClientError,
    },
    #[error("interrupted; {stored} messages are stored, what was not read yet is not")]
    Interrupted { stored: u64 },

    // stop
    #[error("no server runs in {}{}: name the folder of the one to stop with --data", folder.display(), left_behind(gone))]
    NothingToStop { folder: PathBuf, gone: Vec<String> },
    #[error(
        "{name} (process {pid}) did not stop within {seconds} s: wait longer with --wait, or end it with `kill -9 {pid}`, which loses nothing acknowledged but makes the next start recover"
    )]
    StillRunning {
        name: String,
        pid: i32,
        seconds: u64,
    },

    // admin
    #[error("{error}: {advice}")]
    Advised {
        error: ClientError,
        advice: &'static str,
    },
    #[error("{failed} of {asked} brokers did not do it; what they said is above")]
    Partly { failed: usize, asked: usize },
    #[error(
        "no broker is registered at {addresses}: start one with `castmq broker -n {addresses}`"
    )]
    NoBrokers { addresses: String },
    #[error(
        "{what} {name} does not exist on any broker: `castmq admin {what} list` shows those that do"
    )]
    NotThere { what: &'static str, name: String },
    #[error(
        "{id:?} is no message id, which has 32 or 56 hexadecimal digits and tells where a message is stored: look for a producer's own id with `castmq admin message by-key TOPIC ID`"
    )]
    MessageId { id: String },
    #[error(
        "there is no trace of message {id}: clients trace the messages of topics that say so, `castmq admin topic set TOPIC --trace on`, and send traces a moment later"
    )]
    NotTraced { id: String },
    #[error("{0}")]
    Request(String),
    #[error(
        "no name server knows {} of {name} that answers: `castmq admin cluster list` shows what there is",
        id.map_or_else(|| "a slave".to_owned(), |id| format!("slave {id}"))
    )]
    NoSlave { name: String, id: Option<u64> },
    #[error(
        "slave {better} has more of the log than slave {id}: promote that one, or use --force, which loses what only it has"
    )]
    BetterSlave { id: u64, better: u64 },

    #[error(transparent)]
    Cluster(#[from] ClusterError),

    // store
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{} is damaged in {places}, named above", folder.display())]
    Damaged { folder: PathBuf, places: String },
    #[error("nothing was changed in {}: do this with `castmq store repair {} --yes`", folder.display(), folder.display())]
    NotConfirmed { folder: PathBuf },
    #[error("no message begins at log position {from}{}", next.map_or_else(String::new, |next| format!(": the next one begins at {next}")))]
    NoRecord { from: u64, next: Option<u64> },
}

fn left_behind(gone: &[String]) -> String {
    match gone {
        [] => String::new(),
        gone => format!(
            " (process {} has gone without removing its pid file, which was removed now)",
            gone.join(", ")
        ),
    }
}

impl ToolError {
    /// Whether nobody wants to hear of it: the reader of the output has what it wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self, Self::Output(OutputError::Closed))
    }
}
