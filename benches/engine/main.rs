//! The generator against a bare epoll loop: what a handshake costs on the generator's core, and how many there are; and
//! what more than a handshake costs beside it: going on until Publish.Start, and TLS.
//!
//! All drive the built-in sink, which serves them on a core of its own, with 64 attempts in flight, each closed by an
//! RST. They take turns, so that whatever else the machine does falls on both; the ratio of two neighbours is the
//! figure to compare, and instructions repeat better than time. `--quick` is a shorter run with a wider spread.

#[path = "../../tests/support/authority.rs"]
mod authority;
mod bare;
mod contenders;
mod meter;
#[path = "../plan/mod.rs"]
mod plan;
#[path = "../rounds/mod.rs"]
mod rounds;
mod table;
mod target;
mod tokio_client;

use std::process::ExitCode;

use contenders::{CASES, Case};
use meter::Meter;
use shakedown::fleet::{allowed_cpus, pin_current_thread};
use table::{Machine, Round};
use target::Targets;

/// How long a bench is.
struct Extent {
    /// Measured rounds; one more before them warms up.
    rounds: usize,
    /// Attempts of each case in a round.
    attempts: u64,
}

const FULL: Extent = Extent { rounds: 7, attempts: 6_000 };
const QUICK: Extent = Extent { rounds: 5, attempts: 2_000 };

fn main() -> ExitCode {
    rounds::main("engine", |quick| run(if quick { &QUICK } else { &FULL }))
}

fn run(extent: &Extent) -> Result<(), Box<dyn std::error::Error>> {
    let name = rounds::this_machine();
    let cpus = allowed_cpus();
    let generator = *cpus.first().ok_or("this process may use no CPU")?;
    let sink_cpu = cpus.get(1).copied();
    let targets = Targets::start(sink_cpu.unwrap_or(generator))?;
    pin_current_thread(generator)?;
    let mut meter = Meter::open();
    let machine = Machine { name, generator, sink: sink_cpu };
    let mut out = std::io::stdout();
    table::write_head(&mut out, &machine, &meter, extent)?;

    let mut contenders = CASES.iter().map(|case| case.contender(&targets)).collect::<Result<Vec<_>, _>>()?;
    let mut rounds = Vec::new();
    for index in 0..=extent.rounds {
        let mut costs = vec![None; contenders.len()];
        // Every other round runs backwards: a machine that gets steadily slower favours nobody.
        let forwards = index % 2 == 0;
        for position in 0..contenders.len() {
            let turn = if forwards { position } else { contenders.len() - 1 - position };
            costs[turn] = Some(contenders[turn].run(extent.attempts, &mut meter)?);
        }
        if index > 0 {
            rounds.push(Round { costs: costs.into_iter().flatten().collect() });
        }
    }
    table::write_rows(&mut out, &CASES, &rounds, &meter)?;

    drop(contenders);
    let [plain, secured] = targets.stop();
    let attempts = |of: fn(&Case) -> bool| {
        (extent.rounds as u64 + 1) * extent.attempts * CASES.iter().filter(|case| of(case)).count() as u64
    };
    for (what, seen, expected) in [
        ("complete handshakes", plain.c2_unchecked, attempts(|case| !case.is_secured())),
        ("complete handshakes over TLS", secured.c2_unchecked, attempts(Case::is_secured)),
        ("publishers", plain.published, attempts(Case::publishes)),
    ] {
        if seen != expected {
            return Err(format!("the sink saw {seen} {what} of {expected}").into());
        }
    }
    Ok(())
}
