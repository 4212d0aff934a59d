//! Who is compared: the bare loop and a plain tokio client with the bytes of either mode, and the generator in its cases.

use std::net::SocketAddr;

use shakedown::fleet::{End, Mailbox, Observer, run_turns};
use shakedown::io::ring::{Descriptors, Ring};
use shakedown::io::tls::TlsIo;
use shakedown::io::{self, Io};
use shakedown::measure::IntervalReport;
use shakedown::protocol::C0C1_SIZE;
use shakedown::protocol::HandshakeMode::{self, Complex, Simple};
use shakedown::run::{TlsPlan, Until, Verify};

use super::bare;
use super::meter::{Cost, Meter};
use super::plan::Clients;
use super::target::Targets;
use super::tokio_client::TokioClient;

use Backend::{Epoll, FreshSockets, IoUring};
use Who::{Bare, Handshakes, Publishers, Secured, Tokio};

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
    /// A client as one writes it with tokio, with the bytes of a mode.
    Tokio(HandshakeMode),
    /// The generator on a backend: handshakes of which some S2s are checked.
    Handshakes(Backend, HandshakeMode, Verify),
    /// The generator: complex handshakes, all checked, and all that comes after them up to Publish.Start.
    Publishers,
    /// The generator: complex handshakes, all checked, within TLS; with or without the session of an earlier connection.
    Secured { resume: bool },
}

/// What the generator runs on.
pub enum Backend {
    /// As `run` has it.
    IoUring,
    /// The same with a socket made for each attempt, and closed: ordinary descriptors, which kernels before 6.13 need.
    FreshSockets,
    /// As `run --engine epoll` has it.
    Epoll,
}

/// The rows, in groups: what a handshake costs, and what more than a handshake does.
pub const CASES: [Case; 14] = [
    Case { name: "simple, bare epoll loop", who: Bare(Simple), beside: 0 },
    Case { name: "simple, verify all", who: Handshakes(IoUring, Simple, Verify::All), beside: 0 },
    Case { name: "  the same on epoll", who: Handshakes(Epoll, Simple, Verify::All), beside: 0 },
    Case { name: "simple, plain tokio", who: Tokio(Simple), beside: 0 },
    Case { name: "complex, bare epoll loop", who: Bare(Complex), beside: 4 },
    Case { name: "complex, verify none", who: Handshakes(IoUring, Complex, Verify::None), beside: 4 },
    Case { name: "complex, verify sample", who: Handshakes(IoUring, Complex, Verify::Sample), beside: 4 },
    Case { name: "complex, verify all", who: Handshakes(IoUring, Complex, Verify::All), beside: 4 },
    Case { name: "  the same on epoll", who: Handshakes(Epoll, Complex, Verify::All), beside: 4 },
    Case { name: "  with fresh sockets", who: Handshakes(FreshSockets, Complex, Verify::All), beside: 4 },
    Case { name: "complex, plain tokio", who: Tokio(Complex), beside: 4 },
    Case { name: "until publish", who: Publishers, beside: HANDSHAKE },
    Case { name: "TLS, full", who: Secured { resume: false }, beside: HANDSHAKE },
    Case { name: "TLS, resumed", who: Secured { resume: true }, beside: HANDSHAKE },
];

/// The handshake that more than a handshake is compared with.
pub const HANDSHAKE: usize = 7;

/// One that completes handshakes.
pub trait Contender {
    /// Completes `attempts` handshakes under `meter`.
    fn run(&mut self, attempts: u64, meter: &mut Meter) -> std::io::Result<Cost>;
}

impl Case {
    pub fn contender(&self, targets: &Targets) -> Result<Box<dyn Contender>, Box<dyn std::error::Error>> {
        let plain = targets.plain();
        Ok(match self.who {
            Bare(mode) => Box::new(bare::BareLoop::new(plain, first_c0c1(mode, plain))?),
            Tokio(mode) => Box::new(TokioClient::new(plain, first_c0c1(mode, plain))?),
            Handshakes(ref backend, mode, verify) => {
                let clients = Clients::handshakes(mode, verify);
                match backend {
                    IoUring => Box::new(Generator::new(clients, plain, Ring::new)?),
                    FreshSockets => {
                        let make = |plan| Ring::with_descriptors(plan, Descriptors::Ordinary);
                        Box::new(Generator::new(clients, plain, make)?)
                    }
                    Epoll => Box::new(Generator::new(clients, plain, io::epoll::Epoll::new)?),
                }
            }
            Publishers => {
                let clients = Clients { until: Until::Publish, ..Clients::handshakes(Complex, Verify::All) };
                Box::new(Generator::new(clients, plain, Ring::new)?)
            }
            Secured { resume } => {
                let plan = TlsPlan { resume, ..targets.trust() };
                let clients = Clients { tls: Some(plan), ..Clients::handshakes(Complex, Verify::All) };
                let preparation = clients.prepare(targets.secured(), 1);
                let tls = preparation.tls().expect("the plan has TLS");
                Box::new(Generator::new(clients, targets.secured(), |plan| TlsIo::new(plan, tls, Ring::new))?)
            }
        })
    }

    /// Its attempts go to the target with TLS.
    pub fn is_secured(&self) -> bool {
        matches!(self.who, Secured { .. })
    }

    pub fn publishes(&self) -> bool {
        matches!(self.who, Publishers)
    }
}

/// What those send for ever who make no C0C1.
fn first_c0c1(mode: HandshakeMode, target: SocketAddr) -> Vec<u8> {
    let (_, io_plan) = Clients::handshakes(mode, Verify::None).prepare(target, 1).parts(0);
    io_plan.shared_bytes[..C0C1_SIZE].to_vec()
}

impl Contender for bare::BareLoop {
    fn run(&mut self, attempts: u64, meter: &mut Meter) -> std::io::Result<Cost> {
        meter.measure(|| self.complete(attempts))
    }
}

impl Contender for TokioClient {
    fn run(&mut self, attempts: u64, meter: &mut Meter) -> std::io::Result<Cost> {
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

impl<I: Io> Generator<I> {
    /// On the backend that `make` makes.
    fn new<E>(clients: Clients, target: SocketAddr, make: impl FnOnce(io::IoPlan) -> Result<I, E>) -> Result<Self, E> {
        let (_, io_plan) = clients.prepare(target, 1).parts(0);
        Ok(Self { clients, target, io: make(io_plan)? })
    }
}

impl<I: Io> Contender for Generator<I> {
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
        let secured = worker.recorder().snapshot().stages()[0].tls;
        let wanted = self.clients.tls.as_ref().map_or(0, |tls| if tls.resume { secured.resumed } else { secured.full });
        // Attempts that begin at once, before any has a session, cannot resume one.
        if self.clients.tls.is_some() && wanted * 10 < attempts * 9 {
            return Err(std::io::Error::other(format!("{secured:?} is not the TLS of this row")));
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
