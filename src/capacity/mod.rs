//! Layer 6: how much a target can take, found by runs at rates of this program's own choosing.
//!
//! [`measure`] is the whole command: baseline, control, search, and what is measured at the found rate. Each trial is a
//! [`run`](crate::run) of a plan that a [`Shape`] resolves for its rate; [`search`](crate::search) chooses the rates.

mod after;
mod baseline;
mod blame;
mod concurrent;
mod control;
mod control_identity;
mod fleet_need;
mod measurement;
mod request;
mod result;
mod rfc9411;
mod runner;
mod settings;
mod shape;
mod site;
mod statement;
mod trial;
mod verdict;
mod warm_up;

pub use measurement::{Audience, CapacityError, measure};
pub use request::{CapacityRequest, ControlRequest, Deadline, FleetRequest, GoalRequest, share};
pub use result::*;
pub use rfc9411::{Criterion, criteria};
pub use runner::Runner;
pub use shape::Shape;
