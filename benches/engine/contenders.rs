//! Who is compared: the generator in its cases, and the bare loop with the bytes of either mode.

use std::net::SocketAddr;

use shakedown::fleet::{End, Mailbox, Observer, run_turns};
use shakedown::io::Engine::{self, Epoll, IoUring};
use shakedown::io::{self, Io};
use shakedown::measure::IntervalReport;
use shakedown::protocol::C0C1_SIZE;
use shakedown::protocol::HandshakeMode::{self, Complex, Simple};
use shakedown::run::Verify;

use super::bare;
use super::meter::{Cost, Meter};
use super::plan::Clients;

use Contestant::{BareLoop, Generator};

/// A row of the table.
pub struct Case {
    pub name: &'static str,
    pub mode: HandshakeMode,
    pub contestant: Contestant,
}

/// Who completes handshakes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Contestant {
    BareLoop,
    /// The generator on an engine; it checks these S2.
    Generator(Engine, Verify),
}

/// The rows. Each mode's bare loop is what the mode's other rows are compared with.
pub const CASES: [Case; 8] = [
    Case { name: "simple, bare epoll loop", mode: Simple, contestant: BareLoop },
    Case { name: "simple, verify all", mode: Simple, contestant: Generator(IoUring, Verify::All) },
    Case { name: "  the same on epoll", mode: Simple, contestant: Generator(Epoll, Verify::All) },
    Case { name: "complex, bare epoll loop", mode: Complex, contestant: BareLoop },
    Case { name: "complex, verify none", mode: Complex, contestant: Generator(IoUring, Verify::None) },
    Case { name: "complex, verify sample", mode: Complex, contestant: Generator(IoUring, Verify::Sample) },
    Case { name: "complex, verify all", mode: Complex, contestant: Generator(IoUring, Verify::All) },
    Case { name: "  the same on epoll", mode: Complex, contestant: Generator(Epoll, Verify::All) },
];

/// One that completes handshakes.
pub trait Contender {
    /// Completes `attempts` handshakes under `meter`.
    fn run(&mut self, attempts: u64, meter: &mut Meter) -> std::io::Result<Cost>;
}

impl Case {
    pub fn contender(&self, target: SocketAddr) -> Result<Box<dyn Contender>, Box<dyn std::error::Error>> {
        let verify = match self.contestant {
            BareLoop => Verify::None,
            Generator(_, verify) => verify,
        };
        let clients = Clients { mode: self.mode, verify };
        let (_, io_plan) = clients.prepare(target, 1).parts(0);
        Ok(match self.contestant {
            BareLoop => Box::new(bare::BareLoop::new(target, io_plan.shared_bytes[..C0C1_SIZE].to_vec())?),
            Generator(Epoll, _) => Box::new(Worker { clients, target, io: io::epoll::Epoll::new(io_plan)? }),
            Generator(..) => Box::new(Worker { clients, target, io: io::ring::Ring::new(io_plan)? }),
        })
    }
}

impl Contender for bare::BareLoop {
    fn run(&mut self, attempts: u64, meter: &mut Meter) -> std::io::Result<Cost> {
        meter.measure(|| self.complete(attempts))
    }
}

/// The generator's worker thread as a run has it, on the bench's own thread. The backend stays from round to round.
struct Worker<I> {
    clients: Clients,
    target: SocketAddr,
    io: I,
}

impl<I: Io> Contender for Worker<I> {
    fn run(&mut self, attempts: u64, meter: &mut Meter) -> std::io::Result<Cost> {
        let preparation = self.clients.prepare(self.target, attempts);
        // The backend's shared bytes are these parts' templates: both come from one seed.
        let (parts, _) = preparation.parts(0);
        let mut worker = preparation.worker(0, parts, self.io.now());
        let mailbox = Mailbox::default();
        let cost = meter.measure(|| {
            let end = run_turns(&mut self.io, &mut worker, &mailbox, &mut Spare)?;
            assert_eq!(end, End::Finished);
            Ok(worker.recorder().snapshot().stages()[0].tally.counts.completed)
        })?;
        if cost.handshakes < attempts {
            return Err(std::io::Error::other(format!("{} of {attempts} attempts completed", cost.handshakes)));
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
