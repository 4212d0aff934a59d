//! Who is compared: the generator in its cases, and the bare loop with the bytes of either mode.

use std::io;
use std::net::SocketAddr;

use shakedown::fleet::{End, Mailbox, Observer, run_turns};
use shakedown::io::Io;
use shakedown::io::ring::Ring;
use shakedown::measure::IntervalReport;
use shakedown::protocol::C0C1_SIZE;
use shakedown::protocol::HandshakeMode::{self, Complex, Simple};
use shakedown::run::Verify;

use super::bare::BareLoop;
use super::meter::{Cost, Meter};
use super::plan::Clients;

/// A row of the table.
pub struct Case {
    pub name: &'static str,
    pub mode: HandshakeMode,
    /// Which S2 the generator checks; `None`: the bare loop.
    pub verify: Option<Verify>,
}

/// The rows. Each mode's bare loop is what the mode's other rows are compared with.
pub const CASES: [Case; 6] = [
    Case { name: "simple, bare epoll loop", mode: Simple, verify: None },
    Case { name: "simple, verify all", mode: Simple, verify: Some(Verify::All) },
    Case { name: "complex, bare epoll loop", mode: Complex, verify: None },
    Case { name: "complex, verify none", mode: Complex, verify: Some(Verify::None) },
    Case { name: "complex, verify sample", mode: Complex, verify: Some(Verify::Sample) },
    Case { name: "complex, verify all", mode: Complex, verify: Some(Verify::All) },
];

/// One that completes handshakes.
pub trait Contender {
    /// Completes `attempts` handshakes under `meter`.
    fn run(&mut self, attempts: u64, meter: &mut Meter) -> io::Result<Cost>;
}

impl Case {
    pub fn contender(&self, target: SocketAddr) -> Result<Box<dyn Contender>, Box<dyn std::error::Error>> {
        let clients = Clients { mode: self.mode, verify: self.verify.unwrap_or(Verify::None) };
        let (_, io_plan) = clients.prepare(target, 1).parts(0);
        Ok(match self.verify {
            Some(_) => Box::new(Generator { clients, target, ring: Ring::new(io_plan)? }),
            None => Box::new(BareLoop::new(target, io_plan.shared_bytes[..C0C1_SIZE].to_vec())?),
        })
    }
}

impl Contender for BareLoop {
    fn run(&mut self, attempts: u64, meter: &mut Meter) -> io::Result<Cost> {
        meter.measure(|| self.complete(attempts))
    }
}

/// The generator's worker thread as a run has it, on the bench's own thread. The ring stays from round to round.
struct Generator {
    clients: Clients,
    target: SocketAddr,
    ring: Ring,
}

impl Contender for Generator {
    fn run(&mut self, attempts: u64, meter: &mut Meter) -> io::Result<Cost> {
        let preparation = self.clients.prepare(self.target, attempts);
        // The ring's shared bytes are these parts' templates: both come from one seed.
        let (parts, _) = preparation.parts(0);
        let mut worker = preparation.worker(0, parts, self.ring.now());
        let mailbox = Mailbox::default();
        let cost = meter.measure(|| {
            let end = run_turns(&mut self.ring, &mut worker, &mailbox, &mut Spare)?;
            assert_eq!(end, End::Finished);
            Ok(worker.recorder().snapshot().stages()[0].tally.counts.completed)
        })?;
        if cost.handshakes < attempts {
            return Err(io::Error::other(format!("{} of {attempts} attempts completed", cost.handshakes)));
        }
        Ok(cost)
    }
}

/// Gives each report back at once.
struct Spare;

impl Observer for Spare {
    fn interval(&mut self, report: Box<IntervalReport>) -> Option<Box<IntervalReport>> {
        Some(report)
    }
}
