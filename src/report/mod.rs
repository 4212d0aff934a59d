//! What people and programs read of results, plans, probes and captures: pure functions of them, without a clock and without asking the terminal.

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
pub mod doctor;
pub mod hgrm;
pub mod html;
mod inspect;
pub mod json;
pub mod markdown;
pub mod plan;
pub mod plot;
mod probe;
pub mod text;

pub use page::wrapped;
pub use summary::Summary;
pub use text::Style;
