//! The plan that the benches of the engine run: a closed loop of short connections, one worker.

use std::net::SocketAddr;
use std::sync::Arc;

use shakedown::base::Seed;
use shakedown::io::Engine;
use shakedown::protocol::HandshakeMode;
use shakedown::run::{LoadPlan, Preparation, Target, TlsPlan, Until, Verify};

use plans::aim;

#[path = "../../tests/plans/mod.rs"]
mod plans;

/// What the clients of a bench do; in flight are always [`CONCURRENCY`] attempts.
#[derive(Clone, Debug)]
pub struct Clients {
    pub mode: HandshakeMode,
    pub verify: Verify,
    pub until: Until,
    /// How they secure their connections, if they do.
    pub tls: Option<TlsPlan>,
}

/// Attempts in flight.
pub const CONCURRENCY: u32 = 64;

impl Clients {
    /// They are content with the handshake.
    pub fn handshakes(mode: HandshakeMode, verify: Verify) -> Self {
        Self { mode, verify, until: Until::Handshake, tls: None }
    }

    /// `attempts` attempts to `target`, each closed by an RST as soon as it is complete.
    pub fn prepare(&self, target: SocketAddr, attempts: u64) -> Preparation {
        let load = LoadPlan::closed(CONCURRENCY, 0, None, Some(attempts));
        let mut plan = plans::plan(load, CONCURRENCY);
        plan.engine = Engine::IoUring;
        plan.seed = Seed::new(1935);
        plan.populations[0].clients[0].client.mode = self.mode;
        plan.populations[0].verify = self.verify;
        plan.populations[0].until = self.until;
        plan.tls = self.tls.clone();
        aim(&mut plan, vec![Target { tls: self.tls.is_some(), ..plans::target(target) }]);
        Preparation::new(Arc::new(plan))
            .expect("a closed loop has no profile to be refused, and the authority's file is there")
    }
}
