//! The runtime of the control thread, and why a run cannot be carried out.

use std::future::Future;

use crate::fleet::LaunchError;
use crate::io::Engine;
#[cfg(not(target_env = "musl"))]
use crate::io::ring::RingError;
use crate::observe::ObserveError;

/// Why a run could not be carried out; the exit code is 1.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A worker could not start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The control thread's own runtime cannot be made.
    #[error("{0}")]
    Runtime(String),
    /// Signals cannot be received.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    /// What is to be observed cannot be.
    #[error(transparent)]
    Observe(#[from] ObserveError),
}

/// What runs the control thread: on io_uring a ring of its own, else nothing that could be forbidden.
pub enum ControlRuntime {
    /// Its own ring.
    #[cfg(not(target_env = "musl"))]
    Ring(tokio_uring::Runtime),
    /// No ring.
    Plain(tokio::runtime::Runtime),
}

impl ControlRuntime {
    /// The runtime beside `engine`. Where io_uring is forbidden this is where it shows first (with musl, which has no
    /// `tokio_uring`, when the workers start).
    ///
    /// # Errors
    /// If the runtime cannot be made; the message names the remedy.
    pub fn beside(engine: Engine) -> Result<Self, ControlError> {
        match engine {
            #[cfg(not(target_env = "musl"))]
            Engine::IoUring => tokio_uring::Runtime::new(&tokio_uring::builder())
                .map(Self::Ring)
                .map_err(|error| ControlError::Runtime(RingError::of_setup(error).to_string())),
            _ => Self::plain(),
        }
    }

    /// A runtime without a ring.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn plain() -> Result<Self, ControlError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map(Self::Plain)
            .map_err(|error| ControlError::Runtime(format!("cannot make the control runtime: {error}")))
    }

    /// Drives `future` to its end on the calling thread.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            #[cfg(not(target_env = "musl"))]
            Self::Ring(runtime) => runtime.block_on(future),
            Self::Plain(runtime) => runtime.block_on(future),
        }
    }
}
