//! What the target's own machine says while the load runs: CPU, memory, descriptors, accept queues, conntrack.
//!
//! A [`Subject`] is a local process with its children, or a node_exporter. An [`Observer`] reads each once a second on a
//! thread of its own, beside the workers; [`limits`] says what of it was used up: the evidence without which a target is
//! not blamed. [`listener_of`] finds who serves a local address.

mod exporter;
#[cfg(test)]
mod fixtures;
mod limit;
mod listener;
mod netstat;
mod observer;
mod process;
mod sample;
mod sockets;
mod subject;
mod usage;

pub use exporter::read_exposition;
pub use limit::{Limit, LimitKind, at_the_limit, limits};
pub use listener::{Listening, ListeningProcess, accept_backlog, listener_of};
pub use netstat::counters;
pub use observer::{Happening, Observation, Observer, Observing};
pub use sample::{Observed, ObservedKind, ObservedSample, TcpInfo};
pub use subject::{ExporterUrl, ObserveError, Subject, SubjectError};
pub use usage::Usage;
