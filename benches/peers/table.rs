//! What is printed, at most 80 columns wide.

use std::io::{self, Write};

use super::clients::{AT_ONCE, Pace, ROWS, Row};
use super::rounds::median;
use super::{Extent, Outcome};

/// Where the figures come from.
pub fn write_head(
    out: &mut impl Write,
    machine: &str,
    clients: u32,
    server: Option<u32>,
    extent: &Extent,
) -> io::Result<()> {
    writeln!(out, "{machine}")?;
    match server {
        Some(server) => writeln!(out, "clients on CPU {clients}, server on CPU {server}, loopback")?,
        None => {
            writeln!(out, "clients and server share CPU {clients}, as this process may use no other:")?;
            writeln!(out, "THE FIGURES ARE NOT COMPARABLE with those of two CPUs")?;
        }
    }
    writeln!(out, "rounds: {}", extent.rounds)
}

/// The table of one server: medians of the rounds.
pub fn write_rows(out: &mut impl Write, server: &str, extent: &Extent, rounds: &[Vec<Outcome>]) -> io::Result<()> {
    writeln!(
        out,
        "\n{server:<26}{:>7}{:>6}{:>10}{:>10}{:>9}{:>9}",
        "hs/s", "busy", "us/hs", "hs/core-s", "cost", "p50"
    )?;
    for (place, row) in ROWS.iter().enumerate() {
        if place == 0 || ROWS[place - 1].pace != row.pace {
            let number = row.number(extent);
            match row.pace {
                Pace::Many => writeln!(out, " {number} handshakes, {AT_ONCE} at once")?,
                Pace::OneAtATime => writeln!(out, " {number} handshakes, one at a time")?,
                Pace::EachItsProcess => writeln!(out, " {number} handshakes, a process for each, one at a time")?,
            }
        }
        write_row(out, place, row, row.number(extent), rounds)?;
    }
    Ok(())
}

fn write_row(out: &mut impl Write, place: usize, row: &Row, number: u32, rounds: &[Vec<Outcome>]) -> io::Result<()> {
    let outcomes: Vec<Outcome> = rounds.iter().map(|outcomes| outcomes[place]).collect();
    let name = format!("{:<26}", row.name);
    let mut ended = Vec::new();
    for outcome in outcomes {
        match outcome {
            Outcome::NotInstalled => return writeln!(out, "{name}not installed"),
            Outcome::Ended { completed, .. } if completed < u64::from(number) => {
                return writeln!(out, "{name}completed {completed} of {number}");
            }
            Outcome::Ended { completed, p50_ms, spent } => ended.push((completed as f64, p50_ms, spent)),
        }
    }
    let wall_s = median(ended.iter().map(|(.., spent)| spent.wall.as_secs_f64()).collect());
    let busy = median(ended.iter().map(|(.., spent)| spent.cpu.div_duration_f64(spent.wall)).collect());
    let cpu_us = median(ended.iter().map(|(completed, _, spent)| spent.cpu.as_secs_f64() * 1e6 / completed).collect());
    let latencies: Vec<f64> = ended.iter().filter_map(|(_, p50_ms, _)| *p50_ms).collect();
    let cost = match row.beside {
        None => "-".to_owned(),
        Some(beside) if beside == place => "1".to_owned(),
        Some(beside) => {
            let ratio = |outcomes: &Vec<Outcome>| Some(cpu_s(outcomes[place])? / cpu_s(outcomes[beside])?);
            format!("{:.1}", median(rounds.iter().filter_map(ratio).collect()))
        }
    };
    let p50 = if latencies.is_empty() { "-".to_owned() } else { format!("{:.2} ms", median(latencies)) };
    let (rate, percent, per_core) = (f64::from(number) / wall_s, busy * 100.0, 1e6 / cpu_us);
    writeln!(out, "{name}{rate:>7.0}{percent:>5.0}%{cpu_us:>10.1}{per_core:>10.0}{cost:>9}{p50:>9}")
}

/// CPU seconds of a handshake.
fn cpu_s(outcome: Outcome) -> Option<f64> {
    match outcome {
        Outcome::NotInstalled => None,
        Outcome::Ended { completed, spent, .. } => Some(spent.cpu.as_secs_f64() / completed as f64),
    }
}

pub fn write_absent(out: &mut impl Write, server: &str) -> io::Result<()> {
    writeln!(out, "\n{server}: not installed")
}

pub fn write_legend(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\nhs: handshakes, or publishers; /s: by wall time. busy: CPU time by wall time;\n\
         little of it means that the client waits, so hs/s is not what a core can do:\n\
         hs/core-s is, by CPU time, of user and kernel, from the start of the process\n\
         to its end. cost: us/hs as a multiple of the first row's; librtmp2's: of the\n\
         row's before it. p50: the median latency that the client itself reports.\n\
         \n\
         shakedown  `run`: complex handshakes, each answer verified, closed by RST;\n\
         \x20          until publish: then connect, createStream and publish\n\
         librtmp2   its example bench_handshake: a thread for each connection, simple\n\
         \x20          handshakes, nothing verified; connect, createStream and publish,\n\
         \x20          which are in its \"handshakes\"; closed by FIN\n\
         ffmpeg     `-i URL`: one complex handshake, then connect: the server closes\n\
         rtmpdump   `-r URL`: one simple handshake, then connect: the server closes"
    )
}
