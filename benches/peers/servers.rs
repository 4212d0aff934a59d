//! Who is loaded: the built-in sink, and nginx with its RTMP module where it is installed.

use std::error::Error;
use std::net::SocketAddr;

use shakedown::base::Seed;
use shakedown::engine::Verify;
use shakedown::io::Engine;
use shakedown::sink::{Sink, SinkPlan};

use super::Outcome;
use super::nginx::{Nginx, NginxOptions};

/// The application whose clients are closed at `connect`: nginx has none of this name.
pub const CLOSED_AT_CONNECT: &str = "absent";

const NGINX: &str = "nginx-rtmp";

pub struct Servers {
    sink: Sink,
    nginx: Option<Nginx>,
}

/// One of them, running.
pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    /// It counts what it sees: see [`Servers::stop`].
    pub counts: bool,
}

/// What clients say that they did.
#[derive(Default)]
pub struct Claimed {
    completed: u64,
    published: u64,
}

impl Servers {
    /// The sink on `cpu`, nginx where the calling thread is; one is idle while the other is loaded.
    pub fn start(cpu: u32) -> Result<Self, Box<dyn Error>> {
        let sink = Sink::start(SinkPlan {
            // Bare tools send C2s of all kinds: nobody's is checked, as nginx checks none.
            verify: Verify::None,
            reject: vec![format!("connect:app={CLOSED_AT_CONNECT}:close").parse()?],
            ..SinkPlan::for_load(Engine::IoUring, 1_024, vec![cpu], 4_096, Seed::new(1935))
        })?;
        Ok(Self { sink, nginx: Nginx::is_installed().then(|| Nginx::start(NginxOptions::default())) })
    }

    pub fn installed(&self) -> Vec<Server> {
        let sink = Server { name: "built-in sink", address: self.sink.address(), counts: true };
        let nginx = self.nginx.as_ref().map(|nginx| Server { name: NGINX, address: nginx.address(), counts: false });
        std::iter::once(sink).chain(nginx).collect()
    }

    pub fn absent(&self) -> Option<&'static str> {
        self.nginx.is_none().then_some(NGINX)
    }

    /// Ends them. The sink, whose counts are exact then, must have seen what clients claim.
    pub fn stop(self, claimed: Claimed) -> Result<(), Box<dyn Error>> {
        let seen = self.sink.stop();
        for (what, seen, claimed) in
            [("handshakes", seen.c2_unchecked, claimed.completed), ("publishers", seen.published, claimed.published)]
        {
            if seen != claimed {
                return Err(format!("the sink saw {seen} {what}, the clients claim {claimed}").into());
            }
        }
        Ok(())
    }
}

impl Claimed {
    /// Outcomes of clients, and which of them publish.
    pub fn add<'a>(&mut self, outcomes: impl Iterator<Item = (bool, &'a Outcome)>) {
        for (publishes, outcome) in outcomes {
            if let Outcome::Ended { completed, .. } = outcome {
                self.completed += completed;
                self.published += if publishes { *completed } else { 0 };
            }
        }
    }
}

impl Server {
    pub fn url(&self, app: &str, stream: &str) -> String {
        format!("rtmp://{}/{app}/{stream}", self.address)
    }
}
