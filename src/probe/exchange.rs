//! The connection of a probe: what is sent, what arrives and when.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::diagnosis::diagnose;
use super::session::Dialogue;
use super::stop::{Stop, Stopped};
use super::wire::{Deadline, Wire};
use super::{AfterC2, ProbeOutcome, ProbePlan, ProbeReport, Reaction, Read, StepTimes};
use crate::base::{Nanos, StreamPurpose};
use crate::inspect::Trailing;
use crate::io::tls::{TlsClient, TlsFacts, TlsStop, TlsStream};
use crate::measure::{Failure, FailureKind, Step, Until};
use crate::protocol::transcript::{Notebook, Side, Transcript};
use crate::protocol::{
    C0C1_SIZE, C2_SIZE, Check, ClientHandshake, ClientProfile, ClientSpec, ClientState, ClientTemplates, Negotiated,
    Pacing, S0S1_SIZE, S0S1S2_SIZE, explain, likely_server,
};

/// Makes the handshake and explains it.
pub(super) fn run(plan: &ProbePlan) -> ProbeReport {
    let spec = match plan.profile {
        ClientProfile::Shakedown => ClientSpec::shakedown(plan.mode, plan.digest_at),
        other => other.spec(),
    };
    let random = &mut plan.seed.stream(StreamPurpose::ClientTemplates, 0);
    let templates = ClientTemplates::of_client(&spec, plan.clock, 1, random);
    let mut exchange = Exchange::new(plan, templates);
    let result = exchange.connect().and_then(|stream| exchange.go_as_far_as_asked(stream));
    exchange.report(result)
}

/// More than a server's whole answer, so that a read splits nothing the server wrote in one piece.
const READ_SIZE: usize = 64 * 1024;
/// More than any server sends unasked behind S2.
const MOST_TRAILING: usize = 1 << 20;
/// How long a server may take to take the last words.
const GOODBYE: Duration = Duration::from_secs(1);
/// Messages of a session that are told.
const MOST_MESSAGES: usize = 200;

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
    tls: Option<TlsFacts>,
    /// What is said after the handshake.
    transcript: Transcript,
    notebook: Notebook,
    /// Where the session stands, if there is one.
    session_step: Option<Step>,
    /// The stream that is asked for has started.
    has_started: bool,
    reached_ns: Option<u64>,
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
            tls: None,
            transcript: Transcript::default(),
            notebook: Notebook::new(MOST_MESSAGES, MOST_MESSAGES),
            session_step: None,
            has_started: false,
            reached_ns: None,
        }
    }

    fn connect(&mut self) -> Result<TcpStream, Stop> {
        self.started = Instant::now();
        let limit = self.plan.connect_timeout.max(Duration::from_nanos(1));
        let stream = TcpStream::connect_timeout(&self.plan.address, limit).map_err(Stop::Connect)?;
        self.at.connected_ns = Some(self.elapsed_ns());
        let waits = self.plan.profile.session().is_some_and(|session| session.connect_waits());
        stream.set_nodelay(!waits).map_err(Stop::Connect)?;
        Ok(stream)
    }

    fn go_as_far_as_asked(&mut self, stream: TcpStream) -> Result<Negotiated, Stop> {
        let deadline = Deadline::after(self.plan.timeout);
        let mut wire = match &self.plan.tls {
            None => Wire::Plain(stream),
            Some(client) => Wire::Secured(Box::new(self.secure(stream, client, &deadline)?)),
        };
        let negotiated = self.shake_hands(&mut wire, &deadline)?;
        let behind = self.received.get(S0S1S2_SIZE..).unwrap_or_default().to_vec();
        self.hear(&behind);
        let Some(asked) = &self.plan.session else {
            self.reached_ns = self.at.s2_ns.max(self.at.c2_sent_ns);
            self.after_c2 = self.watch(&mut wire, None)?;
            return Ok(negotiated);
        };
        let mut dialogue = Dialogue::new(self.plan.profile, asked);
        let result = self.converse(&mut wire, &mut dialogue, &behind, &deadline);
        let result = result.and_then(|()| self.watch(&mut wire, Some(&mut dialogue)));
        (self.session_step, self.has_started) = (Some(dialogue.step()), dialogue.has_started());
        self.after_c2 = result?;
        if asked.until >= Until::Publish
            && let Some(AfterC2 { reaction: Reaction::Closes | Reaction::Resets, after_ns }) = self.after_c2
        {
            return Err(Stop::TakenBack(Nanos::new(after_ns)));
        }
        // Who is gone by now needs no goodbye.
        self.say(&mut wire, &dialogue.goodbye(), &Deadline::after(GOODBYE)).unwrap_or_default();
        Ok(negotiated)
    }

    fn secure(&mut self, stream: TcpStream, client: &TlsClient, deadline: &Deadline) -> Result<TlsStream, Stop> {
        let stream = secure(client, stream, deadline).inspect_err(|stop| {
            if matches!(stop, Stop::Tls(errno) if Failure::of_tls(*errno).kind == FailureKind::BadCertificate) {
                self.tls = self.look_at_certificate(client, deadline);
            }
        })?;
        self.at.secured_ns = Some(self.elapsed_ns());
        self.tls = Some(stream.facts());
        Ok(stream)
    }

    /// What a certificate says that is refused: only a handshake that accepts it shows it.
    fn look_at_certificate(&self, client: &TlsClient, deadline: &Deadline) -> Option<TlsFacts> {
        let limit = deadline.remaining()?.min(self.plan.connect_timeout.max(Duration::from_nanos(1)));
        let stream = TcpStream::connect_timeout(&self.plan.address, limit).ok()?;
        secure(&client.accepting_any(), stream, deadline).ok().map(|stream| stream.facts())
    }

    fn shake_hands(&mut self, wire: &mut Wire, deadline: &Deadline) -> Result<Negotiated, Stop> {
        self.at.c0c1_sent_ns = Some(self.elapsed_ns());
        // A peer that is gone already may have said why before it went: what it sent can still be read.
        let first = match self.templates.pacing() {
            Pacing::Split { first, .. } => first as usize,
            _ => C0C1_SIZE,
        };
        let (first, rest) = self.templates.c0c1(0).split_at(first.min(C0C1_SIZE));
        if wire.send(first, deadline)? && !rest.is_empty() {
            wire.send(rest, deadline)?;
        }
        let mut buffer = vec![0; READ_SIZE];
        loop {
            let size = wire.receive(&mut buffer, deadline)?;
            self.note_arrival(&buffer[..size]);
            let state = self.handshake.advance(&self.received, &self.templates).map_err(Stop::Violation)?;
            if matches!(state, ClientState::AwaitingS2 | ClientState::Done(_)) && self.c2.is_empty() {
                self.send_c2(wire, deadline)?;
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

    fn send_c2(&mut self, wire: &mut Wire, deadline: &Deadline) -> Result<(), Stop> {
        let mut c2 = vec![0; C2_SIZE];
        let read_at_ms = self.started.elapsed().as_millis() as u32;
        self.handshake.write_c2(&self.received, &self.templates, read_at_ms, &mut c2);
        if wire.send(&c2, deadline)? {
            self.at.c2_sent_ns = Some(self.elapsed_ns());
        }
        self.c2 = c2;
        Ok(())
    }

    /// Says what is asked and listens until it is reached. `behind` is what came with S2.
    fn converse(
        &mut self,
        wire: &mut Wire,
        dialogue: &mut Dialogue,
        behind: &[u8],
        deadline: &Deadline,
    ) -> Result<(), Stop> {
        dialogue.take(behind)?;
        let mut buffer = vec![0; READ_SIZE];
        loop {
            self.session_step = Some(dialogue.step());
            self.say(wire, &dialogue.due(), deadline)?;
            if dialogue.has_reached() {
                self.reached_ns = Some(self.elapsed_ns());
                return Ok(());
            }
            let size = wire.receive(&mut buffer, deadline)?;
            self.note_later(&buffer[..size]);
            dialogue.take(&buffer[..size])?;
        }
    }

    fn say(&mut self, wire: &mut Wire, bytes: &[u8], deadline: &Deadline) -> Result<(), Stop> {
        if bytes.is_empty() {
            return Ok(());
        }
        let at_ns = self.elapsed_ns();
        self.transcript.take(Side::Client, Some(at_ns), bytes, &mut self.notebook);
        // What a peer that is gone has said before can still be read.
        wire.send(bytes, deadline).map(drop)
    }

    /// Bytes that came after those with S2.
    fn note_later(&mut self, bytes: &[u8]) {
        self.received_later += bytes.len();
        let room = (S0S1S2_SIZE + Trailing::SHOWN).saturating_sub(self.received.len());
        self.received.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.hear(bytes);
    }

    fn hear(&mut self, bytes: &[u8]) {
        let at_ns = self.elapsed_ns();
        self.transcript.take(Side::Server, Some(at_ns), bytes, &mut self.notebook);
    }

    /// Watches a server that has everything it was asked for.
    ///
    /// # Errors
    /// It takes back what it has granted.
    fn watch(&mut self, wire: &mut Wire, mut dialogue: Option<&mut Dialogue>) -> Result<Option<AfterC2>, Stop> {
        if self.plan.linger.is_zero() {
            return Ok(None);
        }
        let begun = Instant::now();
        let before = self.received_later;
        let deadline = Deadline::after(self.plan.linger);
        let mut buffer = vec![0; READ_SIZE];
        let reaction = loop {
            match wire.receive(&mut buffer, &deadline) {
                Ok(size) => {
                    self.note_later(&buffer[..size]);
                    if let Some(dialogue) = &mut dialogue {
                        dialogue.take(&buffer[..size])?;
                        self.say(wire, &dialogue.due(), &deadline)?;
                    }
                    // A server that plays sends on as it should.
                    let is_asked_for = self.plan.session.as_ref().is_some_and(|asked| asked.until == Until::Play);
                    if self.received_later - before > MOST_TRAILING && !is_asked_for {
                        break Reaction::SendsOn;
                    }
                }
                Err(Stop::Timeout) => break Reaction::StaysOpen,
                Err(Stop::Closed) => break Reaction::Closes,
                Err(_) => break Reaction::Resets,
            }
        };
        Ok(Some(AfterC2 { reaction, after_ns: nanos(begun.elapsed()) }))
    }

    fn report(mut self, result: Result<Negotiated, Stop>) -> ProbeReport {
        self.at.ended_ns = self.elapsed_ns();
        let explanation = explain(self.templates.c0c1(0), &self.received, &self.c2);
        let s0s1s2_segments = segments(&self.reads);
        let outcome = match result {
            Ok(mode) => ProbeOutcome::Completed { mode },
            Err(stop) => diagnose(&Stopped {
                stop,
                plan: self.plan,
                state: self.handshake.state(),
                session_step: self.session_step,
                has_started: self.has_started,
                is_secured: self.plan.tls.is_none() || self.at.secured_ns.is_some(),
                received: &self.received,
                transcript: &self.transcript,
            }),
        };
        let session = Some(self.transcript.finish(&mut self.notebook)).filter(|session| !session.messages.is_empty());
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
            until: self.plan.session.as_ref().map_or(Until::Handshake, |asked| asked.until),
            reached_ns: self.reached_ns,
            tls: self.tls,
            session,
            seed: self.plan.seed,
        }
    }

    fn elapsed_ns(&self) -> u64 {
        nanos(self.started.elapsed())
    }
}

fn secure(client: &TlsClient, stream: TcpStream, deadline: &Deadline) -> Result<TlsStream, Stop> {
    let may_wait = |socket: &TcpStream| {
        let left = deadline.remaining().ok_or(io::ErrorKind::TimedOut)?;
        socket.set_read_timeout(Some(left))?;
        socket.set_write_timeout(Some(left))
    };
    TlsStream::secure(client, stream, may_wait).map_err(|stop| match stop {
        TlsStop::Fault(errno) => Stop::Tls(errno),
        TlsStop::Socket(error) if error.kind() == io::ErrorKind::UnexpectedEof => Stop::Closed,
        TlsStop::Socket(error) => Stop::from(error),
    })
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

fn nanos(duration: Duration) -> u64 {
    Nanos::from(duration).as_u64()
}
