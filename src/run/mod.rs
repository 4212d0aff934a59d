//! Layer 4: one run: its plan, its drive loop and its result.
mod merge;
mod plan;
mod result;
mod threshold;
mod verdict;

pub use merge::MergeError;
pub use plan::*;
pub use result::{
    Attempts, Connections, Environment, FailureRow, Generator, LatencyTable, Machine, RESULT_SCHEMA, Rates,
    ResultFileError, ResultParts, Row, RunResult, Tool, Window, WorkerRow, recorder_layout,
};
pub use threshold::{Threshold, ThresholdError, ThresholdResult, Unit};
pub use verdict::{ExitCode, ExitFacts, Finding, Obstacle, Severity, Signal, Verdict, nothing_completed};

#[cfg(test)]
pub(crate) use result::fixtures;
