//! Signals for a run that keeps its own thread busy: a second thread receives them and leaves orders in the mailbox.

use std::sync::Arc;
use std::sync::OnceLock;

use crate::fleet::{Mailbox, Order};

use super::control::ControlError;
use super::signals::on_each_signal;
use super::verdict::Signal;

/// What signals have ordered so far; by default nothing ever will.
#[derive(Debug, Default)]
pub struct Interruption {
    pub(super) mailbox: Mailbox,
    first: OnceLock<Signal>,
}

impl Interruption {
    /// Receives signals from now on: the first stops the load, the second ends the run at once.
    ///
    /// # Errors
    /// If signals cannot be received.
    pub fn by_signals() -> Result<Arc<Self>, ControlError> {
        let interruption = Arc::new(Self::default());
        let shared = Arc::clone(&interruption);
        on_each_signal(move |received| {
            let order = if shared.first.set(received).is_ok() { Order::Stop } else { Order::Abandon };
            shared.mailbox.order(order);
        })
        .map_err(ControlError::Signals)?;
        Ok(interruption)
    }

    /// The first signal received.
    pub fn received(&self) -> Option<Signal> {
        self.first.get().copied()
    }
}
