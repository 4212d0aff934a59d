//! How the program ends: the exit code of a result.

use super::outcome::{Obstacle, nothing_completed};
use crate::run::result::{RunResult, Signal, Verdict};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// As asked. Failures without a condition on them are no miss: they stand in the first lines.
    Pass = 0,
    /// It could not run, or nothing completed because of this machine's limits.
    CouldNotRun = 1,
    /// The command line or the scenario is wrong.
    Usage = 2,
    /// A condition does not hold, or nothing completed of a whole target, population or kind of client.
    Missed = 3,
    /// It cannot be told.
    Inconclusive = 4,
    /// Nothing completed, and all failures are the target's or the network's.
    NothingCompleted = 5,
    /// Ended by SIGHUP; the report is of what was measured.
    HungUp = 129,
    /// Ended by SIGINT; likewise.
    Interrupted = 130,
    /// Ended by SIGTERM; likewise.
    Terminated = 143,
}

/// All that an exit code depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitFacts {
    /// The command line or the scenario is wrong.
    pub usage_error: bool,
    /// The run could not start or go on.
    pub could_not_run: bool,
    /// What ended the run early.
    pub interrupted: Option<Signal>,
    /// Why nothing completed, if nothing did.
    pub nothing_completed: Option<Obstacle>,
    /// What the result says.
    pub verdict: Verdict,
}

impl ExitCode {
    /// The exit code of a result.
    pub fn of(result: &RunResult) -> Self {
        Self::decide(ExitFacts {
            usage_error: false,
            could_not_run: false,
            interrupted: result.interrupted,
            nothing_completed: nothing_completed(result),
            verdict: result.verdict,
        })
    }

    /// Precedence: 2, 1, that of a signal, 5, 4, 3, 0.
    pub fn decide(facts: ExitFacts) -> Self {
        if facts.usage_error {
            return Self::Usage;
        }
        if facts.could_not_run || facts.nothing_completed == Some(Obstacle::OwnLimits) {
            return Self::CouldNotRun;
        }
        if let Some(signal) = facts.interrupted {
            return signal.into();
        }
        if facts.nothing_completed == Some(Obstacle::Target) {
            return Self::NothingCompleted;
        }
        match facts.verdict {
            Verdict::Inconclusive => Self::Inconclusive,
            Verdict::Fail => Self::Missed,
            Verdict::Pass => Self::Pass,
        }
    }

    /// The number the shell sees.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Signal> for ExitCode {
    /// What a shell says of a command that the signal ended.
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Interrupt => Self::Interrupted,
            Signal::Terminate => Self::Terminated,
            Signal::Hangup => Self::HungUp,
        }
    }
}
