//! What a backend is told once, at its start.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::buffers::BufferPlan;
use crate::base::Nanos;
use crate::base::table::Choice;

/// Read-only bytes shared by ops: C0C1 templates and other precomputed messages.
pub type Bytes = Arc<[u8]>;

/// Which backend executes the ops. Never chosen silently: it is printed and saved with the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Engine {
    /// The kernel's io_uring, on `CLOCK_MONOTONIC`.
    #[default]
    #[serde(rename = "io_uring")]
    IoUring,
    /// System calls and epoll, on `CLOCK_MONOTONIC`: for containers and kernels that forbid io_uring.
    #[serde(rename = "epoll")]
    Epoll,
    /// A virtual network in virtual time: no sockets, no threads.
    #[serde(rename = "sim")]
    Sim,
}

/// All that a backend needs to know: sizes, addresses and socket options. Nothing grows after the start.
#[derive(Debug)]
pub struct IoPlan {
    /// Number of connection slots (the size of the file table).
    pub slots: u32,
    /// Where `Op::Open` connects to, by `TargetId`.
    pub targets: Vec<SocketAddr>,
    /// Local addresses, by `SourceId`; bound without a port, the kernel picks one at connect.
    pub sources: Vec<IpAddr>,
    /// Listening sockets, by `ListenerId`.
    pub listeners: Vec<OwnedFd>,
    /// Set TCP_NODELAY on opened and accepted sockets.
    pub nodelay: bool,
    /// Have the kernel tell when the bytes received on opened sockets arrived ([`Arrivals`](super::Arrivals)). Only
    /// [`ring`](super::ring) does; a backend that does not leaves them unknown.
    pub arrival_times: bool,
    /// Find out, on opened sockets, that the peer is gone without a word: once it has been silent for this long it is
    /// asked, and about a third of that later the armed receive fails with [`Errno::TIMEDOUT`](super::Errno). See
    /// [`KeepAlive`] for the exact instants.
    pub hold_check: Option<Nanos>,
    /// Opened sockets take their local ports from this range, ports of both parities alike (`IP_LOCAL_PORT_RANGE`, ip(7),
    /// Linux 6.3; its use by connect(2) is that of 6.8). By itself connect(2) takes ports of one parity, and once a source
    /// has no more of these to a destination it searches all of them in vain for each further connection. `None`, or a
    /// kernel that does not know the option, leaves the choice to the kernel.
    pub ports: Option<RangeInclusive<u16>>,
    /// The bytes that `Payload::Shared` ranges refer to.
    pub shared_bytes: Bytes,
    /// The bytes that `Payload::Media` ranges refer to: audio and video, the same for all workers.
    pub media: Bytes,
    /// How many buffers of which size.
    pub buffers: BufferPlan,
}

impl IoPlan {
    /// The local addresses as sockets are bound to them. A link-local one is bound to the interface that leads to the
    /// targets.
    pub(super) fn bound_sources(&self) -> Vec<SocketAddr> {
        let zones = self.targets.iter().filter_map(|target| match target {
            SocketAddr::V6(target) => Some(target.scope_id()).filter(|zone| *zone > 0),
            SocketAddr::V4(_) => None,
        });
        let zone = zones.min().unwrap_or(0);
        let bound = |source: &IpAddr| match source {
            IpAddr::V6(source) if source.is_unicast_link_local() => SocketAddrV6::new(*source, 0, 0, zone).into(),
            source => SocketAddr::new(*source, 0),
        };
        self.sources.iter().map(bound).collect()
    }
}

/// When a silent peer is asked whether it is still there, in whole seconds as the kernel takes them.
///
/// After `idle` without a packet from the peer the kernel sends probes, one every `interval`; the one that would be the
/// fourth is not sent, the connection fails with `ETIMEDOUT` instead. The same span bounds how long sent bytes may stay
/// unacknowledged (`TCP_USER_TIMEOUT`): a connection that sends is not idle and would else be given up after a quarter
/// of an hour. The kernel applies that bound to an unanswered SYN, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// `TCP_KEEPIDLE`: the silence before the first probe, from 1 s to 32 767 s.
    pub idle: Nanos,
    /// `TCP_KEEPINTVL`: a ninth of `idle`, at least 1 s, so that all takes place within a third of it.
    pub interval: Nanos,
}

impl KeepAlive {
    /// Probes sent before the connection is given up.
    pub const PROBES: u32 = 3;

    /// Asks after `check` of silence, rounded up to whole seconds.
    pub fn after(check: Nanos) -> Self {
        const MOST_S: u64 = 32_767;
        let idle_s = check.as_u64().div_ceil(1_000_000_000).clamp(1, MOST_S);
        Self { idle: Nanos::from_secs(idle_s), interval: Nanos::from_secs((idle_s / 9).max(1)) }
    }

    /// The silence after which the connection fails.
    pub fn gives_up_after(self) -> Nanos {
        Nanos::new(self.idle.as_u64() + u64::from(Self::PROBES) * self.interval.as_u64())
    }
}

impl Choice for Engine {
    const ALL: &'static [Self] = &[Self::IoUring, Self::Epoll, Self::Sim];

    fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
            Self::Sim => "sim",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::IoUring => "Rings of the kernel",
            Self::Epoll => "System calls, where io_uring is forbidden",
            Self::Sim => "A simulated network: no sockets",
        }
    }
}

impl Engine {
    /// Those that have sockets.
    pub const WITH_SOCKETS: &'static [Self] = &[Self::IoUring, Self::Epoll];
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_peer_is_given_up_within_a_third_more_but_for_whole_seconds() {
        for (check_ms, idle_s, gives_up_s) in [(1, 1, 4), (1_000, 1, 4), (9_500, 10, 13), (30_000, 30, 39)] {
            let keep_alive = KeepAlive::after(Nanos::from_millis(check_ms));
            let seconds = (keep_alive.idle, keep_alive.gives_up_after());
            assert_eq!(seconds, (Nanos::from_secs(idle_s), Nanos::from_secs(gives_up_s)), "{check_ms} ms");
        }
        assert_eq!(KeepAlive::after(Nanos::MAX).idle, Nanos::from_secs(32_767));
    }
}
