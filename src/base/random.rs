//! Independent random streams from one seed.
//!
//! ChaCha8 numbers its streams, so a stream is named by what it is for and by an index: adding a consumer never
//! shifts the numbers another one sees, and a run is repeated exactly by its seed.

use std::fmt;
use std::str::FromStr;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The seed of a run: all its randomness comes from this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Seed(u64);

/// The generator behind each stream; its values are stable across versions and platforms.
pub type RandomStream = ChaCha8Rng;

/// What a stream is for; together with an index it names the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum StreamPurpose {
    /// Filler of C1 and C2 templates; the index is the worker.
    ClientTemplates = 1,
    /// Filler of S1 and S2 templates; the index is the sink's worker.
    ServerTemplates = 2,
    /// Poisson arrivals; the index is the arrival stream.
    Arrivals = 3,
    /// Which attempts are verified under `--verify sample`; the index is the worker.
    Sampling = 4,
    /// The simulated network's noise; the index is the network.
    Simulation = 5,
    /// What the clients of a fleet draw for their reconnects; the only index is 0: every worker draws for all of them.
    Reconnects = 6,
    /// How long connections are held under an exponential hold; the index is the worker.
    Holding = 7,
}

impl Seed {
    /// A seed given by the user or drawn by [`Seed::random`].
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A fresh seed from the operating system; kept below 2^53 so that every JSON reader keeps it exact.
    pub fn random() -> Self {
        Self(rand::random::<u64>() >> 11)
    }

    /// The seed of a lane's load, numbered over all populations: each has random numbers of its own. Lane 0 has the run's.
    pub const fn of_lane(self, number: u32) -> Self {
        // An odd constant (2^64 divided by the golden ratio) times the number is another number for each lane.
        Self(self.0 ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The seed's number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The stream for `purpose` and `index`, from its beginning.
    pub fn stream(self, purpose: StreamPurpose, index: u32) -> RandomStream {
        let mut stream = ChaCha8Rng::seed_from_u64(self.0);
        stream.set_stream(u64::from(purpose as u32) << 32 | u64::from(index));
        stream
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Seed {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn a_stream_is_named_by_seed_purpose_and_index() {
        let draw = |seed, purpose, index| Seed::new(seed).stream(purpose, index).next_u64();
        let first = draw(7, StreamPurpose::Arrivals, 0);
        assert_eq!(first, draw(7, StreamPurpose::Arrivals, 0));
        assert_ne!(first, draw(8, StreamPurpose::Arrivals, 0));
        assert_ne!(first, draw(7, StreamPurpose::Arrivals, 1));
        assert_ne!(first, draw(7, StreamPurpose::Sampling, 0));
    }
}
