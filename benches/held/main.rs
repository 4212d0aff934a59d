//! Connections that are held by the hundred thousand: how fast they open as they add up, and what each costs; and one
//! long load: whether it costs the same from its beginning to its end.
//!
//! Generator and sink are processes of their own, on the same machine and all its CPUs, as each one's memory is to be
//! known. `--connections N` holds so many, opened at `--rate R` a second; `--soak N` makes so many attempts instead,
//! one after the other on 64 slots.

mod held;
mod machine;
mod processes;
#[path = "../rounds/mod.rs"]
#[allow(dead_code, reason = "what benches that compare in rounds want")]
mod rounds;
mod soak;

use std::error::Error;
use std::process::ExitCode;

const USAGE: &str = "cargo bench --bench held [-- [--connections N] [--rate N] | --soak N | --quick]";

/// What is to be done.
#[derive(Clone, Copy)]
enum Extent {
    Held(held::Extent),
    /// So many attempts.
    Soak(u64),
}

fn main() -> ExitCode {
    let extent = match extent(std::env::args().skip(1)) {
        Ok(Some(extent)) => extent,
        Ok(None) => return ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}; usage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut out = std::io::stdout();
    let done: Result<(), Box<dyn Error>> = match extent {
        Extent::Held(extent) => held::run(&extent, &mut out),
        Extent::Soak(attempts) => soak::run(attempts, &mut out),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("held bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads what `cargo bench` passes on; `None` if a filter names other benches only.
fn extent(mut arguments: impl Iterator<Item = String>) -> Result<Option<Extent>, String> {
    let mut extent = Extent::Held(held::Extent::FULL);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text = arguments.next().ok_or_else(|| format!("`{argument}` lacks its number"))?;
            text.parse::<u64>()
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(|| format!("`{text}` is no number above 0"))
        };
        match (argument.as_str(), &mut extent) {
            ("--bench", _) => {}
            ("--quick", Extent::Held(held)) => held.connections = held::Extent::QUICK,
            ("--connections", Extent::Held(held)) => {
                held.connections = number()?.try_into().map_err(|_| "these are too many connections".to_owned())?;
            }
            ("--rate", Extent::Held(held)) => held.per_s = number()?,
            ("--soak", _) => extent = Extent::Soak(number()?),
            (flag, _) if flag.starts_with('-') => return Err(format!("`{flag}` has no place here")),
            (filter, _) if "held".contains(filter) => {}
            _ => return Ok(None),
        }
    }
    Ok(Some(extent))
}
