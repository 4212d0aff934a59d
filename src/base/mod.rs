//! Layer 0: time and unit newtypes, and the seeded random streams every other module draws from.

mod secret;
pub use secret::{Secret, redact_url};
mod random;
mod time;
mod units;

pub use random::{RandomStream, Seed, StreamPurpose};
pub use time::{Nanos, Time};
pub use units::{DurationError, DurationText, Rate, RateError, RateRange};
