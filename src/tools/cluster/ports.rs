//! Free ports.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

/// Where they are looked for: below those that Linux gives to outgoing connections, 32768 and up. One of those could be
/// taken by any client while its member does not run.
const AMONG: Range<u16> = 12_000..32_000;

/// How often others are tried.
const ATTEMPTS: usize = 1_000;

/// Ports that were found free. They are kept from others until this is dropped.
#[derive(Debug, Default)]
pub(super) struct Ports {
    kept: Vec<TcpListener>,
}

impl Ports {
    /// Finds `count` ports one behind the other, and returns the first.
    pub(super) fn find(&mut self, count: u16) -> io::Result<u16> {
        for _ in 0..ATTEMPTS {
            let first = fastrand::u16(AMONG);
            let listeners: io::Result<Vec<_>> = (first..first + count).map(listen).collect();
            match listeners {
                Ok(listeners) => {
                    self.kept.extend(listeners);
                    return Ok(first);
                }
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!(
            "{ATTEMPTS} ports from {} to {} were all taken",
            AMONG.start, AMONG.end
        )))
    }
}

/// Whether somebody has a port.
pub(super) fn is_taken(port: u16) -> bool {
    listen(port).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_was_found_is_kept_with_those_behind_it() {
        let mut ports = Ports::default();
        let first = ports.find(2).unwrap();
        assert!(AMONG.contains(&first));
        assert!(is_taken(first) && is_taken(first + 1));
    }
}
