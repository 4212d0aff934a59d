//! `shakedown probe`: one connection to each address of a target, explained.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::choice::choice;
use super::exit::{CliError, Exit};
use super::output::{self, Color};
use crate::base::{DurationText, Secret, Seed};
use crate::io::tls::{TlsClient, TlsClientPlan, Trust};
use crate::load::{NameValues, StreamName};
use crate::measure::{Side, Until};
use crate::probe::{ProbeOutcome, ProbePlan, ProbeReport, ProbeSession, probe};
use crate::protocol::{ClientProfile, DigestAt, HandshakeMode};
use crate::run::{DEFAULT_STREAM, Target, clock_of_this_machine};
use crate::scenario::{Allowance, TargetText, check_target, system_lookup};

/// Make one connection and explain every step of it
///
/// A probe ends with the handshake: it sends no connect, so hooks of the target do not fire. One that is to go on (see
/// --until) says what was said by both sides, and why the target refuses if it does.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ProbeArgs {
    /// rtmp://host[:port][/app[/stream]], rtmps://..., host:port or [v6]:port; each address of a name is probed
    target: TargetText,
    /// How far to go
    #[arg(long, value_parser = choice::<Until>(), default_value_t = Until::Handshake)]
    until: Until,
    /// Imitate this client, such as ffmpeg or obs [default: shakedown, this program's own]
    #[arg(long, value_name = "NAME")]
    client: Option<ClientProfile>,
    /// Name of the stream that is published or played [default: that of the target; published: shakedown-0]
    #[arg(long, value_name = "NAME")]
    stream: Option<StreamName>,
    /// Handshake to ask for [default: complex]
    #[arg(long, value_parser = choice::<HandshakeMode>())]
    mode: Option<HandshakeMode>,
    /// Where a complex C1 holds its digest [default: first-half]
    #[arg(long, value_parser = choice::<DigestAt>())]
    digest: Option<DigestAt>,
    /// Timeout from connected to complete
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    timeout: DurationText,
    /// Timeout of the TCP connect
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    connect_timeout: DurationText,
    /// How long to watch the server afterwards; 0s does not watch
    #[arg(long, value_name = "DURATION", default_value = "300ms")]
    linger: DurationText,
    /// Accept the certificates of the authorities in this PEM file only [default: those this host trusts]
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Accept any certificate
    #[arg(long)]
    insecure: bool,
    /// Ask for this name and check the certificate for it [default: the target's host]
    #[arg(long, value_name = "NAME")]
    tls_name: Option<String>,
    /// Allow a target that is neither loopback nor private; repeatable
    #[arg(long, value_name = "CIDR|NAME")]
    allow_target: Vec<Allowance>,
    /// Repeat C1's random bytes
    #[arg(long)]
    seed: Option<Seed>,
    /// Print JSON: {"handshakes":[...]}
    #[arg(long)]
    json: bool,
    /// When to use colour
    #[arg(long, value_enum, default_value_t)]
    color: Color,
}

#[derive(Serialize)]
struct Handshakes<'a> {
    handshakes: &'a [ProbeReport],
}

/// Probes every address of the target, in the resolver's order. Passes if one of them came as far as was asked.
pub(super) fn execute(args: &ProbeArgs) -> Result<Exit, CliError> {
    let plans = plans(args)?;
    if args.target.tls {
        super::run::check_clock()?;
    }
    let mut reports = Vec::new();
    for (index, plan) in plans.iter().enumerate() {
        let turn = if plans.len() > 1 { format!(" ({} of {})", index + 1, plans.len()) } else { String::new() };
        output::tell(&format!("probing {}{turn}", plan.address));
        let report = probe(plan);
        if !args.json {
            let gap = if index > 0 { "\n" } else { "" };
            let text = output::rendered(args.color.on_stdout(), |color| report.render(output::width(), color));
            output::print_rendered(&format!("{gap}{text}"))?;
        }
        reports.push(report);
    }
    if args.json {
        let json = serde_json::to_string_pretty(&Handshakes { handshakes: &reports })
            .map_err(|error| CliError::environment(format!("cannot write the reports as JSON: {error}")))?;
        output::print_json(&format!("{json}\n"))?;
    }
    Ok(exit(&reports))
}

fn plans(args: &ProbeArgs) -> Result<Vec<ProbePlan>, CliError> {
    for (flag, DurationText(limit)) in [("--timeout", args.timeout), ("--connect-timeout", args.connect_timeout)] {
        if limit < Duration::from_millis(1) {
            return Err(CliError::usage(format!(
                "{flag} must be 1ms or more: nothing could complete within {limit:?}"
            )));
        }
    }
    let (profile, mode, digest_at) = client(args)?;
    let tls = tls(args)?;
    let addresses = args.target.addresses(&system_lookup, None)?;
    // Addresses of one URL differ in nothing that is said.
    let said = match addresses.first() {
        Some(&address) => session(args, &Target::of(&args.target, address), profile)?,
        None => None,
    };
    for &address in &addresses {
        check_target(&args.target, address, &args.allow_target)?;
    }
    let seed = args.seed.unwrap_or_else(Seed::random);
    let clock = clock_of_this_machine();
    let plan = |address| ProbePlan {
        target: args.target.text.clone(),
        address,
        tls: tls.clone(),
        profile,
        clock,
        mode,
        digest_at,
        session: said.clone(),
        connect_timeout: args.connect_timeout.0,
        timeout: args.timeout.0,
        linger: args.linger.0,
        seed,
    };
    Ok(addresses.into_iter().map(plan).collect())
}

/// Whom to imitate, and the handshake that goes with it.
fn client(args: &ProbeArgs) -> Result<(ClientProfile, HandshakeMode, DigestAt), CliError> {
    if args.mode == Some(HandshakeMode::Simple) && args.digest.is_some() {
        return Err(CliError::usage("--digest says where a complex C1 holds its digest; --mode simple has none"));
    }
    let (mode, digest_at) = (args.mode, args.digest);
    let profile = args.client.unwrap_or(ClientProfile::Shakedown);
    if profile == ClientProfile::Shakedown {
        let (mode, digest_at) = (mode.unwrap_or(HandshakeMode::Complex), digest_at.unwrap_or(DigestAt::FirstHalf));
        return Ok((profile, mode, digest_at));
    }
    if profile.is_hostile() {
        return Err(CliError::usage(format!(
            "{profile} breaks the rules, and a probe explains a connection that keeps them; `shakedown run -n 1 \
             --client {profile}` shows what the target does with it"
        )));
    }
    let spec = profile.spec();
    let contradicts = mode.is_some_and(|mode| mode != spec.mode)
        || digest_at.is_some_and(|at| spec.mode == HandshakeMode::Simple || at != spec.digest_at);
    if contradicts {
        return Err(CliError::usage(format!(
            "{profile} has a handshake of its own, which --mode or --digest contradicts; drop them or --client"
        )));
    }
    Ok((profile, spec.mode, spec.digest_at))
}

/// How the target is secured.
fn tls(args: &ProbeArgs) -> Result<Option<TlsClient>, CliError> {
    if !args.target.tls {
        return match args.tls_ca.is_some() || args.insecure || args.tls_name.is_some() {
            true => Err(CliError::usage(
                "TLS is asked for and the target does not use it; write rtmps:// for it, or drop the flag",
            )),
            false => Ok(None),
        };
    }
    let trust = match &args.tls_ca {
        Some(_) if args.insecure => {
            return Err(CliError::usage(
                "TLS cannot both check certificates by an authority (--tls-ca) and accept any (--insecure); drop one of them",
            ));
        }
        None if args.insecure => Trust::Anybody,
        Some(file) => Trust::Authorities(file.clone()),
        None => Trust::System,
    };
    let server_name = args.tls_name.clone().unwrap_or_else(|| args.target.host.clone());
    let plan = TlsClientPlan { server_name, trust, resume: false };
    let clients = TlsClient::load(&[Some(plan)]).map_err(|error| CliError::usage(error.to_string()))?;
    Ok(clients.into_iter().flatten().next())
}

/// The name of the stream, if the probe comes so far.
fn stream(args: &ProbeArgs, target: &Target, profile: ClientProfile) -> Result<String, CliError> {
    let until = args.until;
    let (can, what) = match until {
        Until::Publish => (profile.publishes(), "publish"),
        Until::Play => (profile.plays(), "play"),
        _ if args.stream.is_some() => {
            return Err(CliError::usage(
                "--stream names a stream and the probe ends before any; add --until publish or play, or drop it",
            ));
        }
        _ => return Ok(String::new()),
    };
    if !can {
        return Err(CliError::usage(format!("{profile} does not {what}, as --until {what} asks; drop one of them")));
    }
    let named = args.stream.as_ref().or(target.stream_for(profile));
    let name = match named {
        None if until == Until::Play => {
            return Err(CliError::usage(
                "--until play needs the name of a stream that is published: give it with --stream, or in the target's URL",
            ));
        }
        None => DEFAULT_STREAM.parse().expect("it is a name"),
        Some(name) => name.clone(),
    };
    if name.needs_keys() {
        return Err(CliError::usage(
            "{key} stands for a key of --stream-keys, which a probe has not; write the key itself",
        ));
    }
    let values = NameValues { id: 0, slot: 0, worker: 0, source: "any", key: "" };
    let mut bytes = vec![0; name.max_len(values.source.len(), 0)];
    let size = name.write(&values, &mut bytes);
    Ok(String::from_utf8_lossy(&bytes[..size]).into_owned())
}

/// What is said to the target after the handshake, if anything is.
fn session(args: &ProbeArgs, target: &Target, profile: ClientProfile) -> Result<Option<ProbeSession>, CliError> {
    let stream = stream(args, target, profile)?;
    let until = args.until;
    let app = target.app_for(profile);
    Ok((until != Until::Handshake).then(|| ProbeSession {
        until,
        tc_url: Secret::new(target.tc_url_of(&app)),
        app: Secret::new(app),
        stream: Secret::new(stream),
    }))
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
        let [plan] = plans.as_slice() else { panic!("{plans:?}") };
        assert_eq!((plan.target.as_str(), plan.address), ("rtmp://127.0.0.1/live", "127.0.0.1:1935".parse().unwrap()));
        assert_eq!((plan.mode, plan.digest_at), (HandshakeMode::Complex, DigestAt::FirstHalf));
        assert_eq!((plan.profile, plan.seed), (ClientProfile::Shakedown, Seed::new(7)));
        assert!(plan.tls.is_none() && plan.session.is_none());
        let limits = [plan.connect_timeout, plan.timeout, plan.linger];
        assert_eq!(limits, [Duration::from_secs(10), Duration::from_secs(10), Duration::from_millis(300)]);
    }

    #[test]
    fn what_is_said_comes_from_the_target_and_shows_no_secret() {
        let url = "rtmp://127.0.0.1/live/k3y?token=t0ken";
        let plans = plans_of(&[url, "--until", "publish", "--client", "obs"]).unwrap();
        let session = plans[0].session.as_ref().unwrap();
        assert_eq!(session.stream.reveal().unwrap(), "k3y?token=t0ken");
        assert_eq!(session.app.reveal().unwrap(), "live");
        assert_eq!(plans[0].mode, HandshakeMode::Simple);
        let shown = format!("{plans:?}");
        assert!(!shown.contains("k3y") && !shown.contains("t0ken"), "{shown}");
        let split = |client| {
            let plans = plans_of(&["rtmp://127.0.0.1/a/b/c/d", "--until", "publish", "--client", client]).unwrap();
            let session = plans[0].session.clone().unwrap();
            [session.app, session.stream].map(|text| text.reveal().unwrap().clone())
        };
        assert_eq!([split("ffmpeg"), split("obs")], [["a/b", "c/d"], ["a/b/c", "d"]]);
        let named = plans_of(&["127.0.0.1:1935", "--until", "publish", "--stream", "a{id}"]).unwrap();
        assert_eq!(named[0].session.as_ref().unwrap().stream.reveal().unwrap(), "a0");
    }

    #[test]
    fn contradictions_are_usage_errors() {
        for (words, cause) in [
            (&["127.0.0.1:1", "--mode", "simple", "--digest", "second-half"][..], "--digest"),
            (&["127.0.0.1:1", "--timeout", "0s"], "--timeout"),
            (&["127.0.0.1:1", "--connect-timeout", "1us"], "--connect-timeout"),
            (&["203.0.113.1:1935"], "--allow-target 203.0.113.1"),
            (&["rtmp://127.0.0.1/live", "--insecure"], "write rtmps://"),
            (&["rtmps://127.0.0.1/live", "--insecure", "--tls-ca", "x"], "drop one of them"),
            (&["127.0.0.1:1", "--client", "no-c2"], "breaks the rules"),
            (&["127.0.0.1:1", "--client", "obs", "--mode", "complex"], "a handshake of its own"),
            (&["127.0.0.1:1", "--client", "obs", "--until", "play", "--stream", "a"], "obs does not play"),
            (&["127.0.0.1:1", "--until", "play"], "--stream"),
            (&["127.0.0.1:1", "--until", "connect", "--stream", "a"], "before any"),
            (&["127.0.0.1:1", "--until", "publish", "--stream", "{key}"], "write the key"),
        ] {
            let error = plans_of(words).unwrap_err();
            assert_eq!(error.exit, Exit(2));
            assert!(error.message.contains(cause), "{}", error.message);
        }
        assert!(plans_of(&["203.0.113.1:1935", "--allow-target", "203.0.113.0/24"]).is_ok());
    }
}
