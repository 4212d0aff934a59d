//! The built-in sink, which serves all rows from one CPU: with TLS on a port of its own.

use std::net::{Ipv4Addr, SocketAddr};

use shakedown::base::{Nanos, Seed};
use shakedown::engine::Verify;
use shakedown::io::Engine;
use shakedown::io::tls::{TlsServer, TlsServerPlan};
use shakedown::run::TlsPlan;
use shakedown::sink::{Sink, SinkCounts, SinkPlan};

use super::authority::Authority;

/// Slots of the sink: more than are ever in flight, as a slot is free again only when its close is over.
const SLOTS: u32 = 4_096;
/// In the certificate.
const NAME: &str = "ingest.test";

/// What the rows load.
pub struct Targets {
    plain: Sink,
    secured: Sink,
    authority: Authority,
}

impl Targets {
    /// Starts both on `cpu`; one is idle while the other is loaded.
    pub fn start(cpu: u32) -> Result<Self, Box<dyn std::error::Error>> {
        let authority = Authority::new("Bench");
        let identity = authority.issue(NAME);
        let tls = TlsServer::load(&TlsServerPlan { certificate: identity.certificate, key: identity.key })?;
        let sink = |tls| {
            Sink::start(SinkPlan {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                engine: Engine::IoUring,
                workers: 1,
                cpus: vec![cpu],
                // The bare loop's C2 is constant and cannot be right: nobody's is checked.
                verify: Verify::None,
                delay: Nanos::ZERO,
                slots_per_worker: SLOTS,
                reject: Vec::new(),
                ping_every: Nanos::ZERO,
                tls,
                seed: Seed::new(1935),
            })
        };
        Ok(Self { plain: sink(None)?, secured: sink(Some(tls))?, authority })
    }

    pub fn plain(&self) -> SocketAddr {
        self.plain.address()
    }

    pub fn secured(&self) -> SocketAddr {
        self.secured.address()
    }

    /// Whom the clients trust.
    pub fn trust(&self) -> TlsPlan {
        TlsPlan { ca: Some(self.authority.file()), insecure: false, server_name: Some(NAME.to_owned()), resume: false }
    }

    /// What the plain one and the one with TLS saw.
    pub fn stop(self) -> [SinkCounts; 2] {
        [self.plain.stop(), self.secured.stop()]
    }
}
