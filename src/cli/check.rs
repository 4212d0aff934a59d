//! `shakedown check`: the effective plan of a scenario, without a look-up of names and without traffic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::base::{DurationText, host_address};
use crate::fleet::CpuList;
use crate::io::Engine;
use crate::report;
use crate::run::{MemoryNeed, RunPlan, check_address_space, preflight};
use crate::scenario::{Machine, Request, Resolved, TargetText, check_prospects, read_file, resolve};

use super::choice::choice;
use super::exit::{CliError, Exit};
use super::{cpus, lookup, output};

/// Flags of `shakedown check`.
#[derive(clap::Args, Debug)]
pub(super) struct CheckArgs {
    /// The scenario file
    #[arg(value_name = "SCENARIO.toml")]
    scenario: PathBuf,
    /// Targets in place of the file's
    #[arg(value_name = "TARGET")]
    targets: Vec<TargetText>,
    /// The engine in place of the file's
    #[arg(long, value_parser = choice::<Engine>())]
    engine: Option<Engine>,
    /// The CPUs of the workers in place of the file's
    #[arg(long, value_name = "LIST", value_parser = cpus::parse)]
    cpus: Option<CpuList>,
    /// End the load after this long
    #[arg(short, long, value_name = "DURATION")]
    duration: Option<DurationText>,
    /// Print the plan, and the memory that it needs, as JSON
    #[arg(long)]
    json: bool,
}

/// The plan as a result has it, and what it needs.
#[derive(Serialize)]
struct Checked<'a> {
    #[serde(flatten)]
    plan: &'a RunPlan,
    memory: &'a MemoryNeed,
}

/// Prints what `run` would do.
pub(super) fn execute(args: &CheckArgs) -> Result<Exit, CliError> {
    let flags = Request {
        targets: args.targets.clone(),
        duration: args.duration.map(|duration| duration.0),
        engine: args.engine,
        cpus: args.cpus.clone(),
        ..Request::default()
    };
    let file = read_file(&args.scenario).map_err(|error| CliError::usage(error.to_string()))?;
    let request = file.overridden_by(&flags)?;
    let machine = Machine::detect();
    let Resolved { mut plan, notes } = match request.engine() {
        Engine::IoUring | Engine::Epoll => {
            resolve(&request, &machine, &|host, port| Ok(vec![lookup::stand_in(host, port, request.family)]))?
        }
        Engine::Sim => resolve(&request, &machine, &lookup::in_the_simulation)?,
    };
    check_prospects(&request, &plan)?;
    forget_stand_ins(&mut plan);
    check_address_space(&plan).map_err(|error| CliError::environment(error.to_string()))?;
    let memory = MemoryNeed::of(&Arc::new(plan.clone())).map_err(|error| CliError::usage(error.to_string()))?;
    if args.json {
        let checked = Checked { plan: &plan, memory: &memory };
        output::print_json(&(serde_json::to_string_pretty(&checked).expect("a plan is JSON") + "\n"))?;
    } else {
        output::print(&report::plan::render(&plan, request.seed, &machine, &memory, output::width()))?;
    }
    for note in notes.into_iter().chain(preflight::cut_holds(&plan)) {
        output::tell(&format!("note: {note}"));
    }
    Ok(Exit::PASS)
}

/// A name that was not looked up has the address 0.0.0.0 or ::, which nobody takes for a server's.
fn forget_stand_ins(plan: &mut RunPlan) {
    let named = plan.engine != Engine::Sim && !plan.built_in_sink;
    for target in plan.targets.iter_mut().filter(|target| named && host_address(&target.host).is_none()) {
        target.address.set_ip(match target.address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        });
    }
}
