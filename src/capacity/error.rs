//! Why a capacity cannot be measured.

/// One sentence with the cause and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapacityError {
    /// What was asked cannot be: one sentence with the remedy; the exit code is 2.
    #[error("{0}")]
    Usage(String),
    /// This machine cannot do it now; the exit code is 1.
    #[error("{0}")]
    Environment(String),
}
