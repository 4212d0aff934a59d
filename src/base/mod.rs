//! Layer 0: time and unit newtypes, the seeded random streams every other module draws from, and secrets that never show.

mod random;
mod secret;
mod time;
mod units;

pub use random::{RandomStream, Seed, StreamPurpose};
pub use secret::{REDACTED, Secret, SecretText, redact_bytes, redact_repeated, redact_url, redact_words};
pub use time::{Nanos, Time};
pub use units::{DurationError, DurationText, Rate, RateError, RateRange, rate_text};
