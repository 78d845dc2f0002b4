//! Who listens on a port, as far as the system tells.

use procfs::net::{TcpNetEntry, TcpState, tcp, tcp6};
use procfs::process::{FDTarget, Process, all_processes};

/// The process that listens on a port, in words; `None` when it cannot be told, since it is another user's for instance.
pub(super) fn owner(port: u16) -> Option<String> {
    let is_it =
        |entry: &TcpNetEntry| entry.state == TcpState::Listen && entry.local_address.port() == port;
    let sockets = [tcp(), tcp6()].into_iter().flatten().flatten();
    let inode = sockets.filter(is_it).map(|entry| entry.inode).next()?;
    let process = all_processes()
        .ok()?
        .filter_map(Result::ok)
        .find(|process| has_open(process, inode))?;
    let name = process.stat().map_or(String::new(), |stat| stat.comm);
    Some(format!("process {} ({name})", process.pid))
}

fn has_open(process: &Process, socket: u64) -> bool {
    let open = process.fd().into_iter().flatten().filter_map(Result::ok);
    open.into_iter()
        .any(|open| matches!(open.target, FDTarget::Socket(inode) if inode == socket))
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
