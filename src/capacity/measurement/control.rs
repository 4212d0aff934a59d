//! What this machine can generate: the same load, as fast as it goes, against a sink.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::{DurationText, Nanos, Rate};
use crate::finding::Finding;
use crate::run::{RunPlan, RunResult, Tool};
use crate::scenario::TargetText;
use crate::sink::{Sink, SinkPlan};

use crate::capacity::audience::Audience;
use crate::capacity::audience::Silent;
use crate::capacity::error::CapacityError;
use crate::capacity::measurement::control_identity::{ControlIdentity, NAME};
use crate::capacity::request::ControlRequest;
use crate::capacity::result::Control;
use crate::capacity::trial::runner::Runner;
use crate::capacity::trial::shape::{Load, Shape};

/// Attempts at a time, for each worker: enough to keep it busy.
const SLOTS_PER_WORKER: u32 = 64;
/// Long enough for a steady state.
const LENGTH: Nanos = Nanos::from_secs(3);
/// Long enough to see that a planned rate is kept.
const PLANNED_LENGTH: Nanos = Nanos::from_secs(1);
/// Attempts to be completed before a ceiling is one.
const LEAST_ATTEMPTS: u64 = 100;

/// How the ceiling is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct ControlOrder<'a> {
    /// Against whom.
    pub asked: &'a ControlRequest,
    /// No trial offers more than this, so the control need not.
    pub highest: Option<Rate>,
    /// The cores of this machine.
    pub allowed: &'a [u32],
    /// What was measured before will do.
    pub cache: bool,
}

/// What a control came to.
#[derive(Clone, Copy, Debug)]
struct Ceiling {
    per_s: f64,
    /// It is what was asked, and more may be possible.
    at_least: bool,
    /// The workers had their cores for themselves.
    alone: bool,
}

/// Measures the generator's ceiling, or takes it from the cache; none if it is not to be had.
///
/// # Errors
/// If it cannot be run at all.
pub fn measure_control(
    runner: &mut Runner,
    audience: &mut impl Audience,
    shape: &Shape<'_>,
    order: ControlOrder<'_>,
) -> Result<Option<Control>, CapacityError> {
    match order.asked {
        ControlRequest::Skip => Ok(None),
        ControlRequest::Target(target) => {
            say_how(audience, &target.text, order.highest);
            let mut plan_of = |load| shape.plan_against((**target).clone(), load);
            let ceiling = ceiling(runner, audience, shape, order.highest, &mut plan_of)?;
            if ceiling.is_none() && runner.interrupted().is_none() {
                audience.say(&format!("note: the control {} completes nothing; there is no ceiling", target.text));
            }
            Ok(ceiling.map(|ceiling| Control {
                target: target.text.clone(),
                built_in_sink: false,
                own_cores: true,
                ceiling_per_s: ceiling.per_s,
                at_least: ceiling.at_least,
                headroom: None,
                cached: false,
            }))
        }
        ControlRequest::BuiltInSink => built_in(runner, audience, shape, order),
    }
}

fn built_in(
    runner: &mut Runner,
    audience: &mut impl Audience,
    shape: &Shape<'_>,
    order: ControlOrder<'_>,
) -> Result<Option<Control>, CapacityError> {
    const TARGET: &str = "the built-in sink on this machine";
    let request = shape.request();
    if request.proxy_protocol.is_some() {
        audience.say("note: no control: the built-in sink does not speak the PROXY protocol; give --control TARGET");
        return Ok(None);
    }
    let secured = request.targets.iter().any(|target| target.tls);
    let scheme = if secured { "rtmps" } else { "rtmp" };
    let placeholder: TargetText = format!("{scheme}://{NAME}:1").parse()?;
    let sketch = shape.plan_against(placeholder.clone(), closed(shape))?;
    let others: Vec<u32> = order.allowed.iter().copied().filter(|cpu| !sketch.cpus.contains(cpu)).collect();
    let (cpus, own_cores) = if others.is_empty() { (sketch.cpus.clone(), false) } else { (others, true) };
    let key = cache_key(&sketch, &cpus, order.allowed);
    let control = |ceiling: Ceiling, cached| Control {
        target: TARGET.to_owned(),
        built_in_sink: true,
        own_cores,
        ceiling_per_s: ceiling.per_s,
        at_least: ceiling.at_least,
        headroom: None,
        cached,
    };
    if let Some(known) = Cached::read(&key).filter(|_| order.cache) {
        return Ok(Some(control(Ceiling { per_s: known.ceiling_per_s, at_least: false, alone: true }, true)));
    }
    say_how(audience, TARGET, order.highest);
    let slots = match order.highest {
        Some(highest) => shape.plan_against(placeholder, planned(highest))?.concurrency(),
        None => 0,
    };
    let identity = if secured { Some(ControlIdentity::new()?) } else { None };
    let sink = Sink::start(SinkPlan {
        tls: identity.as_ref().map(ControlIdentity::server).transpose()?,
        ..SinkPlan::for_load(
            sketch.engine,
            sketch.concurrency().max(slots),
            cpus,
            shape.machine().descriptors,
            sketch.seed,
        )
    })
    .map_err(|error| CapacityError::Environment(error.to_string()))?;
    let target: TargetText = format!("{scheme}://{}/live", sink.address()).parse()?;
    let mut plan_of = |load| {
        let mut plan = shape.plan_against(target.clone(), load)?;
        if let (Some(identity), Some(tls)) = (&identity, &mut plan.tls) {
            (tls.ca, tls.server_name) = (Some(identity.certificate()), None);
        }
        Ok(plan)
    };
    let ceiling = ceiling(runner, audience, shape, order.highest, &mut plan_of);
    sink.stop();
    let ceiling = ceiling?;
    // What was measured beside other work is no ceiling of this machine for another time.
    if let Some(Ceiling { per_s, at_least: false, alone: true }) = ceiling {
        Cached { ceiling_per_s: per_s }.write(&key);
    }
    Ok(ceiling.map(|ceiling| control(ceiling, false)))
}

/// It may be a heavier load than anybody expects on this machine, whose target may share it.
fn say_how(audience: &mut impl Audience, target: &str, highest: Option<Rate>) {
    let length = |length: Nanos| DurationText(length.into());
    audience.say(&match highest {
        Some(highest) => {
            format!("control: {target} at {highest}, the most that is offered, for {}", length(PLANNED_LENGTH))
        }
        None => {
            format!("control: {target} as fast as this machine goes, for {} (--no-control skips it)", length(LENGTH))
        }
    });
}

fn closed(shape: &Shape<'_>) -> Load {
    let workers = shape.request().workers.unwrap_or_else(|| shape.cores());
    Load::Closed { slots: workers.max(1).saturating_mul(SLOTS_PER_WORKER), attempts: None, length: Some(LENGTH) }
}

const fn planned(highest: Rate) -> Load {
    Load::Rate(highest, PLANNED_LENGTH)
}

/// The highest rate that is needed, if it is kept; else what a closed loop completes, which is less then. None if hardly
/// anything completed.
fn ceiling(
    runner: &mut Runner,
    audience: &mut impl Audience,
    shape: &Shape<'_>,
    highest: Option<Rate>,
    plan_of: &mut impl FnMut(Load) -> Result<RunPlan, CapacityError>,
) -> Result<Option<Ceiling>, CapacityError> {
    let mut run = |load| -> Result<RunResult, CapacityError> {
        let loaded = runner.run(plan_of(load)?, &mut Silent(audience))?;
        Ok(RunResult::assemble(loaded.ran.parts))
    };
    if let Some(highest) = highest {
        let result = run(planned(highest))?;
        let is_kept = result.attempts.completed == result.attempts.due && !result.generator.limited;
        if is_kept || result.interrupted.is_some() {
            let ceiling = Ceiling { per_s: highest.as_per_second(), at_least: true, alone: true };
            return Ok(is_kept.then_some(ceiling));
        }
    }
    let result = run(closed(shape))?;
    let whole = result.interrupted.is_none() && result.attempts.completed >= LEAST_ATTEMPTS;
    let alone = !result.generator.findings.iter().any(Finding::is_lost_cpu_time);
    Ok(whole.then_some(Ceiling { per_s: result.rate.completed_per_s, at_least: false, alone }))
}

/// No machine makes more handshakes: a file that says so is none of ours.
const MOST_PER_S: f64 = 1e9;

/// A ceiling that was measured before.
#[derive(Debug, Serialize, Deserialize)]
struct Cached {
    ceiling_per_s: f64,
}

impl Cached {
    fn read(key: &str) -> Option<Self> {
        let cached: Self = serde_json::from_str(&fs::read_to_string(place(key)?).ok()?).ok()?;
        (0.0..MOST_PER_S).contains(&cached.ceiling_per_s).then_some(cached)
    }

    /// A cache that cannot be written costs a few seconds the next time, nothing else.
    fn write(&self, key: &str) {
        let Some(path) = place(key) else { return };
        if let (Some(folder), Ok(text)) = (path.parent(), serde_json::to_string(self)) {
            let _ = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
        }
    }
}

/// `$XDG_CACHE_HOME/shakedown/control-KEY.json`, or below `~/.cache`; none without a home.
fn place(key: &str) -> Option<PathBuf> {
    let absolute = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join(env!("CARGO_PKG_NAME")).join(format!("control-{key}.json")))
}

/// Everything that changes what can be generated: this program, this machine, the cores, and what the clients do.
fn cache_key(plan: &RunPlan, sink_cpus: &[u32], allowed: &[u32]) -> String {
    let environment = crate::run::environment(plan.engine);
    let shape = RunPlan { seed: crate::base::Seed::new(0), ..plan.clone() };
    let facts = serde_json::json!({
        "tool": Tool::this(),
        "debug": cfg!(debug_assertions),
        "kernel": environment.kernel,
        "cpu_model": environment.cpu_model,
        "nofile": environment.nofile,
        "sysctls": environment.more,
        "allowed": allowed,
        "sink_cpus": sink_cpus,
        "plan": shape,
    });
    let digest = Sha256::digest(facts.to_string().as_bytes());
    digest[..12].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::fixtures::open_plan;

    #[test]
    fn the_key_is_of_everything_but_the_seed() {
        let plan = open_plan();
        let key = cache_key(&plan, &[1], &[0, 1]);
        assert_eq!(key.len(), 24);
        let seeded = RunPlan { seed: crate::base::Seed::new(99), ..plan.clone() };
        assert_eq!(cache_key(&seeded, &[1], &[0, 1]), key);
        assert_ne!(cache_key(&plan, &[0], &[0, 1]), key);
        assert_ne!(cache_key(&plan, &[1], &[1]), key);
        assert_ne!(cache_key(&RunPlan { workers: 7, ..plan }, &[1], &[0, 1]), key);
    }
}
