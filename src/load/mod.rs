//! The load model.
//!
//! The load is one function: L(t), the arrivals planned by time t ([`LoadProfile`]). Everything else follows from it.
//! Arrival k is *intended* at L⁻¹(k) when arrivals are spaced evenly, at L⁻¹(E1 + ... + Ek) with unit exponentials when
//! they are a Poisson process ([`Arrivals`]), and a machine or worker takes its part through a [`Share`]. Arrivals are
//! computed, never stored, so a backlog needs no queue. Closed loops plan no arrivals but how many clients there may be at
//! a time ([`ConcurrencyPlan`]); their attempts come from a [`Quota`]. Which client of a mix makes an attempt is dealt by
//! [`WeightedTurns`]. Clients that lost their connection come back by the rule of their kind ([`Reconnect`]).
//! What clients publish is named by a pattern ([`StreamName`]).

mod app_name;
mod arrivals;
mod concurrency;
mod poisson;
mod profile;
mod quota;
mod reconnect;
mod share;
mod stream_keys;
mod stream_name;
#[cfg(test)]
mod tests;
mod turns;

pub use app_name::{AppName, AppNameError};
pub use arrivals::{Arrival, ArrivalPattern, Arrivals};
pub use concurrency::{ConcurrencyError, ConcurrencyPlan, Step as ConcurrencyStep};
pub use poisson::POISSON_STREAMS;
pub use profile::{LoadProfile, LoadProfileError, MAX_ARRIVALS, MAX_PER_S, Segment, Shape};
pub use quota::{Quota, QuotaShare};
pub use reconnect::{Backoff, Reconnect, ReconnectError};
pub use share::{MAX_SHARES, Share, ShareError};
pub use stream_keys::StreamKeys;
pub use stream_name::{MAX_STREAM_NAME, NameValues, StreamName, StreamNameError};
pub use turns::WeightedTurns;
