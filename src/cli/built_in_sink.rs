//! The target of a run without one: the built-in sink on loopback, on cores of its own where there are two.

use crate::run::RunPlan;
use crate::scenario::Machine;
use crate::sink::{Sink, SinkPlan};

use super::exit::CliError;

/// Starts the sink for `plan` and puts its address into the plan.
pub(super) fn start(plan: &mut RunPlan, machine: &Machine) -> Result<Sink, CliError> {
    let cpus = machine.topology.apart_from(&plan.cpus);
    let sink = Sink::start(SinkPlan::for_load(plan.engine, plan.concurrency(), cpus, machine.descriptors, plan.seed))
        .map_err(|error| CliError::environment(error.to_string()))?;
    for target in &mut plan.targets {
        target.address = sink.address();
    }
    Ok(sink)
}
