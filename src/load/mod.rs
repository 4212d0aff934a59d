//! Layer 1: the load model: profiles, arrivals, shares.

use serde::{Deserialize, Serialize};

/// How arrivals are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArrivalPattern {
    /// Evenly.
    Uniform,
    /// As a Poisson process.
    Poisson,
}

/// A machine's or worker's part of the arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Which part, from 0.
    pub index: u32,
    /// Of how many.
    pub count: u32,
}
