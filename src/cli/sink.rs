//! `shakedown sink`: the built-in target.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

use crate::base::{DurationText, Nanos, Seed};
use crate::engine::Verify;
use crate::fleet::{CpuList, allowed_cpus};
use crate::io::Engine;
use crate::io::tls::{TlsServer, TlsServerPlan};
use crate::protocol::session::RejectRule;
use crate::run::{ControlRuntime, Signals};
use crate::scenario::{Machine, system_lookup};
use crate::sink::{Sink, SinkPlan};

use super::choice::{choice, one_of};
use super::cpus;
use super::exit::{CliError, Exit};
use super::output;

/// Flags of `shakedown sink`.
#[derive(clap::Args, Debug)]
pub(super) struct SinkArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:1935", value_parser = parse_address)]
    listen: SocketAddr,
    /// Worker threads, each for as many connections as `ulimit -Hn` says [default: one for each CPU of --cpus, or each
    /// allowed core]
    #[arg(short = 't', long, value_name = "N")]
    workers: Option<u32>,
    /// Which C2s are checked; sample is 1 in 64
    #[arg(long, value_parser = choice::<Verify>(), default_value_t = Verify::All)]
    verify: Verify,
    /// Answer C0C1 only after this long
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    delay: DurationText,
    /// Refuse what this rule matches; repeatable, the first match decides. WHAT[:PATTERN]:HOW, for example
    /// connect:rejected, connect:app=old*:redirect=rtmp://b/live, publish:name=live-*:name-taken, publish:unauthorized,
    /// publish:close, play:not-found; the other ways are the same for every WHAT
    #[arg(long, value_name = "RULE")]
    reject: Vec<RejectRule>,
    /// Send clients a ping this often, from their connect on [default: never]
    #[arg(long, value_name = "DURATION")]
    ping_every: Option<DurationText>,
    /// Speak TLS (rtmps), with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Pin the workers to these CPUs, in this order: 1 or 2-15,17; with more workers than CPUs, CPUs are used again in turn
    #[arg(long, value_name = "LIST", value_parser = cpus::parse)]
    cpus: Option<CpuList>,
    /// I/O engine; epoll where io_uring is forbidden
    #[arg(long, value_parser = one_of(Engine::WITH_SOCKETS), default_value_t)]
    engine: Engine,
    /// Print JSON, one object per line: the address, and the counts at the end
    #[arg(long)]
    json: bool,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let with_zone = || {
        let (host, port) = text.strip_prefix('[')?.split_once("]:")?;
        system_lookup(host, port.parse().ok()?).ok()?.first().copied()
    };
    text.parse().ok().or_else(with_zone).ok_or_else(|| {
        format!("'{text}' is not an address and a port; write for example 127.0.0.1:1935, 0.0.0.0:0 or [::]:1935")
    })
}

/// A line of JSON.
fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("it has string keys only") + "\n"
}

/// Serves until a signal ends it, then prints what was seen.
pub(super) fn execute(args: &SinkArgs) -> Result<Exit, CliError> {
    let machine = Machine::detect();
    let (default_workers, cpus) = match &args.cpus {
        Some(list) => {
            list.check_within(&allowed_cpus()).map_err(|error| CliError::usage(format!("--cpus: {error}")))?;
            (list.as_slice().len() as u32, list.as_slice().to_vec())
        }
        None => (machine.workers(), machine.topology.cpus()),
    };
    if args.workers == Some(0) {
        return Err(CliError::usage("-t 0 leaves no worker; give at least 1"));
    }
    if args.ping_every.is_some_and(|every| every.0.is_zero()) {
        return Err(CliError::usage("--ping-every 0s would ask without end; give it a length, or leave it out"));
    }
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => {
            let plan = TlsServerPlan { certificate: certificate.clone(), key: key.clone() };
            Some(TlsServer::load(&plan).map_err(|error| CliError::usage(error.to_string()))?)
        }
        _ => None,
    };
    super::run::raise_descriptor_limit();
    super::run::check_descriptors()?;
    super::run::check_clock()?;
    let runtime = ControlRuntime::plain().map_err(|error| CliError::environment(error.to_string()))?;
    runtime.block_on(async {
        let failed = |error| CliError::environment(format!("cannot listen for signals: {error}"));
        let mut signals = Signals::new().map_err(failed)?;
        let sink = Sink::start(SinkPlan {
            listen: args.listen,
            engine: args.engine,
            workers: args.workers.unwrap_or(default_workers),
            cpus: cpus.clone(),
            verify: args.verify,
            delay: Nanos::from(args.delay.0),
            slots_per_worker: machine.descriptors,
            reject: args.reject.clone(),
            ping_every: args.ping_every.map_or(Nanos::ZERO, |every| Nanos::from(every.0)),
            tls,
            seed: Seed::random(),
        })
        .map_err(|error| CliError::environment(error.to_string()))?;
        let address = sink.address();
        output::print(&match args.json {
            true => line(&serde_json::json!({ "listening": address.to_string() })),
            false => format!("listening on {address}\n"),
        })?;
        signals.next().await;
        let counts = sink.stop();
        output::end_by_signals();
        output::print(&if args.json { line(&counts) } else { format!("{counts}\n") })?;
        Ok(Exit::PASS)
    })
}

#[cfg(test)]
mod tests {
    use super::parse_address;

    #[test]
    fn an_address_may_have_the_zone_that_leads_to_it() {
        for (text, address) in [
            ("127.0.0.1:1935", "127.0.0.1:1935"),
            ("[::]:0", "[::]:0"),
            ("[fe80::1%lo]:1935", "[fe80::1%1]:1935"),
            ("[fe80::1%1]:1935", "[fe80::1%1]:1935"),
        ] {
            assert_eq!(parse_address(text).unwrap().to_string(), address, "{text}");
        }
        for text in ["127.0.0.1", "[fe80::1%nowhere]:1935", "[fe80::1%lo]", "localhost:1935"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }
}
