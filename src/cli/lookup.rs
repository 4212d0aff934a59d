//! How target names are looked up: by the system's resolver, or among the simulated hosts.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::base::host_address;
use crate::io::sim::SIM_HOSTS;
use crate::run::Target;
use crate::scenario::{Allowance, Family, PlanError, TargetText, check_target, system_lookup};

/// The system's resolver.
pub(super) fn on_the_network(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    system_lookup(host, port)
}

/// Without a look-up: the address, or one in place of a name's.
pub(super) fn stand_in(host: &str, port: u16, family: Option<Family>) -> SocketAddr {
    let named = match family {
        Some(Family::Ipv6) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        Some(Family::Ipv4) | None => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    SocketAddr::new(host_address(host).unwrap_or(named), port)
}

/// Looks a target's name up again; its addresses must be allowed like the first ones.
pub(super) fn again(target: &Target, family: Option<Family>, allowed: &[Allowance]) -> Result<Vec<SocketAddr>, String> {
    let text: TargetText = target.name.parse().map_err(|error: PlanError| error.to_string())?;
    let addresses = text.addresses(&on_the_network, family).map_err(|error| error.to_string())?;
    for address in &addresses {
        check_target(&text, *address, allowed).map_err(|error| error.to_string())?;
    }
    Ok(addresses)
}

/// The hosts of the simulated network; addresses stand for its default peer.
pub(super) fn in_the_simulation(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    if let Some(address) = host_address(host) {
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
