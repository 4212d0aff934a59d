//! Turn by turn without a network: what the worker asks for, op by op.

use std::collections::BTreeMap;
use std::sync::Arc;

use shakedown::base::{Nanos, Time};
use shakedown::engine::Worker;
use shakedown::io::{Buffers, Completion, Op, Payload};
use shakedown::protocol::C0C1_SIZE;
use shakedown::run::{ClientShare, Preparation, ProxyPlan, ProxyVersion, RunPlan, TargetShare};

use super::lab::*;

/// A worker at time zero, and what its backend would have.
struct Hand {
    worker: Worker,
    buffers: Buffers,
    shared: Vec<u8>,
}

impl Hand {
    fn new(plan: RunPlan) -> Self {
        let preparation = Preparation::new(Arc::new(plan)).unwrap();
        let (parts, io) = preparation.parts(0);
        Self {
            worker: preparation.worker(0, parts, Time::ZERO),
            buffers: Buffers::new(io.buffers),
            shared: io.shared_bytes.to_vec(),
        }
    }

    /// A turn, before which each of `completed` did all it was asked.
    fn turn(&mut self, at: Nanos, completed: &[Op]) -> Vec<Op> {
        let completion = |op: &Op| match *op {
            Op::Open { token, .. } | Op::Close { token, .. } => Completion { token, result: Ok(0) },
            Op::Send { token, payload: Payload::Shared { len, .. } | Payload::Buffer { len, .. } } => {
                Completion { token, result: Ok(len) }
            }
            other => unreachable!("{other:?} does not complete here"),
        };
        let completions: Vec<_> = completed.iter().map(completion).collect();
        let mut ops = Vec::new();
        self.worker.step(Time::ZERO + at, &completions, &mut self.buffers, &mut ops);
        ops
    }

    /// What is asked at the first instant, over as many turns as it takes.
    fn burst(&mut self) -> Vec<Op> {
        let turns = std::iter::repeat_with(|| self.turn(Nanos::ZERO, &[]));
        turns.take_while(|ops| !ops.is_empty()).flatten().collect()
    }

    /// The bytes that `op` sends, which are shared ones.
    fn sent(&self, op: &Op) -> Vec<u8> {
        let Op::Send { payload: Payload::Shared { offset, len }, .. } = *op else { panic!("{op:?} is no such send") };
        self.shared[offset as usize..(offset + len) as usize].to_vec()
    }
}

#[test]
fn a_backlog_of_one_population_does_not_delay_the_other() {
    // Turns that take 100 us each, and 20 000 attempts that all could start at once: a few of them start in a turn.
    let mut plan = plan(open(vec![burst(20_000, secs(1))], None), 20_000);
    for name in ["second", "third"] {
        plan.populations.push(population(name, open_for(1_000.0, secs(1)), 100));
    }
    let mut hand = Hand::new(plan);
    let mut most_late = [0; 3];
    let mut both_waited = 0;
    for turn in 0..400 {
        hand.turn(micros(100 * turn), &[]);
        let waiting = hand.worker.waiting_by_stage();
        for (most, waits) in most_late.iter_mut().zip(&waiting) {
            *most = (*most).max(*waits);
        }
        both_waited += u64::from(waiting[0] > 0);
        audit(&hand.worker);
    }
    assert_eq!(both_waited, 400, "the backlog lasts as long as this test looks");
    // One is due every ten turns and has started before the next one is.
    assert_eq!(most_late[1..], [1, 1]);
    for stage in [1, 2] {
        let counts = hand.worker.recorder().snapshot().stages()[stage].tally.counts;
        assert!(counts.due == 40 && counts.started >= 39, "{counts:?}");
    }
}

#[test]
fn attempts_are_dealt_to_targets_by_weight_and_every_source_meets_every_target() {
    let mut plan = plan(open(vec![burst(32, secs(1))], None), 32);
    plan.targets = targets(3);
    plan.sources = (1..=2).map(|last| [10, 1, 0, last].into()).collect();
    let population = &mut plan.populations[0];
    population.targets =
        [5, 2, 1].into_iter().zip(0..).map(|(weight, target)| TargetShare { target, weight }).collect();
    population.sources = vec![0, 1];
    let mut met: BTreeMap<(u16, u16), u64> = BTreeMap::new();
    for op in Hand::new(plan).burst() {
        let Op::Open { target, source, .. } = op else { panic!("{op:?}") };
        *met.entry((target.0, source.0)).or_default() += 1;
    }
    let expected = [(0, 10), (1, 4), (2, 2)];
    let expected: BTreeMap<_, _> =
        expected.into_iter().flat_map(|(target, count)| [0, 1].map(|source| ((target, source), count))).collect();
    assert_eq!(met, expected);
}

#[test]
fn every_kind_of_client_meets_every_target() {
    use shakedown::protocol::ClientProfile::{Ffmpeg, Obs, Shakedown, Srs};
    let mut plan = plan(open(vec![burst(32, secs(1))], None), 32);
    aim(&mut plan, targets(4));
    let clients = [Ffmpeg, Obs, Shakedown, Srs].map(|profile| {
        let spec = profile.spec();
        let mut share: ClientShare = client(profile, spec.mode);
        share.client.digest_at = spec.digest_at;
        share
    });
    plan.populations[0].clients = clients.to_vec();
    let mut hand = Hand::new(plan);
    hand.burst();
    let snapshot = hand.worker.recorder().snapshot();
    assert!(snapshot.targets().iter().all(|row| row.counts.started == 8));
    assert!(snapshot.clients().iter().all(|row| row.counts.started == 8));
}

#[test]
fn a_load_balancers_header_goes_out_before_c0c1() {
    let proxied = |version| {
        let mut plan = plan(open(vec![burst(2, secs(1))], None), 2);
        plan.proxy_protocol = Some(ProxyPlan { version, client_ips: "10.9.0.0/30".parse().unwrap() });
        Hand::new(plan)
    };
    // As haproxy's proxy-protocol.txt has them: to 10.0.0.1:1935.
    let line = b"PROXY TCP4 10.9.0.1 10.0.0.1 1025 1935\r\n".to_vec();
    let binary = [
        &b"\r\n\r\n\0\r\nQUIT\n"[..],
        &[0x21, 0x11, 0, 12],
        &[10, 9, 0, 1],
        &[10, 0, 0, 1],
        &1_025_u16.to_be_bytes(),
        &1_935_u16.to_be_bytes(),
    ]
    .concat();
    for (version, header) in [(ProxyVersion::V1, line), (ProxyVersion::V2, binary)] {
        let mut hand = proxied(version);
        let opens = hand.turn(Nanos::ZERO, &[]);
        assert_eq!(opens.len(), 2);
        let [first, second] = hand.turn(micros(200), &opens)[..] else { panic!("nothing else before the headers") };
        assert_eq!(hand.sent(&first), header, "{version:?}");
        assert_ne!(hand.sent(&second), header, "the next connection comes from another client");
        let begun = hand.turn(micros(210), &[first]);
        let [c0c1, Op::Recv { .. }] = begun[..] else { panic!("{begun:?}") };
        assert_eq!((hand.sent(&c0c1).len(), hand.sent(&c0c1)[0]), (C0C1_SIZE, 3));
    }
}
