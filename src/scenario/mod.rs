//! What a user asked for becomes one effective plan.
//!
//! Everything optional is decided here and everything impossible is refused here, with the cause and the remedy. Below
//! this layer nothing is optional, defaulted or validated again.

mod addresses;
mod file;
mod machine;
mod origins;
mod overlay;
mod request;
mod resolve;
mod safety;
mod stages;
mod stream_keys;
mod target;

pub use file::{ScenarioError, read, read_file};
pub use machine::Machine;
pub use origins::Origins;
pub use origins::line_and_column;
pub use request::{
    BitRate, ClientRequest, HoldRequest, Percent, PopulationRequest, Request, SourceRange, StageLoad, StageRequest,
    TlsRequest,
};
pub use resolve::{Resolved, check_prospects, resolve};
pub use safety::{Allowance, check_target, is_private};
pub use stream_keys::{parse_stream_keys, read_stream_keys};
pub use target::{Family, Lookup, TargetText, system_lookup};

/// Why a request cannot become a plan: one sentence with the cause, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(pub String);

impl PlanError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
