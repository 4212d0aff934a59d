//! What is printed, at most 80 columns wide.

use std::io::{self, Write};

use super::Extent;
use super::contenders::{Case, HANDSHAKE};
use super::meter::{Cost, Meter};
use super::plan::CONCURRENCY;
use super::rounds::median;

/// What was measured on, and which of its CPUs were used.
pub struct Machine {
    pub name: String,
    pub generator: u32,
    /// `None`: the sink shares the generator's.
    pub sink: Option<u32>,
}

/// One run of every case, in the order of the rows.
pub struct Round {
    pub costs: Vec<Cost>,
}

/// Where the figures come from.
pub fn write_head(out: &mut impl Write, machine: &Machine, meter: &Meter, extent: &Extent) -> io::Result<()> {
    let (generator, Extent { rounds, attempts }) = (machine.generator, extent);
    writeln!(out, "{}", machine.name)?;
    match machine.sink {
        Some(sink) => writeln!(out, "generator on CPU {generator}, sink on CPU {sink}, loopback")?,
        None => {
            writeln!(out, "generator and sink share CPU {generator}, as this process may use no other:")?;
            writeln!(out, "THE FIGURES ARE NOT COMPARABLE with those of two CPUs")?;
        }
    }
    writeln!(out, "{rounds} rounds of {attempts} handshakes a row, {CONCURRENCY} in flight, close rst,")?;
    writeln!(out, "the sink checks no C2")?;
    if let Some(reason) = meter.missing() {
        writeln!(out, "INSTRUCTIONS ARE NOT COUNTED: {reason}.")?;
        writeln!(out, "The ratios are of CPU time instead, which repeats less well.")?;
    }
    writeln!(out)
}

/// The table and its legend.
pub fn write_rows(out: &mut impl Write, cases: &[Case], rounds: &[Round], meter: &Meter) -> io::Result<()> {
    let counted = meter.missing().is_none();
    let instructions = if counted { format!("{:>13}", "k instr/hs") } else { String::new() };
    writeln!(out, "{:<24}{:>7}{:>6}{:>7}{instructions}  ratio (min-max)", "", "hs/s", "busy", "us/hs")?;
    for (row, case) in cases.iter().enumerate() {
        let of = |figure: fn(&Cost) -> f64| median(rounds.iter().map(|round| figure(&round.costs[row])).collect());
        let per_s = of(|cost| cost.handshakes as f64 * 1e9 / cost.wall_ns as f64);
        let busy = of(|cost| cost.cpu_ns as f64 * 100.0 / cost.wall_ns as f64);
        let cpu_us = of(|cost| cost.cpu_ns as f64 / 1e3 / cost.handshakes as f64);
        let (user, kernel) = (of(|cost| thousands(cost).0), of(|cost| thousands(cost).1));
        let instructions = if counted { format!("{:>13}", format!("{user:.1} + {kernel:.1}")) } else { String::new() };
        let ratio = match case.beside {
            beside if beside == row => "1".to_owned(),
            beside => {
                spread(rounds.iter().map(|round| spent(&round.costs[row]) / spent(&round.costs[beside])).collect())
            }
        };
        if case.beside == HANDSHAKE && cases[row - 1].beside != HANDSHAKE {
            writeln!(out, "\nto `{}`", cases[HANDSHAKE].name)?;
        }
        writeln!(out, "{:<24}{per_s:>7.0}{busy:>5.0}%{cpu_us:>7.2}{instructions}  {ratio}", case.name)?;
    }
    writeln!(
        out,
        "\nMedians of the rounds. hs: handshakes; hs/s: by wall time on the generator's CPU.\n\
         busy: its CPU time by wall time; below 95 %, the sink or other load sets hs/s.\n\
         us: of CPU time.{} Ratio: to the bare loop of the mode, or to the row named,\n\
         in the same round.",
        if counted { " instr: user + kernel." } else { "" }
    )
}

/// What is compared: instructions where they are counted, else CPU time.
fn spent(cost: &Cost) -> f64 {
    let spent = cost.instructions.map_or(cost.cpu_ns, |instructions| instructions.user + instructions.kernel);
    spent as f64 / cost.handshakes as f64
}

/// Thousands of instructions per handshake, of user and kernel.
fn thousands(cost: &Cost) -> (f64, f64) {
    let per_handshake = |count: u64| count as f64 / 1e3 / cost.handshakes as f64;
    cost.instructions.map_or((0.0, 0.0), |count| (per_handshake(count.user), per_handshake(count.kernel)))
}

fn spread(mut ratios: Vec<f64>) -> String {
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
    format!("{:.3} ({least:.3}-{most:.3})", median(ratios))
}
