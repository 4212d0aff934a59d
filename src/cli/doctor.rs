//! `shakedown doctor`: can this machine do it?

use std::collections::BTreeSet;

use serde::Serialize;

use super::choice::one_of;
use super::exit::{CliError, Exit};
use super::output::{self, Color};
use crate::doctor::{HeldPlan, examine, examine_held};
use crate::finding::{Finding, Severity};
use crate::host::MachineFacts;
use crate::io::Engine;
use crate::report::doctor::render;
use crate::scenario::SourceRange;

/// Check whether this machine can generate load, and say what to change
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// The engine that will generate the load
    #[arg(long, value_parser = one_of(Engine::WITH_SOCKETS), default_value_t)]
    engine: Engine,
    /// Check also whether this many connections can be held at once
    #[arg(long, value_name = "N", value_parser = parse_connections, allow_negative_numbers = true)]
    hold: Option<u64>,
    /// Local addresses that they are opened from [default: one]
    #[arg(long, value_name = "ADDR[-ADDR]", value_delimiter = ',', requires = "hold")]
    source: Vec<SourceRange>,
    /// The target runs on this machine, too
    #[arg(long, requires = "hold")]
    both_ends: bool,
    /// Print JSON: {"findings":[...]}
    #[arg(long)]
    json: bool,
    /// When to use colour
    #[arg(long, value_enum, default_value_t)]
    color: Color,
}

/// A number of connections, whole or in thousands or millions.
fn parse_connections(text: &str) -> Result<u64, String> {
    let thousands = text.strip_suffix('k').map(|number| (number, 1_000));
    let millions = text.strip_suffix('M').map(|number| (number, 1_000_000));
    let (number, unit) = thousands.or(millions).unwrap_or((text, 1));
    let connections = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    connections
        .filter(|connections| *connections > 0)
        .ok_or_else(|| "it is not a number of connections above zero; write for example 100000, 100k or 1M".to_owned())
}

#[derive(Serialize)]
struct Findings<'a> {
    findings: &'a [Finding],
}

/// Passes unless a finding is blocking.
pub(super) fn execute(args: &DoctorArgs) -> Result<Exit, CliError> {
    let (facts, engine) = (MachineFacts::detect(), args.engine);
    let mut findings = examine(&facts, engine);
    if let Some(connections) = args.hold {
        let sources: BTreeSet<_> = args.source.iter().flat_map(|range| range.addresses()).collect();
        let plan = HeldPlan { connections, pairs: sources.len().max(1) as u64, both_ends: args.both_ends, engine };
        findings.extend(examine_held(&plan, &facts));
    }
    if args.json {
        let json = serde_json::to_string_pretty(&Findings { findings: &findings })
            .map_err(|error| CliError::environment(format!("cannot write the findings as JSON: {error}")))?;
        output::print_json(&format!("{json}\n"))?;
    } else {
        let text = output::rendered(args.color.on_stdout(), |color| render(&findings, output::width(), color));
        output::print_rendered(&text)?;
    }
    let blocked = findings.iter().any(|finding| finding.severity == Severity::Blocking);
    Ok(if blocked { Exit(1) } else { Exit::PASS })
}

#[cfg(test)]
mod tests {
    use super::parse_connections;

    #[test]
    fn connections_are_counted_in_thousands_and_millions_as_well() {
        assert_eq!(["7", "100k", "1M"].map(parse_connections), [Ok(7), Ok(100_000), Ok(1_000_000)]);
        for text in ["0", "0k", "", "k", "-1", "1.5k", "1kk", "1kM", "99999999999999999999", "18446744073709551615k"] {
            assert!(parse_connections(text).is_err(), "{text}");
        }
    }
}
