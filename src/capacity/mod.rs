//! How much a target can take, found by runs at rates of this program's own choosing.
//!
//! [`measure`] is the whole command: baseline, control, search, and what is measured at the found rate. Each trial is a
//! [`run`](crate::run) of a plan that a [`Shape`] resolves for its rate; [`search`](crate::search) chooses the rates.

mod audience;
mod error;
mod fleet_need;
mod measurement;
mod request;
mod result;
mod settings;
mod trial;
mod verdict;

pub use audience::{Audience, TrialProgress};
pub use error::CapacityError;
pub use measurement::measure;
pub use request::{CapacityRequest, ControlRequest, Deadline, FleetRequest, GoalRequest, share};
pub use result::*;
pub use trial::runner::Runner;
pub use trial::shape::Shape;
pub use verdict::rfc9411::{Criterion, criteria};
