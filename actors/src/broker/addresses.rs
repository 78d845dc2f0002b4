//! Where a broker listens, and where others find it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use castmq_config::Settings;

use crate::network::socket::Bound;
use crate::node::NodeError;

/// So far below the broker's port is that of the VIP channel (RocketMQ `fastListenPort`).
const VIP_PORT_BELOW: u16 = 2;

/// Binds an address, so that one in use is an error before anything is started.
pub(crate) fn bind(address: SocketAddr) -> Result<Bound, NodeError> {
    Bound::to(address).map_err(|source| NodeError::Bind { address, source })
}

/// Binds the port on which RocketMQ's clients send whose `vipChannelEnabled` is set, where that is wanted.
pub(super) fn bind_vip(
    settings: &Settings,
    address: SocketAddr,
) -> Result<Option<Bound>, NodeError> {
    if !settings.broker.vip_channel {
        return Ok(None);
    }
    let port = address.port().checked_sub(VIP_PORT_BELOW);
    let port = port.filter(|port| *port > 0);
    let port = port.ok_or(NodeError::VipPort { address })?;
    bind(SocketAddr::new(address.ip(), port)).map(Some)
}

/// Binds the address on which a master takes slaves, and a slave says that it takes none. Where nobody chose the port and
/// somebody has it, any other does: name servers tell slaves.
pub(super) fn bind_for_slaves(settings: &Settings) -> Result<Bound, NodeError> {
    let listen = settings.broker.listen;
    let any = SocketAddr::new(listen.ip(), 0);
    match bind(settings.ha_listen().unwrap_or(any)) {
        Err(error @ NodeError::Bind { .. }) if settings.replication.ha_listen_port.is_none() => {
            tracing::warn!(%error, "slaves connect to another port");
            bind(any)
        }
        bound => bound,
    }
}

/// The address that is part of message ids and that name servers give out.
pub(super) fn advertised(settings: &Settings, bound: SocketAddr) -> Result<SocketAddr, NodeError> {
    let ip = match &settings.broker.advertised_address {
        Some(address) => {
            let unknown = || NodeError::Advertised {
                address: address.clone(),
            };
            let mut found = (address.as_str(), 0)
                .to_socket_addrs()
                .map_err(|_| unknown())?;
            found.next().ok_or_else(unknown)?.ip()
        }
        None if bound.ip().is_unspecified() => local_address(),
        None => bound.ip(),
    };
    Ok(SocketAddr::new(ip, bound.port()))
}

/// The address of the interface that the default route leads through. Connecting a datagram socket sends nothing.
fn local_address() -> IpAddr {
    let routed = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        // Any address outside does; this one is reserved for documentation.
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    routed.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}
