//! The effective plan of a run: every default applied, every name resolved. Printed, saved, and never validated again.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::base::Seed;
pub use crate::engine::{ClosePolicy, Hold, Verify};
use crate::io::Engine;
use crate::load::{ArrivalPattern, Share};
use crate::protocol::{ClientProfile, ClientSpec, DigestAt, HandshakeMode};

/// Everything a run does, decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunPlan {
    /// Where the load goes; populations refer to targets by index.
    pub targets: Vec<Target>,
    /// The target is the built-in sink, started for this run.
    pub built_in_sink: bool,
    /// Who executes the operations.
    pub engine: Engine,
    /// Worker threads.
    pub workers: u32,
    /// The CPU each worker is pinned to; workers beyond its length wrap around. Empty: not pinned.
    pub cpus: Vec<u32>,
    /// The clients, grouped by what they do.
    pub populations: Vec<Population>,
    /// Local addresses to connect from, used in turn; empty: the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// Conditions the result must meet, as written by the user.
    pub thresholds: Vec<String>,
    /// All randomness comes from it.
    pub seed: Seed,
    /// This machine's part of the arrivals.
    pub share: Share,
    /// When the load begins (RFC 3339); at once if absent.
    pub start_at: Option<String>,
}

/// One address of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// As the user wrote it.
    pub name: String,
    /// The host part of it.
    pub host: String,
    /// What it resolved to.
    pub address: SocketAddr,
}

/// Clients that do the same thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Population {
    /// Its name in the report.
    pub name: String,
    /// When its attempts start.
    pub load: LoadPlan,
    /// Slots: attempts in flight plus connections held.
    pub concurrency: u32,
    /// Its kinds of client; never empty.
    pub clients: Vec<ClientShare>,
    /// Which handshakes have their digests checked.
    pub verify: Verify,
    /// What completes an attempt.
    pub until: Until,
    /// How long a completed connection is kept.
    pub hold: Hold,
    /// How a connection is closed after completion and hold.
    pub close: ClosePolicy,
    /// Limit of the TCP connect.
    pub connect_timeout_ns: u64,
    /// Limit from connected to complete.
    pub timeout_ns: u64,
}

/// When attempts start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LoadPlan {
    /// A slot starts its next attempt when the last one is over: no rate is asked.
    Closed {
        /// Not measured, before the rest.
        warmup_ns: u64,
        /// End of the load after the warm-up, if bounded by time.
        duration_ns: Option<u64>,
        /// End of the load after this many attempts, if bounded by number.
        attempts: Option<u64>,
    },
    /// Attempts start at planned instants, whatever the target does.
    Open {
        /// Spacing of the arrivals.
        arrival: ArrivalPattern,
        /// Planned rates, one after the other.
        stages: Vec<StagePlan>,
        /// End of the load after this many measured attempts, if bounded by number.
        attempts: Option<u64>,
    },
}

/// One stretch of an open-loop plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StagePlan {
    /// Its name in the report.
    pub name: String,
    /// Left out of the result's totals.
    pub warmup: bool,
    /// Arrivals per second at its beginning.
    pub from_per_s: f64,
    /// Arrivals per second at its end.
    pub to_per_s: f64,
    /// Its length; `None` (last stage only): until `attempts` are due.
    pub duration_ns: Option<u64>,
}

/// A kind of client and its part of the attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientShare {
    /// What it sends.
    #[serde(flatten)]
    pub client: ClientPlan,
    /// Attempts of this kind in as many as the weights of the population sum up to.
    pub weight: u32,
}

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientPlan {
    /// Whose handshake it is.
    pub profile: ClientProfile,
    /// The mode asked of the server.
    pub mode: HandshakeMode,
    /// Where C1's digest lies (complex mode).
    pub digest_at: DigestAt,
    /// Send a C2 whose digest is wrong: a strict server must refuse it.
    pub wrong_c2: bool,
}

/// What completes an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// S2 is in and C2 is out.
    Handshake,
}

impl RunPlan {
    /// Every kind of client once, in the order of the populations: the order in which recorders count them.
    pub fn clients(&self) -> Vec<ClientPlan> {
        let mut kinds = Vec::new();
        for share in self.populations.iter().flat_map(|population| &population.clients) {
            if !kinds.contains(&share.client) {
                kinds.push(share.client);
            }
        }
        kinds
    }
}

impl ClientPlan {
    /// Its name in the report.
    pub fn name(&self) -> String {
        let name = match (self.profile, self.mode, self.digest_at) {
            (ClientProfile::Shakedown, HandshakeMode::Simple, _) => "shakedown, simple".to_owned(),
            (ClientProfile::Shakedown, HandshakeMode::Complex, DigestAt::SecondHalf) => {
                "shakedown, digest in second half".to_owned()
            }
            (profile, ..) => profile.to_string(),
        };
        if self.wrong_c2 { format!("{name}, wrong C2") } else { name }
    }

    /// How its handshake looks. Only this program's own client leaves the mode and the digest's place open.
    pub fn spec(&self) -> ClientSpec {
        match self.profile {
            ClientProfile::Shakedown => ClientSpec::shakedown(self.mode, self.digest_at),
            profile => profile.spec(),
        }
    }
}

impl Target {
    /// Name and, where it says more, address.
    pub fn label(&self) -> String {
        if self.name.contains(&self.address.to_string()) {
            self.name.clone()
        } else {
            format!("{} ({})", self.name, self.address)
        }
    }
}
