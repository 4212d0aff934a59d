//! Shakedown: an RTMP handshake load generator.
//!
//! Modules are layered; a module uses only modules of lower layers (see `ARCHITECTURE.md`, checked by
//! `tests/architecture.rs`). The generator is sans-IO three deep: bytes drive a handshake, completions drive a
//! connection, batches of completions drive a worker. Only the backends in [`io`] touch the kernel.

#![cfg_attr(not(test), warn(clippy::too_many_lines))]

pub mod base;
pub mod bench;
pub mod capacity;
pub mod cli;
pub mod compare;
pub mod doctor;
pub mod engine;
pub mod finding;
pub mod fleet;
pub mod host;
pub mod inspect;
pub mod io;
pub mod load;
pub mod measure;
pub mod observe;
pub mod probe;
pub mod protocol;
pub mod report;
pub mod run;
pub mod scenario;
pub mod search;
pub mod sink;
