//! How target names are looked up: by the system's resolver, or among the simulated hosts.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::io::sim::SIM_HOSTS;
use crate::scenario::system_lookup;

/// The system's resolver.
pub(super) fn on_the_network(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    system_lookup(host, port)
}

/// The hosts of the simulated network; addresses stand for its default peer.
pub(super) fn in_the_simulation(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    match (1..).zip(SIM_HOSTS).find(|(_, (name, _))| name.eq_ignore_ascii_case(host)) {
        Some((index, _)) => Ok(vec![SocketAddr::from((Ipv4Addr::new(10, 255, 0, index), port))]),
        None => {
            let names: Vec<&str> = SIM_HOSTS.iter().map(|(name, _)| *name).collect();
            Err(Error::new(ErrorKind::NotFound, format!("the simulated network has the hosts {}", names.join(", "))))
        }
    }
}
