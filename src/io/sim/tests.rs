//! The simulated network, driven by hand.

use super::*;
use crate::io::{BufferId, BufferPlan, CloseHow, Destination, Errno, OpKind, Payload, SlotIndex, SourceId, Token};
use crate::protocol::{
    BLOCK_SIZE, C0C1_SIZE, C1Spec, C2_SIZE, Check, ClientHandshake, ClientState, ClientTemplates, DigestAt, Negotiated,
    OtherProtocol, S0S1_SIZE, S0S1S2_SIZE, Violation,
};

const TARGET: TargetId = TargetId(0);
const SLOT: SlotIndex = SlotIndex(0);
/// `SimConfig::new` and `ServiceModel::default`, in microseconds.
const ONE_WAY: u64 = 100;
const RTT: u64 = 2 * ONE_WAY;
const SERVICE: u64 = 200;
const TIMEOUT: Nanos = Nanos::from_secs(10);

fn micros(micros: u64) -> Nanos {
    Nanos::from_micros(micros)
}

fn complex() -> ClientTemplates {
    templates(C1Spec::complex(DigestAt::FirstHalf))
}

fn simple() -> ClientTemplates {
    templates(C1Spec::simple())
}

fn templates(spec: C1Spec) -> ClientTemplates {
    ClientTemplates::sign(&spec, 2, &mut Seed::new(1).stream(StreamPurpose::ClientTemplates, 0))
}

fn peer(script: PeerScript) -> SimConfig {
    with_peer(Peer::scripted(script))
}

fn with_peer(peer: Peer) -> SimConfig {
    SimConfig { peers: vec![peer], ..SimConfig::new(Seed::new(1)) }
}

/// A worker with one op at a time in its hands.
struct Lab {
    network: SimNetwork,
    templates: ClientTemplates,
}

/// How an attempt ended.
#[derive(Debug, PartialEq)]
enum Ending {
    Done(Negotiated),
    Violation(Violation),
    /// FIN after this many bytes.
    Closed(usize),
    /// The timeout after this many bytes.
    Timeout(usize),
    Failed(OpKind, Errno),
}

impl Lab {
    fn new(config: SimConfig) -> Self {
        Self::asking(complex(), config)
    }

    fn asking(templates: ClientTemplates, config: SimConfig) -> Self {
        Self::planned(templates, config, None)
    }

    fn checking(config: SimConfig, hold_check: Nanos) -> Self {
        Self::planned(complex(), config, Some(hold_check))
    }

    fn planned(templates: ClientTemplates, config: SimConfig, hold_check: Option<Nanos>) -> Self {
        let plan = IoPlan {
            slots: 64,
            targets: vec!["10.0.0.1:1935".parse().unwrap(), "10.0.0.2:1935".parse().unwrap()],
            sources: vec!["10.0.1.1".parse().unwrap()],
            listeners: vec![],
            nodelay: true,
            arrival_times: true,
            hold_check,
            ports: None,
            shared_bytes: templates.bytes().into(),
            media: [].into(),
            buffers: BufferPlan { count: 64, receive_size: 4096, send_size: C2_SIZE as u32 },
        };
        Self { network: SimNetwork::new(plan, config), templates }
    }

    /// One turn: what completed, and when.
    fn turn(&mut self, ops: &[Op], wake_at: Time) -> Vec<Completion> {
        let (mut ops, mut completions) = (ops.to_vec(), Vec::new());
        self.network.submit_and_wait(&mut ops, wake_at, &mut completions).unwrap();
        assert!(ops.is_empty());
        completions
    }

    fn wait(&mut self, ops: &[Op]) -> Vec<Completion> {
        self.turn(ops, Time::MAX)
    }

    /// Executes without waiting.
    fn submit(&mut self, ops: &[Op]) -> Vec<Completion> {
        self.turn(ops, Time::ZERO)
    }

    /// Waits for a span in which nothing may complete.
    fn idle(&mut self, span: Nanos) {
        let until = self.network.now() + span;
        assert_eq!(self.turn(&[], until), []);
        assert_eq!(self.network.now(), until);
    }

    fn elapsed(&self) -> Nanos {
        self.network.now().since(START)
    }

    fn counts(&self) -> PeerCounts {
        self.network.peer_counts(TARGET)
    }

    fn open(&mut self, slot: SlotIndex, generation: u32) {
        assert_eq!(self.wait(&[open(slot, generation)]), [done(OpKind::Open, slot, generation, 0)]);
    }

    /// Opens the slot in generation 0 and asks for the answer; all slots use their own number's receive buffer.
    fn ask(&mut self, slot: SlotIndex) {
        self.open(slot, 0);
        let sent = self.submit(&[send_c0c1(slot, 0), recv(slot, 0)]);
        assert_eq!(sent, [done(OpKind::Send, slot, 0, C0C1_SIZE as u32)]);
    }

    /// One attempt from connect to the answer's end; the connection stays open.
    fn attempt(&mut self) -> Ending {
        let deadline = self.network.now() + TIMEOUT;
        let mut ops = vec![open(SLOT, 0)];
        let mut handshake = ClientHandshake::new(0, Check::Full);
        let (mut filled, mut c2_sent) = (0, false);
        loop {
            let completions = self.turn(&ops, deadline);
            ops.clear();
            if completions.is_empty() {
                assert_eq!(self.submit(&[Op::Cancel { of: Token::new(OpKind::Recv, SLOT, 0) }]).len(), 1);
                return Ending::Timeout(filled);
            }
            for completion in completions {
                let kind = completion.token.kind();
                match (kind, completion.result) {
                    (_, Err(errno)) => return Ending::Failed(kind, errno),
                    (OpKind::Open, _) => ops.extend([send_c0c1(SLOT, 0), recv_at(SLOT, 0, 0)]),
                    (OpKind::Recv, Ok(0)) => return Ending::Closed(filled),
                    (OpKind::Recv, Ok(count)) => {
                        filled += count as usize;
                        let received = &self.network.buffers().receive.bytes(BufferId(0))[..filled].to_vec();
                        let state = match handshake.advance(received, &self.templates) {
                            Ok(state) => state,
                            Err(violation) => return Ending::Violation(violation),
                        };
                        if !c2_sent && filled >= S0S1_SIZE {
                            let c2 = self.network.buffers().send.bytes_mut(BufferId(0));
                            handshake.write_c2(received, &self.templates, 5, c2);
                            ops.push(send_c2(SLOT, 0));
                            c2_sent = true;
                        }
                        if let ClientState::Done(negotiated) = state {
                            if !ops.is_empty() {
                                self.submit(&ops);
                            }
                            return Ending::Done(negotiated);
                        }
                        ops.push(recv_at(SLOT, 0, filled));
                    }
                    _ => {}
                }
            }
        }
    }
}

fn open(slot: SlotIndex, generation: u32) -> Op {
    Op::Open { token: Token::new(OpKind::Open, slot, generation), target: TARGET, source: SourceId::ANY, nagle: false }
}

fn send_c0c1(slot: SlotIndex, generation: u32) -> Op {
    let payload = Payload::Shared { offset: 0, len: C0C1_SIZE as u32 };
    Op::Send { token: Token::new(OpKind::Send, slot, generation), payload }
}

fn send_c2(slot: SlotIndex, generation: u32) -> Op {
    let payload = Payload::Buffer { buffer: BufferId(slot.0), len: C2_SIZE as u32 };
    Op::Send { token: Token::new(OpKind::Send, slot, generation), payload }
}

fn recv(slot: SlotIndex, generation: u32) -> Op {
    recv_at(slot, generation, 0)
}

fn recv_at(slot: SlotIndex, generation: u32, start: usize) -> Op {
    let into = Destination::Buffer { buffer: BufferId(slot.0), start: start as u32, len: (4096 - start) as u32 };
    Op::Recv { token: Token::new(OpKind::Recv, slot, generation), into }
}

fn discard(slot: SlotIndex, generation: u32) -> Op {
    Op::Recv { token: Token::new(OpKind::Recv, slot, generation), into: Destination::Discard }
}

fn watch(slot: SlotIndex, generation: u32) -> Op {
    Op::Recv { token: Token::new(OpKind::Recv, slot, generation), into: Destination::Readable }
}

fn close(slot: SlotIndex, generation: u32, how: CloseHow) -> Op {
    Op::Close { token: Token::new(OpKind::Close, slot, generation), how }
}

fn cancel(kind: OpKind, slot: SlotIndex, generation: u32) -> Op {
    Op::Cancel { of: Token::new(kind, slot, generation) }
}

fn done(kind: OpKind, slot: SlotIndex, generation: u32, count: u32) -> Completion {
    Completion { token: Token::new(kind, slot, generation), result: Ok(count) }
}

fn failed(kind: OpKind, slot: SlotIndex, generation: u32, errno: Errno) -> Completion {
    Completion { token: Token::new(kind, slot, generation), result: Err(errno) }
}

#[test]
fn every_script_ends_as_described() {
    use PeerScript::*;
    let serve = |segments: &[usize], gap: u64, tail: usize, s2_after_c2| Serve {
        segments: segments.to_vec(),
        gap: micros(gap),
        tail: vec![2; tail],
        s2_after_c2,
    };
    let verified = || Ending::Done(Negotiated::ComplexVerified);
    let cases = [
        (PeerScript::serve(), verified()),
        (serve(&[1537], 40, 0, false), verified()),
        (serve(&[1, 1536], 40, 0, false), verified()),
        (serve(&[1, 1536], 40, 16, true), verified()),
        (serve(&[0, 700, 5000], 0, 16, false), verified()),
        (ServeSimpleOnly, Ending::Done(Negotiated::Downgraded)),
        (Refuse, Ending::Failed(OpKind::Open, Errno::CONNREFUSED)),
        (Unreachable, Ending::Failed(OpKind::Open, Errno::HOSTUNREACH)),
        (NoRoute, Ending::Failed(OpKind::Open, Errno::NETUNREACH)),
        (Silent, Ending::Timeout(0)),
        (Version(6), Ending::Violation(Violation::BadVersion { byte: 6 })),
        (Http, Ending::Violation(Violation::NotRtmp { first: b'H', looks_like: OtherProtocol::Http })),
        (CloseAfterC0C1, Ending::Closed(0)),
        (ResetAfterC0C1, Ending::Failed(OpKind::Recv, Errno::CONNRESET)),
        (CloseAfterConnect, Ending::Closed(0)),
        (HalfOfS1, Ending::Timeout(1 + BLOCK_SIZE / 2)),
        (HalfOfS1ThenClose, Ending::Closed(1 + BLOCK_SIZE / 2)),
        (WrongS1Digest, Ending::Violation(Violation::BadS1Digest)),
        (WrongS2Digest, Ending::Violation(Violation::BadS2Digest)),
        (WrongEcho, Ending::Violation(Violation::BadS1Digest)),
        (Endless, verified()),
        (EndlessGarbage, Ending::Violation(Violation::BadS1Digest)),
        (OneByteAtATime { gap: micros(10) }, verified()),
        (ResetAfterS0S1S2, verified()),
        (CloseHeldAfter { after: micros(10) }, verified()),
        (Vanishes { after: micros(10) }, verified()),
        (ClosesWithFin, verified()),
        (NoPorts { beyond: 1 }, verified()),
        (NoPorts { beyond: 0 }, Ending::Failed(OpKind::Open, Errno::ADDRNOTAVAIL)),
        (NoDescriptors { beyond: 0 }, Ending::Failed(OpKind::Open, Errno::NFILE)),
    ];
    for (script, ending) in cases {
        assert_eq!(Lab::new(peer(script.clone())).attempt(), ending, "{script:?}");
    }
}

#[test]
fn a_simple_client_gets_a_simple_answer() {
    let asked = PeerCounts { accepted: 1, simple: 1, ..PeerCounts::default() };
    for (script, ending, c2_echo) in [
        (PeerScript::serve(), Ending::Done(Negotiated::Simple), 1),
        (PeerScript::ServeSimpleOnly, Ending::Done(Negotiated::Simple), 1),
        (PeerScript::WrongEcho, Ending::Violation(Violation::BadEcho), 0),
    ] {
        let mut lab = Lab::asking(simple(), peer(script.clone()));
        assert_eq!(lab.attempt(), ending, "{script:?}");
        lab.idle(micros(RTT));
        assert_eq!(lab.counts(), PeerCounts { c2_echo, ..asked }, "{script:?}");
    }
}

#[test]
fn the_peer_tells_what_it_saw() {
    let held = PeerCounts { accepted: 1, complex: 1, c2_valid: 1, ..PeerCounts::default() };
    for (how, counts) in
        [(CloseHow::Rst, PeerCounts { resets: 1, ..held }), (CloseHow::Fin, PeerCounts { fins: 1, ..held })]
    {
        let mut lab = Lab::new(peer(PeerScript::serve()));
        lab.attempt();
        assert_eq!(lab.submit(&[close(SLOT, 0, how)]), [done(OpKind::Close, SLOT, 0, 0)]);
        assert_eq!(lab.counts().c2_valid, 0, "C2 is still under way");
        lab.idle(micros(ONE_WAY));
        assert_eq!(lab.counts(), counts);
    }
}

#[test]
fn a_server_without_digests_counts_a_downgrade_as_simple() {
    let mut lab = Lab::new(peer(PeerScript::ServeSimpleOnly));
    lab.attempt();
    lab.idle(micros(RTT));
    assert_eq!(lab.counts(), PeerCounts { accepted: 1, simple: 1, c2_echo: 1, ..PeerCounts::default() });
}

#[test]
fn a_c2_that_proves_nothing_is_invalid() {
    let mut lab = Lab::new(peer(PeerScript::serve()));
    lab.ask(SLOT);
    lab.wait(&[]);
    lab.network.buffers().send.bytes_mut(BufferId(0)).fill(7);
    lab.submit(&[send_c2(SLOT, 0)]);
    lab.idle(micros(ONE_WAY));
    assert_eq!(lab.counts().c2_invalid, 1);
}

#[test]
fn a_client_that_speaks_no_rtmp_is_closed() {
    let mut lab = Lab::new(peer(PeerScript::serve()));
    lab.open(SLOT, 0);
    lab.network.buffers().send.bytes_mut(BufferId(0)).fill(b'G');
    lab.submit(&[send_c2(SLOT, 0)]);
    assert_eq!(lab.wait(&[recv(SLOT, 0)]), [done(OpKind::Recv, SLOT, 0, 0)]);
    assert_eq!(lab.counts().violations, 1);
}

#[test]
fn latencies_are_those_computed_on_paper() {
    let mut lab = Lab::new(peer(PeerScript::serve()));
    lab.open(SLOT, 0);
    assert_eq!(lab.elapsed(), micros(RTT));
    lab.submit(&[send_c0c1(SLOT, 0)]);
    assert_eq!(lab.elapsed(), micros(RTT), "a send ends in the socket buffer");
    assert_eq!(lab.wait(&[recv(SLOT, 0)]), [done(OpKind::Recv, SLOT, 0, S0S1S2_SIZE as u32)]);
    assert_eq!(lab.elapsed(), micros(RTT + RTT + SERVICE));
}

#[test]
fn a_refusal_takes_a_round_trip_and_a_local_error_a_millisecond() {
    for (script, after) in [
        (PeerScript::Refuse, RTT),
        (PeerScript::Unreachable, RTT),
        (PeerScript::NoRoute, 1_000),
        (PeerScript::NoPorts { beyond: 0 }, 1_000),
    ] {
        let mut lab = Lab::new(peer(script.clone()));
        assert!(lab.wait(&[open(SLOT, 0)])[0].result.is_err());
        assert_eq!(lab.elapsed(), micros(after), "{script:?}");
    }
}

#[test]
fn an_unanswered_syn_times_out_as_on_linux() {
    let mut lab = Lab::new(peer(PeerScript::DropSyn));
    assert_eq!(lab.wait(&[open(SLOT, 0)]), [failed(OpKind::Open, SLOT, 0, Errno::TIMEDOUT)]);
    assert_eq!(lab.elapsed(), Nanos::from_secs(131));
    assert_eq!(lab.counts().lost_syns, 11);
}

#[test]
fn writes_arrive_apart() {
    let serve = PeerScript::Serve { segments: vec![1, 1536], gap: micros(40), tail: vec![2; 16], s2_after_c2: false };
    let mut lab = Lab::new(peer(serve));
    lab.ask(SLOT);
    let mut arrivals = vec![];
    let mut ops = vec![];
    while arrivals.len() < 3 {
        let completions = lab.wait(&ops);
        arrivals.push((lab.elapsed(), completions[0].result.unwrap()));
        ops = vec![recv(SLOT, 0)];
    }
    let first = RTT + RTT + SERVICE;
    assert_eq!(arrivals, [(micros(first), 1), (micros(first + 40), 1536), (micros(first + 80), 1536 + 16)]);
}

#[test]
fn s2_waits_for_c2_where_the_server_does() {
    let serve = PeerScript::Serve { segments: vec![], gap: Nanos::ZERO, tail: vec![], s2_after_c2: true };
    let mut lab = Lab::new(peer(serve));
    lab.ask(SLOT);
    assert_eq!(lab.wait(&[]), [done(OpKind::Recv, SLOT, 0, S0S1_SIZE as u32)]);
    lab.submit(&[recv(SLOT, 0)]);
    lab.idle(Nanos::from_secs(1));
    let asked_at = lab.elapsed();
    lab.submit(&[send_c2(SLOT, 0)]);
    assert_eq!(lab.wait(&[]), [done(OpKind::Recv, SLOT, 0, BLOCK_SIZE as u32)]);
    assert_eq!(lab.elapsed(), asked_at + micros(RTT));
}

#[test]
fn handshakes_queue_first_in_first_out() {
    let service = ServiceModel { parallelism: 2, time: micros(300), noise: Nanos::ZERO };
    let mut lab = Lab::new(with_peer(Peer { service, ..Peer::default() }));
    let slots: Vec<SlotIndex> = (0..5).map(SlotIndex).collect();
    let opens: Vec<Op> = slots.iter().map(|&slot| open(slot, 0)).collect();
    assert_eq!(lab.wait(&opens).len(), 5);
    let asks: Vec<Op> = slots.iter().flat_map(|&slot| [send_c0c1(slot, 0), recv(slot, 0)]).collect();
    lab.submit(&asks);
    for (answered, service_times) in [(&slots[0..2], 1), (&slots[2..4], 2), (&slots[4..5], 3)] {
        let completions = lab.wait(&[]);
        let answers: Vec<SlotIndex> = completions.iter().map(|completion| completion.token.slot()).collect();
        assert_eq!(answers, answered);
        assert_eq!(lab.elapsed(), micros(RTT + RTT + 300 * service_times));
    }
}

#[test]
fn a_full_backlog_costs_a_syn_retry() {
    let service = ServiceModel { parallelism: 1, time: Nanos::from_millis(300), noise: Nanos::ZERO };
    let mut lab = Lab::new(with_peer(Peer { service, backlog: Some(2), ..Peer::default() }));
    for slot in 0..3 {
        lab.ask(SlotIndex(slot));
    }
    lab.idle(micros(ONE_WAY));
    let opened_at = lab.network.now();
    let late = SlotIndex(3);
    let mut completions = lab.wait(&[open(late, 0)]);
    while completions[0].token.slot() != late {
        completions = lab.wait(&[]);
    }
    assert_eq!(completions, [done(OpKind::Open, late, 0, 0)]);
    assert_eq!(lab.network.now().since(opened_at), Nanos::from_secs(1) + micros(RTT));
    assert_eq!(lab.counts().lost_syns, 1);
}

#[test]
fn a_frozen_peer_connects_but_does_not_answer() {
    // The freeze begins 50 us into the service of 200 us.
    let freezes = vec![Freeze { at: micros(RTT + ONE_WAY + 50), length: Nanos::from_millis(7) }];
    let mut lab = Lab::new(with_peer(Peer { freezes, ..Peer::default() }));
    lab.ask(SLOT);
    lab.idle(micros(RTT));
    let before = lab.elapsed();
    lab.ask(SlotIndex(1));
    assert_eq!(lab.elapsed(), before + micros(RTT), "the kernel still accepts");
    assert_eq!(lab.counts().accepted, 1, "the application does not");
    let thawed = micros(RTT + ONE_WAY + 50 + 7_000);
    assert_eq!(lab.wait(&[])[0].token.slot(), SLOT);
    assert_eq!(lab.elapsed(), thawed + micros(150 + ONE_WAY));
    assert_eq!(lab.wait(&[])[0].token.slot(), SlotIndex(1));
    assert_eq!(lab.elapsed(), thawed + micros(SERVICE + ONE_WAY));
}

#[test]
fn a_freeze_fills_the_backlog() {
    let freezes = vec![Freeze { at: Nanos::ZERO, length: Nanos::from_millis(500) }];
    let mut lab = Lab::new(with_peer(Peer { freezes, backlog: Some(2), ..Peer::default() }));
    let opens = [0, 1, 2].map(|slot| open(SlotIndex(slot), 0));
    let connected = [0, 1, 2].map(|slot| done(OpKind::Open, SlotIndex(slot), 0, 0));
    assert_eq!(lab.wait(&opens), connected[..2]);
    assert_eq!(lab.elapsed(), micros(RTT));
    assert_eq!(lab.wait(&[]), connected[2..]);
    assert_eq!(lab.elapsed(), Nanos::from_secs(1) + micros(RTT));
    assert_eq!((lab.counts().accepted, lab.counts().lost_syns), (3, 1));
}

#[test]
fn a_frozen_peer_reads_what_came_before_the_reset() {
    let freezes = vec![Freeze { at: micros(RTT + RTT + SERVICE), length: Nanos::from_millis(7) }];
    let mut lab = Lab::new(with_peer(Peer { freezes, ..Peer::default() }));
    lab.attempt();
    lab.submit(&[close(SLOT, 0, CloseHow::Rst)]);
    lab.idle(Nanos::from_millis(1));
    assert_eq!((lab.counts().c2_valid, lab.counts().resets), (0, 0));
    lab.idle(Nanos::from_millis(7));
    assert_eq!((lab.counts().c2_valid, lab.counts().resets), (1, 1));
}

#[test]
fn a_late_generator_wakes_at_the_end_of_its_freeze() {
    let freezes = vec![Freeze { at: micros(150), length: micros(1_000) }];
    let mut lab = Lab::new(SimConfig { freezes, ..peer(PeerScript::serve()) });
    let slots = [SLOT, SlotIndex(1)];
    assert_eq!(lab.turn(&[open(SLOT, 0)], START + micros(10)), []);
    assert_eq!(lab.elapsed(), micros(10));
    let connected = lab.wait(&[open(SlotIndex(1), 0)]);
    assert_eq!(connected, slots.map(|slot| done(OpKind::Open, slot, 0, 0)), "both are due by then");
    assert_eq!(lab.elapsed(), micros(1_150));
}

#[test]
fn wake_at_is_honoured_exactly() {
    let mut lab = Lab::new(peer(PeerScript::serve()));
    assert_eq!(lab.submit(&[open(SLOT, 0)]), []);
    assert_eq!(lab.elapsed(), Nanos::ZERO);
    let due = START + micros(RTT);
    assert_eq!(lab.turn(&[], due - Nanos::new(1)), []);
    assert_eq!(lab.network.now(), due - Nanos::new(1));
    assert_eq!(lab.turn(&[], due), [done(OpKind::Open, SLOT, 0, 0)], "what is due at wake_at is returned");
    assert_eq!(lab.network.now(), due);
    assert_eq!(lab.turn(&[], due + micros(3)), []);
    assert_eq!(lab.network.now(), due + micros(3));
}

#[test]
#[should_panic(expected = "the simulated worker waits for nothing")]
fn waiting_for_nothing_is_our_own_bug() {
    let mut lab = Lab::new(peer(PeerScript::Silent));
    lab.ask(SLOT);
    lab.wait(&[]);
}

#[test]
fn data_comes_before_a_fin_and_before_a_reset() {
    let mut lab = Lab::new(peer(PeerScript::HalfOfS1ThenClose));
    lab.ask(SLOT);
    assert_eq!(lab.wait(&[]), [done(OpKind::Recv, SLOT, 0, 1 + BLOCK_SIZE as u32 / 2)]);
    assert_eq!(lab.submit(&[recv(SLOT, 0)]), [done(OpKind::Recv, SLOT, 0, 0)]);

    let mut lab = Lab::new(peer(PeerScript::ResetAfterS0S1S2));
    lab.ask(SLOT);
    assert_eq!(lab.wait(&[]), [done(OpKind::Recv, SLOT, 0, S0S1S2_SIZE as u32)]);
    assert_eq!(lab.submit(&[recv(SLOT, 0)]), [failed(OpKind::Recv, SLOT, 0, Errno::CONNRESET)]);
    assert_eq!(lab.submit(&[recv(SLOT, 0)]), [done(OpKind::Recv, SLOT, 0, 0)], "an error is reported once");
    assert_eq!(lab.submit(&[send_c2(SLOT, 0)]), [failed(OpKind::Send, SLOT, 0, Errno::PIPE)]);
}

#[test]
fn bytes_sent_to_a_closed_socket_are_answered_by_a_reset() {
    let mut lab = Lab::new(peer(PeerScript::CloseAfterConnect));
    let connected = lab.wait(&[open(SLOT, 0), send_c0c1(SLOT, 0), recv(SLOT, 0)]);
    let sent = done(OpKind::Send, SLOT, 0, C0C1_SIZE as u32);
    let closed = done(OpKind::Recv, SLOT, 0, 0);
    assert_eq!(connected, [done(OpKind::Open, SLOT, 0, 0), sent, closed], "the FIN travels behind the SYN-ACK");
    lab.idle(micros(RTT));
    assert_eq!(lab.submit(&[send_c0c1(SLOT, 0)]), [failed(OpKind::Send, SLOT, 0, Errno::PIPE)]);
}

#[test]
fn a_receive_takes_no_more_than_it_asked_for() {
    let mut lab = Lab::new(peer(PeerScript::serve()));
    lab.open(SLOT, 0);
    let into = Destination::Buffer { buffer: BufferId(0), start: 10, len: 1 };
    let token = Token::new(OpKind::Recv, SLOT, 0);
    lab.network.buffers().receive.bytes_mut(BufferId(0)).fill(0xee);
    lab.submit(&[send_c0c1(SLOT, 0), Op::Recv { token, into }]);
    assert_eq!(lab.wait(&[]), [done(OpKind::Recv, SLOT, 0, 1)]);
    assert_eq!(lab.network.buffers().receive.bytes(BufferId(0))[9..12], [0xee, 3, 0xee]);
    assert_eq!(lab.submit(&[discard(SLOT, 0)]), [done(OpKind::Recv, SLOT, 0, S0S1S2_SIZE as u32 - 1)]);
}

#[test]
fn a_watch_tells_of_what_there_is_and_takes_nothing() {
    let readable = [done(OpKind::Recv, SLOT, 0, 1)];
    let mut lab = Lab::new(peer(PeerScript::ResetAfterS0S1S2));
    assert_eq!(lab.wait(&[open(SLOT, 0), watch(SLOT, 0)]), [done(OpKind::Open, SLOT, 0, 0)]);
    assert_eq!(lab.submit(&[cancel(OpKind::Recv, SLOT, 0)]), [failed(OpKind::Recv, SLOT, 0, Errno::CANCELED)]);
    lab.submit(&[watch(SLOT, 0), send_c0c1(SLOT, 0)]);
    assert_eq!(lab.wait(&[]), readable, "bytes");
    assert_eq!(lab.submit(&[watch(SLOT, 0)]), readable, "the bytes are still there");
    assert_eq!(lab.submit(&[recv(SLOT, 0)]), [done(OpKind::Recv, SLOT, 0, S0S1S2_SIZE as u32)]);
    assert_eq!(lab.submit(&[watch(SLOT, 0)]), readable, "the reset");
    assert_eq!(lab.submit(&[recv(SLOT, 0)]), [failed(OpKind::Recv, SLOT, 0, Errno::CONNRESET)]);

    let mut lab = Lab::new(peer(PeerScript::CloseAfterC0C1));
    lab.open(SLOT, 0);
    lab.submit(&[send_c0c1(SLOT, 0)]);
    assert_eq!(lab.wait(&[watch(SLOT, 0)]), readable, "the FIN");
    assert_eq!(lab.submit(&[recv(SLOT, 0)]), [done(OpKind::Recv, SLOT, 0, 0)]);
}

#[test]
fn a_watch_behind_an_open_that_fails_has_something_to_tell() {
    for (script, open_gets, watch_gets) in [
        (PeerScript::Refuse, Errno::CONNREFUSED, Ok(1)),
        (PeerScript::NoDescriptors { beyond: 0 }, Errno::NFILE, Err(Errno::BADF)),
    ] {
        let mut lab = Lab::new(peer(script));
        let watched = Completion { token: Token::new(OpKind::Recv, SLOT, 0), result: watch_gets };
        let completions = lab.wait(&[open(SLOT, 0), watch(SLOT, 0)]);
        assert_eq!(completions, [failed(OpKind::Open, SLOT, 0, open_gets), watched]);
        assert_eq!(lab.submit(&[watch(SLOT, 0)]), [watched], "again");
    }
}

#[test]
fn ops_queued_behind_an_open_run_when_it_connects() {
    let mut lab = Lab::new(peer(PeerScript::serve()));
    let connected = lab.wait(&[open(SLOT, 0), send_c0c1(SLOT, 0), recv(SLOT, 0)]);
    assert_eq!(connected, [done(OpKind::Open, SLOT, 0, 0), done(OpKind::Send, SLOT, 0, C0C1_SIZE as u32)]);
    assert_eq!(lab.wait(&[]), [done(OpKind::Recv, SLOT, 0, S0S1S2_SIZE as u32)]);
}

#[test]
fn ops_queued_behind_an_open_that_fails_fail_too() {
    for (script, open_gets, send_gets, recv_gets) in [
        (PeerScript::Refuse, Errno::CONNREFUSED, Errno::PIPE, Errno::NOTCONN),
        (PeerScript::NoPorts { beyond: 0 }, Errno::ADDRNOTAVAIL, Errno::PIPE, Errno::NOTCONN),
        (PeerScript::NoDescriptors { beyond: 0 }, Errno::NFILE, Errno::BADF, Errno::BADF),
    ] {
        let mut lab = Lab::new(peer(script));
        let completions = lab.wait(&[open(SLOT, 0), send_c2(SLOT, 0), recv(SLOT, 0)]);
        let errors = [(OpKind::Open, open_gets), (OpKind::Send, send_gets), (OpKind::Recv, recv_gets)];
        assert_eq!(completions, errors.map(|(kind, errno)| failed(kind, SLOT, 0, errno)));
        lab.network.buffers().send.bytes(BufferId(0));
        lab.network.buffers().receive.bytes(BufferId(0));
        assert_eq!(lab.submit(&[close(SLOT, 0, CloseHow::Rst)]), [done(OpKind::Close, SLOT, 0, 0)]);
    }
}

#[test]
fn a_pending_op_is_cancelled_at_once() {
    let mut lab = Lab::new(peer(PeerScript::DropSyn));
    lab.submit(&[open(SLOT, 3), send_c2(SLOT, 3), recv(SLOT, 3)]);
    for kind in [OpKind::Open, OpKind::Recv, OpKind::Send] {
        assert_eq!(lab.wait(&[cancel(kind, SLOT, 3)]), [failed(kind, SLOT, 3, Errno::CANCELED)]);
    }
    assert_eq!(lab.elapsed(), Nanos::ZERO);
    assert_eq!(lab.submit(&[close(SLOT, 3, CloseHow::Fin)]), [done(OpKind::Close, SLOT, 3, 0)]);
    lab.idle(Nanos::from_secs(200));
}

#[test]
fn cancelling_what_is_not_in_flight_does_nothing() {
    let mut lab = Lab::new(peer(PeerScript::serve()));
    assert_eq!(lab.submit(&[cancel(OpKind::Recv, SLOT, 0)]), []);
    lab.ask(SLOT);
    let not_in_flight = [
        cancel(OpKind::Open, SLOT, 0),
        cancel(OpKind::Send, SLOT, 0),
        cancel(OpKind::Close, SLOT, 0),
        cancel(OpKind::Recv, SLOT, 1),
        cancel(OpKind::Recv, SlotIndex(1), 0),
    ];
    assert_eq!(lab.submit(&not_in_flight), []);
    assert_eq!(lab.wait(&[]), [done(OpKind::Recv, SLOT, 0, S0S1S2_SIZE as u32)]);
}

#[test]
fn what_a_cancelled_receive_left_is_received_later() {
    let mut lab = Lab::new(peer(PeerScript::serve()));
    lab.ask(SLOT);
    assert_eq!(lab.submit(&[cancel(OpKind::Recv, SLOT, 0)]), [failed(OpKind::Recv, SLOT, 0, Errno::CANCELED)]);
    lab.idle(micros(RTT + SERVICE));
    assert_eq!(lab.submit(&[recv(SLOT, 0)]), [done(OpKind::Recv, SLOT, 0, S0S1S2_SIZE as u32)]);
}

#[test]
fn an_abandoned_connection_never_reaches_its_slots_successor() {
    let mut lab = Lab::new(peer(PeerScript::EndlessGarbage));
    lab.submit(&[open(SLOT, 0)]);
    lab.submit(&[cancel(OpKind::Open, SLOT, 0)]);
    lab.submit(&[close(SLOT, 0, CloseHow::Rst)]);
    lab.idle(micros(ONE_WAY));
    assert_eq!(lab.counts(), PeerCounts { accepted: 1, resets: 1, ..PeerCounts::default() });
    assert_eq!(lab.wait(&[open(SLOT, 1)]), [done(OpKind::Open, SLOT, 1, 0)]);
    assert_eq!(lab.elapsed(), micros(ONE_WAY + RTT));
}

#[test]
fn closing_with_unread_bytes_resets() {
    let mut lab = Lab::new(peer(PeerScript::serve()));
    lab.open(SLOT, 0);
    lab.submit(&[send_c0c1(SLOT, 0)]);
    lab.idle(micros(RTT + SERVICE));
    lab.submit(&[close(SLOT, 0, CloseHow::Fin)]);
    lab.idle(micros(ONE_WAY));
    assert_eq!((lab.counts().fins, lab.counts().resets), (0, 1));
}

#[test]
fn a_held_connection_is_watched_without_a_buffer() {
    let mut lab = Lab::new(peer(PeerScript::CloseHeldAfter { after: Nanos::from_millis(5) }));
    assert_eq!(lab.attempt(), Ending::Done(Negotiated::ComplexVerified));
    let held_at = lab.elapsed();
    assert_eq!(lab.wait(&[discard(SLOT, 0)]), [done(OpKind::Recv, SLOT, 0, 0)]);
    assert_eq!(lab.elapsed(), held_at + micros(RTT + 5_000));
    lab.submit(&[close(SLOT, 0, CloseHow::Fin)]);
    lab.idle(micros(ONE_WAY));
    assert_eq!(lab.counts().fins, 1);
}

#[test]
fn a_flow_that_vanished_is_noticed_only_by_asking() {
    let vanishes = || peer(PeerScript::Vanishes { after: Nanos::from_millis(5) });
    let mut lab = Lab::new(vanishes());
    lab.attempt();
    lab.submit(&[watch(SLOT, 0)]);
    lab.idle(Nanos::from_secs(24 * 3600));

    let mut lab = Lab::checking(vanishes(), Nanos::from_secs(9));
    lab.attempt();
    let heard_at = lab.elapsed();
    assert_eq!(lab.wait(&[watch(SLOT, 0)]), [done(OpKind::Recv, SLOT, 0, 1)]);
    assert_eq!(lab.elapsed(), heard_at + Nanos::from_secs(9 + 3));
    assert_eq!(lab.submit(&[recv(SLOT, 0)]), [failed(OpKind::Recv, SLOT, 0, Errno::TIMEDOUT)]);
    assert_eq!(lab.submit(&[close(SLOT, 0, CloseHow::Rst)]), [done(OpKind::Close, SLOT, 0, 0)]);
    lab.idle(Nanos::from_secs(60));
    assert_eq!((lab.counts().c2_valid, lab.counts().resets), (1, 0));
}

#[test]
fn a_silent_peer_that_is_there_answers_when_asked() {
    let frozen = Freeze { at: Nanos::from_secs(1), length: Nanos::from_secs(3600) };
    let mut lab = Lab::checking(with_peer(Peer { freezes: vec![frozen], ..Peer::default() }), Nanos::from_secs(1));
    lab.attempt();
    lab.submit(&[discard(SLOT, 0)]);
    lab.idle(Nanos::from_secs(600));
}

#[test]
fn a_server_may_close_first() {
    let mut lab = Lab::new(peer(PeerScript::ClosesWithFin));
    lab.attempt();
    let done_at = lab.elapsed();
    assert_eq!(lab.wait(&[discard(SLOT, 0)]), [done(OpKind::Recv, SLOT, 0, 0)]);
    assert_eq!(lab.elapsed(), done_at + micros(RTT));
}

#[test]
fn an_endless_stream_is_held_back_by_its_reader() {
    let mut lab = Lab::new(peer(PeerScript::Endless));
    lab.attempt();
    lab.idle(Nanos::from_secs(60));
    let unread = lab.submit(&[discard(SLOT, 0)])[0].result.unwrap();
    assert!((60_000..70_000).contains(&unread), "{unread} bytes wait");
    let mut streamed = 0;
    for _ in 0..1_000 {
        streamed += lab.wait(&[discard(SLOT, 0)])[0].result.unwrap();
    }
    assert!(streamed > 1_000_000, "{streamed} bytes in 1000 receives");
}

#[test]
fn ports_are_free_again_after_the_close() {
    let (first, second) = (SLOT, SlotIndex(1));
    let mut lab = Lab::new(peer(PeerScript::NoPorts { beyond: 1 }));
    lab.open(first, 0);
    for generation in 0..2 {
        let refused = failed(OpKind::Open, second, generation, Errno::ADDRNOTAVAIL);
        assert_eq!(lab.wait(&[open(second, generation)]), [refused]);
        lab.submit(&[close(second, generation, CloseHow::Rst)]);
    }
    lab.submit(&[close(first, 0, CloseHow::Rst)]);
    lab.open(second, 2);
}

#[test]
fn targets_have_peers_of_their_own_and_share_the_last() {
    let second = TargetId(1);
    let on_second = Token::new(OpKind::Open, SlotIndex(1), 0);
    let opens = [open(SLOT, 0), Op::Open { token: on_second, target: second, source: SourceId(0), nagle: false }];
    let refusing = Peer::scripted(PeerScript::Refuse);
    for (peers, first_result) in
        [(vec![Peer::default(), refusing.clone()], Ok(0)), (vec![refusing], Err(Errno::CONNREFUSED))]
    {
        let mut lab = Lab::new(SimConfig { peers, ..SimConfig::new(Seed::new(1)) });
        let results: Vec<_> = lab.wait(&opens).into_iter().map(|completion| completion.result).collect();
        assert_eq!(results, [first_result, Err(Errno::CONNREFUSED)]);
        assert_eq!(lab.counts().accepted, u64::from(first_result.is_ok()));
        assert_eq!(lab.network.peer_counts(second).accepted, 0);
    }
}

/// Ten handshakes at once on a noisy network: instant, token and result of each completion.
fn history(seed: u64) -> Vec<(Time, Completion)> {
    let each = micros(100);
    let service = ServiceModel { parallelism: 2, time: each, noise: each };
    let peers = vec![Peer { service, ..Peer::default() }];
    let mut lab = Lab::new(SimConfig { jitter: micros(50), peers, ..SimConfig::new(Seed::new(seed)) });
    let mut history = vec![];
    let mut ops: Vec<Op> = (0..10)
        .flat_map(|slot| {
            let slot = SlotIndex(slot);
            [open(slot, 0), send_c0c1(slot, 0), recv(slot, 0)]
        })
        .collect();
    while history.len() < 30 {
        let completions = lab.wait(&ops);
        ops.clear();
        history.extend(completions.into_iter().map(|completion| (lab.network.now(), completion)));
    }
    history
}

#[test]
fn a_seed_repeats_a_run() {
    assert_eq!(history(7), history(7));
    assert_ne!(history(7), history(8));
}

#[test]
fn jitter_keeps_the_order_of_a_connection() {
    for seed in 0..20 {
        let serve = PeerScript::Serve { segments: vec![100; 30], gap: Nanos::new(1), tail: vec![], s2_after_c2: false };
        let config = SimConfig { jitter: micros(500), seed: Seed::new(seed), ..peer(serve) };
        assert_eq!(Lab::new(config).attempt(), Ending::Done(Negotiated::ComplexVerified));
    }
}

#[test]
fn each_simulated_host_has_a_peer() {
    for (name, description) in SIM_HOSTS {
        assert!(name.ends_with(".sim") && !description.is_empty(), "{name}");
        assert_eq!(SIM_HOSTS.iter().filter(|(other, _)| other == name).count(), 1, "{name}");
        assert!(Peer::by_host(&name.to_uppercase()).is_some(), "{name}");
    }
    assert!(Peer::by_host("localhost").is_none());
}

mod contract {
    use super::*;

    #[test]
    #[should_panic(expected = "Open@0#1: the slot was not closed")]
    fn a_slot_is_closed_before_it_is_opened_again() {
        let mut lab = Lab::new(peer(PeerScript::serve()));
        lab.open(SLOT, 0);
        lab.submit(&[open(SLOT, 1)]);
    }

    #[test]
    #[should_panic(expected = "Open@0#1: the slot was not closed")]
    fn a_failed_open_is_closed_too() {
        let mut lab = Lab::new(peer(PeerScript::Refuse));
        lab.wait(&[open(SLOT, 0)]);
        lab.submit(&[open(SLOT, 1)]);
    }

    #[test]
    #[should_panic(expected = "Open@0#1: the slot still has ops in flight")]
    fn two_opens_do_not_share_a_slot() {
        Lab::new(peer(PeerScript::serve())).submit(&[open(SLOT, 0), open(SLOT, 1)]);
    }

    #[test]
    #[should_panic(expected = "Open@0#1: the slot still has ops in flight")]
    fn a_slot_is_free_only_when_its_close_was_returned() {
        let mut lab = Lab::new(peer(PeerScript::serve()));
        lab.open(SLOT, 0);
        lab.submit(&[close(SLOT, 0, CloseHow::Rst), open(SLOT, 1)]);
    }

    #[test]
    #[should_panic(expected = "Close@0#0: the slot still has ops in flight")]
    fn a_close_is_alone() {
        let mut lab = Lab::new(peer(PeerScript::serve()));
        lab.open(SLOT, 0);
        lab.submit(&[recv(SLOT, 0), close(SLOT, 0, CloseHow::Rst)]);
    }

    #[test]
    #[should_panic(expected = "Close@0#0: the slot still has ops in flight")]
    fn a_cancelled_op_is_in_flight_until_its_completion() {
        let mut lab = Lab::new(peer(PeerScript::serve()));
        lab.ask(SLOT);
        lab.submit(&[cancel(OpKind::Recv, SLOT, 0), close(SLOT, 0, CloseHow::Rst)]);
    }

    #[test]
    #[should_panic(expected = "Recv@0#0 is in flight already")]
    fn a_kind_is_in_flight_once() {
        let mut lab = Lab::new(peer(PeerScript::serve()));
        lab.ask(SLOT);
        lab.submit(&[discard(SLOT, 0)]);
    }

    #[test]
    #[should_panic(expected = "Send@0#1: the slot is in generation 0")]
    fn an_op_names_the_generation_of_its_slot() {
        let mut lab = Lab::new(peer(PeerScript::serve()));
        lab.open(SLOT, 0);
        lab.submit(&[send_c0c1(SLOT, 1)]);
    }

    #[test]
    #[should_panic(expected = "Recv@0#0: the slot was not opened")]
    fn a_closed_slot_receives_nothing() {
        Lab::new(peer(PeerScript::serve())).submit(&[recv(SLOT, 0)]);
    }

    #[test]
    #[should_panic(expected = "Open@64#0: there are 64 slots")]
    fn the_slot_exists() {
        Lab::new(peer(PeerScript::serve())).submit(&[open(SlotIndex(64), 0)]);
    }

    #[test]
    #[should_panic(expected = "is lent")]
    fn a_buffer_is_lent_until_its_completion() {
        let mut lab = Lab::new(peer(PeerScript::serve()));
        lab.ask(SLOT);
        lab.network.buffers().receive.bytes(BufferId(0));
    }

    #[test]
    #[should_panic(expected = "is lent")]
    fn a_buffer_serves_one_op_at_a_time() {
        let mut lab = Lab::new(peer(PeerScript::serve()));
        lab.open(SLOT, 0);
        lab.open(SlotIndex(1), 0);
        let payload = Payload::Buffer { buffer: BufferId(0), len: 10 };
        let token = Token::new(OpKind::Send, SlotIndex(1), 0);
        lab.submit(&[send_c2(SLOT, 0), Op::Send { token, payload }]);
    }
}
