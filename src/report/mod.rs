//! Layer 9: renders results: pure functions of a result, without a clock and without asking the terminal.

mod chart;
mod observed;
mod outcomes;
mod page;
pub(crate) mod quantity;
mod summary;
mod tables;

pub mod bench;
pub mod capacity;
pub mod compare;
pub mod csv;
pub mod hgrm;
pub mod html;
pub mod json;
pub mod markdown;
pub mod plot;
pub mod text;

pub use page::wrapped;
pub use summary::Summary;
pub use text::Style;
