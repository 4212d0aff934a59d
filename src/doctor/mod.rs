//! Layer 4: can this machine do it?
//!
//! [`MachineFacts`] are read once; [`examine`] judges them for any load and [`examine_held`] for a number of held
//! connections; neither touches anything. A finding that is not `ok` names its remedy.

mod checks;
mod facts;
mod held;
mod render;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use checks::examine;
pub use facts::{Conntrack, Limit, MachineFacts, RingTrial, Usage};
pub use held::{HeldPlan, KERNEL_BYTES_PER_END, examine_held};
pub use render::render;

/// The verdict on one property of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was checked: a stable name in snake case.
    pub check: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, short.
    pub value: String,
    /// What that means for a load generator.
    pub message: String,
    /// What to do about it; absent where nothing need be done.
    pub remedy: Option<String>,
}

/// How bad a finding is, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing when a result is read.
    Note,
    /// Limits or distorts high loads.
    Warning,
    /// No load can be generated.
    Blocking,
}
