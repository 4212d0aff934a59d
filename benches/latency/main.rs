//! Are the reported latencies true? An open-loop run whose percentiles are compared with those of a packet capture.
//!
//! The built binary loads the built-in sink, a worker on one CPU and a sink on another, while tcpdump records the headers
//! on loopback: needs root, or a tcpdump with CAP_NET_RAW, and a machine with two CPUs that does nothing else. The exit
//! code is 1 if `service` is farther from what was on the wire than the limits below. `--quick` is a shorter run.

#[path = "../rounds/mod.rs"]
#[allow(dead_code, reason = "what benches that compare in rounds want")]
mod rounds;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::error::Error;
use std::process::ExitCode;

use support::{CapturedRun, Compared};

/// What `service` may differ by, in microseconds.
const LIMITS_US: [(&str, f64); 2] = [("p50", 50.0), ("p99", 100.0)];

const FULL: &str = "-R 2k/s -d 20s";
const QUICK: &str = "-R 2k/s -d 6s";

fn main() -> ExitCode {
    rounds::main("latency", |quick| run(if quick { QUICK } else { FULL }))
}

fn run(load: &str) -> Result<(), Box<dyn Error>> {
    let run = CapturedRun::record(load);
    print_head(&run, load);
    let spans = run.compare();
    spans.iter().for_each(print_rows);
    print_error_bar(&run);
    let beyond = beyond_limits(&spans[0]);
    if beyond.is_empty() { Ok(()) } else { Err(beyond.join("; ").into()) }
}

fn print_head(run: &CapturedRun, load: &str) {
    println!("{}", rounds::this_machine());
    match run.result.workers[0].cpu {
        Some(cpu) if cpu != run.sink_cpu => println!("worker on CPU {cpu}, sink on CPU {}, loopback", run.sink_cpu),
        _ => println!("worker and sink share CPU {}, loopback: THE FIGURES SAY LITTLE", run.sink_cpu),
    }
    println!("complex, verify all, close rst, {load}");
    println!("{} handshakes, each of them in the capture; no packet was dropped\n", run.captured.len());
}

fn print_rows(span: &Compared<'_>) {
    let percentiles = span.percentiles();
    let row = |name: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>11}")).collect();
        println!("{name:<26}{cells}");
    };
    let us = |ns: f64| ns / 1e3;
    row("", percentiles.iter().map(|at| format!("{} (us)", at.name)).collect());
    let captured = percentiles.iter().map(|at| format!("{:.1}", us(at.captured_ns as f64)));
    row(&format!("{}, captured", span.on_the_wire), captured.collect());
    let reported = percentiles.iter().map(|at| format!("{:.1}", us(at.reported_ns as f64)));
    row(&format!("{}, reported", span.name), reported.collect());
    row("difference", percentiles.iter().map(|at| format!("{:+.1}", us(at.excess_ns() as f64))).collect());
    println!();
}

fn print_error_bar(run: &CapturedRun) {
    let worker = &run.result.workers[0];
    let us = |ns: Option<u64>| ns.map_or("unknown".to_owned(), |ns| format!("{:.1} us", ns as f64 / 1e3));
    println!("turn p99 {}, longest {}", us(worker.turn_p99_ns), us(worker.turn_max_ns));
    println!("woke late: p99 {}", us(worker.oversleep_p99_ns));
}

/// What is wrong with `service`.
fn beyond_limits(service: &Compared<'_>) -> Vec<String> {
    let percentiles = service.percentiles();
    let broken = LIMITS_US.into_iter().filter_map(|(name, limit)| {
        let Some(at) = percentiles.iter().find(|at| at.name == name) else {
            return Some(format!("there are too few samples for {name}"));
        };
        let difference = at.excess_ns() as f64 / 1e3;
        (difference.abs() > limit)
            .then(|| format!("service {name} is off by {difference:+.1} us, more than {limit} us"))
    });
    broken.collect()
}
