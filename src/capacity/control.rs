//! What this machine can generate: the same load, as fast as it goes, against a sink.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::Nanos;
use crate::run::{Finding, RunPlan, RunResult, Tool};
use crate::scenario::TargetText;
use crate::sink::{Sink, SinkPlan};

use super::baseline::Silent;
use super::control_identity::{ControlIdentity, NAME};
use super::measurement::{Audience, CapacityError};
use super::request::ControlRequest;
use super::result::Control;
use super::runner::Runner;
use super::shape::{Load, Shape};

/// Attempts at a time, for each worker: enough to keep it busy.
const SLOTS_PER_WORKER: u32 = 64;
/// Long enough for a steady state.
const LENGTH: Nanos = Nanos::from_secs(3);
/// Attempts to be completed before a ceiling is one.
const LEAST_ATTEMPTS: u64 = 100;

/// Measures the generator's ceiling, or takes it from the `cache` if it may; none if it is not to be had.
///
/// # Errors
/// If it cannot be run at all.
pub fn measure_control(
    runner: &mut Runner,
    audience: &mut impl Audience,
    shape: &Shape<'_>,
    asked: &ControlRequest,
    allowed: &[u32],
    cache: bool,
) -> Result<Option<Control>, CapacityError> {
    match asked {
        ControlRequest::Skip => Ok(None),
        ControlRequest::Target(target) => {
            let plan = shape.plan_against((**target).clone(), closed(shape))?;
            let ceiling = ceiling(runner, audience, plan)?.map(|(ceiling, _)| ceiling);
            let control = |ceiling_per_s| Control {
                target: target.text.clone(),
                built_in_sink: false,
                own_cores: true,
                ceiling_per_s,
                headroom: None,
                cached: false,
            };
            if ceiling.is_none() {
                audience.say(&format!("note: the control {} completes nothing; there is no ceiling", target.text));
            }
            Ok(ceiling.map(control))
        }
        ControlRequest::BuiltInSink => built_in(runner, audience, shape, allowed, cache),
    }
}

fn built_in(
    runner: &mut Runner,
    audience: &mut impl Audience,
    shape: &Shape<'_>,
    allowed: &[u32],
    cache: bool,
) -> Result<Option<Control>, CapacityError> {
    let request = shape.request();
    if request.proxy_protocol.is_some() {
        audience.say("note: no control: the built-in sink does not speak the PROXY protocol; give --control TARGET");
        return Ok(None);
    }
    let secured = request.targets.iter().any(|target| target.tls);
    let scheme = if secured { "rtmps" } else { "rtmp" };
    let placeholder: TargetText = format!("{scheme}://{NAME}:1").parse()?;
    let sketch = shape.plan_against(placeholder, closed(shape))?;
    let others: Vec<u32> = allowed.iter().copied().filter(|cpu| !sketch.cpus.contains(cpu)).collect();
    let (cpus, own_cores) = if others.is_empty() { (sketch.cpus.clone(), false) } else { (others, true) };
    let key = cache_key(&sketch, &cpus, allowed);
    let control = |ceiling_per_s, cached| Control {
        target: "the built-in sink on this machine".to_owned(),
        built_in_sink: true,
        own_cores,
        ceiling_per_s,
        headroom: None,
        cached,
    };
    if let Some(known) = Cached::read(&key).filter(|_| cache) {
        return Ok(Some(control(known.ceiling_per_s, true)));
    }
    let identity = if secured { Some(ControlIdentity::new()?) } else { None };
    let descriptors = shape.machine().descriptors;
    let sink = Sink::start(SinkPlan {
        tls: identity.as_ref().map(ControlIdentity::server).transpose()?,
        ..SinkPlan::for_load(sketch.engine, sketch.concurrency(), cpus, descriptors, sketch.seed)
    })
    .map_err(|error| CapacityError::Environment(error.to_string()))?;
    let target: TargetText = format!("{scheme}://{}/live", sink.address()).parse()?;
    let mut plan = shape.plan_against(target, closed(shape))?;
    if let (Some(identity), Some(tls)) = (&identity, &mut plan.tls) {
        (tls.ca, tls.server_name) = (Some(identity.certificate()), None);
    }
    let ceiling = ceiling(runner, audience, plan);
    sink.stop();
    let ceiling = ceiling?;
    // What was measured beside other work is no ceiling of this machine for another time.
    if let Some((ceiling_per_s, true)) = ceiling {
        Cached { ceiling_per_s }.write(&key);
    }
    Ok(ceiling.map(|(ceiling, _)| control(ceiling, false)))
}

fn closed(shape: &Shape<'_>) -> Load {
    let workers = shape.request().workers.unwrap_or_else(|| shape.cores());
    Load::Closed { slots: workers.max(1).saturating_mul(SLOTS_PER_WORKER), attempts: None, length: Some(LENGTH) }
}

/// Completed a second, and whether the workers had their cores for themselves; none if hardly anything completed.
fn ceiling(
    runner: &mut Runner,
    audience: &mut impl Audience,
    plan: RunPlan,
) -> Result<Option<(f64, bool)>, CapacityError> {
    let loaded = runner.run(plan, &mut Silent(audience))?;
    let result = RunResult::assemble(loaded.ran.parts);
    let whole = result.interrupted.is_none() && result.attempts.completed >= LEAST_ATTEMPTS;
    let alone = !result.generator.findings.iter().any(Finding::is_lost_cpu_time);
    Ok(whole.then_some((result.rate.completed_per_s, alone)))
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
    let environment = crate::run::host::environment(plan.engine);
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
