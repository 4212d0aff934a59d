//! Signals for a run that keeps its own thread busy: a second thread receives them.

use std::sync::{Arc, OnceLock};

use super::runtime::ControlError;
use super::signals::on_each_signal;
use crate::run::result::Signal;

/// The signals received so far, of which two matter; by default none ever comes.
#[derive(Debug, Default)]
pub struct Interruption {
    first: OnceLock<Signal>,
    second: OnceLock<Signal>,
}

impl Interruption {
    /// Receives signals from now on.
    ///
    /// # Errors
    /// If signals cannot be received.
    pub fn by_signals() -> Result<Arc<Self>, ControlError> {
        let interruption = Arc::new(Self::default());
        let shared = Arc::clone(&interruption);
        on_each_signal(move |signal| shared.receive(signal)).map_err(ControlError::Signals)?;
        Ok(interruption)
    }

    /// The first signal received.
    pub fn received(&self) -> Option<Signal> {
        self.first.get().copied()
    }

    /// The first signal and the second, as far as they have come.
    pub(super) fn signals(&self) -> impl Iterator<Item = Signal> {
        [&self.first, &self.second].into_iter().filter_map(OnceLock::get).copied()
    }

    pub(super) fn receive(&self, signal: Signal) {
        if self.first.set(signal).is_err() {
            // The third changes nothing.
            let _ = self.second.set(signal);
        }
    }
}
