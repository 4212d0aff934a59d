//! The worker on hand-made completions.

use proptest::prelude::*;

use super::*;
use crate::base::{Seed, StreamPurpose};
use crate::protocol::media::Track;
use crate::protocol::session::{Course, ScriptOptions, SessionScript};
use crate::protocol::{C1Spec, Check, ClientHandshake, ClientProfile, ClientTemplates, DigestAt};

#[path = "session_tests.rs"]
mod in_session;

/// A worker and the ops it has in flight, checked against the contract of [`crate::io::Io`] at every step.
struct Bench {
    worker: SinkWorker,
    buffers: Buffers,
    now: Time,
    in_flight: Vec<Op>,
    last_cancel: Option<Token>,
}

const PLAN: WorkerPlan = WorkerPlan { slots: 4, verify: Verify::All, delay: Nanos::ZERO, ping_every: Nanos::ZERO };
const DELAY: Nanos = Nanos::from_millis(7);
const RESET: Result<u32, Errno> = Err(Errno::CONNRESET);

impl Bench {
    fn new(plan: WorkerPlan) -> Self {
        Self::with_policy(plan, ServerPolicy::default())
    }

    fn with_policy(plan: WorkerPlan, policy: ServerPolicy) -> Self {
        let stream = |purpose| Seed::new(1).stream(purpose, 0);
        let templates = ServerTemplates::sign(3, &mut stream(StreamPurpose::ServerTemplates));
        let now = Time::from_nanos(1);
        let mut bench = Self {
            worker: SinkWorker::new(plan, policy.into(), templates, stream(StreamPurpose::Sampling), now),
            buffers: Buffers::new(plan.buffers()),
            now,
            in_flight: Vec::new(),
            last_cancel: None,
        };
        bench.step(&[]);
        bench
    }

    fn step(&mut self, completions: &[Completion]) {
        for completion in completions {
            let accepted = completion.token == ACCEPT_TOKEN && completion.result.is_ok();
            if !accepted {
                self.in_flight.retain(|op| op.token() != completion.token);
            }
        }
        let mut ops = Vec::new();
        self.worker.step(self.now, completions, &mut self.buffers, &mut ops);
        self.queue(ops);
    }

    fn queue(&mut self, ops: Vec<Op>) {
        for op in ops {
            if let Op::Cancel { of } = op {
                self.last_cancel = Some(of);
                continue;
            }
            let token = op.token();
            let same_slot = self.in_flight.iter().map(|op| op.token()).filter(|other| {
                (other.kind() == OpKind::Accept) == (token.kind() == OpKind::Accept) && other.slot() == token.slot()
            });
            for other in same_slot {
                assert_ne!(other.kind(), token.kind(), "two ops of a kind in flight on {token:?}");
                assert_ne!(OpKind::Close, token.kind(), "{token:?} queued while {other:?} is in flight");
                assert_ne!(OpKind::Close, other.kind(), "{token:?} queued on a closing slot");
            }
            self.in_flight.push(op);
        }
    }

    fn op(&self, kind: OpKind, slot: u32) -> Option<Op> {
        let mut found = self.in_flight.iter().filter(|op| op.token().kind() == kind && op.token().slot().0 == slot);
        found.next().copied()
    }

    fn complete(&mut self, kind: OpKind, slot: u32, result: Result<u32, Errno>) {
        let token = self.op(kind, slot).unwrap_or_else(|| panic!("no {kind:?} in flight on {slot}")).token();
        self.step(&[Completion { token, result }]);
    }

    fn accept(&mut self, slot: u32) {
        self.complete(OpKind::Accept, 0, Ok(slot));
    }

    /// The slot's recv yields these bytes, in as many completions as its room asks for.
    fn deliver(&mut self, slot: u32, bytes: &[u8]) {
        let left = self.deliver_if_read(slot, bytes);
        assert!(left.is_empty(), "nobody reads slot {slot}");
    }

    /// The same as far as somebody reads: what is left.
    fn deliver_if_read<'a>(&mut self, slot: u32, mut bytes: &'a [u8]) -> &'a [u8] {
        while !bytes.is_empty() {
            let Some(Op::Recv { into, .. }) = self.op(OpKind::Recv, slot) else { return bytes };
            let taken = match into {
                Destination::Discard => panic!("a sink reads what comes"),
                Destination::Readable => {
                    self.complete(OpKind::Recv, slot, Ok(1));
                    continue;
                }
                Destination::Buffer { buffer, start, len } => {
                    let taken = bytes.len().min(len as usize);
                    self.buffers.receive.bytes_mut(buffer)[start as usize..][..taken].copy_from_slice(&bytes[..taken]);
                    taken
                }
            };
            self.complete(OpKind::Recv, slot, Ok(taken as u32));
            bytes = &bytes[taken..];
        }
        bytes
    }

    /// The bytes of the send in flight.
    fn sending(&self, slot: u32) -> Option<Vec<u8>> {
        let Op::Send { payload: Payload::Buffer { buffer, len }, .. } = self.op(OpKind::Send, slot)? else {
            panic!("answers are sent from a buffer");
        };
        Some(self.buffers.send.bytes(buffer)[..len as usize].to_vec())
    }

    /// Completes the send in flight; its bytes.
    fn sent(&mut self, slot: u32) -> Vec<u8> {
        let bytes = self.sending(slot).expect("an answer is on its way");
        self.complete(OpKind::Send, slot, Ok(bytes.len() as u32));
        bytes
    }

    fn close_how(&self, slot: u32) -> Option<CloseHow> {
        self.op(OpKind::Close, slot).map(|op| if let Op::Close { how, .. } = op { how } else { unreachable!() })
    }

    fn closed(&mut self, slot: u32) {
        self.complete(OpKind::Close, slot, Ok(0));
    }

    /// A complete handshake up to the watching of the established connection.
    fn handshake(&mut self, slot: u32, client: &Client) {
        self.accept(slot);
        self.deliver(slot, &client.c0c1());
        let answer = self.sent(slot);
        self.deliver(slot, &client.c2(&answer));
    }

    fn counts(&self) -> SinkCounts {
        self.worker.counts()
    }

    /// Every accepted connection has one fate, and nothing is kept by those that are gone.
    fn check_books(&mut self) {
        let counts = self.counts();
        let slots = &self.worker.slots;
        let open = slots.iter().filter(|slot| slot.state != State::Free).count() as u64;
        assert_eq!(counts.held, open);
        let undecided = slots.iter().filter(|slot| match slot.state {
            State::Unread => true,
            State::Handshaking { attempt } => {
                let attempt = &self.worker.attempts[attempt.0 as usize];
                !matches!(attempt.handshake.state(), ServerState::Done(_))
                    && !matches!(attempt.answer, Answer::Orphaned { .. })
            }
            State::Free | State::Established | State::InSession { .. } | State::Closing => false,
        });
        let verdicts = counts.c2_valid + counts.c2_echo + counts.c2_invalid + counts.c2_unchecked;
        let decided = verdicts + counts.violations + counts.abandoned;
        assert_eq!(counts.accepted, decided + undecided.count() as u64, "{counts:?}");

        // Only handshakes, and sessions that are read or answered, own buffers.
        let (mut receiving, mut sending, mut sessions) = (0, 0, 0);
        for slot in slots {
            match slot.state {
                State::Handshaking { attempt } => {
                    let attempt = &self.worker.attempts[attempt.0 as usize];
                    receiving += 1;
                    sessions += usize::from(attempt.session.is_some());
                    sending += usize::from(matches!(
                        attempt.answer,
                        Answer::Delayed { .. } | Answer::Sending { .. } | Answer::Orphaned { .. }
                    ));
                }
                State::InSession { session } => {
                    let session = self.worker.sessions.get(session);
                    sessions += 1;
                    receiving += usize::from(matches!(session.receive, Receive::Reading(_)));
                    sending += usize::from(session.sending.is_some());
                }
                State::Free | State::Unread | State::Established | State::Closing => {}
            }
        }
        let count = self.worker.plan.buffers().count as usize;
        assert_eq!(free_buffers(&mut self.buffers.receive) + receiving, count, "receive buffers leak");
        assert_eq!(free_buffers(&mut self.buffers.send) + sending, count, "send buffers leak");
        assert_eq!(self.worker.sessions.open_count(), sessions, "sessions leak");
    }
}

fn free_buffers(pool: &mut crate::io::BufferPool) -> usize {
    let taken: Vec<BufferId> = std::iter::from_fn(|| pool.take()).collect();
    for &buffer in taken.iter().rev() {
        pool.release(buffer);
    }
    taken.len()
}

/// The other end.
struct Client(ClientTemplates);

impl Client {
    fn new(spec: C1Spec) -> Self {
        Self(ClientTemplates::sign(&spec, 1, &mut Seed::new(2).stream(StreamPurpose::ClientTemplates, 0)))
    }

    fn complex() -> Self {
        Self::new(C1Spec::complex(DigestAt::FirstHalf))
    }

    fn c0c1(&self) -> Vec<u8> {
        self.0.c0c1(0).to_vec()
    }

    /// The right C2 for this S0S1S2, which is checked in full.
    fn c2(&self, answer: &[u8]) -> Vec<u8> {
        let mut handshake = ClientHandshake::new(0, Check::Full);
        handshake.advance(answer, &self.0).expect("the sink's answer is correct");
        let mut c2 = vec![0; C2_SIZE];
        handshake.write_c2(answer, &self.0, 5, &mut c2);
        c2
    }
}

/// What a client says after C2, unasked by any answer.
struct Said {
    connect: Vec<u8>,
    after_connect: Vec<u8>,
    start: Vec<u8>,
    /// A publisher's first two messages of sound and pictures.
    media: Vec<u8>,
    goodbye: Vec<u8>,
}

impl Said {
    fn whole(&self) -> Vec<u8> {
        let Self { connect, after_connect, start, media, goodbye: _ } = self;
        [&connect[..], after_connect, start, media].concat()
    }
}

fn said(course: Course) -> Said {
    let spec = ClientProfile::Shakedown.session().unwrap();
    let script = SessionScript::new(&spec, "live", "rtmp://sink/live", course, ScriptOptions::default());
    let name = b"a";
    let write = |write: &dyn Fn(&mut [u8]) -> usize| {
        let mut out = vec![0; script.max_len(name.len())];
        let len = write(&mut out);
        out.truncate(len);
        out
    };
    let track = Track::trickle(script.chunk_size());
    let mut media = vec![0; track.intro_len()];
    track.write_intro(1, 0, &mut media);
    media.extend_from_slice(track.chunks(&track.tags()[..2]));
    Said {
        connect: write(&|out| script.write_connect(out)),
        after_connect: write(&|out| script.write_after_connect(name, 5_000_000, out)),
        start: write(&|out| script.write_start(name, 1, out)),
        media: if course == Course::Publish { media } else { Vec::new() },
        goodbye: write(&|out| script.write_goodbye(name, 1, out)),
    }
}

fn counts(set: impl FnOnce(&mut SinkCounts)) -> SinkCounts {
    let mut counts = SinkCounts::default();
    set(&mut counts);
    counts
}

#[test]
fn each_kind_of_client_is_answered_and_judged() {
    for (spec, expected) in [
        (C1Spec::complex(DigestAt::FirstHalf), counts(|c| (c.complex, c.c2_valid) = (1, 1))),
        (C1Spec::complex(DigestAt::SecondHalf), counts(|c| (c.complex, c.c2_valid) = (1, 1))),
        (C1Spec::simple(), counts(|c| (c.simple, c.c2_echo) = (1, 1))),
    ] {
        let mut bench = Bench::new(PLAN);
        bench.handshake(2, &Client::new(spec));
        assert_eq!(bench.counts(), SinkCounts { accepted: 1, held: 1, ..expected }, "{spec:?}");
        assert_eq!(free_buffers(&mut bench.buffers.receive), 4, "an established connection owns no buffer");
        assert!(matches!(bench.op(OpKind::Recv, 2), Some(Op::Recv { into: Destination::Readable, .. })));

        bench.complete(OpKind::Recv, 2, RESET);
        assert_eq!(bench.close_how(2), Some(CloseHow::Fin));
        bench.closed(2);
        assert_eq!(bench.counts(), SinkCounts { accepted: 1, reset: 1, ..expected }, "{spec:?}");
        bench.check_books();
    }
}

#[test]
fn wrong_and_echoing_c2s_are_told_apart() {
    let client = Client::complex();
    let mut bench = Bench::new(PLAN);
    for slot in 0..2 {
        bench.accept(slot);
        bench.deliver(slot, &client.c0c1());
    }
    let answer = bench.sent(0);
    bench.deliver(0, &answer[1..=C2_SIZE]);
    let mut wrong = client.c2(&bench.sent(1));
    wrong[700] ^= 1;
    bench.deliver(1, &wrong);
    assert_eq!(bench.counts(), counts(|c| (c.accepted, c.complex, c.c2_echo, c.c2_invalid, c.held) = (2, 2, 1, 1, 2)));
}

#[test]
fn bytes_may_come_one_by_one_and_beyond_c2() {
    let client = Client::complex();
    let mut bench = Bench::new(PLAN);
    bench.accept(0);
    for byte in client.c0c1() {
        bench.deliver(0, &[byte]);
    }
    let mut rest = client.c2(&bench.sent(0));
    for byte in rest.drain(..C2_SIZE - 1) {
        bench.deliver(0, &[byte]);
    }
    rest.extend(said(Course::Publish).whole());
    bench.deliver(0, &rest);
    let handshake = counts(|c| (c.accepted, c.complex, c.c2_valid, c.held) = (1, 1, 1, 1));
    assert_eq!(
        bench.counts(),
        SinkCounts {
            connected: 1,
            published: 1,
            media_bytes: bench.counts().media_bytes,
            media_messages: bench.counts().media_messages,
            ..handshake
        }
    );
}

#[test]
fn c2_is_read_after_the_send_has_failed() {
    let client = Client::complex();
    for errno in [Errno::CONNRESET, Errno::PIPE] {
        let mut bench = Bench::new(PLAN);
        bench.accept(0);
        bench.deliver(0, &client.c0c1());
        let c2 = client.c2(&bench.sending(0).unwrap());
        bench.complete(OpKind::Send, 0, Err(errno));
        bench.deliver(0, &c2);
        assert_eq!(bench.counts(), counts(|c| (c.accepted, c.complex, c.c2_valid, c.held) = (1, 1, 1, 1)));
        // The failed send took the socket's error with it, so the recv sees a plain end.
        bench.complete(OpKind::Recv, 0, Ok(0));
        bench.closed(0);
        assert_eq!(bench.counts(), counts(|c| (c.accepted, c.complex, c.c2_valid, c.reset) = (1, 1, 1, 1)));
        bench.check_books();
    }
}

#[test]
fn completions_of_one_batch_may_come_in_any_order() {
    let client = Client::complex();
    for reversed in [false, true] {
        let mut bench = Bench::new(PLAN);
        bench.accept(0);
        bench.deliver(0, &client.c0c1());
        let c2 = client.c2(&bench.sending(0).unwrap());
        let Some(Op::Recv { token, into: Destination::Buffer { buffer, start, .. } }) = bench.op(OpKind::Recv, 0)
        else {
            panic!("C2 is waited for while S0S1S2 is on its way");
        };
        bench.buffers.receive.bytes_mut(buffer)[start as usize..][..C2_SIZE].copy_from_slice(&c2);
        let send = bench.op(OpKind::Send, 0).unwrap().token();
        let mut batch =
            [Completion { token: send, result: Ok(SEND_SIZE) }, Completion { token, result: Ok(C2_SIZE as u32) }];
        if reversed {
            batch.reverse();
        }
        bench.step(&batch);
        assert_eq!(bench.counts(), counts(|c| (c.accepted, c.complex, c.c2_valid, c.held) = (1, 1, 1, 1)));
        assert_eq!(bench.worker.slots[0].state, State::Established);
        bench.check_books();
    }
}

#[test]
fn a_connection_may_end_at_every_step() {
    let client = Client::complex();
    for end in [Ok(0), RESET] {
        let reset = u64::from(end.is_err());

        let mut bench = Bench::new(PLAN);
        bench.accept(0);
        bench.complete(OpKind::Recv, 0, end);
        bench.closed(0);
        assert_eq!(bench.counts(), counts(|c| (c.accepted, c.abandoned, c.reset) = (1, 1, reset)), "at once");

        bench.accept(0);
        bench.deliver(0, &client.c0c1()[..800]);
        bench.complete(OpKind::Recv, 0, end);
        bench.closed(0);
        assert_eq!(bench.counts(), counts(|c| (c.accepted, c.abandoned, c.reset) = (2, 2, 2 * reset)), "within C1");

        bench.accept(0);
        bench.deliver(0, &client.c0c1());
        bench.complete(OpKind::Recv, 0, end);
        assert_eq!(bench.close_how(0), None, "the send is still in flight");
        bench.complete(OpKind::Send, 0, Err(Errno::PIPE));
        bench.closed(0);
        let so_far = bench.counts();
        assert_eq!((so_far.abandoned, so_far.reset), (3, 2 * reset + 1), "while S0S1S2 is on its way");

        bench.accept(0);
        bench.deliver(0, &client.c0c1());
        let c2 = client.c2(&bench.sent(0));
        bench.deliver(0, &c2[..9]);
        bench.complete(OpKind::Recv, 0, end);
        bench.closed(0);
        assert_eq!(bench.counts().abandoned, 4, "within C2");
        bench.check_books();
    }
}

#[test]
fn other_protocols_are_reset() {
    let mut bench = Bench::new(PLAN);
    for (slot, bytes) in [(0, &b"GET / HTTP/1.1\r\n\r\n"[..]), (1, &[0x16, 3, 1]), (2, &[0]), (3, &[6])] {
        bench.accept(slot);
        bench.deliver(slot, bytes);
    }
    for slot in 0..4 {
        assert_eq!(bench.close_how(slot), Some(CloseHow::Rst), "{slot}");
        bench.closed(slot);
    }
    assert_eq!(bench.counts(), counts(|c| (c.accepted, c.violations, c.full) = (4, 4, 1)));
    bench.check_books();
}

#[test]
fn answers_wait_for_their_delay() {
    let client = Client::complex();
    let mut bench = Bench::new(WorkerPlan { delay: DELAY, ..PLAN });
    assert_eq!(bench.worker.next_wakeup(), Time::MAX);
    let start = bench.now;
    for slot in 0..3 {
        bench.now = start + Nanos::from_micros(u64::from(slot));
        bench.accept(slot);
        bench.deliver(slot, &client.c0c1());
        assert_eq!(bench.sending(slot), None);
    }
    assert_eq!(bench.worker.next_wakeup(), start + DELAY);

    // The second is given up by its peer; its place in the queue vanishes.
    bench.complete(OpKind::Recv, 1, RESET);
    assert_eq!(bench.close_how(1), Some(CloseHow::Fin));
    bench.closed(1);

    bench.now = start + DELAY;
    bench.step(&[]);
    let c2 = client.c2(&bench.sent(0));
    bench.deliver(0, &c2);
    assert_eq!(bench.worker.next_wakeup(), start + Nanos::from_micros(2) + DELAY);
    bench.now = bench.worker.next_wakeup();
    bench.step(&[]);
    assert!(bench.sending(2).is_some());
    assert_eq!(bench.worker.next_wakeup(), Time::MAX);
    assert_eq!(
        bench.counts(),
        counts(|c| (c.accepted, c.complex, c.c2_valid, c.abandoned, c.reset, c.held) = (3, 3, 1, 1, 1, 2))
    );
    bench.check_books();
}

#[test]
fn a_c2_that_comes_before_its_answer_is_judged_once() {
    let mut bench = Bench::new(WorkerPlan { delay: DELAY, ..PLAN });
    bench.accept(0);
    bench.deliver(0, &Client::complex().c0c1());
    let Said { connect, after_connect, .. } = said(Course::Publish);
    bench.deliver(0, &[&[7; C2_SIZE], &connect[..]].concat());
    let early = counts(|c| (c.accepted, c.complex, c.c2_invalid, c.connected, c.held) = (1, 1, 1, 1, 1));
    assert_eq!(bench.counts(), early);
    bench.deliver(0, &after_connect);
    assert_eq!(bench.sending(0), None, "no answer overtakes S0S1S2");
    bench.now += DELAY;
    bench.step(&[]);
    assert_eq!(bench.sent(0).len(), S0S1S2_SIZE);
    bench.sent(0);
    assert!(matches!(bench.worker.slots[0].state, State::InSession { .. }));
    assert_eq!(bench.counts().c2_invalid, 1);
    bench.check_books();
}

#[test]
fn a_reused_slot_ignores_completions_of_its_former_connection() {
    let client = Client::complex();
    let mut bench = Bench::new(PLAN);
    bench.accept(3);
    let stale = bench.op(OpKind::Recv, 3).unwrap().token();
    bench.complete(OpKind::Recv, 3, RESET);
    bench.closed(3);
    bench.accept(3);
    bench.deliver(3, &client.c0c1());
    let before = bench.counts();
    for kind in [OpKind::Recv, OpKind::Send, OpKind::Close] {
        bench.step(&[Completion { token: Token::new(kind, SlotIndex(3), stale.generation()), result: Ok(0) }]);
    }
    assert_eq!(bench.counts(), before);
    let c2 = client.c2(&bench.sent(3));
    bench.deliver(3, &c2);
    assert_eq!(bench.counts().c2_valid, 1);
}

#[test]
fn a_full_table_is_not_polled() {
    let mut bench = Bench::new(PLAN);
    for slot in 0..4 {
        bench.accept(slot);
    }
    bench.complete(OpKind::Accept, 0, Err(Errno::NFILE));
    assert_eq!(bench.counts().refused, 1);
    assert_eq!((bench.op(OpKind::Accept, 0), bench.worker.next_wakeup()), (None, Time::MAX));

    bench.complete(OpKind::Recv, 1, Ok(0));
    bench.closed(1);
    assert_eq!(bench.op(OpKind::Accept, 0), None, "a try costs a client its connection");
    bench.now = bench.worker.next_wakeup();
    assert_eq!(bench.now, Time::from_nanos(1) + ACCEPT_PAUSE);
    bench.step(&[]);
    bench.accept(1);
    bench.check_books();
}

#[test]
fn accepting_ends_whether_an_accept_is_in_flight_or_not() {
    for failed_before in [false, true] {
        let mut bench = Bench::new(PLAN);
        if failed_before {
            bench.complete(OpKind::Accept, 0, Err(Errno::NOMEM));
        }
        let mut ops = Vec::new();
        bench.worker.stop_accepting(&mut ops);
        bench.queue(ops);
        assert_eq!(bench.worker.is_finished(), failed_before);
        if !failed_before {
            assert_eq!(bench.last_cancel, Some(ACCEPT_TOKEN));
            // One more got through before the cancel took effect.
            bench.accept(0);
            bench.complete(OpKind::Accept, 0, Err(Errno::CANCELED));
            assert!(!bench.worker.is_finished());
            bench.complete(OpKind::Recv, 0, Ok(0));
            bench.closed(0);
        }
        bench.now += ACCEPT_PAUSE;
        bench.step(&[]);
        assert!(bench.worker.is_finished());
        assert_eq!(bench.op(OpKind::Accept, 0), None);
    }
}

#[test]
fn connections_beyond_the_attempts_are_read_when_one_is_over() {
    let client = Client::complex();
    let mut bench = Bench::new(PLAN);
    // As in a worker of more slots than attempts: only one receive buffer is left.
    let kept: Vec<BufferId> = (0..3).map(|_| bench.buffers.receive.take().unwrap()).collect();
    for slot in 0..3 {
        bench.accept(slot);
    }
    assert_eq!((bench.op(OpKind::Recv, 1), bench.op(OpKind::Recv, 2)), (None, None));
    for slot in 0..3 {
        bench.deliver(slot, &client.c0c1());
        let c2 = client.c2(&bench.sent(slot));
        bench.deliver(slot, &c2);
    }
    assert_eq!(bench.counts().c2_valid, 3);
    for buffer in kept {
        bench.buffers.receive.release(buffer);
    }
    bench.check_books();
}

#[test]
fn verification_is_full_sampled_or_left_out() {
    let client = Client::complex();
    for (verify, checked) in [(Verify::All, 640..=640), (Verify::Sample, 1..=40), (Verify::None, 0..=0)] {
        let mut bench = Bench::new(WorkerPlan { verify, ..PLAN });
        for _ in 0..640 {
            bench.handshake(0, &client);
            bench.complete(OpKind::Recv, 0, Ok(0));
            bench.closed(0);
        }
        let counts = bench.counts();
        assert!(checked.contains(&counts.c2_valid), "{verify:?}: {}", counts.c2_valid);
        assert_eq!(counts.c2_valid + counts.c2_unchecked, 640);
    }
}

/// Something that the world may do next.
#[derive(Clone, Copy, Debug)]
enum Event {
    Accept(u32),
    Deliver(u32, usize),
    Foreign(u32),
    Fin(u32),
    Reset(u32),
    Sent(u32, bool),
    Closed(u32),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let slot = || 0..4_u32;
    prop_oneof![
        3 => slot().prop_map(Event::Accept),
        6 => (slot(), prop_oneof![1..1600_usize, Just(C0C1_SIZE), Just(C2_SIZE)]).prop_map(|(s, n)| Event::Deliver(s, n)),
        1 => slot().prop_map(Event::Foreign),
        1 => slot().prop_map(Event::Fin),
        1 => slot().prop_map(Event::Reset),
        4 => (slot(), any::<bool>()).prop_map(|(s, ok)| Event::Sent(s, ok)),
        3 => slot().prop_map(Event::Closed),
        2 => (0..10_000_000_u64).prop_map(Event::Pass),
    ]
}

proptest! {
    /// Whatever the order of events, ops obey the contract (checked by the bench), every connection is counted once,
    /// and nothing leaks.
    #[test]
    fn books_balance_in_any_order(
        delayed: bool,
        pinged: bool,
        refused: bool,
        after_c2 in 0..3_usize,
        events in prop::collection::vec(event(), 0..200),
    ) {
        let client = Client::complex();
        let pause = |some: bool| if some { DELAY } else { Nanos::ZERO };
        let plan = WorkerPlan { delay: pause(delayed), ping_every: pause(pinged), ..PLAN };
        let mut bench = Bench::with_policy(plan, in_session::policy(if refused { &["publish:name-taken"] } else { &[] }));
        let after_c2 = [said(Course::Publish).whole(), said(Course::Play).whole(), vec![1; 20_000]][after_c2].clone();
        let mut fed = [0; 4];
        for event in events {
            match event {
                Event::Accept(slot) if bench.worker.slots.get(slot as usize).is_none_or(|slot| slot.state == State::Free) => {
                    fed[slot as usize] = 0;
                    bench.accept(slot);
                }
                Event::Deliver(slot, len) if bench.op(OpKind::Recv, slot).is_some() => {
                    let stream = [&client.c0c1(), &[1; C2_SIZE][..], &after_c2].concat();
                    let fed = &mut fed[slot as usize];
                    let end = (*fed + len).min(stream.len());
                    let left = bench.deliver_if_read(slot, &stream[*fed..end]).len();
                    *fed = end - left;
                }
                Event::Foreign(slot) if bench.op(OpKind::Recv, slot).is_some() && fed[slot as usize] == 0 => {
                    bench.deliver(slot, b"G");
                }
                Event::Fin(slot) if bench.op(OpKind::Recv, slot).is_some() => bench.complete(OpKind::Recv, slot, Ok(0)),
                Event::Reset(slot) if bench.op(OpKind::Recv, slot).is_some() => bench.complete(OpKind::Recv, slot, RESET),
                Event::Sent(slot, ok) if bench.op(OpKind::Send, slot).is_some() => {
                    let len = bench.sending(slot).unwrap().len() as u32;
                    bench.complete(OpKind::Send, slot, if ok { Ok(len) } else { Err(Errno::PIPE) });
                }
                Event::Closed(slot) if bench.op(OpKind::Close, slot).is_some() => bench.closed(slot),
                Event::Pass(nanos) => {
                    bench.now += Nanos::new(nanos);
                    bench.step(&[]);
                }
                _ => {}
            }
            bench.check_books();
        }
        // Everybody goes away.
        for slot in 0..4 {
            // Told that there is something to read, a worker reads it: the second time it is the end.
            for _ in 0..2 {
                if bench.op(OpKind::Recv, slot).is_some() {
                    bench.complete(OpKind::Recv, slot, RESET);
                }
            }
            while bench.op(OpKind::Send, slot).is_some() {
                bench.complete(OpKind::Send, slot, Err(Errno::PIPE));
            }
            if bench.op(OpKind::Close, slot).is_some() {
                bench.closed(slot);
            }
        }
        bench.check_books();
        prop_assert_eq!(bench.counts().held, 0);
        prop_assert_eq!(free_buffers(&mut bench.buffers.send), 4);
        prop_assert_eq!(bench.worker.next_wakeup(), Time::MAX);
    }
}
