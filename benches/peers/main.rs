//! The built program beside other RTMP clients, each as a process of its own: what a handshake costs, all in.
//!
//! The clients have one core and the server another: the built-in sink, then nginx with its RTMP module. The engine
//! bench compares threads that are warm; here the start of a process counts, its other threads and its end, for
//! everybody. A client or a server that is not installed is a row that says so. `--quick` makes fewer handshakes.

#[path = "../../tests/support/authority.rs"]
#[allow(dead_code, reason = "the certificates that nginx could be given")]
mod authority;
mod clients;
#[path = "../../tests/support/nginx.rs"]
#[allow(dead_code, reason = "what tests want of nginx")]
mod nginx;
#[path = "../../tests/support/process.rs"]
#[allow(dead_code, reason = "what tests want of processes")]
mod process;
#[path = "../rounds/mod.rs"]
mod rounds;
mod servers;
mod spent;
mod table;

use std::error::Error;
use std::process::ExitCode;

use clients::ROWS;
use servers::{Claimed, Servers};
use shakedown::fleet::{allowed_cpus, pin_current_thread};
use spent::Spent;

/// How long a bench is.
struct Extent {
    rounds: usize,
    /// Handshakes of those who make many at once.
    many: u32,
    /// Handshakes of those who make one at a time.
    few: u32,
}

const FULL: Extent = Extent { rounds: 3, many: 10_000, few: 50 };
const QUICK: Extent = Extent { rounds: 1, many: 2_000, few: 10 };

/// What came of a row in one round.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    NotInstalled,
    Ended { completed: u64, p50_ms: Option<f64>, spent: Spent },
}

fn main() -> ExitCode {
    rounds::main("peers", |quick| run(if quick { &QUICK } else { &FULL }))
}

fn run(extent: &Extent) -> Result<(), Box<dyn Error>> {
    let machine = rounds::this_machine();
    let cpus = allowed_cpus();
    let clients_cpu = *cpus.first().ok_or("this process may use no CPU")?;
    let server_cpu = cpus.get(1).copied();
    // Processes inherit their CPU from who starts them.
    pin_current_thread(server_cpu.unwrap_or(clients_cpu))?;
    let servers = Servers::start(server_cpu.unwrap_or(clients_cpu))?;
    pin_current_thread(clients_cpu)?;
    let mut out = std::io::stdout();
    table::write_head(&mut out, &machine, clients_cpu, server_cpu, extent)?;
    let mut claimed = Claimed::default();
    for server in servers.installed() {
        let mut rounds = Vec::new();
        for _ in 0..extent.rounds {
            let outcomes = ROWS.iter().map(|row| row.run(&server, extent)).collect::<Result<Vec<_>, _>>()?;
            if server.counts {
                claimed.add(ROWS.iter().map(|row| row.client.publishes()).zip(&outcomes));
            }
            rounds.push(outcomes);
        }
        table::write_rows(&mut out, server.name, extent, &rounds)?;
    }
    if let Some(absent) = servers.absent() {
        table::write_absent(&mut out, absent)?;
    }
    table::write_legend(&mut out)?;
    servers.stop(claimed)
}
