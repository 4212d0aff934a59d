//! Results of small runs, recorded by a real recorder, for tests.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

use super::*;
use crate::base::{Nanos, Seed, Time};
use crate::io::Engine;
use crate::load::{ArrivalPattern, Share};
use crate::measure::{Failure, FailureDetail, FailureKind, Place, Recorder, Sample, Step, Timeline};
use crate::observe::Observation;
use crate::protocol::{ClientProfile, DigestAt, HandshakeMode, Negotiated};

/// An open-loop run at 1 000/s for 2 s in 64 slots. Attempt k (from 0) is intended at k ms; completed attempts come first
/// and have a service time of k + 1 us, then come the failed ones, then the dropped ones.
#[derive(Clone)]
pub(crate) struct OpenRun {
    pub completed: u64,
    pub failed: u64,
    pub dropped: u64,
    pub failure: Failure,
    pub lateness_ms: u64,
    pub slot_wait_ms: u64,
    pub hold_ms: u64,
    pub share: Share,
    pub interrupted: Option<Signal>,
}

impl Default for OpenRun {
    fn default() -> Self {
        Self {
            completed: 1_980,
            failed: 10,
            dropped: 10,
            failure: Failure::new(Step::S0, FailureKind::Reset).with_detail(FailureDetail::Errno(104)),
            lateness_ms: 0,
            slot_wait_ms: 0,
            hold_ms: 0,
            share: Share::WHOLE,
            interrupted: None,
        }
    }
}

impl OpenRun {
    pub(crate) fn result(&self, thresholds: &[&str]) -> RunResult {
        let mut plan = open_plan();
        plan.thresholds = conditions(thresholds);
        plan.share = self.share;
        plan.populations[0].hold = Hold::ForNs(self.hold_ms * 1_000_000);
        let mut record = Record::new(&plan);
        for index in 0..self.completed + self.failed {
            let intended = Time::from_nanos(index * 1_000_000);
            let slot_free = intended + Nanos::from_millis(self.slot_wait_ms);
            let started = slot_free + Nanos::from_millis(self.lateness_ms);
            record.attempt(
                Some(intended),
                slot_free,
                started,
                index,
                (index >= self.completed).then_some(self.failure),
            );
        }
        record.recorder.due(0, self.dropped, Time::ZERO);
        record.recorder.dropped(0, self.dropped);
        let mut parts = record.parts(plan, None);
        parts.interrupted = self.interrupted;
        RunResult::assemble(parts)
    }
}

/// The result of [`OpenRun::default`].
pub(crate) fn open_result(thresholds: &[&str]) -> RunResult {
    OpenRun::default().result(thresholds)
}

/// A closed-loop run of 2 s with 64 in flight: 990 completed, 10 failed.
pub(crate) fn closed_result(thresholds: &[&str], failure: Failure, busy_percent: Option<f64>) -> RunResult {
    let mut plan = closed_plan();
    plan.thresholds = conditions(thresholds);
    let mut record = Record::new(&plan);
    for index in 0..1_000 {
        let started = Time::from_nanos(index * 1_000_000);
        record.attempt(None, started, started, index, (index >= 990).then_some(failure));
    }
    RunResult::assemble(record.parts(plan, busy_percent))
}

/// A row with the counts of a whole result.
pub(crate) fn row(result: &RunResult) -> Row {
    Row {
        name: "row".to_owned(),
        population: None,
        warmup: false,
        attempts: result.attempts,
        rate: result.rate,
        modes: result.modes,
        lost_while_held: 0,
        latency: result.latency.clone(),
        media: Default::default(),
        failures: Vec::new(),
        reactions: None,
    }
}

pub(crate) fn open_plan() -> RunPlan {
    plan(open_load(vec![stage("load", false, 1_000.0, 1_000.0, Some(2))], None))
}

pub(crate) fn closed_plan() -> RunPlan {
    plan(LoadPlan::closed(64, 0, Some(2_000_000_000), None))
}

/// An open loop of these stages.
pub(crate) fn open_load(stages: Vec<StagePlan>, attempts: Option<u64>) -> LoadPlan {
    LoadPlan::Open { arrival: ArrivalPattern::Uniform, stages, attempts, repeat: None }
}

/// A rate or a ramp for so many seconds.
pub(crate) fn stage(name: &str, warmup: bool, from_per_s: f64, to_per_s: f64, seconds: Option<u64>) -> StagePlan {
    StagePlan {
        name: name.to_owned(),
        warmup,
        probe: false,
        pace: Pace::Rate { from_per_s, to_per_s },
        duration_ns: seconds.map(|seconds| seconds * 1_000_000_000),
    }
}

fn plan(load: LoadPlan) -> RunPlan {
    let target = Target::new(
        "rtmp://127.0.0.1:1935/live",
        "127.0.0.1".to_owned(),
        "127.0.0.1:1935".parse().expect("an address"),
    );
    let population = Population {
        name: "encoders".to_owned(),
        lanes: vec![Lane { begins_ns: 0, concurrency: 64, load }],
        targets: vec![TargetShare { target: 0, weight: 1 }],
        sources: Vec::new(),
        clients: vec![ClientShare {
            client: ClientPlan {
                profile: ClientProfile::Shakedown,
                mode: HandshakeMode::Complex,
                digest_at: DigestAt::FirstHalf,
                wrong_c2: false,
            },
            weight: 1,
        }],
        verify: Verify::All,
        until: Until::Handshake,
        app: None,
        stream: None,
        stream_keys: std::sync::Arc::default(),
        hold: Hold::ForNs(0),
        close: ClosePolicy::Rst,
        connect_timeout_ns: 10_000_000_000,
        timeout_ns: 10_000_000_000,
        expect: None,
        canary: false,
    };
    RunPlan {
        scenario: None,
        targets: vec![target],
        built_in_sink: false,
        engine: Engine::IoUring,
        workers: 1,
        cpus: vec![0],
        populations: vec![population],
        sources: Vec::new(),
        thresholds: Vec::new(),
        abort_if: Vec::new(),
        drain: false,
        release_per_s: None,
        resolve_every_ns: None,
        proxy_protocol: None,
        tls: None,
        hold_check_ns: None,
        media: None,
        enhanced_rtmp: false,
        seed: Seed::new(7),
        share: Share::WHOLE,
        start_at: None,
    }
}

/// One worker's record of a run that starts at zero.
pub(crate) struct Record {
    pub recorder: Recorder,
    timeline: Timeline,
}

impl Record {
    pub(crate) fn new(plan: &RunPlan) -> Self {
        let layout = Arc::new(recorder_layout(plan));
        Self { recorder: Recorder::new(layout, Time::ZERO), timeline: Timeline::new(1) }
    }

    /// Attempt `index` of stage 0 to target 0 by client 0, over `index + 1` microseconds after its start.
    pub(crate) fn attempt(
        &mut self,
        intended: Option<Time>,
        slot_free: Time,
        started: Time,
        index: u64,
        failure: Option<Failure>,
    ) {
        let ended = started + Nanos::from_micros(index + 1);
        while let Some(report) = self.recorder.roll(ended) {
            self.timeline.add(&report);
            self.recorder.give_spare(report);
        }
        self.recorder.due(0, 1, started);
        let place = Place { stage: 0, target: 0, client: 0 };
        self.recorder.started(place, started);
        match failure {
            Some(failure) => self.recorder.failed(place, intended, started, ended, failure),
            None => self.recorder.completed(&Sample {
                place,
                intended,
                slot_free,
                started,
                connected: started + Nanos::from_micros(index.div_ceil(2)),
                secured: None,
                sent: started + Nanos::from_micros(index.div_ceil(2)),
                s0s1: ended,
                s2: ended,
                session: None,
                completed: ended,
                paused: Nanos::ZERO,
                negotiated: Negotiated::ComplexVerified,
            }),
        }
    }

    pub(crate) fn parts(self, plan: RunPlan, busy_percent: Option<f64>) -> ResultParts {
        let mut timeline = self.timeline;
        let (snapshot, reports) = self.recorder.finish(Time::ZERO);
        reports.iter().for_each(|report| timeline.add(report));
        let cpu_time_ns = busy_percent.map(|percent| (percent / 100.0 * 2e9) as u64);
        ResultParts {
            workers: vec![WorkerRow::new(0, Some(0), &snapshot, cpu_time_ns, 2.0)],
            plan,
            snapshot,
            timeline,
            watched: WatchOutcome::default(),
            started_at: "2026-01-02T03:04:05Z".to_owned(),
            environment: Environment {
                kernel: "6.18.0".to_owned(),
                cpus: 4,
                cpu_model: "Example CPU".to_owned(),
                engine: Engine::IoUring,
                nofile: 1_048_576,
                more: BTreeMap::new(),
            },
            labels: BTreeMap::from([("server".to_owned(), "example 1.0".to_owned())]),
            window: Window { duration_s: 2.0, warmup_s: 0.0 },
            held: 0,
            network_before: BTreeMap::from([("syn_retransmits".to_owned(), 5), ("gone".to_owned(), 1)]),
            network_after: BTreeMap::from([("syn_retransmits".to_owned(), 8), ("new".to_owned(), 1)]),
            findings: Vec::new(),
            events: Vec::new(),
            observation: Observation::default(),
            interrupted: None,
            interrupted_at: None,
            ended_by: None,
        }
    }
}

/// Conditions of either kind.
pub(crate) fn conditions<T: FromStr<Err: Debug>>(texts: &[&str]) -> Vec<T> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}
