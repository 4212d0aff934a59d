//! Can this machine do it?
//!
//! [`MachineFacts`](crate::host::MachineFacts) are read once; [`examine`] judges them for any load and [`examine_held`] for a number of held
//! connections; neither touches anything. A finding that is not `ok` names its remedy.

mod checks;
mod held;
#[cfg(test)]
mod tests;
mod verdict;

pub use checks::examine;
pub use held::{HeldPlan, KERNEL_BYTES_PER_END, examine_held};
