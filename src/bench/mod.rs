//! Several targets measured in turn, round after round, for one table.
//!
//! A [`Suite`] says what is done to whom; [`Suite::measurements`] is everything to be done, in its order; and a
//! [`BenchResult`] holds what came of it and what a reader needs to repeat it. Who starts the measurements is the caller:
//! each is a command of this program in a process of its own, so that what is published is what was done.

mod machine;
mod result;
mod suite;

pub use machine::settings;
pub use result::{BENCH_SCHEMA, BenchMetric, BenchResult, BenchRow, BenchTarget, RunRow};
pub use suite::{CONTROL, Measure, Measurement, Suite, SuiteError, SuiteTarget, Variant};
