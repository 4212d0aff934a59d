//! Layer 4: one run: its plan, the control of its workers, its result and the verdict on it.

mod control;
mod diagnosis;
pub mod host;
mod host_watch;
mod limiter;
mod memory;
mod merge;
mod phase;
mod plan;
pub mod preflight;
mod prepare;
mod proxy;
mod recovery;
mod release;
mod result;
mod sessions;
mod threshold;
mod throttling;
mod unserved;
mod verdict;
mod watch;

pub use control::{
    Conduct, ControlError, ControlRuntime, Interruption, Notice, Ran, Resolver, Signals, Watch, on_each_signal, run,
    simulate, simulate_watched,
};
pub use memory::{MemoryNeed, NoRoom, WorkerMemory, check_address_space, check_room};
pub use merge::MergeError;
pub use phase::{InterruptedAt, Phase};
pub use plan::*;
pub use prepare::{LoadError, PlannedStage, Preparation, WorkerParts, clock_of_this_machine};
pub use recovery::{RecoveryRow, StormRow};
pub(crate) use result::check;
pub use result::{
    Attempts, Connections, Environment, Event, FailureRow, Generator, LatencyTable, Machine, PauseRow, RESULT_SCHEMA,
    Rates, ReactionRow, ReasonRow, ResultFileError, ResultParts, Row, RunResult, Tool, Window, WorkerRow,
    recorder_layout, schema_kind,
};
pub use sessions::DEFAULT_STREAM;
pub use threshold::{Threshold, ThresholdError, ThresholdResult, Unit, redact_condition};
pub use unserved::{Unserved, unserved, unserved_text};
pub use verdict::{
    ExitCode, ExitFacts, Finding, Obstacle, Severity, Signal, Verdict, meant_to_complete, met_nobody,
    nothing_completed, reactions, unexpected_reactions,
};
pub use watch::{AbortCondition, Trip, WatchOutcome};

#[cfg(test)]
pub(crate) use result::fixtures;
