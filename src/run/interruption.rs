//! Signals for a run that keeps its own thread busy: a second thread receives them and leaves orders in the mailbox.

use std::sync::Arc;
use std::sync::OnceLock;

use tokio::signal::unix::{SignalKind, signal};

use crate::fleet::{Mailbox, Order};

use super::control::ControlError;
use super::verdict::Signal;

/// What signals have ordered so far; by default nothing ever will.
#[derive(Debug, Default)]
pub struct Interruption {
    pub(super) mailbox: Mailbox,
    first: OnceLock<Signal>,
}

impl Interruption {
    /// Receives SIGINT and SIGTERM from now on: the first stops the load, the second ends the run at once.
    ///
    /// # Errors
    /// If signals cannot be received.
    pub fn by_signals() -> Result<Arc<Self>, ControlError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ControlError::Signals)?;
        let guard = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ControlError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(ControlError::Signals)?;
        drop(guard);
        let interruption = Arc::new(Self::default());
        let shared = Arc::clone(&interruption);
        let receive = move || {
            runtime.block_on(async {
                loop {
                    let received = tokio::select! {
                        _ = interrupt.recv() => Signal::Interrupt,
                        _ = terminate.recv() => Signal::Terminate,
                    };
                    let order = if shared.first.set(received).is_ok() { Order::Stop } else { Order::Abandon };
                    shared.mailbox.order(order);
                }
            });
        };
        std::thread::Builder::new().name("signals".into()).spawn(receive).map_err(ControlError::Signals)?;
        Ok(interruption)
    }

    /// The first signal received.
    pub fn received(&self) -> Option<Signal> {
        self.first.get().copied()
    }
}
