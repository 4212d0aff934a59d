//! A worker against the sink, and under a control thread's orders.

use std::net::{Ipv4Addr, SocketAddr};

use shakedown::base::{Nanos, Seed};
use shakedown::engine::Verify;
use shakedown::fleet::{End, Order};
use shakedown::io::sim::PeerScript;
use shakedown::load::ArrivalPattern;
use shakedown::measure::{Metric, ModeCounts};
use shakedown::protocol::HandshakeMode;
use shakedown::run::{ClosePolicy, Hold, LoadPlan};
use shakedown::sink::{Sink, SinkCounts, SinkPlan};

use super::drive::{BACKENDS, Backend, against, on_sockets, on_sockets_with_orders, plan};
use super::peers::RealPeer;
use crate::plans::{stage, warmup};

fn sink(backend: Backend) -> Sink {
    Sink::start(sink_plan(backend)).expect("a sink on loopback")
}

/// A sink on the engine of the worker.
pub fn sink_plan(backend: Backend) -> SinkPlan {
    SinkPlan {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        engine: backend.engine(),
        workers: 1,
        cpus: Vec::new(),
        verify: Verify::All,
        delay: Nanos::ZERO,
        slots_per_worker: 2_000,
        reject: Vec::new(),
        ping_every: Nanos::ZERO,
        tls: None,
        seed: Seed::new(1),
    }
}

#[test]
fn the_sink_has_seen_what_the_worker_did() {
    for backend in BACKENDS {
        for (mode, close) in [
            (HandshakeMode::Complex, ClosePolicy::Rst),
            (HandshakeMode::Complex, ClosePolicy::Fin),
            (HandshakeMode::Simple, ClosePolicy::Rst),
        ] {
            for (slots, attempts) in [(1, 300), (64, 3_000), (1_000, 1_500)] {
                let sink = sink(backend);
                let mut plan = against(&plan(slots, attempts), sink.address());
                (plan.populations[0].clients[0].client.mode, plan.populations[0].close) = (mode, close);
                let ended = on_sockets(&plan, backend);
                assert_eq!(ended.end, End::Finished);
                let outcomes = ended.outcomes();
                assert_eq!((outcomes.counts.completed, &outcomes.failures[..]), (attempts, &[][..]));
                let reset = if close == ClosePolicy::Rst { attempts } else { 0 };
                let seen = SinkCounts { accepted: attempts, reset, ..SinkCounts::default() };
                let (modes, seen) = match mode {
                    HandshakeMode::Complex => (
                        ModeCounts { complex_verified: attempts, ..ModeCounts::default() },
                        SinkCounts { complex: attempts, c2_valid: attempts, ..seen },
                    ),
                    HandshakeMode::Simple => (
                        ModeCounts { simple: attempts, ..ModeCounts::default() },
                        SinkCounts { simple: attempts, c2_echo: attempts, ..seen },
                    ),
                };
                assert_eq!(outcomes.modes, modes, "{backend:?}");
                assert_eq!(sink.stop(), seen, "{backend:?}");
            }
        }
    }
}

#[test]
fn planned_arrivals_are_all_accounted_for() {
    for backend in BACKENDS {
        for (arrival, slots) in
            [(ArrivalPattern::Uniform, 500), (ArrivalPattern::Poisson, 500), (ArrivalPattern::Uniform, 1)]
        {
            let sink = sink(backend);
            let mut plan = against(&plan(slots, 0), sink.address());
            let load = stage("load", 2_000.0, 2_000.0, Some(Nanos::from_millis(500)));
            let stages = vec![warmup(500.0, Nanos::from_millis(200)), load];
            plan.populations[0].lanes[0].load = LoadPlan::Open { arrival, stages, attempts: None, repeat: None };
            let ended = on_sockets(&plan, backend);
            let [warmup, load] = ended.snapshot.stages() else { panic!("two stages") };
            if arrival == ArrivalPattern::Uniform {
                assert_eq!((warmup.tally.counts.due, load.tally.counts.due), (100, 1_000));
            }
            for stage in [warmup, load] {
                let counts = stage.tally.counts;
                assert!(counts.due > 0);
                assert_eq!(
                    (counts.started + counts.dropped, counts.completed, counts.failed),
                    (counts.due, counts.started, 0)
                );
                let latency = |metric| stage.tally.latencies.get(metric).expect("measured in open loop");
                for metric in [Metric::Response, Metric::Service, Metric::Lateness, Metric::SlotWait] {
                    assert_eq!(latency(metric).count(), counts.completed, "{metric}");
                }
                // What is late in starting is late in ending.
                assert!(latency(Metric::Lateness).max() <= latency(Metric::Response).max());
                assert!(latency(Metric::SlotWait).max() <= latency(Metric::Response).max());
            }
            assert_eq!(sink.stop().c2_valid, warmup.tally.counts.completed + load.tally.counts.completed);
        }
    }
}

#[test]
fn a_stop_drops_what_waits_and_finishes_what_runs() {
    for backend in BACKENDS {
        let sink = sink(backend);
        let mut plan = against(&plan(50, u64::MAX), sink.address());
        plan.populations[0].hold = Hold::Forever;
        let ended = on_sockets_with_orders(&plan, backend, |worker| {
            (worker.recorder().held_now() == 50).then_some(Order::Stop)
        });
        let counts = ended.outcomes().counts;
        assert_eq!((ended.end, counts.started, counts.completed, counts.lost_while_held), (End::Finished, 50, 50, 0));
        let seen = sink.stop();
        assert_eq!((seen.c2_valid, seen.reset, seen.held), (50, 50, 0));
    }
}

#[test]
fn an_abandoned_worker_leaves_at_once() {
    let peer = RealPeer::start(PeerScript::Silent);
    for backend in BACKENDS {
        let plan = against(&plan(20, u64::MAX), peer.address());
        let ended = on_sockets_with_orders(&plan, backend, |worker| {
            let in_flight: u64 = worker.in_flight_by_stage().iter().sum();
            (in_flight == 20).then_some(Order::Abandon)
        });
        let counts = ended.outcomes().counts;
        assert_eq!((ended.end, counts.started, counts.unended()), (End::Abandoned, 20, 20));
    }
}
