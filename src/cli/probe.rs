//! `shakedown probe`: one handshake with each address of a target.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::exit::{CliError, Exit};
use super::output::{self, Color};
use crate::base::{DurationText, Seed};
use crate::measure::Side;
use crate::probe::{ProbeOutcome, ProbePlan, ProbeReport, probe};
use crate::protocol::{DigestAt, HandshakeMode};
use crate::scenario::{Allowance, TargetText, check_target, system_lookup};

/// Make one handshake and explain every step of it
///
/// A probe ends with the handshake: it sends no connect, so hooks of the target do not fire. How far an attempt comes
/// after it, and over TLS, tells `shakedown run -n 1 --until publish`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ProbeArgs {
    /// rtmp://host[:port][/app], host:port or [v6]:port; each address of a name is probed
    target: TargetText,
    /// Handshake to ask for
    #[arg(long, value_enum, default_value_t = Mode::Complex)]
    mode: Mode,
    /// Where a complex C1 holds its digest (default: first-half)
    #[arg(long, value_enum)]
    digest: Option<Digest>,
    /// Limit from connected to complete
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    timeout: DurationText,
    /// Limit of the TCP connect
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    connect_timeout: DurationText,
    /// How long to watch what the server does once it has C2; 0s does not watch
    #[arg(long, value_name = "DURATION", default_value = "300ms")]
    linger: DurationText,
    /// Allow a target that is neither loopback nor private; repeatable
    #[arg(long, value_name = "CIDR|NAME")]
    allow_target: Vec<Allowance>,
    /// Repeat C1's random bytes
    #[arg(long)]
    seed: Option<Seed>,
    /// The machine form: {"handshakes":[...]}
    #[arg(long)]
    json: bool,
    /// When to colour
    #[arg(long, value_enum, default_value_t)]
    color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Simple,
    Complex,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Digest {
    FirstHalf,
    SecondHalf,
}

#[derive(Serialize)]
struct Handshakes<'a> {
    handshakes: &'a [ProbeReport],
}

/// Probes every address of the target, in the resolver's order. Passes if a handshake completed with one of them.
pub(super) fn execute(args: &ProbeArgs) -> Result<Exit, CliError> {
    let plans = plans(args)?;
    let mut reports = Vec::new();
    for (index, plan) in plans.iter().enumerate() {
        let turn = if plans.len() > 1 { format!(" ({} of {})", index + 1, plans.len()) } else { String::new() };
        output::tell(&format!("probing {}{turn}", plan.address));
        let report = probe(plan);
        if !args.json {
            let gap = if index > 0 { "\n" } else { "" };
            output::print(&format!("{gap}{}", report.render(output::width(), args.color.on_stdout())))?;
        }
        reports.push(report);
    }
    if args.json {
        let json = serde_json::to_string_pretty(&Handshakes { handshakes: &reports })
            .map_err(|error| CliError::environment(format!("cannot write the reports as JSON: {error}")))?;
        output::print(&format!("{json}\n"))?;
    }
    Ok(exit(&reports))
}

fn plans(args: &ProbeArgs) -> Result<Vec<ProbePlan>, CliError> {
    if args.mode == Mode::Simple && args.digest.is_some() {
        return Err(CliError::usage("--digest says where a complex C1 holds its digest; --mode simple has none"));
    }
    for (flag, DurationText(limit)) in [("--timeout", args.timeout), ("--connect-timeout", args.connect_timeout)] {
        if limit < Duration::from_millis(1) {
            return Err(CliError::usage(format!(
                "{flag} must be 1ms or more: nothing could complete within {limit:?}"
            )));
        }
    }
    if args.target.tls {
        return Err(CliError::usage(format!(
            "{} is a target with TLS, and probe shows every byte of a handshake as it crosses the network, which TLS \
             hides; probe its rtmp:// port, or see how far an attempt comes with `shakedown run -n 1`",
            args.target.text
        )));
    }
    let addresses = args.target.addresses(&system_lookup)?;
    for &address in &addresses {
        check_target(&args.target, address, &args.allow_target)?;
    }
    let seed = args.seed.unwrap_or_else(Seed::random);
    let plan = |address| ProbePlan {
        target: args.target.text.clone(),
        address,
        mode: match args.mode {
            Mode::Simple => HandshakeMode::Simple,
            Mode::Complex => HandshakeMode::Complex,
        },
        digest_at: match args.digest {
            None | Some(Digest::FirstHalf) => DigestAt::FirstHalf,
            Some(Digest::SecondHalf) => DigestAt::SecondHalf,
        },
        connect_timeout: args.connect_timeout.0,
        timeout: args.timeout.0,
        linger: args.linger.0,
        seed,
    };
    Ok(addresses.into_iter().map(plan).collect())
}

fn exit(reports: &[ProbeReport]) -> Exit {
    let completed = |report: &ProbeReport| matches!(report.outcome, ProbeOutcome::Completed { .. });
    let ours = |report: &ProbeReport| matches!(report.outcome, ProbeOutcome::Failed { side: Side::Generator, .. });
    if reports.iter().any(completed) {
        Exit::PASS
    } else if reports.iter().all(ours) {
        Exit(1)
    } else {
        Exit::TARGET_FAILED
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        probe: ProbeArgs,
    }

    fn plans_of(words: &[&str]) -> Result<Vec<ProbePlan>, CliError> {
        plans(&Cli::try_parse_from([&["probe"], words].concat()).unwrap().probe)
    }

    #[test]
    fn defaults_are_those_of_a_run() {
        let plans = plans_of(&["rtmp://127.0.0.1/live", "--seed", "7"]).unwrap();
        assert_eq!(
            plans,
            [ProbePlan {
                target: "rtmp://127.0.0.1/live".into(),
                address: "127.0.0.1:1935".parse().unwrap(),
                mode: HandshakeMode::Complex,
                digest_at: DigestAt::FirstHalf,
                connect_timeout: Duration::from_secs(10),
                timeout: Duration::from_secs(10),
                linger: Duration::from_millis(300),
                seed: Seed::new(7),
            }]
        );
    }

    #[test]
    fn contradictions_are_usage_errors() {
        for (words, cause) in [
            (&["127.0.0.1:1", "--mode", "simple", "--digest", "second-half"][..], "--digest"),
            (&["127.0.0.1:1", "--timeout", "0s"], "--timeout"),
            (&["127.0.0.1:1", "--connect-timeout", "1us"], "--connect-timeout"),
            (&["203.0.113.1:1935"], "--allow-target 203.0.113.1"),
            (&["rtmps://127.0.0.1/live"], "which TLS hides"),
        ] {
            let error = plans_of(words).unwrap_err();
            assert_eq!(error.exit, Exit(2));
            assert!(error.message.contains(cause), "{}", error.message);
        }
        assert!(plans_of(&["203.0.113.1:1935", "--allow-target", "203.0.113.0/24"]).is_ok());
    }
}
