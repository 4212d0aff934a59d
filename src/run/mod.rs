//! One run: the conditions and the plan it was asked for, what is made ready from it, the control of its workers, and its
//! result, put together, judged and merged.

mod assemble;
mod condition;
mod control;
mod judging;
mod merge;
mod plan;
mod prepare;
mod result;

pub use assemble::ResultParts;
pub use condition::{AbortCondition, ConditionError, Threshold, Unit, redact_condition};
pub use control::{
    Conduct, ControlError, ControlRuntime, Interruption, Notice, Ran, Resolver, Signals, Watch, on_each_signal, run,
    simulate, simulate_watched,
};
pub use judging::preflight;
pub use judging::{
    ExitCode, ExitFacts, Obstacle, Trip, Unserved, WatchOutcome, meant_to_complete, met_nobody, nothing_completed,
    reactions, unexpected_reactions, unserved, unserved_text,
};
pub use merge::MergeError;
pub use plan::*;
pub use prepare::{
    LoadError, MemoryNeed, NoRoom, Preparation, WorkerMemory, WorkerParts, check_address_space, check_room,
    clock_of_this_machine,
};
pub(crate) use result::check;
pub use result::{
    Attempts, Connections, Environment, Event, FailureRow, Generator, InterruptedAt, LatencyTable, Machine, PauseRow,
    Phase, RESULT_SCHEMA, Rates, ReactionRow, ReasonRow, RecoveryRow, ResultFileError, Row, RunResult, Signal,
    StormRow, ThresholdResult, Tool, Verdict, Window, WorkerRow, environment, schema_kind,
};

#[cfg(test)]
pub(crate) mod fixtures;
