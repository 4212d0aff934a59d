//! The plan that tests and benches of the engine begin with: one population, one lane, one target, nothing special.

// Each integration test is a crate of its own and uses only a part of this module.
#![allow(dead_code)]

use std::net::SocketAddr;

use shakedown::base::{Nanos, Seed};
use shakedown::io::Engine;
use shakedown::load::{ArrivalPattern, Reconnect, Share};
use shakedown::protocol::{ClientProfile, DigestAt, HandshakeMode};
use shakedown::run::{
    ClientPlan, ClientShare, ClosePolicy, Hold, Lane, LoadPlan, Pace, Population, RunPlan, StagePlan, StepPlan, Target,
    TargetShare, Until, Verify,
};

/// Limit of the connect and of the handshake.
const TIMEOUT: Nanos = Nanos::from_secs(10);

/// Complex handshakes, verified and closed by RST at once, on `slots` slots against one target.
pub fn plan(load: LoadPlan, slots: u32) -> RunPlan {
    RunPlan {
        scenario: None,
        targets: vec![target(([10, 0, 0, 1], 1935).into())],
        built_in_sink: false,
        engine: Engine::Sim,
        workers: 1,
        cpus: Vec::new(),
        populations: vec![population("clients", load, slots)],
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
        seed: Seed::new(1),
        share: Share::WHOLE,
        start_at: None,
    }
}

/// Like the population of [`plan`].
pub fn population(name: &str, load: LoadPlan, slots: u32) -> Population {
    Population {
        name: name.into(),
        lanes: vec![lane(load, slots)],
        targets: vec![TargetShare { target: 0, weight: 1 }],
        sources: Vec::new(),
        clients: vec![client(ClientProfile::Shakedown, HandshakeMode::Complex)],
        verify: Verify::All,
        until: Until::Handshake,
        app: None,
        stream: None,
        stream_keys: std::sync::Arc::default(),
        hold: Hold::ForNs(0),
        close: ClosePolicy::Rst,
        connect_timeout_ns: TIMEOUT.as_u64(),
        timeout_ns: TIMEOUT.as_u64(),
        expect: None,
        canary: false,
    }
}

/// From the beginning.
pub fn lane(load: LoadPlan, slots: u32) -> Lane {
    Lane { begins_ns: 0, concurrency: slots, load }
}

pub fn client(profile: ClientProfile, mode: HandshakeMode) -> ClientShare {
    ClientShare { client: ClientPlan { profile, mode, digest_at: DigestAt::FirstHalf, wrong_c2: false }, weight: 1 }
}

pub fn target(address: SocketAddr) -> Target {
    Target::new(address.to_string(), address.ip().to_string(), address)
}

/// Every population gets these targets, in equal parts.
pub fn aim(plan: &mut RunPlan, targets: Vec<Target>) {
    for population in &mut plan.populations {
        population.targets = (0..targets.len() as u16).map(|target| TargetShare { target, weight: 1 }).collect();
    }
    plan.targets = targets;
}

/// One stage after the other, once.
pub fn open(stages: Vec<StagePlan>, attempts: Option<u64>) -> LoadPlan {
    LoadPlan::Open { arrival: ArrivalPattern::Uniform, stages, attempts, repeat: None }
}

/// The same as a Poisson process.
pub fn poisson(stages: Vec<StagePlan>) -> LoadPlan {
    LoadPlan::Open { arrival: ArrivalPattern::Poisson, stages, attempts: None, repeat: None }
}

/// A closed loop with as many attempts at a time as there are slots.
pub fn closed(warmup: Nanos, length: Option<Nanos>, attempts: Option<u64>) -> LoadPlan {
    LoadPlan::closed(u32::MAX, warmup.as_u64(), length.map(Nanos::as_u64), attempts)
}

pub fn stage(name: &str, from_per_s: f64, to_per_s: f64, length: Option<Nanos>) -> StagePlan {
    StagePlan {
        name: name.into(),
        warmup: false,
        probe: false,
        pace: Pace::Rate { from_per_s, to_per_s },
        duration_ns: length.map(Nanos::as_u64),
    }
}

pub fn warmup(per_s: f64, length: Nanos) -> StagePlan {
    StagePlan { warmup: true, ..stage("warm-up", per_s, per_s, Some(length)) }
}

/// So many at once, then nothing for the rest of `length`.
pub fn burst(count: u64, length: Nanos) -> StagePlan {
    StagePlan { pace: Pace::Burst { count }, ..stage("burst", 0.0, 0.0, Some(length)) }
}

/// Attempts that tell whether the target accepts.
pub fn probe(per_s: f64, length: Nanos) -> StagePlan {
    StagePlan { probe: true, ..stage("probe", per_s, per_s, Some(length)) }
}

/// So many clients at a time, or a ramp of them.
pub fn step(from: u32, to: u32, length: Nanos) -> StepPlan {
    StepPlan { name: format!("{from} to {to}"), warmup: false, from, to, duration_ns: Some(length.as_u64()) }
}

/// A fleet that comes back.
pub fn storm(fleet: u32, reconnect: Reconnect, length: Nanos) -> LoadPlan {
    LoadPlan::Storm { name: "storm".into(), fleet, reconnect, duration_ns: length.as_u64() }
}
