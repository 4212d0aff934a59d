//! The contract of [`Io`](super::Io) on the kernel's sockets: every backend against blocking sockets of the standard
//! library, on loopback. What is a backend's own is tested beside it.

mod accepting;
mod connections;
pub(super) mod driver;
mod transfers;
