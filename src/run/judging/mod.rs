//! What a run's numbers are worth: conditions while it goes on (`watch`) and on its result (`threshold`), the generator's
//! part in it (`generator`, `preflight`, `throttling`), what shows in it beside the numbers, and the verdict.

mod diagnosis;
mod exit_code;
mod generator;
mod limiter;
mod outcome;
mod own_part;
pub mod preflight;
mod scope;
mod threshold;
pub(super) mod throttling;
mod unserved;
mod verdict;
pub(super) mod watch;

pub(super) use diagnosis::{advise, findings_of_latencies};
pub use exit_code::{ExitCode, ExitFacts};
pub use outcome::{Obstacle, meant_to_complete, met_nobody, nothing_completed, reactions, unexpected_reactions};
pub use unserved::{Unserved, unserved, unserved_text};
pub(super) use verdict::judge;
pub use watch::{Trip, WatchOutcome};
