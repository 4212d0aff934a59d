//! What a worker is told once, at its start.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::{Nanos, RandomStream, Time};
use crate::io::{BufferPlan, SourceId, TargetId};
use crate::load::{Arrivals, QuotaShare, WeightedTurns};
use crate::protocol::{C2_SIZE, ClientTemplates, S0S1S2_SIZE};

/// A worker's part of a run.
#[derive(Debug)]
pub struct WorkerPlan {
    /// The common start instant: offsets of arrivals and stages count from here.
    pub start: Time,
    /// When held connections are released at the latest; [`Nanos::MAX`] unless the load is bounded by time.
    pub hold_end: Nanos,
    /// The kinds of client, in the order of the recorder's layout.
    pub clients: Vec<Client>,
    /// The clients, grouped by what they do.
    pub populations: Vec<PopulationSpec>,
    /// Number of targets, for what is learned about each.
    pub targets: u16,
    /// Chooses which attempts are verified.
    pub sampling: RandomStream,
}

/// What one kind of client sends.
#[derive(Debug)]
pub struct Client {
    /// Its C0C1s and the rule of its C2.
    pub templates: Arc<ClientTemplates>,
    /// Where the templates' bytes begin in the backend's shared bytes.
    pub templates_offset: u32,
    /// Send a C2 whose digest or echo is wrong.
    pub wrong_c2: bool,
}

/// Clients that do the same thing, as one worker sees them.
#[derive(Debug)]
pub struct PopulationSpec {
    /// When attempts start.
    pub load: Load,
    /// Attempts in flight plus connections held, at most, on this worker.
    pub slots: u32,
    /// Its kinds of client, as indices of [`WorkerPlan::clients`]; never empty.
    pub clients: Vec<u16>,
    /// Which of them makes the next attempt; it has an entry for each.
    pub turns: WeightedTurns,
    /// Which handshakes have their digests checked.
    pub verify: Verify,
    /// Targets, taken in turn by each kind of client; never empty.
    pub targets: Vec<TargetId>,
    /// Local addresses, taken in turn likewise; never empty.
    pub sources: Vec<SourceId>,
    /// How long a completed connection is kept.
    pub hold: Hold,
    /// How it is closed then.
    pub close: ClosePolicy,
    /// Limit of the TCP connect.
    pub connect_timeout: Nanos,
    /// Limit from connected to complete; also of the wait for the server's FIN under [`ClosePolicy::Peer`].
    pub timeout: Nanos,
}

/// When attempts start. Offsets count from [`WorkerPlan::start`].
#[derive(Debug)]
pub enum Load {
    /// Attempts start at planned instants, whatever the target does.
    Open {
        /// This worker's arrivals; their stages are indices of the recorder's layout.
        arrivals: Arrivals,
        /// When the planned load is over; [`Nanos::MAX`] if only the number of arrivals bounds it.
        end: Nanos,
    },
    /// A slot starts its next attempt when the last one is over.
    Closed {
        /// This worker's share of the attempts.
        quota: QuotaShare,
        /// Attempts that start before this offset belong to `warmup_stage` and take nothing from the quota.
        warmup: Nanos,
        /// When no further attempt starts; [`Nanos::MAX`] if only the quota bounds it.
        end: Nanos,
        /// Stage of the warm-up.
        warmup_stage: u16,
        /// Stage of the rest.
        stage: u16,
    },
}

/// Which handshakes have their digests checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// Every one.
    All,
    /// One in 64, chosen by the seed.
    Sample,
    /// None.
    None,
}

/// How long a completed connection is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// For this many nanoseconds; 0 closes at once.
    ForNs(u64),
    /// To the end of the run.
    Forever,
}

/// How a connection is closed after completion and hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosePolicy {
    /// RST: no TIME_WAIT on either side.
    Rst,
    /// FIN first.
    Fin,
    /// Wait for the server's FIN.
    Peer,
}

impl WorkerPlan {
    /// Bytes of a receive buffer: room for S0S1S2 and for the first bytes of the next protocol stage, which some
    /// servers send at once.
    pub const RECEIVE_SIZE: usize = S0S1S2_SIZE + 63;

    /// Slots of all populations together.
    pub fn slots(&self) -> u32 {
        self.populations.iter().map(|population| population.slots).sum()
    }

    /// Buffers this worker needs: a pair for each attempt that can be in flight.
    pub fn buffers(&self) -> BufferPlan {
        BufferPlan { count: self.slots(), receive_size: Self::RECEIVE_SIZE as u32, send_size: C2_SIZE as u32 }
    }
}
