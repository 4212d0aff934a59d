//! `shakedown doctor`: can this machine do it?

use serde::Serialize;

use super::engine::SocketEngineArg;
use super::exit::{CliError, Exit};
use super::output::{self, Color};
use crate::doctor::{Finding, MachineFacts, Severity, examine, render};

/// Check whether this machine can generate load, and say what to change
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// The engine that is to generate the load
    #[arg(long, value_enum, default_value_t)]
    engine: SocketEngineArg,
    /// The machine form: {"findings":[...]}
    #[arg(long)]
    json: bool,
    /// When to colour
    #[arg(long, value_enum, default_value_t)]
    color: Color,
}

#[derive(Serialize)]
struct Findings<'a> {
    findings: &'a [Finding],
}

/// Passes unless a finding is blocking.
pub(super) fn execute(args: &DoctorArgs) -> Result<Exit, CliError> {
    let findings = examine(&MachineFacts::detect(), args.engine.into());
    if args.json {
        let json = serde_json::to_string_pretty(&Findings { findings: &findings })
            .map_err(|error| CliError::environment(format!("cannot write the findings as JSON: {error}")))?;
        output::print(&format!("{json}\n"))?;
    } else {
        output::print(&render(&findings, output::width(), args.color.on_stdout()))?;
    }
    let blocked = findings.iter().any(|finding| finding.severity == Severity::Blocking);
    Ok(if blocked { Exit(1) } else { Exit::PASS })
}
