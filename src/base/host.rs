//! Hosts that are addresses, maybe with a zone: the interface of a link-local address (RFC 4007, section 11).

use std::net::IpAddr;

/// The address that `host` is, if it is one: of `fe80::1%eth0` without its zone.
pub fn host_address(host: &str) -> Option<IpAddr> {
    let (address, zone) = host.split_once('%').map_or((host, None), |(address, zone)| (address, Some(zone)));
    let address: IpAddr = address.parse().ok()?;
    let may_have_zone = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local() || v6.is_multicast());
    zone.is_none_or(|zone| may_have_zone && !zone.is_empty()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_zone_where_it_is_one_of_an_interface() {
        for (host, address) in [
            ("127.0.0.1", Some("127.0.0.1")),
            ("::1", Some("::1")),
            ("fe80::1%eth0", Some("fe80::1")),
            ("fe80::1%2", Some("fe80::1")),
            ("fe80::1%", None),
            ("::1%lo", None),
            ("10.0.0.1%eth0", None),
            ("localhost", None),
        ] {
            assert_eq!(host_address(host), address.map(|address| address.parse().unwrap()), "{host}");
        }
    }
}
