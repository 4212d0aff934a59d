//! Layer 6: renders results: pure functions of a result, without a clock and without asking the terminal.

mod quantity;
mod summary;

pub mod bench;
pub mod compare;
pub mod json;
pub mod plot;
pub mod text;

pub use summary::Summary;
pub use text::Style;
