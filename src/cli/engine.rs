//! Engines as flags name them, and the runtime of the control thread beside each.

use std::future::Future;

use crate::io::Engine;
#[cfg(not(target_env = "musl"))]
use crate::io::ring::RingError;

use super::exit::CliError;

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

/// What runs the control thread: on io_uring a ring of its own, else nothing that could be forbidden.
pub(super) enum ControlRuntime {
    #[cfg(not(target_env = "musl"))]
    Ring(tokio_uring::Runtime),
    Plain(tokio::runtime::Runtime),
}

impl ControlRuntime {
    /// The runtime beside `engine`. Where io_uring is forbidden this is where it shows first (with musl, which has no
    /// `tokio_uring`, when the workers start).
    pub(super) fn beside(engine: Engine) -> Result<Self, CliError> {
        match engine {
            #[cfg(not(target_env = "musl"))]
            Engine::IoUring => tokio_uring::Runtime::new(&tokio_uring::builder())
                .map(Self::Ring)
                .map_err(|error| CliError::environment(RingError::of_setup(error).to_string())),
            _ => plain_runtime().map(Self::Plain),
        }
    }

    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            #[cfg(not(target_env = "musl"))]
            Self::Ring(runtime) => runtime.block_on(future),
            Self::Plain(runtime) => runtime.block_on(future),
        }
    }
}

/// A runtime without a ring.
pub(super) fn plain_runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::environment(format!("cannot make the control runtime: {error}")))
}
