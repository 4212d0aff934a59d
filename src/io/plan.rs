//! What a backend is told once, at its start.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::buffers::BufferPlan;

/// Read-only bytes shared by ops: C0C1 templates and other precomputed messages.
pub type Bytes = Arc<[u8]>;

/// Which backend executes the ops. Never chosen silently: it is printed and saved with the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Engine {
    /// The kernel's io_uring, on `CLOCK_MONOTONIC`.
    #[default]
    #[serde(rename = "io_uring")]
    IoUring,
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
    /// The bytes that `Payload::Shared` ranges refer to.
    pub shared_bytes: Bytes,
    /// How many buffers of which size.
    pub buffers: BufferPlan,
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::IoUring => "io_uring",
            Self::Sim => "sim",
        })
    }
}
