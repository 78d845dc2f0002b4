//! Who listens on a port, as far as the system tells.

use std::fs;
use std::path::Path;

/// The state of a socket that listens, in the system's tables.
const LISTENING: &str = "0A";

/// The process that listens on a port, in words; `None` when it cannot be told, since it is another user's for instance.
pub(super) fn owner(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok());
    let socket = tables
        .filter_map(|table| socket_in(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .next()?;
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let (pid, process) = processes
        .filter_map(|entry| {
            // What has a name instead of a number is no process.
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, entry.path()))
        })
        .find(|(_, process)| has_open(process, &socket))?;
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    Some(format!("process {pid} ({})", name.trim()))
}

/// The number of the socket that listens on a port.
fn socket_in(table: &str, port: u16) -> Option<String> {
    let ending = format!(":{port:04X}");
    table.lines().find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let local = columns.next()?;
        let state = columns.nth(1)?;
        let is_it = local.ends_with(&ending) && state == LISTENING;
        // Queues, timer, retransmissions, user and timeout are in between.
        is_it.then(|| columns.nth(5)).flatten().map(str::to_owned)
    })
}

fn has_open(process: &Path, socket: &str) -> bool {
    let Ok(open) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    open.filter_map(Result::ok)
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| target.as_os_str() == socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_process_that_listens_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = owner(port).unwrap();
        let own = format!("process {} ", std::process::id());
        assert!(found.starts_with(&own), "{found}");
        drop(listener);
        assert_eq!(owner(port), None);
    }
}
