//! What this machine is: limits, ports, memory, cores and counters, each read by one parser.
//!
//! [`MachineFacts`] are read once, for whoever judges a machine (`doctor`, checks before a run); counters are read before a
//! load and after it. Nothing here judges.

mod counters;
mod facts;
mod ports;
mod quota;

pub use counters::{CpuShares, CpuTicks, tcp_counters};
pub use facts::{Conntrack, Limit, MachineFacts, RingTrial, Usage};
pub use ports::{TIME_WAIT, local_port_range, local_ports};
pub use quota::Throttling;
