//! What a backend executes and what it answers: plain data and one trait.
//!
//! An [`Op`] is an intent. How many kernel operations stand behind it (socket creation, options, binding, connect,
//! reuse of a socket) is the backend's business; the engine never knows whether a socket is new. Every op but
//! [`Op::Cancel`], [`Op::AcknowledgeAtOnce`] and [`Op::Accept`] ends in exactly one [`Completion`] under its own [`Token`].
//!
//! Backends: [`ring`] (io_uring), [`epoll`] (system calls, where io_uring is forbidden) and [`sim`] (a virtual network in
//! virtual time); [`tls`] secures the connections of either of the first two. `unsafe` is allowed in this folder only.

mod buffers;
mod clock;
pub mod epoll;
mod file_size;
mod free_slots;
mod op;
mod plan;
pub mod ring;
pub mod sim;
mod socket;
#[cfg(test)]
mod tests;
pub mod tls;

pub use buffers::{Arrivals, BufferId, BufferPlan, BufferPool, Buffers};
pub use clock::{monotonic_now, suspended};
pub use file_size::survive_file_size_limit;
pub use op::{
    CloseHow, Completion, Destination, ListenerId, Op, OpKind, Payload, SlotIndex, SourceId, TargetId, Token,
};
pub use plan::{Bytes, Engine, IoPlan, KeepAlive};
pub use rustix::io::Errno;

use std::net::SocketAddr;

use crate::base::Time;

/// A backend: executes ops, yields completions, owns the buffers and the clock.
///
/// Contract, the same for every backend:
/// * ops are executed in the order given; an op on a slot may be queued before an earlier op of that slot completes;
/// * each op but `Cancel`, `AcknowledgeAtOnce` and `Accept` yields exactly one completion; `Cancel` yields none, the
///   cancelled op completes with its own result or with [`Errno::CANCELED`];
/// * `Accept` yields one completion per accepted connection until it is cancelled or fails;
/// * a buffer named by a `Send` or `Recv` is lent to the backend until that op's completion is returned;
/// * `Close` must be the only op of its slot in flight: the engine cancels and waits first.
pub trait Io {
    /// The current instant of the run's clock.
    fn now(&self) -> Time;

    /// The buffers that ops refer to.
    fn buffers(&mut self) -> &mut Buffers;

    /// Submits all of `ops` (leaving it empty), then waits until a completion is there, `wake_at` has passed, or (with
    /// `wake_at` in the past) not at all; appends what completed to `completions`.
    ///
    /// # Errors
    /// Only when the backend itself is broken (the ring cannot be entered); a failing op is a completion.
    fn submit_and_wait(
        &mut self,
        ops: &mut Vec<Op>,
        wake_at: Time,
        completions: &mut Vec<Completion>,
    ) -> std::io::Result<()>;

    /// From now on `Op::Open` of this target connects to `address`; connections that are open stay. Called between two
    /// calls of [`submit_and_wait`](Self::submit_and_wait). Backends whose targets have no real address have nothing to
    /// change.
    fn retarget(&mut self, _target: TargetId, _address: SocketAddr) {}

    /// Completions the kernel could not deliver in its completion queue since the start (io_uring CQ overflow).
    fn completion_overflows(&self) -> u64;
}
