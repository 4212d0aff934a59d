//! Above the scenarios: how much a target can take, found by runs at rates of this program's own choosing.

mod result;

pub use result::*;
