//! Layer 6: renders results: pure functions of a result, without a clock and without asking the terminal.

mod observed;
mod page;
mod quantity;
mod summary;

pub mod capacity;
pub mod json;
pub mod plot;
pub mod text;

pub use summary::Summary;
pub use text::Style;
