//! What a run is judged to be, and the signal that may have ended it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::run::condition::Unit;

/// Whether a result is what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every condition holds (there may be none).
    Pass,
    /// A condition does not hold, or nothing completed: at all, or of a whole target, population or kind of client.
    Fail,
    /// A condition cannot be decided, or the generator was the limit of what was asked.
    Inconclusive,
}

/// What a condition met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdResult {
    /// The condition as it was written.
    pub expression: String,
    /// The measured value, that of the worst window where there are several; null if there is none.
    pub actual: Option<f64>,
    /// The unit of `actual`.
    pub unit: Unit,
    /// When the worst window or the longest outage began, seconds since the run's start; absent for conditions on the
    /// whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_s: Option<u32>,
    /// Whether it holds; null if the run cannot tell.
    pub pass: Option<bool>,
    /// Why the run cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A signal that ends a run early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP.
    Hangup,
}

impl Signal {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
        }
    }

    /// What it has done to a command.
    pub const fn participle(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupted",
            Self::Terminate => "terminated",
            Self::Hangup => "ended by SIGHUP",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        })
    }
}
