//! The PROXY header that a load balancer puts before C0.
//!
//! Source: haproxy's `proxy-protocol.txt`, versions 1 and 2. nginx-rtmp 1.2.2 reads version 1 only (`listen ...
//! proxy_protocol`).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ppp::{v1, v2};

use crate::engine::{Headers, SharedRange};
use crate::run::plan::{ProxyPlan, ProxyVersion, RunPlan};

/// Headers that each worker keeps ready for each target; it sends them in turn.
const HEADERS_PER_TARGET: u32 = 1_024;
/// Clients' ports begin here.
const FIRST_PORT: u16 = 1_024;

/// Appends a worker's headers to its shared bytes and says where they are.
///
/// Workers and machines begin at different addresses of the range, so that together they name more of them.
pub(super) fn headers(proxy: &ProxyPlan, plan: &RunPlan, worker: u32, bytes: &mut Vec<u8>) -> Headers {
    let mut ranges = Vec::new();
    let begin = u128::from(plan.share.split(worker, plan.workers).index) * u128::from(HEADERS_PER_TARGET);
    for target in &plan.targets {
        for number in 0..HEADERS_PER_TARGET {
            let number = begin + u128::from(number);
            let ports = u128::from(u16::MAX - FIRST_PORT) + 1;
            let port = FIRST_PORT + (number % ports) as u16;
            let client = SocketAddr::new(proxy.client(number), port);
            let header = header(proxy.version, client, target.address);
            ranges.push(SharedRange { offset: bytes.len() as u32, len: header.len() as u16 });
            bytes.extend_from_slice(&header);
        }
    }
    Headers { ranges: ranges.into(), per_target: HEADERS_PER_TARGET }
}

/// One header. Both addresses are of one family in it: an IPv4 address beside an IPv6 one is written in its mapped form.
fn header(version: ProxyVersion, client: SocketAddr, target: SocketAddr) -> Vec<u8> {
    let (client, target) = match (client, target) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) | (SocketAddr::V6(_), SocketAddr::V6(_)) => (client, target),
        _ => (mapped(client), mapped(target)),
    };
    match version {
        ProxyVersion::V1 => v1::Addresses::from((client, target)).to_string().into_bytes(),
        ProxyVersion::V2 => {
            v2::Builder::with_addresses(v2::Version::Two | v2::Command::Proxy, v2::Protocol::Stream, (client, target))
                .build()
                .expect("two addresses fit into a header")
        }
    }
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

impl ProxyPlan {
    /// Address `number` of the range, which begins anew after its last.
    fn client(&self, number: u128) -> IpAddr {
        let size = |bits: u8, prefix: u8| 1_u128.checked_shl(u32::from(bits - prefix)).unwrap_or(u128::MAX);
        let prefix = self.client_ips.prefix_len();
        match self.client_ips.network() {
            IpAddr::V4(first) => {
                let offset = (number % size(32, prefix)) as u32;
                IpAddr::V4((first.to_bits() | offset).into())
            }
            IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() | (number % size(128, prefix)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(version: ProxyVersion, client_ips: &str) -> ProxyPlan {
        ProxyPlan { version, client_ips: client_ips.parse().unwrap() }
    }

    #[test]
    fn version_1_is_a_line_of_text() {
        let line = header(ProxyVersion::V1, "10.9.0.7:1024".parse().unwrap(), "127.0.0.1:1935".parse().unwrap());
        assert_eq!(line, b"PROXY TCP4 10.9.0.7 127.0.0.1 1024 1935\r\n");
    }

    #[test]
    fn version_2_is_binary_and_reads_back() {
        for (client, target, size) in [
            ("10.9.0.7:1024", "127.0.0.1:1935", 28),
            ("[fd00::7]:1024", "[::1]:1935", 52),
            ("10.9.0.7:9", "[::1]:1", 52),
        ] {
            let bytes = header(ProxyVersion::V2, client.parse().unwrap(), target.parse().unwrap());
            assert_eq!(bytes.len(), size);
            assert!(bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21"));
            assert!(v2::Header::try_from(bytes.as_slice()).is_ok());
        }
    }

    #[test]
    fn clients_come_from_the_whole_range_in_turn() {
        let four = proxy(ProxyVersion::V1, "10.9.0.0/30");
        let clients: Vec<_> = (0..5).map(|number| four.client(number).to_string()).collect();
        assert_eq!(clients, ["10.9.0.0", "10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.0"]);
        assert_eq!(proxy(ProxyVersion::V2, "10.9.0.1/32").client(9).to_string(), "10.9.0.1");
        assert_eq!(proxy(ProxyVersion::V2, "fd00::/8").client(256).to_string(), "fd00::100");
        assert_eq!(proxy(ProxyVersion::V2, "0.0.0.0/0").client(1 << 32).to_string(), "0.0.0.0");
        assert_eq!(proxy(ProxyVersion::V2, "::/0").client(3).to_string(), "::3");
    }
}
