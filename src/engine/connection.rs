//! One attempt: what its connection does with each completion, from the open to the last byte of the handshake.

use crate::base::Time;
use crate::io::{BufferId, Buffers, Destination, Errno, Payload};
use crate::measure::{Failure, FailureDetail, FailureKind, Place, SessionTimes, Step};
use crate::protocol::{C0C1_SIZE, C2_SIZE, ClientHandshake, ClientState, S0S1S2_SIZE};

use super::hostile::{self, Play};
use super::plan::{Client, SharedRange, WorkerPlan};
use super::progress::{Begin, Handshaken, Milestones, Progress};
use super::turn::Context;

/// The connection of an attempt; each state carries what is valid in it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Connection {
    /// The open is in flight.
    Connecting { begin: Begin, header: Option<SharedRange> },
    /// A load balancer's header is on its way; nothing else is sent before it.
    SendingHeader { begin: Begin, connected: Time },
    /// TLS is being established.
    Securing { begin: Begin, connected: Time },
    /// C0C1 is on its way and S0S1 is not complete.
    AwaitingS0S1 { wire: Wire, c0c1_sent: bool },
    /// S0S1 is complete, so C2 goes out at once; S2 is not complete.
    AwaitingS2 { wire: Wire, s0s1: Time, c2: C2 },
    /// S2 is in, C2 is not out yet. Complete, once it is, as of the later of S2's arrival and the turn that sends C2 if it
    /// had to wait for C0C1: what the kernel takes for the send is no time of the target's.
    FlushingC2 { wire: Wire, handshake: Handshaken, complete: Time, c2: C2 },
    /// The handshake is over, the attempt goes on. A receive is in flight unless the milestone is reached.
    InSession { wire: Wire, handshake: Handshaken },
    /// A hostile client is at work.
    Hostile(Play),
}

/// What a connected attempt keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire {
    handshake: ClientHandshake,
    template: u16,
    /// Bytes of C0C1 whose send was issued.
    issued: u16,
    receive: BufferId,
    received: u32,
    connected: Time,
    secured: Option<Time>,
    /// When C0C1 was handed to the kernel.
    sent: Time,
}

/// Where C2 is.
#[derive(Clone, Copy, Debug)]
pub(super) enum C2 {
    /// It is signed, and C0C1's send has not completed: two sends of one connection are never in flight together. It
    /// cannot be signed later, for the receive that waits for S2 has the buffer with S1.
    WaitsForC0C1 { send: BufferId, len: u32 },
    /// Its send is in flight.
    Sending(BufferId),
    /// Handed to the kernel.
    Sent,
}

impl Connection {
    /// A connection whose open has just been issued.
    pub(super) const fn connecting(begin: Begin, header: Option<SharedRange>) -> Self {
        Self::Connecting { begin, header }
    }

    /// The open completed.
    pub(super) fn opened(&mut self, result: Result<u32, Errno>, context: &mut Context<'_>) -> Progress {
        let Self::Connecting { begin, header } = *self else { unreachable!("one open per attempt") };
        match (result, header) {
            (Err(errno), _) if begin.hostile => return hostile::not_connected(connect_failure(errno)),
            (Err(errno), _) => return Progress::Failed(connect_failure(errno)),
            (Ok(_), Some(SharedRange { offset, len })) => {
                context.send(Payload::Shared { offset, len: len.into() });
                *self = Self::SendingHeader { begin, connected: context.turn.now };
            }
            (Ok(_), None) => self.secure(begin, context.turn.now, context),
        }
        Progress::Pending
    }

    /// Establishes TLS first where the target wants it.
    fn secure(&mut self, begin: Begin, connected: Time, context: &mut Context<'_>) {
        if !begin.tls {
            return self.begin(begin, connected, None, context);
        }
        context.secure();
        *self = Self::Securing { begin, connected };
    }

    /// TLS is established, or is not to be had.
    pub(super) fn secured(&mut self, result: Result<u32, Errno>, place: Place, context: &mut Context<'_>) -> Progress {
        let Self::Securing { begin, connected } = *self else { unreachable!("one TLS handshake per attempt") };
        match result {
            Ok(resumed) => {
                context.recorder.secured(place, resumed != 0);
                self.begin(begin, connected, Some(context.turn.now), context);
                Progress::Pending
            }
            Err(errno) if begin.hostile => hostile::not_connected(Failure::of_tls(errno)),
            Err(errno) => Progress::Failed(Failure::of_tls(errno)),
        }
    }

    /// Sends the first bytes of the handshake, or of what the client sends instead.
    fn begin(&mut self, begin: Begin, connected: Time, secured: Option<Time>, context: &mut Context<'_>) {
        if begin.hostile {
            *self = Self::Hostile(Play::begin(begin, connected, context));
            return;
        }
        let receive = context.turn.buffers.receive.take().expect("a receive buffer for each slot");
        let Begin { handshake, template, .. } = begin;
        let sent = context.turn.now;
        let mut wire = Wire { handshake, template, issued: 0, receive, received: 0, connected, secured, sent };
        wire.send_c0c1(context);
        wire.receive_more(context);
        *self = Self::AwaitingS0S1 { wire, c0c1_sent: false };
    }

    /// A send completed.
    pub(super) fn sent(&mut self, result: Result<u32, Errno>, context: &mut Context<'_>) -> Progress {
        if let Self::Hostile(play) = self {
            return play.sent(result, context);
        }
        let step = self.send_step(context);
        if let Self::InSession { .. } = self {
            context.send_is_over(result.is_ok());
            if let Err(errno) = result {
                return self.breaks(Failure::from_errno(step, errno), context);
            }
            context.send_commands();
            return self.settle(context);
        }
        if let Err(errno) = result {
            return Progress::Failed(Failure::from_errno(step, errno));
        }
        if let Self::SendingHeader { begin, connected } = *self {
            self.secure(begin, connected, context);
            return Progress::Pending;
        }
        if let Some(wire) = self.wire_mut()
            && usize::from(wire.issued) < C0C1_SIZE
        {
            wire.send_c0c1(context);
            return Progress::Pending;
        }
        match self {
            Self::Connecting { .. }
            | Self::SendingHeader { .. }
            | Self::Securing { .. }
            | Self::InSession { .. }
            | Self::Hostile(_) => unreachable!("no part of a handshake is sent in this state"),
            Self::AwaitingS0S1 { c0c1_sent, .. } => *c0c1_sent = true,
            Self::AwaitingS2 { c2, .. } => *c2 = c2.after_a_send(context),
            Self::FlushingC2 { wire, handshake, complete, c2 } => {
                *c2 = c2.after_a_send(context);
                match c2 {
                    C2::Sent => {
                        let (wire, handshake, complete) = (*wire, *handshake, *complete);
                        return self.handshake_done(wire, handshake, complete, context);
                    }
                    _ => *complete = context.turn.now,
                }
            }
        }
        Progress::Pending
    }

    /// A receive completed.
    pub(super) fn received(&mut self, result: Result<u32, Errno>, context: &mut Context<'_>) -> Progress {
        let step = self.receive_step();
        let wire = match self {
            Self::AwaitingS0S1 { wire, .. } | Self::AwaitingS2 { wire, .. } => wire,
            Self::Hostile(play) => return play.received(result, context),
            Self::InSession { .. } => return self.session_received(result, context),
            Self::Connecting { .. } | Self::SendingHeader { .. } | Self::Securing { .. } | Self::FlushingC2 { .. } => {
                unreachable!("no receive is armed in this state")
            }
        };
        match result {
            Err(errno) => return Progress::Failed(wire.lost(Failure::from_errno(step, errno))),
            Ok(0) => {
                let detail = FailureDetail::Received(wire.received);
                return Progress::Failed(Failure { step, kind: FailureKind::Closed, detail });
            }
            Ok(bytes) => wire.received += bytes,
        }
        let received = &context.turn.buffers.receive.bytes(wire.receive)[..wire.received as usize];
        let state = match wire.handshake.advance(received, &context.client.templates) {
            Ok(state) => state,
            Err(violation) => return Progress::Failed(Failure::from(violation)),
        };
        self.follow(state, context)
    }

    /// The handshake is over: the attempt is complete with it, or goes on.
    fn handshake_done(
        &mut self,
        wire: Wire,
        handshake: Handshaken,
        complete: Time,
        context: &mut Context<'_>,
    ) -> Progress {
        if !context.has_session() {
            return Progress::Complete(wire.milestones(handshake, None, complete));
        }
        *self = Self::InSession { wire, handshake };
        if let Err(failure) = context.take_in(wire.receive, S0S1S2_SIZE as u32, wire.received) {
            return Progress::Failed(failure);
        }
        self.session_goes_on(wire, context)
    }

    fn session_received(&mut self, result: Result<u32, Errno>, context: &mut Context<'_>) -> Progress {
        let step = context.session_step();
        let Self::InSession { wire, .. } = self else { unreachable!("only in a session") };
        let bytes = match result {
            Err(errno) => {
                let failure = context.hung_up(wire.lost(Failure::from_errno(step, errno)));
                return Progress::Failed(context.explained(failure));
            }
            Ok(0) => {
                let detail = FailureDetail::Received(wire.received);
                let failure = context.hung_up(Failure { step, kind: FailureKind::Closed, detail });
                return Progress::Failed(context.explained(failure));
            }
            Ok(bytes) => bytes,
        };
        wire.received = wire.received.saturating_add(bytes);
        let wire = *wire;
        context.note_reply();
        if let Err(failure) = context.take_in(wire.receive, 0, bytes) {
            return Progress::Failed(failure);
        }
        self.session_goes_on(wire, context)
    }

    /// What there is to say goes out, and more is received until the milestone is reached.
    fn session_goes_on(&self, wire: Wire, context: &mut Context<'_>) -> Progress {
        context.send_commands();
        if !context.has_reached() {
            wire.receive_session(context);
        }
        self.settle(context)
    }

    /// The attempt is complete once its milestone is reached and no send is in flight.
    fn settle(&self, context: &Context<'_>) -> Progress {
        context.settled().map_or(Progress::Pending, |milestone| self.complete(milestone))
    }

    /// A session's attempt is complete as of its milestone: what was sent meanwhile is no time of the target's.
    fn complete(&self, (session, reached): (SessionTimes, Time)) -> Progress {
        let Self::InSession { wire, handshake } = self else { unreachable!("only in a session") };
        Progress::Complete(wire.milestones(*handshake, Some(session), reached))
    }

    /// A session cannot go on; its attempt is complete all the same if its milestone is reached.
    fn breaks(&self, failure: Failure, context: &mut Context<'_>) -> Progress {
        match context.breaks(failure) {
            Some(failure) => Progress::Failed(failure),
            None => self.complete(context.milestone().expect("its milestone is reached")),
        }
    }

    /// Its deadline has come: a hostile client goes on, other attempts are out of time.
    pub(super) fn woken(&mut self, context: &mut Context<'_>) -> Progress {
        match self {
            Self::Hostile(play) => play.woken(context),
            Self::Connecting { begin: Begin { hostile: true, .. }, .. }
            | Self::Securing { begin: Begin { hostile: true, .. }, .. } => {
                hostile::not_connected(self.timed_out(context))
            }
            Self::InSession { .. } => match context.milestone() {
                Some(milestone) => self.complete(milestone),
                None => Progress::Failed(context.explained(self.timed_out(context))),
            },
            _ => Progress::Failed(self.timed_out(context)),
        }
    }

    /// When it was connected, if it is; `None` for hostile clients at work.
    pub(super) fn connected(&self) -> Option<Time> {
        match self {
            Self::Connecting { .. } | Self::Hostile(_) => None,
            Self::SendingHeader { connected, .. } | Self::Securing { connected, .. } => Some(*connected),
            Self::AwaitingS0S1 { wire, .. }
            | Self::AwaitingS2 { wire, .. }
            | Self::FlushingC2 { wire, .. }
            | Self::InSession { wire, .. } => Some(wire.connected),
        }
    }

    /// A hostile client is at work.
    pub(super) fn is_hostile(&self) -> bool {
        matches!(self, Self::Hostile(_))
    }

    /// The step an attempt is stuck in when its time is over.
    fn timed_out(&self, context: &Context<'_>) -> Failure {
        let (step, detail) = match self {
            Self::Connecting { .. } => (Step::Connect, FailureDetail::None),
            Self::Securing { .. } => (Step::Tls, FailureDetail::None),
            Self::SendingHeader { .. } | Self::Hostile(_) => (Step::SendC0c1, FailureDetail::None),
            Self::AwaitingS0S1 { wire, c0c1_sent: true } => {
                (self.receive_step(), FailureDetail::Received(wire.received))
            }
            Self::AwaitingS0S1 { c0c1_sent: false, .. } => (Step::SendC0c1, FailureDetail::None),
            Self::AwaitingS2 { wire, .. } => (Step::S2, FailureDetail::Received(wire.received)),
            Self::FlushingC2 { .. } => (Step::SendC2, FailureDetail::None),
            Self::InSession { wire, .. } => (context.session_step(), FailureDetail::Received(wire.received)),
        };
        Failure { step, kind: FailureKind::Timeout, detail }
    }

    /// Gives the attempt's buffers back; no op is in flight.
    pub(super) fn release_buffers(&self, buffers: &mut Buffers) {
        let (wire, c2) = match self {
            Self::Connecting { .. } | Self::SendingHeader { .. } | Self::Securing { .. } => return,
            Self::Hostile(play) => return play.release_buffers(buffers),
            Self::AwaitingS0S1 { wire, .. } | Self::InSession { wire, .. } => (wire, None),
            Self::AwaitingS2 { wire, c2, .. } | Self::FlushingC2 { wire, c2, .. } => (wire, Some(c2)),
        };
        buffers.receive.release(wire.receive);
        if let Some(C2::WaitsForC0C1 { send, .. } | C2::Sending(send)) = c2 {
            buffers.send.release(*send);
        }
    }

    /// Acts on the handshake's new state after bytes came in.
    fn follow(&mut self, state: ClientState, context: &mut Context<'_>) -> Progress {
        match (*self, state) {
            (Self::AwaitingS0S1 { wire, .. }, ClientState::AwaitingS0 | ClientState::AwaitingS1)
            | (Self::AwaitingS2 { wire, .. }, ClientState::AwaitingS2) => {
                wire.receive_more(context);
                Progress::Pending
            }
            (Self::AwaitingS0S1 { wire, c0c1_sent }, ClientState::AwaitingS2) => {
                let s0s1 = wire.arrived_after(wire.sent, context);
                let c2 = wire.sign_c2(context).sent_after(c0c1_sent, context);
                wire.receive_more(context);
                *self = Self::AwaitingS2 { wire, s0s1, c2 };
                Progress::S0S1(wire.handshake.s1_digest().expect("known once S0S1 is complete"))
            }
            (Self::AwaitingS0S1 { wire, c0c1_sent }, ClientState::Done(negotiated)) => {
                let s2 = wire.arrived_after(wire.sent, context);
                let c2 = wire.sign_c2(context).sent_after(c0c1_sent, context);
                let handshake = Handshaken { s0s1: s2, s2, negotiated };
                *self = Self::FlushingC2 { wire, handshake, complete: s2, c2 };
                Progress::S0S1(wire.handshake.s1_digest().expect("known once S0S1 is complete"))
            }
            (Self::AwaitingS2 { wire, s0s1, c2: C2::Sent }, ClientState::Done(negotiated)) => {
                let s2 = wire.arrived_after(s0s1, context);
                self.handshake_done(wire, Handshaken { s0s1, s2, negotiated }, s2, context)
            }
            (Self::AwaitingS2 { wire, s0s1, c2 }, ClientState::Done(negotiated)) => {
                let s2 = wire.arrived_after(s0s1, context);
                *self = Self::FlushingC2 { wire, handshake: Handshaken { s0s1, s2, negotiated }, complete: s2, c2 };
                Progress::Pending
            }
            (connection, state) => unreachable!("the handshake went to {state:?} in {connection:?}"),
        }
    }

    fn wire_mut(&mut self) -> Option<&mut Wire> {
        match self {
            Self::Connecting { .. } | Self::SendingHeader { .. } | Self::Securing { .. } | Self::Hostile(_) => None,
            Self::AwaitingS0S1 { wire, .. }
            | Self::AwaitingS2 { wire, .. }
            | Self::FlushingC2 { wire, .. }
            | Self::InSession { wire, .. } => Some(wire),
        }
    }

    fn send_step(&self, context: &Context<'_>) -> Step {
        match self {
            Self::AwaitingS2 { c2: C2::Sending(_), .. } | Self::FlushingC2 { c2: C2::Sending(_), .. } => Step::SendC2,
            Self::InSession { .. } => context.session_step(),
            _ => Step::SendC0c1,
        }
    }

    fn receive_step(&self) -> Step {
        match self {
            Self::AwaitingS0S1 { wire, .. } if wire.received == 0 => Step::S0,
            Self::AwaitingS0S1 { .. } => Step::S1,
            _ => Step::S2,
        }
    }
}

impl Wire {
    fn milestones(&self, handshake: Handshaken, session: Option<SessionTimes>, complete: Time) -> Milestones {
        let Self { connected, secured, sent, .. } = *self;
        Milestones { connected, secured, sent, handshake, session, complete }
    }

    /// When what was received last arrived, which was after `earlier`: as the kernel says, or else when this turn began.
    /// The kernel's stamps are of a clock that may be set; one that contradicts the order of events counts for nothing.
    fn arrived_after(&self, earlier: Time, context: &Context<'_>) -> Time {
        let stamped = context.turn.buffers.arrivals.of(self.receive);
        stamped.filter(|&at| earlier < at && at < context.turn.now).unwrap_or(context.turn.now)
    }

    /// Sends the next segment of C0C1.
    fn send_c0c1(&mut self, context: &mut Context<'_>) {
        let Client { templates, templates_offset, .. } = context.client;
        let len = templates.pacing().next_send(self.issued.into(), C0C1_SIZE) as u16;
        let offset = templates_offset + u32::from(self.template) * C0C1_SIZE as u32 + u32::from(self.issued);
        context.send(Payload::Shared { offset, len: len.into() });
        self.issued += len;
    }

    /// Arms a receive for what is missing, and for the first bytes that may follow S2.
    fn receive_more(&self, context: &mut Context<'_>) {
        let len = WorkerPlan::RECEIVE_SIZE as u32 - self.received;
        context.receive(Destination::Buffer { buffer: self.receive, start: self.received, len });
    }

    /// Arms a receive for messages after the handshake, of which none is kept in the buffer.
    fn receive_session(&self, context: &mut Context<'_>) {
        context.receive(Destination::Buffer { buffer: self.receive, start: 0, len: WorkerPlan::RECEIVE_SIZE as u32 });
    }

    /// C2 in a buffer of its own, and the first commands behind it if this client sends them together. No receive may be
    /// armed.
    fn sign_c2(&self, context: &mut Context<'_>) -> C2 {
        let Buffers { receive, send, .. } = &mut *context.turn.buffers;
        let buffer = send.take().expect("a send buffer for each slot");
        let received = &receive.bytes(self.receive)[..self.received as usize];
        let read_at_ms = (context.turn.now.as_nanos() / 1_000_000) as u32;
        let c2 = &mut send.bytes_mut(buffer)[..C2_SIZE];
        let Client { templates, wrong_c2, .. } = context.client;
        if *wrong_c2 {
            self.handshake.write_wrong_c2(received, templates, read_at_ms, c2);
        } else {
            self.handshake.write_c2(received, templates, read_at_ms, c2);
        }
        let len = context.join_commands(buffer, C2_SIZE) as u32;
        C2::WaitsForC0C1 { send: buffer, len }
    }

    /// A connection that broke says how many bytes had come.
    fn lost(&self, failure: Failure) -> Failure {
        match failure.kind {
            FailureKind::Reset => Failure { detail: FailureDetail::Received(self.received), ..failure },
            _ => failure,
        }
    }
}

impl C2 {
    /// Sends it unless C0C1 is still on its way.
    fn sent_after(self, c0c1_sent: bool, context: &mut Context<'_>) -> Self {
        if c0c1_sent { self.send(context) } else { self }
    }

    /// The state after a send has completed: C0C1's, or its own.
    fn after_a_send(self, context: &mut Context<'_>) -> Self {
        match self {
            Self::WaitsForC0C1 { .. } => self.send(context),
            Self::Sending(send) => {
                context.turn.buffers.send.release(send);
                Self::Sent
            }
            Self::Sent => unreachable!("C2 is sent once"),
        }
    }

    fn send(self, context: &mut Context<'_>) -> Self {
        let Self::WaitsForC0C1 { send, len } = self else { unreachable!("C2 is sent once") };
        context.send(Payload::Buffer { buffer: send, len });
        context.c2_leaves();
        Self::Sending(send)
    }
}

/// An open that failed: the socket could not be had, or could not be connected.
fn connect_failure(errno: Errno) -> Failure {
    let failure = Failure::from_errno(Step::Connect, errno);
    match failure.kind {
        FailureKind::NoDescriptors | FailureKind::NoMemory => Failure { step: Step::Socket, ..failure },
        _ => failure,
    }
}
