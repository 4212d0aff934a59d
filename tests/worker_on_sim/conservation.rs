//! Whatever is planned, whatever the servers do and whenever it is cut: after every turn each arrival is accounted for
//! exactly once, and every run ends with nothing left behind.

use proptest::prelude::*;
use proptest::sample::select;
use shakedown::base::Nanos;
use shakedown::fleet::{End, Order};
use shakedown::io::sim::{Freeze, Peer, PeerScript, ServiceModel};
use shakedown::load::{ArrivalPattern, Reconnect};
use shakedown::measure::Attempts;
use shakedown::protocol::{ClientProfile, DigestAt, HandshakeMode};
use shakedown::run::{
    ClientPlan, ClientShare, ClosePolicy, Hold, Lane, LoadPlan, Population, Repeat, StepPlan, Verify,
};

use super::lab::*;
use super::outcomes::every_script;

/// Runs here are short; all spans are of this order.
const LONGEST_MS: u64 = 120;

fn span() -> impl Strategy<Value = Nanos> {
    (1_000..LONGEST_MS * 1_000).prop_map(micros)
}

fn rate() -> impl Strategy<Value = f64> {
    prop_oneof![1.0..200.0, 200.0..8_000.0]
}

/// Bounded by time, by a number, or by both; half of them warm up.
fn open_loop() -> impl Strategy<Value = LoadPlan> {
    let bounds = prop_oneof![
        span().prop_map(|length| (Some(length), None)),
        (1..200_u64).prop_map(|attempts| (None, Some(attempts))),
        (span(), 1..200_u64).prop_map(|(length, attempts)| (Some(length), Some(attempts))),
    ];
    let arrival = select(vec![ArrivalPattern::Uniform, ArrivalPattern::Poisson]);
    (bounds, (rate(), rate()), prop::option::of((rate(), span())), arrival).prop_map(
        |((length, attempts), (from, to), warm, arrival)| {
            // Only a constant rate can go on until a number is reached.
            let to = if length.is_some() { to } else { from };
            let mut stages: Vec<_> = warm.into_iter().map(|(per_s, length)| warmup(per_s, length)).collect();
            stages.push(stage("load", from, to, length));
            LoadPlan::Open { arrival, stages, attempts, repeat: None }
        },
    )
}

fn closed_loop() -> impl Strategy<Value = LoadPlan> {
    let bounds = prop_oneof![
        span().prop_map(|length| (Some(length), None)),
        (1..200_u64).prop_map(|attempts| (None, Some(attempts))),
        (span(), 1..200_u64).prop_map(|(length, attempts)| (Some(length), Some(attempts))),
    ];
    (bounds, prop::option::of(span()))
        .prop_map(|((length, attempts), warm)| closed(warm.unwrap_or(Nanos::ZERO), length, attempts))
}

/// Steps and ramps of concurrency.
fn stepped() -> impl Strategy<Value = LoadPlan> {
    let step = (0..40_u32, 1..40_u32, span()).prop_map(|(from, to, length)| step(from, to, length));
    let most = prop::option::of(1..500_u64);
    (prop::collection::vec(step, 1..4), most).prop_map(|(steps, attempts)| {
        let all_reach_one = steps.iter().any(|step| step.from > 0);
        let steps = if all_reach_one { steps } else { vec![StepPlan { from: 1, ..steps[0].clone() }] };
        LoadPlan::Closed { steps, attempts }
    })
}

/// A burst, then a rate, perhaps again and again; or a probe.
fn event() -> impl Strategy<Value = LoadPlan> {
    let stages = prop_oneof![
        (1..100_u64, span(), rate(), span()).prop_map(|(count, rest, per_s, length)| {
            vec![burst(count, rest), stage("load", per_s, per_s, Some(length))]
        }),
        (rate(), span()).prop_map(|(per_s, length)| vec![probe(per_s, length)]),
    ];
    (stages, 1..4_u32).prop_map(|(stages, times)| {
        let repeat = Some(Repeat { every_ns: 3 * LONGEST_MS * 1_000_000, times });
        LoadPlan::Open { arrival: ArrivalPattern::Uniform, stages, attempts: None, repeat }
    })
}

/// A fleet that tries soon enough to try more than once.
fn fleet() -> impl Strategy<Value = LoadPlan> {
    let rule = (100..20_000_u64).prop_map(|delay| Reconnect::Flat { delay_ns: micros(delay).as_u64() });
    (1..40_u32, rule, span()).prop_map(|(clients, rule, length)| storm(clients, rule, length))
}

prop_compose! {
    fn further_lane()(
        load in prop_oneof![stepped(), event(), fleet()],
        slots in 1..40_u32,
        begins in prop_oneof![Just(Nanos::ZERO), span()],
    ) -> Lane {
        let slots = if let LoadPlan::Storm { fleet, .. } = load { fleet } else { slots };
        Lane { begins_ns: begins.as_u64(), ..lane(load, slots) }
    }
}

prop_compose! {
    fn clients()(
        load in prop_oneof![open_loop(), closed_loop()],
        further in prop_oneof![Just(Vec::new()), prop::collection::vec(further_lane(), 1..4)],
        concurrency in prop_oneof![1..4_u32, 4..40_u32],
        hold in prop_oneof![
            Just(Hold::ForNs(0)),
            span().prop_map(|span| Hold::ForNs(span.as_u64())),
            span().prop_map(|mean| Hold::Exponential { mean_ns: mean.as_u64() }),
            Just(Hold::Forever),
        ],
        close in select(vec![ClosePolicy::Rst, ClosePolicy::Fin, ClosePolicy::Peer]),
        verify in select(vec![Verify::All, Verify::Sample, Verify::None]),
        mode in select(vec![HandshakeMode::Complex, HandshakeMode::Simple]),
        digest_at in select(vec![DigestAt::FirstHalf, DigestAt::SecondHalf]),
        wrong_c2 in any::<bool>(),
        connect_timeout in span(),
        timeout in span(),
    ) -> Population {
        // What only a number ends, and holds for ever, would wait for ever: such plans are refused.
        let hold = if load.length() == Nanos::MAX && hold == Hold::Forever { Hold::ForNs(1_000_000) } else { hold };
        let mut like = population("clients", load, concurrency);
        like.lanes.extend(further);
        Population {
            clients: vec![ClientShare { client: ClientPlan { profile: ClientProfile::Shakedown, mode, digest_at, wrong_c2 }, weight: 1 }],
            verify,
            hold,
            close,
            connect_timeout_ns: connect_timeout.as_u64(),
            timeout_ns: timeout.as_u64(),
            ..like
        }
    }
}

fn freezes() -> impl Strategy<Value = Vec<Freeze>> {
    prop::collection::vec((span(), span()).prop_map(|(at, length)| Freeze { at, length }), 0..3)
}

prop_compose! {
    fn peer()(
        script in prop_oneof![2 => Just(PeerScript::serve()), 5 => select(every_script())],
        parallelism in 1..10_u32,
        time in 0..2_000_u64,
        noise in prop_oneof![Just(0), 0..2_000_u64],
        freezes in freezes(),
        backlog in prop_oneof![2 => Just(None), 1 => (1..10_u32).prop_map(Some)],
    ) -> Peer {
        let service = ServiceModel { parallelism, time: micros(time), noise: micros(noise) };
        Peer { service, freezes, backlog, ..Peer::scripted(script) }
    }
}

prop_compose! {
    fn lab()(
        populations in prop::collection::vec(clients(), 1..3),
        peers in prop::collection::vec(peer(), 1..4),
        generator in prop_oneof![2 => Just(Vec::new()), 1 => freezes()],
        jitter in prop_oneof![Just(0), 0..500_u64],
        one_way in 50..2_000_u64,
        sources in 0..3_u8,
        release_per_s in prop::option::of(1.0..5_000.0),
        seed in any::<u64>(),
        orders in prop::collection::vec(
            (span(), select(vec![Order::Stop, Order::Stop, Order::Release, Order::Abandon])),
            0..3,
        ),
    ) -> Lab {
        let mut lab = Lab::new(closed_of(1), 1).seeded(seed);
        lab.plan.populations = populations;
        aim(&mut lab.plan, targets(peers.len() as u8));
        lab.sources((0..sources).map(|last| [10, 1, 0, last].into()).collect());
        lab.network.peers = peers;
        lab.network.freezes = generator;
        lab.network.one_way = micros(one_way);
        lab.network.jitter = micros(jitter);
        lab.orders = orders;
        lab.plan.release_per_s = release_per_s;
        lab.audited = true;
        lab
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// The books are audited after every turn; that the run ends, with all slots and buffers free, is asserted by the lab.
    #[test]
    fn every_arrival_is_accounted_for_after_every_turn(lab in lab()) {
        let report = lab.run();
        let abandoned = lab.orders.iter().any(|(_, order)| *order == Order::Abandon);
        prop_assert!(abandoned || report.end == End::Finished);

        let total = report.snapshot.stages().iter().fold(Attempts::default(), |sum, stage| Attempts {
            started: sum.started + stage.tally.counts.started,
            completed: sum.completed + stage.tally.counts.completed,
            ..sum
        });
        // The servers' own account: they see nothing that was not started, and nothing completes without them.
        let accepted = report.peers.iter().map(|peer| peer.accepted).sum();
        prop_assert!(total.completed <= accepted && accepted <= total.started);
        if report.end == End::Finished {
            prop_assert_eq!(report.counts().unended(), 0);
        }

        // One number of attempts holds whatever happens to them, unless something ends the load before.
        for (index, population) in (0..).zip(&lab.plan.populations) {
            let [Lane { load, .. }] = &population.lanes[..] else { continue };
            let bound = match load {
                LoadPlan::Open { attempts, .. } | LoadPlan::Closed { attempts, .. } => *attempts,
                LoadPlan::Storm { .. } => None,
            };
            let due = report.snapshot.population(index).tally.counts.due;
            if let Some(attempts) = bound {
                prop_assert!(due <= attempts);
                prop_assert!(due == attempts || load.length() < Nanos::MAX || !lab.orders.is_empty());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same seed on the same network is the same run, to the last count and nanosecond.
    #[test]
    fn a_run_is_repeated_by_its_seed(mut lab in lab()) {
        lab.audited = false;
        let (first, second) = (lab.run(), lab.run());
        prop_assert_eq!((first.end, first.ended, first.peers), (second.end, second.ended, second.peers));
        prop_assert!(first.snapshot == second.snapshot);
    }
}
