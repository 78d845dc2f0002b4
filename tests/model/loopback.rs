//! Waits for what the kernel has on the way from one socket of this machine to another.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// A connection to oneself. What was sent on others before arrives before what is sent on it.
#[derive(Debug)]
pub struct Loopback {
    near: TcpStream,
    far: TcpStream,
}

impl Loopback {
    pub fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let near = TcpStream::connect(address).expect("a connection");
        near.set_nodelay(true).expect("an option");
        let (far, _) = listener.accept().expect("a connection");
        Self { near, far }
    }

    /// Blocks until what was sent before has arrived.
    pub fn drain(&self) {
        (&self.near).write_all(&[0]).expect("it is sent");
        (&self.far).read_exact(&mut [0]).expect("it arrives");
    }
}
