//! The plan that the benches of the engine run: a closed loop of short connections, one worker.

use std::net::SocketAddr;
use std::sync::Arc;

use shakedown::base::Seed;
use shakedown::io::Engine;
use shakedown::load::Share;
use shakedown::protocol::{ClientProfile, DigestAt, HandshakeMode};
use shakedown::run::{
    ClientPlan, ClientShare, ClosePolicy, Hold, LoadPlan, Population, Preparation, RunPlan, Target, Until, Verify,
};

/// What the clients of a bench do; in flight are always [`CONCURRENCY`] attempts.
#[derive(Clone, Copy, Debug)]
pub struct Clients {
    pub mode: HandshakeMode,
    pub verify: Verify,
}

/// Attempts in flight.
pub const CONCURRENCY: u32 = 64;

const TIMEOUT_NS: u64 = 10_000_000_000;

impl Clients {
    /// `attempts` attempts to `target`, each closed by an RST as soon as it is complete.
    pub fn prepare(self, target: SocketAddr, attempts: u64) -> Preparation {
        let population = Population {
            name: "bench".into(),
            load: LoadPlan::Closed { warmup_ns: 0, duration_ns: None, attempts: Some(attempts) },
            concurrency: CONCURRENCY,
            clients: vec![ClientShare {
                client: ClientPlan {
                    profile: ClientProfile::Shakedown,
                    mode: self.mode,
                    digest_at: DigestAt::FirstHalf,
                    wrong_c2: false,
                },
                weight: 1,
            }],
            verify: self.verify,
            until: Until::Handshake,
            hold: Hold::ForNs(0),
            close: ClosePolicy::Rst,
            connect_timeout_ns: TIMEOUT_NS,
            timeout_ns: TIMEOUT_NS,
        };
        let plan = RunPlan {
            targets: vec![Target { name: target.to_string(), host: target.ip().to_string(), address: target }],
            built_in_sink: false,
            engine: Engine::IoUring,
            workers: 1,
            cpus: Vec::new(),
            populations: vec![population],
            sources: Vec::new(),
            thresholds: Vec::new(),
            seed: Seed::new(1935),
            share: Share::WHOLE,
            start_at: None,
        };
        Preparation::new(Arc::new(plan)).expect("a closed loop has no profile to be refused")
    }
}
