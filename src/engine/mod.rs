//! Connections, slots, deadlines and the worker that ties them together, all sans-IO.

mod attempts;
mod connection;
mod deadlines;
mod hostile;
mod lane;
mod passed_over;
mod pauses;
mod plan;
mod progress;
mod schedule;
mod session;
mod sessions;
mod slots;
mod turn;
mod worker;

pub use deadlines::Deadlines;
pub use plan::{
    Client, ClosePolicy, Headers, Hold, LaneSpec, Load, MediaTrack, ScriptSpec, SessionPlan, SessionRules, SharedRange,
    Verify, WorkerPlan,
};
pub use worker::{Ends, Worker};
