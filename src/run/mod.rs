//! Layer 4: one run: its plan, its drive loop and its result.
mod plan;

pub use plan::*;
