//! Time and unit newtypes, the seeded random streams every other module draws from, secrets that never show, texts
//! of others that only show, and files that are read and written.

mod host;
pub mod input;
mod random;
pub mod save;
mod secret;
pub mod table;
mod text;
mod time;
mod units;

pub use host::host_address;
pub use random::{RandomStream, Seed, StreamPurpose};
pub use secret::{REDACTED, Secret, SecretText, redact_bytes, redact_repeated, redact_url, redact_words};
pub use text::{colored_lines, visible, visible_json, visible_lines};
pub use time::{Nanos, Time};
pub use units::{DurationError, DurationText, Rate, RateError, RateRange, rate_text};
