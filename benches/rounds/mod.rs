//! What benches have in common that compare in rounds and print a table of their own.

use std::error::Error;
use std::process::ExitCode;

use shakedown::io::Engine;
use shakedown::run::{Environment, environment};

/// Runs the bench of this name as the arguments ask for it: `true` for a quick one. A filter that names other benches
/// asks for nothing.
pub fn main(name: &str, run: impl FnOnce(bool) -> Result<(), Box<dyn Error>>) -> ExitCode {
    let quick = match is_quick(name, std::env::args().skip(1)) {
        Ok(Some(quick)) => quick,
        Ok(None) => return ExitCode::SUCCESS,
        Err(unknown) => {
            eprintln!("unknown argument `{unknown}`; usage: cargo bench --bench {name} [-- --quick]");
            return ExitCode::from(2);
        }
    };
    match run(quick) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name} bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads what `cargo bench` passes on; `None` if a filter names other benches only.
fn is_quick(name: &str, arguments: impl Iterator<Item = String>) -> Result<Option<bool>, String> {
    let mut quick = false;
    for argument in arguments {
        match argument.as_str() {
            "--bench" => {}
            "--quick" => quick = true,
            flag if flag.starts_with('-') => return Err(argument),
            filter if name.contains(filter) => {}
            _ => return Ok(None),
        }
    }
    Ok(Some(quick))
}

/// Its processor, the CPUs that this process may use, and its kernel.
pub fn this_machine() -> String {
    let Environment { cpu_model, cpus, kernel, .. } = environment(Engine::IoUring);
    format!("{cpu_model}, CPUs: {cpus}, Linux {kernel}")
}

/// Of values in any order; of none it would be no number.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
}
