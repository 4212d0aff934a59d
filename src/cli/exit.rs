//! Exit codes and the errors that carry them.

use crate::scenario::PlanError;

/// What the process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exit(pub u8);

impl Exit {
    /// Everything as asked.
    pub(super) const PASS: Self = Self(0);
    /// Nothing completed and the target or the network was why.
    pub(super) const TARGET_FAILED: Self = Self(5);
}

/// One error: what is wrong and what to do, and the exit code it means.
#[derive(Clone, Debug)]
pub(super) struct CliError {
    pub exit: Exit,
    pub message: String,
}

impl CliError {
    /// The command line or a file does not say something that can be done: exit 2.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit(2), message: message.into() }
    }

    /// This machine cannot do it now: exit 1.
    pub(super) fn environment(message: impl Into<String>) -> Self {
        Self { exit: Exit(1), message: message.into() }
    }
}

impl From<PlanError> for CliError {
    fn from(error: PlanError) -> Self {
        Self::usage(error.0)
    }
}

impl From<crate::run::ExitCode> for Exit {
    fn from(code: crate::run::ExitCode) -> Self {
        Self(code as u8)
    }
}
