//! The safety rule: load goes to loopback and private addresses only, unless a target is explicitly allowed.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::PlanError;
use super::target::TargetText;
use crate::base::host_address;

/// What the user allows beyond loopback and private addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// Every address in the range.
    Range(IpNet),
    /// Every address of this host name.
    Name(String),
}

impl From<&str> for Allowance {
    /// An address or a range in CIDR notation; anything else is a host name.
    fn from(text: &str) -> Self {
        text.parse::<IpNet>()
            .ok()
            .or_else(|| host_address(text).map(IpNet::from))
            .map_or_else(|| Self::Name(text.to_ascii_lowercase()), Self::Range)
    }
}

/// Whether an address is loopback or private: RFC 1918, RFC 6598 (shared), RFC 3927 and RFC 4291 (link-local),
/// RFC 4193 (unique local), or an IPv4-mapped form of these.
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Checks one resolved address of a target.
///
/// # Errors
/// If it is neither private nor allowed; it could be with the flag `--allow-target`.
pub fn check_target(target: &TargetText, address: SocketAddr, allowed: &[Allowance]) -> Result<(), PlanError> {
    check(target, address, allowed, &format!("--allow-target {}", address.ip().to_canonical()))
}

/// The same; what is written to `allow` the address is named in the error.
pub(super) fn check(
    target: &TargetText,
    address: SocketAddr,
    allowed: &[Allowance],
    allow: &str,
) -> Result<(), PlanError> {
    let ip = address.ip().to_canonical();
    let explicitly = allowed.iter().any(|allowance| match allowance {
        Allowance::Range(range) => range.contains(&ip),
        Allowance::Name(name) => target.host.eq_ignore_ascii_case(name),
    });
    if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255, 255, 255, 255]) {
        return Err(PlanError::new(format!("target '{}' is {ip}, which no server can have", target.text)));
    }
    if is_private(ip) || explicitly {
        return Ok(());
    }
    Err(PlanError::new(format!(
        "target '{}' is {ip}, a public address; if the server is yours to load, allow it with {allow}",
        target.text
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_is_private() {
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_private(text.parse().unwrap()), "{text}");
        }
        for text in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:db8::1", "::ffff:8.8.8.8", "193.168.0.1"] {
            assert!(!is_private(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_public_address_needs_to_be_allowed() {
        let target: TargetText = "rtmp://203.0.113.7/live".parse().unwrap();
        let address: SocketAddr = "203.0.113.7:1935".parse().unwrap();
        let error = check_target(&target, address, &[]).unwrap_err().to_string();
        assert!(error.contains("--allow-target 203.0.113.7"), "{error}");
        assert!(check_target(&target, address, &["203.0.113.0/24".into()]).is_ok());
        assert!(check_target(&target, address, &["203.0.113.7".into()]).is_ok());
        assert!(check_target(&target, address, &["198.51.100.0/24".into()]).is_err());
        let named: TargetText = "rtmp://ingest.example/live".parse().unwrap();
        assert!(check_target(&named, address, &["Ingest.Example".into()]).is_ok());
    }

    #[test]
    fn nobody_serves_on_a_multicast_address() {
        let target: TargetText = "224.0.0.1:1935".parse().unwrap();
        assert!(check_target(&target, "224.0.0.1:1935".parse().unwrap(), &["224.0.0.0/4".into()]).is_err());
    }
}
