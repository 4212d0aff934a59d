//! The plan that the benches of the engine run: a closed loop of short connections, one worker.

use std::net::SocketAddr;
use std::sync::Arc;

use shakedown::base::Seed;
use shakedown::io::Engine;
use shakedown::protocol::HandshakeMode;
use shakedown::run::{LoadPlan, Preparation, Verify};

use plans::aim;

#[path = "../../tests/plans/mod.rs"]
mod plans;

/// What the clients of a bench do; in flight are always [`CONCURRENCY`] attempts.
#[derive(Clone, Copy, Debug)]
pub struct Clients {
    pub mode: HandshakeMode,
    pub verify: Verify,
}

/// Attempts in flight.
pub const CONCURRENCY: u32 = 64;

impl Clients {
    /// `attempts` attempts to `target`, each closed by an RST as soon as it is complete.
    pub fn prepare(self, target: SocketAddr, attempts: u64) -> Preparation {
        let load = LoadPlan::closed(CONCURRENCY, 0, None, Some(attempts));
        let mut plan = plans::plan(load, CONCURRENCY);
        plan.engine = Engine::IoUring;
        plan.seed = Seed::new(1935);
        plan.populations[0].clients[0].client.mode = self.mode;
        plan.populations[0].verify = self.verify;
        aim(&mut plan, vec![plans::target(target)]);
        Preparation::new(Arc::new(plan)).expect("a closed loop has no profile to be refused")
    }
}
