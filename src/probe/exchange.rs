//! The connection of a probe: what is sent, what arrives and when.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::diagnosis::{Stop, Stopped, diagnose};
use super::{AfterC2, ProbeOutcome, ProbePlan, ProbeReport, Reaction, Read, StepTimes};
use crate::base::{Nanos, StreamPurpose};
use crate::inspect::Trailing;
use crate::protocol::{
    C0C1_SIZE, C1Spec, C2_SIZE, Check, ClientHandshake, ClientState, ClientTemplates, HandshakeMode, Negotiated,
    S0S1_SIZE, S0S1S2_SIZE, explain, likely_server,
};

/// Makes the handshake and explains it.
pub(super) fn run(plan: &ProbePlan) -> ProbeReport {
    let spec = match plan.mode {
        HandshakeMode::Simple => C1Spec::simple(),
        HandshakeMode::Complex => C1Spec::complex(plan.digest_at),
    };
    let templates = ClientTemplates::sign(&spec, 1, &mut plan.seed.stream(StreamPurpose::ClientTemplates, 0));
    let mut exchange = Exchange::new(plan, templates);
    let result = exchange.connect().and_then(|mut stream| {
        let negotiated = exchange.shake_hands(&mut stream)?;
        exchange.after_c2 = exchange.watch(&mut stream);
        Ok(negotiated)
    });
    exchange.report(result)
}

/// More than a server's whole answer, so that a read splits nothing the server wrote in one piece.
const READ_SIZE: usize = 64 * 1024;
/// More than any server sends unasked behind S2.
const MOST_TRAILING: usize = 1 << 20;

struct Exchange<'a> {
    plan: &'a ProbePlan,
    templates: ClientTemplates,
    handshake: ClientHandshake,
    started: Instant,
    at: StepTimes,
    /// All bytes from S0 on; of those that arrive while C2 is watched only what is shown.
    received: Vec<u8>,
    /// How many arrive while C2 is watched.
    received_later: usize,
    /// Of the handshake.
    reads: Vec<Read>,
    c2: Vec<u8>,
    after_c2: Option<AfterC2>,
}

impl<'a> Exchange<'a> {
    fn new(plan: &'a ProbePlan, templates: ClientTemplates) -> Self {
        Self {
            plan,
            templates,
            handshake: ClientHandshake::new(0, Check::Full),
            started: Instant::now(),
            at: StepTimes::default(),
            received: Vec::new(),
            received_later: 0,
            reads: Vec::new(),
            c2: Vec::new(),
            after_c2: None,
        }
    }

    fn connect(&mut self) -> Result<TcpStream, Stop> {
        self.started = Instant::now();
        let limit = self.plan.connect_timeout.max(Duration::from_nanos(1));
        let stream = TcpStream::connect_timeout(&self.plan.address, limit).map_err(Stop::Connect)?;
        self.at.connected_ns = Some(self.elapsed_ns());
        stream.set_nodelay(true).map_err(Stop::Connect)?;
        Ok(stream)
    }

    fn shake_hands(&mut self, stream: &mut TcpStream) -> Result<Negotiated, Stop> {
        let deadline = Deadline::after(self.plan.timeout);
        self.at.c0c1_sent_ns = Some(self.elapsed_ns());
        // A peer that is gone already may have said why before it went: what it sent can still be read.
        send(stream, self.templates.c0c1(0), &deadline)?;
        let mut buffer = vec![0; READ_SIZE];
        loop {
            let size = receive(stream, &mut buffer, &deadline)?;
            self.note_arrival(&buffer[..size]);
            let state = self.handshake.advance(&self.received, &self.templates).map_err(Stop::Violation)?;
            if matches!(state, ClientState::AwaitingS2 | ClientState::Done(_)) && self.c2.is_empty() {
                self.send_c2(stream, &deadline)?;
            }
            match state {
                ClientState::Done(negotiated) if self.at.c2_sent_ns.is_some() => return Ok(negotiated),
                ClientState::Done(_) => return Err(Stop::Reset),
                _ => {}
            }
        }
    }

    fn note_arrival(&mut self, bytes: &[u8]) {
        let at_ns = self.elapsed_ns();
        let before = self.received.len();
        self.reads.push(Read { bytes: bytes.len(), at_ns });
        let steps = [(1, &mut self.at.s0_ns), (S0S1_SIZE, &mut self.at.s1_ns), (S0S1S2_SIZE, &mut self.at.s2_ns)];
        for (complete_at, instant) in steps {
            if (before + 1..=before + bytes.len()).contains(&complete_at) {
                *instant = Some(at_ns);
            }
        }
        self.received.extend_from_slice(bytes);
    }

    fn send_c2(&mut self, stream: &mut TcpStream, deadline: &Deadline) -> Result<(), Stop> {
        let mut c2 = vec![0; C2_SIZE];
        let read_at_ms = self.started.elapsed().as_millis() as u32;
        self.handshake.write_c2(&self.received, &self.templates, read_at_ms, &mut c2);
        if send(stream, &c2, deadline)? {
            self.at.c2_sent_ns = Some(self.elapsed_ns());
        }
        self.c2 = c2;
        Ok(())
    }

    /// Watches a server that has C2.
    fn watch(&mut self, stream: &mut TcpStream) -> Option<AfterC2> {
        if self.plan.linger.is_zero() {
            return None;
        }
        let begun = Instant::now();
        let deadline = Deadline::after(self.plan.linger);
        let mut buffer = vec![0; READ_SIZE];
        let reaction = loop {
            match receive(stream, &mut buffer, &deadline) {
                Ok(size) => {
                    self.received_later += size;
                    let room = (S0S1S2_SIZE + Trailing::SHOWN).saturating_sub(self.received.len());
                    self.received.extend_from_slice(&buffer[..size.min(room)]);
                    if self.received_later > MOST_TRAILING {
                        break Reaction::SendsOn;
                    }
                }
                Err(Stop::Timeout) => break Reaction::StaysOpen,
                Err(Stop::Closed) => break Reaction::Closes,
                Err(_) => break Reaction::Resets,
            }
        };
        Some(AfterC2 { reaction, after_ns: nanos(begun.elapsed()) })
    }

    fn report(mut self, result: Result<Negotiated, Stop>) -> ProbeReport {
        self.at.ended_ns = self.elapsed_ns();
        let explanation = explain(self.templates.c0c1(0), &self.received, &self.c2);
        let s0s1s2_segments = segments(&self.reads);
        let outcome = match result {
            Ok(mode) => ProbeOutcome::Completed { mode },
            Err(stop) => {
                diagnose(&Stopped { stop, plan: self.plan, state: self.handshake.state(), received: &self.received })
            }
        };
        let received: usize = self.reads.iter().map(|read| read.bytes).sum::<usize>() + self.received_later;
        let shown = self.received.get(S0S1S2_SIZE..).unwrap_or_default();
        ProbeReport {
            target: self.plan.target.clone(),
            address: self.plan.address,
            outcome,
            likely_servers: likely_server(&explanation, &s0s1s2_segments),
            explanation,
            c0c1_segments: self.at.c0c1_sent_ns.map(|_| C0C1_SIZE).into_iter().collect(),
            s0s1s2_segments,
            timings: self.at.timings(),
            at: self.at,
            reads: self.reads,
            after_s2: Trailing { bytes: received.saturating_sub(S0S1S2_SIZE), ..Trailing::of(shown) },
            after_c2: self.after_c2,
            seed: self.plan.seed,
        }
    }

    fn elapsed_ns(&self) -> u64 {
        nanos(self.started.elapsed())
    }
}

/// Sizes of the pieces of S0S1S2 alone.
fn segments(reads: &[Read]) -> Vec<usize> {
    let mut missing = S0S1S2_SIZE;
    let pieces = reads.iter().map(|read| {
        let piece = read.bytes.min(missing);
        missing -= piece;
        piece
    });
    pieces.filter(|&piece| piece > 0).collect()
}

/// Sends all of `bytes`; false if the peer is gone.
fn send(stream: &mut TcpStream, bytes: &[u8], deadline: &Deadline) -> Result<bool, Stop> {
    let limit = deadline.remaining().ok_or(Stop::Timeout)?;
    stream.set_write_timeout(Some(limit)).map_err(Stop::Socket)?;
    match stream.write_all(bytes) {
        Ok(()) => Ok(true),
        Err(error) => match Stop::from(error) {
            Stop::Reset => Ok(false),
            stop => Err(stop),
        },
    }
}

/// Waits for bytes; returns how many, at least 1.
fn receive(stream: &mut TcpStream, buffer: &mut [u8], deadline: &Deadline) -> Result<usize, Stop> {
    loop {
        let limit = deadline.remaining().ok_or(Stop::Timeout)?;
        stream.set_read_timeout(Some(limit)).map_err(Stop::Socket)?;
        match stream.read(buffer) {
            Ok(0) => return Err(Stop::Closed),
            Ok(size) => return Ok(size),
            // The socket's timer may be early.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A limit that cannot overflow, however long.
struct Deadline {
    started: Instant,
    limit: Duration,
}

impl Deadline {
    fn after(limit: Duration) -> Self {
        Self { started: Instant::now(), limit }
    }

    /// What is left, never zero: a socket takes zero for no limit at all.
    fn remaining(&self) -> Option<Duration> {
        self.limit.checked_sub(self.started.elapsed()).filter(|left| !left.is_zero())
    }
}

fn nanos(duration: Duration) -> u64 {
    Nanos::from(duration).as_u64()
}
