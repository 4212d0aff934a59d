//! Engines as flags name them.

use crate::io::Engine;

/// Engines of a run.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum EngineArg {
    /// Rings of the kernel.
    #[value(name = "io_uring")]
    IoUring,
    /// System calls, where io_uring is forbidden.
    Epoll,
    /// A simulated network: no sockets.
    Sim,
}

/// Engines that have sockets.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(super) enum SocketEngineArg {
    /// Rings of the kernel.
    #[default]
    #[value(name = "io_uring")]
    IoUring,
    /// System calls, where io_uring is forbidden.
    Epoll,
}

impl From<EngineArg> for Engine {
    fn from(engine: EngineArg) -> Self {
        match engine {
            EngineArg::IoUring => Self::IoUring,
            EngineArg::Epoll => Self::Epoll,
            EngineArg::Sim => Self::Sim,
        }
    }
}

impl From<SocketEngineArg> for Engine {
    fn from(engine: SocketEngineArg) -> Self {
        match engine {
            SocketEngineArg::IoUring => Self::IoUring,
            SocketEngineArg::Epoll => Self::Epoll,
        }
    }
}
