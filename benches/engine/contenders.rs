//! Who is compared: the bare loop with the bytes of either mode, and the generator in its cases.

use std::io;
use std::net::SocketAddr;

use shakedown::fleet::{End, Mailbox, Observer, run_turns};
use shakedown::io::Io;
use shakedown::io::ring::Ring;
use shakedown::io::tls::TlsIo;
use shakedown::measure::IntervalReport;
use shakedown::protocol::C0C1_SIZE;
use shakedown::protocol::HandshakeMode::{self, Complex, Simple};
use shakedown::run::{TlsPlan, Until, Verify};

use super::bare::BareLoop;
use super::meter::{Cost, Meter};
use super::plan::Clients;
use super::target::Targets;

/// A row of the table.
pub struct Case {
    pub name: &'static str,
    pub who: Who,
    /// The row that it is compared with, by its place; its own for those that others are compared with.
    pub beside: usize,
}

/// Who makes a row's attempts.
pub enum Who {
    /// The bare loop, with the bytes of a mode.
    Bare(HandshakeMode),
    /// The generator: handshakes of which some S2s are checked.
    Handshakes(HandshakeMode, Verify),
    /// The generator: complex handshakes, all checked, and all that comes after them up to Publish.Start.
    Publishers,
    /// The generator: complex handshakes, all checked, within TLS; with or without the session of an earlier connection.
    Secured { resume: bool },
}

/// The rows, in groups: what a handshake costs, and what more than a handshake does.
pub const CASES: [Case; 9] = [
    Case { name: "simple, bare epoll loop", who: Who::Bare(Simple), beside: 0 },
    Case { name: "simple, verify all", who: Who::Handshakes(Simple, Verify::All), beside: 0 },
    Case { name: "complex, bare epoll loop", who: Who::Bare(Complex), beside: 2 },
    Case { name: "complex, verify none", who: Who::Handshakes(Complex, Verify::None), beside: 2 },
    Case { name: "complex, verify sample", who: Who::Handshakes(Complex, Verify::Sample), beside: 2 },
    Case { name: "complex, verify all", who: Who::Handshakes(Complex, Verify::All), beside: 2 },
    Case { name: "until publish", who: Who::Publishers, beside: HANDSHAKE },
    Case { name: "TLS, full", who: Who::Secured { resume: false }, beside: HANDSHAKE },
    Case { name: "TLS, resumed", who: Who::Secured { resume: true }, beside: HANDSHAKE },
];

/// The handshake that more than a handshake is compared with.
pub const HANDSHAKE: usize = 5;

/// One that completes handshakes.
pub trait Contender {
    /// Completes `attempts` handshakes under `meter`.
    fn run(&mut self, attempts: u64, meter: &mut Meter) -> io::Result<Cost>;
}

impl Case {
    pub fn contender(&self, targets: &Targets) -> Result<Box<dyn Contender>, Box<dyn std::error::Error>> {
        let plain = targets.plain();
        Ok(match self.who {
            Who::Bare(mode) => {
                let (_, io_plan) = Clients::handshakes(mode, Verify::None).prepare(plain, 1).parts(0);
                Box::new(BareLoop::new(plain, io_plan.shared_bytes[..C0C1_SIZE].to_vec())?)
            }
            Who::Handshakes(mode, verify) => Box::new(Generator::on_ring(Clients::handshakes(mode, verify), plain)?),
            Who::Publishers => {
                let clients = Clients { until: Until::Publish, ..Clients::handshakes(Complex, Verify::All) };
                Box::new(Generator::on_ring(clients, plain)?)
            }
            Who::Secured { resume } => {
                let plan = TlsPlan { resume, ..targets.trust() };
                let clients = Clients { tls: Some(plan), ..Clients::handshakes(Complex, Verify::All) };
                Box::new(Generator::over_tls(clients, targets.secured())?)
            }
        })
    }

    /// Its attempts go to the target with TLS.
    pub fn is_secured(&self) -> bool {
        matches!(self.who, Who::Secured { .. })
    }

    pub fn publishes(&self) -> bool {
        matches!(self.who, Who::Publishers)
    }
}

impl Contender for BareLoop {
    fn run(&mut self, attempts: u64, meter: &mut Meter) -> io::Result<Cost> {
        meter.measure(|| self.complete(attempts))
    }
}

/// The generator's worker thread as a run has it, on the bench's own thread. Its backend stays from round to round, and
/// with it the TLS sessions to resume.
struct Generator<I> {
    clients: Clients,
    target: SocketAddr,
    io: I,
}

impl Generator<Ring> {
    fn on_ring(clients: Clients, target: SocketAddr) -> Result<Self, Box<dyn std::error::Error>> {
        let (_, io_plan) = clients.prepare(target, 1).parts(0);
        Ok(Self { clients, target, io: Ring::new(io_plan)? })
    }
}

impl Generator<TlsIo<Ring>> {
    fn over_tls(clients: Clients, target: SocketAddr) -> Result<Self, Box<dyn std::error::Error>> {
        let preparation = clients.prepare(target, 1);
        let (_, io_plan) = preparation.parts(0);
        let io = TlsIo::new(io_plan, preparation.tls().expect("the plan has TLS"), Ring::new)?;
        Ok(Self { clients, target, io })
    }
}

impl<I: Io> Contender for Generator<I> {
    fn run(&mut self, attempts: u64, meter: &mut Meter) -> io::Result<Cost> {
        let preparation = self.clients.prepare(self.target, attempts);
        // The ring's shared bytes are these parts' templates: both come from one seed.
        let (parts, _) = preparation.parts(0);
        let mut worker = preparation.worker(0, parts, self.io.now());
        let mailbox = Mailbox::default();
        let cost = meter.measure(|| {
            let end = run_turns(&mut self.io, &mut worker, &mailbox, &mut Spare)?;
            assert_eq!(end, End::Finished);
            Ok(worker.recorder().snapshot().stages()[0].tally.counts.completed)
        })?;
        if cost.handshakes < attempts {
            return Err(io::Error::other(format!("{} of {attempts} attempts completed", cost.handshakes)));
        }
        let secured = worker.recorder().snapshot().stages()[0].tls;
        let wanted = self.clients.tls.as_ref().map_or(0, |tls| if tls.resume { secured.resumed } else { secured.full });
        // Attempts that begin at once, before any has a session, cannot resume one.
        if self.clients.tls.is_some() && wanted * 10 < attempts * 9 {
            return Err(io::Error::other(format!("{secured:?} is not the TLS of this row")));
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
