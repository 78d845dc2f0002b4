//! `castmq stop`: stops the servers of a data folder, and waits until they have gone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::{ToolError, print};
use crate::command_line::ServeFlags;
use crate::pid_file::{EXTENSION, PidFile, Server, server};
use crate::settings;

/// Whom to stop.
#[derive(Debug, Clone, Args)]
pub(crate) struct StopFlags {
    /// The server's data folder [default: ./castmq-data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The server's configuration, which names its data folder.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stop only this one, when a folder has several: broker, or namesrv-PORT.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// How many seconds to wait until it has gone.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
}

pub(super) fn run(flags: &StopFlags) -> Result<(), ToolError> {
    let serve = ServeFlags {
        config: flags.config.clone(),
        data: flags.data.clone(),
        ..ServeFlags::default()
    };
    let loaded = settings::load(castmq_actors::Parts::Standalone, &serve)?;
    let folder = loaded.settings.store.data_dir;
    let files = pid_files(&folder, flags.only.as_deref()).map_err(|source| ToolError::File {
        action: "look for servers in",
        path: folder.clone(),
        source,
    })?;
    let mut gone = Vec::new();
    let mut stopped = 0;
    for path in files {
        let failed = |action| {
            let path = path.clone();
            move |source| ToolError::File {
                action,
                path,
                source,
            }
        };
        match server(&path).map_err(failed("tell who holds"))? {
            Some(server) => stop(&name(&path), &server, Duration::from_secs(flags.wait))
                .map_err(failed("stop the server of"))??,
            None => {
                gone.push(
                    fs::read_to_string(&path)
                        .unwrap_or_default()
                        .trim()
                        .to_owned(),
                );
                PidFile::remove_stale(&path).map_err(failed("remove"))?;
                continue;
            }
        }
        stopped += 1;
    }
    match stopped {
        0 => Err(ToolError::NothingToStop { folder, gone }),
        _ => Ok(()),
    }
}

/// In the order in which servers are stopped: brokers say goodbye to their name servers.
fn pid_files(folder: &Path, only: Option<&str>) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_pid_file = path.extension().is_some_and(|found| found == EXTENSION);
        if is_pid_file && only.is_none_or(|only| name(&path) == only) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

fn stop(name: &str, server: &Server, wait: Duration) -> io::Result<Result<(), ToolError>> {
    let began = Instant::now();
    server.terminate()?;
    if !server.wait(wait)? {
        return Ok(Err(ToolError::StillRunning {
            name: name.to_owned(),
            pid: server.pid(),
            seconds: wait.as_secs(),
        }));
    }
    let seconds = began.elapsed().as_secs_f64();
    let stopped = format!(
        "{name} (process {}) stopped in {seconds:.2} s",
        server.pid()
    );
    Ok(print::text(stopped).map_err(ToolError::from))
}
