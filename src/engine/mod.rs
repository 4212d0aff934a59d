//! Layer 3: connections, slots, deadlines and the worker that ties them together, all sans-IO.

mod connection;
mod deadlines;
mod plan;
mod slots;
mod worker;

pub use deadlines::Deadlines;
pub use plan::{Client, ClosePolicy, Hold, Load, PopulationSpec, Verify, WorkerPlan};
pub use worker::{Ends, Worker};
