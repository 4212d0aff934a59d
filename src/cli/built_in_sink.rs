//! The target of a run without one: the built-in sink on loopback, on cores of its own where there are two.

use std::net::{Ipv4Addr, SocketAddr};

use crate::base::Nanos;
use crate::run::RunPlan;
use crate::scenario::Machine;
use crate::sink::{Sink, SinkPlan, VerifyC2};

use super::exit::CliError;

/// Starts the sink for `plan` and puts its address into the plan.
pub(super) fn start(plan: &mut RunPlan, machine: &Machine) -> Result<Sink, CliError> {
    let slots = plan.concurrency();
    let cpus: Vec<u32> = match machine.cpus.iter().copied().filter(|cpu| !plan.cpus.contains(cpu)).collect::<Vec<_>>() {
        none if none.is_empty() => machine.cpus.clone(),
        others => others,
    };
    // Connections are spread over the workers by hash, so each gets room for more than its even share. A slot is also
    // busy from the client's reset until the sink has seen it, while the client already opens the next connection.
    let wanted = slots.saturating_mul(2).max(1_024);
    let workers = wanted.div_ceil(machine.descriptors.max(1)).max(cpus.len() as u32).max(1);
    let slots_per_worker = wanted.div_ceil(workers).saturating_mul(2).min(machine.descriptors);
    let sink = Sink::start(SinkPlan {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        engine: plan.engine,
        workers,
        cpus,
        verify: VerifyC2::All,
        delay: Nanos::ZERO,
        slots_per_worker,
        reject: Vec::new(),
        ping_every: Nanos::ZERO,
        tls: None,
        seed: plan.seed,
    })
    .map_err(|error| CliError::environment(error.to_string()))?;
    for target in &mut plan.targets {
        target.address = sink.address();
    }
    Ok(sink)
}
