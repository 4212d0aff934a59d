//! Listening sockets that share one port, one for each worker.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted, per listener; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// `count` listeners on `address`, and the address they got (its port 0 replaced by a free port). With `SO_REUSEPORT`
/// the kernel spreads connections over them by the hash of their addresses.
pub(super) fn listen(address: SocketAddr, count: u32) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    let first = socket_for(address)?;
    // The first bind is exclusive: with SO_REUSEPORT from the start it would succeed beside another sink of the same
    // user and share its load. Linux looks at the option of the sockets already bound, so it can be set afterwards.
    first.bind(&address.into())?;
    first.set_reuse_port(true)?;
    let address = first.local_addr()?.as_socket().expect("an IP socket has an IP address");

    let mut sockets = vec![first];
    for _ in 1..count {
        let socket = socket_for(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        sockets.push(socket);
    }
    for socket in &sockets {
        socket.listen(BACKLOG)?;
    }
    Ok((address, sockets.into_iter().map(OwnedFd::from).collect()))
}

fn socket_for(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections in TIME_WAIT from an earlier sink must not block the port.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn listeners_share_one_port() {
        let (address, listeners) = listen(ANY_PORT, 3).unwrap();
        assert_ne!(address.port(), 0);
        for listener in listeners {
            assert_eq!(std::net::TcpListener::from(listener).local_addr().unwrap(), address);
        }
    }

    #[test]
    fn connections_are_spread_over_the_listeners() {
        let (address, listeners) = listen(ANY_PORT, 2).unwrap();
        let _clients: Vec<_> = (0..64).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        for listener in listeners.into_iter().map(std::net::TcpListener::from) {
            listener.set_nonblocking(true).unwrap();
            listener.accept().expect("each listener gets one of 64 connections");
        }
    }

    #[test]
    fn a_port_in_use_is_refused_even_if_its_owner_shares_it() {
        let (address, _listeners) = listen(ANY_PORT, 2).unwrap();
        assert_eq!(listen(address, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
