use proptest::prelude::*;

use super::super::layout::StageInfo;
use super::super::recorder::Recorder;
use super::super::timeline::Timeline;
use super::*;
use crate::base::Time;

/// Two populations (open, closed) with a warm-up each, two targets, two kinds of client.
fn layout() -> Arc<RecorderLayout> {
    let stage = |population, name: &str, warmup| StageInfo {
        population,
        name: name.to_owned(),
        warmup,
        open_loop: population == 0,
        probe: false,
        storm: false,
        until: crate::measure::Until::Handshake,
    };
    Arc::new(RecorderLayout {
        stages: vec![
            stage(0, "warm", true),
            stage(0, "steady", false),
            stage(0, "peak", false),
            stage(1, "warm", true),
            stage(1, "load", false),
        ],
        populations: vec!["encoders".to_owned(), "scanners".to_owned()],
        targets: vec!["a".to_owned(), "b".to_owned()],
        clients: vec!["obs".to_owned(), "ffmpeg".to_owned()],
        hostile: vec![false, false],
        canary: None,
        watched: Vec::new(),
    })
}

/// What can happen to one arrival.
#[derive(Clone, Copy, Debug)]
enum Event {
    Complete { stage: u16, target: u16, start_ms: u64, span_ns: u64, negotiated: Negotiated },
    Fail { stage: u16, target: u16, start_ms: u64, span_ns: u64, failure: Failure },
    Drop { stage: u16 },
    Lose { stage: u16, at_ms: u64, age_ns: u64 },
    Turn { took_ns: u64 },
}

/// Clients differ from targets, so that rows cannot pass for one another.
fn place(stage: u16, target: u16) -> Place {
    Place { stage, target, client: (stage + target) % 2 }
}

fn sample(stage: u16, target: u16, started: Time, span: Nanos, negotiated: Negotiated) -> Sample {
    let completed = started + span;
    Sample {
        place: place(stage, target),
        intended: (stage < 3).then_some(started - Nanos::new(5)),
        slot_free: started - Nanos::new(2),
        started,
        connected: started,
        secured: None,
        sent: started,
        s0s1: completed,
        s2: completed,
        session: None,
        completed,
        paused: Nanos::ZERO,
        negotiated,
    }
}

/// Records `event`; everything about it happens in the second its attempt started in.
fn apply(recorder: &mut Recorder, event: Event) {
    let at = |ms: u64| Time::from_nanos(ms * 1_000_000);
    match event {
        Event::Complete { stage, target, start_ms, span_ns, negotiated } => {
            recorder.due(stage, 1, at(start_ms));
            recorder.started(place(stage, target), at(start_ms));
            recorder.completed(&sample(stage, target, at(start_ms), Nanos::new(span_ns), negotiated));
        }
        Event::Fail { stage, target, start_ms, span_ns, failure } => {
            recorder.due(stage, 1, at(start_ms));
            recorder.started(place(stage, target), at(start_ms));
            let failed = at(start_ms) + Nanos::new(span_ns);
            recorder.failed(place(stage, target), None, at(start_ms), failed, failure);
        }
        Event::Drop { stage } => {
            recorder.due(stage, 1, Time::ZERO);
            recorder.dropped(stage, 1);
        }
        Event::Lose { stage, at_ms, age_ns } => {
            let failure = Failure::new(Step::Hold, FailureKind::Reset);
            recorder.lost_while_held(place(stage, 0), Nanos::new(age_ns), at(at_ms), failure);
        }
        Event::Turn { took_ns } => recorder.turn(Nanos::new(took_ns), Nanos::new(took_ns / 2)),
    }
}

fn events() -> impl Strategy<Value = Event> {
    let negotiated = prop_oneof![
        Just(Negotiated::ComplexVerified),
        Just(Negotiated::ComplexUnverified),
        Just(Negotiated::Simple),
        Just(Negotiated::Downgraded),
    ];
    let failure = (0..Step::COUNT, 0..FailureKind::COUNT, 0..4_i32).prop_map(|(step, kind, errno)| {
        Failure::new(Step::ALL[step], FailureKind::ALL[kind]).with_detail(FailureDetail::Errno(errno))
    });
    prop_oneof![
        (0..5_u16, 0..2_u16, 0..900_u64, 0..90_000_000_u64, negotiated).prop_map(
            |(stage, target, start_ms, span_ns, negotiated)| Event::Complete {
                stage,
                target,
                start_ms,
                span_ns,
                negotiated
            }
        ),
        (0..5_u16, 0..2_u16, 0..900_u64, 0..90_000_000_u64, failure).prop_map(
            |(stage, target, start_ms, span_ns, failure)| Event::Fail { stage, target, start_ms, span_ns, failure }
        ),
        (0..5_u16).prop_map(|stage| Event::Drop { stage }),
        (0..5_u16, 0..900_u64, 0..90_000_000_000_u64).prop_map(|(stage, at_ms, age_ns)| Event::Lose {
            stage,
            at_ms,
            age_ns
        }),
        (0..1_000_000_u64).prop_map(|took_ns| Event::Turn { took_ns }),
    ]
}

fn record(layout: &Arc<RecorderLayout>, events: impl IntoIterator<Item = Event>) -> Snapshot {
    let mut recorder = Recorder::new(Arc::clone(layout), Time::ZERO);
    events.into_iter().for_each(|event| apply(&mut recorder, event));
    recorder.finish(Time::ZERO).0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn merging_workers_is_recording_in_one(
        dealt in prop::collection::vec((events(), 0..3_usize), 0..60)
    ) {
        let layout = layout();
        let whole = record(&layout, dealt.iter().map(|(event, _)| *event));
        let part = |worker| record(&layout, dealt.iter().filter(|(_, to)| *to == worker).map(|(event, _)| *event));
        let (first, second, third) = (part(0), part(1), part(2));
        let mut left = first.clone();
        left.merge(&second);
        left.merge(&third);
        let mut right = third;
        right.merge(&second);
        right.merge(&first);
        prop_assert_eq!(&left, &right, "the order of workers does not matter");
        prop_assert_eq!(&left, &whole);
        prop_assert!(whole.check(&[0; 5]).is_ok());
    }

    #[test]
    fn marginals_add_up_to_the_total(happened in prop::collection::vec(events(), 0..60)) {
        let snapshot = record(&layout(), happened);
        let measured = snapshot.measured();
        let mut populations = snapshot.population(0);
        populations.merge(&snapshot.population(1));
        prop_assert_eq!(&populations, &measured);
        let counts = measured.tally.counts;
        for rows in [snapshot.targets(), snapshot.clients()] {
            let sum = |count: fn(&Attempts) -> u64| rows.iter().map(|row| count(&row.counts)).sum::<u64>();
            prop_assert_eq!(sum(|counts| counts.completed), counts.completed);
            prop_assert_eq!(sum(|counts| counts.failed), counts.failed);
            prop_assert_eq!(sum(|counts| counts.lost_while_held), counts.lost_while_held);
            let spans = |row: &Tally| [Metric::Response, Metric::Service].into_iter()
                .filter_map(|metric| row.latencies.get(metric).map(LatencyHistogram::count)).sum::<u64>();
            prop_assert_eq!(rows.iter().map(spans).sum::<u64>(), counts.completed);
        }
        let samples = |metric| measured.tally.latencies.get(metric).map_or(0, LatencyHistogram::count);
        prop_assert_eq!(samples(Metric::Service), counts.completed);
        prop_assert_eq!(measured.failures.iter().map(|(_, failed)| failed.count).sum::<u64>(),
            counts.failed + counts.lost_while_held);
        prop_assert_eq!(measured.time_to_failure.map_or(0, |times| times.count()), counts.failed);
    }
}

#[test]
fn warm_up_stays_out_of_the_totals() {
    let complete =
        |stage| Event::Complete { stage, target: 1, start_ms: 3, span_ns: 1_000, negotiated: Negotiated::Simple };
    let snapshot = record(&layout(), [complete(0), complete(3), complete(1), complete(4)]);
    let measured = snapshot.measured();
    assert_eq!(measured.tally.counts.completed, 2);
    assert_eq!(measured.tally.modes, ModeCounts { simple: 2, ..ModeCounts::default() });
    assert_eq!(snapshot.targets()[1].counts.completed, 2);
    assert_eq!(snapshot.stages()[0].tally.counts.completed, 1);
    // The open population's target rows carry response times, the closed one's service times.
    assert_eq!(snapshot.targets()[1].latencies.get(Metric::Response).unwrap().count(), 1);
    assert_eq!(snapshot.targets()[1].latencies.get(Metric::Service).unwrap().count(), 1);
    assert_eq!(measured.tally.latencies.get(Metric::Response).unwrap().max().unwrap().as_u64(), 1_005);
}

#[test]
fn lost_arrivals_are_named_with_both_sides() {
    let mut recorder = Recorder::new(layout(), Time::ZERO);
    recorder.due(1, 3, Time::ZERO);
    recorder.started(place(1, 0), Time::ZERO);
    recorder.dropped(1, 1);
    let error = recorder.snapshot().check(&[0, 1, 0, 0, 0]).unwrap_err();
    assert_eq!(error.to_string(), "stage 1 ('steady'): due = 3, but started + dropped = 2");
    recorder.dropped(1, 1);
    let error = recorder.snapshot().check(&[0; 5]).unwrap_err();
    assert_eq!(error.to_string(), "stage 1 ('steady'): started = 1, but completed + failed + observed + in flight = 0");
    assert_eq!(recorder.snapshot().check(&[0, 1, 0, 0, 0]), Ok(()));
}

#[test]
fn a_failure_keeps_the_first_evidence_and_both_instants() {
    let fail = |start_ms, errno| Event::Fail {
        stage: 1,
        target: 0,
        start_ms,
        span_ns: 0,
        failure: Failure::new(Step::S0, FailureKind::Reset).with_detail(FailureDetail::Errno(errno)),
    };
    let snapshot = record(&layout(), [fail(20, 104), fail(10, 32), fail(30, 103)]);
    let measured = snapshot.measured();
    let (failure, count) = measured.failures.iter().next().unwrap();
    assert_eq!(failure, Failure::new(Step::S0, FailureKind::Reset).with_detail(FailureDetail::Errno(32)));
    assert_eq!((count.count, count.first, count.last), (3, Nanos::from_millis(10), Nanos::from_millis(30)));
}

#[test]
fn the_timeline_counts_what_the_totals_count() {
    let layout = layout();
    let mut timeline = Timeline::new(2);
    let mut total = Snapshot::new(Arc::clone(&layout));
    for worker in 0..2 {
        let mut recorder = Recorder::new(Arc::clone(&layout), Time::ZERO);
        for second in 0..3_u64 {
            let now = Time::from_nanos(second * 1_000_000_000 + 1);
            while let Some(report) = recorder.roll(now) {
                timeline.add(&report);
                recorder.give_spare(report);
            }
            recorder.due(1, 2, now);
            recorder.started(place(1, 0), now);
            recorder.dropped(1, 1);
            recorder.kept(place(1, 0), now);
            recorder.completed(&sample(1, 0, now, Nanos::new(worker), Negotiated::Simple));
        }
        assert_eq!(recorder.held_now(), 3);
        let (snapshot, reports) = recorder.finish(Time::from_nanos(2_500_000_000));
        reports.iter().for_each(|report| timeline.add(report));
        total.merge(&snapshot);
    }
    let rows = timeline.rows();
    assert_eq!(rows.iter().map(|row| row.held).collect::<Vec<_>>(), [2, 4, 6]);
    assert_eq!(timeline.held_peak(), 6);
    let counts = total.measured().tally.counts;
    assert_eq!(rows.iter().map(|row| row.due).sum::<u64>(), counts.due);
    assert_eq!(rows.iter().map(|row| row.started).sum::<u64>(), counts.started);
    assert_eq!(rows.iter().map(|row| row.completed).sum::<u64>(), counts.completed);
    assert_eq!(rows.iter().map(|row| row.dropped).sum::<u64>(), counts.dropped);
}

#[test]
fn many_targets_keep_counts_and_bound_their_distributions() {
    let many = TARGET_HISTOGRAMS as u16 + 2;
    let layout = Arc::new(RecorderLayout {
        targets: (0..many).map(|target| target.to_string()).collect(),
        ..RecorderLayout::clone(&layout())
    });
    let mut recorder = Recorder::new(layout, Time::ZERO);
    for target in 0..many {
        recorder.completed(&sample(1, target, Time::ZERO, Nanos::new(1), Negotiated::Simple));
    }
    let rows = recorder.snapshot().targets();
    assert!(rows.iter().all(|row| row.counts.completed == 1));
    let with_latency = rows.iter().filter(|row| row.latencies.get(Metric::Response).is_some()).count();
    assert_eq!(with_latency, TARGET_HISTOGRAMS);
}
