//! Do workers disturb each other? The same work by one worker and by one on each CPU, in turns: without a kernel, where
//! only memory that both write could slow them down, and against the built-in sink.
//!
//! Against the sink every worker has a sink of its own on its own CPU, so that a second worker brings a second CPU and
//! all that is on it: what a handshake costs, both ends together, should stay what it was. What it does not keep is the
//! kernel's part, the machine's, or the program's; the last row tells them apart: the same number of workers, which share
//! nothing but the kernel and the machine.

#[path = "../echo/mod.rs"]
mod echo;
mod load;
#[path = "../../tests/plans/mod.rs"]
mod plans;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use load::{Cost, Pairs, nanos};
use rustix::time::ClockId;
use shakedown::fleet::{allowed_cpus, pin_current_thread};

/// How long a bench is.
struct Extent {
    /// Measured rounds; one more before them warms up.
    rounds: usize,
    /// Attempts of each worker in a round, without a kernel and with it.
    attempts: (u64, u64),
    /// Increments of each thread in a round.
    increments: u64,
}

const FULL: Extent = Extent { rounds: 9, attempts: (200_000, 8_000), increments: 20_000_000 };
const QUICK: Extent = Extent { rounds: 5, attempts: (50_000, 2_000), increments: 5_000_000 };

fn main() -> ExitCode {
    let mut extent = FULL;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--bench" => {}
            "--quick" => extent = QUICK,
            flag if flag.starts_with('-') => {
                eprintln!("unknown argument `{flag}`; usage: cargo bench --bench sharing [-- --quick]");
                return ExitCode::from(2);
            }
            filter if "sharing".contains(filter) => {}
            _ => return ExitCode::SUCCESS,
        }
    }
    match run(&extent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sharing bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A row of the table: its name, its unit, and what it cost in each round beside the row it is compared with.
struct Row {
    name: &'static str,
    unit: &'static str,
    costs: Vec<f64>,
    beside: Option<usize>,
}

fn run(extent: &Extent) -> Result<(), Box<dyn Error>> {
    let cpus = allowed_cpus();
    if cpus.len() < 2 {
        return Err("it compares one worker with one on each CPU, and this process may use one CPU only".into());
    }
    let mut out = std::io::stdout();
    writeln!(out, "{} CPUs, {} rounds; costs are CPU time, medians of the rounds\n", cpus.len(), extent.rounds)?;
    let pairs = Pairs::start(&cpus)?;
    let row = |name, unit, beside| Row { name, unit, costs: Vec::new(), beside };
    let mut rows = vec![
        row("counting alone", "ns", None),
        row("each on lines of its own", "ns", Some(0)),
        row("all on one line", "ns", Some(0)),
        row("no kernel: 1 worker", "ns", None),
        row("no kernel: 1 worker a CPU", "ns", Some(3)),
        row("sink: 1 worker", "ns", None),
        row("sink: 1 worker a CPU", "ns", Some(5)),
        row("sink: 1 program's worth a CPU", "ns", Some(5)),
    ];
    for round in 0..=extent.rounds {
        // The one worker is on the first CPU and on the last one in turn.
        let one = if round % 2 == 0 { &cpus[..1] } else { &cpus[cpus.len() - 1..] };
        let (alone, linked) = extent.attempts;
        let costs = [
            counting(one, 16, extent.increments),
            counting(&cpus, 16, extent.increments),
            counting(&cpus, 1, extent.increments),
            per_attempt(load::without_kernel(one, alone)?),
            per_attempt(load::without_kernel(&cpus, alone)?),
            per_attempt(pairs.one_fleet(one, linked)?),
            per_attempt(pairs.one_fleet(&cpus, linked)?),
            per_attempt(pairs.fleets(&cpus, linked)?),
        ];
        if round > 0 {
            rows.iter_mut().zip(costs).for_each(|(row, cost)| row.costs.push(cost));
        }
    }
    for row in &rows {
        let ratio = row.beside.map(|beside| {
            let mut ratios: Vec<f64> =
                row.costs.iter().zip(&rows[beside].costs).map(|(cost, other)| cost / other).collect();
            ratios.sort_by(f64::total_cmp);
            format!("{:.3} ({:.3}-{:.3})", median(ratios.clone()), ratios[0], ratios[ratios.len() - 1])
        });
        let cost = median(row.costs.clone());
        writeln!(out, "{:<32}{cost:>10.1} {}  {}", row.name, row.unit, ratio.unwrap_or_else(|| "1".to_owned()))?;
    }
    writeln!(
        out,
        "\nns: for an increment, and for an attempt; against the sink that of both ends. Ratio: to the row of"
    )?;
    writeln!(out, "one in the same round, median and range.")?;
    pairs.stop();
    Ok(())
}

/// CPU time of an increment, by a thread on each of `cpus`; their counters lie `distance` counters apart.
fn counting(cpus: &[u32], distance: usize, increments: u64) -> f64 {
    let counters: Vec<AtomicU64> = (0..(cpus.len() + 1) * distance.max(16)).map(|_| AtomicU64::new(0)).collect();
    // The first that begins a pair of lines.
    let first =
        (0..16).find(|index| (&raw const counters[*index]).addr().is_multiple_of(128)).expect("one of sixteen does");
    let times = std::thread::scope(|scope| {
        let threads: Vec<_> = cpus
            .iter()
            .enumerate()
            .map(|(index, cpu)| {
                let counter = &counters[first + index * distance];
                scope.spawn(move || {
                    pin_current_thread(*cpu).expect("it is one of the cpuset's");
                    let began = nanos(ClockId::ThreadCPUTime);
                    for _ in 0..increments {
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                    (nanos(ClockId::ThreadCPUTime) - began) as f64 / increments as f64
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("it only counts")).collect::<Vec<f64>>()
    });
    times.iter().sum::<f64>() / times.len() as f64
}

fn per_attempt(cost: Cost) -> f64 {
    cost.cpu_ns as f64 / cost.attempts as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
