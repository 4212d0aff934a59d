//! The search for a capacity, after MLRsearch (draft-ietf-bmwg-mlrsearch), pure and deterministic.
//!
//! [`Search::next`] says which trial is needed; whoever can run it gives the outcome to [`Search::record`]. What comes
//! next follows from the [`SearchSpec`] and the recorded trials alone, so a search goes on where it ended once its saved
//! trials have been recorded again. `docs/search.md` explains the method and shows how its parameters were chosen.

mod bounds;
mod classification;
mod conclusion;
mod controller;
mod goal_search;
mod qualification;
mod spec;
mod time_plan;
mod trial;
mod verdict;

pub use classification::attempts_to_tell;
pub use conclusion::{Conclusion, GoalConclusion, Qualification, QualificationVerdict, Verdict};
pub use controller::{Measurer, Search, Step, search};
pub use goal_search::loss_at_most;
pub use spec::{Goal, Mode, Recovery, SearchSpec, SpecError};
pub use time_plan::{PlannedTrials, TimePlan};
pub use trial::{Purpose, TrialOutcome, TrialRequest};
